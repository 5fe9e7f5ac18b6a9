/*
 * Queue of upstream calls; see queue.h. Called by upstream.c. Knows no tokens, time or network: the
 * caller says what time it is.
 *
 * It must never let one workload's requests stand before another's for longer than one turn, nor
 * let one workload fill the queue or have all that may be under way.
 */
#include "token/queue.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

/* The waiting requests of one workload. Lives only while there are some, so the list that is
 * searched for it is as short as the number of workloads that wait. */
struct ig_token_flow {
	uint64_t fairness;
	size_t len;
	TAILQ_HEAD(, ig_token_queued) items;
	TAILQ_ENTRY(ig_token_flow) turn;
};

void ig_token_queue_init(struct ig_token_queue *queue)
{
	*queue = (struct ig_token_queue){};
	TAILQ_INIT(&queue->turns);
	TAILQ_INIT(&queue->by_age);
}

static struct ig_token_flow *find_flow(const struct ig_token_queue *queue, uint64_t fairness)
{
	struct ig_token_flow *flow;

	TAILQ_FOREACH (flow, &queue->turns, turn)
		if (flow->fairness == fairness)
			return flow;
	return NULL;
}

/* A workload that comes new waits for everybody else's one turn. */
static struct ig_token_flow *add_flow(struct ig_token_queue *queue, uint64_t fairness)
{
	struct ig_token_flow *flow = calloc(1, sizeof(*flow));

	if (!flow)
		return NULL;
	flow->fairness = fairness;
	TAILQ_INIT(&flow->items);
	TAILQ_INSERT_TAIL(&queue->turns, flow, turn);
	return flow;
}

int ig_token_queue_push(struct ig_token_queue *queue, struct ig_token_queued *item)
{
	struct ig_token_flow *flow = find_flow(queue, item->fairness);

	if (queue->len >= IG_UPSTREAM_QUEUE_MAX ||
		(flow && flow->len >= IG_UPSTREAM_QUEUE_WORKLOAD_MAX))
		return -EBUSY;
	if (!flow)
		flow = add_flow(queue, item->fairness);
	if (!flow)
		return -ENOMEM;
	TAILQ_INSERT_TAIL(&flow->items, item, in_flow);
	TAILQ_INSERT_TAIL(&queue->by_age, item, by_age);
	item->flow = flow;
	flow->len++;
	queue->len++;
	return 0;
}

static void leave_flow(struct ig_token_queue *queue, struct ig_token_queued *item)
{
	struct ig_token_flow *flow = item->flow;

	TAILQ_REMOVE(&flow->items, item, in_flow);
	item->flow = NULL;
	if (--flow->len)
		return;
	TAILQ_REMOVE(&queue->turns, flow, turn);
	free(flow);
}

void ig_token_queue_remove(struct ig_token_queue *queue, struct ig_token_queued *item)
{
	leave_flow(queue, item);
	TAILQ_REMOVE(&queue->by_age, item, by_age);
	queue->len--;
}

/* Has the workload its share under way? */
static bool has_share(const struct ig_token_running *running, uint64_t fairness)
{
	size_t n = 0;

	for (size_t i = 0; i < running->n; i++)
		n += running->fairness[i] == fairness;
	return n >= running->max_each;
}

/* Of the same workload. */
static size_t n_before(const struct ig_token_queued *item)
{
	const struct ig_token_queued *other;
	size_t n = 0;

	TAILQ_FOREACH (other, &item->flow->items, in_flow) {
		if (other == item)
			break;
		n++;
	}
	return n;
}

void ig_token_queue_share(struct ig_token_queue *queue, struct ig_token_queued *item,
	uint64_t fairness, const struct ig_token_running *running)
{
	struct ig_token_flow *flow = find_flow(queue, fairness);
	size_t len = flow ? flow->len : 0;

	if (flow == item->flow || has_share(running, fairness) ||
		len >= IG_UPSTREAM_QUEUE_WORKLOAD_MAX)
		return;
	if (!has_share(running, item->fairness) && n_before(item) <= len)
		return;
	if (!flow)
		flow = add_flow(queue, fairness);
	if (!flow)
		return; /* no memory: it comes when it would have come */
	leave_flow(queue, item);
	TAILQ_INSERT_TAIL(&flow->items, item, in_flow);
	item->flow = flow;
	item->fairness = fairness;
	flow->len++;
}

/* Who has its share under way keeps its turn until one of those ends. */
struct ig_token_queued *ig_token_queue_pop(
	struct ig_token_queue *queue, const struct ig_token_running *running)
{
	struct ig_token_queued *item;
	struct ig_token_flow *flow;

	TAILQ_FOREACH (flow, &queue->turns, turn)
		if (!has_share(running, flow->fairness))
			break;
	if (!flow)
		return NULL;
	item = TAILQ_FIRST(&flow->items);
	TAILQ_REMOVE(&queue->turns, flow, turn);
	TAILQ_INSERT_TAIL(&queue->turns, flow, turn);
	ig_token_queue_remove(queue, item);
	return item;
}

struct ig_token_queued *ig_token_queue_oldest(const struct ig_token_queue *queue)
{
	return TAILQ_FIRST(&queue->by_age);
}

/* A window that slides over the last starts rather than a bucket that fills: after a pause, a
 * bucket of this size would let twice the rate through within one second, and upstream counts per
 * second.
 */
uint64_t ig_token_queue_rate_wait_usec(const struct ig_token_queue *queue, uint64_t now_usec)
{
	uint64_t oldest = queue->starts_usec[queue->oldest_start];

	if (oldest == 0 || now_usec >= oldest + IG_USEC_PER_SEC)
		return 0;
	return oldest + IG_USEC_PER_SEC - now_usec;
}

void ig_token_queue_note_start(struct ig_token_queue *queue, uint64_t now_usec)
{
	queue->starts_usec[queue->oldest_start] = now_usec ? now_usec : 1;
	queue->oldest_start = (queue->oldest_start + 1) % IG_UPSTREAM_PER_SEC;
}
