/*
 * A token in memory: reference counting, wiping, and the few facts that are read from the token
 * itself; see source.h and token.h. Used by the sources and the token service.
 *
 * It must never grant anything by what a JWT says: nobody verified its signature here. The claims
 * oid and tid are for display and for telling one's own identities apart; that appid names somebody
 * else is a reason to refuse.
 *
 * Token memory is ordinary malloc memory. It needs no MADV_DONTDUMP of its own because the process
 * makes itself non-dumpable at start; it is overwritten when the last reference goes.
 */
#include "token/token.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/parse.h"

#define SHA256_BYTES 32

struct counted_token {
	struct ig_token token; /* first: a pointer to it is a pointer to this */
	unsigned int refs;
};

static void free_wiped(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

struct ig_token *ig_token_ref(const struct ig_token *token)
{
	/* the reference count is not part of what a reader of a const token sees */
	struct counted_token *counted = (struct counted_token *)(uintptr_t)token;

	if (!counted)
		return NULL;
	assert(counted->refs > 0);
	counted->refs++;
	return &counted->token;
}

struct ig_token *ig_token_unref(struct ig_token *token)
{
	struct counted_token *counted = (struct counted_token *)token;

	if (!counted)
		return NULL;
	assert(counted->refs > 0);
	if (--counted->refs > 0)
		return NULL;
	free_wiped(token->access_token);
	free(token->client_id);
	explicit_bzero(counted, sizeof(*counted));
	free(counted);
	return NULL;
}
IG_DEFINE_CLEANUP(struct ig_token *, ig_token_unref);

/* ---- hash ------------------------------------------------------------------------------------ */

static int hash_token(struct ig_token *token)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char hash[SHA256_BYTES];
	unsigned int len = 0;

	if (EVP_Digest(token->access_token, strlen(token->access_token), hash, &len, EVP_sha256(),
		    NULL) != 1 ||
		len != sizeof(hash)) {
		/* libcurl's TLS reads the same queue */
		ERR_clear_error();
		return -ENOMEM;
	}
	for (size_t i = 0; i < sizeof(hash); i++) {
		token->sha256[2 * i] = digits[hash[i] >> 4];
		token->sha256[2 * i + 1] = digits[hash[i] & 0xf];
	}
	token->sha256[2 * sizeof(hash)] = '\0';
	memcpy(token->fingerprint, token->sha256, IG_TOKEN_FINGERPRINT_BYTES);
	token->fingerprint[IG_TOKEN_FINGERPRINT_BYTES] = '\0';
	return 0;
}

/* ---- claims ---------------------------------------------------------------------------------- */

static int base64url_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* Unpadded base64url (RFC 7515). out has room for len bytes. Returns how many were written. */
static ssize_t decode_base64url(const char *s, size_t len, char *out)
{
	unsigned int bits = 0, n_bits = 0;
	size_t n = 0;

	if (len % 4 == 1)
		return -EBADMSG;
	for (size_t i = 0; i < len; i++) {
		int digit = base64url_digit(s[i]);

		if (digit < 0)
			return -EBADMSG;
		bits = (bits << 6 | (unsigned int)digit) & 0xffffff;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			out[n++] = (char)(bits >> n_bits & 0xff);
		}
	}
	return (ssize_t)n;
}

static void free_claims(char **p)
{
	free_wiped(*p);
}

static void copy_guid(const json_t *claims, const char *name, char ret[37])
{
	const char *value = json_string_value(json_object_get(claims, name));

	if (value && ig_parse_is_guid(value))
		memcpy(ret, value, 37);
}

static void free_json(json_t **p)
{
	json_decref(*p);
}

/* The claims of a JWT (header.claims.signature). -EBADMSG when it is none, -ENOMEM. */
static int parse_claims(const char *jwt, json_t **ret)
{
	_cleanup_(free_claims) char *claims = NULL;
	const char *middle = strchr(jwt, '.');
	const char *end = middle ? strchr(middle + 1, '.') : NULL;
	json_error_t error;
	ssize_t n;

	if (!end || end - middle - 1 > IG_TOKEN_BYTES)
		return -EBADMSG;
	middle++;
	claims = calloc(1, (size_t)(end - middle) + 1);
	if (!claims)
		return -ENOMEM;
	n = decode_base64url(middle, (size_t)(end - middle), claims);
	if (n <= 0)
		return -EBADMSG;
	*ret = ig_json_load(claims, (size_t)n, JSON_REJECT_DUPLICATES, &error);
	if (!*ret)
		return json_error_code(&error) == json_error_out_of_memory ? -ENOMEM : -EBADMSG;
	return 0;
}

/* Anything else than a well-formed GUID in a well-formed JWT leaves the claims as they are. */
static void read_claims(struct ig_token *token)
{
	_cleanup_(free_json) json_t *claims = NULL;

	if (parse_claims(token->access_token, &claims) < 0)
		return;
	copy_guid(claims, "oid", token->object_id);
	copy_guid(claims, "tid", token->tenant_id);
}

int ig_token_check_app(const struct ig_token *token, const char *client_id)
{
	_cleanup_(free_json) json_t *claims = NULL;
	const char *app;
	int r = parse_claims(token->access_token, &claims);

	if (r < 0)
		return r == -ENOMEM ? r : 0;
	app = json_string_value(json_object_get(claims, "appid"));
	if (!app)
		app = json_string_value(json_object_get(claims, "azp"));
	return !app || ig_str_equal_nocase(app, client_id) ? 0 : -EBADMSG;
}

/* ---- making ---------------------------------------------------------------------------------- */

int ig_token_new(const struct ig_token_fields *fields, struct ig_token **ret)
{
	struct counted_token *counted = calloc(1, sizeof(*counted));
	_cleanup_(ig_token_unrefp) struct ig_token *token = counted ? &counted->token : NULL;
	int r;

	if (!token)
		return -ENOMEM;
	counted->refs = 1;
	token->access_token = strdup(fields->access_token);
	token->client_id = strdup(fields->client_id);
	if (!token->access_token || !token->client_id)
		return -ENOMEM;
	token->expires_on_sec = fields->expires_on_sec;
	token->not_before_sec = fields->not_before_sec;
	token->ext_expires_in_sec = fields->ext_expires_in_sec;
	r = hash_token(token);
	if (r < 0)
		return r;
	read_claims(token);
	*ret = TAKE_PTR(token);
	return 0;
}
