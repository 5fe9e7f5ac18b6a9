/*
 * Gives records their sequence number and brings them to the sinks and the live subscribers. Each
 * sink has a queue of its own; one that fails or is slow loses lines of its own, which are counted,
 * and reported as an events.lost record as soon as it goes on. None ever delays a request or
 * another sink.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "audit/record.h"
#include "audit/sink.h"

struct event_base;
struct ig_audit;
struct ig_audit_subscriber;

struct ig_audit_options {
	const char *node; /* name of the node, copied; may be "" */
	bool chain;	  /* every record carries the hash of the one before (chain.h) */
};

struct ig_audit_stats {
	uint64_t emitted; /* = the last sequence number */
	uint64_t lost_subscribers;
	uint64_t last_loss_usec; /* when a loss was recorded last; real clock, 0: never */
	uint64_t by_kind[_IG_AUDIT_KIND_MAX];
};

struct ig_audit_sink_stats {
	const char *name;
	struct ig_audit_queue_stats queue;
};

/* Reads the kernel's boot id, so it comes before any sandbox. The process must ignore SIGXFSZ and
 * SIGPIPE. */
int ig_audit_new(
	struct event_base *base, const struct ig_audit_options *options, struct ig_audit **ret);
/* Reports what is pending and gives the sinks IG_AUDIT_STOP_MSEC to finish. Subscribers end without
 * their callback and their handles with them: end whatever would still unsubscribe (the control
 * server) first. A sink of the loop turns it meanwhile: nothing else may have events in it that are
 * not to happen any more. */
struct ig_audit *ig_audit_free(struct ig_audit *audit);

/* Takes the sink. On failure (-E2BIG, -ENOMEM) it stays the caller's. */
int ig_audit_add_sink(struct ig_audit *audit, struct ig_audit_sink *sink);
/* For logrotate: files are opened again, connections are not touched. */
void ig_audit_reopen(struct ig_audit *audit);

/* Until this agent's turn comes, another one writes the records: what is emitted is dropped,
 * without a number. */
void ig_audit_stand_by(struct ig_audit *audit, bool standby);

/* Assigns the next number and hands the line to every sink. Never fails for the caller. */
void ig_audit_emit(struct ig_audit *audit, const struct ig_audit_record *record);

/* Lines as they are written, newline included. A callback must not emit, add or remove. One that
 * cannot take its line says so with ig_audit_subscriber_lost(…, 1); then an events.lost line of its
 * own (reason "subscriber", the number of the last line it lost) comes before the next line, or by
 * itself after a while. */
typedef void ig_audit_line_fn(const char *line, size_t len, void *userdata);

struct ig_audit_subscription {
	ig_audit_line_fn *line;
	void *userdata;
	bool resume;	 /* else from the next event on */
	uint64_t since;	 /* the number of the last line that the subscriber has */
	const char *run; /* the run that it is from; NULL or "": this one */
};

/* -EBUSY at the limit. *ret is set before the first line comes, which may be at once: those after
 * `since` that are still known, behind an events.lost line if some are not. */
int ig_audit_subscribe(struct ig_audit *audit, const struct ig_audit_subscription *subscription,
	struct ig_audit_subscriber **ret);
void ig_audit_unsubscribe(struct ig_audit_subscriber *subscriber);
/* A subscriber's own queue was full: counted here. */
void ig_audit_subscriber_lost(struct ig_audit_subscriber *subscriber, uint64_t lines);

struct ig_audit_stats ig_audit_stats(const struct ig_audit *audit);
/* Returns how many there are; fills at most IG_AUDIT_SINKS_MAX. */
size_t ig_audit_sinks(const struct ig_audit *audit, struct ig_audit_sink_stats *ret);
const char *ig_audit_run_id(const struct ig_audit *audit);
