/*
 * Tokens from the real IMDS, or from what stands in for it: the request line and the reply; see
 * source.h. Called by the token service. Pure: no network, no clock, no state.
 *
 * It must never turn what is not understood into a token: oauth.c decides whose token it is.
 */
#include "token/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "http/client.h"
#include "token/oauth.h"

#define TOKEN_PATH "/metadata/identity/oauth2/token?api-version=2018-02-01"
#define URL_BYTES  16384

static void free_json(json_t **p)
{
	json_decref(*p);
}

/* ---- request --------------------------------------------------------------------------------- */

static const char *selector_parameter(enum ig_selector_kind kind)
{
	switch (kind) {
	case IG_SELECTOR_CLIENT_ID: return "&client_id=";
	case IG_SELECTOR_OBJECT_ID: return "&object_id=";
	case IG_SELECTOR_RESOURCE_ID: return "&msi_res_id=";
	case IG_SELECTOR_NONE:
	case _IG_SELECTOR_KIND_MAX: break;
	}
	return NULL;
}

int ig_source_imds_url(
	const char *imds_url, const struct ig_token_key *key, bool bypass_cache, char **ret)
{
	_cleanup_(ig_buf_donep) struct ig_buf url = {};
	const char *parameter = selector_parameter(key->upstream.kind);
	size_t len = strlen(imds_url);
	int r;

	if (!ig_str_has_prefix(imds_url, "http://") && !ig_str_has_prefix(imds_url, "https://"))
		return -EINVAL;
	if (key->upstream.kind != IG_SELECTOR_NONE && (!parameter || !key->upstream.value[0]))
		return -EINVAL;
	while (len && imds_url[len - 1] == '/')
		len--;
	ig_buf_init(&url, URL_BYTES);
	ig_buf_append(&url, imds_url, len);
	ig_buf_puts(&url, TOKEN_PATH "&resource=");
	ig_oauth_put_encoded(&url, key->resource);
	if (parameter) {
		ig_buf_puts(&url, parameter);
		ig_oauth_put_encoded(&url, key->upstream.value);
	}
	if (bypass_cache)
		ig_buf_puts(&url, "&bypass_cache=true");
	r = ig_buf_finish(&url);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(url.data);
	return 0;
}

bool ig_source_imds_is_complete(const struct ig_token_key *key)
{
	(void)key;
	return true;
}

int ig_source_imds_prepare(const struct ig_source_request *request, struct ig_source_call *ret_call,
	struct ig_err *reterr_err)
{
	static const char *const headers[] = {"Metadata: true", NULL};
	char *url = NULL;
	int r = ig_source_imds_url(
		request->places->imds_url, request->key, request->bypass_cache, &url);

	if (r < 0)
		return ig_err_set(reterr_err, r, "upstream cannot be asked");
	*ret_call = (struct ig_source_call){.url = url, .headers = headers};
	return 0;
}

/* ---- reply ----------------------------------------------------------------------------------- */

int ig_source_imds_reply(unsigned int status, const char *body, size_t len,
	const struct ig_token_key *key, uint64_t now_sec, struct ig_token **ret_token,
	char **reterr_code, char **reterr_text)
{
	_cleanup_(free_json) json_t *reply = NULL;
	int r = ig_oauth_parse(body, len, &reply);

	if (r < 0)
		return r;
	if (status == 200)
		return ig_oauth_read_token(reply, key, now_sec, ret_token);
	return ig_oauth_read_error(reply, reterr_code, reterr_text);
}

/* 404 and 410: IMDS is being updated. 408 is a time-out on the other side. */
static bool is_passing(unsigned int status)
{
	return status == 404 || status == 408 || status == 410 || status == 429 || status >= 500;
}

static void classify(unsigned int status, int r, struct ig_source_answer *answer)
{
	enum ig_token_failure_kind kind = IG_TOKEN_REJECTED;

	if (is_passing(status))
		kind = IG_TOKEN_UNAVAILABLE;
	else if (status < 400 || r != -EACCES)
		kind = IG_TOKEN_BROKEN;
	else if (status == 400 && ig_str_equal_nocase(answer->text, "Identity not found"))
		kind = IG_TOKEN_NOT_FOUND;
	ig_source_answer_fail(answer, kind, "upstream answered %u", status);
}

void ig_source_imds_read(const struct ig_http_response *response, const struct ig_token_key *key,
	uint64_t now_sec, struct ig_source_answer *ret_answer)
{
	int r = ig_source_imds_reply(response->status, response->body, response->body_len, key,
		now_sec, &ret_answer->token, &ret_answer->code, &ret_answer->text);

	if (r == 0)
		return;
	if (r == -ENOMEM)
		ig_source_answer_fail(ret_answer, IG_TOKEN_UNAVAILABLE, "out of memory");
	else if (r == -ETIME)
		ig_source_answer_fail(ret_answer, IG_TOKEN_BROKEN, IG_OAUTH_EXPIRED_TEXT);
	else if (response->status == 200)
		ig_source_answer_fail(ret_answer, IG_TOKEN_BROKEN,
			"upstream's reply is not a token for this identity");
	else
		classify(response->status, r, ret_answer);
}
