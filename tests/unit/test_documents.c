/*
 * Unit tests of the source of metadata documents: cache, single flight, rate, turns, deadlines and
 * cancelling, against an IMDS on 127.0.0.1 in the same process. The clock stands still until a test
 * moves it.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>

#include <imdsgate/limits.h>

#include "agent/documents.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "http/client.h"
#include "unit/loop_fixture.h"

#define CALLS_MAX 512

static uint64_t fake_usec;

struct fixture {
	struct event_base *base;
	struct evhttp *imds;
	struct ig_http_client *client;
	struct ig_documents *documents;

	/* what upstream saw */
	int n_calls;
	char *uris[CALLS_MAX];
	char headers[512]; /* "name=value|" for each of the last call */

	/* what it does */
	bool hold; /* does not answer until release() */
	struct evhttp_request *held[CALLS_MAX];
	int n_held;
	int status;
	const char *body;
	size_t padding; /* blanks in front of the body */
	const char *retry_after;

	/* what was told of calls that ended */
	int n_ended;
	enum ig_imds_error ended_with;
	uint64_t ended_usec;
};

/* What one request for a document came to. */
struct asked {
	struct fixture *fixture;
	struct ig_documents_waiter *waiter;
	int n;
	unsigned int status;
	char reason[64];
	char body[64];
	bool again; /* asks once more in the callback */
};

static uint64_t fake_now(void)
{
	return fake_usec;
}

static void pass_msec(uint64_t msec)
{
	fake_usec += msec * IG_USEC_PER_MSEC;
}

/* ---- upstream -------------------------------------------------------------------------------- */

static void answer(struct fixture *f, struct evhttp_request *req)
{
	struct evbuffer *out = evbuffer_new();

	for (size_t i = 0; i < f->padding; i++)
		evbuffer_add(out, " ", 1);
	evbuffer_add_printf(out, "%s", f->body);
	if (f->retry_after)
		evhttp_add_header(
			evhttp_request_get_output_headers(req), "Retry-After", f->retry_after);
	evhttp_send_reply(req, f->status, "Whatever", out);
	evbuffer_free(out);
}

static void on_call(struct evhttp_request *req, void *arg)
{
	struct evkeyvalq *headers = evhttp_request_get_input_headers(req);
	struct fixture *f = arg;
	struct evkeyval *header;
	size_t len = 0;

	assert_true(f->n_calls < CALLS_MAX);
	f->uris[f->n_calls++] = strdup(evhttp_request_get_uri(req));
	f->headers[0] = '\0';
	TAILQ_FOREACH (header, headers, next)
		len += (size_t)snprintf(f->headers + len, sizeof(f->headers) - len, "%s=%s|",
			header->key, header->value);
	assert_true(len < sizeof(f->headers));
	if (f->hold)
		f->held[f->n_held++] = req;
	else
		answer(f, req);
}

static void release(struct fixture *f)
{
	f->hold = false;
	for (int i = 0; i < f->n_held; i++)
		answer(f, f->held[i]);
	f->n_held = 0;
}

static void on_ended(enum ig_imds_error error, uint64_t usec, void *userdata)
{
	struct fixture *f = userdata;

	f->n_ended++;
	f->ended_with = error;
	f->ended_usec = usec;
}

static int set_up(void **state)
{
	const struct ig_http_client_options options = {.user_agent = "imdsgate/test"};
	struct fixture *f = calloc(1, sizeof(*f));
	struct evhttp_bound_socket *bound;
	char url[64];
	const struct ig_documents_options documents = {
		.imds_url = url, .mono_usec = fake_now, .call_ended = on_ended, .userdata = f};
	struct sockaddr_in addr = {};
	socklen_t len = sizeof(addr);
	const int yes = 1;

	(void)signal(SIGPIPE, SIG_IGN);
	fake_usec = 1000 * IG_USEC_PER_SEC;
	f->status = 200;
	f->body = "{\"a\":\"b\"}";
	f->base = event_base_new();
	f->imds = evhttp_new(f->base);
	bound = evhttp_bind_socket_with_handle(f->imds, "127.0.0.1", 0);
	assert_non_null(bound);
	assert_int_equal(
		getsockname(evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&addr, &len), 0);
	/* what is accepted inherits it; head and body would wait for each other */
	assert_int_equal(setsockopt(evhttp_bound_socket_get_fd(bound), IPPROTO_TCP, TCP_NODELAY,
				 &yes, sizeof(yes)),
		0);
	evhttp_set_gencb(f->imds, on_call, f);
	assert_int_equal(ig_http_client_new(f->base, &options, &f->client), 0);
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", ntohs(addr.sin_port));
	assert_int_equal(ig_documents_new(f->base, f->client, &documents, &f->documents), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	ig_documents_free(f->documents);
	ig_http_client_free(f->client);
	release(f);
	evhttp_free(f->imds);
	event_base_free(f->base);
	for (int i = 0; i < f->n_calls; i++)
		free(f->uris[i]);
	free(f);
	return 0;
}

/* ---- asking ---------------------------------------------------------------------------------- */

static struct ig_imds_document document(int n)
{
	struct ig_imds_document d = {.route = IG_IMDS_ROUTE_INSTANCE, .api_version = "2021-02-01"};

	(void)snprintf(d.path, sizeof(d.path), "/metadata/instance/%d", n);
	return d;
}

static int ask_as(struct fixture *f, int n, uint64_t workload, struct asked *asked);

static void on_done(const struct ig_documents_result *result, void *userdata)
{
	struct asked *asked = userdata;

	asked->n++;
	asked->waiter = NULL;
	asked->status = result->reply->status;
	(void)snprintf(asked->reason, sizeof(asked->reason), "%s", result->reason);
	(void)snprintf(asked->body, sizeof(asked->body), "%.*s", (int)result->reply->body.len,
		result->reply->body.data ? result->reply->body.data : "");
	if (asked->again) {
		asked->again = false;
		assert_int_equal(ask_as(asked->fixture, 0, 1, asked), 0);
		/* still there */
		assert_int_equal(result->reply->status, asked->status);
	}
}

static int ask_as(struct fixture *f, int n, uint64_t workload, struct asked *asked)
{
	struct ig_imds_document d = document(n);
	struct ig_documents_waiter *waiter = (struct ig_documents_waiter *)-1;
	int before = asked->n, r;

	asked->fixture = f;
	r = ig_documents_get(f->documents, &d, workload, on_done, asked, &waiter);
	if (r < 0) {
		assert_int_equal(asked->n, before);
		return r;
	}
	/* called at once, or a waiter */
	assert_true((waiter == NULL) == (asked->n == before + 1));
	asked->waiter = waiter;
	return 0;
}

static void ask(struct fixture *f, int n, struct asked *asked)
{
	/* each document by a workload of its own */
	assert_int_equal(ask_as(f, n, 1000 + (uint64_t)n, asked), 0);
}

/* Everything that needs no waiting happens; makes a look at the queue happen first, since its timer
 * does not know the clock of this test. */
static void settle(struct fixture *f)
{
	struct asked poke = {};

	assert_int_equal(ask_as(f, 9999, 9999, &poke), 0);
	ig_documents_cancel(poke.waiter);
	for (int i = 0; i < 50; i++)
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	assert_int_equal(poke.n, 0);
}

static struct asked ask_and_wait(struct fixture *f, int n)
{
	struct asked asked = {};

	ask(f, n, &asked);
	run_until(f->base, &asked.n, 1);
	return asked;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_what_is_sent(void **state)
{
	struct fixture *f = *state;
	struct asked asked = ask_and_wait(f, 7);

	assert_int_equal(asked.status, 200);
	assert_string_equal(asked.body, "{\"a\":\"b\"}");
	assert_string_equal(asked.reason, "fetched");
	assert_string_equal(f->uris[0], "/metadata/instance/7?api-version=2021-02-01&format=json");
	/* ours, and nobody else's */
	assert_non_null(strstr(f->headers, "|User-Agent=imdsgate/test|"));
	assert_non_null(strstr(f->headers, "|Accept=*/*|"));
	assert_non_null(strstr(f->headers, "|Metadata=true|"));
	assert_int_equal(strncmp(f->headers, "Host=127.0.0.1:", 15), 0);
	assert_null(strstr(strstr(f->headers, "|Metadata=true|") + 15, "|"));
}

static void test_cache(void **state)
{
	struct fixture *f = *state;
	struct asked asked;

	(void)ask_and_wait(f, 1);
	pass_msec(IG_DOCUMENT_CACHE_SEC * 1000 - 1);
	asked = ask_and_wait(f, 1);
	assert_string_equal(asked.reason, "cached");
	assert_string_equal(asked.body, "{\"a\":\"b\"}");
	assert_int_equal(f->n_calls, 1);
	/* a hit does not make it younger */
	pass_msec(1);
	f->body = "{}";
	asked = ask_and_wait(f, 1);
	assert_string_equal(asked.reason, "fetched");
	assert_string_equal(asked.body, "{}");
	assert_int_equal(f->n_calls, 2);
}

static void test_what_is_counted(void **state)
{
	struct fixture *f = *state;
	struct asked asked[IG_DOCUMENT_CONCURRENCY + 1] = {};
	struct ig_documents_stats s;

	(void)ask_and_wait(f, 1);
	assert_int_equal(f->n_ended, 1);
	assert_int_equal(f->ended_with, IG_IMDS_ERROR_NONE);
	(void)ask_and_wait(f, 1);
	s = ig_documents_stats(f->documents);
	assert_int_equal(s.hits, 1);
	assert_int_equal(s.misses, 1);
	assert_int_equal(s.cached, 1);
	assert_int_equal(s.queued, 0);
	assert_int_equal(f->n_ended, 1);
	pass_msec(1000);
	f->status = 500;
	f->hold = true;
	for (int i = 0; i < IG_DOCUMENT_CONCURRENCY + 1; i++)
		ask(f, 2 + i, &asked[i]);
	run_until(f->base, &f->n_held, IG_DOCUMENT_CONCURRENCY);
	assert_int_equal(ig_documents_stats(f->documents).queued, 1);
	/* the last one has no turn in time */
	pass_msec(IG_DOCUMENT_TURN_SEC * 1000);
	settle(f);
	assert_int_equal(f->n_ended, 2);
	assert_int_equal(f->ended_with, IG_IMDS_ERROR_UNAVAILABLE);
	assert_int_equal(f->ended_usec, 0);
	release(f);
	run_until(f->base, &f->n_ended, 2 + IG_DOCUMENT_CONCURRENCY);
	assert_int_equal(f->ended_with, IG_IMDS_ERROR_UNAVAILABLE);
	assert_int_equal(f->ended_usec, IG_DOCUMENT_TURN_SEC * IG_USEC_PER_SEC);
	assert_int_equal(ig_documents_stats(f->documents).queued, 0);
}

static void test_only_documents_are_cached(void **state)
{
	struct fixture *f = *state;

	f->status = 404;
	f->body = "{\"error\":\"Not found\"}";
	assert_int_equal(ask_and_wait(f, 1).status, 404);
	f->status = 500;
	assert_int_equal(ask_and_wait(f, 1).status, 503);
	f->status = 200;
	assert_int_equal(ask_and_wait(f, 1).status, 200);
	assert_int_equal(f->n_calls, 3);
}

static void test_single_flight(void **state)
{
	struct fixture *f = *state;
	struct asked asked[20] = {};

	f->hold = true;
	for (int i = 0; i < 10; i++)
		assert_int_equal(ask_as(f, 1, (uint64_t)i, &asked[i]), 0);
	run_until(f->base, &f->n_calls, 1);
	for (int i = 10; i < 20; i++)
		assert_int_equal(ask_as(f, 1, (uint64_t)i, &asked[i]), 0);
	settle(f);
	release(f);
	run_until(f->base, &asked[19].n, 1);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(asked[i].n, 1);
		assert_int_equal(asked[i].status, 200);
	}
	assert_int_equal(f->n_calls, 1);
}

static void test_concurrency(void **state)
{
	struct fixture *f = *state;
	struct asked asked[3] = {};

	f->hold = true;
	for (int i = 0; i < 3; i++)
		ask(f, i, &asked[i]);
	run_until(f->base, &f->n_calls, IG_DOCUMENT_CONCURRENCY);
	settle(f);
	assert_int_equal(f->n_calls, IG_DOCUMENT_CONCURRENCY);
	release(f);
	run_until(f->base, &asked[2].n, 1);
	assert_int_equal(asked[2].status, 200);
}

static void test_rate(void **state)
{
	struct fixture *f = *state;
	struct asked asked[7] = {};

	for (int i = 0; i < 7; i++)
		ask(f, i, &asked[i]);
	run_until(f->base, &asked[2].n, 1);
	settle(f);
	assert_int_equal(f->n_calls, IG_DOCUMENT_PER_SEC);
	pass_msec(999);
	settle(f);
	assert_int_equal(f->n_calls, IG_DOCUMENT_PER_SEC);
	pass_msec(1);
	settle(f);
	run_until(f->base, &asked[5].n, 1);
	settle(f);
	assert_int_equal(f->n_calls, 2 * IG_DOCUMENT_PER_SEC);
	pass_msec(1000);
	settle(f);
	run_until(f->base, &asked[6].n, 1);
	for (int i = 0; i < 7; i++)
		assert_int_equal(asked[i].status, 200);
}

static void test_turns(void **state)
{
	struct fixture *f = *state;
	struct asked asked[4] = {};

	for (int i = 0; i < 3; i++)
		assert_int_equal(ask_as(f, i, 1, &asked[i]), 0);
	assert_int_equal(ask_as(f, 3, 2, &asked[3]), 0);
	run_until(f->base, &f->n_calls, 2);
	/* the one of the other workload was not left behind the three */
	assert_non_null(strstr(f->uris[0], "/0?"));
	assert_non_null(strstr(f->uris[1], "/3?"));
	run_until(f->base, &asked[1].n, 1);
}

static void test_share_of_a_workload(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {}, refused = {};

	f->hold = true;
	for (int i = 0; i < IG_DOCUMENT_QUEUE_WORKLOAD_MAX; i++)
		assert_int_equal(ask_as(f, i, 1, &asked), 0);
	assert_int_equal(ask_as(f, 100, 1, &refused), -EDQUOT);
	/* those that are under way may be joined, and others have their own share */
	assert_int_equal(ask_as(f, 0, 1, &asked), 0);
	assert_int_equal(ask_as(f, 100, 2, &asked), 0);
}

static void test_full(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {}, refused = {};

	f->hold = true;
	for (int i = 0; i < IG_DOCUMENT_QUEUE_MAX; i++)
		ask(f, i, &asked);
	assert_int_equal(ask_as(f, 1000, 1, &refused), -EBUSY);
	assert_int_equal(refused.n, 0);
}

static void test_deadline_in_queue(void **state)
{
	struct fixture *f = *state;
	struct asked asked[4] = {};

	f->hold = true;
	for (int i = 0; i < 3; i++)
		ask(f, i, &asked[i]);
	run_until(f->base, &f->n_calls, 2);
	pass_msec(1000);
	ask(f, 3, &asked[3]);
	pass_msec(IG_DOCUMENT_TURN_SEC * 1000 - 1001);
	settle(f);
	assert_int_equal(asked[2].n, 0);
	pass_msec(1);
	settle(f);
	assert_int_equal(asked[2].n, 1);
	assert_int_equal(asked[2].status, 503);
	assert_string_equal(asked[2].reason, "timed_out_in_queue");
	/* it came later */
	assert_int_equal(asked[3].n, 0);
	assert_int_equal(f->n_calls, 2);
	release(f);
	run_until(f->base, &asked[3].n, 1);
	assert_int_equal(asked[3].status, 200);
	assert_int_equal(f->n_calls, 3);
}

static void test_failures(void **state)
{
	static const struct {
		int status;
		const char *body;
		unsigned int answered;
		const char *reason;
	} cases[] = {{503, "later", 503, "upstream_unavailable"},
		{410, "", 503, "upstream_unavailable"}, {200, "<html>", 500, "upstream_broken"},
		{403, "{}", 500, "upstream_broken"},
		{200, "{\"access_token\":\"x\"}", 500, "upstream_broken"},
		{302, "{}", 500, "upstream_broken"}};
	struct fixture *f = *state;

	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		struct asked asked;

		pass_msec(1000);
		f->status = cases[i].status;
		f->body = cases[i].body;
		asked = ask_and_wait(f, 1);
		if (asked.status != cases[i].answered || strcmp(asked.reason, cases[i].reason) != 0)
			fail_msg("case %zu: %u %s", i, asked.status, asked.reason);
		assert_null(strstr(asked.body, cases[i].body[0] ? cases[i].body : "upstream"));
	}
	pass_msec(1000);
	f->status = 200;
	f->body = "{}";
	f->padding = IG_DOCUMENT_BYTES;
	assert_int_equal(ask_and_wait(f, 1).status, 500);
}

static void test_nobody_there(void **state)
{
	const struct ig_documents_options options = {
		.imds_url = "http://127.0.0.1:1", .mono_usec = fake_now};
	struct fixture *f = *state;
	struct asked asked;

	f->documents = ig_documents_free(f->documents);
	assert_int_equal(ig_documents_new(f->base, f->client, &options, &f->documents), 0);
	asked = ask_and_wait(f, 1);
	assert_int_equal(asked.status, 503);
	assert_string_equal(asked.reason, "upstream_unavailable");
}

static void test_pause(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {};

	f->status = 429;
	f->retry_after = "3";
	assert_int_equal(ask_and_wait(f, 1).status, 503);
	f->status = 200;
	ask(f, 2, &asked);
	pass_msec(2999);
	settle(f);
	assert_int_equal(f->n_calls, 1);
	pass_msec(1);
	settle(f);
	run_until(f->base, &asked.n, 1);
	assert_int_equal(asked.status, 200);
	/* no longer than anybody would wait */
	f->status = 429;
	f->retry_after = "86400";
	assert_int_equal(ask_and_wait(f, 3).status, 503);
	f->status = 200;
	pass_msec(IG_DOCUMENT_TIMEOUT_SEC * 1000);
	assert_int_equal(ask_and_wait(f, 4).status, 200);
}

static void test_cancel(void **state)
{
	struct fixture *f = *state;
	struct asked asked[4] = {};

	f->hold = true;
	for (int i = 0; i < 3; i++)
		ask(f, i, &asked[i]);
	assert_int_equal(ask_as(f, 1, 1, &asked[3]), 0);
	run_until(f->base, &f->n_calls, 2);
	/* one that is waited for by others, one that is under way, one that is queued */
	ig_documents_cancel(asked[3].waiter);
	ig_documents_cancel(asked[0].waiter);
	ig_documents_cancel(asked[2].waiter);
	release(f);
	run_until(f->base, &asked[1].n, 1);
	settle(f);
	assert_int_equal(asked[0].n + asked[2].n + asked[3].n, 0);
	assert_int_equal(f->n_calls, 2);
	/* what was under way came to its end, for the next one */
	asked[0] = (struct asked){};
	ask(f, 0, &asked[0]);
	assert_string_equal(asked[0].reason, "cached");
	/* its place in the queue is free again */
	for (int i = 0; i < IG_DOCUMENT_QUEUE_MAX; i++)
		ask(f, 200 + i, &asked[2]);
}

static void test_asking_in_the_callback(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {.again = true};

	assert_int_equal(ask_as(f, 0, 1, &asked), 0);
	run_until(f->base, &asked.n, 2);
	assert_string_equal(asked.reason, "cached");
	f->status = 500;
	pass_msec(IG_DOCUMENT_CACHE_SEC * 1000);
	asked = (struct asked){.again = true};
	assert_int_equal(ask_as(f, 0, 1, &asked), 0);
	run_until(f->base, &asked.n, 2);
	assert_int_equal(f->n_calls, 3);
}

static void test_bytes_of_the_cache(void **state)
{
	const int fit = IG_DOCUMENT_CACHE_BYTES / IG_DOCUMENT_BYTES;
	struct fixture *f = *state;

	f->padding = IG_DOCUMENT_BYTES - strlen(f->body);
	for (int i = 0; i < fit; i++) {
		assert_int_equal(ask_and_wait(f, i).status, 200);
		pass_msec(334);
	}
	assert_string_equal(ask_and_wait(f, 0).reason, "cached");
	assert_string_equal(ask_and_wait(f, fit).reason, "fetched");
	/* the one that was not used longest had to go */
	assert_string_equal(ask_and_wait(f, 0).reason, "cached");
	assert_string_equal(ask_and_wait(f, 2).reason, "cached");
	pass_msec(334);
	assert_string_equal(ask_and_wait(f, 1).reason, "fetched");
}

static void test_number_in_the_cache(void **state)
{
	struct fixture *f = *state;

	/* the rate lets no more than 90 be fresh at any time: the others are old by now */
	for (int i = 0; i < IG_DOCUMENT_CACHE_MAX + 20; i++) {
		assert_string_equal(ask_and_wait(f, i).reason, "fetched");
		pass_msec(334);
	}
	assert_string_equal(ask_and_wait(f, IG_DOCUMENT_CACHE_MAX).reason, "cached");
	assert_string_equal(ask_and_wait(f, 0).reason, "fetched");
}

static void test_never_upstream(void **state)
{
	struct ig_imds_document d = {.route = IG_IMDS_ROUTE_ATTESTED,
		.flaw = IG_IMDS_ERROR_BAD_API_VERSION,
		.path = "/metadata/attested/document"};
	struct ig_documents_waiter *waiter = NULL;
	struct fixture *f = *state;
	struct asked asked = {};

	assert_int_equal(ig_documents_get(f->documents, &d, 1, on_done, &asked, &waiter), -EINVAL);
	settle(f);
	assert_int_equal(asked.n + f->n_calls, 0);
}

static void ask_for(struct fixture *f, const struct ig_imds_document *d, struct asked *asked)
{
	static uint64_t workload = 5000;

	assert_int_equal(
		ig_documents_get(f->documents, d, workload++, on_done, asked, &asked->waiter), 0);
}

/* Two who ask at the same time, with the same nonce or without one, get an answer each, and so
 * does who asks next. */
static void test_attested(void **state)
{
	struct ig_imds_document d = {.route = IG_IMDS_ROUTE_ATTESTED,
		.path = "/metadata/attested/document",
		.api_version = "2021-02-01",
		.nonce = "7"};
	struct fixture *f = *state;
	struct asked asked[3] = {};

	ask_for(f, &d, &asked[0]);
	ask_for(f, &d, &asked[1]);
	run_until(f->base, &asked[0].n, 1);
	run_until(f->base, &asked[1].n, 1);
	assert_int_equal(f->n_calls, 2);
	assert_string_equal(
		f->uris[0], "/metadata/attested/document?api-version=2021-02-01&nonce=7");
	assert_string_equal(asked[1].reason, "fetched");
	d.nonce[0] = '\0';
	ask_for(f, &d, &asked[2]);
	run_until(f->base, &asked[2].n, 1);
	assert_string_equal(asked[2].reason, "fetched");
	assert_string_equal(f->uris[2], "/metadata/attested/document?api-version=2021-02-01");
}

/* Shared, but not for long. */
static void test_events(void **state)
{
	struct ig_imds_document d = {.route = IG_IMDS_ROUTE_SCHEDULEDEVENTS,
		.path = "/metadata/scheduledevents",
		.api_version = "2020-07-01"};
	struct fixture *f = *state;
	struct asked asked[4] = {};

	ask_for(f, &d, &asked[0]);
	ask_for(f, &d, &asked[1]);
	run_until(f->base, &asked[1].n, 1);
	assert_int_equal(f->n_calls, 1);
	pass_msec(IG_DOCUMENT_EVENTS_CACHE_SEC * 1000 - 1);
	ask_for(f, &d, &asked[2]);
	assert_string_equal(asked[2].reason, "cached");
	pass_msec(1);
	ask_for(f, &d, &asked[3]);
	run_until(f->base, &asked[3].n, 1);
	assert_string_equal(asked[3].reason, "fetched");
}

static void test_freed_while_waiting(void **state)
{
	struct fixture *f = *state;
	struct asked asked[4] = {};

	f->hold = true;
	for (int i = 0; i < 4; i++)
		ask(f, i, &asked[i]);
	run_until(f->base, &f->n_calls, 2);
	f->documents = ig_documents_free(f->documents);
	for (int i = 0; i < 20; i++)
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	for (int i = 0; i < 4; i++)
		assert_int_equal(asked[i].n, 0);
	assert_null(ig_documents_free(NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_what_is_sent),
		TEST(test_cache),
		TEST(test_what_is_counted),
		TEST(test_only_documents_are_cached),
		TEST(test_single_flight),
		TEST(test_concurrency),
		TEST(test_rate),
		TEST(test_turns),
		TEST(test_share_of_a_workload),
		TEST(test_full),
		TEST(test_deadline_in_queue),
		TEST(test_failures),
		TEST(test_nobody_there),
		TEST(test_pause),
		TEST(test_cancel),
		TEST(test_asking_in_the_callback),
		TEST(test_bytes_of_the_cache),
		TEST(test_number_in_the_cache),
		TEST(test_never_upstream),
		TEST(test_attested),
		TEST(test_events),
		TEST(test_freed_while_waiting),
	};

	return cmocka_run_group_tests_name("documents", tests, NULL, NULL);
}
