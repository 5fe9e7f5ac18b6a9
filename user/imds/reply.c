/*
 * Replies in the words of IMDS; see reply.h. Called for every request that was parsed.
 *
 * Clients compare texts, lengths and the order of members, so the texts here are part of the
 * protocol. Must never put anything of a caller into an error but what upstream said, and never
 * "Identity not found" or "unreachable" where the protocol does not have it: some clients then
 * decide that there is no identity at all.
 */
#include "imds/reply.h"

#include <string.h>

#include "base/cleanup.h"

#define CONTENT_TYPE "application/json; charset=utf-8"

/* What usually stands beside an access token. */
#define OTHER_MEMBERS_BYTES 480

/* JSON escapes make one byte six at most. */
#define ERROR_BODY_BYTES (6 * (IG_UPSTREAM_RESPONSE_BYTES + 1024))

static const struct error {
	const char *name;
	unsigned int status;
	const char *code; /* NULL: the body is not of the usual form */
	const char *text;
	const char *retry_after;
	const char *allow;
} errors[_IG_IMDS_ERROR_MAX] = {
	[IG_IMDS_ERROR_NONE] = {.name = "none",
		.status = 500,
		.code = "server_error",
		.text = "Server error"},
	[IG_IMDS_ERROR_NO_METADATA_HEADER] = {.name = "no_metadata_header",
		.status = 400,
		.code = "invalid_request",
		.text = "Required metadata header not specified"},
	[IG_IMDS_ERROR_FORWARDED] = {.name = "forwarded",
		.status = 400,
		.code = "invalid_request",
		.text = "X-Forwarded-For header is not allowed"},
	[IG_IMDS_ERROR_BAD_QUERY] = {.name = "bad_query",
		.status = 400,
		.code = "invalid_request",
		.text = "Invalid request"},
	[IG_IMDS_ERROR_BAD_API_VERSION] = {.name = "bad_api_version", .status = 400},
	[IG_IMDS_ERROR_NO_RESOURCE] = {.name = "no_resource",
		.status = 400,
		.code = "invalid_request",
		.text = "Required query variable 'resource' is missing"},
	[IG_IMDS_ERROR_CONFLICTING_SELECTOR] = {.name = "conflicting_selector",
		.status = 400,
		.code = "invalid_request",
		.text = "Only one of client_id, object_id and msi_res_id may be specified"},
	[IG_IMDS_ERROR_IDENTITY_NOT_FOUND] = {.name = "identity_not_found",
		.status = 400,
		.code = "invalid_request",
		.text = "Identity not found"},
	[IG_IMDS_ERROR_MULTIPLE_IDENTITIES] = {.name = "multiple_identities",
		.status = 400,
		.code = "invalid_request",
		.text = "Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request"},
	[IG_IMDS_ERROR_UPSTREAM_REJECTED] = {.name = "upstream_rejected",
		.status = 400,
		.code = "invalid_request",
		.text = "Invalid request"},
	[IG_IMDS_ERROR_NOT_FOUND] = {.name = "not_found",
		.status = 404,
		.code = "not_found",
		.text = "Not found"},
	[IG_IMDS_ERROR_METHOD] = {.name = "method",
		.status = 405,
		.code = "method_not_allowed",
		.text = "Not allowed",
		.allow = "GET"},
	[IG_IMDS_ERROR_TOO_MANY] = {.name = "too_many",
		.status = 429,
		.code = "too_many_requests",
		.text = "Too many requests",
		.retry_after = "1"},
	[IG_IMDS_ERROR_SERVER] = {.name = "server",
		.status = 500,
		.code = "server_error",
		.text = "Server error"},
	[IG_IMDS_ERROR_UNAVAILABLE] = {.name = "unavailable",
		.status = 503,
		.code = "service_unavailable",
		.text = "Service unavailable",
		.retry_after = "1"},
	[IG_IMDS_ERROR_FORBIDDEN] = {.name = "forbidden",
		.status = 403,
		.code = "forbidden",
		.text = "Forbidden"},
	[IG_IMDS_ERROR_NO_POD_NAME] = {.name = "no_pod_name",
		.status = 400,
		.code = "invalid_request",
		.text = "missing 'podname' and 'podns' from request header"},
	[IG_IMDS_ERROR_BAD_POD_NAME] = {.name = "bad_pod_name",
		.status = 400,
		.code = "invalid_request",
		.text = "'podname' or 'podns' in the request header is no name of a pod"},
	[IG_IMDS_ERROR_POD_NOT_FOUND] = {.name = "pod_not_found",
		.status = 404,
		.code = "not_found",
		.text = "the pod is not known on this node"},
	[IG_IMDS_ERROR_MALFORMED] = {.name = "malformed",
		.status = 400,
		.code = "invalid_request",
		.text = "Invalid request"},
};

/* Oldest first, as /metadata/versions lists them. */
static const char *const api_versions[] = {"2017-03-01", "2017-04-02", "2017-08-01", "2017-10-01",
	"2017-12-01", "2018-02-01", "2018-04-02", "2018-10-01", "2019-02-01", "2019-03-11",
	"2019-04-30", "2019-06-01", "2019-06-04", "2019-08-01", "2019-08-15", "2019-11-01",
	"2020-06-01", "2020-07-15", "2020-09-01", "2020-10-01", "2020-12-01", "2021-01-01",
	"2021-02-01", "2021-03-01", "2021-05-01", "2021-08-01", "2021-10-01", "2021-11-01",
	"2021-11-15", "2021-12-13", "2023-07-01", "2023-11-15", "2024-03-15", "2024-07-17",
	"2025-04-07"};

/* The identity endpoints exist since then; dates of this form sort as text. */
#define FIRST_TOKEN_VERSION "2018-02-01"
#define NEWEST_VERSIONS	    3

void ig_imds_reply_done(struct ig_imds_reply *reply)
{
	ig_buf_wipe(&reply->body);
	*reply = (struct ig_imds_reply){};
}

const char *ig_imds_error_name(enum ig_imds_error error)
{
	if ((unsigned int)error >= _IG_IMDS_ERROR_MAX)
		error = IG_IMDS_ERROR_SERVER;
	return errors[error].name;
}

const char *ig_imds_error_text(enum ig_imds_error error)
{
	const char *text;

	if ((unsigned int)error >= _IG_IMDS_ERROR_MAX)
		error = IG_IMDS_ERROR_SERVER;
	text = errors[error].text;
	return text ? text : "Bad request";
}

bool ig_imds_api_version_has_token(const char *version)
{
	if (strcmp(version, FIRST_TOKEN_VERSION) < 0)
		return false;
	for (size_t i = 0; i < IG_ARRAY_SIZE(api_versions); i++)
		if (strcmp(api_versions[i], version) == 0)
			return true;
	return false;
}

/* 0, or the failure of the body, which then is empty. */
static int finish(struct ig_imds_reply *reply)
{
	int r = ig_buf_finish(&reply->body);

	if (r < 0)
		ig_buf_wipe(&reply->body);
	return r;
}

static void write_bad_api_version(struct ig_buf *b)
{
	size_t n = IG_ARRAY_SIZE(api_versions);

	ig_buf_puts(b,
		"{\"error\":\"Bad request. api-version is invalid or was not specified in the request. For more information refer to aka.ms/azureimds\",\"newest-versions\":[");
	for (size_t i = 0; i < NEWEST_VERSIONS; i++)
		ig_buf_printf(b, "%s\"%s\"", i ? "," : "", api_versions[n - 1 - i]);
	ig_buf_puts(b, "]}");
}

static void add_header(struct ig_imds_reply *reply, const char *name, const char *value)
{
	if (value)
		reply->headers[reply->n_headers++] = (struct ig_http_header){name, value};
}

int ig_imds_reply_error(enum ig_imds_error error, const char *detail_code, const char *detail_text,
	struct ig_imds_reply *ret)
{
	bool relayed = error == IG_IMDS_ERROR_UPSTREAM_REJECTED;
	const struct error *e;

	if ((unsigned int)error >= _IG_IMDS_ERROR_MAX)
		error = IG_IMDS_ERROR_SERVER;
	e = &errors[error];
	*ret = (struct ig_imds_reply){
		.error = error, .status = e->status, .content_type = CONTENT_TYPE};
	add_header(ret, "Allow", e->allow);
	add_header(ret, "Retry-After", e->retry_after);
	ig_buf_init(&ret->body, ERROR_BODY_BYTES);
	if (error == IG_IMDS_ERROR_BAD_API_VERSION) {
		write_bad_api_version(&ret->body);
		return finish(ret);
	}
	ig_buf_putc(&ret->body, '{');
	ig_buf_json_member_str(&ret->body, "error",
		relayed && detail_code && *detail_code ? detail_code : e->code);
	ig_buf_json_member_str(&ret->body, "error_description",
		relayed && detail_text && *detail_text ? detail_text : e->text);
	ig_buf_putc(&ret->body, '}');
	return finish(ret);
}

/* Numbers are strings on this wire: some clients accept nothing else. */
static void member_number(struct ig_buf *b, const char *key, uint64_t value)
{
	ig_buf_json_key(b, key);
	ig_buf_putc(b, '"');
	ig_buf_put_u64(b, value);
	ig_buf_putc(b, '"');
}

void ig_imds_write_token(struct ig_buf *b, const struct ig_imds_token_view *view)
{
	enum ig_selector_kind asked_by = view->selector ? view->selector->kind : IG_SELECTOR_NONE;
	uint64_t expires_in =
		view->expires_on_sec > view->now_sec ? view->expires_on_sec - view->now_sec : 0;

	ig_buf_expect(b, strlen(view->access_token) + OTHER_MEMBERS_BYTES);
	ig_buf_putc(b, '{');
	ig_buf_json_member_str(b, "access_token", view->access_token);
	ig_buf_json_member_str(b, "client_id", view->client_id);
	/* one client keeps both in one variable: the absolute time has to come last */
	member_number(b, "expires_in", expires_in);
	member_number(b, "expires_on", view->expires_on_sec);
	member_number(b, "ext_expires_in", view->ext_expires_in_sec);
	if (asked_by == IG_SELECTOR_RESOURCE_ID)
		ig_buf_json_member_str(b, "msi_res_id", view->selector->value);
	member_number(b, "not_before", view->not_before_sec);
	if (asked_by == IG_SELECTOR_OBJECT_ID)
		ig_buf_json_member_str(b, "object_id", view->selector->value);
	ig_buf_json_member_str(b, "resource", view->resource);
	ig_buf_json_member_str(b, "token_type", "Bearer");
	ig_buf_putc(b, '}');
}

int ig_imds_reply_token(const struct ig_imds_token_view *view, struct ig_imds_reply *ret)
{
	*ret = (struct ig_imds_reply){.status = 200, .content_type = CONTENT_TYPE};
	ig_buf_init(&ret->body, IG_IMDS_TOKEN_BODY_BYTES);
	ig_imds_write_token(&ret->body, view);
	return finish(ret);
}

int ig_imds_reply_token_array(
	const struct ig_imds_token_view *views, size_t n, struct ig_imds_reply *ret)
{
	*ret = (struct ig_imds_reply){.status = 200, .content_type = CONTENT_TYPE};
	ig_buf_init(&ret->body, n * IG_IMDS_TOKEN_BODY_BYTES + 2);
	ig_buf_putc(&ret->body, '[');
	for (size_t i = 0; i < n; i++) {
		if (i)
			ig_buf_putc(&ret->body, ',');
		ig_imds_write_token(&ret->body, &views[i]);
	}
	ig_buf_putc(&ret->body, ']');
	return finish(ret);
}

int ig_imds_reply_versions(struct ig_imds_reply *ret)
{
	*ret = (struct ig_imds_reply){.status = 200, .content_type = CONTENT_TYPE};
	ig_buf_init(&ret->body, ERROR_BODY_BYTES);
	ig_buf_puts(&ret->body, "{\"apiVersions\":[");
	for (size_t i = 0; i < IG_ARRAY_SIZE(api_versions); i++)
		ig_buf_printf(&ret->body, "%s\"%s\"", i ? "," : "", api_versions[i]);
	ig_buf_puts(&ret->body, "]}");
	return finish(ret);
}
