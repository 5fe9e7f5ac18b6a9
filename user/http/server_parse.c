/*
 * From hostile bytes to a request head; see server_internal.h. Pure functions without allocation,
 * called by the HTTP server for every request and by the fuzzer.
 *
 * llhttp decides what a header is, this file decides what we accept. llhttp 8.1 lets a bare CR
 * through in header values (CVE-2023-30589), takes LF alone as a line end, joins folded lines and,
 * unless built strict, allows blanks in names and high bytes in targets. So lines and their bytes
 * are checked before llhttp sees them, and its results are compared with what is on the wire.
 * Nothing here may ever guess what a client meant: in doubt it is 400.
 */
#include "http/server_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <llhttp.h>

#include "base/parse.h"

/* Control characters without HTAB: none of them is allowed inside a line of a head. */
static const bool is_control[256] = {
	[0x00 ... 0x08] = true,
	[0x0a ... 0x1f] = true,
	[0x7f] = true,
};

/* RFC 9110 5.6.2: what method and header names are made of. */
static const bool is_token[256] = {
	['0' ... '9'] = true,
	['A' ... 'Z'] = true,
	['a' ... 'z'] = true,
	['!'] = true,
	['#' ... '\''] = true,
	['*'] = true,
	['+'] = true,
	['-'] = true,
	['.'] = true,
	['^' ... '`'] = true,
	['|'] = true,
	['~'] = true,
};

/* RFC 3986: host and port, IPv6 literals included. */
static const bool is_host[256] = {
	['0' ... ':'] = true,
	['A' ... 'Z'] = true,
	['a' ... 'z'] = true,
	['!'] = true,
	['$' ... '.'] = true,
	[';'] = true,
	['='] = true,
	['['] = true,
	[']'] = true,
	['_'] = true,
	['~'] = true,
};

static int refuse(struct ig_http_refusal *reterr_refusal, unsigned int status, const char *why)
{
	*reterr_refusal = (struct ig_http_refusal){.status = status, .why = why};
	return -EBADMSG;
}

/* A line ended: scan->pos is at its CR. Returns like ig_http_scan_head(). */
static ssize_t end_line(
	struct ig_http_scan *scan, const char *buf, struct ig_http_refusal *reterr_refusal)
{
	size_t line_len = scan->pos - scan->line_start;
	char first = buf[scan->line_start];

	scan->pos += 2;
	if (scan->n_lines && scan->pos - scan->headers_start > IG_HTTP_HEADER_LINES_BYTES)
		return refuse(reterr_refusal, 431, "headers too large");
	if (line_len == 0 && scan->n_lines == 0)
		return refuse(reterr_refusal, 400, "no request line");
	if (line_len == 0)
		return (ssize_t)scan->pos;
	if (first == ' ' || first == '\t')
		return refuse(reterr_refusal, 400, "line starts with a blank");
	if (scan->n_lines > IG_HTTP_HEADERS_MAX)
		return refuse(reterr_refusal, 431, "too many headers");
	if (scan->n_lines == 0) {
		if (line_len > IG_HTTP_REQUEST_LINE_BYTES)
			return refuse(reterr_refusal, 414, "request line too long");
		scan->headers_start = scan->pos;
	}
	scan->n_lines++;
	scan->line_start = scan->pos;
	return 0;
}

ssize_t ig_http_scan_head(struct ig_http_scan *scan, const char *buf, size_t len,
	struct ig_http_refusal *reterr_refusal)
{
	for (;;) {
		size_t pos = scan->pos;
		ssize_t r;

		while (pos < len && !is_control[(unsigned char)buf[pos]])
			pos++;
		scan->pos = pos;
		if (pos == len)
			break;
		if (buf[pos] != '\r')
			return refuse(reterr_refusal, 400,
				buf[pos] == '\n' ? "bare LF" : "control character");
		if (pos + 1 == len)
			break;
		if (buf[pos + 1] != '\n')
			return refuse(reterr_refusal, 400, "bare CR");
		r = end_line(scan, buf, reterr_refusal);
		if (r != 0)
			return r;
	}
	if (scan->n_lines == 0 && len > IG_HTTP_REQUEST_LINE_BYTES)
		return refuse(reterr_refusal, 414, "request line too long");
	if (scan->n_lines && len - scan->headers_start > IG_HTTP_HEADER_LINES_BYTES)
		return refuse(reterr_refusal, 431, "headers too large");
	return 0;
}

/* ---- llhttp ------------------------------------------------------------------------------ */

/* What the callbacks collect. The head is contiguous, so every name and value is one span; a second
 * one that does not continue the first means that llhttp joined lines. */
struct collector {
	struct ig_http_head *head;
	const char *target;
	size_t n_headers; /* complete ones; the next one is being collected */
	bool in_value;
	bool complete;
	bool keep_alive;
};

static int extend(const char **start, size_t *len, const char *at, size_t more)
{
	if (*start && *start + *len != at)
		return -1;
	if (!*start)
		*start = at;
	*len += more;
	return 0;
}

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
	struct collector *c = parser->data;

	return extend(&c->target, &c->head->target_len, at, len);
}

static int on_header_field(llhttp_t *parser, const char *at, size_t len)
{
	struct collector *c = parser->data;

	if (c->n_headers == IG_HTTP_HEADERS_MAX)
		return -1;
	if (!c->in_value && c->head->name_len[c->n_headers] == 0) {
		c->head->headers[c->n_headers] = (struct ig_http_header){};
		c->head->value_len[c->n_headers] = 0;
	}
	return extend(
		&c->head->headers[c->n_headers].name, &c->head->name_len[c->n_headers], at, len);
}

static int on_header_value(llhttp_t *parser, const char *at, size_t len)
{
	struct collector *c = parser->data;

	if (c->n_headers == IG_HTTP_HEADERS_MAX)
		return -1;
	c->in_value = true;
	return extend(
		&c->head->headers[c->n_headers].value, &c->head->value_len[c->n_headers], at, len);
}

static int on_header_value_complete(llhttp_t *parser)
{
	struct collector *c = parser->data;

	if (c->n_headers == IG_HTTP_HEADERS_MAX)
		return -1;
	c->in_value = false;
	c->n_headers++;
	if (c->n_headers < IG_HTTP_HEADERS_MAX)
		c->head->name_len[c->n_headers] = 0;
	return 0;
}

/* Stops llhttp: bodies are counted by the caller, who waits for them. */
static int on_headers_complete(llhttp_t *parser)
{
	struct collector *c = parser->data;

	c->complete = true;
	c->keep_alive = llhttp_should_keep_alive(parser);
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_url = on_url,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_header_value_complete = on_header_value_complete,
	.on_headers_complete = on_headers_complete,
};

static enum ig_http_method method_of(unsigned int llhttp_method)
{
	switch (llhttp_method) {
	case HTTP_GET: return IG_HTTP_GET;
	case HTTP_HEAD: return IG_HTTP_HEAD;
	case HTTP_POST: return IG_HTTP_POST;
	case HTTP_PUT: return IG_HTTP_PUT;
	case HTTP_DELETE: return IG_HTTP_DELETE;
	case HTTP_PATCH: return IG_HTTP_PATCH;
	case HTTP_OPTIONS: return IG_HTTP_OPTIONS;
	default: return IG_HTTP_OTHER;
	}
}

/* ---- what we accept ---------------------------------------------------------------------- */

/* "METHOD SP target SP HTTP/1.x" with single blanks, and the same target that llhttp saw. */
static int check_request_line(const struct ig_http_scan *scan, const char *buf, const char *target,
	struct ig_http_head *head, struct ig_http_refusal *reterr_refusal)
{
	static const char version[] = " HTTP/1.";
	size_t len = scan->headers_start - 2;
	const char *blank = memchr(buf, ' ', len);
	const char *tail;
	size_t target_len;

	if (!blank || len - (size_t)(blank - buf) < sizeof(version) + 1)
		return refuse(reterr_refusal, 400, "request line");
	tail = buf + len - sizeof(version);
	if (memcmp(tail, version, sizeof(version) - 1) != 0 ||
		(tail[sizeof(version) - 1] != '0' && tail[sizeof(version) - 1] != '1'))
		return refuse(reterr_refusal, 400, "HTTP version");
	target_len = (size_t)(tail - blank - 1);
	if (target != blank + 1 || head->target_len != target_len)
		return refuse(reterr_refusal, 400, "request target");
	if (target_len > IG_HTTP_TARGET_BYTES)
		return refuse(reterr_refusal, 414, "request target too long");
	for (size_t i = 0; i < target_len; i++)
		if (target[i] <= ' ' || target[i] > '~' || target[i] == '#')
			return refuse(reterr_refusal, 400, "request target");
	head->request.target = target;
	head->request.minor_version = (unsigned int)(tail[sizeof(version) - 1] - '0');
	return 0;
}

struct framing {
	size_t n_host;
	size_t n_length;
	bool expect;
};

static bool all_of(const bool set[static 256], const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!set[(unsigned char)s[i]])
			return false;
	return true;
}

/* lower is a literal in lower case, as long as the name. */
static bool same_name(const char *name, const char *lower)
{
	for (; *lower; name++, lower++) {
		char c = *name;

		if (c >= 'A' && c <= 'Z')
			c = (char)(c | 0x20);
		if (c != *lower)
			return false;
	}
	return true;
}

static int read_content_length(const char *value, size_t len, struct ig_http_head *head,
	struct ig_http_refusal *reterr_refusal)
{
	char text[24];
	uint64_t n;

	if (len >= sizeof(text))
		return refuse(reterr_refusal, 400, "Content-Length");
	memcpy(text, value, len);
	text[len] = '\0';
	if (ig_parse_u64(text, &n) < 0)
		return refuse(reterr_refusal, 400, "Content-Length");
	if (n > IG_HTTP_BODY_BYTES)
		return refuse(reterr_refusal, 413, "body too large");
	head->content_length = (size_t)n;
	return 0;
}

/* The headers that decide where a message ends and whom it is for. */
static int check_framing(struct ig_http_head *head, size_t i, struct framing *framing,
	struct ig_http_refusal *reterr_refusal)
{
	const char *name = head->headers[i].name, *value = head->headers[i].value;
	size_t len = head->value_len[i];

	switch (head->name_len[i]) {
	case sizeof("host") - 1:
		if (!same_name(name, "host"))
			return 0;
		framing->n_host++;
		if (!all_of(is_host, value, len))
			return refuse(reterr_refusal, 400, "Host");
		return 0;
	case sizeof("expect") - 1: framing->expect |= same_name(name, "expect"); return 0;
	case sizeof("content-length") - 1:
		if (!same_name(name, "content-length"))
			return 0;
		if (framing->n_length++)
			return refuse(reterr_refusal, 400, "two Content-Length");
		return read_content_length(value, len, head, reterr_refusal);
	case sizeof("transfer-encoding") - 1:
		if (same_name(name, "transfer-encoding"))
			return refuse(reterr_refusal, 400, "Transfer-Encoding");
		return 0;
	default: return 0;
	}
}

/* Removes the blanks that llhttp leaves behind a value. An empty value may be reported anywhere, so
 * it gets the place behind its colon, where _terminate() may end it. */
static void trim_value(struct ig_http_head *head, size_t i)
{
	struct ig_http_header *header = &head->headers[i];

	while (head->value_len[i]) {
		char last = header->value[head->value_len[i] - 1];

		if (last != ' ' && last != '\t')
			break;
		head->value_len[i]--;
	}
	if (head->value_len[i] == 0)
		header->value = header->name + head->name_len[i] + 1;
}

static int check_headers(struct ig_http_head *head, struct ig_http_refusal *reterr_refusal)
{
	struct framing framing = {};
	size_t bytes = 0;

	for (size_t i = 0; i < head->request.n_headers; i++) {
		const char *name = head->headers[i].name;
		int r;

		if (!name || head->name_len[i] == 0 || name[head->name_len[i]] != ':' ||
			!all_of(is_token, name, head->name_len[i]))
			return refuse(reterr_refusal, 400, "header name");
		trim_value(head, i);
		bytes += head->name_len[i] + head->value_len[i];
		r = check_framing(head, i, &framing, reterr_refusal);
		if (r < 0)
			return r;
	}
	if (bytes > IG_HTTP_HEADER_BYTES)
		return refuse(reterr_refusal, 431, "headers too large");
	if (framing.n_host > 1 || (framing.n_host == 0 && head->request.minor_version == 1))
		return refuse(reterr_refusal, 400, "Host");
	/* Nobody needs a body here: telling the client so at once beats inviting it to send one. */
	if (framing.expect && head->content_length)
		return refuse(reterr_refusal, 417, "Expect");
	return 0;
}

int ig_http_parse_head(const struct ig_http_scan *scan, const char *buf, struct ig_http_head *ret,
	struct ig_http_refusal *reterr_refusal)
{
	struct collector collector = {.head = ret};
	llhttp_t parser;
	llhttp_errno_t error;
	int r;

	assert(scan->n_lines > 0);
	ret->request = (struct ig_http_request){.headers = ret->headers};
	ret->name_len[0] = 0;
	ret->target_len = 0;
	ret->content_length = 0;
	llhttp_init(&parser, HTTP_REQUEST, &settings);
	parser.data = &collector;
	error = llhttp_execute(&parser, buf, scan->pos);
	if (error == HPE_UNEXPECTED_CONTENT_LENGTH)
		return refuse(reterr_refusal, 400, "two lengths");
	if (error != HPE_PAUSED || !collector.complete)
		return refuse(reterr_refusal, 400, "not HTTP");
	/* the two parsers have to agree on how many headers there are */
	if (collector.n_headers != scan->n_lines - 1)
		return refuse(reterr_refusal, 400, "header lines");
	if (parser.method == HTTP_CONNECT)
		return refuse(reterr_refusal, 400, "CONNECT");
	r = check_request_line(scan, buf, collector.target, ret, reterr_refusal);
	if (r < 0)
		return r;
	ret->request.method = method_of(parser.method);
	ret->request.n_headers = collector.n_headers;
	ret->close = ret->request.minor_version == 0 || !collector.keep_alive;
	return check_headers(ret, reterr_refusal);
}

/* A string inside the buffer is followed by at least the byte that ended it, so ending it there
 * overwrites nothing that is still needed. */
static void terminate(char *buf, const char *s, size_t len)
{
	buf[(size_t)(s - buf) + len] = '\0';
}

void ig_http_head_terminate(struct ig_http_head *head, char *buf)
{
	terminate(buf, head->request.target, head->target_len);
	for (size_t i = 0; i < head->request.n_headers; i++) {
		terminate(buf, head->headers[i].name, head->name_len[i]);
		terminate(buf, head->headers[i].value, head->value_len[i]);
	}
}
