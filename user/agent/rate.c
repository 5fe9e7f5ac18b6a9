/*
 * Token buckets per workload; see rate.h. An entry is one small allocation; without memory for a
 * new one the request is refused, as it would be with an empty bucket.
 */
#include "agent/rate.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/table.h"

struct bucket {
	uint64_t workload;
	uint64_t credit_usec; /* time saved up; one request costs 1 s / per_sec of it */
	uint64_t seen_usec;
	uint64_t refused; /* since one was allowed */
	UT_hash_handle hh;
};

struct ig_rate {
	struct bucket *buckets; /* least recently used first */
	uint64_t cost_usec, burst_usec;
	uint32_t entries;
};

int ig_rate_new(const struct ig_rate_options *options, struct ig_rate **ret)
{
	struct ig_rate *rate = calloc(1, sizeof(*rate));

	if (!rate)
		return -ENOMEM;
	rate->cost_usec = IG_USEC_PER_SEC / options->per_sec;
	rate->burst_usec = rate->cost_usec * options->burst;
	rate->entries = options->entries;
	*ret = rate;
	return 0;
}

static void drop(struct ig_rate *rate, struct bucket *bucket)
{
	HASH_DEL(rate->buckets, bucket);
	free(bucket);
}

struct ig_rate *ig_rate_free(struct ig_rate *rate)
{
	struct bucket *bucket, *next;

	if (!rate)
		return NULL;
	HASH_ITER (hh, rate->buckets, bucket, next)
		drop(rate, bucket);
	free(rate);
	return NULL;
}

/* Finds or makes the bucket and puts it at the end of the order. */
static struct bucket *bucket_of(
	struct ig_rate *rate, uint64_t workload, uint64_t credit_usec, uint64_t now_usec)
{
	struct bucket *bucket;

	HASH_FIND(hh, rate->buckets, &workload, sizeof(workload), bucket);
	if (bucket) {
		HASH_DEL(rate->buckets, bucket);
	} else {
		if (HASH_COUNT(rate->buckets) >= rate->entries)
			drop(rate, rate->buckets);
		bucket = calloc(1, sizeof(*bucket));
		if (!bucket)
			return NULL;
		bucket->workload = workload;
		bucket->credit_usec = credit_usec;
		bucket->seen_usec = now_usec;
	}
	HASH_ADD(hh, rate->buckets, workload, sizeof(workload), bucket);
	if (!ig_table_has(bucket)) {
		free(bucket);
		return NULL;
	}
	return bucket;
}

/* The bucket with one taken from it, or NULL. */
static struct bucket *take(struct ig_rate *rate, uint64_t workload, uint64_t cost_usec,
	uint64_t burst_usec, uint64_t now_usec)
{
	struct bucket *bucket = bucket_of(rate, workload, burst_usec, now_usec);
	uint64_t passed;

	if (!bucket)
		return NULL;
	passed = now_usec > bucket->seen_usec ? now_usec - bucket->seen_usec : 0;
	bucket->seen_usec = now_usec;
	/* the burst may be smaller than it was */
	if (bucket->credit_usec > burst_usec)
		bucket->credit_usec = burst_usec;
	bucket->credit_usec = passed > burst_usec - bucket->credit_usec
				      ? burst_usec
				      : bucket->credit_usec + passed;
	if (bucket->credit_usec < cost_usec) {
		bucket->refused++;
		return NULL;
	}
	bucket->credit_usec -= cost_usec;
	return bucket;
}

bool ig_rate_allow_at(struct ig_rate *rate, uint64_t workload, uint32_t per_sec, uint32_t burst,
	uint64_t now_usec)
{
	uint64_t cost_usec = IG_USEC_PER_SEC / per_sec;

	return take(rate, workload, cost_usec, cost_usec * burst, now_usec) != NULL;
}

bool ig_rate_allow(struct ig_rate *rate, uint64_t workload, uint64_t now_usec)
{
	uint64_t refused;

	return ig_rate_allow_after(rate, workload, now_usec, &refused);
}

bool ig_rate_allow_after(
	struct ig_rate *rate, uint64_t workload, uint64_t now_usec, uint64_t *ret_refused)
{
	struct bucket *bucket = take(rate, workload, rate->cost_usec, rate->burst_usec, now_usec);

	if (!bucket)
		return false;
	*ret_refused = bucket->refused;
	bucket->refused = 0;
	return true;
}
