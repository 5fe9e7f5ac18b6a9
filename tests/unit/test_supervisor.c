/*
 * Replacing an agent: how long its successor has, and that it is not ended once the other one does
 * not serve any more. What waits for IG_REPLACE_SEC waits a hundredth of it.
 *
 * Linked with --wrap for poll.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "agent/supervisor.h"

#define FASTER	  100
#define HALF_MSEC (IG_REPLACE_SEC * 1000 / FASTER / 2)

int __real_poll(struct pollfd *fds, nfds_t n, int timeout_msec);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_msec);

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_msec)
{
	return __real_poll(fds, n, timeout_msec > 0 ? timeout_msec / FASTER : timeout_msec);
}

/* What the new agent says, each a while after the one before; then it ends, or hangs. */
static int replaced_by(const char *const *says, bool hangs, struct ig_err *err)
{
	int fd = -1, r = ig_replace(&fd, err);

	if (r != 0)
		return r;
	for (; *says; says++) {
		(void)__real_poll(NULL, 0, HALF_MSEC * 4 / 3);
		if (write(fd, *says, strlen(*says)) < 0)
			_exit(1);
	}
	if (hangs)
		(void)__real_poll(NULL, 0, -1);
	_exit(0);
}

static void test_serves(void **state)
{
	const char *const says[] = {"ready\n", NULL};
	struct ig_err err = {};

	(void)state;
	assert_int_equal(replaced_by(says, false, &err), 1);
}

static void test_begins_late_and_serves(void **state)
{
	const char *const says[] = {IG_READY_BEGUN, "ready\n", NULL};
	const char *const at_once[] = {IG_READY_BEGUN "ready\n", NULL};
	struct ig_err err = {};

	(void)state;
	assert_int_equal(replaced_by(says, false, &err), 1);
	assert_int_equal(replaced_by(at_once, false, &err), 1);
}

static void test_ends(void **state)
{
	const char *const nothing[] = {NULL}, *const begins[] = {IG_READY_BEGUN, NULL};
	struct ig_err err = {};

	(void)state;
	assert_int_equal(replaced_by(nothing, false, &err), -ECHILD);
	assert_int_equal(replaced_by(begins, false, &err), -ECHILD);
}

static void test_hangs(void **state)
{
	const char *const nothing[] = {NULL}, *const begins[] = {IG_READY_BEGUN, NULL};
	struct ig_err err = {};

	(void)state;
	assert_int_equal(replaced_by(nothing, true, &err), -ETIMEDOUT);
	assert_int_equal(replaced_by(begins, true, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.message, "does not serve"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_serves),
		cmocka_unit_test(test_begins_late_and_serves),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_hangs),
	};

	(void)unsetenv("NOTIFY_SOCKET");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
