/*
 * Looking things up in a parsed message, and the reason phrases of the statuses that are sent.
 *
 * Pure functions without memory of their own. Never interprets a value: what a header means is the
 * business of the layers above. Called by the HTTP server and by everyone who is handed a request.
 */
#include "http/message.h"

#include "base/cleanup.h"
#include "base/parse.h"

static const struct {
	unsigned int status;
	const char *reason;
} reasons[] = {
	{200, "OK"},
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{408, "Request Timeout"},
	{410, "Gone"},
	{413, "Content Too Large"},
	{414, "URI Too Long"},
	{417, "Expectation Failed"},
	{429, "Too Many Requests"},
	{431, "Request Header Fields Too Large"},
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{502, "Bad Gateway"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
};

const char *ig_http_header_find(
	const struct ig_http_request *req, const char *name, size_t *ret_count)
{
	const char *first = NULL;
	size_t count = 0;

	for (size_t i = 0; i < req->n_headers; i++) {
		if (!ig_str_equal_nocase(req->headers[i].name, name))
			continue;
		if (count++ == 0)
			first = req->headers[i].value;
		if (!ret_count)
			break;
	}
	if (ret_count)
		*ret_count = count;
	return first;
}

const char *ig_http_reason(unsigned int status)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].reason;
	return "";
}

const char *ig_http_method_name(enum ig_http_method method)
{
	static const char *const names[_IG_HTTP_METHOD_MAX] = {
		[IG_HTTP_GET] = "GET",
		[IG_HTTP_HEAD] = "HEAD",
		[IG_HTTP_POST] = "POST",
		[IG_HTTP_PUT] = "PUT",
		[IG_HTTP_DELETE] = "DELETE",
		[IG_HTTP_PATCH] = "PATCH",
		[IG_HTTP_OPTIONS] = "OPTIONS",
		[IG_HTTP_OTHER] = "OTHER",
	};

	return method < _IG_HTTP_METHOD_MAX ? names[method] : names[IG_HTTP_OTHER];
}
