/*
 * What gate.c and gate_listeners.c share: connections, and the listeners that they come from.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "agent/agent.h"

struct ig_gate_listener;
struct ig_gate_waiting;

/* gate_listeners.c's; zero: none. */
struct ig_gate_listeners {
	struct ig_gate_listener *table;	    /* owned; by the cookie of the namespace */
	struct ig_gate_listener *host_port; /* owned; for /host/token, NULL without */
	LIST_HEAD(, ig_gate_waiting) waiting;
	bool ask_monitor; /* the kernel does not let us read the flows map */
};

struct ig_gate {
	struct ig_agent *agent;
	struct ig_gate_listeners listeners;
	struct ig_http_server *http;	  /* owned */
	struct ig_quota *quota;		  /* owned; connections of each workload */
	LIST_HEAD(, ig_gate_conn) not_in; /* attributed, and not let in yet */
	LIST_HEAD(, ig_gate_conn) conns;
	size_t connections;
	bool draining;
};

/* ---- gate.c ---- */

/* Another agent serves, and nobody is connected any more: the loop ends. */
void ig_gate_end_if_drained(struct ig_gate *gate);
/* Closes with a reset: the peer learns at once, and nothing lingers for it. */
void ig_gate_reset(int fd);

/* ---- gate_listeners.c ---- */

/* Accepts nothing any more. Who is accepted and waits for its flow goes on. */
void ig_gate_listeners_close(struct ig_gate *gate);
/* Closes these, too, and tells nobody. */
void ig_gate_listeners_done(struct ig_gate *gate);
