/*
 * What lies between the stream and one sink: a bounded queue of lines and the account of what was
 * lost. The stream's loop fills it and never waits; the sink empties it, in a thread of its own or
 * in the loop. All functions may be called from both sides.
 *
 * A line that does not fit is lost, and so is every line behind it until the loss was reported: a
 * reader then finds the report exactly where the lines are missing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "audit/line.h"

struct ig_audit_queue;

struct ig_audit_queue_stats {
	uint64_t queued;    /* lines */
	uint64_t delivered; /* lines that the sink took */
	uint64_t lost;
	uint64_t failures; /* times that it stopped working */
	int error;	   /* why it does not work just now, a negative errno; 0: it works */
};

/* What to wait for. */
#define IG_AUDIT_QUEUE_LINES_READY (1U << 0)
#define IG_AUDIT_QUEUE_STOP	   (1U << 1)
#define IG_AUDIT_QUEUE_REOPEN	   (1U << 2) /* taken back by ig_audit_queue_wait() */

int ig_audit_queue_new(size_t max_lines, size_t max_bytes, struct ig_audit_queue **ret);
/* Drops what is left. Only when nobody else uses it any more. */
struct ig_audit_queue *ig_audit_queue_free(struct ig_audit_queue *queue);
/* Readable when the sink has changed its state or lost something: read it with
 * ig_audit_queue_acknowledge(). Owned by the queue. */
int ig_audit_queue_notify_fd(const struct ig_audit_queue *queue);
void ig_audit_queue_acknowledge(struct ig_audit_queue *queue);

/* ---- the stream's side ---- */

/* Takes a reference. False: lost, and counted. line NULL: a record that could not be made. */
bool ig_audit_queue_push(struct ig_audit_queue *queue, struct ig_audit_line *line);
/* How many lines are to be reported as lost now; 0 also while there is no room to go on. */
uint64_t ig_audit_queue_loss(struct ig_audit_queue *queue);
bool ig_audit_queue_has_loss(struct ig_audit_queue *queue);
/* The report of `lost` lines, as ig_audit_queue_loss() gave them. */
bool ig_audit_queue_push_report(
	struct ig_audit_queue *queue, struct ig_audit_line *line, uint64_t lost);
void ig_audit_queue_stop(struct ig_audit_queue *queue);
void ig_audit_queue_reopen(struct ig_audit_queue *queue);
struct ig_audit_queue_stats ig_audit_queue_stats(struct ig_audit_queue *queue);

/* ---- the sink's side ---- */

/* Waits until there are more than `seen` lines, an order to stop or reopen, or that time
 * (monotonic; 0: no deadline). Returns the set of IG_AUDIT_QUEUE_*; empty: the time has come. Lines
 * that come within IG_AUDIT_GATHER_MSEC of the last ones are told of together, unless they are
 * many. */
unsigned int ig_audit_queue_wait(struct ig_audit_queue *queue, size_t seen, uint64_t deadline_usec);
/* The oldest lines from number `from` on without taking them out; they stay until they are
 * delivered or dropped. */
size_t ig_audit_queue_peek(
	struct ig_audit_queue *queue, size_t from, struct ig_audit_line **lines, size_t max);
void ig_audit_queue_delivered(struct ig_audit_queue *queue, size_t lines); /* the oldest ones */
bool ig_audit_queue_has_to_stop(struct ig_audit_queue *queue);		   /* waits for nothing */
void ig_audit_queue_drop(struct ig_audit_queue *queue, size_t lines);	   /* lost after all */
/* 0: works (again). A new failure is counted when the sink worked before. */
void ig_audit_queue_set_error(struct ig_audit_queue *queue, int error);
