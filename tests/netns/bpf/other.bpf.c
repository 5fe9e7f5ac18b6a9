/*
 * Somebody else's connect4 program, as Cilium and others attach one: lets everything pass and
 * counts its runs, so that the tests can see that it still works beside the gate's. Compiled and
 * attached by test_coexist.py with clang and bpftool; no part of the agent.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} other_runs SEC(".maps");

SEC("cgroup/connect4")
int other_connect4(struct bpf_sock_addr *ctx)
{
	__u32 zero = 0;
	__u64 *runs = bpf_map_lookup_elem(&other_runs, &zero);

	(void)ctx;
	if (runs)
		__sync_fetch_and_add(runs, 1);
	return 1;
}

char _license[] SEC("license") = "GPL";
