/*
 * Compact JSON Web Signatures; see jws.h. A reader of its own, not the agent's: the two must not
 * agree on a mistake. Must never take an algorithm that is not one of the two of RSA, nor a salt of
 * another length than RFC 7518 says, and never put a signature into the log, since header and
 * claims alone are of no use to whoever reads it. Called by assertion.c and entra_log.c.
 */
#include "lab/jws.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "lab/encode.h"
#include "lab/request.h"

IG_DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free);

static int parse_object(const char *text, size_t len, json_t **ret)
{
	_cleanup_(ig_buf_donep) struct ig_buf bytes = {.limit = LAB_REQUEST_BYTES};
	_cleanup_(json_decrefp) json_t *object = NULL;
	int r = len ? lab_base64url_decode(text, len, &bytes) : -EBADMSG;

	if (r < 0)
		return r;
	object = json_loadb(bytes.data, bytes.len, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(object))
		return -EBADMSG;
	*ret = TAKE_PTR(object);
	return 0;
}

int lab_jws_parse(const char *text, struct lab_jws *ret)
{
	const char *first = strchr(text, '.');
	const char *second = first ? strchr(first + 1, '.') : NULL;
	int r;

	*ret = (struct lab_jws){.text = text};
	ig_buf_init(&ret->signature, LAB_REQUEST_BYTES);
	if (!second)
		return -EBADMSG;
	ret->text_len = (size_t)(second - text);
	r = parse_object(text, (size_t)(first - text), &ret->header);
	if (r == 0)
		r = parse_object(first + 1, (size_t)(second - first - 1), &ret->claims);
	if (r == 0) /* a third dot is no digit */
		r = lab_base64url_decode(second + 1, strlen(second + 1), &ret->signature);
	return r;
}

void lab_jws_done(struct lab_jws *jws)
{
	json_decref(jws->header);
	json_decref(jws->claims);
	ig_buf_done(&jws->signature);
	*jws = (struct lab_jws){};
}

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}

const char *lab_jws_header(const struct lab_jws *jws, const char *name)
{
	return text_of(jws->header, name);
}

const char *lab_jws_claim(const struct lab_jws *jws, const char *name)
{
	return text_of(jws->claims, name);
}

bool lab_jws_time(const struct lab_jws *jws, const char *name, uint64_t *ret)
{
	const json_t *value = json_object_get(jws->claims, name);

	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*ret = (uint64_t)json_integer_value(value);
	return true;
}

enum lab_jws_alg lab_jws_alg(const struct lab_jws *jws)
{
	const char *alg = lab_jws_header(jws, "alg");

	if (strcmp(alg, "RS256") == 0)
		return LAB_JWS_RS256;
	return strcmp(alg, "PS256") == 0 ? LAB_JWS_PS256 : LAB_JWS_OTHER;
}

static bool use_pss(EVP_PKEY_CTX *ctx)
{
	return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
	       EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
}

bool lab_jws_verify(const struct lab_jws *jws, EVP_PKEY *key)
{
	_cleanup_(EVP_MD_CTX_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *key_ctx = NULL; /* owned by ctx */
	enum lab_jws_alg alg = lab_jws_alg(jws);
	bool good;

	if (!ctx || alg == LAB_JWS_OTHER || jws->signature.len == 0)
		return false;
	good = EVP_DigestVerifyInit(ctx, &key_ctx, EVP_sha256(), NULL, key) == 1 &&
	       (alg != LAB_JWS_PS256 || use_pss(key_ctx)) &&
	       EVP_DigestVerify(ctx, (const unsigned char *)jws->signature.data, jws->signature.len,
		       (const unsigned char *)jws->text, jws->text_len) == 1;
	ERR_clear_error(); /* a wrong signature leaves entries behind */
	return good;
}

static void put_json(struct ig_buf *out, const char *key, const json_t *value)
{
	_cleanup_free_ char *text = json_dumps(value, JSON_COMPACT | JSON_ENSURE_ASCII);

	ig_buf_json_key(out, key);
	ig_buf_puts(out, text ? text : "null");
}

void lab_jws_describe(const struct lab_jws *jws, struct ig_buf *out)
{
	uint64_t nbf = 0, exp = 0;

	ig_buf_putc(out, '{');
	put_json(out, "header", jws->header);
	put_json(out, "claims", jws->claims);
	if (lab_jws_time(jws, "nbf", &nbf) && lab_jws_time(jws, "exp", &exp) && exp >= nbf)
		ig_buf_json_member_u64(out, "lifetime", exp - nbf);
	ig_buf_putc(out, '}');
}
