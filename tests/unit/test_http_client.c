/*
 * The HTTP client against servers in this process on 127.0.0.1: one that speaks HTTP (evhttp) and
 * one that says whatever the test wants.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <event2/listener.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "http/client.h"
#include "unit/loop_fixture.h"

#define SEC	    1000000ULL
#define LIMIT_BYTES 1000
#define RAW_MAX	    8

struct fixture {
	struct event_base *base;
	struct evhttp *http;
	struct ig_http_client *client;
	uint16_t port;

	/* what the HTTP server saw of the last request */
	int n_requests;
	int n_connections;
	char seen[4096];
	size_t seen_body_len;
	char *seen_body;
	/* what it answers */
	const char *answer_header; /* "name" "\0" "value" */
	size_t answer_len;
	bool answer_chunked;

	/* the other server */
	struct evconnlistener *raw;
	struct bufferevent *raw_conns[RAW_MAX];
	int n_raw;
	uint16_t raw_port;
	const char *raw_answer; /* NULL: says nothing */
	size_t raw_answer_len;

	/* open_socket */
	int n_sockets;
	int socket_error;
};

/* What the callback of one call saw. */
struct outcome {
	struct fixture *fixture;
	struct ig_http_call *call;
	int n;
	int error;
	unsigned int status;
	char body[LIMIT_BYTES + 1];
	size_t body_len;
	char text[300];
	int64_t retry_after_sec;
	struct outcome *cancels; /* from inside the callback */
	bool frees_client;
	bool starts_another;
};

/* ---- servers --------------------------------------------------------------------------------- */

static void on_request(struct evhttp_request *req, void *arg)
{
	struct evkeyvalq *headers = evhttp_request_get_input_headers(req);
	struct evbuffer *in = evhttp_request_get_input_buffer(req);
	struct evbuffer *out = evbuffer_new();
	struct fixture *f = arg;
	struct evkeyval *header;
	size_t used;

	f->n_requests++;
	used = (size_t)snprintf(f->seen, sizeof(f->seen), "%s\n", evhttp_request_get_uri(req));
	TAILQ_FOREACH (header, headers, next)
		used += (size_t)snprintf(f->seen + used, sizeof(f->seen) - used, "%s: %s\n",
			header->key, header->value);
	free(f->seen_body);
	f->seen_body_len = evbuffer_get_length(in);
	f->seen_body = calloc(1, f->seen_body_len + 1);
	evbuffer_remove(in, f->seen_body, f->seen_body_len);

	for (size_t i = 0; i < f->answer_len; i++)
		evbuffer_add(out, i == 1 ? "\0" : "x", 1);
	if (f->answer_header)
		evhttp_add_header(evhttp_request_get_output_headers(req), f->answer_header,
			f->answer_header + strlen(f->answer_header) + 1);
	if (f->answer_chunked) {
		evhttp_send_reply_start(req, 200, "OK");
		evhttp_send_reply_chunk(req, out);
		evhttp_send_reply_end(req);
	} else if (strncmp(evhttp_request_get_uri(req), "/status/", 8) == 0) {
		uint16_t status = 0;

		assert_int_equal(ig_parse_u16(evhttp_request_get_uri(req) + 8, &status), 0);
		evhttp_send_reply(req, status, "Whatever", out);
	} else {
		evhttp_send_reply(req, 200, "OK", out);
	}
	evbuffer_free(out);
}

static struct bufferevent *on_http_connection(struct event_base *base, void *arg)
{
	struct fixture *f = arg;

	f->n_connections++;
	return bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
}

/* Half of a close: the client sees the end of the answer. */
static void on_raw_written(struct bufferevent *bev, void *arg)
{
	(void)arg;
	(void)shutdown(bufferevent_getfd(bev), SHUT_WR);
}

static void on_raw_input(struct bufferevent *bev, void *arg)
{
	struct fixture *f = arg;

	evbuffer_drain(bufferevent_get_input(bev), SIZE_MAX);
	if (!f->raw_answer)
		return;
	bufferevent_setcb(bev, on_raw_input, on_raw_written, NULL, f);
	bufferevent_write(bev, f->raw_answer, f->raw_answer_len);
}

static void on_raw_connection(struct evconnlistener *listener, evutil_socket_t fd,
	struct sockaddr *addr, int len, void *arg)
{
	struct fixture *f = arg;
	struct bufferevent *bev = bufferevent_socket_new(
		evconnlistener_get_base(listener), fd, BEV_OPT_CLOSE_ON_FREE);

	(void)addr;
	(void)len;
	assert_true(f->n_raw < RAW_MAX);
	f->raw_conns[f->n_raw++] = bev;
	bufferevent_setcb(bev, on_raw_input, NULL, NULL, f);
	bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static uint16_t port_of(evutil_socket_t fd)
{
	struct sockaddr_in addr = {};
	socklen_t len = sizeof(addr);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	return ntohs(addr.sin_port);
}

static int open_socket(int family, int type, int protocol, void *userdata)
{
	struct fixture *f = userdata;

	f->n_sockets++;
	if (f->socket_error)
		return f->socket_error;
	return socket(family, type | SOCK_CLOEXEC, protocol);
}

static int set_up(void **state)
{
	const struct ig_http_client_options options = {.user_agent = "imdsgate/test"};
	struct sockaddr_in any = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct fixture *f = calloc(1, sizeof(*f));
	struct evhttp_bound_socket *bound;

	f->base = event_base_new();
	f->http = evhttp_new(f->base);
	bound = evhttp_bind_socket_with_handle(f->http, "127.0.0.1", 0);
	assert_non_null(bound);
	f->port = port_of(evhttp_bound_socket_get_fd(bound));
	evhttp_set_gencb(f->http, on_request, f);
	evhttp_set_bevcb(f->http, on_http_connection, f);
	f->raw = evconnlistener_new_bind(f->base, on_raw_connection, f,
		LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 8, (struct sockaddr *)&any,
		sizeof(any));
	assert_non_null(f->raw);
	f->raw_port = port_of(evconnlistener_get_fd(f->raw));
	assert_int_equal(ig_http_client_new(f->base, &options, &f->client), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	ig_http_client_free(f->client);
	for (int i = 0; i < f->n_raw; i++)
		bufferevent_free(f->raw_conns[i]);
	evconnlistener_free(f->raw);
	evhttp_free(f->http);
	event_base_free(f->base);
	free(f->seen_body);
	free(f);
	return 0;
}

/* ---- calls ----------------------------------------------------------------------------------- */

static void start(
	struct fixture *f, const struct ig_http_call_options *options, struct outcome *outcome);

static const char *url(uint16_t port, const char *path)
{
	static char text[200];

	(void)snprintf(text, sizeof(text), "http://127.0.0.1:%u%s", port, path);
	return text;
}

static struct ig_http_call_options get(const char *to)
{
	return (struct ig_http_call_options){
		.url = to,
		.timeout_usec = 10 * SEC,
		.response_limit_bytes = LIMIT_BYTES,
	};
}

static void on_done(const struct ig_http_response *response, void *userdata)
{
	struct outcome *outcome = userdata;
	struct fixture *f = outcome->fixture;

	outcome->n++;
	outcome->error = response->error;
	outcome->status = response->status;
	outcome->retry_after_sec = response->retry_after_sec;
	assert_non_null(response->body);
	assert_true(response->body_len <= LIMIT_BYTES);
	assert_int_equal(response->body[response->body_len], 0);
	memcpy(outcome->body, response->body, response->body_len);
	outcome->body_len = response->body_len;
	if (response->error) {
		assert_int_equal(response->status, 0);
		assert_non_null(response->error_text);
		assert_string_not_equal(response->error_text, "");
		(void)snprintf(outcome->text, sizeof(outcome->text), "%s", response->error_text);
	}
	if (outcome->cancels && outcome->cancels->n == 0)
		ig_http_call_cancel(outcome->cancels->call);
	if (outcome->frees_client)
		f->client = ig_http_client_free(f->client);
	if (outcome->starts_another) {
		struct ig_http_call_options options = get(url(f->port, "/again"));

		outcome->starts_another = false;
		start(f, &options, outcome);
	}
}

static void start(
	struct fixture *f, const struct ig_http_call_options *options, struct outcome *outcome)
{
	int before = outcome->n;

	outcome->fixture = f;
	assert_int_equal(
		ig_http_client_start(f->client, options, on_done, outcome, &outcome->call), 0);
	assert_int_equal(outcome->n, before);
}

static struct outcome fetch(struct fixture *f, const struct ig_http_call_options *options)
{
	struct outcome outcome = {};

	start(f, options, &outcome);
	run_until(f->base, &outcome.n, 1);
	outcome.call = NULL;
	return outcome;
}

static struct outcome fetch_raw(struct fixture *f, const char *answer)
{
	struct ig_http_call_options options = get(url(f->raw_port, "/"));

	f->raw_answer = answer;
	f->raw_answer_len = strlen(answer);
	return fetch(f, &options);
}

/* ---- tests: what goes out, what comes back --------------------------------------------------- */

static void test_get(void **state)
{
	static const char *const headers[] = {"Metadata: true", "Authorization: Bearer x", NULL};
	struct fixture *f = *state;
	struct ig_http_call_options options = get(url(f->port, "/a/../b?c=%20"));
	struct outcome got;

	options.headers = headers;
	f->answer_len = 3;
	got = fetch(f, &options);
	assert_int_equal(got.error, 0);
	assert_int_equal(got.status, 200);
	assert_int_equal(got.body_len, 3);
	assert_memory_equal(got.body, "x\0x", 3);
	assert_int_equal(got.retry_after_sec, -1);
	/* the path goes out as it is */
	assert_ptr_equal(strstr(f->seen, "/a/../b?c=%20\n"), f->seen);
	assert_non_null(strstr(f->seen, "Metadata: true\n"));
	assert_non_null(strstr(f->seen, "Authorization: Bearer x\n"));
	assert_non_null(strstr(f->seen, "User-Agent: imdsgate/test\n"));
	assert_null(strcasestr(f->seen, "Accept-Encoding"));
	assert_null(strcasestr(f->seen, "Cookie"));
	assert_null(strcasestr(f->seen, "Expect"));
}

static void test_empty_body(void **state)
{
	struct fixture *f = *state;
	struct ig_http_call_options options = get(url(f->port, "/"));
	struct outcome got = fetch(f, &options);

	assert_int_equal(got.status, 200);
	assert_string_equal(got.body, "");
	assert_int_equal(got.body_len, 0);
}

static void test_post(void **state)
{
	static const char *const headers[] = {"content-type: application/json", NULL};
	struct fixture *f = *state;
	struct ig_http_call_options options = get(url(f->port, "/"));
	/* more than libcurl would send without asking for permission (Expect) */
	size_t len = 1200000;
	char *body = calloc(1, len);

	memset(body, 'p', len);
	options.headers = headers;
	options.post_body = body;
	options.post_body_len = len;
	assert_int_equal(fetch(f, &options).status, 200);
	assert_int_equal(f->seen_body_len, len);
	assert_memory_equal(f->seen_body, body, len);
	assert_non_null(strstr(f->seen, "content-type: application/json\n"));
	assert_null(strstr(f->seen, "Content-Type"));
	assert_null(strcasestr(f->seen, "Expect"));
	free(body);
}

static void test_post_is_copied_and_untyped(void **state)
{
	struct fixture *f = *state;
	struct ig_http_call_options options = get(url(f->port, "/"));
	struct outcome got = {};
	char body[] = "secret";

	options.post_body = body;
	options.post_body_len = strlen(body);
	start(f, &options, &got);
	memset(body, 'z', sizeof(body));
	run_until(f->base, &got.n, 1);
	assert_string_equal(f->seen_body, "secret");
	assert_null(strcasestr(f->seen, "Content-Type"));
}

static void test_empty_post(void **state)
{
	struct fixture *f = *state;
	struct ig_http_call_options options = get(url(f->port, "/"));

	options.post_body = "";
	assert_int_equal(fetch(f, &options).status, 200);
	assert_int_equal(f->seen_body_len, 0);
	assert_non_null(strcasestr(f->seen, "Content-Length: 0"));
}

static void test_limit(void **state)
{
	struct fixture *f = *state;
	struct ig_http_call_options options = get(url(f->port, "/"));
	struct outcome got;

	for (int chunked = 0; chunked < 2; chunked++) {
		f->answer_chunked = chunked;
		f->answer_len = LIMIT_BYTES;
		got = fetch(f, &options);
		assert_int_equal(got.error, 0);
		assert_int_equal(got.body_len, LIMIT_BYTES);
		f->answer_len = LIMIT_BYTES + 1;
		got = fetch(f, &options);
		assert_int_equal(got.error, -E2BIG);
		assert_int_equal(got.body_len, 0);
		assert_string_equal(got.text, "the reply is larger than 1000 bytes");
	}
}

static void test_header_limit(void **state)
{
	struct fixture *f = *state;
	_cleanup_(ig_buf_donep) struct ig_buf answer = {.limit = 2 * IG_HTTP_HEADER_BYTES};

	ig_buf_puts(&answer, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n");
	while (answer.len < IG_HTTP_HEADER_BYTES)
		ig_buf_puts(&answer, "X-Padding: 0123456789012345678901234567\r\n");
	ig_buf_puts(&answer, "\r\n");
	assert_int_equal(fetch_raw(f, answer.data).error, -E2BIG);
}

static void test_retry_after(void **state)
{
	static const struct {
		const char *header;
		int64_t expected;
	} cases[] = {
		{"Retry-After\0007", 7},
		{"retry-after\000  12  ", 12},
		{"Retry-After\0000", 0},
		{"Retry-After\000-1", -1},
		{"Retry-After\0001.5", -1},
		{"Retry-After\000Wed, 21 Oct 2015 07:28:00 GMT", -1},
		{"Retry-After\000999999999999999999", 999999999999999999},
		{"Retry-After\00099999999999999999999", -1},
		{"X-Retry-After\0007", -1},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		struct ig_http_call_options options = get(url(f->port, "/status/429"));
		struct outcome got;

		f->answer_header = cases[i].header;
		got = fetch(f, &options);
		assert_int_equal(got.status, 429);
		assert_int_equal(got.retry_after_sec, cases[i].expected);
	}
}

static void test_provisional_reply(void **state)
{
	struct fixture *f = *state;
	struct outcome got = fetch_raw(f,
		"HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ny");

	assert_int_equal(got.status, 200);
	assert_string_equal(got.body, "y");
	assert_int_equal(got.retry_after_sec, -1);
}

static void test_redirect_is_not_followed(void **state)
{
	struct fixture *f = *state;
	struct ig_http_call_options options = get(url(f->port, "/status/302"));
	struct outcome got;

	f->answer_header = "Location\0/elsewhere";
	got = fetch(f, &options);
	assert_int_equal(got.status, 302);
	run_turns(f->base);
	assert_int_equal(f->n_requests, 1);
}

static void test_proxy_of_the_environment_is_ignored(void **state)
{
	struct fixture *f = *state;
	struct ig_http_call_options options = get(url(f->port, "/"));
	char proxy[100];

	(void)snprintf(proxy, sizeof(proxy), "http://127.0.0.1:%u", f->raw_port);
	(void)setenv("http_proxy", proxy, 1);
	(void)setenv("ALL_PROXY", proxy, 1);
	assert_int_equal(fetch(f, &options).status, 200);
	assert_int_equal(f->n_raw, 0);
	(void)unsetenv("http_proxy");
	(void)unsetenv("ALL_PROXY");
}

static void test_cookies_are_not_kept(void **state)
{
	struct fixture *f = *state;
	struct ig_http_call_options options = get(url(f->port, "/"));

	f->answer_header = "Set-Cookie\0a=b";
	assert_int_equal(fetch(f, &options).status, 200);
	assert_int_equal(fetch(f, &options).status, 200);
	assert_null(strcasestr(f->seen, "Cookie"));
}

/* ---- tests: failures ------------------------------------------------------------------------- */

static void test_refused(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	/* bound, so that nobody else gets the port, but not listening */
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct ig_http_call_options options;

	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	options = get(url(port_of(fd), "/"));
	assert_int_equal(fetch(f, &options).error, -ECONNREFUSED);
}

static void test_timeout(void **state)
{
	struct fixture *f = *state;
	struct ig_http_call_options options = get(url(f->raw_port, "/"));
	struct outcome got;

	options.timeout_usec = 500000; /* long enough to connect on a slow machine */
	got = fetch(f, &options);
	assert_int_equal(got.error, -ETIMEDOUT);
	assert_int_equal(f->n_raw, 1);
}

/* Good as far as it came: the connection broke, and the next one may not. */
static void test_cut_short(void **state)
{
	static const char *const answers[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < IG_ARRAY_SIZE(answers); i++) {
		struct outcome got = fetch_raw(f, answers[i]);

		assert_int_equal(got.error, -ECONNRESET);
		assert_int_equal(got.body_len, 0);
	}
}

static void test_garbage(void **state)
{
	static const struct {
		const char *answer;
		int error;
	} cases[] = {
		{"hello, this is not HTTP at all\r\n\r\n", -EBADMSG},
		{"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nabc", -EBADMSG},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		struct outcome got = fetch_raw(f, cases[i].answer);

		assert_int_equal(got.error, cases[i].error);
		assert_int_equal(got.body_len, 0);
	}
}

static void test_closed_without_reply(void **state)
{
	struct fixture *f = *state;
	struct ig_http_call_options options = get(url(f->raw_port, "/"));
	struct outcome got = {};

	start(f, &options, &got);
	run_until(f->base, &f->n_raw, 1);
	(void)shutdown(bufferevent_getfd(f->raw_conns[0]), SHUT_WR);
	run_until(f->base, &got.n, 1);
	assert_int_equal(got.error, -ECONNRESET);
}

static void test_bad_arguments(void **state)
{
	static const char *const bad[] = {
		"no colon", ": no name", "A: b\r\nC: d", "A: b\nC: d", "A: \x01", "A: \x7f"};
	struct fixture *f = *state;
	struct outcome got = {.fixture = f};
	struct ig_http_call_options options;

	for (size_t i = 0; i < IG_ARRAY_SIZE(bad); i++) {
		const char *headers[] = {bad[i], NULL};

		options = get(url(f->port, "/"));
		options.headers = headers;
		assert_int_equal(
			ig_http_client_start(f->client, &options, on_done, &got, NULL), -EINVAL);
	}
	options = get(url(f->port, "/"));
	options.timeout_usec = 0;
	assert_int_equal(ig_http_client_start(f->client, &options, on_done, &got, NULL), -EINVAL);
	options = get(url(f->port, "/"));
	options.response_limit_bytes = 0;
	assert_int_equal(ig_http_client_start(f->client, &options, on_done, &got, NULL), -EINVAL);
	run_turns(f->base);
	assert_int_equal(got.n, 0);
	assert_int_equal(f->n_requests, 0);
}

static void test_bad_urls(void **state)
{
	static const char *const bad[] = {"file:///etc/hostname", "ftp://127.0.0.1/",
		"gopher://127.0.0.1/", "", "http://", "http://127.0.0.1:99999/",
		"http://user:password@127.0.0.1/"};
	struct fixture *f = *state;

	for (size_t i = 0; i < IG_ARRAY_SIZE(bad); i++) {
		struct ig_http_call_options options = get(bad[i]);
		struct outcome got = fetch(f, &options);

		assert_true(got.error == -EINVAL || got.error == -EIO);
		assert_null(strstr(got.text, "password"));
	}
}

/* ---- tests: life of calls, client and connections -------------------------------------------- */

static void test_cancel(void **state)
{
	struct fixture *f = *state;
	struct ig_http_call_options options = get(url(f->raw_port, "/"));
	struct outcome early = {}, late = {};

	start(f, &options, &early);
	ig_http_call_cancel(early.call);
	start(f, &options, &late);
	run_until(f->base, &f->n_raw, 1);
	ig_http_call_cancel(late.call);
	ig_http_call_cancel(NULL);
	run_turns(f->base);
	assert_int_equal(early.n + late.n, 0);
}

/* Whichever ends first cancels the other: one callback, whatever the order. */
static void test_cancel_from_callback(void **state)
{
	struct fixture *f = *state;
	struct ig_http_call_options options = get(url(f->port, "/"));
	struct outcome a = {}, b = {};
	int total;

	a.cancels = &b;
	b.cancels = &a;
	start(f, &options, &a);
	start(f, &options, &b);
	while (a.n + b.n == 0)
		event_base_loop(f->base, EVLOOP_ONCE);
	run_turns(f->base);
	total = a.n + b.n;
	assert_int_equal(total, 1);
}

static void test_start_from_callback(void **state)
{
	struct fixture *f = *state;
	struct ig_http_call_options options = get(url(f->port, "/"));
	struct outcome got = {.starts_another = true};

	start(f, &options, &got);
	run_until(f->base, &got.n, 2);
	assert_int_equal(got.status, 200);
	assert_ptr_equal(strstr(f->seen, "/again"), f->seen);
}

static void test_free_from_callback(void **state)
{
	struct fixture *f = *state;
	struct ig_http_call_options hanging = get(url(f->raw_port, "/"));
	struct ig_http_call_options options;
	struct outcome never = {}, got = {.frees_client = true};

	start(f, &hanging, &never);
	options = get(url(f->port, "/"));
	start(f, &options, &got);
	run_until(f->base, &got.n, 1);
	assert_null(f->client);
	run_turns(f->base);
	assert_int_equal(never.n, 0);
}

static void test_free_with_calls(void **state)
{
	struct fixture *f = *state;
	struct ig_http_call_options options = get(url(f->raw_port, "/"));
	struct outcome never = {};

	start(f, &options, &never);
	run_until(f->base, &f->n_raw, 1);
	start(f, &options, &never);
	f->client = ig_http_client_free(f->client);
	run_turns(f->base);
	assert_int_equal(never.n, 0);
	assert_null(ig_http_client_free(NULL));
}

static void use_open_socket(struct fixture *f)
{
	const struct ig_http_client_options options = {.open_socket = open_socket, .userdata = f};

	f->client = ig_http_client_free(f->client);
	assert_int_equal(ig_http_client_new(f->base, &options, &f->client), 0);
}

static void test_open_socket_and_reuse(void **state)
{
	struct fixture *f = *state;
	struct ig_http_call_options options = get(url(f->port, "/"));

	use_open_socket(f);
	assert_int_equal(fetch(f, &options).status, 200);
	assert_int_equal(fetch(f, &options).status, 200);
	assert_int_equal(f->n_sockets, 1);
	assert_int_equal(f->n_connections, 1);
	/* no user agent was set */
	assert_null(strcasestr(f->seen, "User-Agent"));
}

static void test_open_socket_fails(void **state)
{
	struct fixture *f = *state;
	struct ig_http_call_options options = get(url(f->port, "/"));
	struct outcome got;

	use_open_socket(f);
	f->socket_error = -EMFILE;
	got = fetch(f, &options);
	assert_int_equal(got.error, -EMFILE);
	assert_non_null(strstr(got.text, "no socket"));
	assert_int_equal(f->n_connections, 0);
	f->socket_error = 0;
	assert_int_equal(fetch(f, &options).status, 200);
}

static void test_many_at_once(void **state)
{
	struct fixture *f = *state;
	struct ig_http_call_options options = get(url(f->port, "/"));
	struct outcome *got = calloc(60, sizeof(*got));
	int ended = 0;

	for (int i = 0; i < 60; i++)
		start(f, &options, &got[i]);
	while (ended < 60) {
		event_base_loop(f->base, EVLOOP_ONCE);
		ended = 0;
		for (int i = 0; i < 60; i++)
			ended += got[i].n;
	}
	for (int i = 0; i < 60; i++) {
		assert_int_equal(got[i].n, 1);
		assert_int_equal(got[i].status, 200);
	}
	assert_int_equal(f->n_requests, 60);
	free(got);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_get),
		TEST(test_empty_body),
		TEST(test_post),
		TEST(test_post_is_copied_and_untyped),
		TEST(test_empty_post),
		TEST(test_limit),
		TEST(test_header_limit),
		TEST(test_retry_after),
		TEST(test_provisional_reply),
		TEST(test_redirect_is_not_followed),
		TEST(test_proxy_of_the_environment_is_ignored),
		TEST(test_cookies_are_not_kept),
		TEST(test_refused),
		TEST(test_timeout),
		TEST(test_cut_short),
		TEST(test_garbage),
		TEST(test_closed_without_reply),
		TEST(test_bad_arguments),
		TEST(test_bad_urls),
		TEST(test_cancel),
		TEST(test_cancel_from_callback),
		TEST(test_start_from_callback),
		TEST(test_free_from_callback),
		TEST(test_free_with_calls),
		TEST(test_open_socket_and_reuse),
		TEST(test_open_socket_fails),
		TEST(test_many_at_once),
	};

	/* our own servers write to connections that the client has closed */
	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("http_client", tests, NULL, NULL);
}
