/*
 * Events over time, in a fixed number of buckets: their width grows with the period, by steps that
 * people read (1 s, 5 s, 15 s, … 1 h, … 1 d, 7 d, …), and buckets begin at multiples of it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <imdsgate/limits.h>

#include "audit/record.h"

struct ig_report_bucket {
	uint64_t by_decision[_IG_AUDIT_DECISION_MAX];
	uint64_t lost;
};

/* Empty when all zero. */
struct ig_report_series {
	uint64_t width_sec; /* 0: nothing yet */
	uint64_t first;	    /* number of the first bucket: it begins at first * width_sec */
	size_t n;	    /* from the first event's bucket to the last one's */
	struct ig_report_bucket buckets[IG_REPORT_BUCKETS_MAX];
};

void ig_report_series_add(struct ig_report_series *series, uint64_t time_usec,
	enum ig_audit_decision decision, uint64_t n);
void ig_report_series_add_lost(struct ig_report_series *series, uint64_t time_usec, uint64_t n);
