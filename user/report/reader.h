/*
 * Reads audit logs, a line at a time and in bounded memory, however long they are. What is not a
 * record is counted and reported with its place, and the reading goes on.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"
#include "report/event.h"

/* Valid during the call only. A negative return value ends the reading and is passed on. */
typedef int ig_report_each(const struct ig_report_event *event, void *userdata);
/* file: the name as it was given; why: a text without line end, may hold bytes of the line. */
typedef void ig_report_bad_line(const char *file, uint64_t line, const char *why, void *userdata);

struct ig_report_handler {
	ig_report_each *each;
	ig_report_bad_line *bad; /* NULL: counted only */
	void *userdata;
};

struct ig_report_counts {
	uint64_t files, lines, records, bad_lines;
};

/* One file; "-" is standard input. Adds to *counts. 0; what `each` returned; or a negative errno
 * with *reterr_err (the file cannot be read). Lines longer than IG_REPORT_LINE_BYTES are bad;
 * empty ones are passed over. */
int ig_report_read(const char *name, const struct ig_report_handler *handler,
	struct ig_report_counts *counts, struct ig_err *reterr_err);
