/*
 * The registry of metrics and its text, with a table of the test's own.
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

#include <imdsgate/limits.h>

#include "unit/metrics_fixture.h"

enum { PLAIN, TWO_LABELS, ODD_TEXT, SECONDS, HISTOGRAM, N_ROWS };

static const char *color(unsigned int index)
{
	static const char *const names[] = {"red", "blue"};

	return names[index];
}

static const char *size(unsigned int index)
{
	static const char *const names[] = {"s", "m", "l"};

	return names[index];
}

static const char *odd(unsigned int index)
{
	(void)index;
	return "a\\b\"c\nd";
}

static const struct ig_metric_label color_label = {"color", 2, color};
static const struct ig_metric_label size_label = {"size", 3, size};
static const struct ig_metric_label odd_label = {"odd", 1, odd};
static const struct ig_metric_label no_label = {};

static const struct ig_metric table[N_ROWS] = {
	[PLAIN] = {"plain_total", "Counts.", IG_METRIC_COUNTER, IG_METRIC_NUMBER, {}},
	[TWO_LABELS] = {"two", "Two labels.", IG_METRIC_GAUGE, IG_METRIC_NUMBER,
		{&color_label, &size_label}},
	[ODD_TEXT] = {"odd", "A \\ and\na \"line\".", IG_METRIC_GAUGE, IG_METRIC_NUMBER,
		{&odd_label, &no_label}},
	[SECONDS] = {"age_seconds", "Age.", IG_METRIC_GAUGE, IG_METRIC_USEC, {}},
	[HISTOGRAM] = {"took_seconds", "Took.", IG_METRIC_HISTOGRAM, IG_METRIC_USEC,
		{&color_label}},
};

static int set_up(void **state)
{
	*state = fixture_of(table, N_ROWS);
	return 0;
}

static void has_no(struct fixture *f, const char *text)
{
	if (strstr(text_of(f), text))
		fail_msg("\"%s\" is in:\n%s", text, f->text.data);
}

/* ---- the registry ---------------------------------------------------------------------------- */

static void everything_is_there_from_the_start(void **state)
{
	struct fixture *f = *state;

	assert_true(
		strncmp(text_of(f),
			"# HELP plain_total Counts.\n# TYPE plain_total counter\nplain_total 0\n"
			"# HELP two Two labels.\n# TYPE two gauge\n"
			"two{color=\"red\",size=\"s\"} 0\ntwo{color=\"red\",size=\"m\"} 0\n",
			150) == 0);
	has(f, "two{color=\"blue\",size=\"l\"} 0");
	has(f, "age_seconds 0.000000");
	has(f, "# TYPE took_seconds histogram");
	has(f, "took_seconds_bucket{color=\"blue\",le=\"+Inf\"} 0");
	has(f, "took_seconds_count{color=\"blue\"} 0");
	assert_int_equal(f->text.data[f->text.len - 1], '\n');
}

static void each_series_has_its_own_cell(void **state)
{
	struct fixture *f = *state;
	char line[64];

	for (unsigned int i = 0; i < 2; i++)
		for (unsigned int j = 0; j < 3; j++)
			ig_metrics_set(f->metrics, TWO_LABELS, i, j, 10 * i + j + 1);
	ig_metrics_add(f->metrics, PLAIN, 0, 0, 40);
	ig_metrics_add(f->metrics, PLAIN, 0, 0, 2);
	has(f, "plain_total 42");
	for (unsigned int i = 0; i < 2; i++) {
		for (unsigned int j = 0; j < 3; j++) {
			(void)snprintf(line, sizeof(line), "two{color=\"%s\",size=\"%s\"} %u",
				color(i), size(j), 10 * i + j + 1);
			has(f, line);
		}
	}
	has(f, "age_seconds 0.000000");
}

static void text_is_escaped(void **state)
{
	struct fixture *f = *state;

	/* quotes only where there are quotes around */
	has(f, "# HELP odd A \\\\ and\\na \"line\".");
	has(f, "odd{odd=\"a\\\\b\\\"c\\nd\"} 0");
}

static void durations_are_seconds(void **state)
{
	struct fixture *f = *state;

	ig_metrics_set(f->metrics, SECONDS, 0, 0, 1);
	has(f, "age_seconds 0.000001");
	ig_metrics_set(f->metrics, SECONDS, 0, 0, 1709809597123456);
	has(f, "age_seconds 1709809597.123456");
}

static void what_is_absent_has_no_series(void **state)
{
	struct fixture *f = *state;

	ig_metrics_set(f->metrics, SECONDS, 0, 0, IG_METRIC_ABSENT);
	ig_metrics_set(f->metrics, TWO_LABELS, 1, 1, IG_METRIC_ABSENT);
	has_no(f, "\nage_seconds ");
	has(f, "# TYPE age_seconds gauge");
	has_no(f, "two{color=\"blue\",size=\"m\"}");
	has(f, "two{color=\"blue\",size=\"l\"} 0");
	ig_metrics_set(f->metrics, SECONDS, 0, 0, 0);
	has(f, "age_seconds 0.000000");
}

static void buckets_include_their_edge(void **state)
{
	static const char *const edges[IG_METRIC_BUCKETS] = {"0.00005", "0.0001", "0.00025",
		"0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5",
		"1", "2.5", "5", "10"};
	struct fixture *f = *state;
	char line[96];
	double edge;

	for (size_t i = 0; i < IG_METRIC_BUCKETS; i++) {
		/* the text is the number */
		assert_int_equal(sscanf(edges[i], "%lf", &edge), 1);
		assert_int_equal((uint64_t)(edge * 1e6 + 0.5), ig_metric_bucket_usec[i]);
		/* on the edge: in; one more: in the next */
		ig_metrics_observe(f->metrics, HISTOGRAM, 0, 0, ig_metric_bucket_usec[i]);
		ig_metrics_observe(f->metrics, HISTOGRAM, 0, 0, ig_metric_bucket_usec[i] + 1);
		(void)snprintf(line, sizeof(line),
			"took_seconds_bucket{color=\"red\",le=\"%s\"} %zu", edges[i], 2 * i + 1);
		has(f, line);
	}
	has(f, "took_seconds_bucket{color=\"red\",le=\"+Inf\"} 34");
	has(f, "took_seconds_count{color=\"red\"} 34");
	has(f, "took_seconds_bucket{color=\"blue\",le=\"+Inf\"} 0");
}

static void a_histogram_adds_up(void **state)
{
	struct fixture *f = *state;

	ig_metrics_observe(f->metrics, HISTOGRAM, 1, 0, 0);
	ig_metrics_observe(f->metrics, HISTOGRAM, 1, 0, 1250);
	ig_metrics_observe(f->metrics, HISTOGRAM, 1, 0, 60000000);
	has(f, "took_seconds_bucket{color=\"blue\",le=\"0.00005\"} 1");
	has(f, "took_seconds_bucket{color=\"blue\",le=\"0.001\"} 1");
	has(f, "took_seconds_bucket{color=\"blue\",le=\"0.0025\"} 2");
	has(f, "took_seconds_bucket{color=\"blue\",le=\"10\"} 2");
	has(f, "took_seconds_bucket{color=\"blue\",le=\"+Inf\"} 3");
	has(f, "took_seconds_sum{color=\"blue\"} 60.001250");
	has(f, "took_seconds_count{color=\"blue\"} 3");
}

static void a_page_has_a_limit(void **state)
{
	struct fixture *f = *state;
	struct ig_buf b;
	size_t len = strlen(text_of(f));

	ig_buf_init(&b, len);
	ig_metrics_write(f->metrics, &b);
	assert_int_equal(ig_buf_finish(&b), 0);
	ig_buf_done(&b);
	ig_buf_init(&b, len - 1);
	ig_metrics_write(f->metrics, &b);
	assert_int_equal(ig_buf_finish(&b), -E2BIG);
	ig_buf_done(&b);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(everything_is_there_from_the_start),
		TEST(each_series_has_its_own_cell),
		TEST(text_is_escaped),
		TEST(durations_are_seconds),
		TEST(what_is_absent_has_no_series),
		TEST(buckets_include_their_edge),
		TEST(a_histogram_adds_up),
		TEST(a_page_has_a_limit),
	};

	return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
