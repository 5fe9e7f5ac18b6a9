/*
 * What a summary shows that somebody should look at: what was seen for the first time, and
 * executables that are unusual for their workload.
 */
#pragma once

#include "report/summary.h"

/* A workload is a ServiceAccount, or a pod where the account says nothing (none, or "default"). */
enum ig_report_new {
	IG_NEW_NAMESPACE,
	IG_NEW_WORKLOAD,
	IG_NEW_IDENTITY,
	IG_NEW_TARGET,
	IG_NEW_EXE,
	_IG_NEW_MAX
};
enum ig_report_odd { IG_ODD_NAMESPACE, IG_ODD_WORKLOAD, IG_ODD_EXE, _IG_ODD_MAX };

/* Combinations of identity, target and executable with which a workload got something, or asked as
 * an identity, and that are not among what is known. *ret is to be done with
 * ig_report_table_done(). 0 or -ENOMEM. */
int ig_report_find_new(const struct ig_report_summary *summary, struct ig_report_table *ret);

/* Executables with less than 1 % of their workload's requests, or that are not known for it though
 * the workload is. */
struct ig_report_odd_exe {
	const struct ig_report_row *row; /* of *ret_table */
	uint64_t workload_total;
	bool rare, unknown;
};
/* *ret is the caller's to free, and points into *ret_table, which is to be done after it. 0 or
 * -ENOMEM. */
int ig_report_find_odd(const struct ig_report_summary *summary, struct ig_report_table *ret_table,
	struct ig_report_odd_exe **ret, size_t *ret_n);
