/*
 * Forms and replies of RFC 6749; see oauth.h. Called by the sources.
 *
 * It must never accept a token that is issued for another identity than the one that was asked for,
 * and it trusts nothing in a reply: who answers at the link-local address is a matter of the host's
 * routing, not of a signature.
 */
#include "token/oauth.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/parse.h"
#include "token/token.h"

#define ERROR_CODE_BYTES 128
#define ERROR_TEXT_BYTES 4096
#define LAST_SECOND	 253402300799ULL /* 9999-12-31T23:59:59Z */

/* ---- request --------------------------------------------------------------------------------- */

void ig_oauth_put_encoded(struct ig_buf *b, const char *s)
{
	static const char plain[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

	for (; *s; s++) {
		if (strchr(plain, *s))
			ig_buf_putc(b, *s);
		else
			ig_buf_printf(b, "%%%02X", (unsigned char)*s);
	}
}

int ig_oauth_parse(const char *body, size_t len, json_t **ret)
{
	json_error_t error;
	json_t *reply = ig_json_load(body, len, JSON_REJECT_DUPLICATES, &error);

	if (!reply && json_error_code(&error) == json_error_out_of_memory)
		return -ENOMEM;
	if (!json_is_object(reply)) {
		json_decref(reply);
		return -EBADMSG;
	}
	*ret = reply;
	return 0;
}

/* ---- error reply ----------------------------------------------------------------------------- */

/* A copy of at most limit bytes that does not end within a UTF-8 sequence; jansson let only valid
 * ones in. */
static char *copy_cut(const char *s, size_t limit)
{
	size_t len = strlen(s);

	if (len > limit)
		for (len = limit; len && ((unsigned char)s[len] & 0xc0) == 0x80;)
			len--;
	return strndup(s, len);
}

int ig_oauth_read_error(const json_t *reply, char **reterr_code, char **reterr_text)
{
	const char *error = json_string_value(json_object_get(reply, "error"));
	const char *description = json_string_value(json_object_get(reply, "error_description"));
	_cleanup_free_ char *code = NULL;
	_cleanup_free_ char *text = NULL;

	if (!error || !*error)
		return -EBADMSG;
	code = copy_cut(error, ERROR_CODE_BYTES);
	text = copy_cut(description ? description : "", ERROR_TEXT_BYTES);
	if (!code || !text)
		return -ENOMEM;
	*reterr_code = TAKE_PTR(code);
	*reterr_text = TAKE_PTR(text);
	return -EACCES;
}

/* ---- token reply ----------------------------------------------------------------------------- */

/* A number of seconds, as a number or (IMDS) as a string. 1 and *ret, or 0 when it is absent or "",
 * which some emulators send for what they do not know. */
static int read_seconds(const json_t *reply, const char *name, uint64_t *ret)
{
	const json_t *value = json_object_get(reply, name);
	uint64_t sec;

	if (!value)
		return 0;
	if (json_is_string(value)) {
		if (!json_string_length(value))
			return 0;
		if (ig_parse_u64(json_string_value(value), &sec) < 0)
			return -EBADMSG;
	} else if (json_is_integer(value) && json_integer_value(value) >= 0) {
		sec = (uint64_t)json_integer_value(value);
	} else {
		return -EBADMSG;
	}
	if (sec > LAST_SECOND)
		return -EBADMSG;
	*ret = sec;
	return 1;
}

static int read_times(const json_t *reply, uint64_t now_sec, struct ig_token_fields *fields)
{
	uint64_t expires_in = 0;
	int has_on, has_in, r;

	fields->not_before_sec = now_sec;
	has_on = read_seconds(reply, "expires_on", &fields->expires_on_sec);
	has_in = read_seconds(reply, "expires_in", &expires_in);
	r = read_seconds(reply, "not_before", &fields->not_before_sec);
	if (has_on < 0 || has_in < 0 || r < 0)
		return -EBADMSG;
	if (!has_on && !has_in)
		return -EBADMSG;
	/* expires_on is the claim exp of the token; expires_in grew old on its way */
	if (!has_on)
		fields->expires_on_sec = now_sec + expires_in;
	if (fields->expires_on_sec > LAST_SECOND)
		return -EBADMSG;
	if (fields->expires_on_sec <= now_sec)
		return has_on ? -ETIME : -EBADMSG;
	fields->ext_expires_in_sec = fields->expires_on_sec - now_sec;
	r = read_seconds(reply, "ext_expires_in", &fields->ext_expires_in_sec);
	return r < 0 ? r : 0;
}

static int read_access_token(const json_t *reply, struct ig_token_fields *fields)
{
	const json_t *type = json_object_get(reply, "token_type");
	const json_t *token = json_object_get(reply, "access_token");
	const char *s = json_string_value(token);

	if (type &&
		(!json_is_string(type) || !ig_str_equal_nocase(json_string_value(type), "Bearer")))
		return -EBADMSG;
	if (!s || !*s || json_string_length(token) > IG_TOKEN_BYTES)
		return -EBADMSG;
	fields->access_token = s;
	for (; *s; s++)
		if (*s < 0x21 || *s > 0x7e)
			return -EBADMSG;
	return 0;
}

/* Whose token is it? A reply that names nobody is good enough only if upstream was asked by that
 * very client id: then the id went with the question, and an upstream that would ignore it would be
 * ignoring the only thing that makes it an identity service. Asked by object or resource id, or
 * with no selector at all, the name in the reply is the only proof that the two ids belong
 * together. */
static int read_client_id(
	const json_t *reply, const struct ig_token_key *key, struct ig_token_fields *fields)
{
	const json_t *value = json_object_get(reply, "client_id");
	const char *expected = key->expect_client_id;

	if (value && !json_is_string(value))
		return -EBADMSG;
	fields->client_id = value ? json_string_value(value) : "";
	if (strlen(fields->client_id) > IG_SELECTOR_BYTES)
		return -EBADMSG;
	if (!*expected || ig_str_equal_nocase(fields->client_id, expected))
		return 0;
	if (!*fields->client_id && key->upstream.kind == IG_SELECTOR_CLIENT_ID &&
		ig_str_equal_nocase(key->upstream.value, expected))
		return 0;
	return -EBADMSG;
}

/* The one secret string of the tree; the rest of jansson's memory is the wiping allocator's. */
static void wipe_access_token(const json_t *reply)
{
	const json_t *token = json_object_get(reply, "access_token");

	if (json_is_string(token))
		explicit_bzero(
			(char *)(uintptr_t)json_string_value(token), json_string_length(token));
}

int ig_oauth_read_token(const json_t *reply, const struct ig_token_key *key, uint64_t now_sec,
	struct ig_token **ret_token)
{
	struct ig_token_fields fields = {};
	int r;

	r = read_access_token(reply, &fields);
	if (r == 0)
		r = read_client_id(reply, key, &fields);
	if (r == 0)
		r = read_times(reply, now_sec, &fields);
	if (r == 0)
		r = ig_token_new(&fields, ret_token);
	wipe_access_token(reply);
	return r;
}
