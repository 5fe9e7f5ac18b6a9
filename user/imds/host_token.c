/*
 * Requests and replies of /host/token; see host_token.h. The caller is a program of the node, but
 * what it sends is checked as if a stranger had sent it: the names it forwards come from others.
 *
 * Must never tell apart in its answer what the caller does not need to know, and never send a token
 * in anything but a reply of status 200.
 */
#include "imds/host_token.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"
#include "imds/query.h"

/* ---- the request ------------------------------------------------------------------------- */

static bool is_name(const char *s)
{
	size_t len = strlen(s);

	return len <= IG_OBJECT_NAME_BYTES &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") == len;
}

/* The header must come once and must not be empty. */
static enum ig_imds_error read_name(const struct ig_http_request *req, const char *header,
	char ret[static IG_OBJECT_NAME_BYTES + 1])
{
	size_t n = 0;
	const char *value = ig_http_header_find(req, header, &n);

	if (!value || !value[0])
		return IG_IMDS_ERROR_NO_POD_NAME;
	if (n != 1 || !is_name(value))
		return IG_IMDS_ERROR_BAD_POD_NAME;
	memcpy(ret, value, strlen(value) + 1);
	return IG_IMDS_ERROR_NONE;
}

static enum ig_imds_error check_target(
	const struct ig_http_request *req, const struct ig_imds_target *target)
{
	size_t n_forwarded = 0;

	if (target->route == IG_IMDS_ROUTE_INVALID)
		return IG_IMDS_ERROR_MALFORMED;
	if (target->route != IG_IMDS_ROUTE_HOST_TOKEN)
		return IG_IMDS_ERROR_NOT_FOUND;
	if (req->method != IG_HTTP_GET)
		return IG_IMDS_ERROR_METHOD;
	(void)ig_http_header_find(req, "X-Forwarded-For", &n_forwarded);
	return n_forwarded ? IG_IMDS_ERROR_FORWARDED : IG_IMDS_ERROR_NONE;
}

static enum ig_imds_error read_query(const char *text, struct ig_imds_token_request *ret)
{
	struct ig_imds_query q;

	if (ig_imds_query_parse(text, &q) < 0)
		return IG_IMDS_ERROR_BAD_QUERY;
	return ig_imds_token_query(&q, ret);
}

int ig_imds_host_token_parse(const struct ig_http_request *req, const struct ig_imds_target *target,
	struct ig_imds_token_request *ret, struct ig_imds_pod_name *ret_pod,
	struct ig_imds_reply *reterr_reply)
{
	struct ig_imds_token_request parsed = {};
	struct ig_imds_pod_name pod = {};
	enum ig_imds_error error = check_target(req, target);

	if (error == IG_IMDS_ERROR_NONE)
		error = read_name(req, "podns", pod.namespace);
	if (error == IG_IMDS_ERROR_NONE)
		error = read_name(req, "podname", pod.name);
	if (error == IG_IMDS_ERROR_NONE)
		error = read_query(target->query, &parsed);
	if (error != IG_IMDS_ERROR_NONE) {
		(void)ig_imds_host_token_error(error, NULL, reterr_reply);
		return -EBADMSG;
	}
	*ret = parsed;
	*ret_pod = pod;
	return 0;
}

/* ---- replies ----------------------------------------------------------------------------- */

int ig_imds_host_token_reply(
	const struct ig_imds_token_view *view, const char *client_id, struct ig_imds_reply *ret)
{
	struct ig_buf *b = &ret->body;
	int r;

	*ret = (struct ig_imds_reply){
		.status = 200, .content_type = "application/json; charset=utf-8"};
	ig_buf_init(b, IG_IMDS_TOKEN_BODY_BYTES);
	ig_buf_puts(b, "{\"token\":");
	ig_imds_write_token(b, view);
	ig_buf_json_member_str(b, "clientid", client_id);
	ig_buf_putc(b, '}');
	r = ig_buf_finish(b);
	if (r < 0)
		ig_buf_wipe(b);
	return r;
}

/* Where the old words or statuses differ from those of the token path. */
static const struct {
	enum ig_imds_error error;
	unsigned int status;
	const char *text;
} differing[] = {
	{IG_IMDS_ERROR_NO_RESOURCE, 400, "parameter resource cannot be empty"},
	{IG_IMDS_ERROR_IDENTITY_NOT_FOUND, 404, "no azure identity found for the pod"},
	{IG_IMDS_ERROR_UPSTREAM_REJECTED, 403, "the identity's token was refused"},
};

int ig_imds_host_token_error(
	enum ig_imds_error error, const char *detail, struct ig_imds_reply *ret)
{
	const char *text = ig_imds_error_text(error);
	int r;

	/* status and headers; the body is another one */
	(void)ig_imds_reply_error(error, NULL, NULL, ret);
	ig_buf_wipe(&ret->body);
	for (size_t i = 0; i < IG_ARRAY_SIZE(differing); i++) {
		if (differing[i].error == error) {
			ret->status = differing[i].status;
			text = differing[i].text;
		}
	}
	if (error == IG_IMDS_ERROR_UPSTREAM_REJECTED && detail && detail[0])
		text = detail;
	ret->content_type = "text/plain; charset=utf-8";
	ret->headers[ret->n_headers++] =
		(struct ig_http_header){"X-Content-Type-Options", "nosniff"};
	ig_buf_init(&ret->body, IG_UPSTREAM_RESPONSE_BYTES + 1);
	ig_buf_puts(&ret->body, text);
	ig_buf_putc(&ret->body, '\n');
	r = ig_buf_finish(&ret->body);
	if (r < 0)
		ig_buf_wipe(&ret->body);
	return r;
}
