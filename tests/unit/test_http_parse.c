/*
 * Unit tests of what the HTTP server makes of bytes: what it hands up, what it refuses, and the
 * limits. Every case goes through a connection, as it would from a client.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unit/http_harness.h"

/* ---- what is parsed ------------------------------------------------------------------------ */

static void test_response_form(void **state)
{
	static const struct ig_http_header extra[] = {{"Allow", "GET"}, {"X-Bad", "a\r\nX-Evil: 1"},
		{"X-Bad\nX-Evil", "1"}, {"Retry-After", "1"}};
	struct harness *h = begin(&patient);
	struct ig_http_date date = {};
	uint64_t sec;
	char expected[512];
	bool matched = false;

	(void)state;
	h->mode = HOLD;
	exchange(h, SIMPLE);
	assert_int_equal(h->n_requests, 1);
	assert_int_equal(h->in_len, 0);
	sec = ig_clock_real_usec() / IG_USEC_PER_SEC;
	ig_http_conn_respond(h->conn, 405, "application/json; charset=utf-8", extra, 4, "{}", 2);
	client_receive(h);
	for (uint64_t s = sec; s <= sec + 1; s++) {
		(void)snprintf(expected, sizeof(expected),
			"HTTP/1.1 405 Method Not Allowed\r\nContent-Type: application/json; charset=utf-8\r\nServer: IMDS/imdsgate\r\nDate: %s\r\nContent-Length: 2\r\nAllow: GET\r\nRetry-After: 1\r\n\r\n{}",
			ig_http_date_text(&date, s));
		matched |= strcmp(h->in, expected) == 0;
	}
	if (!matched)
		fail_msg("%s", h->in);
	/* a second answer to the same request is none */
	answer(h, h->conn);
	pump(h);
	client_reset_input(h);
	client_receive(h);
	assert_int_equal(h->in_len, 0);
	assert_false(h->in_eof);
	end(h);
}

static void test_request_fields(void **state)
{
	struct harness *h = begin(&patient);

	(void)state;
	exchange(h,
		"POST http://h/p?q=%20 HTTP/1.1\r\nhOST: \t a:80 \t\r\nEmpty:\r\nBlank: \t \r\n"
		"Metadata:true\r\nUtf: \xc3\xa9\tx\r\nContent-Length: 3\r\nLast:\r\n\r\n\r\n\n");
	assert_int_equal(h->n_requests, 1);
	assert_int_equal(h->method, IG_HTTP_POST);
	assert_string_equal(h->target, "http://h/p?q=%20");
	assert_string_equal(h->headers,
		"hOST=a:80|Empty=|Blank=|Metadata=true|Utf=\xc3\xa9\tx|Content-Length=3|Last=|");
	assert_int_equal(h->body_len, 3);
	assert_memory_equal(h->body, "\r\n\n", 3);
	assert_int_equal(h->minor_version, 1);
	assert_true(starts_with(h->in, "HTTP/1.1 200 OK\r\n"));
	end(h);
}

static void test_methods(void **state)
{
	static const struct {
		const char *name;
		enum ig_http_method method;
	} cases[] = {{"GET", IG_HTTP_GET}, {"HEAD", IG_HTTP_HEAD}, {"POST", IG_HTTP_POST},
		{"PUT", IG_HTTP_PUT}, {"DELETE", IG_HTTP_DELETE}, {"PATCH", IG_HTTP_PATCH},
		{"OPTIONS", IG_HTTP_OPTIONS}, {"TRACE", IG_HTTP_OTHER},
		{"PROPFIND", IG_HTTP_OTHER}};
	struct harness *h = begin(&patient);

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		char request[128];

		(void)snprintf(request, sizeof(request), "%s /x HTTP/1.1\r\nHost: a\r\n\r\n",
			cases[i].name);
		exchange(h, request);
		assert_int_equal(h->n_requests, i + 1);
		assert_int_equal(h->method, cases[i].method);
		assert_true(starts_with(h->in, "HTTP/1.1 200 OK\r\n"));
	}
	end(h);
}

#define SPLIT                                                                                      \
	"PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nA: b\r\n\r\n12345GET /b HTTP/1.1\r\nHost: b\r\n\r\n"

static void test_byte_at_a_time(void **state)
{
	struct harness *h = begin(&patient);

	(void)state;
	for (const char *p = SPLIT; *p; p++) {
		client_send(h, p, 1);
		pump(h);
	}
	client_receive(h);
	assert_int_equal(h->n_requests, 2);
	assert_string_equal(h->target, "/b");
	assert_int_equal(count_of(h->in, "HTTP/1.1 200 OK\r\n"), 2);
	assert_int_equal(h->n_malformed, 0);
	end(h);
}

static void test_every_split(void **state)
{
	struct harness *h = begin(&patient);
	size_t len = strlen(SPLIT);

	(void)state;
	for (size_t i = 1; i < len; i++) {
		client_reset_input(h);
		client_send(h, SPLIT, i);
		pump(h);
		client_send(h, &SPLIT[i], len - i);
		pump(h);
		client_receive(h);
		assert_int_equal(h->n_requests, 2 * i);
		assert_int_equal(count_of(h->in, "HTTP/1.1 200 OK\r\n"), 2);
	}
	assert_int_equal(counter(h, IG_HTTP_REQUESTS), 2 * (len - 1));
	end(h);
}

/* Forms that look odd and are right. */
static void test_accepted(void **state)
{
	static const char *const requests[] = {
		("\r\n" SIMPLE),
		("\r\n" SIMPLE), /* before each request */
		"GET / HTTP/1.1\r\nHost:\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]:80\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 000\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, x\r\n\r\n",
		/* an offer that a server may ignore (RFC 9110 7.8); java.net.http makes it */
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /a\\b{c}|\"<>^`?x=[1]&y='z' HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n!#$%&'*+-.^_`|~: x\r\n\r\n",
	};
	struct harness *h = begin(&patient);

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(requests); i++) {
		exchange(h, requests[i]);
		if (h->n_requests != i + 1)
			fail_msg("%s", requests[i]);
		assert_int_equal(count_of(h->in, "HTTP/1.1 200 OK\r\n"), 1);
		assert_false(h->in_eof);
	}
	end(h);
}

static const char *const malformed[] = {
	/* framing */
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n12345",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n123456",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\ncontent-length: 0\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n12345",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n12345",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n12345",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\n12345",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \t\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n12345",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\n1",
	"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 00000000000000000000000000005\r\n\r\n12345",
	/* line ends */
	"GET / HTTP/1.1\nHost: a\n\n",
	"GET / HTTP/1.1\r\nHost: a\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\n\n",
	"GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
	"GET / HTTP/1.1\rHost: a\r\r",
	"GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\r\n\r\n",
	"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
	"\n" SIMPLE,
	"\r" SIMPLE,
	"\r\n\r\n" SIMPLE,
	/* folding */
	"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX:\r\n z\r\n\r\n",
	"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n 5\r\n\r\n12345",
	"GET / HTTP/1.1\r\nHost: a\r\n \r\n\r\n",
	/* control characters */
	"GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: a\x0b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: a\x0c"
	"b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7f\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX\x1b: a\r\n\r\n",
	"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
	/* header names */
	"GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX Y: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX(: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nX\xc3\xa9: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\n\"X\": a\r\n\r\n",
	/* Host */
	"GET / HTTP/1.1\r\n\r\n",
	"GET / HTTP/1.1\r\nX: y\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
	"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n",
	"GET http://a/ HTTP/1.1\r\n\r\n",
	/* request line */
	"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
	"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
	"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
	"GET / HTTP/11\r\nHost: a\r\n\r\n",
	"GET / http/1.1\r\nHost: a\r\n\r\n",
	"GET / ICE/1.0\r\nHost: a\r\n\r\n",
	"GET / RTSP/1.0\r\nHost: a\r\n\r\n",
	"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
	"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET / x HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /\tx HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
	" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /\r\nHost: a\r\n\r\n",
	"GET /\r\n\r\n",
	"GET\r\n\r\n",
	"GET HTTP/1.1\r\nHost: a\r\n\r\n",
	"/ HTTP/1.1\r\nHost: a\r\n\r\n",
	"get / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GETX / HTTP/1.1\r\nHost: a\r\n\r\n",
	"DESCRIBE / HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n",
	"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
	"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
	"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"\x16\x03\x01\x02",
	"SSH-2.0-x\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
};

static void test_malformed(void **state)
{
	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(malformed); i++) {
		struct harness *h = begin(&patient);

		exchange(h, malformed[i]);
		expect_refusal(h, 400, malformed[i]);
		assert_int_equal(counter(h, IG_HTTP_MALFORMED), 1);
		end(h);
	}
}

/* The same behind a request that is fine, and one byte at a time. */
static void test_malformed_later(void **state)
{
	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(malformed); i++) {
		struct harness *h = begin(&patient);

		client_send(h, SIMPLE, strlen(SIMPLE));
		for (const char *p = malformed[i]; *p && h->n_malformed == 0; p++) {
			client_send(h, p, 1);
			pump(h);
		}
		client_receive(h);
		/* an empty line in front is forgiven once, wherever the request before it ended */
		assert_int_equal(h->n_requests, 1);
		assert_int_equal(h->n_malformed, 1);
		assert_int_equal(count_of(h->in, "HTTP/1.1 200 "), 1);
		assert_int_equal(count_of(h->in, "HTTP/1.1 400 "), 1);
		assert_true(h->in_eof);
		end(h);
	}
}

static void test_nul(void **state)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n";

	(void)state;
	for (size_t i = 0; i < sizeof(request) - 1; i++) {
		struct harness *h = begin(&patient);
		char copy[sizeof(request)];

		memcpy(copy, request, sizeof(request));
		copy[i] = '\0';
		client_send(h, copy, sizeof(request) - 1);
		pump(h);
		client_receive(h);
		expect_refusal(h, 400, "NUL");
		end(h);
	}
}

/* Nothing of what a refused client sends later is looked at. */
static void test_refused_stays_refused(void **state)
{
	struct harness *h = begin(&patient);

	(void)state;
	exchange(h, "GET / HTTP/1.1\r\n\r\n" SIMPLE SIMPLE);
	client_send(h, SIMPLE, strlen(SIMPLE));
	pump(h);
	client_receive(h);
	expect_refusal(h, 400, "first");
	end(h);
}

/* ---- limits -------------------------------------------------------------------------------- */

static void check_limit(char *request, unsigned int status, enum ig_http_counter which)
{
	struct harness *h = begin(&patient);

	exchange(h, request);
	if (status == 200) {
		assert_int_equal(h->n_requests, 1);
		assert_true(starts_with(h->in, "HTTP/1.1 200 OK\r\n"));
		assert_int_equal(counter(h, which), 0);
	} else {
		expect_refusal(h, status, request);
		assert_int_equal(counter(h, which), 1);
		assert_int_equal(counter(h, IG_HTTP_MALFORMED), 0);
	}
	end(h);
	free(request);
}

static void test_target_limit(void **state)
{
	const char *tail = " HTTP/1.1\r\nHost: a\r\n\r\n";

	(void)state;
	check_limit(
		padded("GET /", 'a', IG_HTTP_TARGET_BYTES - 1, tail), 200, IG_HTTP_LIMIT_TARGET);
	check_limit(padded("GET /", 'a', IG_HTTP_TARGET_BYTES, tail), 414, IG_HTTP_LIMIT_TARGET);
	check_limit(padded("GET /", 'a', 65536, tail), 414, IG_HTTP_LIMIT_TARGET);
	/* without ever ending */
	check_limit(padded("GET /", 'a', 20000, ""), 414, IG_HTTP_LIMIT_TARGET);
	check_limit(padded("", 'a', 20000, ""), 414, IG_HTTP_LIMIT_TARGET);
}

static char *many_headers(size_t n)
{
	size_t len;
	char *s = NULL;
	FILE *f = open_memstream(&s, &len);

	assert_non_null(f);
	(void)fputs("GET / HTTP/1.1\r\nHost: a\r\n", f);
	for (size_t i = 1; i < n; i++)
		(void)fputs("X: y\r\n", f);
	(void)fputs("\r\n", f);
	(void)fclose(f);
	return s;
}

static void test_header_limits(void **state)
{
	const char *head = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
	size_t fixed = strlen("Hosta") + strlen("X");

	(void)state;
	check_limit(many_headers(IG_HTTP_HEADERS_MAX), 200, IG_HTTP_LIMIT_HEADERS);
	check_limit(many_headers(IG_HTTP_HEADERS_MAX + 1), 431, IG_HTTP_LIMIT_HEADERS);
	check_limit(many_headers(10 * IG_HTTP_HEADERS_MAX), 431, IG_HTTP_LIMIT_HEADERS);
	check_limit(padded(head, 'a', IG_HTTP_HEADER_BYTES - fixed, "\r\n\r\n"), 200,
		IG_HTTP_LIMIT_HEADERS);
	check_limit(padded(head, 'a', IG_HTTP_HEADER_BYTES - fixed + 1, "\r\n\r\n"), 431,
		IG_HTTP_LIMIT_HEADERS);
	check_limit(padded(head, 'a', 200000, "\r\n\r\n"), 431, IG_HTTP_LIMIT_HEADERS);
	check_limit(padded(head, 'a', 20000, ""), 431, IG_HTTP_LIMIT_HEADERS);
	/* blanks count for the line even if not for the value */
	check_limit(padded(head, ' ', 20000, "\r\n\r\n"), 431, IG_HTTP_LIMIT_HEADERS);
}

static void test_body_limit(void **state)
{
	const char *head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4096\r\n\r\n";
	const char *over = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4097\r\n\r\n";
	const char *huge =
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\n";

	(void)state;
	assert_int_equal(IG_HTTP_BODY_BYTES, 4096);
	check_limit(padded(head, 'b', 4096, ""), 200, IG_HTTP_LIMIT_BODY);
	check_limit(padded(over, 'b', 4097, ""), 413, IG_HTTP_LIMIT_BODY);
	check_limit(padded(over, 'b', 0, ""), 413, IG_HTTP_LIMIT_BODY);
	check_limit(padded(huge, 'b', 100, ""), 413, IG_HTTP_LIMIT_BODY);
}

/* The largest request of all, in two pieces, with another one behind it. */
static void test_largest_request(void **state)
{
	struct harness *h = begin(&patient);
	_cleanup_free_ char *line =
		padded("POST /", 'a', IG_HTTP_TARGET_BYTES - 1, " HTTP/1.1\r\nHost: a\r\n");
	_cleanup_free_ char *headers =
		padded("X: ", 'x', IG_HTTP_HEADER_BYTES - 64, "\r\nContent-Length: 4096\r\n\r\n");
	_cleanup_free_ char *body = padded("", 'b', IG_HTTP_BODY_BYTES, SIMPLE);

	(void)state;
	client_send(h, line, strlen(line));
	pump(h);
	client_send(h, headers, strlen(headers));
	pump(h);
	client_send(h, body, strlen(body));
	pump(h);
	client_receive(h);
	assert_int_equal(h->n_requests, 2);
	assert_int_equal(count_of(h->in, "HTTP/1.1 200 OK\r\n"), 2);
	end(h);
}

static void test_expect(void **state)
{
	struct harness *h = begin(&patient);

	(void)state;
	exchange(h,
		"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
	expect_refusal(h, 417, "Expect");
	end(h);
}

static void test_connection_limit(void **state)
{
	struct harness *h = begin(&patient);
	int clients[CONNS - 1], fds[2];

	(void)state;
	for (int i = 0; i < CONNS - 1; i++)
		clients[i] = add_pair(h);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(add_fd(h, fds[0]), -EBUSY);
	assert_int_equal(counter(h, IG_HTTP_LIMIT_CONNECTIONS), 1);
	assert_int_equal(counter(h, IG_HTTP_CONNECTIONS), CONNS);
	assert_int_equal(h->n_closed, 0);
	/* the descriptor stayed ours; with one connection less there is room for it */
	(void)ig_close(clients[0]);
	pump(h);
	assert_int_equal(h->n_closed, 1);
	assert_int_equal(add_fd(h, fds[0]), 0);
	(void)ig_close(fds[1]);
	for (int i = 1; i < CONNS - 1; i++)
		(void)ig_close(clients[i]);
	pump(h);
	assert_int_equal(h->n_closed, CONNS);
	end(h);
}

/* The scanner by itself: what llhttp would refuse, too, is refused before it. */
static void test_scanner(void **state)
{
	static const struct {
		const char *text;
		const char *why; /* NULL: a whole head */
	} cases[] = {
		{"GET / HTTP/1.1\r\nA: b\r\n\r\n", NULL},
		{"\xff\r\nno colon\t\r\n\r\n", NULL},
		{"GET /\nA", "bare LF"},
		{"GET /\rA", "bare CR"},
		{"GET /\r\rA", "bare CR"},
		{"GET /\x7f", "control character"},
		{"GET /\r\nA: \x1f", "control character"},
		{"GET /\r\nA: b\r\n c\r\n", "line starts with a blank"},
		{"GET /\r\n\tA: b\r\n", "line starts with a blank"},
		{" GET /\r\n", "line starts with a blank"},
		{"\r\n", "no request line"},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		size_t len = strlen(cases[i].text);
		struct ig_http_refusal refusal = {};
		struct ig_http_scan scan = {};
		ssize_t r = ig_http_scan_head(&scan, cases[i].text, len, &refusal);

		if (cases[i].why) {
			assert_int_equal(r, -EBADMSG);
			assert_int_equal(refusal.status, 400);
			assert_string_equal(refusal.why, cases[i].why);
		} else {
			assert_int_equal(r, len);
		}
	}
}

/* Lines that llhttp would join do not pass the parser either, should the scanner ever let them. */
static void test_parsers_must_agree(void **state)
{
	static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n";
	struct ig_http_scan scan = {.pos = sizeof(text) - 1,
		.headers_start = strlen("GET / HTTP/1.1\r\n"),
		.n_lines = 4};
	struct ig_http_refusal refusal = {};
	struct ig_http_head head;

	(void)state;
	assert_int_equal(ig_http_parse_head(&scan, text, &head, &refusal), -EBADMSG);
	assert_int_equal(refusal.status, 400);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_response_form),
		cmocka_unit_test(test_request_fields),
		cmocka_unit_test(test_methods),
		cmocka_unit_test(test_byte_at_a_time),
		cmocka_unit_test(test_every_split),
		cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_malformed_later),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_refused_stays_refused),
		cmocka_unit_test(test_target_limit),
		cmocka_unit_test(test_header_limits),
		cmocka_unit_test(test_body_limit),
		cmocka_unit_test(test_largest_request),
		cmocka_unit_test(test_expect),
		cmocka_unit_test(test_scanner),
		cmocka_unit_test(test_parsers_must_agree),
		cmocka_unit_test(test_connection_limit),
	};

	return cmocka_run_group_tests_name("http parsing", tests, NULL, NULL);
}
