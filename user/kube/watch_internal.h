/*
 * What the two halves of the watch share. Private to watch.c (which call comes next) and
 * watch_items.c (what goes by in one, and what the owner hears).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kube/known.h"
#include "kube/watch.h"

#define IG_KUBE_WATCH_TEXT_BYTES 768

struct event;
struct ig_kube_call;

enum ig_kube_phase { IG_KUBE_PHASE_LIST, IG_KUBE_PHASE_WATCH };

/* Why an event ended the watch. */
enum ig_kube_verdict {
	IG_KUBE_VERDICT_NONE,
	IG_KUBE_VERDICT_LIST_ANEW,
	IG_KUBE_VERDICT_BUSY,	/* 429, 503: the same again later */
	IG_KUBE_VERDICT_REFUSED /* any other error of the server */
};

struct ig_kube_watch {
	struct ig_kube_client *client;	      /* the caller's */
	struct ig_kube_watch_options options; /* path, query, reserved_ns are the three below */
	char *path;			      /* owned */
	char *query;			      /* owned; may be NULL */
	char *reserved_ns;		      /* owned; may be NULL */
	struct ig_kube_watch_ops ops;
	void *userdata;

	struct event *timer;	       /* owned; starts the next call */
	struct ig_kube_call *call;     /* under way; NULL between calls */
	struct ig_kube_reader *reader; /* owned; of that call */
	uint64_t started_usec;
	bool list_failed; /* the next one is a consistent read */
	bool quiet; /* nothing was heard for so long that the next watch is to show whether it works
		     */

	enum ig_kube_phase phase; /* of the call, or of the next one */
	struct ig_kube_known known;
	uint64_t list;	      /* number of the list that began last */
	uint64_t listed_usec; /* when a list was complete; 0: never */
	unsigned int pages;   /* of it, so far */
	char *next;	      /* owned; token of its next page; NULL: from the beginning */
	bool in_batch;
	unsigned int attempts;	    /* calls without progress in a row: how long to wait */
	unsigned int refused;	    /* watches that the server ended with an error, in a row */
	uint64_t absent_since_usec; /* 0: the last reply was no 404 */

	/* of the watch that is under way */
	enum ig_kube_verdict verdict;
	int64_t retry_after_sec;

	struct ig_kube_watch_stats stats;    /* state, resource_version and so on live here */
	char text[IG_KUBE_WATCH_TEXT_BYTES]; /* that goes with the state */
	char why[IG_KUBE_WATCH_TEXT_BYTES];  /* of what is going wrong */
};

/* The owner hears of changes only. */
void ig_kube_watch_set_state(
	struct ig_kube_watch *watch, enum ig_kube_watch_state state, const char *text);
/* All that may be known is known: SYNCED or TOO_MANY. */
void ig_kube_watch_set_synced(struct ig_kube_watch *watch);
/* LISTING or STALE. */
void ig_kube_watch_set_failing(struct ig_kube_watch *watch, const char *text);
void ig_kube_watch_set_batch(struct ig_kube_watch *watch, bool on);
/* What was not seen in the list that began last is gone; ends the batch. */
void ig_kube_watch_sweep(struct ig_kube_watch *watch);

/* The reader's callback; userdata is the watch. -ECANCELED when the event ends the watch: `verdict`
 * and `why` say how. */
int ig_kube_watch_take(const struct ig_kube_item *item, void *userdata);
