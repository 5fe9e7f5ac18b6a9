/*
 * The token service against its upstream: what each answer means, the limits on asking, the queue
 * and its fairness, deadlines; and the queue and the table of keys by themselves.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "unit/token_fixture.h"

#define MANY 50

/* ---- what an answer means -------------------------------------------------------------------- */

struct meaning {
	unsigned int status;
	const char *body;
	enum ig_token_failure_kind kind;
	const char *code;
	const char *text; /* NULL: any */
};

#define ERROR(code, text) "{\"error\":\"" code "\",\"error_description\":\"" text "\"}"

static void test_failures(void **state)
{
	static const struct meaning cases[] = {
		{404, ERROR("not_found", "Not found"), IG_TOKEN_UNAVAILABLE, "not_found",
			"Not found"},
		{404, ERROR("x", "Identity not found"), IG_TOKEN_UNAVAILABLE, "x", NULL},
		{408, "", IG_TOKEN_UNAVAILABLE, "", "upstream answered 408"},
		{410, "", IG_TOKEN_UNAVAILABLE, "", "upstream answered 410"},
		{429, "Too many", IG_TOKEN_UNAVAILABLE, "", "upstream answered 429"},
		{500, "<html>", IG_TOKEN_UNAVAILABLE, "", "upstream answered 500"},
		{503, ERROR("service_unavailable", ""), IG_TOKEN_UNAVAILABLE, "service_unavailable",
			"upstream answered 503"},
		{400, ERROR("invalid_request", "Identity not found"), IG_TOKEN_NOT_FOUND,
			"invalid_request", "Identity not found"},
		{400, ERROR("invalid_resource", "AADSTS500011: no"), IG_TOKEN_REJECTED,
			"invalid_resource", "AADSTS500011: no"},
		{403, ERROR("forbidden", "no"), IG_TOKEN_REJECTED, "forbidden", "no"},
		{403, ERROR("x", "Identity not found"), IG_TOKEN_REJECTED, "x", NULL},
		{400, "garbage", IG_TOKEN_BROKEN, "", "upstream answered 400"},
		{400, "", IG_TOKEN_BROKEN, "", NULL},
		{301, "", IG_TOKEN_BROKEN, "", "upstream answered 301"},
		{302, ERROR("x", "y"), IG_TOKEN_BROKEN, "x", NULL},
		{204, "", IG_TOKEN_BROKEN, "", NULL},
		{201, "{\"access_token\":\"t\",\"expires_in\":9999}", IG_TOKEN_BROKEN, "", NULL},
		{200, "", IG_TOKEN_BROKEN, "", NULL},
		{200, "garbage", IG_TOKEN_BROKEN, "", NULL},
		{200, ERROR("x", "y"), IG_TOKEN_BROKEN, "", NULL},
		{200, "{\"access_token\":\"t\",\"expires_on\":\"5\"}", IG_TOKEN_BROKEN, "", NULL},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		const struct meaning *c = &cases[i];
		struct asked got;

		f->status = c->status;
		f->body = c->body;
		got = get_token(f, "r");
		assert_false(got.ok);
		assert_int_equal(got.kind, c->kind);
		assert_string_equal(got.code, c->code);
		assert_string_not_equal(got.text, "");
		if (c->text)
			assert_string_equal(got.text, c->text);
		/* every kind is remembered */
		assert_int_equal(get_token(f, "r").kind, c->kind);
		assert_int_equal(f->n_calls, i + 1);
		pass_sec(IG_TOKEN_NEGATIVE_SEC);
	}
	assert_int_equal(f->n_elsewhere, 0);
	assert_int_equal(ig_token_service_stats(f->service).upstream_errors, IG_ARRAY_SIZE(cases));
}

struct ended {
	int n;
	struct ig_token_call last;
};

static void on_ended(const struct ig_token_call *call, void *userdata)
{
	struct ended *ended = userdata;

	ended->n++;
	ended->last = *call;
}

static void test_ended_calls_are_told(void **state)
{
	struct fixture *f = *state;
	struct ended ended = {};

	f->service->call_ended = on_ended;
	f->service->userdata = &ended;
	assert_true(get_token(f, "r").ok);
	assert_int_equal(ended.n, 1);
	assert_int_equal(ended.last.source, IG_TOKEN_SOURCE_IMDS);
	assert_false(ended.last.failed);
	assert_false(ended.last.is_refresh);
	assert_true(ended.last.was_sent);
	/* from the cache: no call */
	assert_true(get_token(f, "r").ok);
	assert_int_equal(ended.n, 1);
	f->status = 503;
	f->body = "";
	assert_false(get_token(f, "s").ok);
	assert_int_equal(ended.n, 2);
	assert_true(ended.last.failed);
	assert_int_equal(ended.last.kind, IG_TOKEN_UNAVAILABLE);
	/* one that nobody waits for */
	pass_sec(DAY_SEC * 6 / 10 + 1);
	assert_int_equal(get_token(f, "r").cache, IG_TOKEN_HIT);
	run_until(f->base, &ended.n, 3);
	assert_true(ended.last.failed);
	assert_true(ended.last.is_refresh);
	assert_true(ended.last.was_sent);
}

static void test_calls_without_a_turn_are_told(void **state)
{
	struct asked asked[IG_UPSTREAM_CONCURRENCY + 1] = {};
	struct fixture *f = *state;
	struct ended ended = {};

	f->service->call_ended = on_ended;
	f->service->userdata = &ended;
	f->hold = true;
	for (size_t i = 0; i < IG_ARRAY_SIZE(asked); i++) {
		char resource[] = {(char)('a' + i), '\0'};

		ask(f, resource, &asked[i]);
	}
	run_until(f->base, &f->n_held, IG_UPSTREAM_CONCURRENCY);
	assert_int_equal(ig_token_service_stats(f->service).queued_in[IG_SOURCE_LANE_IMDS], 1);
	assert_int_equal(ig_token_service_stats(f->service).queued_in[IG_SOURCE_LANE_ENTRA], 0);
	pass_sec(IG_UPSTREAM_TIMEOUT_SEC);
	ig_token_upstream_pump(f->service);
	assert_int_equal(ended.n, 1);
	assert_true(ended.last.failed);
	assert_false(ended.last.was_sent);
	assert_int_equal(ended.last.usec, 0);
	assert_int_equal(ig_token_service_stats(f->service).queued_in[IG_SOURCE_LANE_IMDS], 0);
	release(f);
	run_ready(f);
	assert_int_equal(ended.n, IG_ARRAY_SIZE(asked));
	assert_true(ended.last.was_sent);
	assert_int_equal(ended.last.usec, IG_UPSTREAM_TIMEOUT_SEC * IG_USEC_PER_SEC);
}

static void test_token_of_somebody_else(void **state)
{
	struct fixture *f = *state;

	f->client_id = OTHER;
	assert_int_equal(get_token(f, "r").kind, IG_TOKEN_BROKEN);
	assert_int_equal(ig_token_service_stats(f->service).cached, 0);
}

static void test_too_large(void **state)
{
	struct fixture *f = *state;

	f->padding = IG_UPSTREAM_RESPONSE_BYTES;
	assert_int_equal(get_token(f, "r").kind, IG_TOKEN_BROKEN);
	f->padding = 1000;
	assert_true(get_token(f, "s").ok);
}

static void test_refused_connection(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	/* bound, so that nobody else gets the port, but not listening */
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	new_service(f, port_of(fd));
	assert_int_equal(get_token(f, "r").kind, IG_TOKEN_UNAVAILABLE);
	assert_int_equal(ig_token_service_stats(f->service).upstream_errors, 1);
}

static void test_bad_base_url(void **state)
{
	const struct ig_token_service_options options = {.imds_url = "ftp://127.0.0.1"};
	struct fixture *f = *state;

	f->service = ig_token_service_free(f->service);
	assert_int_equal(ig_token_service_new(f->base, f->client, &options, &f->service), 0);
	assert_int_equal(get_token(f, "r").kind, IG_TOKEN_BROKEN);
	assert_int_equal(ig_token_service_stats(f->service).upstream_calls, 0);
}

static void test_hanging_upstream(void **state)
{
	struct fixture *f = *state;
	struct asked got;

	f->hold = true;
	f->service->timeout_usec = 30000;
	got = get_token(f, "r");
	assert_int_equal(got.kind, IG_TOKEN_UNAVAILABLE);
	assert_string_equal(got.text, "upstream timed out");
	assert_int_equal(n_running(f->service), 0);
}

/* ---- limits on asking ------------------------------------------------------------------------ */

static void ask_many(
	struct fixture *f, const char *prefix, int n, uint64_t fairness, struct asked *asked)
{
	char resource[32];

	for (int i = 0; i < n; i++) {
		struct ig_token_key key;

		(void)snprintf(resource, sizeof(resource), "%s%d", prefix, i);
		key = key_for(resource);
		assert_int_equal(ask_key(f, &key, 0, "", fairness, &asked[i]), 0);
	}
}

static int count_ok(const struct asked *asked, int n)
{
	int ok = 0;

	for (int i = 0; i < n; i++)
		ok += asked[i].ok;
	return ok;
}

static void test_concurrency(void **state)
{
	struct fixture *f = *state;
	struct asked asked[10] = {};

	f->hold = true;
	ask_many(f, "r", 10, 1, asked);
	run_until(f->base, &f->n_calls, IG_UPSTREAM_CONCURRENCY);
	run_ready(f);
	assert_int_equal(f->n_calls, IG_UPSTREAM_CONCURRENCY);
	assert_int_equal(ig_token_service_stats(f->service).queued, 10 - IG_UPSTREAM_CONCURRENCY);
	release(f);
	run_until(f->base, &asked[9].n, 1);
	run_ready(f);
	assert_int_equal(count_ok(asked, 10), 10);
	assert_int_equal(f->n_calls, 10);
}

static void test_rate(void **state)
{
	struct fixture *f = *state;
	struct asked *asked = calloc(MANY, sizeof(*asked));

	ask_many(f, "r", MANY, 1, asked);
	run_until(f->base, &f->n_calls, IG_UPSTREAM_PER_SEC);
	run_ready(f);
	assert_int_equal(f->n_calls, IG_UPSTREAM_PER_SEC);
	assert_int_equal(count_ok(asked, MANY), IG_UPSTREAM_PER_SEC);
	assert_true(
		event_pending(f->service->lanes[IG_SOURCE_LANE_IMDS].pump_timer, EV_TIMEOUT, NULL));
	/* a moment before the second is over */
	fake_mono_usec += IG_USEC_PER_SEC - 1;
	ig_token_upstream_pump(f->service);
	run_ready(f);
	assert_int_equal(f->n_calls, IG_UPSTREAM_PER_SEC);
	fake_mono_usec += 1;
	ig_token_upstream_pump(f->service);
	run_until(f->base, &f->n_calls, 2 * IG_UPSTREAM_PER_SEC);
	run_ready(f);
	assert_int_equal(f->n_calls, 2 * IG_UPSTREAM_PER_SEC);
	for (int i = 0; i < 2; i++) {
		pass_sec(1);
		ig_token_upstream_pump(f->service);
		run_ready(f);
	}
	assert_int_equal(count_ok(asked, MANY), MANY);
	assert_false(
		event_pending(f->service->lanes[IG_SOURCE_LANE_IMDS].pump_timer, EV_TIMEOUT, NULL));
	free(asked);
}

/* The timer itself: the call that the rate put off is made without anybody else's help. */
static void test_rate_timer(void **state)
{
	struct fixture *f = *state;
	struct asked asked[IG_UPSTREAM_PER_SEC + 1] = {};

	/* the window is almost over when the timer is armed */
	ask_many(f, "r", IG_UPSTREAM_PER_SEC, 1, asked);
	run_until(f->base, &asked[IG_UPSTREAM_PER_SEC - 1].n, 1);
	fake_mono_usec += IG_USEC_PER_SEC - 10000;
	ask(f, "last", &asked[IG_UPSTREAM_PER_SEC]);
	assert_int_equal(ig_token_service_stats(f->service).queued, 1);
	fake_mono_usec += 10000;
	run_until(f->base, &asked[IG_UPSTREAM_PER_SEC].n, 1);
	assert_true(asked[IG_UPSTREAM_PER_SEC].ok);
}

static void test_fairness(void **state)
{
	struct fixture *f = *state;
	struct asked *greedy = calloc(MANY, sizeof(*greedy));
	struct asked modest = {};
	const struct ig_token_key key = key_for("modest");

	f->hold = true;
	ask_many(f, "greedy", MANY, 1, greedy);
	assert_int_equal(ask_key(f, &key, 0, "", 2, &modest), 0);
	run_until(f->base, &f->n_calls, IG_UPSTREAM_CONCURRENCY);
	release(f);
	run_until(f->base, &modest.n, 1);
	assert_true(modest.ok);
	/* four were under way, one of the first workload was next, then it was the second's turn */
	assert_string_equal(f->resources[IG_UPSTREAM_CONCURRENCY + 1], "modest");
	f->service = ig_token_service_free(f->service);
	free(greedy);
}

/* Two workloads may share an identity: who asks for what the other one wants last of all does not
 * wait for everything else that it wants. */
static void test_fairness_of_one_token(void **state)
{
	struct fixture *f = *state;
	struct asked *greedy = calloc(MANY, sizeof(*greedy));
	struct asked shared = {}, modest = {};
	const struct ig_token_key key = key_for("shared");

	f->hold = true;
	ask_many(f, "greedy", MANY, 1, greedy);
	assert_int_equal(ask_key(f, &key, 0, "", 1, &shared), 0);
	assert_int_equal(ask_key(f, &key, 0, "", 2, &modest), 0);
	run_until(f->base, &f->n_calls, IG_UPSTREAM_CONCURRENCY);
	release(f);
	run_until(f->base, &modest.n, 1);
	assert_true(modest.ok);
	assert_string_equal(f->resources[IG_UPSTREAM_CONCURRENCY + 1], "shared");
	/* it was one call for both */
	run_until(f->base, &shared.n, 1);
	assert_string_equal(shared.token, modest.token);
	f->service = ig_token_service_free(f->service);
	free(greedy);
}

static void test_queue_timeout(void **state)
{
	struct fixture *f = *state;
	struct asked running[IG_UPSTREAM_CONCURRENCY] = {}, early = {}, late = {};

	f->hold = true;
	ask_many(f, "r", IG_UPSTREAM_CONCURRENCY, 1, running);
	run_until(f->base, &f->n_calls, IG_UPSTREAM_CONCURRENCY);
	ask(f, "early", &early);
	pass_sec(1);
	ask(f, "late", &late);
	pass_sec(IG_UPSTREAM_TIMEOUT_SEC - 1);
	ig_token_upstream_pump(f->service);
	run_until(f->base, &early.n, 1);
	assert_int_equal(early.kind, IG_TOKEN_UNAVAILABLE);
	assert_non_null(strstr(early.text, "timed out"));
	assert_int_equal(late.n, 0);
	assert_int_equal(f->n_calls, IG_UPSTREAM_CONCURRENCY);
	release(f);
	run_until(f->base, &late.n, 1);
	assert_true(late.ok);
}

static void assert_paused(struct fixture *f, const char *retry_after, uint64_t expected_sec)
{
	struct asked asked = {};
	int before = f->n_calls;

	f->service->timeout_usec = 100 * IG_USEC_PER_SEC;
	f->retry_after = retry_after;
	(void)get_token(f, "r");
	assert_int_equal(f->n_calls, before + 1);
	f->status = 200;
	f->retry_after = NULL;
	ask(f, "other", &asked);
	if (expected_sec) {
		run_ready(f);
		pass_sec(expected_sec - 1);
		ig_token_upstream_pump(f->service);
		run_ready(f);
		assert_int_equal(f->n_calls, before + 1);
		assert_int_equal(asked.n, 0);
		pass_sec(1);
		ig_token_upstream_pump(f->service);
	}
	run_until(f->base, &asked.n, 1);
	assert_true(asked.ok);
	(void)ig_token_service_purge(f->service, keep_none, NULL);
}

static void test_retry_after(void **state)
{
	static const struct {
		unsigned int status;
		const char *retry_after;
		uint64_t pause_sec;
	} cases[] = {
		{429, "3", 3},
		{429, "3600", 30},
		{429, NULL, 0},
		{429, "0", 0},
		{429, "tomorrow", 0},
		{503, "9", 0},
		{200, "9", 0},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		f->status = cases[i].status;
		assert_paused(f, cases[i].retry_after, cases[i].pause_sec);
		pass_sec(2);
	}
}

static void test_waiters_limit(void **state)
{
	struct fixture *f = *state;
	struct asked *asked = calloc(IG_TOKEN_WAITERS_MAX + 1, sizeof(*asked));
	struct ig_token_key key = key_for("r");

	f->hold = true;
	for (int i = 0; i < IG_TOKEN_WAITERS_MAX; i++)
		assert_int_equal(ask_key(f, &key, 0, "", 1, &asked[i]), 0);
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked[IG_TOKEN_WAITERS_MAX]), -EBUSY);
	/* nor does a new key leave anything behind */
	key.resource = "s";
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked[IG_TOKEN_WAITERS_MAX]), -EBUSY);
	assert_int_equal(f->service->cache.len, 1);
	ig_token_cancel(asked[0].waiter);
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked[0]), 0);
	f->service = ig_token_service_free(f->service);
	free(asked);
}

static void test_full_queue(void **state)
{
	struct fixture *f = *state;
	const int full = IG_UPSTREAM_CONCURRENCY + IG_UPSTREAM_QUEUE_MAX / 8;
	struct asked *asked = calloc((size_t)full, sizeof(*asked));
	struct asked refused = {}, other = {};
	const struct ig_token_key key = key_for("other");

	f->hold = true;
	ask_many(f, "r", full, 1, asked);
	ask(f, "one too many", &refused);
	assert_int_equal(refused.n, 0);
	run_until(f->base, &refused.n, 1);
	assert_int_equal(refused.kind, IG_TOKEN_UNAVAILABLE);
	assert_non_null(strstr(refused.text, "too many"));
	/* that is this workload's share: others have theirs */
	assert_int_equal(ask_key(f, &key, 0, "", 2, &other), 0);
	run_ready(f);
	assert_int_equal(other.n, 0);
	assert_int_equal(ig_token_service_stats(f->service).queued, IG_UPSTREAM_QUEUE_MAX / 8 + 1);
	f->service = ig_token_service_free(f->service);
	free(asked);
}

/* ---- the queue by itself --------------------------------------------------------------------- */

static void push(struct ig_token_queue *queue, struct ig_token_queued *item, uint64_t fairness)
{
	item->fairness = fairness;
	assert_int_equal(ig_token_queue_push(queue, item), 0);
}

static const struct ig_token_running nothing_runs = {.max_each = 1};

static struct ig_token_queued *pop(struct ig_token_queue *queue)
{
	return ig_token_queue_pop(queue, &nothing_runs);
}

static void test_turns(void **state)
{
	struct ig_token_queue queue;
	struct ig_token_queued a[3] = {}, b[2] = {}, c = {};

	(void)state;
	ig_token_queue_init(&queue);
	assert_null(pop(&queue));
	assert_null(ig_token_queue_oldest(&queue));
	for (int i = 0; i < 3; i++)
		push(&queue, &a[i], 7);
	push(&queue, &b[0], 8);
	push(&queue, &b[1], 8);
	push(&queue, &c, 9);
	assert_ptr_equal(ig_token_queue_oldest(&queue), &a[0]);
	assert_ptr_equal(pop(&queue), &a[0]);
	assert_ptr_equal(ig_token_queue_oldest(&queue), &a[1]);
	assert_ptr_equal(pop(&queue), &b[0]);
	/* one that comes back waits for its turn */
	push(&queue, &b[0], 8);
	assert_ptr_equal(pop(&queue), &c);
	assert_ptr_equal(pop(&queue), &a[1]);
	ig_token_queue_remove(&queue, &b[1]);
	assert_null(b[1].flow);
	assert_ptr_equal(pop(&queue), &b[0]);
	assert_ptr_equal(pop(&queue), &a[2]);
	assert_null(pop(&queue));
	assert_int_equal(queue.len, 0);
}

/* An item that a second workload wants, too, stands with the one for which it comes sooner. */
static void test_shared_item(void **state)
{
	struct ig_token_queue queue;
	struct ig_token_queued a[4] = {}, b[3] = {};

	(void)state;
	ig_token_queue_init(&queue);
	for (int i = 0; i < 4; i++)
		push(&queue, &a[i], 7);
	push(&queue, &b[0], 8);
	/* of its own workload, the first of it, no sooner for the other: nothing changes */
	ig_token_queue_share(&queue, &a[3], 7, &nothing_runs);
	ig_token_queue_share(&queue, &a[0], 9, &nothing_runs);
	ig_token_queue_share(&queue, &a[1], 8, &nothing_runs);
	assert_int_equal(a[3].fairness, 7);
	assert_int_equal(a[0].fairness, 7);
	assert_int_equal(a[1].fairness, 7);
	/* two before it; with the other, one */
	ig_token_queue_share(&queue, &a[2], 8, &nothing_runs);
	assert_int_equal(a[2].fairness, 8);
	/* three workloads, of which one is new */
	ig_token_queue_share(&queue, &a[3], 9, &nothing_runs);
	assert_int_equal(a[3].fairness, 9);
	push(&queue, &b[1], 8);
	assert_int_equal(queue.len, 6);
	/* the order of age is the old one */
	assert_ptr_equal(ig_token_queue_oldest(&queue), &a[0]);
	assert_ptr_equal(pop(&queue), &a[0]);
	assert_ptr_equal(ig_token_queue_oldest(&queue), &a[1]);
	assert_ptr_equal(pop(&queue), &b[0]);
	assert_ptr_equal(pop(&queue), &a[3]);
	assert_ptr_equal(pop(&queue), &a[1]);
	assert_ptr_equal(ig_token_queue_oldest(&queue), &a[2]);
	assert_ptr_equal(pop(&queue), &a[2]);
	assert_ptr_equal(pop(&queue), &b[1]);
	assert_null(pop(&queue));
}

/* A workload that has its share under way keeps its turn, and the others have theirs. */
static void test_share_under_way(void **state)
{
	struct ig_token_running running = {.max_each = 2, .fairness = {7, 8, 7}, .n = 3};
	struct ig_token_queue queue;
	struct ig_token_queued a[2] = {}, b[2] = {};

	(void)state;
	ig_token_queue_init(&queue);
	assert_null(ig_token_queue_pop(&queue, &running));
	for (int i = 0; i < 2; i++) {
		push(&queue, &a[i], 7);
		push(&queue, &b[i], 8);
	}
	assert_ptr_equal(ig_token_queue_pop(&queue, &running), &b[0]);
	running.fairness[running.n++] = 8;
	assert_null(ig_token_queue_pop(&queue, &running));
	assert_int_equal(queue.len, 3);
	/* one of each ends: the first in turn is who was passed over */
	running.fairness[0] = running.fairness[--running.n];
	running.fairness[1] = running.fairness[--running.n];
	assert_ptr_equal(ig_token_queue_pop(&queue, &running), &a[0]);
	running.fairness[running.n++] = 7;
	assert_ptr_equal(ig_token_queue_pop(&queue, &running), &b[1]);
	assert_null(ig_token_queue_pop(&queue, &running));
	/* somebody who may start one wants the same */
	ig_token_queue_share(&queue, &a[1], 9, &running);
	assert_ptr_equal(ig_token_queue_pop(&queue, &running), &a[1]);
	/* but not if it may not either */
	push(&queue, &a[0], 7);
	running.fairness[running.n++] = 8;
	ig_token_queue_share(&queue, &a[0], 8, &running);
	assert_int_equal(a[0].fairness, 7);
	assert_ptr_equal(pop(&queue), &a[0]);
	assert_null(pop(&queue));
}

static void test_queue_limits(void **state)
{
	struct ig_token_queue queue;
	struct ig_token_queued *items = calloc(IG_UPSTREAM_QUEUE_MAX + 1, sizeof(*items));
	const size_t share = IG_UPSTREAM_QUEUE_MAX / 8;
	size_t n = 0;

	(void)state;
	ig_token_queue_init(&queue);
	for (uint64_t flow = 0; flow < 8; flow++) {
		for (size_t i = 0; i < share; i++)
			push(&queue, &items[n++], flow);
		items[n].fairness = flow;
		assert_int_equal(ig_token_queue_push(&queue, &items[n]), -EBUSY);
	}
	assert_int_equal(n, IG_UPSTREAM_QUEUE_MAX);
	items[n].fairness = 99;
	assert_int_equal(ig_token_queue_push(&queue, &items[n]), -EBUSY);
	assert_non_null(pop(&queue));
	push(&queue, &items[n], 99);
	while (pop(&queue))
		n--;
	assert_int_equal(n, 0);
	free(items);
}

/* However the starts fall, no second ever holds more than the rate. */
static void test_rate_window(void **state)
{
	struct ig_token_queue queue;
	uint64_t starts[200], now = 1;
	unsigned int n = 0;

	(void)state;
	ig_token_queue_init(&queue);
	for (unsigned int step = 0; n < 200; step++) {
		if (ig_token_queue_rate_wait_usec(&queue, now) == 0) {
			ig_token_queue_note_start(&queue, now);
			starts[n++] = now;
		}
		now += 1000 + step * 7919 % 70000;
	}
	for (unsigned int i = IG_UPSTREAM_PER_SEC; i < n; i++)
		assert_true(starts[i] - starts[i - IG_UPSTREAM_PER_SEC] >= IG_USEC_PER_SEC);
	/* after a pause all of them may start at once */
	now += 10 * IG_USEC_PER_SEC;
	for (n = 0; ig_token_queue_rate_wait_usec(&queue, now) == 0; n++)
		ig_token_queue_note_start(&queue, now);
	assert_int_equal(n, IG_UPSTREAM_PER_SEC);
	assert_int_equal(ig_token_queue_rate_wait_usec(&queue, now), IG_USEC_PER_SEC);
}

/* ---- the table by itself --------------------------------------------------------------------- */

static struct ig_token_entry *obtain(struct ig_token_cache *cache, int n)
{
	struct ig_token_entry *entry = NULL;
	struct ig_token_key key;
	char resource[32];

	(void)snprintf(resource, sizeof(resource), "resource %d", n);
	key = key_for(resource);
	/* no owner has its share before the table is full */
	assert_int_equal(ig_token_cache_obtain(cache, &key, (uint64_t)n / 512, &entry), 0);
	assert_string_equal(entry->ident->key.resource, resource);
	return entry;
}

static void test_eviction(void **state)
{
	struct ig_token_waiter waiter = {};
	struct ig_token_cache cache;
	struct ig_token_entry *first, *waited_for;

	(void)state;
	assert_int_equal(ig_token_cache_init(&cache), 0);
	first = obtain(&cache, 0);
	waited_for = obtain(&cache, 1);
	TAILQ_INSERT_TAIL(&waited_for->waiters, &waiter, link);
	for (int i = 2; i < IG_TOKEN_CACHE_MAX; i++)
		obtain(&cache, i)->quiet_until_usec = 1;
	assert_int_equal(cache.len, IG_TOKEN_CACHE_MAX);
	assert_ptr_equal(obtain(&cache, 0), first); /* used again: no longer the oldest */
	(void)obtain(&cache, IG_TOKEN_CACHE_MAX);
	assert_int_equal(cache.len, IG_TOKEN_CACHE_MAX);
	assert_ptr_equal(obtain(&cache, 0), first);
	assert_ptr_equal(obtain(&cache, 1), waited_for);
	assert_int_equal(obtain(&cache, 3)->quiet_until_usec, 1);
	assert_int_equal(obtain(&cache, 2)->quiet_until_usec, 0); /* had gone: this one is new */
	TAILQ_REMOVE(&waited_for->waiters, &waiter, link);
	while (!TAILQ_EMPTY(&cache.by_use))
		ig_token_cache_remove(&cache, TAILQ_FIRST(&cache.by_use));
	assert_null(cache.entries);
}

static int obtain_of(struct ig_token_cache *cache, uint64_t owner, int n)
{
	struct ig_token_entry *entry = NULL;
	struct ig_token_key key;
	char resource[32];

	(void)snprintf(resource, sizeof(resource), "resource %d", n);
	key = key_for(resource);
	return ig_token_cache_obtain(cache, &key, owner, &entry);
}

/* Who asks for more than its share pushes out what is its own, and nothing of the others. */
static void test_share_of_the_table(void **state)
{
	enum { SHARE = IG_TOKEN_CACHE_WORKLOAD_MAX };
	struct ig_token_waiter waiters[SHARE] = {};
	struct ig_token_cache cache;
	struct ig_token_entry *entry;
	size_t n = 0;

	(void)state;
	assert_int_equal(ig_token_cache_init(&cache), 0);
	assert_int_equal(obtain_of(&cache, 1, -1), 0); /* the oldest of all */
	for (int i = 0; i < 3 * SHARE; i++)
		assert_int_equal(obtain_of(&cache, 2, i), 0);
	assert_int_equal(cache.len, 1 + SHARE);
	assert_string_equal(TAILQ_FIRST(&cache.by_use)->ident->key.resource, "resource -1");
	/* another's use of an entry is none of its owner's share */
	assert_int_equal(obtain_of(&cache, 1, 3 * SHARE - 1), 0);
	assert_int_equal(cache.len, 1 + SHARE);
	TAILQ_FOREACH (entry, &cache.by_use, by_use) {
		if (strcmp(entry->ident->key.resource, "resource -1") == 0)
			continue;
		assert_true(n < SHARE);
		TAILQ_INSERT_TAIL(&entry->waiters, &waiters[n], link);
		n++;
	}
	assert_int_equal(obtain_of(&cache, 2, -2), -EBUSY);
	assert_int_equal(obtain_of(&cache, 3, -2), 0);
	while ((entry = TAILQ_FIRST(&cache.by_use)) != NULL) {
		TAILQ_INIT(&entry->waiters);
		ig_token_cache_tidy(&cache, entry);
	}
	assert_null(cache.entries);
	assert_null(cache.owners);
}

/* Nothing can be put out when somebody waits for everything. */
static void test_full_table(void **state)
{
	struct ig_token_cache cache;
	struct ig_token_entry *entry;
	struct ig_token_waiter *waiters = calloc(IG_TOKEN_CACHE_MAX, sizeof(*waiters));
	const struct ig_token_key key = key_for("one more");

	(void)state;
	assert_int_equal(ig_token_cache_init(&cache), 0);
	for (int i = 0; i < IG_TOKEN_CACHE_MAX; i++)
		TAILQ_INSERT_TAIL(&obtain(&cache, i)->waiters, &waiters[i], link);
	assert_int_equal(ig_token_cache_obtain(&cache, &key, 7000, &entry), -EBUSY);
	while ((entry = TAILQ_FIRST(&cache.by_use)) != NULL) {
		TAILQ_INIT(&entry->waiters);
		ig_token_cache_tidy(&cache, entry);
	}
	assert_int_equal(cache.len, 0);
	free(waiters);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_failures),
		TEST(test_ended_calls_are_told),
		TEST(test_calls_without_a_turn_are_told),
		TEST(test_token_of_somebody_else),
		TEST(test_too_large),
		TEST(test_refused_connection),
		TEST(test_bad_base_url),
		TEST(test_hanging_upstream),
		TEST(test_concurrency),
		TEST(test_rate),
		TEST(test_rate_timer),
		TEST(test_fairness),
		TEST(test_fairness_of_one_token),
		TEST(test_queue_timeout),
		TEST(test_retry_after),
		TEST(test_waiters_limit),
		TEST(test_full_queue),
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_shared_item),
		cmocka_unit_test(test_share_under_way),
		cmocka_unit_test(test_queue_limits),
		cmocka_unit_test(test_rate_window),
		cmocka_unit_test(test_eviction),
		cmocka_unit_test(test_share_of_the_table),
		cmocka_unit_test(test_full_table),
	};

	return cmocka_run_group_tests_name("token_upstream", tests, NULL, NULL);
}
