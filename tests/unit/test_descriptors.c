/*
 * What a limit of descriptors is good for, and that the soft one is raised.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sys/resource.h>

#include <imdsgate/limits.h>

#include "base/descriptors.h"

static void enough_for_every_limit(void **state)
{
	struct ig_descriptors d = ig_descriptors_of(0);

	(void)state;
	d = ig_descriptors_of(d.wanted);
	assert_int_equal(d.listeners, IG_LISTENERS_MAX);
	assert_int_equal(d.connections, IG_HTTP_CONNECTIONS_MAX);
	assert_int_equal(d.connections_workload, IG_HTTP_CONNECTIONS_WORKLOAD_MAX);
	d = ig_descriptors_of(UINT64_MAX);
	assert_int_equal(d.listeners, IG_LISTENERS_MAX);
	assert_int_equal(d.connections, IG_HTTP_CONNECTIONS_MAX);
}

/* Never more than there are, and always some of each, with room for other workloads. */
static void less_is_divided(void **state)
{
	(void)state;
	for (uint64_t limit = 64; limit < 20000; limit += 13) {
		struct ig_descriptors d = ig_descriptors_of(limit);

		assert_true(d.listeners > 0 && d.connections_workload > 0);
		assert_true(d.connections_workload <= d.connections / 4);
		assert_true(d.listeners + d.connections < limit);
		assert_true(limit < 2 * IG_DESCRIPTORS_RESERVE ||
			    limit - d.listeners - d.connections >= IG_DESCRIPTORS_RESERVE);
	}
}

static void the_soft_limit_is_raised(void **state)
{
	struct rlimit before, after;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	before.rlim_cur = 64;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(ig_descriptors_get().limit, 64);
	assert_int_equal(ig_descriptors_raise(), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &after), 0);
	assert_int_equal(after.rlim_max, before.rlim_max);
	assert_true(
		after.rlim_cur == before.rlim_max || after.rlim_cur == ig_descriptors_get().wanted);
	/* what is more than enough stays */
	before.rlim_cur = before.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(ig_descriptors_raise(), 0);
	assert_int_equal(ig_descriptors_get().limit, before.rlim_max);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(enough_for_every_limit),
		cmocka_unit_test(less_is_divided),
		cmocka_unit_test(the_soft_limit_is_raised),
	};

	return cmocka_run_group_tests_name("base/descriptors", tests, NULL, NULL);
}
