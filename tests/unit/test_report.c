/*
 * What reports are made of: points in time, bounded counting and how it says what it dropped,
 * events over time, records, and logs line by line.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "report/reader.h"
#include "report/series.h"
#include "report/summary.h"
#include "report/table.h"
#include "report/when.h"

#define SEC IG_USEC_PER_SEC

/* ---- time ------------------------------------------------------------------------------------ */

static void test_when(void **state)
{
	static const struct {
		const char *text;
		uint64_t usec;
	} rows[] = {
		{"1970-01-01T00:00:00Z", 0},
		{"2026-01-02T03:04:05.678901Z", 1767323045678901},
		{"2026-01-02T03:04:05.6789019Z", 1767323045678901},
		{"2026-01-02 03:04:05.5z", 1767323045500000},
		{"2026-01-02T05:04:05+02:00", 1767323045000000},
		{"2026-01-01T21:34:05-05:30", 1767323045000000},
		{"2024-02-29T00:00:00Z", 1709164800000000},
		{"2016-12-31T23:59:60Z", 1483228800000000},
	};
	uint64_t usec;

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		assert_int_equal(ig_when_parse(rows[i].text, &usec), 0);
		assert_int_equal(usec, rows[i].usec);
	}
}

static void test_when_not(void **state)
{
	static const char *const rows[] = {"", "now", "2026", "2026-01-02", "2026-01-02T03:04:05",
		"2026-01-02T03:04Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
		"2026-01-32T00:00:00Z", "2026-04-31T00:00:00Z", "2026-02-29T00:00:00Z",
		"2100-02-29T00:00:00Z", "2026-01-02T24:00:00Z", "2026-01-02T03:60:05Z",
		"2026-01-02T03:04:61Z", "2026-01-02T03:04:05.Z", "2026-01-02T03:04:05Zx",
		"2026-01-02T03:04:05+2:00", "2026-01-02T03:04:05+24:00", "1969-12-31T23:59:59Z",
		"1970-01-01T00:00:00+01:00", "+026-01-02T03:04:05Z", "2026-01-02T03:04:05ZZ"};
	uint64_t usec = 7;

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++)
		if (ig_when_parse(rows[i], &usec) != -EINVAL)
			fail_msg("%s is a time", rows[i]);
	assert_int_equal(usec, 7);
}

static void test_when_ago(void **state)
{
	static const struct {
		const char *text;
		uint64_t sec;
	} rows[] = {{"0s", 1000000}, {"90s", 999910}, {"2m", 999880}, {"1h", 996400},
		{"2d", 827200}, {"1w", 395200}, {"100w", 0}, {"1970-01-01T00:00:05Z", 5}};
	static const char *const wrong[] = {"1", "h", "1y", "1H", "-1h", "1hh", "1.5h",
		"4294967296s", "99999999999s", " 1h", ""};
	uint64_t usec;

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		assert_int_equal(ig_when_parse_or_ago(rows[i].text, 1000000 * SEC, &usec), 0);
		assert_int_equal(usec, rows[i].sec * SEC);
	}
	for (size_t i = 0; i < IG_ARRAY_SIZE(wrong); i++)
		assert_int_equal(ig_when_parse_or_ago(wrong[i], 1000000 * SEC, &usec), -EINVAL);
}

/* ---- counting -------------------------------------------------------------------------------- */

static void add(struct ig_report_table *t, const char *a, const char *b,
	enum ig_audit_decision decision, uint64_t sec, uint64_t n)
{
	const char *fields[] = {a, b};

	assert_int_equal(ig_report_table_add(t, fields, decision, sec * SEC, n), 0);
}

static const struct ig_report_row *row_of(
	const struct ig_report_table *t, const char *a, const char *b)
{
	const char *fields[] = {a, b};

	return ig_report_table_find(t, fields);
}

static void test_table_counts(void **state)
{
	_cleanup_(ig_report_table_done) struct ig_report_table t = ig_report_table_init(2);
	_cleanup_free_ const struct ig_report_row **list = NULL;
	_cleanup_free_ char *large = calloc(1, 5001);

	(void)state;
	memset(large, 'l', 5000);
	add(&t, "a", "bc", IG_AUDIT_ALLOW, 20, 1);
	add(&t, "ab", "c", IG_AUDIT_DENY, 10, 2); /* not the same as the one before */
	add(&t, "a", "bc", IG_AUDIT_ERROR, 5, 1);
	add(&t, "", large, IG_AUDIT_ALLOW, 30, 7);
	assert_int_equal(t.n_rows, 3);
	assert_int_equal(row_of(&t, "a", "bc")->tally.first_usec, 5 * SEC);
	assert_int_equal(row_of(&t, "a", "bc")->tally.last_usec, 20 * SEC);
	assert_int_equal(ig_report_tally_total(&row_of(&t, "", large)->tally), 7);
	assert_null(row_of(&t, "abc", ""));
	assert_int_equal(ig_report_table_sort(&t, IG_REPORT_BY_EVENTS, &list), 0);
	assert_string_equal(list[0]->field[1], large);
	assert_string_equal(list[1]->field[0], "a"); /* two events each: by name */
	assert_string_equal(list[1]->field[2], "");
	assert_int_equal(t.missed_max, 0);
}

static void test_table_order(void **state)
{
	static const struct {
		enum ig_report_order order;
		const char *first;
	} rows[] = {{IG_REPORT_BY_EVENTS, "many"}, {IG_REPORT_BY_DENIED, "denied"},
		{IG_REPORT_BY_FIRST, "late"}, {IG_REPORT_BY_FIELDS, "denied"}};
	_cleanup_(ig_report_table_done) struct ig_report_table t = ig_report_table_init(2);

	(void)state;
	add(&t, "many", "", IG_AUDIT_ALLOW, 20, 9);
	add(&t, "denied", "", IG_AUDIT_ERROR, 10, 2);
	add(&t, "late", "", IG_AUDIT_DENY, 30, 1);
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		_cleanup_free_ const struct ig_report_row **list = NULL;

		assert_int_equal(ig_report_table_sort(&t, rows[i].order, &list), 0);
		assert_string_equal(list[0]->field[0], rows[i].first);
	}
}

/* Many rows of one denied event each: what was allowed or often stays, totals are exact. */
static void test_table_drops(void **state)
{
	_cleanup_(ig_report_table_done) struct ig_report_table t = ig_report_table_init(2);
	struct ig_report_tally sum;
	char name[32];

	(void)state;
	t.rows_max = 100;
	add(&t, "rare", "allowed", IG_AUDIT_ALLOW, 1, 1);
	add(&t, "often", "denied", IG_AUDIT_DENY, 1, 50);
	for (int i = 0; i < 10000; i++) {
		(void)snprintf(name, sizeof(name), "junk%d", i);
		add(&t, name, "", IG_AUDIT_DENY, 2, 1);
		assert_true(t.n_rows <= t.rows_max);
	}
	assert_int_equal(row_of(&t, "rare", "allowed")->missed_max, 0);
	assert_int_equal(row_of(&t, "often", "denied")->tally.by_decision[IG_AUDIT_DENY], 50);
	sum = t.dropped;
	for (const struct ig_report_row *row = t.rows; row; row = row->hh.next)
		ig_report_tally_merge(&sum, &row->tally);
	assert_int_equal(ig_report_tally_total(&sum), 10051);
	assert_int_equal(t.dropped_rows + t.n_rows, 10002);
}

/* What comes back says how much it may lack, and that is enough. */
static void test_table_missed(void **state)
{
	_cleanup_(ig_report_table_done) struct ig_report_table t = ig_report_table_init(2);
	uint64_t truth[40] = {};
	unsigned int seed = 1;
	char name[32];

	(void)state;
	t.rows_max = 8;
	for (int i = 0; i < 20000; i++) {
		size_t k = (size_t)rand_r(&seed) % (1 + (size_t)rand_r(&seed) % 40);

		truth[k]++;
		(void)snprintf(name, sizeof(name), "%zu", k);
		add(&t, name, "", IG_AUDIT_DENY, 2, 1);
	}
	for (size_t k = 0; k < IG_ARRAY_SIZE(truth); k++) {
		const struct ig_report_row *row;
		uint64_t n;

		(void)snprintf(name, sizeof(name), "%zu", k);
		row = row_of(&t, name, "");
		n = row ? ig_report_tally_total(&row->tally) : 0;
		assert_true(n <= truth[k]);
		assert_true(truth[k] <= n + (row ? row->missed_max : t.missed_max));
	}
}

static void test_table_bytes(void **state)
{
	_cleanup_(ig_report_table_done) struct ig_report_table t = ig_report_table_init(2);
	_cleanup_free_ char *text = calloc(1, 2049);

	(void)state;
	t.bytes_max = 64 * 1024;
	memset(text, 'x', 2048);
	for (int i = 0; i < 500; i++) {
		/* another text each time */
		text[i % 8]++;
		add(&t, text, "", IG_AUDIT_DENY, 1, 1);
		assert_true(t.bytes <= t.bytes_max);
	}
	assert_true(t.dropped_rows > 0);
	/* one row is always possible */
	t.bytes_max = 10;
	add(&t, text, "other", IG_AUDIT_DENY, 1, 1);
	assert_non_null(row_of(&t, text, "other"));
	assert_in_range(t.n_rows, 1, 2);
}

static void test_table_fold(void **state)
{
	_cleanup_(ig_report_table_done) struct ig_report_table t = ig_report_table_init(2);
	_cleanup_(ig_report_table_done) struct ig_report_table by_second = ig_report_table_init(1);
	const size_t map[] = {1};
	const char *const x[] = {"x"};

	(void)state;
	add(&t, "a", "x", IG_AUDIT_ALLOW, 3, 1);
	add(&t, "b", "x", IG_AUDIT_DENY, 1, 2);
	add(&t, "c", "y", IG_AUDIT_DENY, 9, 4);
	assert_int_equal(ig_report_table_fold(&t, map, &by_second), 0);
	assert_int_equal(by_second.n_rows, 2);
	assert_int_equal(ig_report_tally_total(&ig_report_table_find(&by_second, x)->tally), 3);
	assert_int_equal(ig_report_table_find(&by_second, x)->tally.first_usec, SEC);
	assert_int_equal(ig_report_table_find(&by_second, x)->missed_max, 0);
}

/* ---- over time ------------------------------------------------------------------------------- */

static uint64_t total_of(const struct ig_report_series *s)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s->n; i++)
		n += s->buckets[i].by_decision[IG_AUDIT_DENY] + s->buckets[i].lost;
	return n;
}

static void test_series_widens(void **state)
{
	static const struct {
		uint64_t sec, width_sec;
	} rows[] = {{1000000, 1}, {1000119, 1}, {1000200, 5}, {999900, 5}, {1003000, 60},
		{1100000, 900}, {3000000, 21600}, {1, 43200}, {90000000, 604800 * 2}};
	_cleanup_free_ struct ig_report_series *s = calloc(1, sizeof(*s));

	(void)state;
	assert_non_null(s);
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		ig_report_series_add(s, rows[i].sec * SEC, IG_AUDIT_DENY, 1);
		ig_report_series_add_lost(s, rows[i].sec * SEC, 1);
		assert_int_equal(s->width_sec, rows[i].width_sec);
		assert_in_range(s->n, 1, IG_REPORT_BUCKETS_MAX);
		assert_int_equal(total_of(s), 2 * (i + 1));
	}
}

/* Whatever the order, each event is in the bucket of its time. */
static void test_series_places(void **state)
{
	_cleanup_free_ struct ig_report_series *s = calloc(1, sizeof(*s));
	uint64_t times[500];
	unsigned int seed = 7;

	(void)state;
	assert_non_null(s);
	for (size_t i = 0; i < IG_ARRAY_SIZE(times); i++) {
		times[i] = 5000000 + (uint64_t)(rand_r(&seed) % 400000);
		ig_report_series_add(s, times[i] * SEC, IG_AUDIT_DENY, 1);
	}
	for (size_t b = 0; b < s->n; b++) {
		uint64_t expected = 0;

		for (size_t i = 0; i < IG_ARRAY_SIZE(times); i++)
			expected += times[i] / s->width_sec == s->first + b;
		assert_int_equal(s->buckets[b].by_decision[IG_AUDIT_DENY], expected);
	}
	/* the last there is */
	ig_report_series_add(s, UINT64_MAX, IG_AUDIT_DENY, 1);
	assert_int_equal(total_of(s), IG_ARRAY_SIZE(times) + 1);
}

/* ---- logs ------------------------------------------------------------------------------------ */

#define HEAD "{\"v\":1,\"seq\":1,\"time\":\"2026-01-02T03:04:05.000000Z\",\"run\":\"r\","

struct seen {
	size_t n, bad;
	uint64_t bad_line;
	char kinds[256];
	int result;
};

static int on_event(const struct ig_report_event *event, void *userdata)
{
	struct seen *seen = userdata;
	size_t len = strlen(seen->kinds);

	seen->n++;
	(void)snprintf(seen->kinds + len, sizeof(seen->kinds) - len, "%s ", event->kind_name);
	return seen->result;
}

static void on_bad(const char *file, uint64_t line, const char *why, void *userdata)
{
	struct seen *seen = userdata;

	assert_non_null(file);
	assert_non_null(why);
	seen->bad++;
	seen->bad_line = line;
}

/* Reads a text as a log through a file that has no name. */
static int read_text(
	const char *text, size_t len, struct seen *seen, struct ig_report_counts *counts)
{
	const struct ig_report_handler handler = {
		.each = on_event, .bad = on_bad, .userdata = seen};
	_cleanup_close_ int fd = memfd_create("log", MFD_CLOEXEC);
	struct ig_err err = {};
	char path[32];

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return ig_report_read(path, &handler, counts, &err);
}

static void test_reader(void **state)
{
	static const char text[] =
		HEAD "\"kind\":\"a.b\"}\n\n" HEAD "\"kind\":\"c\"}\nx\n" HEAD "\"kind\":\"last\"}";
	struct ig_report_counts counts = {};
	struct seen seen = {};

	(void)state;
	assert_int_equal(read_text(text, sizeof(text) - 1, &seen, &counts), 0);
	assert_string_equal(seen.kinds, "a.b c last ");
	assert_int_equal(seen.bad_line, 4);
	assert_int_equal(counts.lines, 5);
	assert_int_equal(counts.records, 3);
	assert_int_equal(counts.bad_lines, 1);
	seen = (struct seen){.result = -ENOMEM};
	assert_int_equal(read_text(text, sizeof(text) - 1, &seen, &counts), -ENOMEM);
	assert_int_equal(seen.n, 1);
	assert_int_equal(read_text("", 0, &seen, &counts), 0);
}

/* Lines just as long as allowed and one byte longer, at every place relative to the buffer. */
static void test_reader_long_lines(void **state)
{
	size_t len = 3 * (IG_REPORT_LINE_BYTES + 8), head = strlen(HEAD "\"kind\":\"k\",\"x\":\"");
	_cleanup_free_ char *text = malloc(len);

	(void)state;
	assert_non_null(text);
	for (size_t extra = 0; extra < 2; extra++) {
		struct ig_report_counts counts = {};
		struct seen seen = {};
		char *p = text;

		for (int i = 0; i < 3; i++) {
			size_t line = IG_REPORT_LINE_BYTES + (i == 1 ? extra : 0);

			memset(p, 'y', line);
			memcpy(p, HEAD "\"kind\":\"k\",\"x\":\"", head);
			memcpy(p + line - 2, "\"}", 2);
			p += line;
			*p++ = '\n';
		}
		assert_int_equal(read_text(text, (size_t)(p - text), &seen, &counts), 0);
		assert_int_equal(seen.n, 3 - extra);
		assert_int_equal(seen.bad, extra);
		assert_int_equal(counts.lines, 3);
	}
}

static void test_reader_not_records(void **state)
{
	static const char *const rows[] = {"null", "1", "\"x\"", "[1]", "{}", "{\"v\":1}",
		"{\"v\":\"1\"}", HEAD "\"kind\":\"\"}", HEAD "\"kind\":1}",
		HEAD "\"kind\":\"k\",\"decision\":\"maybe\"}",
		HEAD "\"kind\":\"k\",\"decision\":1}", HEAD "\"kind\":\"k\",\"v\":1}",
		"{\"v\":1,\"time\":1,\"kind\":\"k\"}", "\xff", HEAD "\"kind\":\"\xff\"}",
		HEAD "\"kind\":\"\\u0000\"}"};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		struct ig_report_counts counts = {};
		struct seen seen = {};

		assert_int_equal(read_text(rows[i], strlen(rows[i]), &seen, &counts), 0);
		if (seen.bad != 1 || seen.n != 0)
			fail_msg("%s is a record", rows[i]);
	}
}

/* Members of any other shape are as good as missing. */
static void test_event_of_another_shape(void **state)
{
	static const char *const rows[] = {
		HEAD
		"\"kind\":\"token.issued\",\"pod\":1,\"request\":[],\"identity\":\"x\",\"count\":-1}",
		HEAD
		"\"kind\":\"token.issued\",\"pod\":{\"namespace\":1,\"name\":[]},\"process\":{\"exe\":{}},\"policy\":7,\"count\":\"9\"}",
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		_cleanup_(json_decrefp) json_t *record = json_loads(rows[i], 0, NULL);
		struct ig_report_event e;
		const char *why = NULL;

		assert_int_equal(ig_report_event_read(record, &e, &why), 0);
		assert_int_equal(e.kind, IG_AUDIT_TOKEN_ISSUED);
		assert_string_equal(e.pod_name, "");
		assert_string_equal(e.exe, "");
		assert_string_equal(ig_report_event_target(&e), "");
		assert_string_equal(ig_report_event_identity(&e), "");
		assert_int_equal(e.count, 0);
	}
}

static void test_cut_texts(void **state)
{
	(void)state;
	assert_true(ig_report_text_is_cut("abc\xe2\x80\xa6"));
	assert_false(ig_report_text_is_cut("abc"));
	assert_false(ig_report_text_is_cut(""));
	assert_false(ig_report_text_is_cut("\xe2\x80\xa6 c"));
}

/* ---- summary --------------------------------------------------------------------------------- */

static void test_losses_are_told_up_to_a_limit(void **state)
{
	_cleanup_(ig_report_summary_freep) struct ig_report_summary *s = NULL;
	struct ig_report_filter filter = {};
	_cleanup_(json_decrefp) json_t *record = json_loads(
		HEAD "\"kind\":\"events.lost\",\"reason\":\"file\",\"count\":3}", 0, NULL);
	struct ig_report_event e;
	const char *why = NULL;

	(void)state;
	assert_int_equal(ig_report_summary_new(&filter, &s), 0);
	assert_int_equal(ig_report_event_read(record, &e, &why), 0);
	for (int i = 0; i < IG_REPORT_LOSSES_MAX + 5; i++)
		assert_int_equal(ig_report_summary_add(s, &e), 0);
	assert_int_equal(s->n_losses, IG_REPORT_LOSSES_MAX);
	assert_int_equal(s->lost_reports, IG_REPORT_LOSSES_MAX + 5);
	assert_int_equal(s->lost_events, 3 * (IG_REPORT_LOSSES_MAX + 5));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_when),
		cmocka_unit_test(test_when_not),
		cmocka_unit_test(test_when_ago),
		cmocka_unit_test(test_table_counts),
		cmocka_unit_test(test_table_order),
		cmocka_unit_test(test_table_drops),
		cmocka_unit_test(test_table_missed),
		cmocka_unit_test(test_table_bytes),
		cmocka_unit_test(test_table_fold),
		cmocka_unit_test(test_series_widens),
		cmocka_unit_test(test_series_places),
		cmocka_unit_test(test_reader),
		cmocka_unit_test(test_reader_long_lines),
		cmocka_unit_test(test_reader_not_records),
		cmocka_unit_test(test_event_of_another_shape),
		cmocka_unit_test(test_cut_texts),
		cmocka_unit_test(test_losses_are_told_up_to_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
