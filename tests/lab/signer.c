/*
 * Key, certificate and signatures of the lab; see signer.h. The key never leaves this file. The
 * certificate's dates are constants and RSA PKCS#1 v1.5 signatures are deterministic, so that a key
 * given by the user keeps its key id over restarts. Called by main.c, jwt.c, imds.c and
 * discovery.c.
 */
#include "lab/signer.h"

#include <errno.h>
#include <limits.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs7.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lab/encode.h"

#define KEY_BITS     2048
#define KID_BYTES    64
#define NUMBER_BYTES 2048 /* a modulus of 16384 bits */
#define NOT_BEFORE   "20200101000000Z"
#define NOT_AFTER    "20491231235959Z"
#define CERT_DER_MAX 16384

struct lab_signer {
	EVP_PKEY *key; /* owned */
	X509 *cert;    /* owned */
	char kid[KID_BYTES];
};

IG_DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free);
IG_DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free);
IG_DEFINE_CLEANUP(X509 *, X509_free);
IG_DEFINE_CLEANUP(BIGNUM *, BN_free);
IG_DEFINE_CLEANUP(BIO *, BIO_free);
IG_DEFINE_CLEANUP(PKCS7 *, PKCS7_free);
IG_DEFINE_CLEANUP(FILE *, fclose);

static int load_key(const char *path, EVP_PKEY **ret, struct ig_err *reterr_err)
{
	_cleanup_(fclosep) FILE *f = fopen(path, "re");
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;

	if (!f)
		return ig_err_set(reterr_err, -errno, "%s: %s", path, strerror(errno));
	key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	if (!key)
		return ig_err_set(reterr_err, -EINVAL, "%s: not a PEM private key", path);
	if (!EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_get_bits(key) < KEY_BITS)
		return ig_err_set(reterr_err, -EINVAL, "%s: not an RSA key of at least %d bits",
			path, KEY_BITS);
	*ret = TAKE_PTR(key);
	return 0;
}

static int self_sign(EVP_PKEY *key, X509 **ret)
{
	_cleanup_(X509_freep) X509 *cert = X509_new();
	X509_NAME *name;

	if (!cert)
		return -ENOMEM;
	name = X509_get_subject_name(cert);
	if (X509_set_version(cert, X509_VERSION_3) != 1 ||
		ASN1_INTEGER_set(X509_get_serialNumber(cert), 1) != 1 ||
		ASN1_TIME_set_string(X509_getm_notBefore(cert), NOT_BEFORE) != 1 ||
		ASN1_TIME_set_string(X509_getm_notAfter(cert), NOT_AFTER) != 1 ||
		X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
			(const unsigned char *)"imdsgate-lab", -1, -1, 0) != 1 ||
		X509_set_issuer_name(cert, name) != 1 || X509_set_pubkey(cert, key) != 1 ||
		X509_sign(cert, key, EVP_sha256()) == 0)
		return -ENOMEM;
	*ret = TAKE_PTR(cert);
	return 0;
}

static int make_kid(const X509 *cert, char *ret_kid)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	_cleanup_(ig_buf_donep) struct ig_buf text = {};
	unsigned int len = 0;

	if (X509_digest(cert, EVP_sha1(), digest, &len) != 1)
		return -ENOMEM;
	ig_buf_init(&text, KID_BYTES - 1);
	lab_base64url(&text, digest, len);
	if (ig_buf_finish(&text) < 0)
		return ig_buf_finish(&text);
	memcpy(ret_kid, text.data, text.len + 1);
	return 0;
}

int lab_signer_new(const char *pem_path, struct lab_signer **ret, struct ig_err *reterr_err)
{
	_cleanup_(lab_signer_freep) struct lab_signer *signer = calloc(1, sizeof(*signer));
	int r;

	if (!signer)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	if (pem_path) {
		r = load_key(pem_path, &signer->key, reterr_err);
		if (r < 0)
			return r;
	} else {
		signer->key = EVP_RSA_gen(KEY_BITS);
	}
	if (!signer->key)
		return ig_err_set(reterr_err, -ENOMEM, "cannot make an RSA key");
	r = self_sign(signer->key, &signer->cert);
	if (r == 0)
		r = make_kid(signer->cert, signer->kid);
	if (r < 0)
		return ig_err_set(reterr_err, r, "cannot make a certificate");
	*ret = TAKE_PTR(signer);
	return 0;
}

struct lab_signer *lab_signer_free(struct lab_signer *signer)
{
	if (!signer)
		return NULL;
	X509_free(signer->cert);
	EVP_PKEY_free(signer->key);
	free(signer);
	return NULL;
}

const char *lab_signer_kid(const struct lab_signer *signer)
{
	return signer->kid;
}

int lab_signer_rs256(
	const struct lab_signer *signer, const void *data, size_t len, struct ig_buf *out)
{
	_cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char signature[NUMBER_BYTES];
	size_t n = sizeof(signature);

	if (!ctx || EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, signer->key) != 1 ||
		EVP_DigestSign(ctx, signature, &n, data, len) != 1)
		return -ENOMEM;
	lab_base64url(out, signature, n);
	return ig_buf_finish(out);
}

int lab_signer_pkcs7(
	const struct lab_signer *signer, const void *data, size_t len, struct ig_buf *out)
{
	_cleanup_(BIO_freep) BIO *in = len <= INT_MAX ? BIO_new_mem_buf(data, (int)len) : NULL;
	_cleanup_(BIO_freep) BIO *der = BIO_new(BIO_s_mem());
	_cleanup_(PKCS7_freep) PKCS7 *p7 = NULL;
	char *bytes = NULL; /* owned by der */
	long n;

	if (!in || !der)
		return -ENOMEM;
	p7 = PKCS7_sign(signer->cert, signer->key, NULL, in, PKCS7_BINARY);
	if (!p7 || i2d_PKCS7_bio(der, p7) != 1)
		return -ENOMEM;
	n = BIO_get_mem_data(der, &bytes);
	if (n <= 0)
		return -ENOMEM;
	lab_base64(out, bytes, (size_t)n);
	return ig_buf_finish(out);
}

static int put_number(const struct lab_signer *signer, const char *param, struct ig_buf *out)
{
	_cleanup_(BN_freep) BIGNUM *number = NULL;
	unsigned char bytes[NUMBER_BYTES];

	if (EVP_PKEY_get_bn_param(signer->key, param, &number) != 1 ||
		BN_num_bytes(number) > NUMBER_BYTES)
		return -ENOMEM;
	lab_base64url(out, bytes, (size_t)BN_bn2bin(number, bytes));
	return ig_buf_finish(out);
}

static int put_certificate(const struct lab_signer *signer, struct ig_buf *out)
{
	unsigned char der[CERT_DER_MAX];
	unsigned char *p = der;
	int n = i2d_X509(signer->cert, NULL);

	if (n <= 0 || n > CERT_DER_MAX)
		return -E2BIG;
	(void)i2d_X509(signer->cert, &p);
	lab_base64(out, der, (size_t)n);
	return ig_buf_finish(out);
}

int lab_signer_jwks(const struct lab_signer *signer, struct ig_buf *out)
{
	int r;

	ig_buf_puts(out, "{\"keys\":[{");
	ig_buf_json_member_str(out, "kty", "RSA");
	ig_buf_json_member_str(out, "use", "sig");
	ig_buf_json_member_str(out, "alg", "RS256");
	ig_buf_json_member_str(out, "kid", signer->kid);
	ig_buf_json_member_str(out, "x5t", signer->kid);
	ig_buf_json_key(out, "n");
	ig_buf_putc(out, '"');
	r = put_number(signer, OSSL_PKEY_PARAM_RSA_N, out);
	if (r < 0)
		return r;
	ig_buf_puts(out, "\",\"e\":\"");
	r = put_number(signer, OSSL_PKEY_PARAM_RSA_E, out);
	if (r < 0)
		return r;
	ig_buf_puts(out, "\",\"x5c\":[\"");
	r = put_certificate(signer, out);
	if (r < 0)
		return r;
	ig_buf_puts(out, "\"]}]}");
	return ig_buf_finish(out);
}
