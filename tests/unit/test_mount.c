/*
 * Finding the cgroup2 mount in mountinfo texts of real hosts.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>

#include "workload/mount.h"

#define UNIFIED                                                                                    \
	"24 1 253:1 / / rw,relatime - ext4 /dev/vda1 rw\n"                                         \
	"35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
#define HYBRID                                                                                     \
	"31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"                               \
	"32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"                              \
	"41 31 0:38 / /sys/fs/cgroup/unified rw master:1 propagate_from:2 - cgroup2 cgroup2 rw\n"
#define V1_ONLY "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"

static void finds_it_wherever_it_is(void **state)
{
	static const struct {
		const char *text, *path;
	} cases[] = {
		{UNIFIED, "/sys/fs/cgroup"},
		{HYBRID, "/sys/fs/cgroup/unified"},
		{HYBRID UNIFIED, "/sys/fs/cgroup/unified"},
		{"1 2 0:1 / /a\\040b\\134c rw - cgroup2 none rw\n", "/a b\\c"},
		{"1 2 0:1 / /no-newline rw - cgroup2 none rw", "/no-newline"},
	};
	char path[64];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(ig_cgroup2_mount_parse(cases[i].text, path, sizeof(path)), 0);
		assert_string_equal(path, cases[i].path);
	}
}

static void says_when_there_is_none(void **state)
{
	static const char *const texts[] = {"", "\n\n", V1_ONLY, "garbage", "1 2 3 - cgroup2",
		"1 - cgroup2 x y\n", "1 2 0:1 / /x rw - cgroup2x none rw\n",
		/* a mount point that looks like the type does not count */
		"1 2 0:1 / /cgroup2 rw - tmpfs cgroup2 rw\n"};
	char path[64] = "untouched";

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(ig_cgroup2_mount_parse(texts[i], path, sizeof(path)), -ENOENT);
	assert_string_equal(path, "untouched");
}

static void a_path_that_does_not_fit_is_an_error(void **state)
{
	char path[8];

	(void)state;
	assert_int_equal(ig_cgroup2_mount_parse(UNIFIED, path, sizeof(path)), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_it_wherever_it_is),
		cmocka_unit_test(says_when_there_is_none),
		cmocka_unit_test(a_path_that_does_not_fit_is_an_error),
	};

	return cmocka_run_group_tests_name("workload/mount", tests, NULL, NULL);
}
