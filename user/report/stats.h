/*
 * A summary as numbers: what `imdsgate audit stats` prints.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "report/reader.h"
#include "report/summary.h"

enum ig_report_by {
	IG_REPORT_BY_USE, /* pod, identity and what it was for */
	IG_REPORT_BY_POD,
	IG_REPORT_BY_ACCOUNT,
	IG_REPORT_BY_IDENTITY,
	IG_REPORT_BY_RESOURCE, /* or path, or destination */
	IG_REPORT_BY_EXECUTABLE,
	_IG_REPORT_BY_MAX
};

#define IG_REPORT_ROW_EXES_MAX 8 /* named in a row; the rest is counted */

/* "use", "pod", "service-account", "identity", "resource", "executable" */
const char *ig_report_by_name(enum ig_report_by by);
int ig_report_by_parse(const char *name, enum ig_report_by *ret); /* 0 or -EINVAL */

/* {"period":{"first","last"},"files","lines","records","bad_lines",
 *  "attempts":{"total","allowed","denied","failed","undecided"},
 *  "lost":{"events","reports","first":[{"time","count","reason","run","node"}]},"agent_starts",
 *  "kinds":[{"kind","reason","count"}],
 *  "by","rows_total","rows":[{"namespace"…,"total","allowed","denied","failed","undecided",
 *     "first","last","missed_max","executables":[…],"executables_more"}],
 *  "dropped":{"rows","events","missed_max"}}
 * with the `top` rows that have most events. Times are RFC 3339, null where there is no event.
 * *ret is the caller's. 0 or -ENOMEM. */
int ig_report_stats(const struct ig_report_summary *summary, const struct ig_report_counts *counts,
	enum ig_report_by by, size_t top, json_t **ret);

/* Microseconds as RFC 3339; null for 0. NULL when out of memory. */
json_t *ig_report_time(uint64_t usec);
json_t *ig_report_number(uint64_t n);
