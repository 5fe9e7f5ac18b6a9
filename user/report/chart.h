/*
 * Charts of the report, as inline SVG with a table behind each.
 */
#pragma once

#include "base/buf.h"
#include "report/series.h"

/* One value of each bucket; what it counts is named in `title`, the bars are of class `css`. */
struct ig_chart {
	const char *id, *title;
	const char *css[2];  /* of the lower and the upper part of a bar; [1] NULL: one part */
	const char *name[2]; /* what they are */
	uint64_t (*value)(const struct ig_report_bucket *bucket, int part);
};

/* Both charts share the series' time axis. Nothing for an empty series. */
void ig_chart_svg(
	struct ig_buf *b, const struct ig_report_series *series, const struct ig_chart *chart);
/* Every bucket in which something happened, with all that is counted. */
void ig_chart_table(struct ig_buf *b, const struct ig_report_series *series);
