/*
 * `imdsgate top` between two looks: rates, means, order, agents and pods that began anew, and what
 * is cut on a small screen. The terminal itself is in tests/netns/test_top.py.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/cleanup.h"
#include "cli/out.h"
#include "cli/top.h"

#define STATUS                                                                                                     \
	"{\"node\":\"n\\u001b1\",\"uptime_sec\":70,\"connections\":3,\"tokens\":{\"cached\":4,\"hits\":%d,"        \
	"\"misses\":%d,\"stale\":0,\"upstream_calls\":%d,\"upstream_errors\":%d},\"counters\":{\"redirected\":%d," \
	"\"denied\":%d,\"not_tcp\":0,\"no_listener\":1}}"
#define WORKLOAD                                                                                             \
	"{\"namespace\":\"shop\",\"name\":\"%s\",\"uid\":\"%s\",\"requests\":{\"allowed\":%d,\"denied\":%d," \
	"\"failed\":%d,\"latency_usec\":%d,\"last_resource\":\"%s\"}}"

struct looks {
	struct ig_top_look before, after;
};

static json_t *parse(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static json_t *parse(const char *fmt, ...)
{
	char text[4096];
	json_t *json;
	va_list ap;

	va_start(ap, fmt);
	assert_in_range(vsnprintf(text, sizeof(text), fmt, ap), 1, sizeof(text) - 1);
	va_end(ap);
	json = json_loads(text, 0, NULL);
	assert_non_null(json);
	return json;
}

/* Two seconds in which a got 10 tokens and b was refused 4 times. */
static int set_up(void **state)
{
	static struct looks l;

	l.before.when_usec = 5 * IG_USEC_PER_SEC;
	l.after.when_usec = 7 * IG_USEC_PER_SEC;
	l.before.status = parse(STATUS, 10, 10, 5, 1, 100, 7);
	l.after.status = parse(STATUS, 19, 11, 6, 1, 120, 9);
	l.before.workloads = parse("[" WORKLOAD "," WORKLOAD "]", "a", "1", 5, 0, 0, 1000, "x", "b",
		"2", 0, 1, 0, 500, "y");
	l.after.workloads = parse("[" WORKLOAD "," WORKLOAD "]", "b", "2", 0, 5, 0, 900, "y\\u202e",
		"a", "1", 15, 0, 0, 21000, "https://vault.azure.net");
	*state = &l;
	return 0;
}

static int tear_down(void **state)
{
	struct looks *l = *state;

	ig_top_look_done(&l->before);
	ig_top_look_done(&l->after);
	return 0;
}

static json_t *report_of(const struct looks *l, enum ig_top_sort sort)
{
	json_t *report = ig_top_report(&l->before, &l->after, sort, 1767323045000000);

	assert_non_null(report);
	return report;
}

static double number(const json_t *report, const char *path)
{
	const json_t *value = ig_out_get(report, path);

	assert_true(json_is_number(value));
	return json_number_value(value);
}

static const json_t *row(const json_t *report, size_t i)
{
	return json_array_get(json_object_get(report, "workloads"), i);
}

static void expect_order(const struct looks *l, enum ig_top_sort sort, const char *names)
{
	_cleanup_(json_decrefp) json_t *report = report_of(l, sort);

	for (size_t i = 0; names[i]; i++)
		assert_int_equal(
			json_string_value(json_object_get(row(report, i), "name"))[0], names[i]);
}

/* ---- rates ---- */

static void test_rates(void **state)
{
	_cleanup_(json_decrefp) json_t *report = report_of(*state, IG_TOP_SORT_REQUESTS);
	const json_t *a = row(report, 0);

	assert_string_equal(ig_out_get_string(report, "time"), "2026-01-02T03:04:05.000000Z");
	assert_float_equal(number(report, "interval_sec"), 2, 0.001);
	assert_float_equal(number(report, "per_sec.requests"), 7, 0.001);
	assert_float_equal(number(report, "per_sec.allowed"), 5, 0.001);
	assert_float_equal(number(report, "per_sec.denied"), 2, 0.001);
	assert_float_equal(number(report, "per_sec.redirected"), 10, 0.001);
	assert_float_equal(number(report, "per_sec.refused"), 1, 0.001);
	assert_float_equal(number(report, "per_sec.upstream_calls"), 0.5, 0.001);
	assert_float_equal(number(report, "per_sec.upstream_errors"), 0, 0.001);
	assert_float_equal(number(report, "tokens.hit_percent"), 90, 0.001);
	assert_int_equal(number(report, "latency_usec"), 20400 / 14);
	assert_float_equal(number(a, "requests_per_sec"), 5, 0.001);
	assert_int_equal(number(a, "latency_usec"), 2000);
	assert_int_equal(number(a, "allowed"), 15);
	assert_string_equal(ig_out_get_string(a, "last_resource"), "https://vault.azure.net");
}

/* Nothing happened: rates are zero, means are not known, and nothing is divided by it. */
static void test_quiet_interval(void **state)
{
	struct looks *l = *state;
	_cleanup_(json_decrefp) json_t *report = NULL;

	report = ig_top_report(&l->after, &l->after, IG_TOP_SORT_REQUESTS, 0);
	assert_float_equal(number(report, "per_sec.requests"), 0, 0.001);
	assert_float_equal(number(report, "interval_sec"), 0, 0.001);
	assert_true(json_is_null(ig_out_get(report, "tokens.hit_percent")));
	assert_true(json_is_null(ig_out_get(report, "latency_usec")));
}

/* The agent was started again: its counters are what happened since. */
static void test_counters_that_began_anew(void **state)
{
	struct looks *l = *state;
	_cleanup_(json_decrefp) json_t *report = NULL;

	json_decref(l->after.workloads);
	l->after.workloads = parse("[" WORKLOAD "]", "a", "1", 2, 0, 0, 600, "x");
	report = report_of(l, IG_TOP_SORT_REQUESTS);
	assert_float_equal(number(report, "per_sec.allowed"), 1, 0.001);
	assert_int_equal(number(report, "latency_usec"), 300);
}

/* A pod that was made again under its name starts at zero, as does a new one. */
static void test_another_pod_of_that_name(void **state)
{
	struct looks *l = *state;
	_cleanup_(json_decrefp) json_t *report = NULL;

	json_decref(l->after.workloads);
	l->after.workloads = parse("[" WORKLOAD "]", "a", "other", 8, 0, 0, 800, "x");
	report = report_of(l, IG_TOP_SORT_REQUESTS);
	assert_float_equal(number(report, "per_sec.allowed"), 4, 0.001);
}

/* An agent of another version says less. */
static void test_missing_members(void **state)
{
	struct ig_top_look nothing = {.status = json_object(), .workloads = json_pack("[{}]")};
	_cleanup_(json_decrefp) json_t *report =
		ig_top_report(&nothing, &nothing, IG_TOP_SORT_NAME, 0);
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};

	(void)state;
	assert_non_null(report);
	ig_top_format(report, 80, 24, "\n", false, &b);
	assert_int_equal(ig_buf_finish(&b), 0);
	ig_top_look_done(&nothing);
}

static void test_order(void **state)
{
	enum ig_top_sort sort;

	expect_order(*state, IG_TOP_SORT_REQUESTS, "ab");
	expect_order(*state, IG_TOP_SORT_ALLOWED, "ab");
	expect_order(*state, IG_TOP_SORT_DENIED, "ba");
	expect_order(*state, IG_TOP_SORT_FAILED, "ab"); /* equal: by name */
	expect_order(*state, IG_TOP_SORT_LATENCY, "ab");
	expect_order(*state, IG_TOP_SORT_NAME, "ab");
	assert_int_equal(ig_top_sort_parse("denied", &sort), 0);
	assert_int_equal(sort, IG_TOP_SORT_DENIED);
	assert_int_equal(ig_top_sort_parse("Denied", &sort), -EINVAL);
}

/* ---- layout ---- */

static void test_lines(void **state)
{
	_cleanup_(json_decrefp) json_t *report = report_of(*state, IG_TOP_SORT_REQUESTS);
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};

	ig_top_format(report, 0, 0, "\n", false, &b);
	assert_string_equal(b.data,
		"imdsgate top  2026-01-02T03:04:05.000000Z  node n\\x1b1  up 70 s  workloads 2  connections 3\n"
		"requests/s 7.0  allowed 5.0  denied 2.0  failed 0.0  latency 1.457 ms\n"
		"connects/s: redirected 10.0  refused 1.0  tokens: cached 4  hits 90.0%  upstream/s: calls 0.5  errors 0.0\n"
		"REQ/S  ALLOW/S  DENY/S  FAIL/S  LATENCY   WORKLOAD  LAST RESOURCE\n"
		"5.0    5.0      0.0     0.0     2.000 ms  shop/a    https://vault.azure.net\n"
		"2.0    0.0      2.0     0.0     0.100 ms  shop/b    y\\u202e\n");
}

/* No line is wider than the screen, and there are no more than it has. */
static void test_small_screens(void **state)
{
	_cleanup_(json_decrefp) json_t *report = report_of(*state, IG_TOP_SORT_REQUESTS);

	for (size_t columns = 1; columns < 120; columns += 7)
		for (size_t rows = 1; rows < 9; rows++) {
			_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};
			size_t lines = 0;

			ig_top_format(report, columns, rows, "\n", false, &b);
			for (const char *p = b.data; *p; p += strcspn(p, "\n") + 1, lines++)
				assert_true(strcspn(p, "\n") <= columns);
			assert_int_equal(lines, rows < 6 ? rows : 6);
		}
}

/* Colour is around a line that was cut before, and a wide character is never cut in the middle. */
static void test_cut_text(void **state)
{
	struct looks *l = *state;
	_cleanup_(json_decrefp) json_t *report = NULL;
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};

	json_decref(l->after.workloads);
	l->after.workloads =
		parse("[" WORKLOAD "]", "\u00fc\u00fc\u00fc\u00fc", "1", 2, 0, 0, 600, "x");
	report = report_of(l, IG_TOP_SORT_REQUESTS);
	ig_top_format(report, 48, 0, "|", true, &b);
	assert_non_null(strstr(b.data, "|\x1b[2mREQ/S  "));
	assert_non_null(strstr(b.data, "  0.300 ms  shop/\u00fc|"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_rates, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_quiet_interval, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_counters_that_began_anew, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_another_pod_of_that_name, set_up, tear_down),
		cmocka_unit_test(test_missing_members),
		cmocka_unit_test_setup_teardown(test_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_lines, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_small_screens, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_cut_text, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("top", tests, NULL, NULL);
}
