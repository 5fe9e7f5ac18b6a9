/*
 * What the files of the HTTP server share: the two steps of parsing a request head, the text of a
 * response head, and a constructor with other limits for tests. Nobody outside user/http and its
 * tests includes this.
 *
 * Parsing is pure and has no allocator: a scanner finds the end of the head while bytes come in and
 * refuses every byte that has no business there, then llhttp takes the complete head apart. What
 * the two read differently is refused, so that a leniency of either one is none of ours.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <imdsgate/limits.h>

#include "http/message.h"
#include "http/server.h"

/* "METHOD", two blanks, "HTTP/1.1" beside the target: methods are 11 bytes at most in llhttp. */
#define IG_HTTP_REQUEST_LINE_BYTES (IG_HTTP_TARGET_BYTES + 32)
/* The header lines as they are on the wire: ": " and CR LF for each on top of names and values. */
#define IG_HTTP_HEADER_LINES_BYTES (IG_HTTP_HEADER_BYTES + 4 * IG_HTTP_HEADERS_MAX)
/* No request that is accepted is longer than this, pipelined ones behind it not counted. */
#define IG_HTTP_REQUEST_BYTES                                                                      \
	(IG_HTTP_REQUEST_LINE_BYTES + IG_HTTP_HEADER_LINES_BYTES + IG_HTTP_BODY_BYTES + 8)

struct ig_http_refusal {
	unsigned int status;
	const char *why; /* literal */
};

/* Where the scanner stands in a head that is not complete yet; all zero before the first byte. */
struct ig_http_scan {
	size_t pos;	      /* bytes before it are good */
	size_t line_start;    /* of the line that pos is in */
	size_t headers_start; /* behind the request line; 0 while that is not complete */
	unsigned int n_lines; /* complete ones, the request line included */
};

/* Goes on at scan->pos. The length of the head with its empty line, or 0: more bytes are needed, or
 * -EBADMSG with the answer in *reterr_refusal. buf starts with the request line every time. */
ssize_t ig_http_scan_head(struct ig_http_scan *scan, const char *buf, size_t len,
	struct ig_http_refusal *reterr_refusal);

struct ig_http_head {
	struct ig_http_request request; /* its strings end properly only after _terminate() */
	struct ig_http_header headers[IG_HTTP_HEADERS_MAX];
	size_t name_len[IG_HTTP_HEADERS_MAX];
	size_t value_len[IG_HTTP_HEADERS_MAX];
	size_t target_len;
	size_t content_length;
	bool close; /* the connection ends after this request */
};

/* Takes a complete head apart without changing it: buf[0..scan->pos) after ig_http_scan_head() gave
 * its length. 0, or -EBADMSG with the answer in *reterr_refusal. *ret borrows from buf. */
int ig_http_parse_head(const struct ig_http_scan *scan, const char *buf, struct ig_http_head *ret,
	struct ig_http_refusal *reterr_refusal);

/* Ends every string of the head inside buf, which is the buffer that was parsed. */
void ig_http_head_terminate(struct ig_http_head *head, char *buf);

/* The Date header, written anew once a second. */
struct ig_http_date {
	uint64_t sec;
	char text[sizeof("Thu, 01 Jan 1970 00:00:00 GMT")];
};

const char *ig_http_date_text(struct ig_http_date *date, uint64_t real_sec);

#define IG_HTTP_RESPONSE_HEAD_BYTES 2048

/* Writes the head of a response to buf (IG_HTTP_RESPONSE_HEAD_BYTES) and returns its length, or
 * -E2BIG. Extra headers with control characters are left out. */
ssize_t ig_http_format_head(unsigned int status, const char *content_type, const char *date,
	const struct ig_http_header *extra, size_t n_extra, size_t body_len, bool close, char *buf);

struct ig_http_server_options {
	uint64_t header_timeout_usec;
	uint64_t idle_timeout_usec;
	uint64_t write_timeout_usec; /* for the client to take the whole response */
	uint64_t drain_timeout_usec; /* for the client to read a refusal and go away */
	size_t connections_max;
};

/* ig_http_server_new() with other limits. */
int ig_http_server_new_with(struct event_base *base, const struct ig_http_server_ops *ops,
	const struct ig_http_server_options *options, struct ig_http_server **ret);
