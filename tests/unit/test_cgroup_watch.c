/*
 * Following paths with inotify. Any file system has directories and inode numbers, so this runs in
 * a temporary directory, without privilege.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "workload/cgroup_watch.h"

struct fixture {
	char dir[64];
	int root_fd;
	struct event_base *base;
	struct ig_cgroup_watch *watch;
	char path[64]; /* of the last change */
	uint64_t old_id, id;
	unsigned int changes;
};

static void on_change(const char *path, uint64_t old_id, uint64_t id, void *userdata)
{
	struct fixture *f = userdata;

	(void)snprintf(f->path, sizeof(f->path), "%s", path);
	f->old_id = old_id;
	f->id = id;
	f->changes++;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/igcw-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	f->root_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	f->base = event_base_new();
	*state = f;
	return ig_cgroup_watch_new(f->base, f->root_fd, on_change, f, &f->watch);
}

static int teardown(void **state)
{
	static const char *const made[] = {"a/b/c", "a/b", "a", "x"};
	struct fixture *f = *state;

	f->watch = ig_cgroup_watch_free(f->watch);
	event_base_free(f->base);
	for (size_t i = 0; i < IG_ARRAY_SIZE(made); i++)
		(void)unlinkat(f->root_fd, made[i], AT_REMOVEDIR);
	(void)ig_close(f->root_fd);
	(void)rmdir(f->dir);
	free(f);
	return 0;
}

static uint64_t make(const struct fixture *f, const char *path)
{
	struct stat st;

	assert_int_equal(mkdirat(f->root_fd, path, 0755), 0);
	assert_int_equal(fstatat(f->root_fd, path, &st, 0), 0);
	return st.st_ino;
}

static void run_loop(const struct fixture *f)
{
	(void)event_base_loop(f->base, EVLOOP_NONBLOCK);
}

static void want(struct fixture *f, const char *one, const char *two)
{
	const char *paths[] = {one, two};

	assert_int_equal(ig_cgroup_watch_set(f->watch, paths, two ? 2 : 1), 0);
}

static void what_exists_is_reported_at_once(void **state)
{
	struct fixture *f = *state;
	uint64_t id = make(f, "a");

	want(f, "/a", NULL);
	assert_int_equal(f->changes, 1);
	assert_string_equal(f->path, "/a");
	assert_int_equal(f->old_id, 0);
	assert_int_equal(f->id, id);
	assert_int_equal(ig_cgroup_watch_id(f->watch, "/a"), id);
	/* asking for the same again is no news */
	want(f, "/a", "/a");
	assert_int_equal(f->changes, 1);
}

static void a_deep_path_appears_level_by_level(void **state)
{
	struct fixture *f = *state;
	uint64_t id;

	want(f, "/a/b/c", NULL);
	assert_int_equal(f->changes, 0);
	(void)make(f, "a");
	run_loop(f);
	(void)make(f, "a/b");
	run_loop(f);
	assert_int_equal(f->changes, 0);
	id = make(f, "a/b/c");
	run_loop(f);
	assert_int_equal(f->changes, 1);
	assert_int_equal(f->id, id);
}

static void levels_made_behind_each_other_are_not_missed(void **state)
{
	struct fixture *f = *state;

	want(f, "/a/b/c", NULL);
	(void)make(f, "a");
	(void)make(f, "a/b");
	(void)make(f, "a/b/c");
	run_loop(f);
	assert_int_equal(f->changes, 1);
}

static void removal_and_another_of_that_name_are_noticed(void **state)
{
	struct fixture *f = *state;
	uint64_t first = make(f, "a"), second;

	want(f, "/a", NULL);
	assert_int_equal(unlinkat(f->root_fd, "a", AT_REMOVEDIR), 0);
	run_loop(f);
	assert_int_equal(f->changes, 2);
	assert_int_equal(f->old_id, first);
	assert_int_equal(f->id, 0);
	/* takes the inode number that may be given out again at once */
	(void)make(f, "x");
	second = make(f, "a");
	run_loop(f);
	assert_int_equal(f->changes, 3);
	assert_int_equal(f->id, second);
}

static void one_comes_and_goes_beside_others(void **state)
{
	struct fixture *f = *state;
	uint64_t id;

	(void)make(f, "a");
	want(f, "/a/b", NULL);
	assert_int_equal(ig_cgroup_watch_add(f->watch, "/a/b/c"), 0);
	assert_int_equal(ig_cgroup_watch_add(f->watch, "/x"), 0);
	assert_int_equal(f->changes, 0);
	(void)make(f, "a/b");
	id = make(f, "a/b/c");
	run_loop(f);
	assert_int_equal(f->changes, 2);
	assert_int_equal(ig_cgroup_watch_id(f->watch, "/a/b/c"), id);
	ig_cgroup_watch_remove(f->watch, "/a/b");
	ig_cgroup_watch_remove(f->watch, "/never/there");
	assert_int_equal(ig_cgroup_watch_id(f->watch, "/a/b"), 0);
	/* what is below is still followed */
	assert_int_equal(unlinkat(f->root_fd, "a/b/c", AT_REMOVEDIR), 0);
	run_loop(f);
	assert_int_equal(f->changes, 3);
	assert_int_equal(f->old_id, id);
	(void)make(f, "x");
	run_loop(f);
	assert_int_equal(f->changes, 4);
	assert_string_equal(f->path, "/x");
}

/* The directories above go, too, and come again with other numbers. */
static void all_levels_are_made_again(void **state)
{
	struct fixture *f = *state;

	(void)make(f, "a");
	(void)make(f, "a/b");
	(void)make(f, "a/b/c");
	want(f, "/a/b/c", NULL);
	assert_int_equal(f->changes, 1);
	for (int turn = 0; turn < 2; turn++) {
		assert_int_equal(unlinkat(f->root_fd, "a/b/c", AT_REMOVEDIR), 0);
		assert_int_equal(unlinkat(f->root_fd, "a/b", AT_REMOVEDIR), 0);
		assert_int_equal(unlinkat(f->root_fd, "a", AT_REMOVEDIR), 0);
		if (turn == 0) /* else all of it is learned at once */
			run_loop(f);
		(void)make(f, "a");
		(void)make(f, "a/b");
		(void)make(f, "a/b/c");
		run_loop(f);
		assert_int_equal(unlinkat(f->root_fd, "a/b/c", AT_REMOVEDIR), 0);
		run_loop(f);
		assert_int_equal(ig_cgroup_watch_id(f->watch, "/a/b/c"), 0);
		(void)make(f, "a/b/c");
		run_loop(f);
		assert_int_not_equal(ig_cgroup_watch_id(f->watch, "/a/b/c"), 0);
	}
}

static void what_left_the_set_is_silent(void **state)
{
	struct fixture *f = *state;

	want(f, "/a", "/x");
	want(f, "/x", NULL);
	(void)make(f, "a");
	run_loop(f);
	assert_int_equal(f->changes, 0);
	assert_int_equal(ig_cgroup_watch_id(f->watch, "/a"), 0);
}

static void files_and_links_are_no_cgroups(void **state)
{
	struct fixture *f = *state;

	(void)make(f, "x");
	assert_int_equal(symlinkat("x", f->root_fd, "link"), 0);
	want(f, "/link", NULL);
	assert_int_equal(f->changes, 0);
	assert_int_equal(unlinkat(f->root_fd, "link", 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_exists_is_reported_at_once, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_deep_path_appears_level_by_level, setup, teardown),
		cmocka_unit_test_setup_teardown(
			levels_made_behind_each_other_are_not_missed, setup, teardown),
		cmocka_unit_test_setup_teardown(
			removal_and_another_of_that_name_are_noticed, setup, teardown),
		cmocka_unit_test_setup_teardown(one_comes_and_goes_beside_others, setup, teardown),
		cmocka_unit_test_setup_teardown(all_levels_are_made_again, setup, teardown),
		cmocka_unit_test_setup_teardown(what_left_the_set_is_silent, setup, teardown),
		cmocka_unit_test_setup_teardown(files_and_links_are_no_cgroups, setup, teardown),
	};

	return cmocka_run_group_tests_name("workload/cgroup_watch", tests, NULL, NULL);
}
