/*
 * The table of what is legal when; see session.h. The server is unprivileged and talks to the
 * world: one that asks for what it cannot need is broken or not itself any more.
 *
 * Workloads' connections may arrive as soon as the listeners are handed over, which is before the
 * server has said that it serves; so looking up callers and going upstream is legal from the start.
 */
#include "monitor/session.h"

#include <errno.h>
#include <stdbool.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define STARTING (1U << IG_SESSION_STARTING)
#define SYNCED	 (1U << IG_SESSION_SYNCED)
#define SERVING	 (1U << IG_SESSION_SERVING)
#define SETTLED	 (1U << IG_SESSION_SETTLED)
#define ALWAYS	 (STARTING | SYNCED | SERVING | SETTLED)

#define UPSTREAM_COST_USEC  (IG_USEC_PER_SEC / IG_MONITOR_UPSTREAM_PER_SEC)
#define UPSTREAM_BURST_USEC (UPSTREAM_COST_USEC * IG_MONITOR_UPSTREAM_BURST)

static const struct {
	const char *name;
	unsigned int legal_in; /* bits of states; 0: never */
} table[_IG_MONITOR_REQUEST_MAX] = {
	[IG_MONITOR_CGROUP_PATH] = {"CGROUP_PATH", ALWAYS},
	[IG_MONITOR_PROCESS] = {"PROCESS", ALWAYS},
	[IG_MONITOR_UPSTREAM_SOCKET] = {"UPSTREAM_SOCKET", ALWAYS},
	[IG_MONITOR_WORKLOAD_SET] = {"WORKLOAD_SET", ALWAYS},
	[IG_MONITOR_WORKLOAD_DELETE] = {"WORKLOAD_DELETE", ALWAYS},
	/* takes away what was not set: once, before or after it serves */
	[IG_MONITOR_WORKLOADS_SYNCED] = {"WORKLOADS_SYNCED", STARTING | SERVING},
	[IG_MONITOR_FLOW_TAKE] = {"FLOW_TAKE", ALWAYS},
	[IG_MONITOR_COUNTERS] = {"COUNTERS", ALWAYS},
	[IG_MONITOR_SOURCE] = {"SOURCE", ALWAYS},
	/* attaches the programs: once */
	[IG_MONITOR_READY] = {"READY", STARTING | SYNCED},
	[IG_MONITOR_ALIVE] = {"ALIVE", ALWAYS},
	/* lets another agent serve: only when it was told to */
	[IG_MONITOR_DRAINING] = {"DRAINING", ALWAYS},
};

void ig_session_begin(struct ig_session *session, uint64_t now_mono_usec)
{
	*session = (struct ig_session){.state = IG_SESSION_STARTING,
		.upstream_credit_usec = UPSTREAM_BURST_USEC,
		.seen_usec = now_mono_usec};
}

void ig_session_drain(struct ig_session *session)
{
	session->drains = true;
}

static bool take_upstream(struct ig_session *session, uint64_t now_usec)
{
	uint64_t passed = now_usec > session->seen_usec ? now_usec - session->seen_usec : 0;
	uint64_t room = UPSTREAM_BURST_USEC - session->upstream_credit_usec;

	session->seen_usec = now_usec;
	session->upstream_credit_usec += passed < room ? passed : room;
	if (session->upstream_credit_usec < UPSTREAM_COST_USEC)
		return false;
	session->upstream_credit_usec -= UPSTREAM_COST_USEC;
	return true;
}

static void advance(struct ig_session *session, uint32_t kind)
{
	bool is_first = session->state == IG_SESSION_STARTING;

	if (kind == IG_MONITOR_WORKLOADS_SYNCED)
		session->state = is_first ? IG_SESSION_SYNCED : IG_SESSION_SETTLED;
	else if (kind == IG_MONITOR_READY)
		session->state = is_first ? IG_SESSION_SERVING : IG_SESSION_SETTLED;
	else if (kind == IG_MONITOR_DRAINING)
		session->drains = false;
}

int ig_session_admit(struct ig_session *session, uint32_t kind, uint64_t now_mono_usec)
{
	if (kind >= _IG_MONITOR_REQUEST_MAX || !(table[kind].legal_in & 1U << session->state))
		return -EPROTO;
	if (kind == IG_MONITOR_DRAINING && !session->drains)
		return -EPROTO;
	if (kind == IG_MONITOR_UPSTREAM_SOCKET && !take_upstream(session, now_mono_usec))
		return -EBUSY;
	advance(session, kind);
	return 0;
}

const char *ig_session_request_name(uint32_t kind)
{
	return kind < IG_ARRAY_SIZE(table) && table[kind].name ? table[kind].name : "unknown";
}
