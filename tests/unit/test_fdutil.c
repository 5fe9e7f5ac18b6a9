/*
 * Tests of base/fdutil: short and interrupted calls (the system calls are wrapped for that), limits
 * of files and datagrams, and that no descriptor is left open whatever a hostile peer sends. Every
 * test is framed by a count of the open descriptors.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fdutil.h"

/* ---- wrapped system calls ----------------------------------------------------------------------
 */

static struct {
	bool armed;
	bool interrupt; /* the next call fails with EINTR, the one after it does not */
	size_t interrupted;
	size_t at_most; /* bytes of one read or write; 0: as many as asked for */
	size_t calls;
} fault;

ssize_t __real_read(int fd, void *buf, size_t len);
ssize_t __real_write(int fd, const void *buf, size_t len);
ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __real_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __wrap_read(int fd, void *buf, size_t len);
ssize_t __wrap_write(int fd, const void *buf, size_t len);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);

static bool is_interrupted(void)
{
	if (!fault.armed)
		return false;
	fault.calls++;
	fault.interrupt = !fault.interrupt;
	if (!fault.interrupt)
		return false;
	fault.interrupted++;
	errno = EINTR;
	return true;
}

static size_t shortened(size_t len)
{
	return fault.armed && fault.at_most && len > fault.at_most ? fault.at_most : len;
}

ssize_t __wrap_read(int fd, void *buf, size_t len)
{
	return is_interrupted() ? -1 : __real_read(fd, buf, shortened(len));
}

ssize_t __wrap_write(int fd, const void *buf, size_t len)
{
	return is_interrupted() ? -1 : __real_write(fd, buf, shortened(len));
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	return is_interrupted() ? -1 : __real_sendmsg(fd, msg, flags);
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
	return is_interrupted() ? -1 : __real_recvmsg(fd, msg, flags);
}

static void arm(size_t at_most)
{
	memset(&fault, 0, sizeof(fault));
	fault.at_most = at_most;
	fault.armed = true;
}

/* ---- frame -------------------------------------------------------------------------------------
 */

struct frame {
	size_t open_before;
	char dir[64];
	int dir_fd;
	int pair[2]; /* SOCK_SEQPACKET, not blocking */
};

static size_t count_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static int setup(void **state)
{
	struct frame *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	memset(&fault, 0, sizeof(fault));
	f->open_before = count_open();
	(void)snprintf(f->dir, sizeof(f->dir), "/tmp/test_fdutil.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->dir_fd >= 0);
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, f->pair), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	_cleanup_free_ struct frame *f = *state;
	static const char *const names[] = {"file", "link", "fifo"};

	fault.armed = false;
	for (size_t i = 0; i < IG_ARRAY_SIZE(names); i++)
		(void)unlinkat(f->dir_fd, names[i], 0);
	(void)unlinkat(f->dir_fd, "dir", AT_REMOVEDIR);
	(void)rmdir(f->dir);
	(void)ig_close(f->dir_fd);
	(void)ig_close(f->pair[0]);
	(void)ig_close(f->pair[1]);
	return count_open() == f->open_before ? 0 : -1;
}

static void make_file(struct frame *f, const void *data, size_t len)
{
	_cleanup_close_ int fd =
		openat(f->dir_fd, "file", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
}

/* ---- flags -------------------------------------------------------------------------------------
 */

static void a_flag_is_set_beside_others(void **state)
{
	_cleanup_close_ int fd = open("/dev/null", O_RDWR | O_APPEND);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ig_fd_set_nonblock(fd), 0);
	assert_int_equal(fcntl(fd, F_GETFL) & (O_NONBLOCK | O_APPEND), O_NONBLOCK | O_APPEND);
}

static void a_flag_of_nothing_fails(void **state)
{
	(void)state;
	assert_int_equal(ig_fd_set_nonblock(-1), -EBADF);
}

/* ---- whole writes ------------------------------------------------------------------------------
 */

static void writes_go_on_after_interruptions_and_short_writes(void **state)
{
	struct frame *f = *state;
	_cleanup_close_ int fd = openat(f->dir_fd, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char text[1001], back[1002];

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)i;
	arm(7);
	assert_int_equal(ig_fd_write_all(fd, text, sizeof(text)), 0);
	fault.armed = false;
	assert_int_equal(fault.interrupted, 143);
	assert_int_equal(pread(fd, back, sizeof(back), 0), sizeof(text));
	assert_memory_equal(back, text, sizeof(text));
}

static void writing_nothing_makes_no_call(void **state)
{
	(void)state;
	arm(0);
	assert_int_equal(ig_fd_write_all(-1, "", 0), 0);
	assert_int_equal(fault.calls, 0);
}

static void write_errors_come_back(void **state)
{
	struct frame *f = *state;
	_cleanup_close_ int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	assert_int_equal(ig_fd_write_all(-1, "x", 1), -EBADF);
	assert_int_equal(ig_fd_write_all(full, "x", 1), -ENOSPC);
	assert_int_equal(ig_fd_write_all(f->dir_fd, "x", 1), -EBADF);
}

/* ---- files -------------------------------------------------------------------------------------
 */

static void reads_a_whole_file(void **state)
{
	struct frame *f = *state;
	_cleanup_free_ char *data = NULL;
	size_t len = 0;

	make_file(f, "ab\0cd", 5);
	arm(2);
	assert_int_equal(ig_fd_read_file(f->dir_fd, "file", 100, &data, &len), 0);
	assert_true(fault.interrupted >= 3);
	assert_int_equal(len, 5);
	assert_memory_equal(data, "ab\0cd", 6); /* and the NUL behind it */
}

static void reads_an_empty_file(void **state)
{
	struct frame *f = *state;
	_cleanup_free_ char *data = NULL;
	size_t len = 9;

	make_file(f, "", 0);
	assert_int_equal(ig_fd_read_file(f->dir_fd, "file", 0, &data, &len), 0);
	assert_int_equal(len, 0);
	assert_string_equal(data, "");
}

static void file_limit_is_exact(void **state)
{
	struct frame *f = *state;
	_cleanup_free_ char *data = NULL;
	char *untouched = NULL;
	size_t len = 9;

	make_file(f, "12345", 5);
	assert_int_equal(ig_fd_read_file(f->dir_fd, "file", 4, &untouched, &len), -E2BIG);
	assert_null(untouched);
	assert_int_equal(len, 9);
	assert_int_equal(ig_fd_read_file(f->dir_fd, "file", 5, &data, &len), 0);
	assert_int_equal(len, 5);
	assert_string_equal(data, "12345");
}

/* a file of /proc says that it has no size */
static void reads_files_of_unknown_size(void **state)
{
	_cleanup_free_ char *data = NULL;
	size_t len = 0;

	(void)state;
	assert_int_equal(ig_fd_read_file(AT_FDCWD, "/proc/self/status", 65536, &data, &len), 0);
	assert_true(len > 0);
	assert_non_null(strstr(data, "Pid:"));
}

static void reads_no_links_directories_or_fifos(void **state)
{
	struct frame *f = *state;
	char *data = NULL;
	size_t len = 0;

	make_file(f, "x", 1);
	assert_int_equal(symlinkat("file", f->dir_fd, "link"), 0);
	assert_int_equal(mkdirat(f->dir_fd, "dir", 0700), 0);
	assert_int_equal(mkfifoat(f->dir_fd, "fifo", 0600), 0);
	assert_int_equal(ig_fd_read_file(f->dir_fd, "link", 10, &data, &len), -ELOOP);
	assert_int_equal(ig_fd_read_file(f->dir_fd, "dir", 10, &data, &len), -EINVAL);
	/* without a writer: neither waits for one nor reads */
	assert_int_equal(ig_fd_read_file(f->dir_fd, "fifo", 10, &data, &len), -EINVAL);
	assert_int_equal(ig_fd_read_file(f->dir_fd, "none", 10, &data, &len), -ENOENT);
	assert_int_equal(ig_fd_read_file(-1, "file", 10, &data, &len), -EBADF);
	assert_null(data);
}

/* ---- datagrams ---------------------------------------------------------------------------------
 */

static void datagrams_keep_their_borders(void **state)
{
	struct frame *f = *state;
	size_t n_fds = 9;
	char buf[16];

	arm(0);
	assert_int_equal(ig_fd_send(f->pair[0], "abc", 3, NULL, 0), 0);
	assert_int_equal(ig_fd_send(f->pair[0], "de", 2, NULL, 0), 0);
	assert_int_equal(ig_fd_recv(f->pair[1], buf, sizeof(buf), NULL, 0, &n_fds), 3);
	assert_memory_equal(buf, "abc", 3);
	assert_int_equal(n_fds, 0);
	assert_int_equal(ig_fd_recv(f->pair[1], buf, 2, NULL, 0, &n_fds), 2);
	assert_memory_equal(buf, "de", 2);
	assert_int_equal(fault.interrupted, 4);
}

static void nothing_there_and_end_of_file(void **state)
{
	struct frame *f = *state;
	size_t n_fds = 9;
	char buf[16];

	assert_int_equal(ig_fd_recv(f->pair[1], buf, sizeof(buf), NULL, 0, &n_fds), -EAGAIN);
	f->pair[0] = ig_close(f->pair[0]);
	assert_int_equal(ig_fd_recv(f->pair[1], buf, sizeof(buf), NULL, 0, &n_fds), 0);
	assert_int_equal(n_fds, 0);
	/* an error, not a signal */
	assert_int_equal(ig_fd_send(f->pair[1], "x", 1, NULL, 0), -EPIPE);
}

static void full_socket_is_eagain(void **state)
{
	struct frame *f = *state;
	int r = 0;

	for (int i = 0; i < 100000 && r == 0; i++)
		r = ig_fd_send(f->pair[0], "x", 1, NULL, 0);
	assert_int_equal(r, -EAGAIN);
}

static void close_all(const int *fds, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)ig_close(fds[i]);
}

static void descriptors_arrive_close_on_exec(void **state)
{
	struct frame *f = *state;
	int sent[2] = {f->dir_fd, f->pair[0]}, got[2] = {-1, -1};
	struct stat a, b;
	size_t n_fds = 0;
	char buf[16];

	assert_int_equal(ig_fd_send(f->pair[0], "x", 1, sent, 2), 0);
	assert_int_equal(ig_fd_recv(f->pair[1], buf, sizeof(buf), got, 2, &n_fds), 1);
	assert_int_equal(n_fds, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_int_not_equal(got[i], sent[i]);
		assert_int_equal(fcntl(got[i], F_GETFD), FD_CLOEXEC);
		assert_int_equal(fstat(sent[i], &a), 0);
		assert_int_equal(fstat(got[i], &b), 0);
		assert_true(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
	}
	close_all(got, n_fds);
}

static void the_most_descriptors_of_one_datagram(void **state)
{
	struct frame *f = *state;
	int sent[17], got[16];
	size_t n_fds = 0;
	char c;

	for (size_t i = 0; i < IG_ARRAY_SIZE(sent); i++)
		sent[i] = f->dir_fd;
	assert_int_equal(ig_fd_send(f->pair[0], "x", 1, sent, 17), -E2BIG);
	assert_int_equal(ig_fd_recv(f->pair[1], &c, 1, got, 16, &n_fds), -EAGAIN);
	assert_int_equal(ig_fd_send(f->pair[0], "x", 1, sent, 16), 0);
	assert_int_equal(ig_fd_recv(f->pair[1], &c, 1, got, 16, &n_fds), 1);
	assert_int_equal(n_fds, 16);
	close_all(got, n_fds);
}

/* the refusals below: teardown sees a descriptor that is left open */

static void refused(struct frame *f, size_t buf_len, size_t max_fds)
{
	size_t before = count_open(), n_fds = 9;
	int got[16];
	char buf[64];

	assert_int_equal(ig_fd_recv(f->pair[1], buf, buf_len, got, max_fds, &n_fds), -EBADMSG);
	assert_int_equal(n_fds, 9);
	assert_int_equal(count_open(), before);
	/* and the next datagram is fine */
	assert_int_equal(ig_fd_send(f->pair[0], "ok", 2, NULL, 0), 0);
	assert_int_equal(ig_fd_recv(f->pair[1], buf, sizeof(buf), got, 16, &n_fds), 2);
}

static void a_datagram_that_is_too_long_is_refused(void **state)
{
	struct frame *f = *state;

	assert_int_equal(ig_fd_send(f->pair[0], "abcd", 4, &f->dir_fd, 1), 0);
	refused(f, 3, 16);
}

static void more_descriptors_than_wanted_are_refused(void **state)
{
	struct frame *f = *state;
	int sent[3] = {f->dir_fd, f->dir_fd, f->dir_fd};

	assert_int_equal(ig_fd_send(f->pair[0], "x", 1, sent, 3), 0);
	refused(f, 16, 2);
	assert_int_equal(ig_fd_send(f->pair[0], "x", 1, sent, 1), 0);
	refused(f, 16, 0);
}

static void descriptors_without_data_are_refused(void **state)
{
	struct frame *f = *state;

	assert_int_equal(ig_fd_send(f->pair[0], "", 0, &f->dir_fd, 1), 0);
	refused(f, 16, 16);
}

/* as many as the kernel lets through, which ig_fd_send() would not send */
static void a_flood_of_descriptors_is_refused(void **state)
{
	struct frame *f = *state;
	union {
		char bytes[CMSG_SPACE(253 * sizeof(int))];
		struct cmsghdr align;
	} control = {};
	struct iovec iov = {.iov_base = "x", .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(253 * sizeof(int));
	for (size_t i = 0; i < 253; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &f->dir_fd, sizeof(int));
	assert_int_equal(sendmsg(f->pair[0], &msg, 0), 1);
	refused(f, 16, 16);
}

static void a_closed_descriptor_is_not_sent(void **state)
{
	struct frame *f = *state;
	int closed = -1;

	assert_int_equal(ig_fd_send(f->pair[0], "x", 1, &closed, 1), -EBADF);
}

#define FRAMED_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FRAMED_TEST(a_flag_is_set_beside_others),
		FRAMED_TEST(a_flag_of_nothing_fails),
		FRAMED_TEST(writes_go_on_after_interruptions_and_short_writes),
		FRAMED_TEST(writing_nothing_makes_no_call),
		FRAMED_TEST(write_errors_come_back),
		FRAMED_TEST(reads_a_whole_file),
		FRAMED_TEST(reads_an_empty_file),
		FRAMED_TEST(file_limit_is_exact),
		FRAMED_TEST(reads_files_of_unknown_size),
		FRAMED_TEST(reads_no_links_directories_or_fifos),
		FRAMED_TEST(datagrams_keep_their_borders),
		FRAMED_TEST(nothing_there_and_end_of_file),
		FRAMED_TEST(full_socket_is_eagain),
		FRAMED_TEST(descriptors_arrive_close_on_exec),
		FRAMED_TEST(the_most_descriptors_of_one_datagram),
		FRAMED_TEST(a_datagram_that_is_too_long_is_refused),
		FRAMED_TEST(more_descriptors_than_wanted_are_refused),
		FRAMED_TEST(descriptors_without_data_are_refused),
		FRAMED_TEST(a_flood_of_descriptors_is_refused),
		FRAMED_TEST(a_closed_descriptor_is_not_sent),
	};

	return cmocka_run_group_tests_name("fdutil", tests, NULL, NULL);
}
