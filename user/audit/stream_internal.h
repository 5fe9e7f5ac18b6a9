/*
 * What stream.c and subscribers.c share.
 */
#pragma once

#include <event2/event.h>
#include <sys/queue.h>

#include <imdsgate/limits.h>

#include "audit/chain.h"
#include "audit/recent.h"
#include "audit/stream.h"

#define BOOT_ID_BYTES 36
#define RUN_ID_BYTES  16

struct ig_audit {
	TAILQ_HEAD(, ig_audit_subscriber) subscribers; /* owned */
	size_t n_subscribers;
	struct {
		struct ig_audit_sink *sink; /* owned */
		struct event *changed;	    /* owned */
		int error;		    /* as it was logged last */
	} sinks[IG_AUDIT_SINKS_MAX];
	size_t n_sinks;
	struct ig_audit_recent *recent; /* owned */
	struct event_base *base;	/* borrowed */
	struct event *retry;		/* owned; pending while a loss is not reported */
	char *node;			/* owned */
	char boot_id[BOOT_ID_BYTES + 1];
	char run_id[RUN_ID_BYTES + 1];
	bool chain;
	bool standby; /* another agent writes the records */
	char prev[IG_AUDIT_HASH_BYTES + 1];
	struct ig_audit_stats stats;
	struct ig_buf text; /* of the line that is being made; kept for its memory */
};

/* ---- stream.c ---- */

/* The record as text in `b`. chained: with "prev", if there is a chain. */
int ig_audit_format(const struct ig_audit *audit, const struct ig_audit_record *record,
	uint64_t seq, bool chained, struct ig_buf *b);
/* Makes sure that a loss gets reported even if no record comes along. */
void ig_audit_arm_retry(struct ig_audit *audit);

/* ---- subscribers.c ---- */

/* line NULL: it could not be made, so everybody lost it. */
void ig_audit_deliver(struct ig_audit *audit, const struct ig_audit_line *line);
bool ig_audit_subscribers_have_loss(const struct ig_audit *audit);
void ig_audit_subscribers_report(struct ig_audit *audit);
void ig_audit_subscribers_free(struct ig_audit *audit);
