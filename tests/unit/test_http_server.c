/*
 * Unit tests of the HTTP server's connections: order of requests, answers now and later, clients
 * that go away, deadlines, and that a connection ends once and only once whatever happens.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "unit/http_harness.h"

/* ---- order and life ------------------------------------------------------------------------ */

static void test_keep_alive(void **state)
{
	struct harness *h = begin(&patient);

	(void)state;
	for (unsigned int i = 1; i <= 3; i++) {
		exchange(h, SIMPLE);
		assert_int_equal(h->n_requests, i);
		assert_null(strstr(h->in, "Connection:"));
		assert_false(h->in_eof);
	}
	h->client = ig_close(h->client);
	pump(h);
	assert_int_equal(h->n_closed, 1);
	end(h);
}

static void test_closing_requests(void **state)
{
	static const char *const requests[] = {
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nconnection: x, CLOSE\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
		"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
		("GET / HTTP/1.0\r\n\r\n" SIMPLE),
	};

	(void)state;
	for (size_t i = 0; i < 2 * IG_ARRAY_SIZE(requests); i++) {
		struct harness *h = begin(&patient);

		h->mode = i % 2 ? HOLD : ANSWER;
		exchange(h, requests[i / 2]);
		if (h->mode == HOLD) {
			answer(h, h->conn);
			assert_int_equal(h->n_closed, 0); /* never from inside _respond() */
			pump(h);
			client_receive(h);
		}
		assert_int_equal(h->n_requests, 1);
		assert_int_equal(count_of(h->in, "HTTP/1.1 200 OK\r\n"), 1);
		assert_non_null(strstr(h->in, "\r\nConnection: close\r\n"));
		assert_string_equal(strstr(h->in, "\r\n\r\n") + 4, "hello");
		assert_true(h->in_eof);
		assert_int_equal(h->n_closed, 1);
		end(h);
	}
}

/* Bytes behind the last request are read away before the connection is closed: a reset could
 * overtake the answer. */
static void test_junk_behind_last_request(void **state)
{
	struct harness *h = begin(&patient);
	_cleanup_free_ char *request = padded("GET / HTTP/1.0\r\n\r\n", 'x', 60000, "");

	(void)state;
	exchange(h, request);
	assert_int_equal(h->n_requests, 1);
	assert_int_equal(h->n_malformed, 0);
	assert_int_equal(count_of(h->in, "hello"), 1);
	assert_true(h->in_eof);
	assert_int_equal(h->n_closed, 0);
	h->client = ig_close(h->client);
	pump(h);
	assert_int_equal(h->n_closed, 1);
	end(h);
}

static void test_head(void **state)
{
	struct harness *h = begin(&patient);

	(void)state;
	exchange(h, "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n" SIMPLE);
	assert_int_equal(h->n_requests, 2);
	assert_int_equal(count_of(h->in, "\r\nContent-Length: 5\r\n"), 2);
	assert_int_equal(count_of(h->in, "hello"), 1);
	assert_string_equal(h->in + h->in_len - 5, "hello");
	assert_true(starts_with(strstr(h->in, "\r\n\r\n") + 4, "HTTP/1.1 200 OK\r\n"));
	end(h);
}

static void test_pipelining_waits(void **state)
{
	struct harness *h = begin(&patient);

	(void)state;
	h->mode = HOLD;
	exchange(
		h, "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HT");
	for (unsigned int i = 1; i <= 3; i++) {
		char target[8];

		assert_int_equal(h->n_requests, i);
		(void)snprintf(target, sizeof(target), "/%u", i);
		assert_string_equal(h->target, target);
		if (i == 2) /* while one waits */
			client_send(h, "TP/1.1\r\nHost: a\r\n\r\n", 19);
		pump(h);
		assert_int_equal(h->n_requests, i);
		h->answer = target;
		h->answer_len = 2;
		answer(h, h->conn);
		assert_int_equal(h->n_requests, i); /* never from inside _respond() */
		pump(h);
		client_receive(h);
		assert_memory_equal(h->in + h->in_len - 2, target, 2);
	}
	assert_int_equal(count_of(h->in, "HTTP/1.1 200 OK\r\n"), 3);
	end(h);
}

/* More than fits in the server's buffer, and in the sockets' towards the client. */
static void test_pipelining_many(void **state)
{
	enum { N = 4000 };
	struct harness *h = begin(&patient);
	_cleanup_free_ char *all = calloc(N, strlen(SIMPLE) + 1);
	size_t len = N * strlen(SIMPLE), sent = 0;

	(void)state;
	assert_non_null(all);
	/* over TCP, whose edges do not come from the client's reading */
	(void)ig_close(h->client);
	wait_for(h, &h->n_closed, 1);
	h->client = add_tcp(h);
	for (int i = 0; i < N; i++)
		memcpy(all + (size_t)i * strlen(SIMPLE), SIMPLE, strlen(SIMPLE));
	while (h->n_requests < N || h->in_len == 0 || count_of(h->in, "hello") < N) {
		unsigned int before = h->n_requests;
		size_t in_before = h->in_len;
		ssize_t n = sent < len ? send(h->client, all + sent, len - sent, MSG_NOSIGNAL) : 0;

		sent += n > 0 ? (size_t)n : 0;
		pump(h);
		client_receive(h);
		/* always some progress */
		assert_true(n > 0 || h->n_requests > before || h->in_len > in_before);
	}
	assert_int_equal(h->n_requests, N);
	assert_int_equal(count_of(h->in, "HTTP/1.1 200 OK\r\n"), N);
	end(h);
}

/* While a request waits, what comes behind it is not read without bound. */
static void test_pending_does_not_read(void **state)
{
	struct harness *h = begin(&patient);
	char junk[4096];
	size_t sent = 0, again = 0;
	ssize_t n;

	(void)state;
	h->mode = HOLD;
	memset(junk, 'x', sizeof(junk));
	exchange(h, SIMPLE);
	while ((n = send(h->client, junk, sizeof(junk), MSG_NOSIGNAL)) > 0)
		sent += (size_t)n;
	assert_int_equal(errno, EAGAIN);
	pump(h);
	while ((n = send(h->client, junk, sizeof(junk), MSG_NOSIGNAL)) > 0)
		again += (size_t)n;
	assert_true(sent > 0);
	assert_int_equal(again, 0);
	assert_int_equal(h->n_closed, 0);
	answer(h, h->conn);
	pump(h);
	client_receive(h);
	assert_true(starts_with(h->in, "HTTP/1.1 200 OK\r\n"));
	assert_int_equal(count_of(h->in, "HTTP/1.1 414 "), 1);
	end(h);
}

/* An answer given from inside another connection's request: its pipelined request has to wait for
 * its turn, for both would use the same buffer. */
static void test_answer_from_other_connection(void **state)
{
	struct harness *h = begin(&patient);
	int first = h->client;

	(void)state;
	h->mode = HOLD;
	exchange(h, SIMPLE "GET /behind HTTP/1.1\r\nX: behind\r\nHost: a\r\n\r\n");
	assert_int_equal(h->n_requests, 1);
	h->other = h->conn;
	h->client = add_pair(h);
	h->mode = ANSWER_OTHER;
	client_send(h, "GET /this HTTP/1.1\r\nX: this-one\r\nHost: a\r\n\r\n", 45);
	pump(h);
	assert_int_equal(h->n_requests, 3);
	assert_string_equal(h->target, "/behind");
	client_receive(h);
	assert_int_equal(count_of(h->in, "HTTP/1.1 200 OK\r\n"), 1);
	(void)ig_close(h->client);
	h->client = first;
	client_reset_input(h);
	client_receive(h);
	assert_int_equal(count_of(h->in, "HTTP/1.1 200 OK\r\n"), 2);
	end(h);
}

static void test_close_from_callbacks(void **state)
{
	static const enum on_request modes[] = {CLOSE, ANSWER_AND_CLOSE, FREE_SERVER};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(modes); i++) {
		struct harness *h = begin(&patient);

		h->mode = modes[i];
		exchange(h, SIMPLE SIMPLE);
		assert_int_equal(h->n_requests, 1);
		assert_int_equal(h->n_closed, 1);
		assert_int_equal(count_of(h->in, "hello"), modes[i] == ANSWER_AND_CLOSE);
		assert_true(h->in_eof);
		assert_true(!h->server == (modes[i] == FREE_SERVER));
		end(h);
	}
}

static void test_close_from_malformed(void **state)
{
	struct harness *h = begin(&patient);

	(void)state;
	h->close_malformed = true;
	exchange(h, "x\n");
	assert_int_equal(h->n_malformed, 1);
	assert_int_equal(h->n_closed, 1);
	assert_true(starts_with(h->in, "HTTP/1.1 400 Bad Request\r\n"));
	end(h);
}

/* One connection in each state. */
static void test_free_with_open_connections(void **state)
{
	struct harness *h = begin(&patient);
	int receiving, pending, draining;

	(void)state;
	exchange(h, SIMPLE);
	receiving = add_pair(h);
	assert_int_equal(send(receiving, "GET /", 5, 0), 5);
	draining = add_pair(h);
	assert_int_equal(send(draining, "x\n", 2, 0), 2);
	pump(h);
	h->mode = HOLD;
	pending = add_pair(h);
	assert_int_equal(send(pending, SIMPLE, strlen(SIMPLE), 0), strlen(SIMPLE));
	pump(h);
	assert_int_equal(h->n_requests, 2);
	assert_int_equal(h->n_malformed, 1);
	assert_int_equal(h->n_closed, 0);
	h->server = ig_http_server_free(h->server);
	for (int i = 0; i < CONNS; i++)
		assert_int_equal(h->closed[i], 1);
	(void)ig_close(receiving);
	(void)ig_close(pending);
	(void)ig_close(draining);
	end(h);
}

static void test_disconnects(void **state)
{
	static const char *const sent[] = {"", "G", "GET / HTTP/1.1\r\nHost: a\r\n", "\r", "\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1234", SIMPLE};

	(void)state;
	for (size_t i = 0; i < 2 * IG_ARRAY_SIZE(sent); i++) {
		struct harness *h = begin(&patient);
		const char *text = sent[i / 2];

		h->mode = HOLD;
		client_send(h, text, strlen(text));
		if (i % 2) /* noticed together with the bytes, or later */
			pump(h);
		h->client = ig_close(h->client);
		pump(h);
		if (h->conn && h->n_closed == 0) {
			/* whole request and end of file in one event: seen at the latest when the
			 * answer goes out */
			assert_string_equal(text, SIMPLE);
			assert_int_equal(i % 2, 0);
			answer(h, h->conn);
			pump(h);
		}
		assert_int_equal(h->n_closed, 1);
		assert_int_equal(h->n_malformed, 0);
		end(h);
	}
}

/* The client's timeout while the request waits: on_close at once. */
static void test_reset_while_pending(void **state)
{
	const struct linger abort_connection = {.l_onoff = 1, .l_linger = 0};

	(void)state;
	for (int half_closed = 0; half_closed < 2; half_closed++) {
		struct harness *h = begin(&patient);

		(void)ig_close(h->client);
		wait_for(h, &h->n_closed, 1);
		h->client = add_tcp(h);
		h->mode = HOLD;
		client_send(h, SIMPLE SIMPLE, 2 * strlen(SIMPLE));
		if (half_closed)
			assert_int_equal(shutdown(h->client, SHUT_WR), 0);
		wait_for(h, &h->n_requests, 1);
		pump(h);
		assert_int_equal(h->n_closed, 1);
		assert_int_equal(setsockopt(h->client, SOL_SOCKET, SO_LINGER, &abort_connection,
					 sizeof(abort_connection)),
			0);
		h->client = ig_close(h->client);
		wait_for(h, &h->n_closed, 2);
		assert_int_equal(h->n_requests, 1);
		end(h);
	}
}

/* Shutting down the sending side is not going away. */
static void test_half_close(void **state)
{
	(void)state;
	for (int i = 0; i < 8; i++) {
		bool tcp = i & 1, later = i & 2, hold = i & 4;
		struct harness *h = begin(&patient);

		if (tcp) {
			(void)ig_close(h->client);
			wait_for(h, &h->n_closed, 1);
			h->client = add_tcp(h);
		}
		h->mode = hold ? HOLD : ANSWER;
		client_send(h, SIMPLE, strlen(SIMPLE));
		if (later)
			wait_for(h, &h->n_requests, 1);
		assert_int_equal(shutdown(h->client, SHUT_WR), 0);
		wait_for(h, &h->n_requests, 1);
		pump(h);
		if (hold) {
			assert_int_equal(h->n_closed, tcp);
			answer(h, h->conn);
		}
		wait_for(h, &h->n_closed, 1 + (unsigned int)tcp);
		client_receive(h);
		assert_int_equal(count_of(h->in, "hello"), 1);
		assert_true(h->in_eof);
		assert_int_equal(h->n_malformed, 0);
		end(h);
	}
}

/* A refused client that is still sending reads the answer instead of a reset. */
static void test_refusal_survives_upload(void **state)
{
	struct harness *h = begin(&patient);
	_cleanup_free_ char *request = padded("GET /", 'a', 500000, " HTTP/1.1\r\n\r\n");
	size_t len = strlen(request), sent = 0;

	(void)state;
	(void)ig_close(h->client);
	wait_for(h, &h->n_closed, 1);
	h->client = add_tcp(h);
	while (sent < len) {
		ssize_t n = send(h->client, request + sent, len - sent, MSG_NOSIGNAL);

		if (n < 0)
			assert_int_equal(errno, EAGAIN);
		sent += n > 0 ? (size_t)n : 0;
		pump(h);
	}
	client_receive(h);
	assert_true(starts_with(h->in, "HTTP/1.1 414 URI Too Long\r\n"));
	h->client = ig_close(h->client);
	wait_for(h, &h->n_closed, 2);
	end(h);
}

/* Draining has an end. */
static void test_drain_limit(void **state)
{
	struct harness *h = begin(&patient);
	char junk[32768];
	size_t sent = 0;

	(void)state;
	memset(junk, 'x', sizeof(junk));
	exchange(h, "x\n");
	while (h->n_closed == 0) {
		ssize_t n = send(h->client, junk, sizeof(junk), MSG_NOSIGNAL);

		sent += n > 0 ? (size_t)n : 0;
		assert_true(sent < 4 * 1024 * 1024);
		pump(h);
	}
	assert_true(sent > 1024 * 1024);
	end(h);
}

/* ---- large answers ------------------------------------------------------------------------- */

static struct harness *begin_large(const struct ig_http_server_options *options, char **ret_body)
{
	enum { LEN = 700000 };
	struct harness *h = begin(options);
	char *body = malloc(LEN + 1);

	assert_non_null(body);
	for (size_t i = 0; i < LEN; i++)
		body[i] = (char)('a' + i % 23);
	body[LEN] = '\0';
	h->answer = body;
	h->answer_len = LEN;
	*ret_body = body;
	return h;
}

static void test_large_response(void **state)
{
	_cleanup_free_ char *body = NULL;
	struct harness *h = begin_large(&patient, &body);
	_cleanup_free_ char *copy = NULL;
	size_t len;

	(void)state;
	client_send(h, SIMPLE "GET /second HTTP/1.1\r\nHost: a\r\n\r\n", strlen(SIMPLE) + 34);
	pump(h);
	/* the second one waits until the first answer is out */
	assert_int_equal(h->n_requests, 1);
	copy = strdup(body);
	assert_non_null(copy);
	memset(body, '!', h->answer_len); /* the server has a copy */
	h->mode = HOLD;
	do {
		len = h->in_len;
		client_receive(h);
		pump(h);
	} while (h->in_len > len);
	assert_int_equal(h->n_requests, 2);
	assert_string_equal(h->target, "/second");
	assert_int_equal(count_of(h->in, "HTTP/1.1 200 OK\r\n"), 1);
	assert_string_equal(strstr(h->in, "\r\n\r\n") + 4, copy);
	end(h);
}

static void test_disconnect_while_writing(void **state)
{
	_cleanup_free_ char *body = NULL;
	struct harness *h = begin_large(&patient, &body);

	(void)state;
	exchange(h, SIMPLE);
	assert_true(h->in_len > 0 && h->in_len < h->answer_len);
	assert_int_equal(h->n_closed, 0);
	h->client = ig_close(h->client);
	pump(h);
	assert_int_equal(h->n_closed, 1);
	end(h);
}

static void test_close_while_writing(void **state)
{
	_cleanup_free_ char *body = NULL;
	struct harness *h = begin_large(&patient, &body);
	size_t before;

	(void)state;
	client_send(h, SIMPLE, strlen(SIMPLE));
	pump(h);
	client_receive(h);
	before = h->in_len;
	assert_true(before > 0 && before < h->answer_len);
	/* there is room again: what is buffered is tried once */
	ig_http_conn_close(h->conn);
	assert_int_equal(h->n_closed, 1);
	client_receive(h);
	assert_true(h->in_len > before);
	assert_true(h->in_eof);
	end(h);
}

/* ---- deadlines ----------------------------------------------------------------------------- */

static void test_header_timeout(void **state)
{
	static const char *const sent[] = {"G", "\r\n", "GET / HTTP/1.1\r\nHost: a\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1234", SIMPLE "GET"};
	struct ig_http_server_options options = patient;

	(void)state;
	options.header_timeout_usec = SHORT;
	for (size_t i = 0; i < IG_ARRAY_SIZE(sent); i++) {
		struct harness *h = begin(&options);

		exchange(h, sent[i]);
		wait_for(h, &h->n_malformed, 1);
		client_receive(h);
		assert_int_equal(h->malformed_status, 408);
		assert_int_equal(count_of(h->in, "HTTP/1.1 408 Request Timeout\r\n"), 1);
		assert_true(h->in_eof);
		assert_int_equal(counter(h, IG_HTTP_TIMEOUTS), 1);
		assert_int_equal(counter(h, IG_HTTP_MALFORMED), 0);
		end(h);
	}
}

static void on_trickle(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	client_send(arg, "a", 1);
}

/* One byte every two milliseconds, far longer than the deadline. */
static void test_trickle_does_not_help(void **state)
{
	const struct timeval interval = {.tv_usec = 2000};
	struct ig_http_server_options options = patient;
	struct harness *h;
	struct event *trickle;

	(void)state;
	options.header_timeout_usec = SHORT;
	h = begin(&options);
	trickle = event_new(h->base, -1, EV_PERSIST, on_trickle, h);
	assert_non_null(trickle);
	assert_int_equal(event_add(trickle, &interval), 0);
	client_send(h, "GET /", 5);
	wait_for(h, &h->n_malformed, 1);
	assert_int_equal(h->malformed_status, 408);
	event_free(trickle);
	end(h);
}

static void test_idle_timeout(void **state)
{
	struct ig_http_server_options options = patient;

	(void)state;
	options.idle_timeout_usec = SHORT;
	for (int after_request = 0; after_request < 2; after_request++) {
		struct harness *h = begin(&options);

		if (after_request)
			exchange(h, SIMPLE);
		client_reset_input(h);
		wait_for(h, &h->n_closed, 1);
		client_receive(h);
		assert_int_equal(h->in_len, 0);
		assert_true(h->in_eof);
		assert_int_equal(counter(h, IG_HTTP_TIMEOUTS), 1);
		assert_int_equal(h->n_malformed, 0);
		end(h);
	}
}

/* A request that waits has no deadline here: another connection's passes first. */
static void test_pending_has_no_deadline(void **state)
{
	struct ig_http_server_options options = patient;
	struct harness *h;
	int idle;

	(void)state;
	options.idle_timeout_usec = SHORT;
	options.header_timeout_usec = SHORT;
	h = begin(&options);
	h->mode = HOLD;
	exchange(h, SIMPLE "GET");
	assert_int_equal(h->n_requests, 1);
	for (unsigned int i = 1; i < CONNS; i++) {
		struct ig_http_conn *waiting = h->conn;

		idle = add_pair(h);
		h->conn = waiting;
		wait_for(h, &h->n_closed, i);
		(void)ig_close(idle);
	}
	assert_int_equal(h->closed[0], 0);
	answer(h, h->conn);
	pump(h);
	client_receive(h);
	assert_int_equal(count_of(h->in, "hello"), 1);
	end(h);
}

static void test_write_timeout(void **state)
{
	struct ig_http_server_options options = patient;
	_cleanup_free_ char *body = NULL;
	struct harness *h;

	(void)state;
	options.write_timeout_usec = SHORT;
	h = begin_large(&options, &body);
	client_send(h, SIMPLE, strlen(SIMPLE));
	wait_for(h, &h->n_closed, 1);
	assert_int_equal(h->n_requests, 1);
	end(h);
}

static void test_drain_timeout(void **state)
{
	struct ig_http_server_options options = patient;
	struct harness *h;

	(void)state;
	options.drain_timeout_usec = SHORT;
	h = begin(&options);
	exchange(h, "x\n");
	assert_int_equal(h->n_closed, 0);
	wait_for(h, &h->n_closed, 1);
	end(h);
}

/* ---- small parts --------------------------------------------------------------------------- */

static void test_defaults(void **state)
{
	struct event_base *base = event_base_new();
	struct ig_http_server *server = NULL;
	uint64_t counters[_IG_HTTP_COUNTER_MAX];

	(void)state;
	assert_int_equal(ig_http_server_new(base, &ops, &server), 0);
	ig_http_server_counters(server, counters);
	for (int i = 0; i < _IG_HTTP_COUNTER_MAX; i++)
		assert_int_equal(counters[i], 0);
	assert_null(ig_http_server_free(server));
	assert_null(ig_http_server_free(NULL));
	event_base_free(base);
}

static void test_other_event_backends(void **state)
{
	struct event_config *config = event_config_new();
	struct ig_http_server *server = NULL;
	struct event_base *base;

	(void)state;
	assert_int_equal(event_config_avoid_method(config, "epoll"), 0);
	base = event_base_new_with_config(config);
	assert_non_null(base);
	/* edges are what it is built on */
	assert_int_equal(ig_http_server_new(base, &ops, &server), -EOPNOTSUPP);
	assert_null(server);
	event_base_free(base);
	event_config_free(config);
}

static void test_header_find(void **state)
{
	static const struct ig_http_header headers[] = {
		{"A", "1"}, {"b", "2"}, {"a", "3"}, {"Ab", "4"}};
	struct ig_http_request req = {.headers = headers, .n_headers = 4};
	size_t n;

	(void)state;
	assert_string_equal(ig_http_header_find(&req, "a", &n), "1");
	assert_int_equal(n, 2);
	assert_string_equal(ig_http_header_find(&req, "AB", NULL), "4");
	assert_string_equal(ig_http_header_find(&req, "B", &n), "2");
	assert_int_equal(n, 1);
	assert_null(ig_http_header_find(&req, "c", &n));
	assert_int_equal(n, 0);
}

static void test_reason(void **state)
{
	(void)state;
	assert_string_equal(ig_http_reason(200), "OK");
	assert_string_equal(ig_http_reason(400), "Bad Request");
	assert_string_equal(ig_http_reason(405), "Method Not Allowed");
	assert_string_equal(ig_http_reason(429), "Too Many Requests");
	assert_string_equal(ig_http_reason(503), "Service Unavailable");
	assert_string_equal(ig_http_reason(299), "");
}

static void test_method_name(void **state)
{
	(void)state;
	assert_string_equal(ig_http_method_name(IG_HTTP_GET), "GET");
	assert_string_equal(ig_http_method_name(IG_HTTP_OPTIONS), "OPTIONS");
	assert_string_equal(ig_http_method_name(_IG_HTTP_METHOD_MAX), "OTHER");
	for (int i = 0; i < _IG_HTTP_METHOD_MAX; i++)
		assert_non_null(ig_http_method_name((enum ig_http_method)i));
}

static void test_date(void **state)
{
	struct ig_http_date date = {};

	(void)state;
	assert_string_equal(ig_http_date_text(&date, 0), "Thu, 01 Jan 1970 00:00:00 GMT");
	assert_string_equal(ig_http_date_text(&date, 784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
	assert_string_equal(ig_http_date_text(&date, 784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
	assert_string_equal(ig_http_date_text(&date, 1709209599), "Thu, 29 Feb 2024 12:26:39 GMT");
}

static void test_response_head_too_long(void **state)
{
	char buf[IG_HTTP_RESPONSE_HEAD_BYTES];
	_cleanup_free_ char *value = padded("", 'v', sizeof(buf), "");
	struct ig_http_header extra = {"X", value};

	(void)state;
	assert_int_equal(ig_http_format_head(200, NULL, "d", &extra, 1, 0, false, buf), -E2BIG);
	assert_true(ig_http_format_head(200, NULL, "d", NULL, 0, 0, false, buf) > 0);
}

/* Any free port of loopback. */
static void test_connections_inherit(void **state)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	_cleanup_close_ int listener = socket(AF_INET, SOCK_STREAM, 0);
	_cleanup_close_ int client = socket(AF_INET, SOCK_STREAM, 0);
	_cleanup_close_ int accepted = -1;
	socklen_t len = sizeof(address), size = sizeof(int);
	int on = 0;

	(void)state;
	assert_int_equal(bind(listener, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(listener, 1), 0);
	ig_http_server_prepare(listener);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&address, len), 0);
	accepted = accept(listener, NULL, NULL);
	assert_int_equal(getsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &on, &size), 0);
	assert_int_equal(on, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_closing_requests),
		cmocka_unit_test(test_junk_behind_last_request),
		cmocka_unit_test(test_head),
		cmocka_unit_test(test_pipelining_waits),
		cmocka_unit_test(test_pipelining_many),
		cmocka_unit_test(test_pending_does_not_read),
		cmocka_unit_test(test_answer_from_other_connection),
		cmocka_unit_test(test_close_from_callbacks),
		cmocka_unit_test(test_close_from_malformed),
		cmocka_unit_test(test_free_with_open_connections),
		cmocka_unit_test(test_disconnects),
		cmocka_unit_test(test_reset_while_pending),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_refusal_survives_upload),
		cmocka_unit_test(test_drain_limit),
		cmocka_unit_test(test_large_response),
		cmocka_unit_test(test_disconnect_while_writing),
		cmocka_unit_test(test_close_while_writing),
		cmocka_unit_test(test_header_timeout),
		cmocka_unit_test(test_trickle_does_not_help),
		cmocka_unit_test(test_idle_timeout),
		cmocka_unit_test(test_pending_has_no_deadline),
		cmocka_unit_test(test_write_timeout),
		cmocka_unit_test(test_drain_timeout),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_connections_inherit),
		cmocka_unit_test(test_other_event_backends),
		cmocka_unit_test(test_header_find),
		cmocka_unit_test(test_reason),
		cmocka_unit_test(test_method_name),
		cmocka_unit_test(test_date),
		cmocka_unit_test(test_response_head_too_long),
	};

	return cmocka_run_group_tests_name("http server", tests, NULL, NULL);
}
