/*
 * Runs the decision functions of bpf/decide.bpf.h, compiled by the same compiler and checked by the
 * same verifier, from a program type that can be run with given input (BPF_PROG_TEST_RUN refuses
 * cgroup/connect4 programs).
 */
#include <linux/bpf.h>

#include "decide.bpf.h"
#include "decide_case.h"
#include "share.bpf.h"

static __always_inline void read_conn(const struct decide_case *c, struct ig_conn *conn)
{
	__u64 ids[IG_CGROUP_DEPTH_MAX];

	conn->netns_cookie = c->netns_cookie;
	conn->endpoint = c->endpoint;
	conn->protocol = c->protocol;
	conn->from_agent = c->from_agent;
	conn->is_stream = c->is_stream;
	/* the verifier wants to see constant offsets into a context */
#pragma clang loop unroll(full)
	for (int i = 0; i < IG_CGROUP_DEPTH_MAX; i++)
		ids[i] = c->cgroup_ids[i];
	for (int i = 0; i < IG_CGROUP_DEPTH_MAX; i++)
		if (!ig_declared_step(ids[i], &conn->declared))
			break;
	for (int i = 0; conn->declared && i < IG_CGROUP_DEPTH_MAX; i++)
		if (!ig_below_step(ids[i], conn->declared, &conn->below))
			break;
	if (c->gone_cgroup_id)
		conn->declared = c->gone_cgroup_id;
}

SEC("syscall")
int run_host_token(struct decide_case *c)
{
	struct ig_conn conn = {};

	read_conn(c, &conn);
	c->workload_cgroup_id = 0;
	c->verdict = ig_is_for_host_token(&conn, &c->workload_cgroup_id);
	return 0;
}

SEC("syscall")
int run_decide(struct decide_case *c)
{
	struct ig_conn conn = {};
	struct ig_decision d;

	read_conn(c, &conn);
	d = ig_decide(&conn);
	c->verdict = d.verdict;
	c->reason = d.reason;
	c->silent = d.silent;
	c->workload_cgroup_id = d.workload_cgroup_id;
	return 0;
}

SEC("syscall")
int run_endpoint(struct endpoint_case *c)
{
	__u32 ip6[4] = {c->ip6_be[0], c->ip6_be[1], c->ip6_be[2], c->ip6_be[3]};

	c->is_v4_mapped = ig_is_v4_mapped(ip6);
	c->endpoint = ig_endpoint_find(ip6[3], (__u16)c->port_be);
	c->is_host_token = ig_is_host_token_port(ip6[3], (__u16)c->port_be);
	return 0;
}

SEC("syscall")
int run_tell(struct tell_case *c)
{
	struct ig_turn turn = c->turn;

	c->untold = ig_share_tell(&turn, c->workload);
	c->turn = turn;
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
