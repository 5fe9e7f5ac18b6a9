/*
 * Input and output of the test programs in decide.bpf.c.
 */
#pragma once

#include <linux/types.h>

#include <imdsgate/abi.h>
#include <imdsgate/limits.h>

struct decide_case {
	/* in */
	__u64 netns_cookie;
	__u64 cgroup_ids[IG_CGROUP_DEPTH_MAX];
	__u32 endpoint;
	__u32 protocol;
	__u32 from_agent;
	__u32 is_stream;
	__u64 gone_cgroup_id; /* found declared, and its entry is not there any more; 0: none */
	/* out */
	__u32 verdict;
	__u32 reason;
	__u32 silent;
	__u32 pad;
	__u64 workload_cgroup_id;
};

struct endpoint_case {
	/* in */
	__u32 ip6_be[4];
	__u32 port_be;
	/* out */
	__u32 is_v4_mapped;
	__u32 endpoint;
	__u32 is_host_token;
};

struct tell_case {
	/* in and out */
	struct ig_turn turn;
	/* in */
	__u64 workload;
	/* out */
	__u64 untold;
};
