/*
 * Counting per workload; see quota.h.
 */
#include "agent/quota.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/table.h"

struct held {
	uint64_t workload;
	uint32_t n;
	UT_hash_handle hh;
};

struct ig_quota {
	struct held *held;
	uint32_t max_each;
};

int ig_quota_new(uint32_t max_each, struct ig_quota **ret)
{
	struct ig_quota *quota = calloc(1, sizeof(*quota));

	if (!quota)
		return -ENOMEM;
	quota->max_each = max_each;
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

bool ig_quota_take(struct ig_quota *quota, uint64_t workload)
{
	struct held *held;

	HASH_FIND(hh, quota->held, &workload, sizeof(workload), held);
	if (!held) {
		held = calloc(1, sizeof(*held));
		if (!held)
			return false;
		held->workload = workload;
		HASH_ADD(hh, quota->held, workload, sizeof(held->workload), held);
		if (!ig_table_has(held)) {
			free(held);
			return false;
		}
	}
	if (held->n >= quota->max_each)
		return false;
	held->n++;
	return true;
}

void ig_quota_give(struct ig_quota *quota, uint64_t workload)
{
	struct held *held;

	HASH_FIND(hh, quota->held, &workload, sizeof(workload), held);
	assert(held && held->n > 0);
	if (--held->n == 0)
		drop(quota, held);
}
