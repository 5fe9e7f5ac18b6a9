/*
 * The reflector on the real client and a server on 127.0.0.1: list, watch, the end of a history,
 * list again, and a connection that breaks. What each step means is tested in test_kube_watch.c;
 * here the parts have to fit.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "kube/client.h"
#include "kube/config.h"
#include "kube/watch.h"

#include "server_fixture.h"

#define OBJECT(name, rv)                                                                           \
	"{\"metadata\":{\"name\":\"" name "\",\"uid\":\"u\",\"resourceVersion\":\"" rv "\"}}"
#define LISTED(rv, items)   "{\"metadata\":{\"resourceVersion\":\"" rv "\"},\"items\":[" items "]}"
#define EVENT(type, object) "{\"type\":\"" type "\",\"object\":" object "}\n"
#define HEAD		    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

struct fixture {
	struct event_base *base;
	struct server server;
	struct ig_kube_client *client;
	struct ig_kube_watch *watch;
	struct ig_buf heard;
	int n_states, n_puts;
};

/* Far apart, so that nothing is done with the pauses of what comes too soon. */
static uint64_t now_usec;

static uint64_t fast_clock(void)
{
	return now_usec += 3600 * IG_USEC_PER_SEC;
}

static uint64_t lowest(uint64_t below)
{
	(void)below;
	return 0;
}

static void on_put(const json_t *object, void *userdata)
{
	struct fixture *f = userdata;

	f->n_puts++;
	ig_buf_printf(&f->heard, "put %s; ",
		json_string_value(json_object_get(json_object_get(object, "metadata"), "name")));
}

static void on_gone(const char *ns, const char *name, const char *uid, void *userdata)
{
	struct fixture *f = userdata;

	(void)ns;
	(void)uid;
	ig_buf_printf(&f->heard, "gone %s; ", name);
}

static void on_state(enum ig_kube_watch_state state, const char *text, void *userdata)
{
	struct fixture *f = userdata;

	assert_true(!text[0] == (state == IG_KUBE_WATCH_SYNCED));
	ig_buf_printf(&f->heard, "%s; ", ig_kube_watch_state_name(state));
	f->n_states++;
}

static void set_up(struct fixture *f)
{
	static const struct ig_kube_pick fields[] = {{}};
	static const struct ig_kube_watch_ops ops = {
		.put = on_put, .gone = on_gone, .state = on_state};
	const struct ig_kube_watch_options options = {.path = "/api/v1/pods",
		.fields = fields,
		.mono_usec = fast_clock,
		.random = lowest};
	struct ig_kube_config *config = calloc(1, sizeof(*config));

	memset(f, 0, sizeof(*f));
	ig_buf_init(&f->heard, 4096);
	f->base = event_base_new();
	server_init(&f->server, f->base);
	assert_non_null(config);
	assert_true(asprintf(&config->server, "http://127.0.0.1:%u", f->server.port) > 0);
	assert_int_equal(ig_kube_client_new(f->base, config, "imdsgate/0 (n)", &f->client), 0);
	(void)ig_kube_config_free(config);
	assert_int_equal(ig_kube_watch_new(f->base, f->client, &options, &ops, f, &f->watch), 0);
}

static void tear_down(struct fixture *f)
{
	f->watch = ig_kube_watch_free(f->watch);
	ig_kube_client_free(f->client);
	server_done(&f->server);
	event_base_free(f->base);
	ig_buf_done(&f->heard);
}

/* One reply with its length, or one chunk with (`last`) or without the end of the body. */
static char *whole(const char *body)
{
	char *text = NULL;

	assert_true(asprintf(&text, HEAD "Content-Length: %zu\r\n\r\n%s", strlen(body), body) > 0);
	return text;
}

static char *chunked(const char *body, bool last)
{
	char *text = NULL;

	assert_true(asprintf(&text, HEAD "Transfer-Encoding: chunked\r\n\r\n%zx\r\n%s\r\n%s",
			    strlen(body), body, last ? "0\r\n\r\n" : "") > 0);
	return text;
}

static void expect_request(struct fixture *f, int n, const char *target)
{
	char line[256];

	assert_true(n < f->server.n_requests);
	(void)snprintf(line, sizeof(line), "GET %s HTTP/1.1\r\n", target);
	assert_memory_equal(f->server.requests[n], line, strlen(line));
}

static void test_conversation(void **state)
{
	struct fixture f;
	_cleanup_free_ char *first = whole(LISTED("10", OBJECT("a", "1") "," OBJECT("b", "2")));
	_cleanup_free_ char *orderly = chunked(EVENT("ADDED", OBJECT("c", "11")), true);
	_cleanup_free_ char *expired = chunked(EVENT("DELETED", OBJECT("b", "12")) EVENT("ERROR",
						       "{\"code\":410,\"message\":\"Expired\"}")
						       EVENT("ADDED", OBJECT("never", "13")),
		false);
	_cleanup_free_ char *second = whole(LISTED("20", OBJECT("c", "11")));
	_cleanup_free_ char *broken = chunked(EVENT("ADDED", OBJECT("d", "21")) "{\"type", false);

	(void)state;
	set_up(&f);
	f.server.answers[0] = first;
	f.server.answers[1] = orderly;
	f.server.answers[2] = expired;
	f.server.answers[3] = second;
	f.server.answers[4] = broken;
	run_until(f.base, &f.server.n_requests, 5);
	run_until(f.base, &f.n_states, 3);
	run_until(f.base, &f.n_puts, 5);
	/* the server goes away in the middle of an event */
	bufferevent_disable(f.server.conns[f.server.n_conns - 1], EV_READ | EV_WRITE);
	assert_int_equal(
		shutdown(bufferevent_getfd(f.server.conns[f.server.n_conns - 1]), SHUT_RDWR), 0);
	run_until(f.base, &f.server.n_requests, 6);
	expect_request(&f, 0, "/api/v1/pods?limit=500");
	expect_request(&f, 1,
		"/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion=10&timeoutSeconds=300");
	expect_request(&f, 2,
		"/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion=11&timeoutSeconds=300");
	expect_request(&f, 3, "/api/v1/pods?limit=500");
	expect_request(&f, 4,
		"/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion=20&timeoutSeconds=300");
	expect_request(&f, 5,
		"/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion=21&timeoutSeconds=5");
	assert_string_equal(f.heard.data,
		"put a; put b; synced; put c; gone b; stale; put c; gone a; synced; put d; stale; ");
	tear_down(&f); /* with a call under way */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_conversation),
	};

	return cmocka_run_group_tests_name("kube_watch_http", tests, NULL, NULL);
}
