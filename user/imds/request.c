/*
 * From an HTTP request to a token request or the error that answers it; see request.h. Called by
 * the request handler of the server process; everything that comes in is hostile.
 *
 * Pure, without allocation other than the body of an error. Must never let an attribute of the
 * caller matter: a request without the Metadata header gets the same answer from every workload.
 */
#include "imds/request.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "imds/query.h"

/* ---- headers ----------------------------------------------------------------------------- */

static void copy_fact(const struct ig_http_request *req, const char *name,
	char ret[static IG_CLIENT_FACT_BYTES + 1])
{
	const char *value = ig_http_header_find(req, name, NULL);
	size_t len = value ? strnlen(value, IG_CLIENT_FACT_BYTES) : 0;

	if (len)
		memcpy(ret, value, len);
	ret[len] = '\0';
}

void ig_imds_client_facts(const struct ig_http_request *req, struct ig_imds_client_facts *ret)
{
	copy_fact(req, "User-Agent", ret->user_agent);
	copy_fact(req, "x-ms-client-request-id", ret->request_id);
	copy_fact(req, "x-client-SKU", ret->sdk);
	copy_fact(req, "x-client-Ver", ret->sdk_version);
}

/* Fills the reply; should memory fail, it is still a valid one without a body. */
static int fail(enum ig_imds_error error, struct ig_imds_reply *reterr_reply)
{
	(void)ig_imds_reply_error(error, NULL, NULL, reterr_reply);
	return -EBADMSG;
}

static enum ig_imds_error check_headers(const struct ig_http_request *req)
{
	size_t n_metadata = 0, n_forwarded = 0;
	const char *metadata = ig_http_header_find(req, "Metadata", &n_metadata);

	/* documented as lower case; cloud providers send "True", too */
	if (n_metadata != 1 || !ig_str_equal_nocase(metadata, "true"))
		return IG_IMDS_ERROR_NO_METADATA_HEADER;
	(void)ig_http_header_find(req, "X-Forwarded-For", &n_forwarded);
	return n_forwarded ? IG_IMDS_ERROR_FORWARDED : IG_IMDS_ERROR_NONE;
}

int ig_imds_check_headers(const struct ig_http_request *req, struct ig_imds_reply *reterr_reply)
{
	enum ig_imds_error error = check_headers(req);

	return error == IG_IMDS_ERROR_NONE ? 0 : fail(error, reterr_reply);
}

/* ---- the token request ------------------------------------------------------------------- */

static enum ig_imds_error check_target(
	const struct ig_http_request *req, const struct ig_imds_target *target)
{
	if (target->route == IG_IMDS_ROUTE_INVALID)
		return IG_IMDS_ERROR_MALFORMED;
	if (target->route != IG_IMDS_ROUTE_TOKEN)
		return IG_IMDS_ERROR_NOT_FOUND;
	if (req->method != IG_HTTP_GET)
		return IG_IMDS_ERROR_METHOD;
	return check_headers(req);
}

static enum ig_imds_error read_resource(
	const struct ig_imds_query *q, struct ig_imds_token_request *ret)
{
	const struct ig_imds_param *resource = ig_imds_query_find_value(q, "resource");

	if (!resource)
		return IG_IMDS_ERROR_NO_RESOURCE;
	if (resource->value_len > IG_RESOURCE_BYTES)
		return IG_IMDS_ERROR_BAD_QUERY;
	memcpy(ret->resource, resource->value, resource->value_len + 1);
	return IG_IMDS_ERROR_NONE;
}

/* One selector at most. Two names of the same kind are one selector if their values agree. */
static enum ig_imds_error read_selector(const struct ig_imds_query *q, struct ig_selector *ret)
{
	static const struct {
		const char *name;
		enum ig_selector_kind kind;
	} selectors[] = {
		{"client_id", IG_SELECTOR_CLIENT_ID},
		{"object_id", IG_SELECTOR_OBJECT_ID},
		{"principal_id", IG_SELECTOR_OBJECT_ID},
		{"msi_res_id", IG_SELECTOR_RESOURCE_ID},
		{"mi_res_id", IG_SELECTOR_RESOURCE_ID},
	};

	for (size_t i = 0; i < IG_ARRAY_SIZE(selectors); i++) {
		const struct ig_imds_param *param = ig_imds_query_find_value(q, selectors[i].name);

		if (!param)
			continue;
		if (param->value_len > IG_SELECTOR_BYTES)
			return IG_IMDS_ERROR_BAD_QUERY;
		if (ret->kind == IG_SELECTOR_NONE) {
			ret->kind = selectors[i].kind;
			memcpy(ret->value, param->value, param->value_len + 1);
		} else if (ret->kind != selectors[i].kind ||
			   !ig_str_equal_nocase(ret->value, param->value)) {
			return IG_IMDS_ERROR_CONFLICTING_SELECTOR;
		}
	}
	return IG_IMDS_ERROR_NONE;
}

static enum ig_imds_error read_cache_control(
	const struct ig_imds_query *q, struct ig_imds_token_request *ret)
{
	const struct ig_imds_param *bypass = ig_imds_query_find(q, "bypass_cache");
	const struct ig_imds_param *refresh = ig_imds_query_find(q, "token_sha256_to_refresh");

	if (bypass && strcmp(bypass->value, "true") != 0)
		return IG_IMDS_ERROR_BAD_QUERY;
	ret->bypass_cache = bypass != NULL;
	if (!refresh || refresh->value_len != sizeof(ret->token_sha256) - 1)
		return IG_IMDS_ERROR_NONE;
	for (size_t i = 0; i < refresh->value_len; i++)
		if (ig_parse_hex_digit(refresh->value[i]) < 0)
			return IG_IMDS_ERROR_NONE;
	memcpy(ret->token_sha256, refresh->value, sizeof(ret->token_sha256));
	ig_str_lower(ret->token_sha256);
	return IG_IMDS_ERROR_NONE;
}

enum ig_imds_error ig_imds_token_query(
	const struct ig_imds_query *q, struct ig_imds_token_request *ret)
{
	enum ig_imds_error error = read_resource(q, ret);

	if (error == IG_IMDS_ERROR_NONE)
		error = read_selector(q, &ret->selector);
	if (error == IG_IMDS_ERROR_NONE)
		error = read_cache_control(q, ret);
	return error;
}

static enum ig_imds_error read_query(const char *text, struct ig_imds_token_request *ret)
{
	const struct ig_imds_param *version;
	struct ig_imds_query q;

	if (ig_imds_query_parse(text, &q) < 0)
		return IG_IMDS_ERROR_BAD_QUERY;
	version = ig_imds_query_find(&q, "api-version");
	if (!version || !ig_imds_api_version_has_token(version->value))
		return IG_IMDS_ERROR_BAD_API_VERSION;
	return ig_imds_token_query(&q, ret);
}

int ig_imds_token_request_parse(const struct ig_http_request *req,
	const struct ig_imds_target *target, struct ig_imds_token_request *ret,
	struct ig_imds_reply *reterr_reply)
{
	struct ig_imds_token_request parsed = {};
	enum ig_imds_error error = check_target(req, target);

	if (error == IG_IMDS_ERROR_NONE)
		error = read_query(target->query, &parsed);
	if (error != IG_IMDS_ERROR_NONE)
		return fail(error, reterr_reply);
	*ret = parsed;
	return 0;
}
