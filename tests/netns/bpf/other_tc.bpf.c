/*
 * Somebody else's program at egress of an uplink, as CNIs attach one: lets everything pass to the
 * next and counts its runs. Compiled and attached by test_guard.py; no part of the agent.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <linux/pkt_cls.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} other_packets SEC(".maps");

SEC("tc")
int other_tc(struct __sk_buff *skb)
{
	__u32 zero = 0;
	__u64 *packets = bpf_map_lookup_elem(&other_packets, &zero);

	(void)skb;
	if (packets)
		__sync_fetch_and_add(packets, 1);
	return TC_ACT_OK;
}

char _license[] SEC("license") = "GPL";
