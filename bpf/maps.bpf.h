/*
 * Every map of the data path. All are pinned by the agent under these names (user/datapath), so
 * they outlive it: with the agent gone the programs go on with what stands here, and refuse what
 * does not.
 */
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include <imdsgate/abi.h>
#include <imdsgate/limits.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ig_settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, IG_WORKLOADS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct ig_workload_entry);
} workloads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, IG_LISTENERS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct ig_listener_entry);
} listeners SEC(".maps");

/* Not an LRU: a flood of connections must not push out another workload's record. Entries live from
 * SYN to accept (the agent takes them out) or to the close of the caller's socket. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, IG_FLOWS_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct ig_flow_key);
	__type(value, struct ig_flow);
} flows SEC(".maps");

/* What each workload has of what all have together. An LRU: who is pushed out counts anew. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, IG_SHARES_MAX);
	__type(key, __u64);
	__type(value, struct ig_share);
} shares SEC(".maps");

/* Workloads of which a record is being written just now that says how many had none: a lock, which
 * the kernel has not for maps that are LRUs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, IG_TELLING_MAX);
	__type(key, __u64);
	__type(value, __u8);
} telling SEC(".maps");

/* connect4/6 → sockops and getpeername: what is known about the redirected socket */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct ig_flow);
} redirected SEC(".maps");

/* Sockets that the monitor made for the agent's own calls to IMDS. Only a holder of this map can
 * mark a socket, unlike SO_MARK, which a pod with NET_ADMIN in its own user namespace can set. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} upstream SEC(".maps");

/* Sockets that the monitor made to listen at the ports which the bind hooks keep for it */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} port_owners SEC(".maps");

/* Connections to an endpoint that connect4/6 let pass, for the guard, which sees packets of a pod
 * without their socket. Whoever is pushed out is dropped there: fail closed. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, IG_DIRECT_MAX);
	__type(key, struct ig_direct_key);
	__type(value, struct ig_direct);
} direct SEC(".maps");

/* Sources of dropped packets, and all of them together: whose turn it is to be recorded */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, IG_GUARD_SOURCES_MAX);
	__type(key, struct ig_turn_key);
	__type(value, struct ig_turn);
} drops SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ig_turn);
} drops_all SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, IG_EVENT_RING_BYTES);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, IG_WAKEUP_RING_BYTES);
} wakeups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, _IG_COUNTER_MAX);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(enum ig_counter which)
{
	__u32 key = which;
	__u64 *value = bpf_map_lookup_elem(&counters, &key);

	if (value)
		(*value)++; /* per CPU, and these hooks do not nest on one */
}

/* For counters that hooks of both kinds use: a packet can be sent in the middle of a connect(). */
static __always_inline void count_shared(enum ig_counter which)
{
	__u32 key = which;
	__u64 *value = bpf_map_lookup_elem(&counters, &key);

	if (value)
		__sync_fetch_and_add(value, 1);
}
