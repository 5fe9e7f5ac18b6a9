/*
 * The token service from inside: shared by service.c (the interface), deliver.c (those who wait),
 * refresh.c (what an answer and the passing of time do to an entry) and upstream.c (queue and
 * calls), and by the unit test, which sets the clock and the patience.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <event2/util.h>

#include "token/cache.h"
#include "token/outcome.h"
#include "token/queue.h"
#include "token/service.h"
#include "token/source.h"

struct event;

struct ig_token_clock {
	uint64_t (*mono_usec)(void);
	uint64_t (*real_usec)(void);
};

/* What one ig_token_get() wants. */
struct ig_token_request {
	bool bypass_cache;
	const char *refuse_sha256;
	uint64_t fairness;
	ig_token_done *done;
	void *userdata;
};

/* Stands either in its entry's list (entry set) or in the ready list (outcome set). */
struct ig_token_waiter {
	TAILQ_ENTRY(ig_token_waiter) link;
	struct ig_token_service *service;
	struct ig_token_entry *entry;
	struct ig_token_outcome *outcome; /* reference */
	ig_token_done *done;
	void *userdata;
	bool fresh_only;	/* asked to bypass the cache: an old token is no answer */
	char refuse_sha256[65]; /* nor is this one; "" for none */
};

/* The way to one upstream: what waits for it and how much of it is in use. */
struct ig_token_lane {
	struct ig_token_service *service;
	struct ig_token_queue queue;
	struct ig_token_running running;
	uint64_t paused_until_usec; /* upstream asked for it */
	struct event *pump_timer;
	struct ig_token_upstream_times times;
};

struct ig_token_service {
	struct event_base *base;       /* the caller's */
	struct ig_http_client *client; /* the caller's */
	char *imds_url;		       /* owned */
	struct ig_source_places places;
	const struct ig_assertion_provider *assertions; /* the caller's; may be NULL */
	ig_token_call_ended *call_ended;		/* may be NULL */
	void *userdata;
	struct ig_token_clock clock;
	uint64_t timeout_usec; /* of one upstream call, waiting in the queue included */
	struct ig_token_cache cache;

	struct ig_token_lane lanes[_IG_SOURCE_LANE_MAX];

	struct event *sweep_timer;
	uint64_t sweep_due_usec; /* 0: not armed */

	struct ig_token_waiters ready; /* answered; `done` is called from the event loop */
	struct event *deliver_event;
	size_t n_waiters; /* everywhere */
	struct ig_token_outcomes outcomes;
	struct ig_token_outcome *out_of_memory; /* spare outcome for when there is no memory */

	struct ig_token_stats stats; /* only what counts up */
	bool delivering;
	bool gone; /* freed while delivering: only the shell is left */
};

uint64_t ig_token_service_now_sec(const struct ig_token_service *service);

/* ---- deliver.c ---- */

int ig_token_deliver_add(struct ig_token_service *service, struct ig_token_entry *entry,
	const struct ig_token_request *request, struct ig_token_waiter **ret);
/* Takes the waiter out of whatever list it is in and frees it; it is not called. */
void ig_token_deliver_drop(struct ig_token_waiter *waiter);

/* All waiters of the entry get their answers: `fresh`, or if that is NULL the old token where it
 * will do, else the failure. `done` is called later, from the event loop. */
void ig_token_deliver_answer(struct ig_token_service *service, struct ig_token_entry *entry,
	const struct ig_token *fresh, const struct ig_token_failure *failure);
/* One waiter of the entry gets the old token if that will do, else the failure. Called later too.
 */
void ig_token_deliver_old_or(struct ig_token_waiter *waiter, const struct ig_token_entry *entry,
	struct ig_token_outcome *failure);
/* What the service's deliver_event calls; arg is the service. */
void ig_token_deliver_event(evutil_socket_t fd, short what, void *arg);

/* ---- refresh.c ---- */

/* An upstream call for the entry is over. Exactly one of token (borrowed) and failure is given. The
 * entry may be gone afterwards. */
void ig_token_refresh_settle(struct ig_token_service *service, struct ig_token_entry *entry,
	const struct ig_token *token, const struct ig_token_failure *failure);
/* The token is about to be handed out from the cache to that workload. */
void ig_token_refresh_note_use(
	struct ig_token_service *service, struct ig_token_entry *entry, uint64_t fairness);
/* Acts on everything that is due and arms the timer for the next. What the timer calls. */
void ig_token_refresh_sweep(struct ig_token_service *service);

/* ---- upstream.c ---- */

/* Queues a call for an entry that has none. -EBUSY (queue full), -ENOMEM. Calls nobody back. */
int ig_token_upstream_request(struct ig_token_service *service, struct ig_token_entry *entry,
	uint64_t fairness, bool bypass_cache, bool background);
/* Somebody now waits for the entry's call, and perhaps wants it past upstream's cache. */
void ig_token_upstream_join(struct ig_token_entry *entry, uint64_t fairness, bool bypass_cache);
/* Nobody waits any longer: takes a call that was not started and is no refresh out of the queue. */
void ig_token_upstream_leave(struct ig_token_entry *entry);
/* Ends the entry's call, if there is one, whatever its state. */
void ig_token_upstream_abandon(struct ig_token_entry *entry);
/* Starts what may start, fails what waited too long, arms the timers for the rest. */
void ig_token_upstream_pump(struct ig_token_service *service);
/* What a lane's pump_timer calls; arg is the lane. */
void ig_token_upstream_event(evutil_socket_t fd, short what, void *arg);
