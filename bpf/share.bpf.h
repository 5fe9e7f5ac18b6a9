/*
 * What one workload may have of what all have together: connections in the flow table, records in
 * the rings. It comes before the tables' own sizes, so that nobody fills them for others. A pod is
 * one workload however many cgroups it makes (also one that is known as nothing but a cgroup where
 * kubelet keeps pods); who is in none counts by its own cgroup.
 *
 * Without memory to count with: a connection is refused, a record is written all the same (the ring
 * has a size of its own).
 */
#pragma once

#include <stdbool.h>

#include "maps.bpf.h"

#define IG_NSEC_PER_SEC 1000000000ULL

static __always_inline __u64 ig_share_key(const struct ig_caller *caller)
{
	return caller->workload_cgroup_id ? caller->workload_cgroup_id : caller->cgroup_id;
}

/* The caller's share, made if need be; NULL: no memory. */
static __always_inline struct ig_share *ig_share_of(const struct ig_caller *caller)
{
	__u64 id = ig_share_key(caller);
	struct ig_share *share = bpf_map_lookup_elem(&shares, &id);
	struct ig_share fresh = {};

	if (share)
		return share;
	(void)bpf_map_update_elem(&shares, &id, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&shares, &id);
}

/* Without a lock, which such a map cannot have: as many too many as there are processors may slip
 * in.
 */
static __always_inline bool ig_share_is_full(const struct ig_share *share)
{
	return !share || share->connections >= IG_FLOWS_WORKLOAD_MAX;
}

/* After a share was pushed out, connections end that the new one never counted: it may fall below
 * zero for a moment, which is why it has a sign. */
static __always_inline void ig_share_count_connection(struct ig_share *share, __s64 change)
{
	if (share && (change > 0 || share->connections > 0))
		__sync_fetch_and_add(&share->connections, change);
}

/* May there be one more record this second? */
static __always_inline bool ig_turn_take(struct ig_turn *turn, __u64 now_ns, __u64 per_sec)
{
	if (now_ns - turn->since_ns >= IG_NSEC_PER_SEC) {
		turn->since_ns = now_ns;
		turn->records = 0;
	}
	return turn->records++ < per_sec;
}

/* For the record that is about to be written: how many had none since the one before. One at a time
 * for each turn. */
static __always_inline __u64 ig_turn_tell(struct ig_turn *turn)
{
	__u64 suppressed = turn->suppressed, told = turn->told;

	turn->told = suppressed;
	/* less than was told: the turn was pushed out meanwhile, and begins anew for somebody else
	 */
	return suppressed > told ? suppressed - told : 0;
}

/* What has no turn is counted. */
static __always_inline bool ig_share_take_turn(struct ig_turn *turn, __u64 per_sec)
{
	if (ig_turn_take(turn, bpf_ktime_get_ns(), per_sec))
		return true;
	__sync_fetch_and_add(&turn->suppressed, 1);
	return false;
}

/* As ig_turn_tell(), for a turn that all processors share: the same number must not be told twice.
 * Kernels before 5.12 have no atomic exchange, but only one of several can add a key to a table.
 * For the others there is nothing to tell now; what they suppressed is told with a later record. */
static __always_inline __u64 ig_share_tell(struct ig_turn *turn, __u64 workload)
{
	__u8 one = 1;
	__u64 untold;

	if (turn->suppressed == turn->told ||
		bpf_map_update_elem(&telling, &workload, &one, BPF_NOEXIST))
		return 0;
	untold = ig_turn_tell(turn);
	(void)bpf_map_delete_elem(&telling, &workload);
	return untold;
}
