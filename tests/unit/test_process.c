/*
 * A cgroup that cannot be looked at is not one that is gone: what goes by mistake makes a workload
 * part of the host. The kernel's answers are played by the test.
 */
#include "workload/process.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

int __wrap_open_by_handle_at(int mount_fd, struct file_handle *handle, int flags);

static int error;

int __wrap_open_by_handle_at(int mount_fd, struct file_handle *handle, int flags)
{
	(void)mount_fd;
	(void)handle;
	(void)flags;
	errno = error;
	return -1;
}

static void a_cgroup_is_gone_only_if_the_kernel_says_so(void **state)
{
	(void)state;
	error = ESTALE;
	assert_int_equal(ig_cgroup_id_check(-1, 42), -ENOENT);
	error = EMFILE;
	assert_int_equal(ig_cgroup_id_check(-1, 42), -EMFILE);
	error = ENOMEM;
	assert_int_equal(ig_cgroup_id_check(-1, 42), -ENOMEM);
}

static void processes_are_there_unless_the_kernel_says_not(void **state)
{
	(void)state;
	error = EMFILE;
	assert_true(ig_cgroup_id_has_processes(-1, 42));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cgroup_is_gone_only_if_the_kernel_says_so),
		cmocka_unit_test(processes_are_there_unless_the_kernel_says_not),
	};

	return cmocka_run_group_tests_name("workload/process", tests, NULL, NULL);
}
