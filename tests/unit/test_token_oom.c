/*
 * Every allocation fails once, in turn: those of the token service, of the HTTP client, and of
 * libcurl and jansson on their behalf. Whoever was promised an answer gets exactly one, nothing
 * leaks, and afterwards everything works.
 *
 * Linked with --wrap for allocations.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "unit/token_fixture.h"

#define ALLOCATION_IS_SPARED upstream_works /* the token fixture's own */
#include "unit/alloc_failure.h"

#define N_ASKED 3

/* A miss, somebody who joins it, a hit or another miss, and another key. */
static void ask_some(struct fixture *f, struct asked asked[N_ASKED], int accepted[N_ASKED])
{
	static const char *const resources[N_ASKED] = {"r", "r", "s"};

	for (int i = 0; i < N_ASKED; i++) {
		const struct ig_token_key key = key_for(resources[i]);
		int r = ask_key(f, &key, 0, "", (uint64_t)i, &asked[i]);

		if (r < 0)
			assert_int_equal(r, -ENOMEM);
		accepted[i] = r == 0;
	}
	run_ready(f);
}

static void check(const struct asked asked[N_ASKED], const int accepted[N_ASKED])
{
	for (int i = 0; i < N_ASKED; i++) {
		assert_int_equal(asked[i].n, accepted[i]);
		if (accepted[i] && !asked[i].ok)
			assert_true(asked[i].kind == IG_TOKEN_BROKEN ||
				    asked[i].kind == IG_TOKEN_UNAVAILABLE);
	}
}

/* Returns whether there was an allocation with that number. */
static bool run_with_failure(struct fixture *f, unsigned int n, int *hurt)
{
	struct asked asked[N_ASKED] = {};
	int accepted[N_ASKED] = {};

	allocations = 0;
	failing = n;
	armed = true;
	ask_some(f, asked, accepted);
	armed = false;
	check(asked, accepted);
	for (int i = 0; i < N_ASKED; i++)
		*hurt += !asked[i].ok;
	/* a remembered failure would answer for what comes next */
	pass_sec(IG_TOKEN_NEGATIVE_SEC + 1);
	assert_true(get_token(f, "r").ok);
	assert_true(get_token(f, "s").ok);
	(void)ig_token_service_purge(f->service, keep_none, NULL);
	assert_int_equal(n_running(f->service), 0);
	assert_int_equal(ig_token_service_stats(f->service).waiters, 0);
	assert_int_equal(f->service->cache.len, 0);
	return allocations >= n;
}

static void test_answers(void **state)
{
	struct fixture *f = *state;
	unsigned int n = 1;
	int hurt = 0;

	while (run_with_failure(f, n, &hurt)) {
		n++;
		for (int i = 0; i < f->n_calls; i++) {
			_cleanup_free_ char *resource = TAKE_PTR(f->resources[i]);

			/* half a request would get an answer to another question */
			assert_true(strcmp(resource, "r") == 0 || strcmp(resource, "s") == 0);
		}
		f->n_calls = 0;
	}
	/* it did fail where it matters */
	assert_true(n > 50);
	assert_true(hurt > 20);
}

static void test_failing_answers(void **state)
{
	struct fixture *f = *state;

	f->status = 400;
	f->body = "{\"error\":\"invalid_request\",\"error_description\":\"Identity not found\"}";
	for (unsigned int n = 1;; n++) {
		struct asked asked[N_ASKED] = {};
		int accepted[N_ASKED] = {};

		allocations = 0;
		failing = n;
		armed = true;
		ask_some(f, asked, accepted);
		armed = false;
		for (int i = 0; i < N_ASKED; i++) {
			assert_int_equal(asked[i].n, accepted[i]);
			assert_false(asked[i].ok);
		}
		(void)ig_token_service_purge(f->service, keep_none, NULL);
		run_ready(f);
		assert_int_equal(f->service->cache.len, 0);
		pass_sec(2);
		if (allocations < n)
			break;
		assert_true(f->n_calls < CALLS_MAX - N_ASKED);
	}
}

static void test_construction(void **state)
{
	const struct ig_http_client_options client_options = {.user_agent = "u"};
	const struct ig_token_service_options options = {.imds_url = "http://127.0.0.1:1"};
	struct fixture *f = *state;

	for (unsigned int n = 1;; n++) {
		struct ig_http_client *client = NULL;
		struct ig_token_service *service = NULL;
		int r;

		allocations = 0;
		failing = n;
		armed = true;
		r = ig_http_client_new(f->base, &client_options, &client);
		if (r == 0)
			r = ig_token_service_new(f->base, client, &options, &service);
		armed = false;
		if (r < 0)
			assert_int_equal(r, -ENOMEM);
		assert_true((r == 0) == (service != NULL));
		/* the spare answer does without its text */
		assert_true(r == 0 || allocations >= n);
		ig_token_service_free(service);
		ig_http_client_free(client);
		if (allocations < n)
			break;
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_answers),
		TEST(test_failing_answers),
		TEST(test_construction),
	};

	return cmocka_run_group_tests_name("token_oom", tests, NULL, NULL);
}
