/*
 * Makes audit events as the hooks do, in the agent's ring, but as many as are wanted: a workload by
 * itself has a limit of so many a second. They are of the process that runs this, and of as many
 * workloads as there are events.
 */
#include <linux/bpf.h>
#include <linux/in.h>

#include "conn.bpf.h"
#include "flood.h"

SEC("syscall")
int flood(struct flood *f)
{
	struct ig_event *event;

	for (int i = 0; i < FLOOD_EVENTS && f->made < f->wanted; i++) {
		if (bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA) > IG_EVENT_RING_BYTES / 2)
			break;
		event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
		if (!event)
			break;
		__builtin_memset(event, 0, sizeof(*event));
		ig_caller_read(&event->flow.caller);
		event->reason = IG_EVENT_DENIED;
		event->flow.caller.netns_cookie = f->netns_cookie;
		event->flow.caller.workload_cgroup_id = f->made;
		event->flow.cookie = f->made;
		event->flow.daddr_be = bpf_htonl(IG_ADDR_WIRESERVER);
		event->flow.dport_be = bpf_htons(80);
		event->flow.family = AF_INET;
		event->flow.protocol = IPPROTO_TCP;
		event->flow.endpoint = IG_ENDPOINT_WIRESERVER;
		bpf_ringbuf_submit(event, 0);
		f->made++;
	}
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
