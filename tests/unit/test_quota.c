/*
 * Counting what workloads hold.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <imdsgate/limits.h>

#include "agent/quota.h"
#include "http/share.h"

static void each_has_its_own(void **state)
{
	struct ig_quota *quota;

	(void)state;
	assert_int_equal(ig_quota_new(2, &quota), 0);
	assert_true(ig_quota_take(quota, 1));
	assert_true(ig_quota_take(quota, 1));
	assert_false(ig_quota_take(quota, 1));
	assert_false(ig_quota_take(quota, 1));
	assert_true(ig_quota_take(quota, 2));
	ig_quota_give(quota, 1);
	assert_true(ig_quota_take(quota, 1));
	assert_false(ig_quota_take(quota, 1));
	(void)ig_quota_free(quota);
}

static void what_was_refused_is_not_held(void **state)
{
	struct ig_quota *quota;

	(void)state;
	assert_int_equal(ig_quota_new(1, &quota), 0);
	for (uint64_t w = 0; w < 1000; w++) {
		assert_true(ig_quota_take(quota, w));
		assert_false(ig_quota_take(quota, w));
		ig_quota_give(quota, w);
		assert_true(ig_quota_take(quota, w));
		ig_quota_give(quota, w);
	}
	assert_null(ig_quota_free(quota));
}

/* Opening and closing without end does not make anybody fresh again. */
static void who_holds_nothing_is_remembered(void **state)
{
	struct ig_http_share *share;
	struct ig_quota *quota;

	(void)state;
	assert_int_equal(ig_quota_new(1, &quota), 0);
	assert_true(ig_quota_take(quota, 7));
	ig_http_share_spend(ig_quota_share(quota, 7), 2 * IG_BUSY_OWNER_USEC, 1000000);
	ig_quota_give(quota, 7);
	assert_true(ig_quota_take(quota, 7));
	share = ig_quota_share(quota, 7);
	assert_true(ig_http_share_is_over(share, 1000000));
	ig_quota_give(quota, 7);
	/* until many others came */
	for (uint64_t w = 100; w < 100 + IG_QUOTA_IDLE_MAX; w++) {
		assert_true(ig_quota_take(quota, w));
		ig_quota_give(quota, w);
	}
	assert_true(ig_quota_take(quota, 7));
	assert_false(ig_http_share_is_over(ig_quota_share(quota, 7), 1000000));
	(void)ig_quota_free(quota);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_has_its_own),
		cmocka_unit_test(what_was_refused_is_not_held),
		cmocka_unit_test(who_holds_nothing_is_remembered),
	};

	return cmocka_run_group_tests_name("agent/quota", tests, NULL, NULL);
}
