/*
 * Telling the agent: audit events to the server, wake-ups to the monitor. A record that does not
 * fit is counted, never waited for; the connection's fate does not depend on it. A workload has so
 * many records a second, so that none can fill a ring for the others.
 */
#pragma once

#include "share.bpf.h"

static __always_inline void ig_event_emit(enum ig_event_reason reason, const struct ig_flow *flow)
{
	struct ig_share *share = ig_share_of(&flow->caller);
	struct ig_event *event;

	if (share && !ig_share_take_turn(&share->events, IG_EVENTS_WORKLOAD_PER_SEC)) {
		count(IG_COUNTER_EVENTS_SUPPRESSED);
		return;
	}
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		count_shared(IG_COUNTER_EVENTS_LOST);
		return;
	}
	event->reason = reason;
	event->pad = 0;
	event->flow = *flow;
	__builtin_memset(&event->packet, 0, sizeof(event->packet));
	if (share)
		event->packet.suppressed =
			ig_share_tell(&share->events, ig_share_key(&flow->caller));
	bpf_ringbuf_submit(event, 0);
}

static __always_inline void ig_wakeup_emit(const struct ig_caller *caller)
{
	struct ig_share *share = ig_share_of(caller);
	struct ig_wakeup *wakeup;

	if (share && !ig_share_take_turn(&share->wakeups, IG_WAKEUPS_WORKLOAD_PER_SEC)) {
		count(IG_COUNTER_WAKEUPS_SUPPRESSED);
		return;
	}
	wakeup = bpf_ringbuf_reserve(&wakeups, sizeof(*wakeup), 0);
	if (!wakeup) {
		count(IG_COUNTER_WAKEUPS_LOST);
		return;
	}
	wakeup->netns_cookie = caller->netns_cookie;
	wakeup->cgroup_id = caller->cgroup_id;
	wakeup->workload_cgroup_id = caller->workload_cgroup_id;
	wakeup->tgid = caller->tgid;
	wakeup->tid = caller->tid;
	bpf_ringbuf_submit(wakeup, 0);
}
