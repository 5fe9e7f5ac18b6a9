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
#include "base/json.h"
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

/* Scheduled events have been there before the service's versions were shared, and some of its own
 * are still what its documentation asks for. */
static const char *const event_versions[] = {
	"2017-08-01", "2017-11-01", "2019-01-01", "2019-04-01", "2019-08-01", "2020-07-01", NULL};
static const char *const no_versions[] = {NULL};

static const struct rule {
	enum ig_imds_route route;
	const char *path;	     /* the only one; NULL: everything below, too */
	const char *since;	     /* first of the common api-versions */
	const char *const *versions; /* its own; ends with NULL */
	unsigned int shared_sec;     /* 0: not shared */
	bool text, nonce, says_format;
} rules[] = {
	{.route = IG_IMDS_ROUTE_INSTANCE,
		.since = "2017-04-02",
		.versions = no_versions,
		.shared_sec = IG_DOCUMENT_CACHE_SEC,
		.text = true,
		.says_format = true},
	{.route = IG_IMDS_ROUTE_ATTESTED,
		.path = ROOT "/attested/document",
		.since = "2018-10-01",
		.versions = no_versions,
		.nonce = true},
	{.route = IG_IMDS_ROUTE_LOADBALANCER,
		.path = ROOT "/loadbalancer",
		.since = "2020-10-01",
		.versions = no_versions,
		.shared_sec = IG_DOCUMENT_CACHE_SEC,
		.says_format = true},
	{.route = IG_IMDS_ROUTE_SCHEDULEDEVENTS,
		.path = ROOT "/scheduledevents",
		.since = "2017-08-01",
		.versions = event_versions,
		.shared_sec = IG_DOCUMENT_EVENTS_CACHE_SEC},
};

/* NULL when no document is there. */
static const struct rule *rule_of(enum ig_imds_route route)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(rules); i++)
		if (rules[i].route == route)
			return &rules[i];
	return NULL;
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

/* The common ones: all that the token path has, and four that are older; and the rule's own. */
static bool is_version(const struct rule *rule, const char *version)
{
	static const char *const older[] = {"2017-04-02", "2017-08-01", "2017-10-01", "2017-12-01"};
	bool common = ig_imds_api_version_has_token(version);

	for (size_t i = 0; i < IG_ARRAY_SIZE(older); i++)
		common |= strcmp(older[i], version) == 0;
	for (size_t i = 0; rule->versions[i]; i++)
		if (strcmp(rule->versions[i], version) == 0)
			return true;
	/* dates compare as texts */
	return common && strcmp(version, rule->since) >= 0;
}

static enum ig_imds_error read_format(
	const struct rule *rule, const struct ig_imds_query *q, enum ig_imds_format *ret)
{
	const struct ig_imds_param *format = ig_imds_query_find_value(q, "format");

	if (!format || strcmp(format->value, "json") == 0)
		*ret = IG_IMDS_FORMAT_JSON;
	else if (rule->text && strcmp(format->value, "text") == 0)
		*ret = IG_IMDS_FORMAT_TEXT;
	else
		return IG_IMDS_ERROR_BAD_QUERY;
	return IG_IMDS_ERROR_NONE;
}

/* Documented as ten digits. What is sent on has to be safe in a URL as it is. */
static enum ig_imds_error read_nonce(
	const struct ig_imds_query *q, char ret[static IG_NONCE_BYTES + 1])
{
	const struct ig_imds_param *nonce = ig_imds_query_find_value(q, "nonce");

	if (!nonce)
		return IG_IMDS_ERROR_NONE;
	if (nonce->value_len > IG_NONCE_BYTES)
		return IG_IMDS_ERROR_BAD_QUERY;
	for (const char *p = nonce->value; *p; p++)
		if (!(*p >= '0' && *p <= '9') && !(*p >= 'a' && *p <= 'z') &&
			!(*p >= 'A' && *p <= 'Z'))
			return IG_IMDS_ERROR_BAD_QUERY;
	memcpy(ret, nonce->value, nonce->value_len + 1);
	return IG_IMDS_ERROR_NONE;
}

static enum ig_imds_error read_query(
	const struct rule *rule, const char *text, struct ig_imds_document *ret)
{
	const struct ig_imds_param *version;
	enum ig_imds_error error;
	struct ig_imds_query q;

	if (ig_imds_query_parse(text, &q) < 0)
		return IG_IMDS_ERROR_BAD_QUERY;
	version = ig_imds_query_find(&q, "api-version");
	if (!version || version->value_len != VERSION_BYTES || !is_version(rule, version->value))
		return IG_IMDS_ERROR_BAD_API_VERSION;
	memcpy(ret->api_version, version->value, VERSION_BYTES + 1);
	error = read_format(rule, &q, &ret->format);
	return error == IG_IMDS_ERROR_NONE && rule->nonce ? read_nonce(&q, ret->nonce) : error;
}

int ig_imds_document_parse(const struct ig_http_request *req, const struct ig_imds_target *target,
	struct ig_imds_document *ret, struct ig_imds_reply *reterr_reply)
{
	struct ig_imds_document parsed = {.route = target->route};
	const struct rule *rule = rule_of(target->route);

	if (!rule || ig_imds_document_path(target, parsed.path) < 0)
		return fail(IG_IMDS_ERROR_NOT_FOUND, reterr_reply);
	if (req->method != IG_HTTP_GET)
		return fail(IG_IMDS_ERROR_METHOD, reterr_reply);
	if (ig_imds_check_headers(req, reterr_reply) < 0)
		return -EBADMSG;
	if (rule->path && strcmp(rule->path, parsed.path) != 0)
		parsed.flaw = IG_IMDS_ERROR_NOT_FOUND;
	else
		parsed.flaw = read_query(rule, target->query, &parsed);
	if (parsed.flaw != IG_IMDS_ERROR_NONE && parsed.route == IG_IMDS_ROUTE_INSTANCE)
		return fail(parsed.flaw, reterr_reply);
	*ret = parsed;
	return 0;
}

bool ig_imds_document_equal(const struct ig_imds_document *a, const struct ig_imds_document *b)
{
	return a->route == b->route && a->format == b->format && a->flaw == b->flaw &&
	       strcmp(a->api_version, b->api_version) == 0 && strcmp(a->nonce, b->nonce) == 0 &&
	       strcmp(a->path, b->path) == 0;
}

unsigned int ig_imds_document_shared_sec(const struct ig_imds_document *document)
{
	const struct rule *rule = rule_of(document->route);

	return rule ? rule->shared_sec : 0;
}

/* ---- upstream -------------------------------------------------------------------------------- */

int ig_imds_document_url(const char *imds_url, const struct ig_imds_document *document, char **ret)
{
	static const char *const formats[_IG_IMDS_FORMAT_MAX] = {
		[IG_IMDS_FORMAT_JSON] = "json", [IG_IMDS_FORMAT_TEXT] = "text"};
	const struct rule *rule = rule_of(document->route);
	_cleanup_(ig_buf_donep) struct ig_buf url = {};
	size_t len = strlen(imds_url);
	int r;

	if (!rule || document->flaw != IG_IMDS_ERROR_NONE)
		return -EINVAL;
	if (!ig_str_has_prefix(imds_url, "http://") && !ig_str_has_prefix(imds_url, "https://"))
		return -EINVAL;
	while (len && imds_url[len - 1] == '/')
		len--;
	ig_buf_init(&url, URL_BYTES);
	ig_buf_append(&url, imds_url, len);
	ig_buf_puts(&url, document->path);
	ig_buf_printf(&url, "?api-version=%s", document->api_version);
	if (rule->says_format)
		ig_buf_printf(&url, "&format=%s", formats[document->format]);
	if (document->nonce[0])
		ig_buf_printf(&url, "&nonce=%s", document->nonce);
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

/* What a client would take for a token (or, in the older form, for several), whatever upstream
 * takes the path for. */
static bool is_token(const json_t *root)
{
	const json_t *item;
	size_t i;

	if (json_object_get(root, "access_token"))
		return true;
	json_array_foreach (root, i, item)
		if (json_object_get(item, "access_token"))
			return true;
	return false;
}

/* An object or an array, and no token. */
static bool is_json(const char *body, size_t len)
{
	_cleanup_(free_json) json_t *root = ig_json_load(body, len, 0, NULL);

	return root && !is_token(root);
}

/* UTF-8 in lines, without other control characters, and no token. A leaf may be empty. */
static bool is_lines(const char *body, size_t len)
{
	_cleanup_(free_json) json_t *root = ig_json_load(body, len, 0, NULL);
	const unsigned char *p = (const unsigned char *)body;

	if (is_token(root))
		return false;
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
