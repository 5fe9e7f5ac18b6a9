/*
 * Token buckets with a clock of the test's own.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "agent/rate.h"
#include "base/clock.h"

static const struct ig_rate_options options = {.per_sec = 10, .burst = 5, .entries = 3};

static unsigned int take(struct ig_rate *rate, uint64_t workload, uint64_t now, unsigned int tries)
{
	unsigned int allowed = 0;

	for (unsigned int i = 0; i < tries; i++)
		allowed += ig_rate_allow(rate, workload, now);
	return allowed;
}

static void a_burst_then_the_rate(void **state)
{
	uint64_t now = 1000;
	struct ig_rate *rate;

	(void)state;
	assert_int_equal(ig_rate_new(&options, &rate), 0);
	assert_int_equal(take(rate, 1, now, 20), 5);
	assert_int_equal(take(rate, 1, now + IG_USEC_PER_SEC / 10 - 1, 1), 0);
	assert_int_equal(take(rate, 1, now + IG_USEC_PER_SEC / 10, 2), 1);
	/* a long pause saves up a burst, no more */
	assert_int_equal(take(rate, 1, now + 3600 * IG_USEC_PER_SEC, 100), 5);
	(void)ig_rate_free(rate);
}

static void over_time_it_is_the_rate(void **state)
{
	unsigned int allowed = 0;
	struct ig_rate *rate;

	(void)state;
	assert_int_equal(ig_rate_new(&options, &rate), 0);
	for (uint64_t ms = 0; ms < 10000; ms++)
		allowed += ig_rate_allow(rate, 1, ms * IG_USEC_PER_MSEC);
	assert_in_range(allowed, 100, 105);
	(void)ig_rate_free(rate);
}

static void one_workload_costs_the_others_nothing(void **state)
{
	struct ig_rate *rate;

	(void)state;
	assert_int_equal(ig_rate_new(&options, &rate), 0);
	assert_int_equal(take(rate, 1, 7, 1000), 5);
	assert_int_equal(take(rate, 2, 7, 1000), 5);
	(void)ig_rate_free(rate);
}

static void a_clock_that_steps_back_brings_nothing(void **state)
{
	struct ig_rate *rate;

	(void)state;
	assert_int_equal(ig_rate_new(&options, &rate), 0);
	assert_int_equal(take(rate, 1, 9 * IG_USEC_PER_SEC, 5), 5);
	assert_int_equal(take(rate, 1, 1, 5), 0);
	(void)ig_rate_free(rate);
}

/* A policy may set another rate from one request to the next. */
static void a_rate_of_its_own(void **state)
{
	struct ig_rate *rate;

	(void)state;
	assert_int_equal(ig_rate_new(&options, &rate), 0);
	for (int i = 0; i < 20; i++)
		assert_true(ig_rate_allow_at(rate, 1, 10, 20, 0));
	assert_false(ig_rate_allow_at(rate, 1, 10, 20, 0));
	assert_false(ig_rate_allow_at(rate, 1, 10, 20, 99999));
	assert_true(ig_rate_allow_at(rate, 1, 10, 20, 100000));
	assert_false(ig_rate_allow_at(rate, 1, 10, 20, 100000));
	/* what was saved up under a larger burst does not count any more */
	assert_true(ig_rate_allow_at(rate, 1, 1, 2, 100 * IG_USEC_PER_SEC));
	assert_true(ig_rate_allow_at(rate, 1, 1, 2, 100 * IG_USEC_PER_SEC));
	assert_false(ig_rate_allow_at(rate, 1, 1, 2, 100 * IG_USEC_PER_SEC));
	assert_true(ig_rate_allow_at(rate, 2, 1, 2, 100 * IG_USEC_PER_SEC));
	(void)ig_rate_free(rate);
}

static void the_table_is_bounded(void **state)
{
	struct ig_rate *rate;

	(void)state;
	assert_int_equal(ig_rate_new(&options, &rate), 0);
	for (uint64_t w = 1; w <= 3; w++)
		assert_int_equal(take(rate, w, 0, 10), 5);
	assert_int_equal(take(rate, 1, 0, 1), 0); /* used: 2 is the oldest now */
	assert_int_equal(take(rate, 4, 0, 10), 5);
	assert_int_equal(take(rate, 1, 0, 1), 0);
	assert_int_equal(take(rate, 2, 0, 10), 5);
	(void)ig_rate_free(rate);
}

static void who_was_refused_is_told(void **state)
{
	uint64_t refused = 99;
	struct ig_rate *rate;

	(void)state;
	assert_int_equal(ig_rate_new(&options, &rate), 0);
	assert_true(ig_rate_allow_after(rate, 1, 0, &refused));
	assert_int_equal(refused, 0);
	assert_int_equal(take(rate, 1, 0, 104), 4);
	assert_false(ig_rate_allow_after(rate, 1, 0, &refused));
	assert_true(ig_rate_allow_after(rate, 2, 0, &refused));
	assert_int_equal(refused, 0);
	assert_true(ig_rate_allow_after(rate, 1, IG_USEC_PER_SEC, &refused));
	assert_int_equal(refused, 101);
	assert_true(ig_rate_allow_after(rate, 1, IG_USEC_PER_SEC, &refused));
	assert_int_equal(refused, 0);
	(void)ig_rate_free(rate);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_burst_then_the_rate),
		cmocka_unit_test(over_time_it_is_the_rate),
		cmocka_unit_test(one_workload_costs_the_others_nothing),
		cmocka_unit_test(a_clock_that_steps_back_brings_nothing),
		cmocka_unit_test(a_rate_of_its_own),
		cmocka_unit_test(the_table_is_bounded),
		cmocka_unit_test(who_was_refused_is_told),
	};

	return cmocka_run_group_tests_name("agent/rate", tests, NULL, NULL);
}
