/*
 * Tokens for service accounts: the token service, a provider of assertions that does what the test
 * says, and the Entra ID of entra_fixture.h. What each failure of the provider means, time that
 * passes while it is asked, calls that are given up in each state, the one repetition with a new
 * assertion, places in the lane; and every allocation failing once.
 *
 * Linked with --wrap for allocations.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "token/assertion_provider.h"
#include "unit/entra_alloc_failure.h"

#define POD	    "demo/builder/builder-0/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
#define POD_OTHER   "demo/builder/builder-1/1a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
#define SECRET	    "c2VjcmV0"
#define WAITING_MAX 64

/* ---- the provider ---------------------------------------------------------------------------- */

struct waiting {
	bool used;
	ig_assertion_done *done;
	void *userdata;
};

static struct provider {
	struct event_base *base;
	int n_asked, n_cancelled;
	struct waiting waiting[WAITING_MAX];
	bool hold;
	int start_error; /* of start() itself */
	int error;	 /* what calls come to */
	const char *text;
	uint64_t takes_sec; /* passes while it is asked */
	char credential[128];
	char audience[64];
	uint64_t timeout_usec;
} provider;

/* The answer lives as long as the callback, as is promised; each is another one. */
static void answer_assertion(struct waiting *w)
{
	char assertion[64];
	struct ig_assertion_result result = {.error = provider.error, .text = provider.text};

	(void)snprintf(assertion, sizeof(assertion), "%s.%d", SECRET, provider.n_asked);
	if (!provider.error)
		result.assertion = assertion;
	w->used = false;
	pass_sec(provider.takes_sec);
	w->done(&result, w->userdata);
	explicit_bzero(assertion, sizeof(assertion));
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct waiting *w = arg;

	(void)fd;
	(void)what;
	if (w->used)
		answer_assertion(w);
}

static int provider_start(void *userdata, const char *credential, const char *audience,
	uint64_t timeout_usec, ig_assertion_done *done, void *done_userdata, void **ret_call)
{
	const struct timeval now = {};
	struct waiting *w = provider.waiting;

	assert_ptr_equal(userdata, &provider);
	if (provider.start_error < 0)
		return provider.start_error;
	while (w->used)
		w++;
	assert_true(w < provider.waiting + WAITING_MAX);
	*w = (struct waiting){.used = true, .done = done, .userdata = done_userdata};
	provider.n_asked++;
	(void)snprintf(provider.credential, sizeof(provider.credential), "%s", credential);
	(void)snprintf(provider.audience, sizeof(provider.audience), "%s", audience);
	provider.timeout_usec = timeout_usec;
	*ret_call = w;
	if (!provider.hold) {
		upstream_works = true;
		assert_int_equal(
			event_base_once(provider.base, -1, EV_TIMEOUT, on_turn, w, &now), 0);
		upstream_works = false;
	}
	return 0;
}

static void provider_cancel(void *userdata, void *call)
{
	struct waiting *w = call;

	assert_ptr_equal(userdata, &provider);
	assert_true(w->used);
	w->used = false;
	provider.n_cancelled++;
}

static int n_waiting(void)
{
	int n = 0;

	for (int i = 0; i < WAITING_MAX; i++)
		n += provider.waiting[i].used;
	return n;
}

/* ---- set up ---------------------------------------------------------------------------------- */

static const struct ig_assertion_provider callbacks = {
	.start = provider_start, .cancel = provider_cancel, .userdata = &provider};

static int set_up_provider(void **state)
{
	struct fixture *f;

	(void)set_up_entra(state);
	f = *state;
	provider = (struct provider){.base = f->base, .text = ""};
	/* no directory of credentials: none is needed */
	new_entra_service(f, (struct ig_token_service_options){.assertions = &callbacks});
	return 0;
}

static int tear_down_provider(void **state)
{
	(void)tear_down_entra(state);
	/* what the service began, it ended */
	assert_int_equal(n_waiting(), 0);
	return 0;
}

static struct ig_token_key account_key(const struct fixture *f, const char *resource)
{
	struct ig_token_key key = entra_key(f, resource);

	key.source = IG_TOKEN_SOURCE_SERVICE_ACCOUNT;
	key.credential = POD;
	return key;
}

static void assert_nothing_runs(const struct fixture *f)
{
	assert_int_equal(n_running(f->service), 0);
	assert_int_equal(n_waiting(), 0);
}

/* ---- what comes of it ------------------------------------------------------------------------ */

static void test_issued(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f, "r");
	struct asked asked = ask_entra(f, &key, 0);

	assert_true(asked.ok);
	assert_string_equal(asked.token, "entra-1");
	assert_string_equal(provider.credential, POD);
	assert_string_equal(provider.audience, "api://AzureADTokenExchange");
	assert_int_equal(provider.timeout_usec, IG_UPSTREAM_TIMEOUT_SEC * IG_USEC_PER_SEC);
	assert_non_null(strstr(entra.posts[0], "client_assertion=" SECRET ".1"));
	assert_non_null(strstr(entra.posts[0], "client_assertion_type=urn%3Aietf%3Aparams"));
	assert_non_null(strstr(entra.posts[0], "client_id=" CLIENT));
	assert_null(strstr(entra.posts[0], "builder"));
	/* from the cache; and a fresh one takes a fresh assertion */
	assert_int_equal(ask_entra(f, &key, 0).cache, IG_TOKEN_HIT);
	assert_int_equal(provider.n_asked, 1);
	assert_string_equal(ask_entra(f, &key, IG_TOKEN_BYPASS_CACHE).token, "entra-2");
	assert_int_equal(provider.n_asked, 2);
	assert_non_null(strstr(entra.posts[1], "client_assertion=" SECRET ".2"));
	assert_int_equal(ig_token_service_stats(f->service).upstream_calls, 2);
	assert_nothing_runs(f);
}

static bool keep_other_pod(const struct ig_token_key *key, void *userdata)
{
	(void)userdata;
	return strcmp(key->credential, POD) != 0;
}

/* Pods of one account do not share a token: each goes with its pod. */
static void test_by_pod(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f, "r");
	struct ig_token_key other = key;

	other.credential = POD_OTHER;
	assert_string_equal(ask_entra(f, &key, 0).token, "entra-1");
	assert_string_equal(ask_entra(f, &other, 0).token, "entra-2");
	assert_string_equal(provider.credential, POD_OTHER);
	assert_int_equal(ig_token_service_purge(f->service, keep_other_pod, NULL), 1);
	assert_int_equal(ask_entra(f, &other, 0).cache, IG_TOKEN_HIT);
	assert_string_equal(ask_entra(f, &key, 0).token, "entra-3");
}

struct meaning {
	int error;
	enum ig_token_failure_kind kind;
};

static const struct meaning meanings[] = {
	{-ENOENT, IG_TOKEN_NOT_FOUND},
	{-EACCES, IG_TOKEN_BROKEN},
	{-EBADMSG, IG_TOKEN_BROKEN},
	{-E2BIG, IG_TOKEN_BROKEN},
	{-EINVAL, IG_TOKEN_BROKEN},
	{-ENOMEM, IG_TOKEN_UNAVAILABLE},
	{-EAGAIN, IG_TOKEN_UNAVAILABLE},
	{-ETIMEDOUT, IG_TOKEN_UNAVAILABLE},
	{-ECONNREFUSED, IG_TOKEN_UNAVAILABLE},
	{-EIO, IG_TOKEN_UNAVAILABLE},
};

static void test_failures(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f, "r");

	provider.text = "needs create on serviceaccounts/token";
	for (size_t i = 0; i < IG_ARRAY_SIZE(meanings); i++) {
		struct asked asked;

		provider.error = meanings[i].error;
		asked = ask_entra(f, &key, 0);
		assert_false(asked.ok);
		assert_int_equal(asked.kind, meanings[i].kind);
		assert_string_equal(asked.text, provider.text);
		assert_string_equal(asked.code, "");
		/* remembered, as every failure is */
		assert_int_equal(ask_entra(f, &key, 0).kind, meanings[i].kind);
		assert_int_equal(provider.n_asked, i + 1);
		assert_nothing_runs(f);
		pass_sec(IG_TOKEN_NEGATIVE_SEC + 1);
	}
	assert_int_equal(entra.n_posts, 0);
	assert_int_equal(ig_token_service_stats(f->service).upstream_calls, 0);
	assert_int_equal(
		ig_token_service_stats(f->service).upstream_errors, IG_ARRAY_SIZE(meanings));
	provider.error = 0;
	assert_true(ask_entra(f, &key, 0).ok);
}

static void test_not_started(void **state)
{
	static const struct meaning cases[] = {
		{-EBUSY, IG_TOKEN_UNAVAILABLE},
		{-ENOMEM, IG_TOKEN_UNAVAILABLE},
		{-EINVAL, IG_TOKEN_BROKEN},
	};
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f, "r");

	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		struct asked asked;

		provider.start_error = cases[i].error;
		asked = ask_entra(f, &key, 0);
		assert_int_equal(asked.kind, cases[i].kind);
		assert_string_not_equal(asked.text, "");
		assert_nothing_runs(f);
		pass_sec(IG_TOKEN_NEGATIVE_SEC + 1);
	}
	provider.start_error = 0;
	assert_true(ask_entra(f, &key, 0).ok);
}

static void test_without_provider(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f, "r");
	struct asked asked;

	new_entra_service(f, (struct ig_token_service_options){.credentials = entra.credentials});
	asked = ask_entra(f, &key, 0);
	assert_int_equal(asked.kind, IG_TOKEN_BROKEN);
	assert_non_null(strstr(asked.text, "not connected to Kubernetes"));
}

/* A token that lives outlasts an API server that does not. */
static void test_survives(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f, "r");
	struct asked asked;

	assert_true(ask_entra(f, &key, 0).ok);
	provider.error = -ECONNREFUSED;
	pass_sec(3599 - IG_TOKEN_MIN_LIFE_SEC + 10);
	asked = ask_entra(f, &key, 0);
	assert_true(asked.ok);
	assert_int_equal(asked.cache, IG_TOKEN_STALE);
	assert_int_equal(provider.n_asked, 2);
}

/* Whatever goes wrong with it, the assertion is nowhere to be read. */
static void test_no_secret_in_texts(void **state)
{
	static const char *const refusals[] = {
		"AADSTS700024", "AADSTS700213", "AADSTS50013", "AADSTS700021"};
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f, "r");

	for (size_t i = 0; i < IG_ARRAY_SIZE(refusals); i++) {
		struct asked asked;

		for (int n = 0; n < POSTS_MAX; n++)
			entra.errors[n] = refusals[i];
		asked = ask_entra(f, &key, 0);
		assert_false(asked.ok);
		assert_null(strstr(asked.text, SECRET));
		assert_null(strstr(asked.code, SECRET));
		pass_sec(IG_TOKEN_NEGATIVE_SEC + 1);
	}
}

/* ---- time ------------------------------------------------------------------------------------ */

/* What the provider takes is missing from the exchange's time. */
static void test_slow(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f, "r");

	provider.takes_sec = IG_UPSTREAM_TIMEOUT_SEC - 1;
	assert_true(ask_entra(f, &key, 0).ok);
	provider.takes_sec = 0;
	assert_true(ask_entra(f, &key, IG_TOKEN_BYPASS_CACHE).ok);
}

static void test_too_slow(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f, "r");
	struct asked asked;

	provider.takes_sec = IG_UPSTREAM_TIMEOUT_SEC;
	asked = ask_entra(f, &key, 0);
	assert_int_equal(asked.kind, IG_TOKEN_UNAVAILABLE);
	assert_non_null(strstr(asked.text, "timed out"));
	assert_int_equal(entra.n_posts, 0);
	assert_nothing_runs(f);
}

/* Entra that hangs after a fast provider ends by the same deadline. */
static void test_hanging_entra(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f, "r");
	struct asked asked = {};

	f->service->timeout_usec = 30000;
	entra.hold = true;
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), 0);
	run_until(f->base, &asked.n, 1);
	assert_int_equal(asked.kind, IG_TOKEN_UNAVAILABLE);
	assert_int_equal(provider.timeout_usec, 30000);
	assert_nothing_runs(f);
}

/* Time in the queue counts as well. */
static void test_queued_first(void **state)
{
	struct fixture *f = *state;
	struct asked asked[IG_ENTRA_CONCURRENCY + 1] = {};
	char resource[16];

	provider.hold = true;
	for (int i = 0; i < IG_ENTRA_CONCURRENCY + 1; i++) {
		struct ig_token_key key;

		(void)snprintf(resource, sizeof(resource), "r%d", i);
		key = account_key(f, resource);
		/* of as many workloads */
		assert_int_equal(ask_key(f, &key, 0, "", (uint64_t)i, &asked[i]), 0);
		if (i % (IG_UPSTREAM_PER_SEC - 1) == 0)
			pass_sec(1);
		ig_token_upstream_pump(f->service);
	}
	/* as many as there are places, the last one waits for one */
	assert_int_equal(provider.n_asked, IG_ENTRA_CONCURRENCY);
	assert_int_equal(n_running(f->service), IG_ENTRA_CONCURRENCY);
	assert_int_equal(ig_token_service_stats(f->service).queued, 1);
	provider.error = -EAGAIN;
	pass_sec(5);
	answer_assertion(&provider.waiting[0]);
	assert_int_equal(provider.n_asked, IG_ENTRA_CONCURRENCY + 1);
	assert_int_equal(provider.timeout_usec, (IG_UPSTREAM_TIMEOUT_SEC - 5) * IG_USEC_PER_SEC);
	run_until(f->base, &asked[0].n, 1);
	/* the others are cancelled with the service */
	f->service = ig_token_service_free(f->service);
	assert_int_equal(provider.n_cancelled, IG_ENTRA_CONCURRENCY);
	assert_int_equal(asked[1].n, 0);
}

/* A provider that hangs holds up neither IMDS nor the rest of Entra. */
static void test_own_lane(void **state)
{
	struct fixture *f = *state;
	struct ig_token_key key = account_key(f, "r");
	struct asked asked = {};

	new_entra_service(f, (struct ig_token_service_options){
				     .credentials = entra.credentials, .assertions = &callbacks});
	provider.hold = true;
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), 0);
	f->service->lanes[IG_SOURCE_LANE_SERVICE_ACCOUNT].paused_until_usec = UINT64_MAX;
	assert_int_equal(provider.n_asked, 1);
	key = entra_key(f, "r");
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), 0);
	run_until(f->base, &asked.n, 1);
	assert_true(asked.ok);
	ask(f, "r", &asked);
	run_until(f->base, &asked.n, 2);
	assert_true(asked.ok);
	assert_int_equal(n_running(f->service), 1);
}

/* ---- giving up ------------------------------------------------------------------------------- */

/* Nobody waits any longer: what is under way comes to its end, for the next one who asks. */
static void test_cancelled_while_asked(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f, "r");
	struct asked asked = {};

	provider.hold = true;
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), 0);
	ig_token_cancel(asked.waiter);
	assert_int_equal(provider.n_cancelled, 0);
	answer_assertion(&provider.waiting[0]);
	run_until(f->base, &entra.n_posts, 1);
	run_ready(f);
	assert_int_equal(asked.n, 0);
	assert_int_equal(ask_entra(f, &key, 0).cache, IG_TOKEN_HIT);
	assert_nothing_runs(f);
}

static void test_purged_while_asked(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f, "r");
	struct asked asked = {};

	provider.hold = true;
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), 0);
	assert_int_equal(n_running(f->service), 1);
	(void)ig_token_service_purge(f->service, keep_other_pod, NULL);
	assert_int_equal(provider.n_cancelled, 1);
	run_until(f->base, &asked.n, 1);
	assert_int_equal(asked.kind, IG_TOKEN_UNAVAILABLE);
	assert_nothing_runs(f);
	assert_int_equal(entra.n_posts, 0);
	provider.hold = false;
	assert_true(ask_entra(f, &key, 0).ok);
}

static void test_purged_while_exchanged(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f, "r");
	struct asked asked = {};

	entra.hold = true;
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), 0);
	run_until(f->base, &entra.n_posts, 1);
	(void)ig_token_service_purge(f->service, keep_none, NULL);
	run_until(f->base, &asked.n, 1);
	assert_int_equal(asked.kind, IG_TOKEN_UNAVAILABLE);
	assert_int_equal(provider.n_cancelled, 0);
	assert_nothing_runs(f);
}

/* ---- again ----------------------------------------------------------------------------------- */

static void test_again(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f, "r");
	struct asked asked;

	entra.errors[0] = "AADSTS700024";
	asked = ask_entra(f, &key, 0);
	assert_string_equal(asked.token, "entra-2");
	assert_int_equal(provider.n_asked, 2);
	assert_non_null(strstr(entra.posts[0], "client_assertion=" SECRET ".1"));
	assert_non_null(strstr(entra.posts[1], "client_assertion=" SECRET ".2"));
	assert_nothing_runs(f);
}

static void test_again_once(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f, "r");
	struct asked asked;

	for (int i = 0; i < POSTS_MAX; i++)
		entra.errors[i] = "AADSTS700024";
	asked = ask_entra(f, &key, 0);
	assert_int_equal(asked.kind, IG_TOKEN_BROKEN);
	assert_non_null(strstr(asked.text, "AADSTS700024"));
	assert_int_equal(provider.n_asked, 2);
	assert_int_equal(entra.n_posts, 2);
	assert_nothing_runs(f);
}

/* The second assertion may fail, and may be given up, like the first. */
static void test_again_fails(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f, "r");
	struct asked asked = {};

	entra.errors[0] = entra.errors[1] = "AADSTS700024";
	entra.hold = true;
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), 0);
	run_until(f->base, &entra.n_posts, 1);
	provider.error = -ENOENT;
	entra.hold = false;
	answer_post(TAKE_PTR(entra.held), 0);
	run_until(f->base, &asked.n, 1);
	assert_int_equal(asked.kind, IG_TOKEN_NOT_FOUND);
	assert_int_equal(provider.n_asked, 2);
	assert_nothing_runs(f);
}

static void test_again_purged(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f, "r");
	struct asked asked = {};

	entra.errors[0] = "AADSTS700024";
	entra.hold = true;
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), 0);
	run_until(f->base, &entra.n_posts, 1);
	provider.hold = true;
	answer_post(TAKE_PTR(entra.held), 0);
	run_until(f->base, &provider.n_asked, 2);
	assert_int_equal(n_running(f->service), 1);
	(void)ig_token_service_purge(f->service, keep_none, NULL);
	assert_int_equal(provider.n_cancelled, 1);
	run_until(f->base, &asked.n, 1);
	assert_int_equal(asked.kind, IG_TOKEN_UNAVAILABLE);
	assert_nothing_runs(f);
}

/* ---- out of memory --------------------------------------------------------------------------- */

static void one_with_failure(struct fixture *f, const struct ig_token_key *key, unsigned int n)
{
	struct asked asked = ask_with_failure(f, key, n);

	if (asked.n && !asked.ok)
		assert_true(asked.kind == IG_TOKEN_BROKEN || asked.kind == IG_TOKEN_UNAVAILABLE);
	forget_failure(f);
	assert_nothing_runs(f);
}

static void test_oom(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f, "r");
	unsigned int n = 0;

	do
		one_with_failure(f, &key, ++n);
	while (allocations >= n);
	assert_true(n > 30);
	/* with the answer that makes the call repeat itself */
	for (int i = 0; i < POSTS_MAX; i++)
		entra.errors[i] = i % 2 ? NULL : "AADSTS700024";
	n = 0;
	do
		one_with_failure(f, &key, ++n);
	while (allocations >= n);
	assert_true(n > 60);
	assert_true(ask_entra(f, &key, 0).ok);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_provider, tear_down_provider)
	const struct CMUnitTest tests[] = {
		TEST(test_issued),
		TEST(test_by_pod),
		TEST(test_failures),
		TEST(test_not_started),
		TEST(test_without_provider),
		TEST(test_survives),
		TEST(test_no_secret_in_texts),
		TEST(test_slow),
		TEST(test_too_slow),
		TEST(test_hanging_entra),
		TEST(test_queued_first),
		TEST(test_own_lane),
		TEST(test_cancelled_while_asked),
		TEST(test_purged_while_asked),
		TEST(test_purged_while_exchanged),
		TEST(test_again),
		TEST(test_again_once),
		TEST(test_again_fails),
		TEST(test_again_purged),
		TEST(test_oom),
	};

	return cmocka_run_group_tests_name("token_assertion", tests, NULL, NULL);
}
