/*
 * The audit file as a sink: what stands in it after full disks, cut writes, rotation, reopening, a
 * crash. The failures are real: RLIMIT_FSIZE for a write that is cut short, directories without
 * permission are none for root, so a missing one stands in. Only fdatasync() is stood in front of.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "audit/file.h"
#include "audit/sink_file.h"
#include "audit/sink_stdout.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdutil.h"

#define NAME	  "audit.jsonl"
#define LINE_SIZE 1000 /* bytes of every line here */
#define WAIT_SEC  10

struct fixture {
	char dir[64];
	int dir_fd;
	struct ig_audit_sink *sink;
	uint64_t next; /* number of the next line */
};

/* ---- fdatasync ------------------------------------------------------------------------------- */

static pthread_mutex_t disk = PTHREAD_MUTEX_INITIALIZER; /* held: the disk hangs */
static atomic_uint n_syncs;

int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
	(void)fd;
	(void)pthread_mutex_lock(&disk);
	(void)pthread_mutex_unlock(&disk);
	atomic_fetch_add(&n_syncs, 1);
	return 0;
}

/* ---- fixture --------------------------------------------------------------------------------- */

static int open_file(const struct fixture *f)
{
	int fd = openat(f->dir_fd, NAME, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void start(struct fixture *f, struct ig_audit_file_options options)
{
	options.dir_fd = fcntl(f->dir_fd, F_DUPFD_CLOEXEC, 3);
	options.fd = open_file(f);
	options.name = NAME;
	options.keep = options.keep ? options.keep : 3;
	assert_int_equal(ig_audit_sink_file_new(&options, &f->sink), 0);
}

static void finish_within(struct fixture *f, uint64_t usec)
{
	ig_audit_queue_stop(f->sink->queue);
	f->sink->ops->finish(f->sink, ig_clock_mono_usec() + usec);
	f->sink = ig_audit_sink_free(f->sink);
}

static void finish(struct fixture *f)
{
	finish_within(f, WAIT_SEC * IG_USEC_PER_SEC);
}

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	(void)snprintf(
		f->dir, sizeof(f->dir), "%s/igauditXXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
	assert_non_null(mkdtemp(f->dir));
	f->dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(f->dir_fd >= 0);
	f->next = 1;
	atomic_store(&n_syncs, 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char name[64];

	if (f->sink)
		finish(f);
	for (unsigned int i = 0; i < 10; i++) {
		(void)snprintf(name, sizeof(name), i ? NAME ".%u" : NAME, i);
		(void)unlinkat(f->dir_fd, name, 0);
	}
	(void)unlinkat(f->dir_fd, "moved", 0);
	(void)close(f->dir_fd);
	assert_int_equal(rmdir(f->dir), 0); /* nothing else was made there */
	free(f);
	return 0;
}

static struct ig_audit_line *make_line(uint64_t seq)
{
	char text[LINE_SIZE + 1];
	int n = snprintf(text, sizeof(text), "{\"v\":1,\"seq\":%06ju,\"x\":\"", (uintmax_t)seq);
	struct ig_audit_line *line;

	memset(text + n, 'x', sizeof(text) - (size_t)n);
	memcpy(text + LINE_SIZE - 3, "\"}\n", 3);
	line = ig_audit_line_new(text, LINE_SIZE);
	assert_non_null(line);
	line->seq = seq;
	return line;
}

static bool push(struct fixture *f)
{
	struct ig_audit_line *line = make_line(f->next++);
	bool taken = ig_audit_queue_push(f->sink->queue, line);

	(void)ig_audit_line_unref(line);
	return taken;
}

/* Waits for a state of the queue by what it is notified of, with a poll in between: a line that was
 * delivered notifies nobody. */
static void wait_delivered(struct fixture *f, uint64_t n)
{
	uint64_t deadline = ig_clock_mono_usec() + WAIT_SEC * IG_USEC_PER_SEC;

	while (ig_audit_queue_stats(f->sink->queue).delivered < n) {
		assert_true(ig_clock_mono_usec() < deadline);
		(void)poll(NULL, 0, 1);
	}
	assert_int_equal(ig_audit_queue_stats(f->sink->queue).delivered, n);
}

static void wait_error(struct fixture *f, bool wanted)
{
	struct pollfd p = {.fd = ig_audit_queue_notify_fd(f->sink->queue), .events = POLLIN};

	while (!ig_audit_queue_stats(f->sink->queue).error == wanted) {
		assert_int_equal(poll(&p, 1, WAIT_SEC * 1000), 1);
		ig_audit_queue_acknowledge(f->sink->queue);
	}
}

/* The file holds exactly these lines, whole. */
static void expect_file(const struct fixture *f, const char *name, uint64_t first, uint64_t last)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;

	assert_int_equal(ig_fd_read_file(f->dir_fd, name, 1 << 20, &text, &len), 0);
	assert_int_equal(len, (last + 1 - first) * LINE_SIZE);
	for (uint64_t seq = first; seq <= last; seq++) {
		struct ig_audit_line *line = make_line(seq);

		assert_memory_equal(text + (seq - first) * LINE_SIZE, line->text, LINE_SIZE);
		(void)ig_audit_line_unref(line);
	}
}

static void expect_absent(const struct fixture *f, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(f->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW), -1);
	assert_int_equal(errno, ENOENT);
}

static void push_and_wait(struct fixture *f, unsigned int n)
{
	uint64_t before = ig_audit_queue_stats(f->sink->queue).delivered;

	for (unsigned int i = 0; i < n; i++)
		assert_true(push(f));
	wait_delivered(f, before + n);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void test_lines_arrive_in_order(void **state)
{
	struct fixture *f = *state;

	start(f, (struct ig_audit_file_options){});
	push_and_wait(f, 500); /* more than one batch */
	finish(f);
	expect_file(f, NAME, 1, 500);
	assert_int_equal(atomic_load(&n_syncs), 0);
}

static void test_the_end_writes_what_waits(void **state)
{
	struct fixture *f = *state;

	start(f, (struct ig_audit_file_options){});
	for (int i = 0; i < 100; i++)
		assert_true(push(f));
	finish(f);
	expect_file(f, NAME, 1, 100);
}

static void set_file_limit(rlim_t bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes == RLIM_INFINITY ? limit.rlim_max : bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The disk takes a line only in part, and later the rest: the file never shows it. */
static void test_a_cut_line_is_completed(void **state)
{
	struct fixture *f = *state;

	start(f, (struct ig_audit_file_options){});
	push_and_wait(f, 2);
	set_file_limit(2 * LINE_SIZE + 300);
	assert_true(push(f));
	wait_error(f, true);
	set_file_limit(2 * LINE_SIZE + 301); /* and one byte more */
	assert_true(push(f));
	(void)poll(NULL, 0, 1);
	set_file_limit(RLIM_INFINITY);
	assert_true(push(f));
	wait_delivered(f, 5);
	wait_error(f, false);
	assert_int_equal(ig_audit_queue_stats(f->sink->queue).failures, 1);
	assert_int_equal(ig_audit_queue_stats(f->sink->queue).lost, 0);
	finish(f);
	expect_file(f, NAME, 1, 5);
}

static void test_a_cut_line_is_removed_at_the_end(void **state)
{
	struct fixture *f = *state;

	start(f, (struct ig_audit_file_options){});
	push_and_wait(f, 2);
	set_file_limit(2 * LINE_SIZE + 300);
	assert_true(push(f));
	wait_error(f, true);
	finish(f);
	set_file_limit(RLIM_INFINITY);
	expect_file(f, NAME, 1, 2);
}

/* Lines wait while the disk is full; what does not fit any more is counted. */
static void test_a_full_disk(void **state)
{
	struct fixture *f = *state;
	struct ig_audit_queue_stats stats;

	start(f, (struct ig_audit_file_options){.queue_lines = 10});
	push_and_wait(f, 1);
	set_file_limit(LINE_SIZE);
	for (int i = 0; i < 10; i++)
		assert_true(push(f)); /* 2 to 11 */
	wait_error(f, true);
	for (int i = 0; i < 7; i++)
		assert_false(push(f));
	stats = ig_audit_queue_stats(f->sink->queue);
	assert_int_equal(stats.lost, 7);
	assert_int_equal(stats.error, -EFBIG);
	assert_int_equal(ig_audit_queue_loss(f->sink->queue), 0); /* no room for a report */
	set_file_limit(RLIM_INFINITY);
	wait_delivered(f, 11); /* by itself, without another line */
	assert_int_equal(ig_audit_queue_loss(f->sink->queue), 7);
	finish(f);
	expect_file(f, NAME, 1, 11);
}

/* ---- the queue's bytes ----------------------------------------------------------------------- */

static void test_queue_is_bounded_by_bytes(void **state)
{
	struct ig_audit_queue *queue = NULL;
	struct ig_audit_line *line = make_line(1);

	(void)state;
	assert_int_equal(ig_audit_queue_new(100, 3 * LINE_SIZE, &queue), 0);
	for (int i = 0; i < 3; i++)
		assert_true(ig_audit_queue_push(queue, line));
	assert_false(ig_audit_queue_push(queue, line));
	ig_audit_queue_delivered(queue, 1);
	assert_false(ig_audit_queue_push(queue, line)); /* a loss is reported first */
	assert_int_equal(ig_audit_queue_loss(queue), 0);
	ig_audit_queue_delivered(queue, 1);
	assert_int_equal(ig_audit_queue_loss(queue), 2);
	assert_true(ig_audit_queue_push_report(queue, line, 2));
	assert_true(ig_audit_queue_push(queue, line));
	assert_int_equal(ig_audit_queue_loss(queue), 0);
	assert_int_equal(ig_audit_queue_stats(queue).lost, 2);
	assert_null(ig_audit_queue_free(queue));
	(void)ig_audit_line_unref(line);
}

/* ---- syncing --------------------------------------------------------------------------------- */

static void test_sync_always(void **state)
{
	struct fixture *f = *state;

	start(f, (struct ig_audit_file_options){.fsync = IG_AUDIT_FSYNC_ALWAYS});
	push_and_wait(f, 1);
	assert_int_equal(atomic_load(&n_syncs), 1); /* before it counts as delivered */
	push_and_wait(f, 1);
	assert_int_equal(atomic_load(&n_syncs), 2);
}

static void test_sync_interval(void **state)
{
	uint64_t deadline = ig_clock_mono_usec() + WAIT_SEC * IG_USEC_PER_SEC;
	struct fixture *f = *state;

	start(f, (struct ig_audit_file_options){.fsync = IG_AUDIT_FSYNC_INTERVAL});
	push_and_wait(f, 3);
	assert_int_equal(atomic_load(&n_syncs), 0);
	while (atomic_load(&n_syncs) == 0) {
		assert_true(ig_clock_mono_usec() < deadline);
		(void)poll(NULL, 0, 5);
	}
	assert_int_equal(atomic_load(&n_syncs), 1); /* once for all three */
}

/* A disk that hangs stops neither the one who records nor the accounting. */
static void test_a_disk_that_hangs(void **state)
{
	struct fixture *f = *state;

	start(f, (struct ig_audit_file_options){.fsync = IG_AUDIT_FSYNC_ALWAYS, .queue_lines = 8});
	(void)pthread_mutex_lock(&disk);
	for (int i = 0; i < 8; i++)
		assert_true(push(f));
	while (push(f)) /* the thread may have taken none so far */
		;
	assert_true(ig_audit_queue_stats(f->sink->queue).lost >= 1);
	assert_int_equal(ig_audit_queue_stats(f->sink->queue).delivered, 0);
	(void)pthread_mutex_unlock(&disk);
	wait_delivered(f, 8);
}

/* ---- rotation and reopening ------------------------------------------------------------------ */

static void test_rotation_by_size(void **state)
{
	struct fixture *f = *state;

	start(f, (struct ig_audit_file_options){.rotate_bytes = 3 * LINE_SIZE + 1, .keep = 2});
	push_and_wait(f, 8);
	expect_file(f, NAME ".2", 1, 3);
	expect_file(f, NAME ".1", 4, 6);
	expect_file(f, NAME, 7, 8);
	push_and_wait(f, 5); /* 9, then 10 to 12, then 13 */
	finish(f);
	expect_absent(f, NAME ".3");
	expect_file(f, NAME ".2", 7, 9);
	expect_file(f, NAME ".1", 10, 12);
	expect_file(f, NAME, 13, 13);
}

static void test_rotation_by_size_in_one_batch(void **state)
{
	struct fixture *f = *state;

	/* smaller than a line: each gets a file, none is empty */
	start(f, (struct ig_audit_file_options){.rotate_bytes = 10, .keep = 9});
	(void)pthread_mutex_lock(&disk);
	for (int i = 0; i < 4; i++)
		assert_true(push(f));
	(void)pthread_mutex_unlock(&disk);
	wait_delivered(f, 4);
	finish(f);
	expect_file(f, NAME ".3", 1, 1);
	expect_file(f, NAME ".2", 2, 2);
	expect_file(f, NAME ".1", 3, 3);
	expect_file(f, NAME, 4, 4);
	expect_absent(f, NAME ".4");
}

static void test_rotation_by_age(void **state)
{
	uint64_t deadline = ig_clock_mono_usec() + WAIT_SEC * IG_USEC_PER_SEC;
	struct fixture *f = *state;
	struct stat st;

	start(f, (struct ig_audit_file_options){.rotate_usec = IG_USEC_PER_SEC / 2});
	push_and_wait(f, 2);
	/* nothing else comes: the file's time is up all the same */
	while (fstatat(f->dir_fd, NAME ".1", &st, 0) < 0) {
		assert_true(ig_clock_mono_usec() < deadline);
		(void)poll(NULL, 0, 5);
	}
	finish(f);
	expect_file(f, NAME ".1", 1, 2);
	expect_file(f, NAME, 3, 2);
	expect_absent(f, NAME ".2"); /* an empty file is not rotated */
}

/* What the kernel says to somebody else's rename in the middle of ours. */
static void test_rotation_after_somebody_else_rotated(void **state)
{
	struct fixture *f = *state;

	start(f, (struct ig_audit_file_options){.rotate_bytes = 2 * LINE_SIZE});
	push_and_wait(f, 2);
	assert_int_equal(renameat(f->dir_fd, NAME, f->dir_fd, "moved"), 0);
	push_and_wait(f, 1);
	finish(f);
	expect_file(f, "moved", 1, 2);
	expect_file(f, NAME, 3, 3);
	expect_absent(f, NAME ".1");
}

static void test_a_rotation_that_fails_loses_nothing(void **state)
{
	struct fixture *f = *state;

	start(f, (struct ig_audit_file_options){.rotate_bytes = 2 * LINE_SIZE});
	/* a directory that is not empty can be neither replaced nor removed */
	assert_int_equal(mkdirat(f->dir_fd, NAME ".new", 0700), 0);
	push_and_wait(f, 5);
	assert_int_equal(unlinkat(f->dir_fd, NAME ".new", AT_REMOVEDIR), 0);
	finish(f);
	expect_file(f, NAME, 1, 5);
	expect_absent(f, NAME ".1");
}

static void test_reopen(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	start(f, (struct ig_audit_file_options){});
	push_and_wait(f, 2);
	assert_int_equal(renameat(f->dir_fd, NAME, f->dir_fd, "moved"), 0);
	push_and_wait(f, 1); /* nobody said anything yet */
	ig_audit_queue_reopen(f->sink->queue);
	push_and_wait(f, 1);
	finish(f);
	expect_file(f, "moved", 1, 3);
	expect_file(f, NAME, 4, 4);
	assert_int_equal(fstatat(f->dir_fd, NAME, &st, 0), 0);
	assert_int_equal(st.st_mode & 07777 & ~(mode_t)0640, 0);
}

/* The half line stays out of the old file and stands in the new one as a whole. */
static void test_reopen_with_a_cut_line(void **state)
{
	struct fixture *f = *state;

	start(f, (struct ig_audit_file_options){});
	push_and_wait(f, 2);
	set_file_limit(2 * LINE_SIZE + 300);
	assert_true(push(f));
	wait_error(f, true);
	assert_int_equal(renameat(f->dir_fd, NAME, f->dir_fd, "moved"), 0);
	ig_audit_queue_reopen(f->sink->queue);
	wait_delivered(f, 3);
	set_file_limit(RLIM_INFINITY);
	finish(f);
	expect_file(f, "moved", 1, 2);
	expect_file(f, NAME, 3, 3);
}

static void test_a_file_that_was_deleted(void **state)
{
	struct fixture *f = *state;

	start(f, (struct ig_audit_file_options){});
	push_and_wait(f, 1);
	assert_int_equal(unlinkat(f->dir_fd, NAME, 0), 0);
	push_and_wait(f, 1);
	finish(f);
	expect_file(f, NAME, 2, 2);
}

/* logrotate's copytruncate */
static void test_a_file_that_was_truncated(void **state)
{
	struct fixture *f = *state;
	int fd;

	start(f, (struct ig_audit_file_options){.rotate_bytes = 2 * LINE_SIZE});
	push_and_wait(f, 2);
	fd = open_file(f);
	assert_int_equal(ftruncate(fd, 0), 0);
	(void)close(fd);
	push_and_wait(f, 2);
	finish(f);
	expect_file(f, NAME, 3, 4);
	expect_absent(f, NAME ".1");
}

static void leave(const struct fixture *f, const char *text, size_t len)
{
	int fd = open_file(f);

	assert_int_equal(write(fd, text, len), len);
	(void)close(fd);
}

/* ---- a lock of somebody else's ----------------------------------------------------------------
 */

static int lock_as_a_reader(const struct fixture *f)
{
	int fd = openat(f->dir_fd, NAME, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_SH), 0);
	return fd;
}

/* Who may read the file, a collector of logs perhaps, can lock it as well. */
static void test_a_reader_that_locks_the_file(void **state)
{
	struct fixture *f = *state;
	int fd;

	start(f, (struct ig_audit_file_options){.rotate_bytes = 4 * LINE_SIZE});
	push_and_wait(f, 2);
	fd = lock_as_a_reader(f);
	push_and_wait(f, 1); /* waits for it, and not for ever */
	push_and_wait(f, 2);
	finish(f);
	assert_int_equal(close(fd), 0);
	expect_file(f, NAME ".1", 1, 4);
	expect_file(f, NAME, 5, 5);
}

/* Another agent's, which has to be completed first. */
static void test_half_a_line_of_another_writer(void **state)
{
	struct ig_audit_line *line = make_line(1);
	struct ig_audit_file file = {};
	struct fixture *f = *state;
	uint64_t cut = 0;
	int other = open_file(f), dir_fd = fcntl(f->dir_fd, F_DUPFD_CLOEXEC, 3);

	assert_int_equal(flock(other, LOCK_EX), 0);
	assert_int_equal(ig_audit_file_init(&file, dir_fd, open_file(f), NAME, &cut), 0);
	assert_true(ig_audit_file_is_whole(&file));
	assert_int_equal(write(other, line->text, 100), 100);
	assert_false(ig_audit_file_is_whole(&file));
	assert_int_equal(write(other, line->text + 100, LINE_SIZE - 100), LINE_SIZE - 100);
	assert_true(ig_audit_file_is_whole(&file));
	/* what has another name by now is written by nobody */
	assert_int_equal(write(other, line->text, 100), 100);
	assert_int_equal(renameat(f->dir_fd, NAME, f->dir_fd, "moved"), 0);
	assert_true(ig_audit_file_is_whole(&file));
	ig_audit_file_done(&file);
	(void)close(other);
	(void)ig_audit_line_unref(line);
}

/* What a crash left is nobody's: it is waited for, but not for ever, and not written behind. */
static void leave_half_a_line(struct fixture *f)
{
	struct ig_audit_line *line = make_line(1), *next = make_line(2);

	leave(f, line->text, LINE_SIZE);
	leave(f, next->text, 400);
	f->next = 2;
	(void)ig_audit_line_unref(line);
	(void)ig_audit_line_unref(next);
}

/* The first line, the half one, and what was pushed then. */
static void expect_ended_half_line(const struct fixture *f)
{
	struct ig_audit_line *line = make_line(1), *next = make_line(2);
	_cleanup_free_ char *text = NULL;
	size_t len = 0;

	assert_int_equal(ig_fd_read_file(f->dir_fd, NAME, 1 << 20, &text, &len), 0);
	assert_int_equal(len, 3 * LINE_SIZE + 401);
	assert_memory_equal(text, line->text, LINE_SIZE);
	assert_memory_equal(text + LINE_SIZE, next->text, 400);
	assert_int_equal(text[LINE_SIZE + 400], '\n');
	assert_memory_equal(text + LINE_SIZE + 401, next->text, LINE_SIZE);
	(void)ig_audit_line_unref(line);
	(void)ig_audit_line_unref(next);
}

static void test_half_a_line_of_nobody(void **state)
{
	struct fixture *f = *state;
	int fd;

	leave_half_a_line(f);
	fd = lock_as_a_reader(f);
	start(f, (struct ig_audit_file_options){.half_line_usec = 700 * IG_USEC_PER_MSEC});
	push_and_wait(f, 2);
	finish(f);
	assert_int_equal(close(fd), 0);
	expect_ended_half_line(f);
}

/* Whoever ends has no time to wait for it. */
static void test_half_a_line_at_the_end(void **state)
{
	struct fixture *f = *state;
	int fd;

	leave_half_a_line(f);
	fd = lock_as_a_reader(f);
	start(f, (struct ig_audit_file_options){});
	assert_true(push(f));
	assert_true(push(f));
	finish_within(f, IG_AUDIT_STOP_MSEC * IG_USEC_PER_MSEC);
	assert_int_equal(close(fd), 0);
	expect_ended_half_line(f);
}

/* ---- what an earlier run left -----------------------------------------------------------------
 */

static void test_a_torn_end_is_cut(void **state)
{
	static const size_t torn[] = {1, 3, 5, 400, LINE_SIZE - 1};
	struct fixture *f = *state;

	for (size_t i = 0; i < IG_ARRAY_SIZE(torn); i++) {
		struct ig_audit_line *line = make_line(1), *next = make_line(2);

		(void)unlinkat(f->dir_fd, NAME, 0);
		leave(f, line->text, LINE_SIZE);
		leave(f, next->text, torn[i]);
		f->next = 2;
		start(f, (struct ig_audit_file_options){});
		push_and_wait(f, 1);
		finish(f);
		expect_file(f, NAME, 1, 2);
		(void)ig_audit_line_unref(line);
		(void)ig_audit_line_unref(next);
	}
}

static void test_a_foreign_end_is_kept(void **state)
{
	_cleanup_free_ char *text = NULL;
	struct fixture *f = *state;
	size_t len = 0;

	leave(f, "not ours", 8);
	start(f, (struct ig_audit_file_options){});
	push_and_wait(f, 1);
	finish(f);
	assert_int_equal(ig_fd_read_file(f->dir_fd, NAME, 1 << 20, &text, &len), 0);
	assert_int_equal(len, 9 + LINE_SIZE);
	assert_memory_equal(text, "not ours\n{\"v\":1", 15);
}

static void test_what_cannot_be_rotated(void **state)
{
	struct ig_audit_file_options options = {.name = NAME, .keep = 1, .rotate_bytes = 65536};
	_cleanup_close_ int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	struct fixture *f = *state;
	struct ig_audit_sink *sink = NULL;

	options.fd = null;
	options.dir_fd = f->dir_fd;
	assert_int_equal(ig_audit_sink_file_new(&options, &sink), -EINVAL);
	options.rotate_bytes = 0;
	options.fd = fcntl(null, F_DUPFD_CLOEXEC, 3);
	options.dir_fd = fcntl(f->dir_fd, F_DUPFD_CLOEXEC, 3);
	assert_int_equal(ig_audit_sink_file_new(&options, &f->sink), 0);
	push_and_wait(f, 1);
}

/* ---- standard output ------------------------------------------------------------------------- */

static int start_stdout(struct fixture *f, size_t queue_lines)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_true(fcntl(ends[1], F_SETPIPE_SZ, 4096) >= 4096);
	assert_int_equal(ig_audit_sink_stdout_new(&(struct ig_audit_stdout_options){.fd = ends[1],
							  .queue_lines = queue_lines},
				 &f->sink),
		0);
	return ends[0];
}

static void read_lines(int fd, uint64_t first, uint64_t last)
{
	for (; first <= last; first++) {
		struct ig_audit_line *line = make_line(first);
		char text[LINE_SIZE];
		size_t len = 0;

		while (len < LINE_SIZE) {
			ssize_t n = read(fd, text + len, LINE_SIZE - len);

			assert_true(n > 0);
			len += (size_t)n;
		}
		assert_memory_equal(text, line->text, LINE_SIZE);
		(void)ig_audit_line_unref(line);
	}
}

/* A pipe that nobody reads takes a few lines, the queue the next ones; the rest is counted. */
static void test_stdout_that_nobody_reads(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int reader = start_stdout(f, 20);
	uint64_t taken = 0;

	while (push(f))
		taken++;
	assert_in_range(taken, 20, 40);
	assert_int_equal(ig_audit_queue_stats(f->sink->queue).lost, 1);
	read_lines(reader, 1, taken);
	wait_delivered(f, taken);
	assert_int_equal(ig_audit_queue_loss(f->sink->queue), 1);
}

static void test_stdout_ends_although_nobody_reads(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int reader = start_stdout(f, 20);

	while (push(f))
		;
	finish(f); /* teardown would find a leak if its thread went on */
	(void)reader;
}

static void *read_after_a_while(void *arg)
{
	static char text[IG_AUDIT_LINE_BYTES];
	size_t len = 0;
	ssize_t n;

	(void)poll(NULL, 0, IG_AUDIT_STOP_MSEC / 2);
	while ((n = read(*(int *)arg, text + len, sizeof(text) - len)) > 0)
		len += (size_t)n;
	return len > 0 && text[len - 1] == '\n' ? text : NULL;
}

/* Others write there next, so half a line is not left while there is time. */
static void test_stdout_ends_in_the_middle_of_a_line(void **state)
{
	struct fixture *f = *state;
	_cleanup_close_ int reader = start_stdout(f, 0);
	struct pollfd p = {.fd = reader, .events = POLLIN};
	char text[3 * PIPE_BUF];
	struct ig_audit_line *line;
	pthread_t thread;
	void *whole;

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\n';
	line = ig_audit_line_new(text, sizeof(text));
	assert_non_null(line);
	assert_true(ig_audit_queue_push(f->sink->queue, line));
	assert_int_equal(poll(&p, 1, WAIT_SEC * 1000), 1);
	assert_int_equal(pthread_create(&thread, NULL, read_after_a_while, &reader), 0);
	finish_within(f, IG_AUDIT_STOP_MSEC * IG_USEC_PER_MSEC);
	assert_int_equal(pthread_join(thread, &whole), 0);
	assert_non_null(whole);
	assert_memory_equal(whole, text, sizeof(text));
	(void)ig_audit_line_unref(line);
}

static void test_stdout_without_a_reader(void **state)
{
	struct fixture *f = *state;
	int reader = start_stdout(f, 0);

	(void)close(reader);
	assert_true(push(f));
	wait_error(f, true);
	assert_int_equal(ig_audit_queue_stats(f->sink->queue).error, -EPIPE);
	assert_int_equal(ig_audit_queue_stats(f->sink->queue).queued, 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_lines_arrive_in_order),
		T(test_the_end_writes_what_waits),
		T(test_a_cut_line_is_completed),
		T(test_a_cut_line_is_removed_at_the_end),
		T(test_a_full_disk),
		T(test_queue_is_bounded_by_bytes),
		T(test_sync_always),
		T(test_sync_interval),
		T(test_a_disk_that_hangs),
		T(test_rotation_by_size),
		T(test_rotation_by_size_in_one_batch),
		T(test_rotation_by_age),
		T(test_rotation_after_somebody_else_rotated),
		T(test_a_rotation_that_fails_loses_nothing),
		T(test_reopen),
		T(test_reopen_with_a_cut_line),
		T(test_a_file_that_was_deleted),
		T(test_a_file_that_was_truncated),
		T(test_a_reader_that_locks_the_file),
		T(test_half_a_line_of_another_writer),
		T(test_half_a_line_of_nobody),
		T(test_half_a_line_at_the_end),
		T(test_a_torn_end_is_cut),
		T(test_a_foreign_end_is_kept),
		T(test_what_cannot_be_rotated),
		T(test_stdout_that_nobody_reads),
		T(test_stdout_ends_although_nobody_reads),
		T(test_stdout_ends_in_the_middle_of_a_line),
		T(test_stdout_without_a_reader),
	};

	(void)signal(SIGXFSZ, SIG_IGN);
	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
