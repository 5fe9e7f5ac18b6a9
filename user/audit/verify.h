/*
 * Is a log of the audit complete and unaltered? Reads lines in the order in which they were
 * written, of any number of runs, and says what is wrong: numbers that are missing without having
 * been reported as lost, come twice or late, links of the chain that do not fit, lines that are no
 * records.
 *
 * A loss is only believed where it is reported: an events.lost record of the sink that the log is
 * from explains as many numbers before it as it counts, nothing else does.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* X(id, text): what there may be to say. The first two are no problems. */
#define IG_AUDIT_FINDINGS(X)                                                                       \
	X(REPORTED, "reported_lost") /* numbers first to last; the log says so itself */           \
	X(NOTE, "note")                                                                            \
	X(MISSING, "missing") /* numbers first to last */                                          \
	X(DUPLICATE, "duplicate")                                                                  \
	X(ORDER, "out_of_order")                                                                   \
	X(ALTERED, "altered")                                                                      \
	X(UNREADABLE, "unreadable")                                                                \
	X(VERSION, "unknown_version")                                                              \
	X(TRUNCATED, "truncated") /* the file ends inside a line */

enum ig_audit_finding_type {
#define X(id, text) IG_AUDIT_FINDING_##id,
	IG_AUDIT_FINDINGS(X)
#undef X
		_IG_AUDIT_FINDING_MAX
};

/* Strings are borrowed for the call. */
struct ig_audit_finding {
	enum ig_audit_finding_type type;
	const char *file;
	uint64_t line;	      /* where it was noticed; 1-based */
	const char *run;      /* "" when the line does not say */
	uint64_t first, last; /* numbers; 0 without */
	const char *message;  /* for people */
};

struct ig_audit_run_summary {
	const char *boot, *run;
	uint64_t first, last, records;
	uint64_t reported, missing; /* numbers */
	uint64_t links;		    /* of the chain that were checked */
	bool chained, stopped;	    /* it ends with agent.stopped */
};

struct ig_audit_verify_summary {
	uint64_t lines, records, runs, reported, missing, links, problems;
	uint64_t lost_kernel; /* events that never became a record */
};

typedef void ig_audit_finding_fn(const struct ig_audit_finding *finding, void *userdata);
typedef void ig_audit_run_fn(const struct ig_audit_run_summary *run, void *userdata);

struct ig_audit_verify;

/* sink: the name of the sink whose log this is ("file"); borrowed. "subscriber": what `audit tail`
 * printed. */
int ig_audit_verify_new(const char *sink, ig_audit_finding_fn *finding, void *userdata,
	struct ig_audit_verify **ret);
struct ig_audit_verify *ig_audit_verify_free(struct ig_audit_verify *verify);

/* Reads to the end. name: for findings; borrowed until ig_audit_verify_finish(). A negative errno
 * when it cannot be read or memory runs out. */
int ig_audit_verify_file(struct ig_audit_verify *verify, FILE *stream, const char *name);
/* The gaps that nothing explained, then each run in the order of appearance. run may be NULL. */
void ig_audit_verify_finish(
	struct ig_audit_verify *verify, ig_audit_run_fn *run, struct ig_audit_verify_summary *ret);

const char *ig_audit_finding_name(enum ig_audit_finding_type type);
