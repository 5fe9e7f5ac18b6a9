/*
 * Unit tests of the peer of a unix socket: this process and children of it are the peers. What
 * older kernels do, and a process that ends in the middle, is played by the wrapped calls.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "workload/cgroup.h"
#include "workload/mount.h"
#include "workload/peer.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#define NAME "test_peer"

static bool no_peerpidfd, ended_meanwhile;
static struct ucred *other_cred;
static char mount_point[1024];
static int root_fd;

int __real_getsockopt(int sock, int level, int name, void *value, socklen_t *len);
int __wrap_getsockopt(int sock, int level, int name, void *value, socklen_t *len);
int __wrap_getsockopt(int sock, int level, int name, void *value, socklen_t *len)
{
	if (name == SO_PEERPIDFD && no_peerpidfd) {
		errno = ENOPROTOOPT;
		return -1;
	}
	if (name == SO_PEERCRED && other_cred) {
		memcpy(value, other_cred, sizeof(*other_cred));
		return 0;
	}
	return __real_getsockopt(sock, level, name, value, len);
}

int __real_poll(struct pollfd *fds, nfds_t n, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	return ended_meanwhile ? 1 : __real_poll(fds, n, timeout);
}

static int setup(void **state)
{
	(void)state;
	/* valgrind has one of its own */
	if (prctl(PR_SET_NAME, NAME) < 0)
		return -1;
	if (ig_cgroup2_mount_find(mount_point, sizeof(mount_point), NULL) < 0)
		return -1;
	root_fd = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return root_fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	return close(root_fd);
}

static void make_pair(int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
}

static void expect_self(void)
{
	struct ig_peer peer;
	int pair[2];

	make_pair(pair);
	assert_int_equal(ig_peer_read(pair[0], root_fd, &peer), 0);
	assert_int_equal(peer.pid, getpid());
	assert_int_equal(peer.uid, getuid());
	assert_int_equal(peer.gid, getgid());
	assert_true(peer.start_time_ns > 0);
	assert_true(peer.cgroup_id > 0);
	assert_int_equal(ig_cgroup_path_check(peer.cgroup_path), 0);
	assert_string_equal(peer.comm, NAME);
	(void)close(pair[0]);
	(void)close(pair[1]);
}

static void test_self(void **state)
{
	(void)state;
	expect_self();
}

static void test_without_peerpidfd(void **state)
{
	(void)state;
	no_peerpidfd = true;
	expect_self();
	no_peerpidfd = false;
}

static void expect_failure(const struct ucred *cred, int error)
{
	struct ig_peer peer, nothing = {.pid = (uint32_t)cred->pid, .uid = cred->uid};
	struct ucred copy = *cred;
	int pair[2];

	make_pair(pair);
	other_cred = &copy;
	memset(&peer, 0x5a, sizeof(peer));
	assert_int_equal(ig_peer_read(pair[0], root_fd, &peer), error);
	nothing.gid = cred->gid;
	assert_memory_equal(&peer, &nothing, sizeof(peer));
	other_cred = NULL;
	(void)close(pair[0]);
	(void)close(pair[1]);
}

static void test_peer_of_another_pid_namespace(void **state)
{
	(void)state;
	expect_failure(&(struct ucred){.pid = 0, .uid = 0, .gid = 5}, -ESRCH);
}

/* The number of a process that has ended, with and without its own descriptor. */
static void test_peer_that_ended(void **state)
{
	pid_t child = fork();

	(void)state;
	if (child == 0)
		_exit(0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	no_peerpidfd = true;
	expect_failure(&(struct ucred){.pid = child}, -ESRCH);
	no_peerpidfd = false;
}

/* All that was read may be of another process then. */
static void test_peer_that_ends_meanwhile(void **state)
{
	(void)state;
	ended_meanwhile = true;
	expect_failure(&(struct ucred){.pid = getpid(), .uid = getuid(), .gid = getgid()}, -ESRCH);
	ended_meanwhile = false;
}

static void test_a_child_that_connected(void **state)
{
	struct ig_peer peer;
	int pair[2], hold[2];
	pid_t child;

	(void)state;
	assert_int_equal(pipe(hold), 0);
	make_pair(pair);
	child = fork();
	if (child == 0) {
		char c;

		/* holds the socket, but did not connect it */
		(void)close(hold[1]);
		_exit(read(hold[0], &c, 1) == 0 ? 0 : 1);
	}
	assert_int_equal(ig_peer_read(pair[0], root_fd, &peer), 0);
	assert_int_equal(peer.pid, getpid());
	(void)close(hold[1]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	(void)close(hold[0]);
	(void)close(pair[0]);
	(void)close(pair[1]);
}

static void test_no_socket(void **state)
{
	struct ig_peer peer;

	(void)state;
	assert_int_equal(ig_peer_read(root_fd, root_fd, &peer), -ENOTSOCK);
	assert_int_equal(peer.pid, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_self),
		cmocka_unit_test(test_without_peerpidfd),
		cmocka_unit_test(test_peer_of_another_pid_namespace),
		cmocka_unit_test(test_peer_that_ended),
		cmocka_unit_test(test_peer_that_ends_meanwhile),
		cmocka_unit_test(test_a_child_that_connected),
		cmocka_unit_test(test_no_socket),
	};

	return cmocka_run_group_tests_name("workload/peer", tests, setup, teardown);
}
