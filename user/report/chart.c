/*
 * Charts as inline SVG; see chart.h. Attributes of geometry and class names only: the page's
 * content security policy allows no style attribute. Called by page.c.
 */
#include "report/chart.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "report/html.h"

/* units of the view box */
#define LEFT	    56
#define TOP	    12
#define WIDTH	    880
#define HEIGHT	    150
#define BOTTOM	    34
#define TICKS	    6 /* on the time axis, at most */
#define SEC_PER_DAY 86400

static uint64_t total(const struct ig_chart *chart, const struct ig_report_bucket *bucket)
{
	return chart->value(bucket, 0) + (chart->css[1] ? chart->value(bucket, 1) : 0);
}

static uint64_t start_usec(const struct ig_report_series *s, size_t i)
{
	uint64_t sec;

	if (__builtin_mul_overflow(s->first + i, s->width_sec, &sec) ||
		__builtin_mul_overflow(sec, IG_USEC_PER_SEC, &sec))
		return UINT64_MAX;
	return sec;
}

/* 1, 2 or 5 times a power of ten, at least n and 4. */
static uint64_t round_up(uint64_t n)
{
	uint64_t unit = 1;

	if (n <= 4)
		return 4;
	for (;; unit *= 10) {
		if (n <= unit)
			return unit;
		if (n <= 2 * unit)
			return 2 * unit;
		if (n <= 5 * unit)
			return 5 * unit;
		if (unit > UINT64_MAX / 100)
			return n;
	}
}

static void put_grid(struct ig_buf *b, uint64_t max)
{
	for (int i = 0; i <= 2; i++) {
		int y = TOP + HEIGHT * i / 2;

		ig_buf_printf(b,
			"<line class=\"grid\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/><text class=\"end\" x=\"%d\" y=\"%d\">",
			LEFT, y, LEFT + WIDTH, y, LEFT - 8, y + 4);
		ig_html_number(b, max * (uint64_t)(2 - i) / 2);
		ig_buf_puts(b, "</text>\n");
	}
}

/* The date where days matter, the time where they do not, both where there is doubt. */
static void put_label(struct ig_buf *b, const struct ig_report_series *s, size_t i)
{
	char text[IG_RFC3339_BYTES];

	(void)ig_clock_format_rfc3339(start_usec(s, i), text);
	if (s->width_sec >= SEC_PER_DAY)
		ig_buf_printf(b, "%.10s", text);
	else if (s->width_sec * s->n >= SEC_PER_DAY)
		ig_buf_printf(b, "%.5s %.5s", text + 5, text + 11);
	else
		ig_buf_printf(b, "%.8s", text + 11);
}

static void put_axis(struct ig_buf *b, const struct ig_report_series *s)
{
	size_t step = (s->n + TICKS - 1) / TICKS;

	for (size_t i = 0; i < s->n; i += step) {
		double x = LEFT + (double)WIDTH * (double)i / (double)s->n;

		ig_buf_printf(b,
			"<line class=\"tick\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/><text x=\"%.1f\" y=\"%d\">",
			x, TOP + HEIGHT, x, TOP + HEIGHT + 6, x, TOP + HEIGHT + 22);
		put_label(b, s, i);
		ig_buf_puts(b, "</text>\n");
	}
}

static void put_part(struct ig_buf *b, const char *css, double x, double width, double y, double h)
{
	/* something is never nothing */
	if (h > 0 && h < 1.5)
		h = 1.5;
	if (h > 0)
		ig_buf_printf(b,
			"<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/>",
			css, x, y - h, width, h);
}

static void put_bar(struct ig_buf *b, const struct ig_report_series *s,
	const struct ig_chart *chart, size_t i, uint64_t max)
{
	const struct ig_report_bucket *bucket = &s->buckets[i];
	double slot = (double)WIDTH / (double)s->n, gap = slot > 4 ? slot * 0.15 : 0;
	double scale = (double)HEIGHT / (double)max, y = TOP + HEIGHT;
	char text[IG_RFC3339_BYTES];

	if (slot - gap > 40) /* a few buckets are no walls */
		gap = slot - 40;
	ig_buf_printf(b, "<g><title>%.19s UTC:", ig_clock_format_rfc3339(start_usec(s, i), text));
	for (int part = 0; part < 2 && chart->css[part]; part++)
		ig_buf_printf(b, " %s %" PRIu64, chart->name[part], chart->value(bucket, part));
	ig_buf_puts(b, "</title>");
	for (int part = 0; part < 2 && chart->css[part]; part++) {
		double h = scale * (double)chart->value(bucket, part);

		put_part(b, chart->css[part], LEFT + slot * (double)i + gap / 2, slot - gap, y, h);
		y -= h;
	}
	ig_buf_puts(b, "</g>\n");
}

static void put_lost(struct ig_buf *b, const struct ig_report_series *s, size_t i)
{
	double x = LEFT + (double)WIDTH * ((double)i + 0.5) / (double)s->n;

	ig_buf_printf(b,
		"<g class=\"lost\"><title>%" PRIu64
		" events lost</title><path d=\"M%.1f %d l6 -10 l-12 0 z\"/></g>\n",
		s->buckets[i].lost, x, TOP + 10);
}

void ig_chart_svg(
	struct ig_buf *b, const struct ig_report_series *series, const struct ig_chart *chart)
{
	uint64_t most = 0, sum = 0, max;

	if (series->n == 0)
		return;
	for (size_t i = 0; i < series->n; i++) {
		uint64_t n = total(chart, &series->buckets[i]);

		sum += n;
		most = n > most ? n : most;
	}
	max = round_up(most);
	ig_buf_printf(b,
		"<figure id=\"%s\"><figcaption>%s</figcaption>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s: %" PRIu64
		" in all, %" PRIu64 " at most in one bar. The numbers are in the table below.\">\n",
		chart->id, chart->title, LEFT + WIDTH + 16, TOP + HEIGHT + BOTTOM, chart->title,
		sum, most);
	put_grid(b, max);
	for (size_t i = 0; i < series->n; i++)
		if (total(chart, &series->buckets[i]))
			put_bar(b, series, chart, i, max);
	for (size_t i = 0; i < series->n; i++)
		if (series->buckets[i].lost)
			put_lost(b, series, i);
	put_axis(b, series);
	ig_buf_puts(b, "</svg></figure>\n");
}

void ig_chart_table(struct ig_buf *b, const struct ig_report_series *series)
{
	static const char *const columns[] = {
		"From (UTC)", "#Allowed", "#Denied", "#Failed", "#Undecided", "#Events lost"};

	ig_html_table(b, "over-time-table", "Requests over time", columns, IG_ARRAY_SIZE(columns));
	for (size_t i = 0; i < series->n; i++) {
		const struct ig_report_bucket *bucket = &series->buckets[i];
		const uint64_t *d = bucket->by_decision;

		if (!(d[IG_AUDIT_ALLOW] + d[IG_AUDIT_DENY] + d[IG_AUDIT_ERROR] +
			    d[IG_AUDIT_DECISION_NONE] + bucket->lost))
			continue;
		ig_buf_puts(b, "<tr>");
		ig_html_cell_time(b, start_usec(series, i));
		ig_html_cell_number(b, d[IG_AUDIT_ALLOW]);
		ig_html_cell_number(b, d[IG_AUDIT_DENY]);
		ig_html_cell_number(b, d[IG_AUDIT_ERROR]);
		ig_html_cell_number(b, d[IG_AUDIT_DECISION_NONE]);
		ig_html_cell_number(b, bucket->lost);
		ig_buf_puts(b, "</tr>\n");
	}
	ig_html_table_end(b);
}
