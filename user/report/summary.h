/*
 * What a log says, added up: who used which identity for what, from which executable; how often,
 * since when, and with which outcome; and what is missing. Fed record by record in bounded memory
 * (limits IG_REPORT_*), whatever the length of the log.
 */
#pragma once

#include "base/cleanup.h"
#include "report/filter.h"
#include "report/series.h"
#include "report/table.h"

/* Fields of `uses`. */
enum ig_report_use {
	IG_USE_NAMESPACE, /* of the pod whose request it is; "" for others */
	IG_USE_POD,	  /* "(host)" and the like for what is in no pod: in parentheses */
	IG_USE_ACCOUNT,	  /* its ServiceAccount; "" not known */
	IG_USE_IDENTITY,  /* "" none */
	IG_USE_TARGET,	  /* resource, path or destination */
	IG_USE_EXE,	  /* "(unknown)", or with " (deleted)" behind it */
	_IG_USE_MAX
};

/* Fields of `refusals`: what was denied or failed, and why. */
enum ig_report_refusal {
	IG_REFUSAL_NAMESPACE,
	IG_REFUSAL_POD,
	IG_REFUSAL_ACCOUNT,
	IG_REFUSAL_KIND,
	IG_REFUSAL_REASON,
	IG_REFUSAL_TARGET,
	IG_REFUSAL_IDENTITY,
	_IG_REFUSAL_MAX
};

/* Fields of `kinds`: every record. */
enum { IG_KIND_KIND, IG_KIND_REASON, _IG_KIND_MAX };
/* Fields of `remarks`: what a policy in mode audit would have denied. */
enum {
	IG_REMARK_POLICY,
	IG_REMARK_REASON,
	IG_REMARK_NAMESPACE,
	IG_REMARK_POD,
	IG_REMARK_TARGET,
	_IG_REMARK_MAX
};

struct ig_report_loss {
	uint64_t time_usec, count;
	char reason[33], run[17], node[65]; /* cut where longer */
};

struct ig_report_summary {
	struct ig_report_filter filter;
	struct ig_report_tally attempts, others; /* with decision; records of other kinds */
	struct ig_report_table uses, refusals, kinds, remarks;
	/* uses before filter.since_usec, or of a baseline's log */
	struct ig_report_table known;
	uint64_t known_records;
	/* attempts that some record's `count` has beside its own; what became of each, nobody says
	 */
	uint64_t unrecorded;
	struct ig_report_series *series; /* owned */
	uint64_t lost_events, lost_reports;
	struct ig_report_loss losses[IG_REPORT_LOSSES_MAX]; /* the first ones */
	size_t n_losses;
	uint64_t agent_starts;
};

/* *ret is the caller's; -ENOMEM. Texts of the filter are borrowed. */
int ig_report_summary_new(const struct ig_report_filter *filter, struct ig_report_summary **ret);
struct ig_report_summary *ig_report_summary_free(struct ig_report_summary *summary);
IG_DEFINE_CLEANUP(struct ig_report_summary *, ig_report_summary_free);

/* Adds a record that fits the filter; one from before the period is only noted as known. 0 or
 * -ENOMEM. */
int ig_report_summary_add(struct ig_report_summary *summary, const struct ig_report_event *event);
/* A record of the baseline: what it did is known. */
int ig_report_summary_add_known(
	struct ig_report_summary *summary, const struct ig_report_event *event);

/* Limits for a table of the report. */
struct ig_report_table ig_report_table_init(size_t n_fields);
