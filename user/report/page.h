/*
 * A summary as one self-contained page of HTML: no script, nothing from the network, and a content
 * security policy that forbids both.
 */
#pragma once

#include "report/reader.h"
#include "report/summary.h"

struct ig_report_page {
	const struct ig_report_summary *summary;
	const struct ig_report_counts *counts;
	size_t top;	       /* rows of a table, at most */
	const char *selection; /* in words: which records it is about; "" for all */
	/* out: what was found */
	uint64_t n_new, n_odd;
};

/* Appends the page. 0 or -ENOMEM; a buffer that is full is broken (see buf.h). */
int ig_report_page_write(struct ig_report_page *page, struct ig_buf *b);

/* The style sheet, as it stands between <style> and </style>. */
extern const char ig_report_style[];
