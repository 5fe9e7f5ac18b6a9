/*
 * A client and a server of user/http over a socket pair or loopback TCP, in one event loop, for
 * unit tests. The client never blocks: whatever can happen without waiting happens in pump().
 * Included by test_http_*.c only, after cmocka's headers; end() checks that every connection ended
 * once.
 */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <event2/event.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdutil.h"
#include "http/server.h"
#include "http/server_internal.h"
#include "imds/reply.h"

#define SIMPLE	"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
#define FAR_OFF (3600 * IG_USEC_PER_SEC)
#define SHORT	(20 * IG_USEC_PER_MSEC)
#define CONNS	4

enum on_request {
	ANSWER,		  /* at once */
	HOLD,		  /* the test answers later */
	CLOSE,		  /* without an answer */
	ANSWER_AND_CLOSE, /* at once, then close */
	FREE_SERVER,
	ANSWER_OTHER /* answers the held request of another connection, and this one */
};

struct harness {
	struct event_base *base;
	struct ig_http_server *server;
	struct event *guard;
	enum on_request mode;
	bool close_malformed;
	bool timed_out;

	/* the last request, as text */
	struct ig_http_conn *conn;
	struct ig_http_conn *other;
	enum ig_http_method method;
	unsigned int minor_version;
	char *target;
	char *headers; /* "name=value|" for each */
	char *body;
	size_t body_len;

	unsigned int n_requests, n_malformed, n_added, n_closed;
	unsigned int n_requests_at_mark; /* for a test that looks in between */
	unsigned int closed[CONNS];	 /* per connection number */
	unsigned int malformed_status;
	const char *answer;
	size_t answer_len;

	struct ig_http_share *share; /* of connections that are added */
	int client;
	char in[1024 * 1024]; /* what the client has received */
	size_t in_len;
	bool in_eof;
};

static inline void remember(struct harness *h, const struct ig_http_request *req)
{
	FILE *f;
	size_t len;

	free(h->target);
	free(h->headers);
	free(h->body);
	h->headers = NULL;
	h->body = NULL;
	h->target = strdup(req->target);
	f = open_memstream(&h->headers, &len);
	assert_non_null(f);
	for (size_t i = 0; i < req->n_headers; i++)
		(void)fprintf(f, "%s=%s|", req->headers[i].name, req->headers[i].value);
	assert_int_equal(fclose(f), 0);
	h->body_len = req->body_len;
	assert_true(!req->body == !req->body_len);
	if (req->body_len) {
		h->body = malloc(req->body_len);
		assert_non_null(h->body);
		memcpy(h->body, req->body, req->body_len);
	}
	h->method = req->method;
	h->minor_version = req->minor_version;
}

static struct harness *current; /* conn_data is the number of the connection */

static inline void answer(struct harness *h, struct ig_http_conn *conn)
{
	ig_http_conn_respond(conn, 200, "text/plain", NULL, 0, h->answer, h->answer_len);
}

static inline void on_request(
	struct ig_http_conn *conn, const struct ig_http_request *req, void *conn_data)
{
	struct harness *h = current;

	(void)conn_data;
	h->n_requests++;
	remember(h, req);
	h->conn = conn;
	switch (h->mode) {
	case ANSWER: answer(h, conn); break;
	case HOLD: break;
	case CLOSE: ig_http_conn_close(conn); break;
	case ANSWER_AND_CLOSE:
		answer(h, conn);
		ig_http_conn_close(conn);
		break;
	case FREE_SERVER: h->server = ig_http_server_free(h->server); break;
	case ANSWER_OTHER:
		h->mode = ANSWER;
		answer(h, h->other);
		/* the strings of this request must have survived that */
		assert_string_equal(req->target, h->target);
		assert_string_equal(req->headers[0].value, "this-one");
		answer(h, conn);
		break;
	}
}

static inline void on_malformed(
	struct ig_http_conn *conn, unsigned int status, const char *why, void *conn_data)
{
	struct harness *h = current;

	(void)conn_data;
	assert_non_null(why);
	h->n_malformed++;
	h->malformed_status = status;
	if (h->close_malformed)
		ig_http_conn_close(conn);
}

static inline void on_close(struct ig_http_conn *conn, void *conn_data)
{
	struct harness *h = current;

	h->n_closed++;
	h->closed[(uintptr_t)conn_data]++;
	if (h->conn == conn)
		h->conn = NULL;
	/* neither may do anything any more */
	ig_http_conn_respond(conn, 200, NULL, NULL, 0, "late", 4);
	ig_http_conn_close(conn);
}

static const struct ig_http_server_ops ops = {
	.on_request = on_request, .on_malformed = on_malformed, .on_close = on_close};

static inline void on_guard(evutil_socket_t fd, short what, void *arg)
{
	struct harness *h = arg;

	(void)fd;
	(void)what;
	h->timed_out = true;
}

static const struct ig_http_server_options patient = {
	.header_timeout_usec = FAR_OFF,
	.idle_timeout_usec = FAR_OFF,
	.write_timeout_usec = FAR_OFF,
	.drain_timeout_usec = FAR_OFF,
	.connections_max = CONNS,
};

static inline int add_fd(struct harness *h, int fd)
{
	int r = ig_fd_set_nonblock(fd);

	if (r == 0)
		r = ig_http_server_add(
			h->server, fd, h->share, (void *)(uintptr_t)(h->n_added % CONNS), &h->conn);
	if (r == 0)
		h->n_added++;
	return r;
}

/* Adds a connection over a socket pair; returns the client's end. */
static inline int add_pair(struct harness *h)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(add_fd(h, fds[0]), 0);
	assert_int_equal(ig_fd_set_nonblock(fds[1]), 0);
	return fds[1];
}

/* The same over loopback TCP, for resets and half-closed connections. */
static inline int add_tcp(struct harness *h)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	_cleanup_close_ int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(sin);

	assert_true(listener >= 0 && client >= 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&sin, &len), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(add_fd(h, accept4(listener, NULL, NULL, SOCK_CLOEXEC)), 0);
	assert_int_equal(ig_fd_set_nonblock(client), 0);
	return client;
}

static inline void start(struct harness *h, const struct ig_http_server_options *options)
{
	current = h;
	h->answer = "hello";
	h->answer_len = 5;
	h->client = -1;
	h->base = event_base_new();
	assert_non_null(h->base);
	h->guard = event_new(h->base, -1, 0, on_guard, h);
	assert_non_null(h->guard);
	assert_int_equal(ig_http_server_new_with(h->base, &ops, options, &h->server), 0);
}

static inline struct harness *begin(const struct ig_http_server_options *options)
{
	struct harness *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	start(h, options);
	h->client = add_pair(h);
	return h;
}

/* Every connection that was added must have ended once. */
static inline void end(struct harness *h)
{
	h->server = ig_http_server_free(h->server);
	assert_int_equal(h->n_closed, h->n_added);
	(void)ig_close(h->client);
	event_free(h->guard);
	event_base_free(h->base);
	free(h->target);
	free(h->headers);
	free(h->body);
	free(h);
	current = NULL;
}

/* What can happen without waiting, happens. */
static inline void pump(struct harness *h)
{
	for (int i = 0; i < 16; i++)
		(void)event_base_loop(h->base, EVLOOP_NONBLOCK);
}

/* Runs the loop until *flag is at least n. */
static inline void wait_for(struct harness *h, const unsigned int *flag, unsigned int n)
{
	const struct timeval limit = {.tv_sec = 5};

	assert_int_equal(event_add(h->guard, &limit), 0);
	while (*flag < n && !h->timed_out)
		(void)event_base_loop(h->base, EVLOOP_ONCE);
	assert_false(h->timed_out);
	(void)event_del(h->guard);
}

static inline void client_send(struct harness *h, const char *data, size_t len)
{
	ssize_t n = send(h->client, data, len, MSG_NOSIGNAL);

	assert_int_equal(n, len);
}

static inline void client_receive(struct harness *h)
{
	for (;;) {
		ssize_t n = recv(h->client, h->in + h->in_len, sizeof(h->in) - 1 - h->in_len, 0);

		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			break;
		}
		if (n == 0) {
			h->in_eof = true;
			break;
		}
		h->in_len += (size_t)n;
	}
	h->in[h->in_len] = '\0';
}

static inline void client_reset_input(struct harness *h)
{
	h->in_len = 0;
	h->in[0] = '\0';
}

static inline void exchange(struct harness *h, const char *text)
{
	client_reset_input(h);
	client_send(h, text, strlen(text));
	pump(h);
	client_receive(h);
}

static inline unsigned int count_of(const char *haystack, const char *needle)
{
	unsigned int n = 0;

	for (const char *p = haystack; (p = strstr(p, needle)); p++)
		n++;
	return n;
}

static inline bool starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

static inline uint64_t counter(struct harness *h, enum ig_http_counter which)
{
	uint64_t counters[_IG_HTTP_COUNTER_MAX];

	ig_http_server_counters(h->server, counters);
	return counters[which];
}

/* Fails unless the client got that refusal, whole, and nothing was handed up. */
static inline void expect_refusal(struct harness *h, unsigned int status, const char *what)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	char line[64];

	(void)snprintf(line, sizeof(line), "HTTP/1.1 %u %s\r\n", status, ig_http_reason(status));
	assert_int_equal(ig_imds_reply_error(IG_IMDS_ERROR_MALFORMED, NULL, NULL, &reply), 0);
	if (!starts_with(h->in, line) || h->n_requests)
		fail_msg("'%.100s': %u requests, '%.40s'", what, h->n_requests, h->in);
	assert_non_null(strstr(h->in, "\r\nConnection: close\r\n"));
	assert_non_null(strstr(h->in, "\r\nContent-Type: application/json; charset=utf-8\r\n"));
	assert_non_null(strstr(h->in, "\r\n\r\n"));
	assert_string_equal(strstr(h->in, "\r\n\r\n") + 4, reply.body.data);
	assert_true(h->in_eof);
	assert_int_equal(h->n_malformed, 1);
	assert_int_equal(h->malformed_status, status);
	/* the connection ends when the client has had the time to read */
	assert_int_equal(h->n_closed, 0);
	h->client = ig_close(h->client);
	pump(h);
	assert_int_equal(h->n_closed, 1);
}

/* "head" + n times c + "tail", to be freed. */
static inline char *padded(const char *head, char c, size_t n, const char *tail)
{
	size_t head_len = strlen(head), tail_len = strlen(tail);
	char *s = malloc(head_len + n + tail_len + 1);

	assert_non_null(s);
	memcpy(s, head, head_len);
	memset(s + head_len, c, n);
	memcpy(s + head_len + n, tail, tail_len + 1);
	return s;
}
