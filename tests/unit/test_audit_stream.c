/*
 * The audit stream: numbers, the chain, sinks and what they lose, subscribers and what they missed.
 * The sinks here are queues that the tests empty by hand; the real ones have tests of their own.
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
#include <string.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "audit/chain.h"
#include "audit/stream.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdutil.h"

#define LINES_MAX   6000
#define QUEUE_LINES 4
#define BOOT_ID	    "/proc/sys/kernel/random/boot_id"

struct fixture {
	struct event_base *base;
	struct ig_audit *audit;
	struct ig_audit_queue *a, *b; /* of two sinks; the audit's */
};

static const struct ig_audit_record started = {.kind = IG_AUDIT_AGENT_STARTED};
static const struct ig_audit_record denied = {
	.kind = IG_AUDIT_TOKEN_DENIED, .decision = IG_AUDIT_DENY, .reason = "not_bound"};

static unsigned int n_freed, n_finished;
static uint64_t last_seq[2]; /* what each sink got last, at the end */
static enum ig_audit_kind last_kind[2];

static void finish(struct ig_audit_sink *sink, uint64_t deadline_usec)
{
	struct ig_audit_line *line;

	assert_true(deadline_usec > 0);
	for (size_t i = 0; ig_audit_queue_peek(sink->queue, i, &line, 1) == 1; i++) {
		last_seq[n_finished % 2] = line->seq;
		last_kind[n_finished % 2] = line->kind;
	}
	assert_true(ig_audit_queue_wait(sink->queue, SIZE_MAX, 1) & IG_AUDIT_QUEUE_STOP);
	n_finished++;
}

static void sink_free(struct ig_audit_sink *sink)
{
	(void)ig_audit_queue_free(sink->queue);
	free(sink);
	n_freed++;
}

static const struct ig_audit_sink_ops ops_a = {.name = "file", .finish = finish, .free = sink_free};
static const struct ig_audit_sink_ops ops_b = {
	.name = "syslog", .finish = finish, .free = sink_free};

static struct ig_audit_queue *add_sink(struct ig_audit *audit, const struct ig_audit_sink_ops *ops)
{
	struct ig_audit_sink *sink = calloc(1, sizeof(*sink));

	assert_non_null(sink);
	sink->ops = ops;
	assert_int_equal(ig_audit_queue_new(QUEUE_LINES, 1 << 20, &sink->queue), 0);
	assert_int_equal(ig_audit_add_sink(audit, sink), 0);
	return sink->queue;
}

static int make(void **state, bool chain)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->base = event_base_new();
	assert_non_null(f->base);
	assert_int_equal(
		ig_audit_new(f->base, &(struct ig_audit_options){.node = "n1", .chain = chain},
			&f->audit),
		0);
	f->a = add_sink(f->audit, &ops_a);
	f->b = add_sink(f->audit, &ops_b);
	*state = f;
	return 0;
}

static int setup(void **state)
{
	return make(state, false);
}

static int setup_chain(void **state)
{
	return make(state, true);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	(void)ig_audit_free(f->audit);
	event_base_free(f->base);
	free(f);
	return 0;
}

struct lines {
	json_t *line[LINES_MAX];
	char *text[LINES_MAX];
	size_t n;
};

static void lines_done(struct lines *lines)
{
	while (lines->n) {
		json_decref(lines->line[--lines->n]);
		free(lines->text[lines->n]);
	}
}

static void lines_add(struct lines *lines, const char *text, size_t len)
{
	assert_true(lines->n < LINES_MAX);
	assert_int_equal(text[len - 1], '\n');
	lines->text[lines->n] = strndup(text, len);
	lines->line[lines->n++] = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
}

/* The sink takes everything that waits. */
static void take(struct ig_audit_queue *queue, struct lines *lines)
{
	struct ig_audit_line *line;

	while (ig_audit_queue_peek(queue, 0, &line, 1) == 1) {
		lines_add(lines, line->text, line->len);
		assert_int_equal(
			json_integer_value(json_object_get(lines->line[lines->n - 1], "seq")),
			line->seq);
		ig_audit_queue_delivered(queue, 1);
	}
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

static void emit(struct fixture *f, unsigned int n)
{
	while (n-- > 0)
		ig_audit_emit(f->audit, &denied);
}

static void test_numbers_and_origin(void **state)
{
	struct fixture *f = *state;
	_cleanup_(lines_done) struct lines lines = {}, other = {};
	_cleanup_free_ char *boot = NULL;
	struct ig_audit_stats stats;
	const char *run;
	size_t len;

	ig_audit_emit(f->audit, &started);
	emit(f, 2);
	take(f->a, &lines);
	take(f->b, &other);
	assert_int_equal(lines.n, 3);
	expect(lines.line[0], 1, "agent.started");
	expect(lines.line[1], 2, "token.denied");
	expect(lines.line[2], 3, "token.denied");
	assert_int_equal(other.n, 3);
	for (size_t i = 0; i < 3; i++)
		assert_string_equal(lines.text[i], other.text[i]);
	assert_int_equal(ig_fd_read_file(AT_FDCWD, BOOT_ID, 64, &boot, &len), 0);
	boot[strcspn(boot, "\n")] = '\0';
	run = json_string_value(json_object_get(lines.line[0], "run"));
	assert_string_equal(json_string_value(json_object_get(lines.line[0], "boot")), boot);
	assert_string_equal(run, ig_audit_run_id(f->audit));
	assert_int_equal(strspn(run, "0123456789abcdef"), 16);
	assert_int_equal(strlen(run), 16);
	assert_string_equal(json_string_value(json_object_get(lines.line[2], "run")), run);
	assert_string_equal(json_string_value(json_object_get(lines.line[0], "node")), "n1");
	assert_null(json_object_get(lines.line[0], "prev"));
	stats = ig_audit_stats(f->audit);
	assert_int_equal(stats.emitted, 3);
	assert_int_equal(stats.by_kind[IG_AUDIT_AGENT_STARTED], 1);
	assert_int_equal(stats.by_kind[IG_AUDIT_TOKEN_DENIED], 2);
	assert_int_equal(stats.last_loss_usec, 0);
}

static void test_each_run_has_an_id_of_its_own(void **state)
{
	struct fixture *f = *state;
	struct ig_audit *second = NULL;

	assert_int_equal(ig_audit_new(f->base, &(struct ig_audit_options){.node = ""}, &second), 0);
	assert_string_not_equal(ig_audit_run_id(f->audit), ig_audit_run_id(second));
	assert_null(ig_audit_free(second));
}

static void test_chain(void **state)
{
	struct fixture *f = *state;
	_cleanup_(lines_done) struct lines lines = {};
	char expected[IG_AUDIT_HASH_BYTES + 1];

	ig_audit_emit(f->audit, &started);
	emit(f, 3);
	take(f->a, &lines);
	assert_int_equal(lines.n, 4);
	assert_int_equal(
		ig_audit_chain_first(json_string_value(json_object_get(lines.line[0], "boot")),
			json_string_value(json_object_get(lines.line[0], "run")), expected),
		0);
	for (size_t i = 0; i < 4; i++) {
		assert_string_equal(
			json_string_value(json_object_get(lines.line[i], "prev")), expected);
		assert_int_equal(
			ig_audit_chain_next(lines.text[i], strlen(lines.text[i]), expected), 0);
	}
}

/* The definition in chain.h, by numbers that sha256sum gives. */
static void test_hash_is_as_documented(void **state)
{
	char hash[IG_AUDIT_HASH_BYTES + 1], without[IG_AUDIT_HASH_BYTES + 1];

	(void)state;
	assert_int_equal(ig_audit_chain_first("B", "R", hash), 0);
	assert_string_equal(
		hash, "fbb9c013b74fea0169210aeddc8fb757485fac2023295779437210c217c9cf24");
	assert_int_equal(ig_audit_chain_next("{\"v\":1}\n", 8, hash), 0);
	assert_string_equal(
		hash, "afbf9d0f3560b0fd7795e81c42a0a79ee6b6fc67e064f77826aee642cad28d91");
	assert_int_equal(ig_audit_chain_next("{\"v\":1}", 7, without), 0);
	assert_string_equal(hash, without);
}

/* One sink is full: it alone loses, and is told so exactly where the lines are missing. */
static void test_a_full_sink_hurts_nobody_else(void **state)
{
	struct fixture *f = *state;
	_cleanup_(lines_done) struct lines a = {}, b = {};
	struct ig_audit_sink_stats stats[IG_AUDIT_SINKS_MAX];

	for (int i = 0; i < 3; i++) {
		emit(f, 3); /* 1 to 9; b has room for four */
		take(f->a, &a);
	}
	assert_int_equal(ig_audit_sinks(f->audit, stats), 2);
	assert_string_equal(stats[0].name, "file");
	assert_int_equal(stats[0].queue.lost, 0);
	assert_int_equal(stats[0].queue.delivered, 9);
	assert_string_equal(stats[1].name, "syslog");
	assert_int_equal(stats[1].queue.lost, 5);
	assert_int_equal(stats[1].queue.queued, 4);
	take(f->b, &b);
	emit(f, 1); /* the report is 10, this is 11 */
	take(f->a, &a);
	take(f->b, &b);
	assert_int_equal(a.n, 11);
	for (size_t i = 0; i < 11; i++)
		expect(a.line[i], i + 1, i == 9 ? "events.lost" : "token.denied");
	assert_int_equal(b.n, 6);
	expect(b.line[3], 4, "token.denied");
	expect_lost(b.line[4], 10, "syslog", 5);
	expect(b.line[5], 11, "token.denied");
	assert_int_equal(ig_audit_stats(f->audit).by_kind[IG_AUDIT_EVENTS_LOST], 1);
	assert_true(ig_audit_stats(f->audit).last_loss_usec > 0);
	assert_true(ig_audit_stats(f->audit).last_loss_usec <= ig_clock_real_usec());
}

static void test_two_full_sinks(void **state)
{
	struct fixture *f = *state;
	_cleanup_(lines_done) struct lines a = {}, b = {};

	emit(f, 6); /* both lose 5 and 6 */
	take(f->a, &a);
	emit(f, 1); /* 7 reports for a, 8; b loses both */
	take(f->a, &a);
	take(f->b, &b);
	emit(f, 1); /* 9 reports for b, 10 */
	take(f->a, &a);
	take(f->b, &b);
	assert_int_equal(a.n, 8);
	expect_lost(a.line[4], 7, "file", 2);
	expect(a.line[5], 8, "token.denied");
	expect_lost(a.line[6], 9, "syslog", 4);
	expect(a.line[7], 10, "token.denied");
	assert_int_equal(b.n, 6);
	expect_lost(b.line[4], 9, "syslog", 4);
	expect(b.line[5], 10, "token.denied");
}

/* What a sink loses that it had taken already is reported, too, and stops nothing. */
static void test_lines_that_a_sink_drops(void **state)
{
	struct fixture *f = *state;
	_cleanup_(lines_done) struct lines b = {};

	emit(f, 3);
	ig_audit_queue_drop(f->b, 2);
	assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0); /* it says so by itself */
	take(f->b, &b);
	assert_int_equal(b.n, 2);
	expect(b.line[0], 3, "token.denied");
	expect_lost(b.line[1], 4, "syslog", 2);
}

static void test_loss_is_reported_when_ending(void **state)
{
	struct fixture *f = *state;
	_cleanup_(lines_done) struct lines lines = {};

	emit(f, 5);
	take(f->a, &lines);
	n_finished = n_freed = 0;
	f->audit = ig_audit_free(f->audit);
	assert_null(f->audit);
	assert_int_equal(n_finished, 2);
	assert_int_equal(n_freed, 2);
	/* the first hears of its loss; the second is still full */
	assert_int_equal(last_seq[0], 6);
	assert_int_equal(last_kind[0], IG_AUDIT_EVENTS_LOST);
	assert_int_equal(last_seq[1], 4);
}

/* The only timer of the base is the stream's. */
static int find_timer(const struct event_base *base, const struct event *event, void *arg)
{
	(void)base;
	if (!(event_get_events(event) & EV_READ))
		*(const struct event **)arg = event;
	return *(const struct event **)arg != NULL;
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
	_cleanup_(lines_done) struct lines lines = {}, other = {};

	emit(f, 4);
	assert_null(pending_timer(f->base));
	emit(f, 1);
	fire_timer(f->base);
	assert_non_null(pending_timer(f->base)); /* still full: it tries again */
	take(f->a, &lines);
	take(f->b, &other);
	fire_timer(f->base);
	assert_null(pending_timer(f->base));
	take(f->a, &lines);
	assert_int_equal(lines.n, 6);
	expect_lost(lines.line[4], 6, "file", 1);
	expect_lost(lines.line[5], 7, "syslog", 2); /* 5 and the report before */
}

/* A queue that has emptied says so: nothing waits for the timer. */
static void test_a_sink_that_recovers_wakes_the_stream(void **state)
{
	struct fixture *f = *state;
	_cleanup_(lines_done) struct lines lines = {};

	emit(f, 5);
	take(f->a, &lines);
	assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
	take(f->a, &lines);
	assert_int_equal(lines.n, 5);
	expect_lost(lines.line[4], 6, "file", 1);
}

static void test_limit_of_sinks(void **state)
{
	struct fixture *f = *state;
	struct ig_audit_sink sink = {.ops = &ops_a};

	for (int i = 2; i < IG_AUDIT_SINKS_MAX; i++)
		(void)add_sink(f->audit, &ops_b);
	assert_int_equal(ig_audit_queue_new(1, 1, &sink.queue), 0);
	assert_int_equal(ig_audit_add_sink(f->audit, &sink), -E2BIG);
	assert_null(ig_audit_queue_free(sink.queue));
}

static void test_reopen_reaches_every_sink(void **state)
{
	struct fixture *f = *state;

	ig_audit_reopen(f->audit);
	assert_int_equal(ig_audit_queue_wait(f->a, 0, 0), IG_AUDIT_QUEUE_REOPEN);
	assert_int_equal(ig_audit_queue_wait(f->b, 0, 0), IG_AUDIT_QUEUE_REOPEN);
	assert_int_equal(ig_audit_queue_wait(f->a, 0, 1), 0); /* once */
}

/* A sink is told of the first line at once, and then not of each, unless there are many. */
static void test_lines_are_gathered(void **state)
{
	struct fixture *f = *state;
	_cleanup_(lines_done) struct lines lines = {};
	uint64_t begin_usec = ig_clock_mono_usec();

	take(f->a, &lines);
	emit(f, 1);
	assert_int_equal(ig_audit_queue_wait(f->a, 0, 0), IG_AUDIT_QUEUE_LINES_READY);
	take(f->a, &lines);
	emit(f, 1);
	assert_int_equal(ig_audit_queue_wait(f->a, 0, 0), IG_AUDIT_QUEUE_LINES_READY);
	assert_true(ig_clock_mono_usec() - begin_usec >= IG_AUDIT_GATHER_MSEC * IG_USEC_PER_MSEC);
	/* who has something else to do is not kept from it */
	assert_int_equal(ig_audit_queue_wait(f->a, 0, 1), IG_AUDIT_QUEUE_LINES_READY);
	ig_audit_queue_stop(f->a);
	assert_int_equal(
		ig_audit_queue_wait(f->a, 0, 0), IG_AUDIT_QUEUE_LINES_READY | IG_AUDIT_QUEUE_STOP);
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
	const struct ig_audit_subscription s = {.line = on_line, .userdata = reader};

	assert_int_equal(ig_audit_subscribe(f->audit, &s, &reader->subscriber), 0);
}

static void subscribe_since(
	struct fixture *f, struct reader *reader, uint64_t since, const char *run)
{
	const struct ig_audit_subscription s = {
		.line = on_line, .userdata = reader, .resume = true, .since = since, .run = run};

	assert_int_equal(ig_audit_subscribe(f->audit, &s, &reader->subscriber), 0);
}

static void test_subscribers_get_what_the_sinks_get(void **state)
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
	take(f->a, &lines);
	assert_int_equal(lines.n, 4);
	assert_int_equal(a.lines.n, 2);
	assert_true(json_equal(a.lines.line[0], lines.line[1]));
	assert_true(json_equal(a.lines.line[1], lines.line[2]));
	assert_int_equal(b.lines.n, 2);
	assert_true(json_equal(b.lines.line[1], lines.line[3]));
}

static void test_slow_subscriber(void **state)
{
	struct fixture *f = *state;
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
	for (size_t i = 0; i < 6; i++)
		expect(fast.lines.line[i], i + 1, "token.denied");
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
	const struct ig_audit_subscription s = {.line = on_line, .userdata = &reader};

	for (size_t i = 0; i < IG_ARRAY_SIZE(all); i++)
		assert_int_equal(ig_audit_subscribe(f->audit, &s, &all[i]), 0);
	assert_int_equal(ig_audit_subscribe(f->audit, &s, &more), -EBUSY);
	assert_null(more);
	ig_audit_unsubscribe(all[3]);
	ig_audit_unsubscribe(NULL);
	assert_int_equal(ig_audit_subscribe(f->audit, &s, &more), 0);
	ig_audit_emit(f->audit, &started);
	assert_int_equal(reader.lines.n, IG_AUDIT_SUBSCRIBERS_MAX);
}

static void test_resume(void **state)
{
	struct fixture *f = *state;
	_cleanup_(reader_done) struct reader reader = {.room = LINES_MAX}, current = {.room = 1};

	emit(f, 5);
	subscribe_since(f, &reader, 2, NULL);
	assert_int_equal(reader.lines.n, 3);
	for (size_t i = 0; i < 3; i++)
		expect(reader.lines.line[i], i + 3, "token.denied");
	emit(f, 1);
	assert_int_equal(reader.lines.n, 4);
	subscribe_since(f, &current, ig_audit_stats(f->audit).emitted, ig_audit_run_id(f->audit));
	assert_int_equal(current.lines.n, 0);
	emit(f, 1);
	assert_int_equal(current.lines.n, 1);
}

static void test_resume_too_late(void **state)
{
	struct fixture *f = *state;
	_cleanup_(reader_done) struct reader reader = {.room = LINES_MAX};
	const uint64_t total = IG_AUDIT_RECENT_LINES + 1000;
	uint64_t first, n;

	emit(f, total);
	n = ig_audit_stats(f->audit).emitted;
	subscribe_since(f, &reader, 10, ig_audit_run_id(f->audit));
	/* what is kept is bounded by bytes or lines, and all of it comes */
	first = (uint64_t)json_integer_value(json_object_get(reader.lines.line[1], "seq"));
	assert_in_range(first, 11, n);
	assert_in_range(reader.lines.n - 1, 1000, IG_AUDIT_RECENT_LINES);
	expect_lost(reader.lines.line[0], first - 1, "subscriber", first - 11);
	assert_int_equal(reader.lines.n - 1, n - first + 1);
}

static void test_resume_after_a_restart(void **state)
{
	struct fixture *f = *state;
	_cleanup_(reader_done) struct reader other = {.room = LINES_MAX},
					     ahead = {.room = LINES_MAX};

	emit(f, 3);
	subscribe_since(f, &other, 2, "ffffffffffffffff");
	assert_int_equal(other.lines.n, 4);
	expect_lost(other.lines.line[0], 1, "subscriber", 0);
	assert_non_null(json_object_get(other.lines.line[0], "message"));
	expect(other.lines.line[1], 1, "token.denied");
	subscribe_since(f, &ahead, 400, NULL);
	assert_int_equal(ahead.lines.n, 4);
	expect_lost(ahead.lines.line[0], 1, "subscriber", 0);
}

static void test_without_sinks(void **state)
{
	struct fixture *f = *state;
	_cleanup_(reader_done) struct reader reader = {.room = LINES_MAX};
	const struct ig_audit_subscription s = {.line = on_line, .userdata = &reader};
	struct ig_audit *audit = NULL;

	assert_int_equal(
		ig_audit_new(f->base, &(struct ig_audit_options){.node = "n1"}, &audit), 0);
	assert_int_equal(ig_audit_subscribe(audit, &s, &reader.subscriber), 0);
	ig_audit_emit(audit, &started);
	assert_int_equal(reader.lines.n, 1);
	assert_null(ig_audit_free(audit)); /* with the subscriber still there */
	assert_null(ig_audit_free(NULL));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_numbers_and_origin),
		T(test_each_run_has_an_id_of_its_own),
		cmocka_unit_test_setup_teardown(test_chain, setup_chain, teardown),
		T(test_hash_is_as_documented),
		T(test_a_full_sink_hurts_nobody_else),
		T(test_two_full_sinks),
		T(test_lines_that_a_sink_drops),
		T(test_loss_is_reported_when_ending),
		T(test_loss_is_reported_without_another_record),
		T(test_a_sink_that_recovers_wakes_the_stream),
		T(test_limit_of_sinks),
		T(test_reopen_reaches_every_sink),
		T(test_lines_are_gathered),
		T(test_subscribers_get_what_the_sinks_get),
		T(test_slow_subscriber),
		T(test_slow_subscriber_is_told_without_another_record),
		T(test_limit_of_subscribers),
		T(test_resume),
		T(test_resume_too_late),
		T(test_resume_after_a_restart),
		T(test_without_sinks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
