/*
 * The decision, apart from the hooks: plain structures in, plain values out, maps read but not
 * written. BPF_PROG_TEST_RUN refuses cgroup/connect4 programs (errno 524), so tests/bpf runs
 * exactly these functions from SEC("syscall") programs.
 *
 * Failing closed, in order of what may be missing: no settings → deny; no workload entry → the
 * default of the caller's kind of namespace; an entry that was never filled in → deny (zero).
 */
#pragma once

#include <stdbool.h>

#include <linux/in.h>

#include <bpf/bpf_endian.h>

#include "maps.bpf.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* What a decision depends on. */
struct ig_conn {
	__u64 netns_cookie;
	__u64 declared; /* the deepest cgroup of the caller that is declared, or 0 */
	__u64 below;	/* the one directly below that, on the way to the caller's own, or 0 */
	__u32 endpoint; /* enum ig_endpoint */
	__u32 protocol;
	bool from_agent; /* the socket stands in `upstream` */
	bool is_stream;
};

struct ig_decision {
	enum ig_verdict verdict;
	enum ig_event_reason reason;
	__u64 workload_cgroup_id;
	bool silent; /* the agent's own traffic: not an event */
};

/* The guarded endpoint at this address and port (network order), or _IG_ENDPOINT_MAX. Address
 * first: almost every connection of a machine ends at this one comparison. */
static __always_inline enum ig_endpoint ig_endpoint_find(__u32 daddr_be, __u16 dport_be)
{
	if (daddr_be == bpf_htonl(IG_ADDR_IMDS))
		return dport_be == bpf_htons(IG_PORT_METADATA) ? IG_ENDPOINT_IMDS
							       : _IG_ENDPOINT_MAX;
	if (daddr_be != bpf_htonl(IG_ADDR_WIRESERVER))
		return _IG_ENDPOINT_MAX;
	if (dport_be == bpf_htons(IG_PORT_METADATA))
		return IG_ENDPOINT_WIRESERVER;
	if (dport_be == bpf_htons(IG_PORT_HOSTGAPLUGIN))
		return IG_ENDPOINT_HOSTGAPLUGIN;
	return _IG_ENDPOINT_MAX;
}

/* The agent's port for /host/token? Address first, so that only connects to loopback pay for the
 * lookup. Says nothing about the namespace. */
static __always_inline bool ig_is_host_token_port(__u32 daddr_be, __u16 dport_be)
{
	const struct ig_settings *set;
	__u32 zero = 0;

	if (daddr_be != bpf_htonl(IG_ADDR_LOOPBACK))
		return false;
	set = bpf_map_lookup_elem(&settings, &zero);
	return set && set->host_token_port_be && set->host_token_port_be == dport_be;
}

/* ::ffff:a.b.c.d, the only IPv6 form that reaches an IPv4 host without translation */
static __always_inline bool ig_is_v4_mapped(const __u32 ip6[4])
{
	return ip6[0] == 0 && ip6[1] == 0 && ip6[2] == bpf_htonl(0xffff);
}

/* One step on the way from the root of the cgroups down to the caller's own, whose end is 0: the
 * last one that is declared counts. The hooks take these steps in functions that are not static:
 * the verifier then looks at them once, instead of from each state that their callers can be in
 * (which took it a third of a second). */
static __always_inline bool ig_declared_step(__u64 id, __u64 *declared)
{
	if (id && bpf_map_lookup_elem(&workloads, &id))
		*declared = id;
	return id != 0;
}

/* The same steps once more, up to the one after the declared cgroup. *last: 0 before the first. */
static __always_inline bool ig_below_step(__u64 id, __u64 declared, __u64 *last)
{
	bool is_below = *last == declared;

	*last = id;
	return id != 0 && !is_below;
}

/* The verdicts of the caller's declared cgroup, which cover everything below it. What is directly
 * below a default for many is one workload, whatever cgroups it makes for itself. */
static __always_inline const struct ig_workload_entry *ig_workload_find(
	const struct ig_conn *conn, __u64 *ret_cgroup_id)
{
	__u64 id = conn->declared;
	const struct ig_workload_entry *entry;

	if (!id)
		return NULL;
	entry = bpf_map_lookup_elem(&workloads, &id);
	if (entry)
		*ret_cgroup_id = entry->covers_many ? conn->below : id;
	return entry;
}

static __always_inline enum ig_verdict ig_verdict_of(
	const struct ig_conn *conn, __u64 *ret_cgroup_id)
{
	const struct ig_workload_entry *entry = ig_workload_find(conn, ret_cgroup_id);
	__u32 endpoint = conn->endpoint;
	const struct ig_settings *set;
	__u32 zero = 0;
	__u8 verdict;

	if (endpoint >= _IG_ENDPOINT_MAX)
		return IG_VERDICT_DENY;
	/* The compiler must not leave out "& 3" for knowing more than the verifier remembers (of
	 * what was on the stack meanwhile: Linux 6.1). */
	barrier_var(endpoint);
	if (entry) {
		verdict = entry->verdict[endpoint & 3];
	} else if (conn->declared) {
		/* It was there a moment ago. What its ancestors may is not known any more, and it
		 * must not count as the host's. */
		return IG_VERDICT_DENY;
	} else {
		set = bpf_map_lookup_elem(&settings, &zero);
		if (!set)
			return IG_VERDICT_DENY;
		verdict = conn->netns_cookie == set->host_netns_cookie
				  ? set->host_verdict[endpoint & 3]
				  : set->other_verdict[endpoint & 3];
	}
	return verdict < _IG_VERDICT_MAX ? (enum ig_verdict)verdict : IG_VERDICT_DENY;
}

static __always_inline bool ig_is_tcp(const struct ig_conn *conn)
{
	return conn->is_stream &&
	       (conn->protocol == IPPROTO_TCP || conn->protocol == IPPROTO_MPTCP);
}

/* Does this connect, which goes to the port for /host/token, reach the agent? In another namespace
 * that port is somebody else's. *ret_cgroup_id: as of a decision. */
static __always_inline bool ig_is_for_host_token(const struct ig_conn *conn, __u64 *ret_cgroup_id)
{
	const struct ig_settings *set;
	__u32 zero = 0;

	set = bpf_map_lookup_elem(&settings, &zero);
	if (!set || conn->netns_cookie != set->host_netns_cookie || !ig_is_tcp(conn))
		return false;
	(void)ig_workload_find(conn, ret_cgroup_id);
	return true;
}

static __always_inline struct ig_decision ig_decide(const struct ig_conn *conn)
{
	struct ig_decision d = {.verdict = IG_VERDICT_DENY, .reason = IG_EVENT_DENIED};

	if (conn->from_agent && conn->endpoint == IG_ENDPOINT_IMDS) {
		d.verdict = IG_VERDICT_PASS;
		d.reason = IG_EVENT_PASSED;
		d.silent = true;
		return d;
	}
	d.verdict = ig_verdict_of(conn, &d.workload_cgroup_id);
	if (d.verdict == IG_VERDICT_PASS) {
		d.reason = IG_EVENT_PASSED;
	} else if (d.verdict == IG_VERDICT_REDIRECT && !ig_is_tcp(conn)) {
		d.verdict = IG_VERDICT_DENY;
		d.reason = IG_EVENT_NOT_TCP;
	}
	return d;
}
