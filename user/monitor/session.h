/*
 * What one server process may ask for, and when. Private to monitor.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "monitor/proto.h"

enum ig_session_state {
	IG_SESSION_STARTING, /* nothing was said yet */
	IG_SESSION_SYNCED,   /* all workloads are set */
	IG_SESSION_SERVING,  /* serves with what it has; not all of it is known */
	IG_SESSION_SETTLED,  /* serves, and all workloads are set */
	_IG_SESSION_STATE_MAX
};

struct ig_session {
	enum ig_session_state state;
	bool drains;				  /* it was told to, and has not answered yet */
	uint64_t upstream_credit_usec, seen_usec; /* upstream sockets: what was saved up, when */
};

void ig_session_begin(struct ig_session *session, uint64_t now_mono_usec);

/* It is told to accept nothing more, which it may answer once. */
void ig_session_drain(struct ig_session *session);

/* Takes note of a request and says whether it may be served. -EPROTO: no working server asks for
 * this in this state. -EBUSY: it may, but not as often. */
int ig_session_admit(struct ig_session *session, uint32_t kind, uint64_t now_mono_usec);

/* "WORKLOAD_SET", "unknown" */
const char *ig_session_request_name(uint32_t kind);
