/*
 * Client assertions; see assertion.h. Called by source_entra.c.
 *
 * It must never use a jti twice, sign for another audience than the URL that the assertion goes to,
 * or choose an algorithm by anything but the key and the operator's word.
 */
#include "token/assertion.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "token/certificate.h"

#define JTI_BYTES	 16
#define ES256_HALF_BYTES 32
#define RSA_BITS_MIN	 2048
#define RSA_BITS_MAX	 16384

enum algorithm { PS256, RS256, ES256 };

static const struct {
	const char *name;
	const char *thumbprint; /* header member */
	const EVP_MD *(*thumbprint_hash)(void);
} algorithms[] = {
	[PS256] = {"PS256", "x5t#S256", EVP_sha256},
	[RS256] = {"RS256", "x5t", EVP_sha1},
	[ES256] = {"ES256", "x5t#S256", EVP_sha256},
};

IG_DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free);
IG_DEFINE_CLEANUP(ECDSA_SIG *, ECDSA_SIG_free);

static int choose(const struct ig_certificate *certificate, bool rs256, enum algorithm *ret,
	struct ig_err *reterr_err)
{
	char group[32] = "";
	int bits = EVP_PKEY_get_bits(certificate->key);

	if (EVP_PKEY_is_a(certificate->key, "RSA")) {
		if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX)
			return ig_err_set(reterr_err, -EOPNOTSUPP,
				"an RSA key of %d bits; expected %d to %d", bits, RSA_BITS_MIN,
				RSA_BITS_MAX);
		*ret = rs256 ? RS256 : PS256;
		return 0;
	}
	if (EVP_PKEY_is_a(certificate->key, "EC") &&
		EVP_PKEY_get_group_name(certificate->key, group, sizeof(group), NULL) == 1 &&
		strcmp(group, "prime256v1") == 0) {
		*ret = ES256;
		return 0;
	}
	return ig_err_set(reterr_err, -EOPNOTSUPP,
		"the certificate's key is neither RSA nor EC on the curve P-256");
}

/* ---- parts ----------------------------------------------------------------------------------- */

/* Without padding (RFC 7515). */
static void put_base64url(struct ig_buf *b, const void *data, size_t len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const unsigned char *p = data;

	for (; len; p += 3) {
		size_t n = len < 3 ? len : 3;
		unsigned int bits =
			(unsigned int)p[0] << 16 | (n > 1 ? p[1] : 0U) << 8 | (n > 2 ? p[2] : 0U);

		for (size_t i = 0; i <= n; i++)
			ig_buf_putc(b, digits[bits >> (18 - 6 * i) & 0x3f]);
		len -= n;
	}
}

/* Appends the text of the JSON buffer. */
static void put_json(struct ig_buf *b, const struct ig_buf *json)
{
	if (ig_buf_finish(json) < 0)
		b->error = b->error ? b->error : json->error;
	else
		put_base64url(b, json->data, json->len);
}

static int put_header(
	struct ig_buf *b, const struct ig_certificate *certificate, enum algorithm algorithm)
{
	_cleanup_(ig_buf_donep) struct ig_buf json = {.limit = IG_ASSERTION_BYTES};
	_cleanup_(ig_buf_donep) struct ig_buf thumbprint = {.limit = IG_ASSERTION_BYTES};
	unsigned char hash[EVP_MAX_MD_SIZE];
	unsigned int len = 0;

	if (X509_digest(certificate->x509, algorithms[algorithm].thumbprint_hash(), hash, &len) !=
		1)
		return -ENOMEM;
	put_base64url(&thumbprint, hash, len);
	if (ig_buf_finish(&thumbprint) < 0)
		return ig_buf_finish(&thumbprint);
	ig_buf_putc(&json, '{');
	ig_buf_json_member_str(&json, "alg", algorithms[algorithm].name);
	ig_buf_json_member_str(&json, "typ", "JWT");
	ig_buf_json_member_str(&json, algorithms[algorithm].thumbprint, thumbprint.data);
	ig_buf_putc(&json, '}');
	put_json(b, &json);
	return 0;
}

/* A random GUID (RFC 4122, version 4). */
static int make_jti(char ret[37])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char random[JTI_BYTES];
	ssize_t n = getrandom(random, sizeof(random), 0);
	char *p = ret;

	if (n != sizeof(random))
		return n < 0 ? -errno : -EIO;
	random[6] = (unsigned char)((random[6] & 0x0f) | 0x40);
	random[8] = (unsigned char)((random[8] & 0x3f) | 0x80);
	for (size_t i = 0; i < sizeof(random); i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = digits[random[i] >> 4];
		*p++ = digits[random[i] & 0xf];
	}
	*p = '\0';
	return 0;
}

static int put_claims(struct ig_buf *b, const struct ig_assertion_claims *claims)
{
	_cleanup_(ig_buf_wipe) struct ig_buf json = {.limit = IG_ASSERTION_BYTES};
	char jti[37];
	int r = make_jti(jti);

	if (r < 0)
		return r;
	ig_buf_putc(&json, '{');
	ig_buf_json_member_str(&json, "aud", claims->audience);
	ig_buf_json_member_str(&json, "iss", claims->client_id);
	ig_buf_json_member_str(&json, "sub", claims->client_id);
	ig_buf_json_member_str(&json, "jti", jti);
	ig_buf_json_member_u64(&json, "iat", claims->now_sec);
	ig_buf_json_member_u64(&json, "nbf", claims->now_sec);
	ig_buf_json_member_u64(&json, "exp", claims->now_sec + IG_ASSERTION_LIFE_SEC);
	ig_buf_putc(&json, '}');
	put_json(b, &json);
	return 0;
}

/* ---- signature ------------------------------------------------------------------------------- */

/* OpenSSL gives a DER sequence of two numbers, JWS (RFC 7518) wants them side by side. */
static int put_ecdsa(struct ig_buf *b, const unsigned char *der, size_t len)
{
	_cleanup_(ECDSA_SIG_freep) ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);
	unsigned char raw[2 * ES256_HALF_BYTES];

	if (!sig || BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, ES256_HALF_BYTES) < 0 ||
		BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + ES256_HALF_BYTES, ES256_HALF_BYTES) < 0)
		return -ENOMEM;
	put_base64url(b, raw, sizeof(raw));
	return 0;
}

static bool begin(
	EVP_MD_CTX *md, const struct ig_certificate *certificate, enum algorithm algorithm)
{
	EVP_PKEY_CTX *key = NULL; /* owned by md */

	if (EVP_DigestSignInit_ex(
		    md, &key, "SHA256", certificate->context, NULL, certificate->key, NULL) != 1)
		return false;
	return algorithm != PS256 ||
	       (EVP_PKEY_CTX_set_rsa_padding(key, RSA_PKCS1_PSS_PADDING) == 1 &&
		       EVP_PKEY_CTX_set_rsa_pss_saltlen(key, RSA_PSS_SALTLEN_DIGEST) == 1);
}

/* Appends the signature of what is in b so far. */
static int sign(
	struct ig_buf *b, const struct ig_certificate *certificate, enum algorithm algorithm)
{
	_cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *md = EVP_MD_CTX_new();
	_cleanup_free_ unsigned char *signature = NULL;
	size_t len = 0;

	if (!md || !begin(md, certificate, algorithm) ||
		EVP_DigestSign(md, NULL, &len, (unsigned char *)b->data, b->len) != 1)
		return -ENOMEM;
	signature = malloc(len);
	if (!signature ||
		EVP_DigestSign(md, signature, &len, (unsigned char *)b->data, b->len) != 1)
		return -ENOMEM;
	ig_buf_putc(b, '.');
	if (algorithm == ES256)
		return put_ecdsa(b, signature, len);
	put_base64url(b, signature, len);
	return 0;
}

static int make(const struct ig_certificate *certificate, enum algorithm algorithm,
	const struct ig_assertion_claims *claims, struct ig_buf *b)
{
	int r = put_header(b, certificate, algorithm);

	ig_buf_putc(b, '.');
	if (r == 0)
		r = put_claims(b, claims);
	if (r == 0)
		r = ig_buf_finish(b);
	if (r == 0)
		r = sign(b, certificate, algorithm);
	return r < 0 ? r : ig_buf_finish(b);
}

int ig_assertion_make(const struct ig_certificate *certificate, bool rs256,
	const struct ig_assertion_claims *claims, struct ig_buf *ret, struct ig_err *reterr_err)
{
	_cleanup_(ig_buf_wipe) struct ig_buf b = {.limit = IG_ASSERTION_BYTES};
	enum algorithm algorithm = PS256;
	int r = choose(certificate, rs256, &algorithm, reterr_err);

	if (r == 0) {
		r = make(certificate, algorithm, claims, &b);
		if (r < 0)
			(void)ig_err_set(
				reterr_err, r, "cannot sign a client assertion: %s", strerror(-r));
	}
	ERR_clear_error();
	if (r < 0)
		return r;
	*ret = b;
	b = (struct ig_buf){};
	return 0;
}
