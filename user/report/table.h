/*
 * Counts by up to IG_REPORT_FIELDS_MAX texts, in bounded memory. The totals are always exact. When
 * there are more rows than fit, the less important half (by number of events; rows in which
 * something was allowed last) is dropped and only its totals are kept; a row that comes back later
 * starts anew, and says how many events it may lack at most. So a row without that mark is exact,
 * and a row that is not there had no more events than the table's missed_max.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "audit/record.h"
#include "base/table.h"

#define IG_REPORT_FIELDS_MAX 8

struct ig_report_tally {
	uint64_t by_decision[_IG_AUDIT_DECISION_MAX];
	uint64_t first_usec, last_usec; /* 0: no event */
};

struct ig_report_row {
	UT_hash_handle hh;
	struct ig_report_tally tally;
	uint64_t missed_max;			 /* 0: exact */
	const char *field[IG_REPORT_FIELDS_MAX]; /* into key; "" where there is none */
	size_t key_len;
	char key[];
};

struct ig_report_table {
	size_t n_fields;
	size_t rows_max, bytes_max; /* at least 2 rows */
	struct ig_report_row *rows; /* owned; uthash head */
	size_t n_rows, bytes;
	struct ig_report_tally dropped; /* of rows that are not there any more */
	uint64_t dropped_rows;
	uint64_t missed_max;
};

/* fields: n_fields texts, none NULL. 0 or -ENOMEM. */
int ig_report_table_add(struct ig_report_table *table, const char *const *fields,
	enum ig_audit_decision decision, uint64_t time_usec, uint64_t n);
/* Adds a row of another table under fields of its own; it may lack as much as that one. */
int ig_report_table_merge(
	struct ig_report_table *table, const char *const *fields, const struct ig_report_row *from);
/* Adds every row of `from`, by the fields of it that `map` names (map[i]: which of its fields is
 * the i-th of `to`). What `from` dropped is dropped in `to`. 0 or -ENOMEM. */
int ig_report_table_fold(
	const struct ig_report_table *from, const size_t *map, struct ig_report_table *to);
const struct ig_report_row *ig_report_table_find(
	const struct ig_report_table *table, const char *const *fields);
void ig_report_table_done(struct ig_report_table *table);

enum ig_report_order {
	IG_REPORT_BY_EVENTS, /* most first */
	IG_REPORT_BY_DENIED, /* most denied and failed first */
	IG_REPORT_BY_FIRST,  /* latest first seen first */
	IG_REPORT_BY_FIELDS,
};
/* The rows in order (ties: by their fields), n_rows of them; *ret is the caller's to free, NULL
 * when there are none. 0 or -ENOMEM. */
int ig_report_table_sort(const struct ig_report_table *table, enum ig_report_order order,
	const struct ig_report_row ***ret);

uint64_t ig_report_tally_total(const struct ig_report_tally *tally);
void ig_report_tally_add(struct ig_report_tally *tally, enum ig_audit_decision decision,
	uint64_t time_usec, uint64_t n);
void ig_report_tally_merge(struct ig_report_tally *to, const struct ig_report_tally *from);
