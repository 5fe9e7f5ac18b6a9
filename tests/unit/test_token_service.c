/*
 * The token service: cache, single flight, refresh, old tokens, remembered failures, cancel and
 * purge, and what callbacks may do.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "unit/token_fixture.h"

/* ---- cache ----------------------------------------------------------------------------------- */

static void test_miss_then_hit(void **state)
{
	struct fixture *f = *state;
	struct asked first = get_token(f, "r"), second = {};
	struct ig_token_stats stats;

	assert_true(first.ok);
	assert_int_equal(first.cache, IG_TOKEN_MISS);
	assert_string_equal(first.token, "1-r");
	assert_true(f->metadata_header);
	assert_false(f->bypass);
	ask(f, "r", &second);
	assert_int_equal(second.n, 1); /* at once */
	assert_int_equal(second.cache, IG_TOKEN_HIT);
	assert_string_equal(second.token, "1-r");
	assert_int_equal(f->n_calls, 1);
	stats = ig_token_service_stats(f->service);
	assert_int_equal(stats.hits, 1);
	assert_int_equal(stats.misses, 1);
	assert_int_equal(stats.upstream_calls, 1);
	assert_int_equal(stats.upstream_errors, 0);
	assert_int_equal(stats.cached, 1);
	assert_int_equal(stats.waiters, 0);
	assert_int_equal(stats.queued, 0);
}

static void test_500_at_once_are_one_call(void **state)
{
	struct fixture *f = *state;
	struct asked *asked = calloc(500, sizeof(*asked));

	for (int i = 0; i < 500; i++)
		ask(f, "r", &asked[i]);
	assert_int_equal(ig_token_service_stats(f->service).waiters, 500);
	run_until(f->base, &asked[499].n, 1);
	for (int i = 0; i < 500; i++) {
		assert_int_equal(asked[i].n, 1);
		assert_string_equal(asked[i].token, "1-r");
	}
	assert_int_equal(f->n_calls, 1);
	assert_int_equal(ig_token_service_stats(f->service).waiters, 0);
	free(asked);
}

static void test_keys(void **state)
{
	struct fixture *f = *state;
	struct ig_token_key key = key_for("r");
	struct asked asked = {};

	assert_true(get_token(f, "r").ok);
	/* ids: letter case does not matter */
	(void)snprintf(key.upstream.value, sizeof(key.upstream.value), "%s",
		"0D46C104-1111-2222-3333-444444444444");
	key.expect_client_id = "0D46C104-1111-2222-3333-444444444444";
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), 0);
	assert_int_equal(asked.cache, IG_TOKEN_HIT);
	/* resources: it does */
	assert_string_equal(get_token(f, "R").token, "2-R");
	assert_string_equal(get_token(f, "r/").token, "3-r/");
	/* the same value as another kind of id */
	key.upstream.kind = IG_SELECTOR_OBJECT_ID;
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), 0);
	run_until(f->base, &asked.n, 2);
	assert_int_equal(f->n_calls, 4);
	/* another identity is expected: not the same token, though asked for in the same way */
	key = key_for("r");
	key.expect_client_id = "";
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), 0);
	run_until(f->base, &asked.n, 3);
	assert_int_equal(f->n_calls, 5);
	assert_int_equal(ig_token_service_stats(f->service).cached, 5);
}

static void test_bad_arguments(void **state)
{
	struct fixture *f = *state;
	struct ig_token_key key = key_for("");
	struct asked asked = {};
	char *huge = calloc(1, IG_RESOURCE_BYTES + 2);

	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), -EINVAL);
	key.resource = "r";
	assert_int_equal(ask_key(f, &key, 0, "abc", 1, &asked), -EINVAL);
	assert_int_equal(ask_key(f, &key, 0,
				 "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
				 1, &asked),
		-EINVAL);
	key.upstream.value[0] = '\0';
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), -EINVAL);
	memset(huge, 'r', IG_RESOURCE_BYTES + 1);
	key = key_for(huge);
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), -E2BIG);
	huge[IG_RESOURCE_BYTES] = '\0';
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), 0);
	run_until(f->base, &asked.n, 1);
	assert_true(asked.ok);
	assert_int_equal(f->service->cache.len, 1);
	free(huge);
}

/* ---- refresh --------------------------------------------------------------------------------- */

static void test_refresh_on_access(void **state)
{
	struct fixture *f = *state;

	assert_string_equal(get_token(f, "r").token, "1-r");
	pass_sec(DAY_SEC / 2 - 1);
	assert_string_equal(get_token(f, "r").token, "1-r");
	assert_int_equal(f->n_calls, 1);
	/* half of the life and all of the jitter */
	pass_sec(DAY_SEC / 10 + 2);
	assert_int_equal(get_token(f, "r").cache, IG_TOKEN_HIT);
	run_until(f->base, &f->n_calls, 2);
	run_ready(f);
	assert_string_equal(get_token(f, "r").token, "2-r");
	assert_int_equal(f->n_calls, 2);
}

static void test_refresh_by_timer_if_used(void **state)
{
	struct fixture *f = *state;

	(void)get_token(f, "used");
	(void)get_token(f, "unused");
	assert_int_equal(get_token(f, "used").cache, IG_TOKEN_HIT);
	assert_true(event_pending(f->service->sweep_timer, EV_TIMEOUT, NULL));
	pass_sec(DAY_SEC * 6 / 10 + 1);
	ig_token_refresh_sweep(f->service);
	run_until(f->base, &f->n_calls, 3);
	run_ready(f);
	assert_string_equal(f->resources[2], "used");
	/* nobody used the new one: both expire, and then there is nothing to wake up for */
	pass_sec(DAY_SEC * 6 / 10 + 1);
	ig_token_refresh_sweep(f->service);
	run_ready(f);
	assert_int_equal(f->n_calls, 3);
	assert_int_equal(ig_token_service_stats(f->service).cached, 1);
	pass_sec(DAY_SEC);
	ig_token_refresh_sweep(f->service);
	assert_int_equal(ig_token_service_stats(f->service).cached, 0);
	assert_int_equal(f->service->cache.len, 0);
	assert_false(event_pending(f->service->sweep_timer, EV_TIMEOUT, NULL));
}

static void test_failed_refresh_keeps_the_token(void **state)
{
	struct fixture *f = *state;

	(void)get_token(f, "r");
	f->status = 500;
	pass_sec(DAY_SEC * 6 / 10 + 1);
	assert_int_equal(get_token(f, "r").cache, IG_TOKEN_HIT);
	run_until(f->base, &f->n_calls, 2);
	run_ready(f);
	/* no second attempt at once, however often it is used */
	pass_sec(IG_TOKEN_NEGATIVE_SEC + 1);
	for (int i = 0; i < 10; i++)
		assert_string_equal(get_token(f, "r").token, "1-r");
	assert_int_equal(f->n_calls, 2);
	f->status = 200;
	pass_sec(600);
	assert_string_equal(get_token(f, "r").token, "1-r");
	run_until(f->base, &f->n_calls, 3);
	run_ready(f);
	assert_string_equal(get_token(f, "r").token, "3-r");
	assert_int_equal(ig_token_service_stats(f->service).upstream_errors, 1);
}

/* ---- near the end ---------------------------------------------------------------------------- */

static void test_last_minutes_wait_for_upstream(void **state)
{
	struct fixture *f = *state;
	struct asked got;

	(void)get_token(f, "r");
	pass_sec(DAY_SEC - IG_TOKEN_MIN_LIFE_SEC + 1);
	got = get_token(f, "r");
	assert_int_equal(got.cache, IG_TOKEN_MISS);
	assert_string_equal(got.token, "2-r");
}

static void test_stale(void **state)
{
	struct fixture *f = *state;
	struct asked got;

	(void)get_token(f, "r");
	pass_sec(DAY_SEC - IG_TOKEN_MIN_LIFE_SEC + 1);
	f->status = 503;
	for (int i = 0; i < 3; i++) {
		got = get_token(f, "r");
		assert_true(got.ok);
		assert_int_equal(got.cache, IG_TOKEN_STALE);
		assert_string_equal(got.token, "1-r");
		/* the failure is remembered */
		assert_int_equal(f->n_calls, 2);
	}
	assert_int_equal(ig_token_service_stats(f->service).stale, 3);
	pass_sec(IG_TOKEN_MIN_LIFE_SEC - 2);
	assert_int_equal(get_token(f, "r").cache, IG_TOKEN_STALE); /* one second left */
	pass_sec(1);
	got = get_token(f, "r");
	assert_false(got.ok);
	assert_int_equal(got.kind, IG_TOKEN_UNAVAILABLE);
}

/* Upstream may itself have nothing but a token that is about to end. */
static void test_short_lived_token(void **state)
{
	struct fixture *f = *state;

	f->life_sec = 100;
	assert_int_equal(get_token(f, "r").cache, IG_TOKEN_MISS);
	assert_int_equal(get_token(f, "r").cache, IG_TOKEN_HIT);
	assert_int_equal(f->n_calls, 1);
	pass_sec(IG_TOKEN_NEGATIVE_SEC + 1);
	assert_string_equal(get_token(f, "r").token, "2-r");
}

/* ---- bypass and refused tokens --------------------------------------------------------------- */

static void test_bypass(void **state)
{
	struct fixture *f = *state;
	struct asked got, a = {}, b = {};
	const struct ig_token_key key = key_for("r");

	(void)get_token(f, "r");
	got = ask_and_wait(f, "r", IG_TOKEN_BYPASS_CACHE, "");
	assert_int_equal(got.cache, IG_TOKEN_MISS);
	assert_string_equal(got.token, "2-r");
	assert_true(f->bypass);
	/* what it fetched is cached */
	assert_string_equal(get_token(f, "r").token, "2-r");
	/* two at once are one call */
	assert_int_equal(ask_key(f, &key, IG_TOKEN_BYPASS_CACHE, "", 1, &a), 0);
	assert_int_equal(ask_key(f, &key, IG_TOKEN_BYPASS_CACHE, "", 1, &b), 0);
	run_until(f->base, &b.n, 1);
	assert_string_equal(a.token, "3-r");
	assert_string_equal(b.token, "3-r");
}

static void test_bypass_when_upstream_fails(void **state)
{
	struct fixture *f = *state;
	struct asked got;

	(void)get_token(f, "r");
	f->status = 503;
	got = ask_and_wait(f, "r", IG_TOKEN_BYPASS_CACHE, "");
	assert_false(got.ok); /* the old one is just what was not wanted */
	assert_int_equal(f->n_calls, 2);
	/* an upstream in trouble is not asked again; everybody else has the token */
	assert_false(ask_and_wait(f, "r", IG_TOKEN_BYPASS_CACHE, "").ok);
	assert_int_equal(f->n_calls, 2);
	assert_int_equal(get_token(f, "r").cache, IG_TOKEN_HIT);
	/* another key knows nothing of it */
	assert_false(ask_and_wait(f, "s", IG_TOKEN_BYPASS_CACHE, "").ok);
	assert_int_equal(f->n_calls, 3);
}

static void test_bypass_after_rejection_asks_again(void **state)
{
	struct fixture *f = *state;

	f->status = 400;
	f->body = "{\"error\":\"invalid_resource\",\"error_description\":\"x\"}";
	assert_int_equal(get_token(f, "r").kind, IG_TOKEN_REJECTED);
	assert_int_equal(get_token(f, "r").kind, IG_TOKEN_REJECTED);
	assert_int_equal(f->n_calls, 1);
	f->status = 200;
	f->body = NULL;
	f->life_sec = 100;
	assert_true(ask_and_wait(f, "r", IG_TOKEN_BYPASS_CACHE, "").ok);
	assert_int_equal(f->n_calls, 2);
	/* and the failure is forgotten: what is there is the best there is, not an old token */
	assert_int_equal(get_token(f, "r").cache, IG_TOKEN_HIT);
}

static void test_refused_token(void **state)
{
	struct fixture *f = *state;
	struct asked first = get_token(f, "r"), got;
	char upper[65];

	for (int i = 0; i < 65; i++)
		upper[i] = first.sha256[i] >= 'a' && first.sha256[i] <= 'f' ? first.sha256[i] - 32
									    : first.sha256[i];
	got = ask_and_wait(f, "r", 0, upper);
	assert_string_equal(got.token, "2-r");
	assert_true(f->bypass); /* or upstream's cache would give the same one */
	/* that was not our token any more */
	got = ask_and_wait(f, "r", 0, first.sha256);
	assert_int_equal(got.cache, IG_TOKEN_HIT);
	assert_string_equal(got.token, "2-r");
	/* not even as a last resort */
	f->status = 503;
	got = ask_and_wait(f, "r", 0, got.sha256);
	assert_false(got.ok);
	assert_int_equal(got.kind, IG_TOKEN_UNAVAILABLE);
}

/* It came from the agent before this one, and upstream's cache has it still. */
static void test_refused_token_of_before(void **state)
{
	struct fixture *f = *state;
	struct asked first = get_token(f, "r"), plain = {}, refusing = {};
	const struct ig_token_key key = key_for("r");

	new_service(f, f->port);
	assert_true(ask_and_wait(f, "r", 0, first.sha256).ok);
	assert_int_equal(f->n_calls, 2);
	assert_true(f->bypass);
	/* also if it joins somebody who does not mind */
	new_service(f, f->port);
	f->service->lanes[IG_SOURCE_LANE_IMDS].paused_until_usec = fake_mono_usec + IG_USEC_PER_SEC;
	ask(f, "r", &plain);
	assert_int_equal(ask_key(f, &key, 0, first.sha256, 1, &refusing), 0);
	pass_sec(1);
	ig_token_upstream_pump(f->service);
	run_until(f->base, &refusing.n, 1);
	assert_true(f->bypass);
	assert_int_equal(f->n_calls, 3);
	/* what we hold is another one, so upstream's cache holds no more of the refused one */
	(void)get_token(f, "s");
	pass_sec(DAY_SEC - IG_TOKEN_MIN_LIFE_SEC + 1);
	assert_true(ask_and_wait(f, "s", 0, first.sha256).ok);
	assert_int_equal(f->n_calls, 5);
	assert_false(f->bypass);
}

/* ---- remembered failures --------------------------------------------------------------------- */

static void test_failure_is_remembered(void **state)
{
	struct fixture *f = *state;
	struct asked got, later = {};

	f->status = 400;
	f->body = "{\"error\":\"invalid_request\",\"error_description\":\"Identity not found\"}";
	assert_int_equal(get_token(f, "r").kind, IG_TOKEN_NOT_FOUND);
	ask(f, "r", &later);
	assert_int_equal(later.n, 0); /* a failure never comes from inside ig_token_get() */
	run_until(f->base, &later.n, 1);
	assert_int_equal(later.kind, IG_TOKEN_NOT_FOUND);
	assert_string_equal(later.text, "Identity not found");
	assert_int_equal(f->n_calls, 1);
	f->status = 200;
	f->body = NULL;
	pass_sec(IG_TOKEN_NEGATIVE_SEC);
	got = get_token(f, "r");
	assert_true(got.ok);
	assert_int_equal(f->n_calls, 2);
}

/* Clients are told to try again in a second, and some give up after the third time. */
static void test_passing_failure_is_forgotten_in_a_second(void **state)
{
	struct fixture *f = *state;

	f->status = 503;
	assert_int_equal(get_token(f, "r").kind, IG_TOKEN_UNAVAILABLE);
	assert_int_equal(get_token(f, "r").kind, IG_TOKEN_UNAVAILABLE);
	assert_int_equal(f->n_calls, 1);
	f->status = 200;
	pass_sec(1);
	assert_true(get_token(f, "r").ok);
	assert_int_equal(f->n_calls, 2);
}

static void test_failure_is_forgotten(void **state)
{
	struct fixture *f = *state;

	f->status = 503;
	assert_false(get_token(f, "r").ok);
	assert_int_equal(f->service->cache.len, 1);
	pass_sec(IG_TOKEN_NEGATIVE_SEC);
	ig_token_refresh_sweep(f->service);
	assert_int_equal(f->service->cache.len, 0);
	assert_false(event_pending(f->service->sweep_timer, EV_TIMEOUT, NULL));
}

static struct ig_token_upstream_times times_of(struct fixture *f, enum ig_token_upstream upstream)
{
	return ig_token_service_upstream_times(f->service, upstream);
}

/* A refusal is an answer; silence and nonsense are none. Each upstream for itself. */
static void test_when_upstream_answered(void **state)
{
	struct fixture *f = *state;
	uint64_t first = fake_real_usec;

	assert_int_equal(times_of(f, IG_TOKEN_UPSTREAM_IMDS).answered_usec, 0);
	assert_int_equal(times_of(f, IG_TOKEN_UPSTREAM_IMDS).failed_usec, 0);
	assert_true(get_token(f, "r").ok);
	assert_int_equal(times_of(f, IG_TOKEN_UPSTREAM_IMDS).answered_usec, first);
	pass_sec(10);
	f->status = 503;
	assert_false(get_token(f, "s").ok);
	assert_int_equal(times_of(f, IG_TOKEN_UPSTREAM_IMDS).answered_usec, first);
	assert_int_equal(times_of(f, IG_TOKEN_UPSTREAM_IMDS).failed_usec, fake_real_usec);
	pass_sec(10);
	f->status = 400;
	f->body = "{\"error\":\"invalid_resource\",\"error_description\":\"no\"}";
	assert_int_equal(get_token(f, "t").kind, IG_TOKEN_REJECTED);
	assert_int_equal(times_of(f, IG_TOKEN_UPSTREAM_IMDS).answered_usec, fake_real_usec);
	assert_int_equal(times_of(f, IG_TOKEN_UPSTREAM_ENTRA).answered_usec, 0);
	assert_int_equal(times_of(f, IG_TOKEN_UPSTREAM_ENTRA).failed_usec, 0);
}

static void test_tokens_of_the_future(void **state)
{
	struct fixture *f = *state;

	assert_true(get_token(f, "r").ok);
	assert_int_equal(ig_token_service_early_sec(f->service), 0);
	fake_real_usec -= 1000 * IG_USEC_PER_SEC; /* what the machine takes for the time */
	assert_in_range(ig_token_service_early_sec(f->service), 600, 1000);
}

/* ---- cancel ---------------------------------------------------------------------------------- */

static void test_cancel_one_of_two(void **state)
{
	struct fixture *f = *state;
	struct asked a = {}, b = {};

	ask(f, "r", &a);
	ask(f, "r", &b);
	ig_token_cancel(a.waiter);
	ig_token_cancel(NULL);
	run_until(f->base, &b.n, 1);
	run_ready(f);
	assert_int_equal(a.n, 0);
	assert_true(b.ok);
}

static void test_cancel_the_last(void **state)
{
	struct fixture *f = *state;
	struct asked running[IG_UPSTREAM_CONCURRENCY] = {}, queued = {};
	char resource[16];

	f->hold = true;
	for (int i = 0; i < IG_UPSTREAM_CONCURRENCY; i++) {
		(void)snprintf(resource, sizeof(resource), "r%d", i);
		ask(f, resource, &running[i]);
	}
	run_until(f->base, &f->n_calls, IG_UPSTREAM_CONCURRENCY);
	ask(f, "queued", &queued);
	assert_int_equal(ig_token_service_stats(f->service).queued, 1);
	/* nobody else waits: it is not asked for at all */
	ig_token_cancel(queued.waiter);
	assert_int_equal(ig_token_service_stats(f->service).queued, 0);
	assert_int_equal(f->service->cache.len, IG_UPSTREAM_CONCURRENCY);
	/* one that is under way goes on, and its token is kept */
	ig_token_cancel(running[0].waiter);
	release(f);
	run_until(f->base, &running[IG_UPSTREAM_CONCURRENCY - 1].n, 1);
	run_ready(f);
	assert_int_equal(f->n_calls, IG_UPSTREAM_CONCURRENCY);
	assert_int_equal(running[0].n + queued.n, 0);
	assert_int_equal(get_token(f, "r0").cache, IG_TOKEN_HIT);
}

static void test_cancel_between_answer_and_delivery(void **state)
{
	struct fixture *f = *state;
	struct asked later = {};

	f->status = 503;
	(void)get_token(f, "r");
	ask(f, "r", &later); /* from memory: ready, not delivered */
	ig_token_cancel(later.waiter);
	run_ready(f);
	assert_int_equal(later.n, 0);
	assert_int_equal(ig_token_service_stats(f->service).waiters, 0);
}

/* ---- callbacks that do things ---------------------------------------------------------------- */

static void cancel_other(struct asked *asked)
{
	if (asked->other->n == 0)
		ig_token_cancel(asked->other->waiter);
}

static void get_other(struct asked *asked)
{
	asked->inside = NULL;
	ask(asked->fixture, "r", asked->other);
	ask(asked->fixture, "another", asked);
}

static void purge_all(struct asked *asked)
{
	(void)ig_token_service_purge(asked->fixture->service, keep_none, NULL);
}

static void free_service(struct asked *asked)
{
	asked->fixture->service = ig_token_service_free(asked->fixture->service);
}

static void ask_again(struct asked *asked)
{
	ask(asked->fixture, "r", asked);
}

static void test_cancel_from_callback(void **state)
{
	struct fixture *f = *state;
	struct asked a = {.inside = cancel_other}, b = {}, c = {};

	a.other = &b;
	ask(f, "r", &a);
	ask(f, "r", &b);
	ask(f, "r", &c);
	run_until(f->base, &c.n, 1);
	run_ready(f);
	assert_int_equal(a.n, 1);
	assert_int_equal(b.n, 0);
	assert_int_equal(ig_token_service_stats(f->service).waiters, 0);
}

static void test_get_from_callback(void **state)
{
	struct fixture *f = *state;
	struct asked a = {.inside = get_other}, b = {}, inner = {};

	a.other = &inner;
	ask(f, "r", &a);
	ask(f, "r", &b);
	run_until(f->base, &a.n, 2);
	assert_int_equal(inner.n, 1);
	assert_int_equal(inner.cache, IG_TOKEN_HIT);
	assert_int_equal(b.n, 1);
	assert_string_equal(a.token, "2-another");
}

static void test_purge_from_callback(void **state)
{
	struct fixture *f = *state;
	struct asked a = {.inside = purge_all}, b = {}, other = {};

	ask(f, "r", &a);
	ask(f, "r", &b);
	ask(f, "s", &other);
	run_until(f->base, &other.n, 1);
	run_ready(f);
	assert_true(a.ok); /* had it already */
	/* these had not, though upstream had answered */
	assert_int_equal(b.n, 1);
	assert_false(b.ok);
	assert_int_equal(b.kind, IG_TOKEN_UNAVAILABLE);
	assert_false(other.ok);
	assert_int_equal(ig_token_service_stats(f->service).cached, 0);
}

static void test_purge_from_callback_of_a_hit(void **state)
{
	struct fixture *f = *state;
	struct asked hit = {.inside = purge_all};

	(void)get_token(f, "r");
	ask(f, "r", &hit);
	assert_true(hit.ok);
	assert_int_equal(f->service->cache.len, 0);
}

static void test_free_from_callback(void **state)
{
	struct fixture *f = *state;
	struct asked a = {.inside = free_service}, b = {}, c = {};

	ask(f, "r", &a);
	ask(f, "r", &b);
	ask(f, "s", &c);
	run_until(f->base, &a.n, 1);
	run_ready(f);
	assert_null(f->service);
	assert_int_equal(b.n, 0);
	assert_true(c.n <= 1);
}

static void test_free_from_callback_of_a_hit(void **state)
{
	struct fixture *f = *state;
	struct asked hit = {.inside = free_service};

	(void)get_token(f, "r");
	ask(f, "r", &hit);
	assert_true(hit.ok);
	assert_null(f->service);
}

/* One who never takes no for an answer must not stop the loop. */
static void test_endless_asking(void **state)
{
	struct fixture *f = *state;
	struct asked asked = {};

	f->status = 503;
	(void)get_token(f, "r");
	asked.inside = ask_again;
	ask(f, "r", &asked);
	for (int round = 1; round <= 3; round++) {
		event_base_loop(f->base, EVLOOP_ONCE);
		assert_int_equal(asked.n, round);
	}
	ig_token_cancel(asked.waiter);
}

/* ---- purge ----------------------------------------------------------------------------------- */

static void test_purge(void **state)
{
	struct fixture *f = *state;
	char resource[] = "r";

	(void)get_token(f, "r");
	(void)get_token(f, "s");
	assert_int_equal(ig_token_service_purge(f->service, keep_all_but, resource), 1);
	assert_int_equal(ig_token_service_purge(f->service, keep_all_but, resource), 0);
	assert_int_equal(get_token(f, "s").cache, IG_TOKEN_HIT);
	assert_string_equal(get_token(f, "r").token, "3-r");
}

static void test_purge_under_way(void **state)
{
	struct fixture *f = *state;
	struct asked a = {}, b = {}, kept = {};
	char resource[] = "r";

	f->hold = true;
	ask(f, "r", &a);
	ask(f, "r", &b);
	ask(f, "s", &kept);
	run_until(f->base, &f->n_calls, 2);
	assert_int_equal(ig_token_service_purge(f->service, keep_all_but, resource), 0);
	assert_int_equal(a.n, 0); /* later, not from inside */
	run_until(f->base, &b.n, 1);
	assert_int_equal(a.n, 1);
	assert_false(a.ok);
	assert_int_equal(a.kind, IG_TOKEN_UNAVAILABLE);
	assert_int_equal(n_running(f->service), 1);
	release(f);
	run_until(f->base, &kept.n, 1);
	run_ready(f);
	assert_true(kept.ok);
	assert_int_equal(a.n + b.n, 2);
	assert_int_equal(ig_token_service_stats(f->service).cached, 1);
}

static void test_free_under_way(void **state)
{
	struct fixture *f = *state;
	struct asked asked[10] = {}, ready = {};
	char resource[16];

	f->status = 503;
	(void)get_token(f, "r");
	f->hold = true;
	for (int i = 0; i < 10; i++) {
		(void)snprintf(resource, sizeof(resource), "r%d", i);
		ask(f, resource, &asked[i]);
	}
	run_until(f->base, &f->n_calls, 1 + IG_UPSTREAM_CONCURRENCY);
	ask(f, "r", &ready);
	f->service = ig_token_service_free(f->service);
	release(f);
	run_ready(f);
	for (int i = 0; i < 10; i++)
		assert_int_equal(asked[i].n, 0);
	assert_int_equal(ready.n, 0);
	assert_null(ig_token_service_free(NULL));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_miss_then_hit),
		TEST(test_500_at_once_are_one_call),
		TEST(test_keys),
		TEST(test_bad_arguments),
		TEST(test_refresh_on_access),
		TEST(test_refresh_by_timer_if_used),
		TEST(test_failed_refresh_keeps_the_token),
		TEST(test_last_minutes_wait_for_upstream),
		TEST(test_stale),
		TEST(test_short_lived_token),
		TEST(test_bypass),
		TEST(test_bypass_when_upstream_fails),
		TEST(test_bypass_after_rejection_asks_again),
		TEST(test_refused_token),
		TEST(test_refused_token_of_before),
		TEST(test_failure_is_remembered),
		TEST(test_passing_failure_is_forgotten_in_a_second),
		TEST(test_failure_is_forgotten),
		TEST(test_when_upstream_answered),
		TEST(test_tokens_of_the_future),
		TEST(test_cancel_one_of_two),
		TEST(test_cancel_the_last),
		TEST(test_cancel_between_answer_and_delivery),
		TEST(test_cancel_from_callback),
		TEST(test_get_from_callback),
		TEST(test_purge_from_callback),
		TEST(test_purge_from_callback_of_a_hit),
		TEST(test_free_from_callback),
		TEST(test_free_from_callback_of_a_hit),
		TEST(test_endless_asking),
		TEST(test_purge),
		TEST(test_purge_under_way),
		TEST(test_free_under_way),
	};

	return cmocka_run_group_tests_name("token_service", tests, NULL, NULL);
}
