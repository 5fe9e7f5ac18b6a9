/*
 * What an HTTP/1.x message looks like to the layers above the parser. Plain data; no behaviour.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum ig_http_method {
	IG_HTTP_GET,
	IG_HTTP_HEAD,
	IG_HTTP_POST,
	IG_HTTP_PUT,
	IG_HTTP_DELETE,
	IG_HTTP_PATCH,
	IG_HTTP_OPTIONS,
	IG_HTTP_OTHER, /* CONNECT, TRACE, WebDAV, … */
	_IG_HTTP_METHOD_MAX
};

struct ig_http_header {
	const char *name;  /* as sent; compare without regard to letter case */
	const char *value; /* leading and trailing blanks removed */
};

/* Valid only during the call that hands it over; strings are NUL-terminated and contain no NUL, CR
 * or LF. */
struct ig_http_request {
	enum ig_http_method method;
	const char *target; /* request target as sent: origin form, absolute form, or "*" */
	const struct ig_http_header *headers;
	size_t n_headers;
	const char *body; /* not terminated; NULL when empty */
	size_t body_len;
	unsigned int minor_version; /* HTTP/1.x */
};

/* First header of that name, or NULL; *ret_count (optional) is how many there are. */
const char *ig_http_header_find(
	const struct ig_http_request *req, const char *name, size_t *ret_count);

/* The standard reason phrase ("Bad Request"), which legacy azure-cli matches on; "" when unknown.
 */
const char *ig_http_reason(unsigned int status);

/* "GET", …; "OTHER" for what has no name here. */
const char *ig_http_method_name(enum ig_http_method method);
