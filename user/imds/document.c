/*
 * Metadata documents; see document.h. Called by the request handler (what came in) and by
 * agent/documents.c (what came back); both are hostile, the second less so.
 *
 * It must never let a byte of the request into the URL that is not in one of the closed sets here,
 * and never hand on an answer that is not what its format says: a page of some proxy's, or binary
 * data, is no metadata.
 */
#include "imds/document.h"

#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "imds/query.h"
#include "imds/request.h"

#define ROOT	      "/metadata"
#define LOCATION      ROOT "/instance/compute/location"
#define URL_BYTES     4096
#define INFO_BYTES    256
#define JSON_TYPE     "application/json; charset=utf-8"
#define TEXT_TYPE     "text/plain; charset=utf-8"
#define VERSION_BYTES (sizeof("2025-04-07") - 1)

/* Fills the reply; should memory fail, it is still a valid one without a body. */
static int fail(enum ig_imds_error error, struct ig_imds_reply *reterr_reply)
{
	(void)ig_imds_reply_error(error, NULL, NULL, reterr_reply);
	return -EBADMSG;
}

/* ---- requests -------------------------------------------------------------------------------- */

static bool is_document_route(enum ig_imds_route route)
{
	return route == IG_IMDS_ROUTE_INSTANCE || route == IG_IMDS_ROUTE_ATTESTED ||
	       route == IG_IMDS_ROUTE_LOADBALANCER || route == IG_IMDS_ROUTE_SCHEDULEDEVENTS;
}

/* A path that a route was found for has no empty and no dot segments. Here go all characters that
 * no name of a document has. */
static bool is_plain_path(const char *path, size_t len)
{
	static const char plain[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./";

	for (size_t i = 0; i < len; i++)
		if (!path[i] || !strchr(plain, path[i]))
			return false;
	return true;
}

int ig_imds_document_path(
	const struct ig_imds_target *target, char ret[static IG_DOCUMENT_PATH_BYTES + 1])
{
	static const char root[] = ROOT;
	size_t root_len = sizeof(root) - 1;

	if (target->path_len <= root_len || target->path_len > IG_DOCUMENT_PATH_BYTES ||
		!is_plain_path(target->path, target->path_len))
		return -EBADMSG;
	memcpy(ret, root, root_len);
	memcpy(ret + root_len, target->path + root_len, target->path_len - root_len);
	ret[target->path_len] = '\0';
	return 0;
}

/* Those of the instance documents: all that the token path has, and four that are older. */
static bool is_instance_version(const char *version)
{
	static const char *const older[] = {"2017-04-02", "2017-08-01", "2017-10-01", "2017-12-01"};

	for (size_t i = 0; i < IG_ARRAY_SIZE(older); i++)
		if (strcmp(older[i], version) == 0)
			return true;
	return ig_imds_api_version_has_token(version);
}

static enum ig_imds_error read_format(const struct ig_imds_query *q, enum ig_imds_format *ret)
{
	const struct ig_imds_param *format = ig_imds_query_find_value(q, "format");

	if (!format || strcmp(format->value, "json") == 0)
		*ret = IG_IMDS_FORMAT_JSON;
	else if (strcmp(format->value, "text") == 0)
		*ret = IG_IMDS_FORMAT_TEXT;
	else
		return IG_IMDS_ERROR_BAD_QUERY;
	return IG_IMDS_ERROR_NONE;
}

static enum ig_imds_error read_query(const char *text, struct ig_imds_document *ret)
{
	const struct ig_imds_param *version;
	struct ig_imds_query q;

	if (ig_imds_query_parse(text, &q) < 0)
		return IG_IMDS_ERROR_BAD_QUERY;
	version = ig_imds_query_find(&q, "api-version");
	if (!version || version->value_len != VERSION_BYTES || !is_instance_version(version->value))
		return IG_IMDS_ERROR_BAD_API_VERSION;
	memcpy(ret->api_version, version->value, VERSION_BYTES + 1);
	return read_format(&q, &ret->format);
}

int ig_imds_document_parse(const struct ig_http_request *req, const struct ig_imds_target *target,
	struct ig_imds_document *ret, struct ig_imds_reply *reterr_reply)
{
	struct ig_imds_document parsed = {.route = target->route};
	enum ig_imds_error error;

	if (!is_document_route(target->route) || ig_imds_document_path(target, parsed.path) < 0)
		return fail(IG_IMDS_ERROR_NOT_FOUND, reterr_reply);
	if (req->method != IG_HTTP_GET)
		return fail(IG_IMDS_ERROR_METHOD, reterr_reply);
	if (ig_imds_check_headers(req, reterr_reply) < 0)
		return -EBADMSG;
	if (parsed.route == IG_IMDS_ROUTE_INSTANCE) {
		error = read_query(target->query, &parsed);
		if (error != IG_IMDS_ERROR_NONE)
			return fail(error, reterr_reply);
	}
	*ret = parsed;
	return 0;
}

bool ig_imds_document_equal(const struct ig_imds_document *a, const struct ig_imds_document *b)
{
	return a->route == b->route && a->format == b->format &&
	       strcmp(a->api_version, b->api_version) == 0 && strcmp(a->path, b->path) == 0;
}

/* ---- upstream -------------------------------------------------------------------------------- */

int ig_imds_document_url(const char *imds_url, const struct ig_imds_document *document, char **ret)
{
	static const char *const formats[_IG_IMDS_FORMAT_MAX] = {
		[IG_IMDS_FORMAT_JSON] = "json", [IG_IMDS_FORMAT_TEXT] = "text"};
	_cleanup_(ig_buf_donep) struct ig_buf url = {};
	size_t len = strlen(imds_url);
	int r;

	if (document->route != IG_IMDS_ROUTE_INSTANCE)
		return -EINVAL;
	if (!ig_str_has_prefix(imds_url, "http://") && !ig_str_has_prefix(imds_url, "https://"))
		return -EINVAL;
	while (len && imds_url[len - 1] == '/')
		len--;
	ig_buf_init(&url, URL_BYTES);
	ig_buf_append(&url, imds_url, len);
	ig_buf_puts(&url, document->path);
	ig_buf_printf(&url, "?api-version=%s&format=%s", document->api_version,
		formats[document->format]);
	r = ig_buf_finish(&url);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(url.data);
	return 0;
}

static void free_json(json_t **p)
{
	json_decref(*p);
}

/* An object or an array, and no token, whatever upstream takes the path for. */
static bool is_json(const char *body, size_t len)
{
	_cleanup_(free_json) json_t *root = json_loadb(body, len, 0, NULL);

	return root && !json_object_get(root, "access_token");
}

/* UTF-8 in lines, without other control characters. A leaf may be empty. */
static bool is_lines(const char *body, size_t len)
{
	const unsigned char *p = (const unsigned char *)body;

	while (len) {
		size_t n =
			*p == '\n' || *p == '\r' || *p == '\t' ? 1 : ig_imds_text_sequence(p, len);

		if (n == 0)
			return false;
		p += n;
		len -= n;
	}
	return true;
}

/* Our answer to one that is not handed on; NONE: it is. */
static enum ig_imds_error judge(const struct ig_imds_document *document, unsigned int status,
	const char *body, size_t body_len)
{
	switch (status) {
	case 200:
		if (document->format == IG_IMDS_FORMAT_JSON ? is_json(body, body_len)
							    : is_lines(body, body_len))
			return IG_IMDS_ERROR_NONE;
		return IG_IMDS_ERROR_SERVER;
	case 400: /* a leaf that has to be asked for as text; an api-version it does not know */
	case 404: /* no such element */
		/* errors are JSON in either format */
		return is_json(body, body_len) ? IG_IMDS_ERROR_NONE : IG_IMDS_ERROR_SERVER;
	case 408:
	case 410: /* IMDS is being updated */
	case 429: return IG_IMDS_ERROR_UNAVAILABLE;
	default: return status >= 500 ? IG_IMDS_ERROR_UNAVAILABLE : IG_IMDS_ERROR_SERVER;
	}
}

int ig_imds_document_reply(const struct ig_imds_document *document, unsigned int status,
	const char *body, size_t body_len, struct ig_imds_reply *ret)
{
	bool text = status == 200 && document->format == IG_IMDS_FORMAT_TEXT;
	enum ig_imds_error error = body_len > IG_DOCUMENT_BYTES
					   ? IG_IMDS_ERROR_SERVER
					   : judge(document, status, body, body_len);
	int r;

	if (error != IG_IMDS_ERROR_NONE)
		return ig_imds_document_error(document, error, ret);
	*ret = (struct ig_imds_reply){
		.status = status, .content_type = text ? TEXT_TYPE : JSON_TYPE};
	ig_buf_init(&ret->body, IG_DOCUMENT_BYTES);
	ig_buf_append(&ret->body, body, body_len);
	r = ig_buf_finish(&ret->body);
	if (r == 0)
		return 0;
	ig_imds_reply_done(ret);
	(void)ig_imds_document_error(document, IG_IMDS_ERROR_SERVER, ret);
	return r;
}

int ig_imds_document_error(const struct ig_imds_document *document, enum ig_imds_error error,
	struct ig_imds_reply *ret)
{
	int r = ig_imds_reply_error(error, NULL, NULL, ret);

	if (ig_str_equal_nocase(document->path, LOCATION)) {
		ig_buf_done(&ret->body);
		ret->content_type = NULL;
		return 0;
	}
	return r;
}

/* ---- /metadata/identity/info ----------------------------------------------------------------- */

int ig_imds_info_parse(const struct ig_http_request *req, const struct ig_imds_target *target,
	struct ig_imds_reply *reterr_reply)
{
	const struct ig_imds_param *version;
	struct ig_imds_query q;

	if (target->route != IG_IMDS_ROUTE_INFO)
		return fail(IG_IMDS_ERROR_NOT_FOUND, reterr_reply);
	if (req->method != IG_HTTP_GET)
		return fail(IG_IMDS_ERROR_METHOD, reterr_reply);
	if (ig_imds_check_headers(req, reterr_reply) < 0)
		return -EBADMSG;
	if (ig_imds_query_parse(target->query, &q) < 0)
		return fail(IG_IMDS_ERROR_BAD_QUERY, reterr_reply);
	version = ig_imds_query_find(&q, "api-version");
	if (!version || !ig_imds_api_version_has_token(version->value))
		return fail(IG_IMDS_ERROR_BAD_API_VERSION, reterr_reply);
	return 0;
}

int ig_imds_info_reply(const char *tenant_id, struct ig_imds_reply *ret)
{
	int r;

	*ret = (struct ig_imds_reply){.status = 200, .content_type = JSON_TYPE};
	ig_buf_init(&ret->body, INFO_BYTES);
	ig_buf_putc(&ret->body, '{');
	ig_buf_json_member_str(&ret->body, "tenantId", tenant_id);
	ig_buf_putc(&ret->body, '}');
	r = ig_buf_finish(&ret->body);
	if (r < 0)
		ig_buf_wipe(&ret->body);
	return r;
}
