/*
 * Client assertions: every part of the JWT, taken apart and verified by code that shares nothing
 * with what made it (OpenSSL's own base64, jansson, and for ES256 the example key of RFC 7515).
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#include <imdsgate/limits.h>

#include "base/parse.h"
#include "token/assertion.h"
#include "token/certificate.h"
#include "unit/credential_fixture.h"

#define NOW	 1709809597ULL
#define AUDIENCE "https://login.microsoftonline.com/contoso.example/oauth2/token"
#define CLIENT	 "0d46c104-1111-2222-3333-444444444444"

static const struct ig_assertion_claims claims = {
	.audience = AUDIENCE, .client_id = CLIENT, .now_sec = NOW};

static EVP_PKEY *rsa, *ec;
static X509 *rsa_cert, *ec_cert;

static int group_set_up(void **state)
{
	(void)state;
	rsa = EVP_RSA_gen(2048);
	ec = EVP_EC_gen("P-256");
	rsa_cert = make_x509(rsa, 1);
	ec_cert = make_x509(ec, 2);
	return 0;
}

static int group_tear_down(void **state)
{
	(void)state;
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(ec);
	X509_free(rsa_cert);
	X509_free(ec_cert);
	return 0;
}

/* ---- taking apart ---------------------------------------------------------------------------- */

struct jwt {
	char *text; /* owned */
	size_t signed_len;
	json_t *header, *claims; /* owned */
	unsigned char signature[2048];
	size_t signature_len;
};

/* By OpenSSL's decoder, which knows the other alphabet and wants padding. */
static size_t decode(const char *s, size_t len, unsigned char *out)
{
	char copy[IG_ASSERTION_BYTES + 4];
	size_t padded = (len + 3) / 4 * 4;

	assert_true(len % 4 != 1 && len < IG_ASSERTION_BYTES);
	memset(copy, '=', sizeof(copy));
	for (size_t i = 0; i < len; i++) {
		assert_true(s[i] != '+' && s[i] != '/' && s[i] != '=');
		copy[i] = s[i] == '-' ? '+' : s[i] == '_' ? '/' : s[i];
	}
	assert_int_equal(EVP_DecodeBlock(out, (unsigned char *)copy, (int)padded), padded / 4 * 3);
	return padded / 4 * 3 - (padded - len);
}

static json_t *decode_json(const char *s, size_t len)
{
	unsigned char out[IG_ASSERTION_BYTES];
	size_t n = decode(s, len, out);
	json_t *json = json_loadb((char *)out, n, JSON_REJECT_DUPLICATES, NULL);

	assert_true(json_is_object(json));
	return json;
}

static void take_apart(const char *text, struct jwt *ret)
{
	const char *first = strchr(text, '.'), *second = first ? strchr(first + 1, '.') : NULL;

	assert_non_null(second);
	assert_null(strchr(second + 1, '.'));
	*ret = (struct jwt){.text = strdup(text), .signed_len = (size_t)(second - text)};
	ret->header = decode_json(text, (size_t)(first - text));
	ret->claims = decode_json(first + 1, (size_t)(second - first - 1));
	ret->signature_len = decode(second + 1, strlen(second + 1), ret->signature);
}

static void jwt_done(struct jwt *jwt)
{
	free(jwt->text);
	json_decref(jwt->header);
	json_decref(jwt->claims);
}

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	if (!text)
		fail_msg("%s is missing", name);
	return text;
}

static bool verify(const struct jwt *jwt, EVP_PKEY *key, int padding)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	EVP_PKEY_CTX *ctx = NULL;
	int ok;

	assert_int_equal(EVP_DigestVerifyInit(md, &ctx, EVP_sha256(), NULL, key), 1);
	if (padding) {
		assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, padding), 1);
		if (padding == RSA_PKCS1_PSS_PADDING)
			assert_int_equal(EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, 32), 1);
	}
	ok = EVP_DigestVerify(md, jwt->signature, jwt->signature_len, (unsigned char *)jwt->text,
		jwt->signed_len);
	EVP_MD_CTX_free(md);
	ERR_clear_error();
	return ok == 1;
}

/* r and s side by side back into the sequence that OpenSSL knows. */
static void to_der(struct jwt *jwt)
{
	ECDSA_SIG *sig = ECDSA_SIG_new();
	unsigned char *p = jwt->signature;
	int len;

	assert_int_equal(jwt->signature_len, 64);
	assert_int_equal(
		ECDSA_SIG_set0(sig, BN_bin2bn(p, 32, NULL), BN_bin2bn(p + 32, 32, NULL)), 1);
	len = i2d_ECDSA_SIG(sig, &p);
	assert_true(len > 0);
	jwt->signature_len = (size_t)len;
	ECDSA_SIG_free(sig);
}

static void assert_thumbprint(const struct jwt *jwt, const char *name, X509 *x509, const EVP_MD *md)
{
	unsigned char want[EVP_MAX_MD_SIZE], have[EVP_MAX_MD_SIZE * 2];
	const char *text = text_of(jwt->header, name);
	unsigned int len = 0;

	assert_int_equal(X509_digest(x509, md, want, &len), 1);
	assert_int_equal(decode(text, strlen(text), have), len);
	assert_memory_equal(have, want, len);
}

static void make(EVP_PKEY *key, X509 *x509, bool rs256, struct jwt *ret)
{
	const struct ig_certificate certificate = {.key = key, .x509 = x509};
	_cleanup_(ig_buf_wipe) struct ig_buf b = {};
	struct ig_err err = {};

	if (ig_assertion_make(&certificate, rs256, &claims, &b, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(strlen(b.data), b.len);
	assert_int_equal(ERR_peek_error(), 0);
	take_apart(b.data, ret);
}

/* ---- what is in it --------------------------------------------------------------------------- */

static void assert_claims(const struct jwt *jwt)
{
	assert_string_equal(text_of(jwt->claims, "aud"), AUDIENCE);
	assert_string_equal(text_of(jwt->claims, "iss"), CLIENT);
	assert_string_equal(text_of(jwt->claims, "sub"), CLIENT);
	assert_true(ig_parse_is_guid(text_of(jwt->claims, "jti")));
	assert_int_equal(json_integer_value(json_object_get(jwt->claims, "iat")), NOW);
	assert_int_equal(json_integer_value(json_object_get(jwt->claims, "nbf")), NOW);
	assert_int_equal(json_integer_value(json_object_get(jwt->claims, "exp")), NOW + 600);
	assert_int_equal(json_object_size(jwt->claims), 7);
}

static void test_ps256(void **state)
{
	_cleanup_(jwt_done) struct jwt jwt;

	(void)state;
	make(rsa, rsa_cert, false, &jwt);
	assert_string_equal(text_of(jwt.header, "alg"), "PS256");
	assert_string_equal(text_of(jwt.header, "typ"), "JWT");
	assert_thumbprint(&jwt, "x5t#S256", rsa_cert, EVP_sha256());
	assert_int_equal(json_object_size(jwt.header), 3);
	assert_claims(&jwt);
	assert_true(verify(&jwt, rsa, RSA_PKCS1_PSS_PADDING));
	assert_false(verify(&jwt, rsa, RSA_PKCS1_PADDING));
	jwt.text[jwt.signed_len - 1] ^= 1;
	assert_false(verify(&jwt, rsa, RSA_PKCS1_PSS_PADDING));
}

static void test_rs256(void **state)
{
	_cleanup_(jwt_done) struct jwt jwt;

	(void)state;
	make(rsa, rsa_cert, true, &jwt);
	assert_string_equal(text_of(jwt.header, "alg"), "RS256");
	assert_string_equal(text_of(jwt.header, "typ"), "JWT");
	assert_thumbprint(&jwt, "x5t", rsa_cert, EVP_sha1());
	assert_int_equal(json_object_size(jwt.header), 3);
	assert_claims(&jwt);
	assert_true(verify(&jwt, rsa, RSA_PKCS1_PADDING));
	assert_false(verify(&jwt, rsa, RSA_PKCS1_PSS_PADDING));
}

/* Often enough that a number with a leading zero is among them. */
static void test_es256(void **state)
{
	(void)state;
	for (int i = 0; i < 300; i++) {
		_cleanup_(jwt_done) struct jwt jwt;

		make(ec, ec_cert, i % 2, &jwt);
		assert_string_equal(text_of(jwt.header, "alg"), "ES256");
		assert_thumbprint(&jwt, "x5t#S256", ec_cert, EVP_sha256());
		assert_claims(&jwt);
		to_der(&jwt);
		assert_true(verify(&jwt, ec, 0));
	}
}

/* The example of RFC 7515, appendix A.3: what this file's own means of verifying are worth. */
static void test_vector(void **state)
{
	static const char text[] =
		"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
	static const unsigned char point[] =
		"\x04\x7f\xcd\xce\x27\x70\xf6\xc4\x5d\x41\x83\xcb\xee\x6f\xdb\x4b\x7b\x58\x07\x33\x35\x7b\xe9\xef\x13\xba\xcf\x6e\x3c\x7b\xd1\x54\x45\xc7\xf1\x44\xcd\x1b\xbd\x9b\x7e\x87\x2c\xdf\xed\xb9\xee\xb9\xf4\xb3\x69\x5d\x6e\xa9\x0b\x24\xad\x8a\x46\x23\x28\x85\x88\xe5\xad";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char[]){"P-256"}, 0),
		OSSL_PARAM_construct_octet_string(
			OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)point, 65),
		OSSL_PARAM_construct_end(),
	};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	_cleanup_(jwt_done) struct jwt jwt;
	EVP_PKEY *key = NULL;

	(void)state;
	assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
	assert_int_equal(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params), 1);
	take_apart(text, &jwt);
	assert_string_equal(text_of(jwt.claims, "iss"), "joe");
	to_der(&jwt);
	assert_true(verify(&jwt, key, 0));
	EVP_PKEY_free(key);
	EVP_PKEY_CTX_free(ctx);
}

static void test_never_the_same(void **state)
{
	_cleanup_(jwt_done) struct jwt one, two;

	(void)state;
	make(rsa, rsa_cert, true, &one);
	make(rsa, rsa_cert, true, &two);
	assert_string_not_equal(text_of(one.claims, "jti"), text_of(two.claims, "jti"));
}

/* What a client id or an address may hold does not break out of its string. */
static void test_hostile_claims(void **state)
{
	const struct ig_certificate certificate = {.key = ec, .x509 = ec_cert};
	const struct ig_assertion_claims hostile = {.audience = "https://h/\"},\\\x01",
		.client_id = "a\",\"sub\":\"b\xff",
		.now_sec = NOW};
	_cleanup_(ig_buf_wipe) struct ig_buf b = {};
	_cleanup_(jwt_done) struct jwt jwt;

	(void)state;
	assert_int_equal(ig_assertion_make(&certificate, false, &hostile, &b, NULL), 0);
	take_apart(b.data, &jwt);
	assert_string_equal(text_of(jwt.claims, "aud"), "https://h/\"},\\\x01");
	assert_string_equal(text_of(jwt.claims, "sub"), "a\",\"sub\":\"b\xef\xbf\xbd");
	assert_int_equal(json_object_size(jwt.claims), 7);
}

static void assert_refused(EVP_PKEY *key, const char *expected)
{
	const struct ig_certificate certificate = {.key = key, .x509 = rsa_cert};
	struct ig_err err = {};
	struct ig_buf b = {};

	assert_non_null(key);
	assert_int_equal(ig_assertion_make(&certificate, false, &claims, &b, &err), -EOPNOTSUPP);
	assert_null(b.data);
	if (!strstr(err.message, expected))
		fail_msg("\"%s\" does not say \"%s\"", err.message, expected);
	EVP_PKEY_free(key);
}

static void test_other_keys(void **state)
{
	(void)state;
	assert_refused(EVP_RSA_gen(1024), "an RSA key of 1024 bits; expected 2048 to 16384");
	assert_refused(EVP_EC_gen("P-384"), "neither RSA nor EC on the curve P-256");
	assert_refused(EVP_EC_gen("secp256k1"), "neither RSA nor EC on the curve P-256");
	assert_refused(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), "neither RSA nor EC");
}

static void test_too_long(void **state)
{
	const struct ig_certificate certificate = {.key = ec, .x509 = ec_cert};
	static char huge[IG_ASSERTION_BYTES + 1];
	struct ig_assertion_claims long_claims = {
		.audience = huge, .client_id = CLIENT, .now_sec = NOW};
	struct ig_buf b = {};

	(void)state;
	memset(huge, 'x', sizeof(huge) - 1);
	assert_int_equal(ig_assertion_make(&certificate, false, &long_claims, &b, NULL), -E2BIG);
	assert_null(b.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ps256),
		cmocka_unit_test(test_rs256),
		cmocka_unit_test(test_es256),
		cmocka_unit_test(test_vector),
		cmocka_unit_test(test_never_the_same),
		cmocka_unit_test(test_hostile_claims),
		cmocka_unit_test(test_other_keys),
		cmocka_unit_test(test_too_long),
	};

	return cmocka_run_group_tests_name("assertion", tests, group_set_up, group_tear_down);
}
