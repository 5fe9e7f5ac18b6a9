/*
 * The audit stream: numbers, the file and its failures, subscribers and theirs. The failures are
 * real: /dev/full for a full disk, RLIMIT_FSIZE for a write that is cut short.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "audit/stream.h"
#include "base/cleanup.h"
#include "base/fdutil.h"

#define LINES_MAX 64

struct fixture {
	struct event_base *base;
	struct ig_audit *audit;
	int fd;	     /* the number that the audit writes to; the audit's */
	int real_fd; /* the same file, for reading and for putting it back */
};

static const struct ig_audit_record started = {.kind = IG_AUDIT_AGENT_STARTED};
static const struct ig_audit_record denied = {
	.kind = IG_AUDIT_TOKEN_DENIED, .decision = IG_AUDIT_DENY, .reason = "not_bound"};

static int open_unnamed(void)
{
	const char *dir = getenv("TMPDIR");
	int fd = open(dir ? dir : "/tmp", O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->base = event_base_new();
	assert_non_null(f->base);
	f->real_fd = open_unnamed();
	f->fd = fcntl(f->real_fd, F_DUPFD_CLOEXEC, 3);
	assert_true(f->fd >= 0);
	assert_int_equal(
		ig_audit_new(f->base, &(struct ig_audit_options){.file_fd = f->fd, .node = "n1"},
			&f->audit),
		0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	(void)ig_audit_free(f->audit);
	event_base_free(f->base);
	(void)close(f->real_fd);
	free(f);
	return 0;
}

/* The disk becomes full, and is not any more. */
static void fill_disk(const struct fixture *f)
{
	_cleanup_close_ int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	assert_true(full >= 0);
	assert_int_equal(dup3(full, f->fd, O_CLOEXEC), f->fd);
}

static void empty_disk(const struct fixture *f)
{
	assert_int_equal(dup3(f->real_fd, f->fd, O_CLOEXEC), f->fd);
}

/* The file's lines, parsed; NULL for one that is not JSON. */
struct lines {
	json_t *line[LINES_MAX];
	size_t n;
};

static void lines_done(struct lines *lines)
{
	while (lines->n)
		json_decref(lines->line[--lines->n]);
}

static void lines_add(struct lines *lines, const char *text, size_t len)
{
	assert_true(lines->n < LINES_MAX);
	lines->line[lines->n++] = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
}

static void read_lines(int fd, struct lines *lines)
{
	off_t size = lseek(fd, 0, SEEK_END);
	_cleanup_free_ char *text = calloc(1, (size_t)size + 1);
	char *at = text, *end;

	assert_non_null(text);
	assert_int_equal(pread(fd, text, (size_t)size, 0), size);
	while ((end = strchr(at, '\n'))) {
		lines_add(lines, at, (size_t)(end - at));
		at = end + 1;
	}
	assert_string_equal(at, ""); /* the file ends with a whole line */
}

static void expect(const json_t *line, uint64_t seq, const char *kind)
{
	assert_non_null(line);
	assert_int_equal(json_integer_value(json_object_get(line, "seq")), seq);
	assert_string_equal(json_string_value(json_object_get(line, "kind")), kind);
}

static void expect_lost(const json_t *line, uint64_t seq, const char *reason, uint64_t count)
{
	expect(line, seq, "events.lost");
	assert_string_equal(json_string_value(json_object_get(line, "reason")), reason);
	assert_int_equal(json_integer_value(json_object_get(line, "count")), count);
}

static void test_numbers_and_origin(void **state)
{
	struct fixture *f = *state;
	_cleanup_(lines_done) struct lines lines = {};
	_cleanup_free_ char *boot = NULL;
	struct ig_audit_stats stats;
	const char *run, *line_boot;
	size_t len;

	ig_audit_emit(f->audit, &started);
	ig_audit_emit(f->audit, &denied);
	ig_audit_emit(f->audit, &denied);
	read_lines(f->real_fd, &lines);
	assert_int_equal(lines.n, 3);
	expect(lines.line[0], 1, "agent.started");
	expect(lines.line[1], 2, "token.denied");
	expect(lines.line[2], 3, "token.denied");
	assert_int_equal(
		ig_fd_read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &boot, &len), 0);
	boot[strcspn(boot, "\n")] = '\0';
	line_boot = json_string_value(json_object_get(lines.line[0], "boot"));
	run = json_string_value(json_object_get(lines.line[0], "run"));
	assert_string_equal(line_boot, boot);
	assert_int_equal(strspn(run, "0123456789abcdef"), 16);
	assert_int_equal(strlen(run), 16);
	assert_string_equal(json_string_value(json_object_get(lines.line[2], "run")), run);
	assert_string_equal(json_string_value(json_object_get(lines.line[0], "node")), "n1");
	stats = ig_audit_stats(f->audit);
	assert_int_equal(stats.emitted, 3);
	assert_int_equal(stats.by_kind[IG_AUDIT_AGENT_STARTED], 1);
	assert_int_equal(stats.by_kind[IG_AUDIT_TOKEN_DENIED], 2);
	assert_int_equal(stats.lost_file, 0);
}

static void test_each_run_has_an_id_of_its_own(void **state)
{
	struct fixture *f = *state;
	const struct ig_audit_options options = {.file_fd = dup(f->real_fd), .node = ""};
	_cleanup_(lines_done) struct lines lines = {};
	struct ig_audit *second = NULL;

	ig_audit_emit(f->audit, &started);
	assert_int_equal(ig_audit_new(f->base, &options, &second), 0);
	ig_audit_emit(second, &started);
	assert_null(ig_audit_free(second));
	read_lines(f->real_fd, &lines);
	assert_int_equal(lines.n, 2);
	expect(lines.line[1], 1, "agent.started");
	assert_null(json_object_get(lines.line[1], "node"));
	assert_false(json_equal(
		json_object_get(lines.line[0], "run"), json_object_get(lines.line[1], "run")));
}

static void test_full_disk(void **state)
{
	struct fixture *f = *state;
	_cleanup_(lines_done) struct lines lines = {};

	ig_audit_emit(f->audit, &started);
	fill_disk(f);
	for (int i = 0; i < 5; i++)
		ig_audit_emit(f->audit, &denied); /* 2 to 6 */
	assert_int_equal(ig_audit_stats(f->audit).lost_file, 5);
	assert_int_equal(ig_audit_stats(f->audit).emitted, 6);
	empty_disk(f);
	ig_audit_emit(f->audit, &denied);
	ig_audit_emit(f->audit, &denied);
	read_lines(f->real_fd, &lines);
	assert_int_equal(lines.n, 4);
	expect(lines.line[0], 1, "agent.started");
	expect_lost(lines.line[1], 7, "file", 5);
	expect(lines.line[2], 8, "token.denied");
	expect(lines.line[3], 9, "token.denied");
	assert_int_equal(ig_audit_stats(f->audit).emitted, 9);
	assert_int_equal(ig_audit_stats(f->audit).lost_file, 5);
	assert_int_equal(ig_audit_stats(f->audit).by_kind[IG_AUDIT_EVENTS_LOST], 1);
}

static void set_file_limit(rlim_t bytes)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes == RLIM_INFINITY ? limit.rlim_max : bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* Cuts a line after `room` bytes, and what happens then. */
static void check_torn_line(struct fixture *f, rlim_t room)
{
	_cleanup_(lines_done) struct lines lines = {};
	off_t size;

	ig_audit_emit(f->audit, &started);
	size = lseek(f->real_fd, 0, SEEK_END);
	set_file_limit((rlim_t)size + room);
	ig_audit_emit(f->audit, &denied); /* cut short */
	ig_audit_emit(f->audit, &denied); /* not taken at all */
	assert_int_equal(lseek(f->real_fd, 0, SEEK_END), size + (off_t)room);
	/* room for the newline that ends the torn line, and no more: it must not be written twice
	 */
	set_file_limit((rlim_t)size + room + 1);
	ig_audit_emit(f->audit, &denied);
	set_file_limit(RLIM_INFINITY);
	assert_int_equal(ig_audit_stats(f->audit).lost_file, 3);
	ig_audit_emit(f->audit, &denied);
	read_lines(f->real_fd, &lines);
	assert_int_equal(lines.n, 4);
	expect(lines.line[0], 1, "agent.started");
	assert_null(lines.line[1]); /* the torn one, by itself */
	expect_lost(lines.line[2], 5, "file", 3);
	expect(lines.line[3], 6, "token.denied");
}

static void test_torn_line(void **state)
{
	check_torn_line(*state, 20);
}

static void test_torn_after_one_byte(void **state)
{
	check_torn_line(*state, 1);
}

static void test_loss_is_reported_when_ending(void **state)
{
	struct fixture *f = *state;
	_cleanup_(lines_done) struct lines lines = {};

	fill_disk(f);
	ig_audit_emit(f->audit, &denied);
	empty_disk(f);
	f->audit = ig_audit_free(f->audit);
	assert_null(f->audit);
	read_lines(f->real_fd, &lines);
	assert_int_equal(lines.n, 1);
	expect_lost(lines.line[0], 2, "file", 1);
	/* and its descriptor is closed */
	assert_int_equal(fcntl(f->fd, F_GETFD), -1);
	assert_int_equal(errno, EBADF);
}

/* The only timer of the base is the stream's. */
static int find_timer(const struct event_base *base, const struct event *event, void *arg)
{
	(void)base;
	*(const struct event **)arg = event;
	return 1;
}

static struct event *pending_timer(struct event_base *base)
{
	struct event *found = NULL;

	(void)event_base_foreach_event(base, find_timer, &found);
	return found;
}

static void fire_timer(struct event_base *base)
{
	struct event *timer = pending_timer(base);

	assert_non_null(timer);
	(void)event_del(timer);
	event_active(timer, EV_TIMEOUT, 0);
	assert_true(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
}

static void test_loss_is_reported_without_another_record(void **state)
{
	struct fixture *f = *state;
	_cleanup_(lines_done) struct lines lines = {};

	ig_audit_emit(f->audit, &started);
	assert_null(pending_timer(f->base));
	fill_disk(f);
	ig_audit_emit(f->audit, &denied);
	fire_timer(f->base);
	assert_non_null(pending_timer(f->base)); /* still full: it tries again */
	empty_disk(f);
	fire_timer(f->base);
	assert_null(pending_timer(f->base));
	read_lines(f->real_fd, &lines);
	assert_int_equal(lines.n, 2);
	expect_lost(lines.line[1], 3, "file", 1);
}

/* A subscriber that takes lines as long as it has room. */
struct reader {
	struct ig_audit_subscriber *subscriber;
	size_t room;
	struct lines lines;
};

static void on_line(const char *line, size_t len, void *userdata)
{
	struct reader *reader = userdata;

	assert_int_equal(line[len - 1], '\n');
	if (reader->room == 0) {
		ig_audit_subscriber_lost(reader->subscriber, 1);
		return;
	}
	reader->room--;
	lines_add(&reader->lines, line, len);
}

static void reader_done(struct reader *reader)
{
	lines_done(&reader->lines);
}

static void subscribe(struct fixture *f, struct reader *reader)
{
	assert_int_equal(ig_audit_subscribe(f->audit, on_line, reader, &reader->subscriber), 0);
}

static void test_subscribers_get_what_the_file_gets(void **state)
{
	struct fixture *f = *state;
	_cleanup_(lines_done) struct lines lines = {};
	_cleanup_(reader_done) struct reader a = {.room = LINES_MAX}, b = {.room = LINES_MAX};

	ig_audit_emit(f->audit, &started);
	subscribe(f, &a);
	ig_audit_emit(f->audit, &denied);
	subscribe(f, &b);
	ig_audit_emit(f->audit, &denied);
	ig_audit_unsubscribe(a.subscriber);
	ig_audit_emit(f->audit, &denied);
	read_lines(f->real_fd, &lines);
	assert_int_equal(lines.n, 4);
	assert_int_equal(a.lines.n, 2);
	assert_true(json_equal(a.lines.line[0], lines.line[1]));
	assert_true(json_equal(a.lines.line[1], lines.line[2]));
	assert_int_equal(b.lines.n, 2);
	assert_true(json_equal(b.lines.line[1], lines.line[3]));
}

static void test_other_sinks_go_on_when_the_disk_is_full(void **state)
{
	struct fixture *f = *state;
	_cleanup_(reader_done) struct reader a = {.room = LINES_MAX};

	subscribe(f, &a);
	fill_disk(f);
	ig_audit_emit(f->audit, &denied);
	ig_audit_emit(f->audit, &denied);
	empty_disk(f);
	ig_audit_emit(f->audit, &denied);
	assert_int_equal(a.lines.n, 4);
	expect(a.lines.line[0], 1, "token.denied");
	expect(a.lines.line[1], 2, "token.denied");
	expect_lost(a.lines.line[2], 3, "file", 2);
	expect(a.lines.line[3], 4, "token.denied");
}

static void test_slow_subscriber(void **state)
{
	struct fixture *f = *state;
	_cleanup_(lines_done) struct lines lines = {};
	_cleanup_(reader_done) struct reader slow = {.room = 1}, fast = {.room = LINES_MAX};

	subscribe(f, &slow);
	subscribe(f, &fast);
	for (int i = 0; i < 4; i++)
		ig_audit_emit(f->audit, &denied); /* 2, 3, 4 are lost */
	assert_int_equal(ig_audit_stats(f->audit).lost_subscribers, 3);
	slow.room = 1;			  /* for the notice, not for the event behind it */
	ig_audit_emit(f->audit, &denied); /* 5 */
	assert_int_equal(ig_audit_stats(f->audit).lost_subscribers, 4);
	slow.room = 2;
	ig_audit_emit(f->audit, &denied); /* 6 */
	assert_int_equal(ig_audit_stats(f->audit).lost_subscribers, 4);
	assert_int_equal(slow.lines.n, 4);
	expect(slow.lines.line[0], 1, "token.denied");
	expect_lost(slow.lines.line[1], 4, "subscriber", 3);
	expect_lost(slow.lines.line[2], 5, "subscriber", 1);
	expect(slow.lines.line[3], 6, "token.denied");
	/* nobody else hears of it, and the numbers have no gap */
	assert_int_equal(fast.lines.n, 6);
	read_lines(f->real_fd, &lines);
	assert_int_equal(lines.n, 6);
	for (size_t i = 0; i < 6; i++)
		expect(lines.line[i], i + 1, "token.denied");
}

static void test_slow_subscriber_is_told_without_another_record(void **state)
{
	struct fixture *f = *state;
	_cleanup_(reader_done) struct reader slow = {};

	subscribe(f, &slow);
	ig_audit_emit(f->audit, &denied);
	ig_audit_emit(f->audit, &denied);
	fire_timer(f->base);
	assert_int_equal(slow.lines.n, 0);
	assert_int_equal(ig_audit_stats(f->audit).lost_subscribers, 2); /* the notice is no event */
	slow.room = 1;
	fire_timer(f->base);
	assert_int_equal(slow.lines.n, 1);
	expect_lost(slow.lines.line[0], 2, "subscriber", 2);
	assert_null(pending_timer(f->base));
}

static void test_limit_of_subscribers(void **state)
{
	struct fixture *f = *state;
	struct ig_audit_subscriber *all[IG_AUDIT_SUBSCRIBERS_MAX], *more = NULL;
	_cleanup_(reader_done) struct reader reader = {.room = LINES_MAX};

	for (size_t i = 0; i < IG_ARRAY_SIZE(all); i++)
		assert_int_equal(ig_audit_subscribe(f->audit, on_line, &reader, &all[i]), 0);
	assert_int_equal(ig_audit_subscribe(f->audit, on_line, &reader, &more), -EBUSY);
	assert_null(more);
	ig_audit_unsubscribe(all[3]);
	ig_audit_unsubscribe(NULL);
	assert_int_equal(ig_audit_subscribe(f->audit, on_line, &reader, &more), 0);
	ig_audit_emit(f->audit, &started);
	assert_int_equal(reader.lines.n, IG_AUDIT_SUBSCRIBERS_MAX);
}

static void test_without_a_file(void **state)
{
	struct fixture *f = *state;
	const struct ig_audit_options options = {.file_fd = -1, .node = "n1"};
	_cleanup_(reader_done) struct reader reader = {.room = LINES_MAX};
	struct ig_audit *audit = NULL;

	assert_int_equal(ig_audit_new(f->base, &options, &audit), 0);
	assert_int_equal(ig_audit_subscribe(audit, on_line, &reader, &reader.subscriber), 0);
	ig_audit_emit(audit, &started);
	assert_int_equal(reader.lines.n, 1);
	assert_int_equal(ig_audit_stats(audit).lost_file, 0);
	assert_null(ig_audit_free(audit)); /* with the subscriber still there */
	assert_null(ig_audit_free(NULL));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_numbers_and_origin),
		T(test_each_run_has_an_id_of_its_own),
		T(test_full_disk),
		T(test_torn_line),
		T(test_torn_after_one_byte),
		T(test_loss_is_reported_when_ending),
		T(test_loss_is_reported_without_another_record),
		T(test_subscribers_get_what_the_file_gets),
		T(test_other_sinks_go_on_when_the_disk_is_full),
		T(test_slow_subscriber),
		T(test_slow_subscriber_is_told_without_another_record),
		T(test_limit_of_subscribers),
		T(test_without_a_file),
	};

	/* a write beyond RLIMIT_FSIZE is an error, not the end */
	(void)signal(SIGXFSZ, SIG_IGN);
	return cmocka_run_group_tests_name("audit stream", tests, NULL, NULL);
}
