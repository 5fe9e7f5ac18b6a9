/*
 * Sets of public keys; see jwks.h. Must never fetch one: where the real Entra ID asks the issuer,
 * the lab is told beforehand, because it makes no connections. Called by federation.c and
 * assertion.c.
 */
#include "lab/jwks.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fdutil.h"
#include "lab/encode.h"

#define FILE_BYTES   (1024 * 1024)
#define NUMBER_BYTES 2048 /* a modulus of 16384 bits */
#define KEY_BITS_MIN 2048

IG_DEFINE_CLEANUP(BIGNUM *, BN_free);
IG_DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free);
IG_DEFINE_CLEANUP(EVP_PKEY_CTX *, EVP_PKEY_CTX_free);
IG_DEFINE_CLEANUP(OSSL_PARAM *, OSSL_PARAM_free);
IG_DEFINE_CLEANUP(OSSL_PARAM_BLD *, OSSL_PARAM_BLD_free);

static int parse_number(const char *text, BIGNUM **ret)
{
	_cleanup_(ig_buf_donep) struct ig_buf bytes = {.limit = NUMBER_BYTES};
	int r = lab_base64url_decode(text, strlen(text), &bytes);

	if (r < 0)
		return r;
	if (!bytes.len)
		return -EBADMSG;
	*ret = BN_bin2bn((const unsigned char *)bytes.data, (int)bytes.len, NULL);
	return *ret ? 0 : -ENOMEM;
}

static int make_key(const BIGNUM *n, const BIGNUM *e, EVP_PKEY **ret)
{
	_cleanup_(OSSL_PARAM_BLD_freep) OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	_cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *ctx =
		EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	_cleanup_(OSSL_PARAM_freep) OSSL_PARAM *params = NULL;

	if (!build || !ctx || OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) != 1 ||
		OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) != 1)
		return -ENOMEM;
	params = OSSL_PARAM_BLD_to_param(build);
	if (!params || EVP_PKEY_fromdata_init(ctx) != 1)
		return -ENOMEM;
	if (EVP_PKEY_fromdata(ctx, ret, EVP_PKEY_PUBLIC_KEY, params) != 1) {
		ERR_clear_error();
		return -EBADMSG;
	}
	return 0;
}

static int parse_key(const char *n_text, const char *e_text, EVP_PKEY **ret)
{
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;
	_cleanup_(BN_freep) BIGNUM *n = NULL;
	_cleanup_(BN_freep) BIGNUM *e = NULL;
	int r = parse_number(n_text, &n);

	if (r == 0)
		r = parse_number(e_text, &e);
	if (r == 0)
		r = make_key(n, e, &key);
	if (r < 0)
		return r;
	if (EVP_PKEY_get_bits(key) < KEY_BITS_MIN)
		return -EBADMSG;
	*ret = TAKE_PTR(key);
	return 0;
}

static int add(struct lab_jwks *jwks, json_t *object, struct ig_err *reterr_err)
{
	const char *kty = "", *kid = "", *n = "", *e = "", *alg = "RS256", *use = "sig";
	_cleanup_(EVP_PKEY_freep) EVP_PKEY *key = NULL;
	_cleanup_free_ char *copy = NULL;
	int r;

	if (json_unpack(object, "{s:s, s?s, s?s, s?s, s?s, s?s}", "kty", &kty, "kid", &kid, "n", &n,
		    "e", &e, "alg", &alg, "use", &use) < 0)
		return ig_err_set(reterr_err, -EINVAL, "a key is wrong");
	if (strcmp(kty, "RSA") != 0 || strcmp(alg, "RS256") != 0 || strcmp(use, "sig") != 0)
		return 0;
	if (!*kid)
		return ig_err_set(reterr_err, -EINVAL, "a key has no kid");
	if (jwks->n == LAB_JWKS_KEYS_MAX)
		return ig_err_set(reterr_err, -E2BIG, "more than %d keys", LAB_JWKS_KEYS_MAX);
	r = parse_key(n, e, &key);
	if (r < 0)
		return ig_err_set(reterr_err, r,
			"key '%s' is not RSA of at least %d bits in base64url", kid, KEY_BITS_MIN);
	copy = strdup(kid);
	if (!copy)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	jwks->keys[jwks->n].kid = TAKE_PTR(copy);
	jwks->keys[jwks->n].key = TAKE_PTR(key);
	jwks->n++;
	return 0;
}

static int add_all(struct lab_jwks *jwks, json_t *set, struct ig_err *reterr_err)
{
	json_t *keys = json_object_get(set, "keys"); /* owned by set, as is every key */
	json_t *key;
	size_t i;

	if (!json_is_array(keys))
		return ig_err_set(reterr_err, -EINVAL, "jwks is no set of keys");
	json_array_foreach (keys, i, key) {
		int r = add(jwks, key, reterr_err);

		if (r < 0)
			return r;
	}
	if (jwks->n == 0)
		return ig_err_set(reterr_err, -EINVAL, "jwks has no key for RS256");
	return 0;
}

static int load_file(struct lab_jwks *jwks, const char *path, struct ig_err *reterr_err)
{
	_cleanup_(json_decrefp) json_t *set = NULL;
	_cleanup_free_ char *text = NULL;
	json_error_t error;
	size_t len = 0;
	int r = ig_fd_read_file(AT_FDCWD, path, FILE_BYTES, &text, &len);

	if (r < 0)
		return ig_err_set(reterr_err, r, "%s: %s", path, strerror(-r));
	set = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (!set)
		return ig_err_set(reterr_err, -EINVAL, "%s: %s", path, error.text);
	r = add_all(jwks, set, reterr_err);
	return r < 0 ? ig_err_wrap(reterr_err, r, "%s", path) : 0;
}

int lab_jwks_load(struct lab_jwks *jwks, json_t *value, struct ig_err *reterr_err)
{
	if (json_is_string(value))
		return load_file(jwks, json_string_value(value), reterr_err);
	return add_all(jwks, value, reterr_err);
}

void lab_jwks_done(struct lab_jwks *jwks)
{
	for (size_t i = 0; i < jwks->n; i++) {
		free(jwks->keys[i].kid);
		EVP_PKEY_free(jwks->keys[i].key);
	}
	*jwks = (struct lab_jwks){};
}

EVP_PKEY *lab_jwks_find(const struct lab_jwks *jwks, const char *kid)
{
	for (size_t i = 0; i < jwks->n; i++)
		if (strcmp(jwks->keys[i].kid, kid) == 0)
			return jwks->keys[i].key;
	return NULL;
}
