/*
 * How often a workload may ask: a token bucket for each, keyed by its cgroup. Protects upstream and
 * the other workloads from one that asks in a loop. Probes without the Metadata header are never
 * counted.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct ig_rate;

struct ig_rate_options {
	uint32_t per_sec; /* refilled evenly */
	uint32_t burst;	  /* and the most that can be saved up */
	uint32_t entries; /* the least recently used workload makes room: it starts afresh when it
			     asks again */
};

int ig_rate_new(const struct ig_rate_options *options, struct ig_rate **ret);
struct ig_rate *ig_rate_free(struct ig_rate *rate);

/* The same for a table whose workloads have rates of their own, which may differ from call to call.
 */
bool ig_rate_allow_at(struct ig_rate *rate, uint64_t workload, uint32_t per_sec, uint32_t burst,
	uint64_t now_usec);

/* Takes one from the workload's bucket. false: it is empty. now_usec is monotonic. */
bool ig_rate_allow(struct ig_rate *rate, uint64_t workload, uint64_t now_usec);
/* The same; when it is true, *ret_refused is how many were not since the last time it was. */
bool ig_rate_allow_after(
	struct ig_rate *rate, uint64_t workload, uint64_t now_usec, uint64_t *ret_refused);
