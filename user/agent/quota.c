/*
 * Counting per workload; see quota.h.
 */
#include "agent/quota.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>

#include <imdsgate/limits.h>

#include "base/table.h"
#include "http/share.h"

struct held {
	uint64_t workload;
	uint32_t n;
	struct ig_http_share share;
	TAILQ_ENTRY(held) idle; /* while n is 0 */
	UT_hash_handle hh;
};

struct ig_quota {
	struct held *held;
	TAILQ_HEAD(, held) idle; /* the one that gave back last is the last */
	size_t n_idle;
	uint32_t max_each;
};

int ig_quota_new(uint32_t max_each, struct ig_quota **ret)
{
	struct ig_quota *quota = calloc(1, sizeof(*quota));

	if (!quota)
		return -ENOMEM;
	quota->max_each = max_each;
	TAILQ_INIT(&quota->idle);
	*ret = quota;
	return 0;
}

static void drop(struct ig_quota *quota, struct held *held)
{
	HASH_DEL(quota->held, held);
	free(held);
}

struct ig_quota *ig_quota_free(struct ig_quota *quota)
{
	struct held *held, *next;

	if (!quota)
		return NULL;
	HASH_ITER (hh, quota->held, held, next)
		drop(quota, held);
	free(quota);
	return NULL;
}

static struct held *find(const struct ig_quota *quota, uint64_t workload)
{
	struct held *held;

	HASH_FIND(hh, quota->held, &workload, sizeof(workload), held);
	return held;
}

static void set_idle(struct ig_quota *quota, struct held *held)
{
	TAILQ_INSERT_TAIL(&quota->idle, held, idle);
	quota->n_idle++;
}

static void set_busy(struct ig_quota *quota, struct held *held)
{
	TAILQ_REMOVE(&quota->idle, held, idle);
	quota->n_idle--;
}

/* Holds nothing yet. */
static struct held *add(struct ig_quota *quota, uint64_t workload)
{
	struct held *held = TAILQ_FIRST(&quota->idle);

	if (quota->n_idle >= IG_QUOTA_IDLE_MAX) {
		set_busy(quota, held);
		drop(quota, held);
	}
	held = calloc(1, sizeof(*held));
	if (!held)
		return NULL;
	held->workload = workload;
	HASH_ADD(hh, quota->held, workload, sizeof(held->workload), held);
	if (!ig_table_has(held)) {
		free(held);
		return NULL;
	}
	set_idle(quota, held);
	return held;
}

bool ig_quota_take(struct ig_quota *quota, uint64_t workload)
{
	struct held *held = find(quota, workload);

	if (!held)
		held = add(quota, workload);
	if (!held || held->n >= quota->max_each)
		return false;
	if (held->n++ == 0)
		set_busy(quota, held);
	return true;
}

void ig_quota_give(struct ig_quota *quota, uint64_t workload)
{
	struct held *held = find(quota, workload);

	assert(held && held->n > 0);
	/* who gives back may still use the share */
	if (--held->n == 0)
		set_idle(quota, held);
}

struct ig_http_share *ig_quota_share(struct ig_quota *quota, uint64_t workload)
{
	struct held *held = find(quota, workload);

	assert(held);
	return &held->share;
}
