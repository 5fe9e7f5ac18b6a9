/*
 * `imdsgate top` from inside: what lies between two looks at the agent, and how it is laid out.
 * Pure; cmd_top.c asks, waits and draws. Only cmd_top*.c and their tests include this.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum ig_top_sort {
	IG_TOP_SORT_REQUESTS,
	IG_TOP_SORT_ALLOWED,
	IG_TOP_SORT_DENIED,
	IG_TOP_SORT_FAILED,
	IG_TOP_SORT_LATENCY,
	IG_TOP_SORT_NAME,
	_IG_TOP_SORT_MAX
};

/* -EINVAL when there is no such order. */
int ig_top_sort_parse(const char *name, enum ig_top_sort *ret);

/* One look: the results of `status` and `workload list`, and when that was (monotonic). */
struct ig_top_look {
	json_t *status, *workloads; /* owned */
	uint64_t when_usec;
};

void ig_top_look_done(struct ig_top_look *look);

/* What happened from one look to the next, as --json prints it: rates by the second, means over the
 * interval, null where nothing happened. A counter that is lower than before began anew. A new
 * reference, or NULL when memory is out. now_usec: real clock, for the time that is shown. */
json_t *ig_top_report(const struct ig_top_look *before, const struct ig_top_look *after,
	enum ig_top_sort sort, uint64_t now_usec);

/* Lines for people. columns, rows: of the screen, what does not fit is cut; 0: no limit. line_end:
 * what ends each line. */
void ig_top_format(const json_t *report, size_t columns, size_t rows, const char *line_end,
	bool color, struct ig_buf *b);
