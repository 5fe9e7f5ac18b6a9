/*
 * The order in which upstream is asked: first come, first served within a workload, workloads in
 * turn, and never more than IG_UPSTREAM_PER_SEC starts in any second. Private to the token service.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <imdsgate/limits.h>

struct ig_token_flow;

/* Embedded in what is queued. The caller sets the first two. */
struct ig_token_queued {
	uint64_t fairness;
	uint64_t deadline_usec;
	struct ig_token_flow *flow; /* NULL while not queued */
	TAILQ_ENTRY(ig_token_queued) in_flow;
	TAILQ_ENTRY(ig_token_queued) by_age;
};

struct ig_token_queue {
	TAILQ_HEAD(, ig_token_flow) turns; /* the first one is next; none is empty */
	TAILQ_HEAD(, ig_token_queued) by_age;
	size_t len;
	uint64_t starts_usec[IG_UPSTREAM_PER_SEC]; /* ring of the last starts; 0: never */
	size_t oldest_start;
};

/* Those that were started and are not over: whose they are. The caller's. */
struct ig_token_running {
	size_t max_each; /* of one workload */
	size_t n;
	uint64_t fairness[IG_ENTRA_CONCURRENCY];
};

void ig_token_queue_init(struct ig_token_queue *queue);

/* -EBUSY: the queue or this workload's share of it is full. -ENOMEM. */
int ig_token_queue_push(struct ig_token_queue *queue, struct ig_token_queued *item);
/* That workload wants the queued item as well: it goes there if it comes sooner there, because
 * fewer stand before it or the other one has its share under way. */
void ig_token_queue_share(struct ig_token_queue *queue, struct ig_token_queued *item,
	uint64_t fairness, const struct ig_token_running *running);
/* The next one in turn of a workload that has not its share under way, no longer queued; NULL when
 * there is none. */
struct ig_token_queued *ig_token_queue_pop(
	struct ig_token_queue *queue, const struct ig_token_running *running);
void ig_token_queue_remove(struct ig_token_queue *queue, struct ig_token_queued *item);
/* The one that waits longest. All have the same patience, so its deadline is the first. */
struct ig_token_queued *ig_token_queue_oldest(const struct ig_token_queue *queue);

/* How long the rate allows no further start; 0: go ahead. */
uint64_t ig_token_queue_rate_wait_usec(const struct ig_token_queue *queue, uint64_t now_usec);
void ig_token_queue_note_start(struct ig_token_queue *queue, uint64_t now_usec);
