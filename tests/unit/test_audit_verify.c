/*
 * The verifier: logs as the stream writes them, whole and damaged in every way that matters. What
 * it says of a log is compared as a list of TYPE:FIRST-LAST.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "audit/chain.h"
#include "audit/record.h"
#include "audit/verify.h"
#include "base/cleanup.h"

#define BOOT	  "01234567-89ab-cdef-0123-456789abcdef"
#define LINES_MAX 32

/* A log under construction: lines that can be taken out, changed and moved. */
struct log {
	char *line[LINES_MAX]; /* owned, newline included */
	size_t n;
};

static void log_done(struct log *log)
{
	while (log->n)
		free(log->line[--log->n]);
}

struct run_options {
	const char *run;
	bool chained;
	uint64_t from, to;	/* numbers */
	uint64_t lost_at, lost; /* number of an events.lost record and what it counts; 0: none */
	const char *reason;
	bool stopped;
	bool took_over; /* begins so */
};

/* Writes a run. The chain begins at number 1 even if the log does not. */
static void write_run(struct log *log, struct run_options o)
{
	const struct ig_audit_origin plain = {.boot_id = BOOT, .run_id = o.run};
	char prev[IG_AUDIT_HASH_BYTES + 1];

	assert_int_equal(ig_audit_chain_first(BOOT, o.run, prev), 0);
	for (uint64_t seq = 1; seq <= o.to; seq++) {
		struct ig_audit_record record = {.kind = IG_AUDIT_TOKEN_DENIED,
			.decision = IG_AUDIT_DENY,
			.reason = "not_bound",
			.time_usec = seq};
		struct ig_audit_origin origin = plain;
		struct ig_buf b = {.limit = IG_AUDIT_LINE_BYTES};

		if (seq == o.lost_at)
			record = (struct ig_audit_record){.kind = IG_AUDIT_EVENTS_LOST,
				.reason = o.reason,
				.count = o.lost,
				.time_usec = seq};
		if (o.took_over && seq == 1)
			record = (struct ig_audit_record){.kind = IG_AUDIT_AGENT_STARTED,
				.reason = "took_over",
				.time_usec = seq};
		if (o.stopped && seq == o.to)
			record = (struct ig_audit_record){
				.kind = IG_AUDIT_AGENT_STOPPED, .time_usec = seq};
		origin.prev = o.chained ? prev : NULL;
		ig_audit_encode(&record, seq, &origin, &b);
		assert_int_equal(ig_buf_finish(&b), 0);
		assert_int_equal(ig_audit_chain_next(b.data, b.len, prev), 0);
		if (seq < (o.from ? o.from : 1)) {
			ig_buf_done(&b);
			continue;
		}
		assert_true(log->n < LINES_MAX);
		log->line[log->n++] = b.data;
	}
}

static void take_out(struct log *log, size_t first, size_t n)
{
	for (size_t i = first; i < first + n; i++)
		free(log->line[i]);
	memmove(&log->line[first], &log->line[first + n], (log->n - first - n) * sizeof(char *));
	log->n -= n;
}

static void swap(struct log *log, size_t a, size_t b)
{
	char *line = log->line[a];

	log->line[a] = log->line[b];
	log->line[b] = line;
}

/* Replaces text of one line by text of the same length. */
static void alter(struct log *log, size_t i, const char *old, const char *new)
{
	char *at = strstr(log->line[i], old);

	assert_non_null(at);
	assert_int_equal(strlen(old), strlen(new));
	memcpy(at, new, strlen(new));
}

struct result {
	char text[2048];
	struct ig_audit_verify_summary summary;
	struct ig_audit_run_summary last_run;
	uint64_t line; /* of the last finding */
	char file[32];
};

static void on_finding(const struct ig_audit_finding *f, void *userdata)
{
	struct result *result = userdata;
	size_t len = strlen(result->text);

	assert_true(f->message[0] != '\0');
	(void)snprintf(result->text + len, sizeof(result->text) - len,
		"%s:%" PRIu64 "-%" PRIu64 " ", ig_audit_finding_name(f->type), f->first, f->last);
	result->line = f->line;
	(void)snprintf(result->file, sizeof(result->file), "%s", f->file);
}

static void on_run(const struct ig_audit_run_summary *run, void *userdata)
{
	struct result *result = userdata;

	result->last_run = *run;
}

static void read_text(
	struct ig_audit_verify *verify, const char *text, size_t len, const char *name)
{
	FILE *stream = fmemopen((void *)(uintptr_t)text, len, "r");

	assert_non_null(stream);
	assert_int_equal(ig_audit_verify_file(verify, stream, name), 0);
	(void)fclose(stream);
}

/* The log as two files, cut behind `split` lines; without the last `cut` bytes. */
static struct result verify(const struct log *log, const char *sink, size_t split, size_t cut)
{
	_cleanup_(ig_buf_donep) struct ig_buf a = {.limit = 1 << 20}, b = {.limit = 1 << 20};
	struct ig_audit_verify *v = NULL;
	struct result result = {};

	for (size_t i = 0; i < log->n; i++)
		ig_buf_puts(i < split ? &a : &b, log->line[i]);
	assert_int_equal(ig_audit_verify_new(sink, on_finding, &result, &v), 0);
	if (a.len)
		read_text(v, a.data, a.len, "a");
	if (b.len > cut)
		read_text(v, b.data, b.len - cut, "b");
	ig_audit_verify_finish(v, on_run, &result.summary);
	result.last_run.run = result.last_run.boot = NULL; /* freed with it */
	assert_null(ig_audit_verify_free(v));
	return result;
}

static void expect_of(
	const char *sink, const struct log *log, const char *findings, uint64_t problems)
{
	struct result result = verify(log, sink, 0, 0);

	assert_string_equal(result.text, findings);
	assert_int_equal(result.summary.problems, problems);
	/* where a file ends makes no difference */
	for (size_t split = 1; split < log->n; split++) {
		struct result again = verify(log, sink, split, 0);

		assert_string_equal(again.text, findings);
	}
}

static void expect(const struct log *log, const char *findings, uint64_t problems)
{
	expect_of("file", log, findings, problems);
}

#define LOG_OF(...)                                                                                \
	_cleanup_(log_done) struct log log = {};                                                   \
	write_run(&log, (struct run_options){.run = "0000000000000001", __VA_ARGS__})
#define ADD_RUN(...) write_run(&log, (struct run_options){.run = "0000000000000002", __VA_ARGS__})

static void test_good_logs(void **state)
{
	LOG_OF(.to = 10, .chained = true, .stopped = true);
	ADD_RUN(.to = 5, .chained = true);
	struct result result;

	(void)state;
	expect(&log, "", 0);
	result = verify(&log, "file", 3, 0);
	assert_int_equal(result.summary.lines, 15);
	assert_int_equal(result.summary.records, 15);
	assert_int_equal(result.summary.runs, 2);
	assert_int_equal(result.summary.links, 15);
	assert_int_equal(result.last_run.first, 1);
	assert_int_equal(result.last_run.last, 5);
	assert_false(result.last_run.stopped);
}

static void test_without_a_chain(void **state)
{
	LOG_OF(.to = 10);

	(void)state;
	expect(&log, "", 0);
	assert_int_equal(verify(&log, "file", 0, 0).summary.links, 0);
	take_out(&log, 4, 1);
	expect(&log, "missing:5-5 ", 1);
}

static void test_altered(void **state)
{
	LOG_OF(.to = 10, .chained = true);

	(void)state;
	alter(&log, 3, "token.denied", "token.issued");
	expect(&log, "altered:4-4 ", 1);
	assert_int_equal(verify(&log, "file", 0, 0).line, 4);
	alter(&log, 6, "not_bound", "not_b0und");
	expect(&log, "altered:4-4 altered:7-7 ", 2);
}

/* One byte, anywhere, in any line but the last. */
static void test_every_byte_counts(void **state)
{
	LOG_OF(.to = 4, .chained = true);

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		for (char *c = log.line[i]; *c && *c != '\n'; c++) {
			char before = *c;

			*c = before == '0' ? '1' : '0';
			assert_true(verify(&log, "file", 0, 0).summary.problems > 0);
			*c = before;
		}
	}
	expect(&log, "", 0);
}

static void test_links(void **state)
{
	LOG_OF(.to = 5, .chained = true);
	_cleanup_(log_done) struct log other = {};
	char *prev;

	(void)state;
	/* a first record that is made up */
	prev = strstr(log.line[0], "\"prev\":\"") + 8;
	*prev = *prev == 'a' ? 'b' : 'a';
	expect(&log, "altered:1-1 altered:1-1 ", 2);
	/* links taken out of one */
	write_run(&other, (struct run_options){.run = "0000000000000001", .to = 5});
	free(log.line[2]);
	log.line[2] = strdup(other.line[2]);
	expect(&log, "altered:1-1 altered:1-1 altered:3-3 altered:3-3 ", 4);
}

static void test_missing(void **state)
{
	LOG_OF(.to = 10, .chained = true);

	(void)state;
	take_out(&log, 3, 2);
	expect(&log, "missing:4-5 ", 1); /* and the links behind the gap are fine */
	assert_int_equal(verify(&log, "file", 0, 0).line, 4);
	assert_int_equal(verify(&log, "file", 0, 0).summary.missing, 2);
	take_out(&log, 5, 1);
	expect(&log, "missing:4-5 missing:8-8 ", 2);
}

static void test_reported_losses(void **state)
{
	LOG_OF(.to = 10, .chained = true, .lost_at = 7, .lost = 3, .reason = "file");
	struct result result;

	(void)state;
	take_out(&log, 3, 3);
	expect(&log, "reported_lost:4-6 ", 0);
	result = verify(&log, "file", 0, 0);
	assert_int_equal(result.summary.reported, 3);
	assert_int_equal(result.summary.missing, 0);
	/* another sink's loss explains nothing here, and the other way round */
	assert_string_equal(verify(&log, "syslog", 0, 0).text, "missing:4-6 ");
	/* one more than was reported */
	take_out(&log, 2, 1);
	expect(&log, "reported_lost:4-6 missing:3-3 ", 1);
}

static void test_a_report_explains_what_is_before_it(void **state)
{
	LOG_OF(.to = 10, .chained = true, .lost_at = 4, .lost = 2, .reason = "file");

	(void)state;
	take_out(&log, 5, 2); /* 6 and 7, after the report */
	expect(&log, "missing:6-7 ", 1);
	take_out(&log, 1, 1); /* 2: there the report helps */
	expect(&log, "reported_lost:2-2 missing:6-7 ", 1);
}

/* Lines that a sink lost after it had taken others are explained by a later report, too. */
static void test_a_report_of_scattered_losses(void **state)
{
	LOG_OF(.to = 12, .chained = true, .lost_at = 10, .lost = 3, .reason = "syslog");

	(void)state;
	take_out(&log, 6, 1); /* 7 */
	take_out(&log, 2, 2); /* 3, 4 */
	assert_string_equal(
		verify(&log, "syslog", 0, 0).text, "reported_lost:7-7 reported_lost:3-4 ");
}

static void test_reordered(void **state)
{
	LOG_OF(.to = 10, .chained = true);

	(void)state;
	swap(&log, 4, 5);
	expect(&log, "out_of_order:5-5 ", 1);
	swap(&log, 4, 5);
	swap(&log, 1, 8); /* 1 9 3 4 5 6 7 8 2 10 */
	expect(&log,
		"out_of_order:3-3 out_of_order:4-4 out_of_order:5-5 out_of_order:6-6 out_of_order:7-7 out_of_order:8-8 out_of_order:2-2 ",
		7);
}

static void test_duplicates(void **state)
{
	LOG_OF(.to = 5, .chained = true);

	(void)state;
	log.line[log.n++] = strdup(log.line[4]);
	log.line[log.n++] = strdup(log.line[1]);
	expect(&log, "duplicate:5-5 duplicate:2-2 ", 2);
}

/* An agent that was taken over from answers what it had begun beside the next one. */
static void test_mixed_runs(void **state)
{
	(void)state;
	for (int took_over = 0; took_over < 2; took_over++) {
		_cleanup_(log_done) struct log log = {};
		struct result result;

		write_run(&log,
			(struct run_options){.run = "aaaaaaaaaaaaaaaa", .to = 4, .chained = true});
		write_run(&log, (struct run_options){.run = "bbbbbbbbbbbbbbbb",
					.to = 3,
					.chained = true,
					.took_over = took_over});
		/* the old one's last line behind the new one's first */
		swap(&log, 3, 4);
		result = verify(&log, "file", log.n, 0);
		assert_int_equal(result.summary.links, 7);
		assert_int_equal(result.summary.problems == 0, took_over);
	}
}

static void test_runs(void **state)
{
	LOG_OF(.to = 4, .chained = true, .from = 3); /* the beginning is in an older file */
	ADD_RUN(.to = 4, .chained = true, .from = 2);
	struct result result = verify(&log, "file", 0, 0);

	(void)state;
	/* the second cannot begin in the middle, and the first was killed */
	assert_string_equal(result.text, "note:1-2 note:4-4 missing:1-1 ");
	assert_int_equal(result.summary.problems, 1);
	/* a line of the first run behind the second */
	log.line[log.n++] = log.line[1];
	memmove(&log.line[1], &log.line[2], (log.n - 2) * sizeof(char *));
	log.n--;
	assert_string_equal(
		verify(&log, "file", 0, 0).text, "note:1-2 out_of_order:4-4 missing:1-1 note:4-4 ");
}

static void test_what_is_no_record(void **state)
{
	static const struct {
		const char *line, *finding;
	} rows[] = {
		{"\n", "unreadable:0-0 "},
		{"nonsense\n", "unreadable:0-0 "},
		{"[1]\n", "unreadable:0-0 "},
		{"{\"v\":2}\n", "unknown_version:0-0 "},
		{"{\"seq\":2}\n", "unknown_version:0-0 "},
		{"{\"v\":1,\"seq\":0}\n", "unreadable:0-0 "},
		{"{\"v\":1,\"seq\":1,\"seq\":2}\n", "unreadable:0-0 "},
		{"{\"v\":1,\"seq\":6,\"run\":\"x\"}\n", "unreadable:0-0 "},
		{"{\"v\":1,\"seq\":6,\"run\":\"0000000000000001\",\"boot\":\"" BOOT
		 "\",\"kind\":\"events.lost\",\"prev\":\"x\"}\n",
			"unreadable:0-0 "},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		LOG_OF(.to = 5, .chained = true);
		log.line[log.n++] = strdup(rows[i].line);
		expect(&log, rows[i].finding, 1);
	}
}

static void test_a_line_that_is_too_long(void **state)
{
	LOG_OF(.to = 2);
	char *line = calloc(1, IG_AUDIT_LINE_BYTES + 3);

	(void)state;
	assert_non_null(line);
	memset(line, '{', IG_AUDIT_LINE_BYTES + 1);
	line[IG_AUDIT_LINE_BYTES + 1] = '\n';
	log.line[log.n++] = line;
	expect(&log, "unreadable:0-0 ", 1);
}

static void test_truncated(void **state)
{
	LOG_OF(.to = 5, .chained = true);

	(void)state;
	/* even if only the newline is gone: who knows what else is */
	for (size_t cut = 1; cut < strlen(log.line[4]); cut++) {
		struct result result = verify(&log, "file", 0, cut);

		assert_string_equal(result.text, "truncated:0-0 ");
		assert_int_equal(result.line, 5);
		assert_int_equal(result.summary.records, 4);
	}
}

/* Puts in what a reader of `audit tail` is told of a loss of its own. */
static void put_notice(struct log *log, size_t at, uint64_t seq, uint64_t count)
{
	char notice[512];

	(void)snprintf(notice, sizeof(notice),
		"{\"v\":1,\"seq\":%" PRIu64
		",\"time\":\"1970-01-01T00:00:00.000001Z\",\"boot\":\"" BOOT
		"\",\"run\":\"0000000000000001\",\"kind\":\"events.lost\",\"reason\":\"subscriber\",\"count\":%" PRIu64
		"}\n",
		seq, count);
	assert_true(log->n < LINES_MAX);
	memmove(&log->line[at + 1], &log->line[at], (log->n++ - at) * sizeof(char *));
	log->line[at] = strdup(notice);
}

/* What a reader of `audit tail` got, who was told of its own losses. */
static void test_a_subscribers_log(void **state)
{
	LOG_OF(.to = 10, .chained = true);

	(void)state;
	take_out(&log, 3, 3); /* 4 to 6 */
	put_notice(&log, 3, 6, 3);
	expect_of("subscriber", &log, "reported_lost:4-6 ", 0);
	alter(&log, 3, "\"count\":3", "\"count\":2");
	expect_of("subscriber", &log, "reported_lost:5-6 missing:4-4 ", 1);
}

/* Who came too late is told so before the first record. */
static void test_a_subscribers_log_that_begins_with_a_loss(void **state)
{
	LOG_OF(.from = 4, .to = 6, .chained = true);

	(void)state;
	put_notice(&log, 0, 3, 3);
	expect_of("subscriber", &log, "reported_lost:1-3 ", 0);
}

/* Such a line has no link, so anybody could put it in the place of what is to be hidden. */
static void test_a_subscribers_loss_hides_nothing_in_a_file(void **state)
{
	LOG_OF(.to = 10, .chained = true);

	(void)state;
	put_notice(&log, 3, 3, 1);
	expect(&log, "altered:3-3 ", 1);
	take_out(&log, 3, 4); /* itself, and 4 to 6 */
	put_notice(&log, 3, 6, 3);
	expect(&log, "altered:6-6 missing:4-6 ", 2);
	expect_of("syslog", &log, "altered:6-6 missing:4-6 ", 2);
	take_out(&log, 3, 1);
	put_notice(&log, 4, 7, 1); /* and what is behind it is checked */
	alter(&log, 3, "not_bound", "not_found");
	expect(&log, "altered:7-7 altered:7-7 missing:4-6 ", 3);
}

static void test_losses_of_the_kernel(void **state)
{
	LOG_OF(.to = 5, .lost_at = 3, .lost = 17, .reason = "kernel");

	(void)state;
	expect(&log, "", 0);
	assert_int_equal(verify(&log, "file", 0, 0).summary.lost_kernel, 17);
	take_out(&log, 1, 1); /* those were no records */
	expect(&log, "missing:2-2 ", 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_logs),
		cmocka_unit_test(test_without_a_chain),
		cmocka_unit_test(test_altered),
		cmocka_unit_test(test_every_byte_counts),
		cmocka_unit_test(test_links),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_reported_losses),
		cmocka_unit_test(test_a_report_explains_what_is_before_it),
		cmocka_unit_test(test_a_report_of_scattered_losses),
		cmocka_unit_test(test_reordered),
		cmocka_unit_test(test_duplicates),
		cmocka_unit_test(test_runs),
		cmocka_unit_test(test_mixed_runs),
		cmocka_unit_test(test_what_is_no_record),
		cmocka_unit_test(test_a_line_that_is_too_long),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_a_subscribers_log),
		cmocka_unit_test(test_a_subscribers_log_that_begins_with_a_loss),
		cmocka_unit_test(test_a_subscribers_loss_hides_nothing_in_a_file),
		cmocka_unit_test(test_losses_of_the_kernel),
	};

	return cmocka_run_group_tests_name("audit/verify", tests, NULL, NULL);
}
