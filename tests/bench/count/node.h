/*
 * The server process of imdsgated on one thread, for counting its instructions: the agent's own
 * code from the accepted socket to the audit file, with a monitor and an upstream that are part of
 * this program. What would differ between two runs is replaced at its seam: the clocks, the
 * kernel's random numbers, and the flow that BPF records (see BENCH_WRAP in tests.mk).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/agent.h"

#define NODE_POD "app-025" /* the one that asks */

struct node {
	struct ig_agent agent;
	struct ig_options options;
	struct event *monitor, *upstream; /* owned */
	struct ig_http_server *tokens;	  /* upstream; owned */
	int monitor_fd, upstream_fd;	  /* owned */
	uint16_t gate_port, upstream_port;
	int audit_lock_fd; /* owned */
	char imds_url[64];
};

/* With so many pods, each with a binding. The audit goes to the file audit_path, which is made
 * anew. Ends the program when something cannot be had. */
void node_init(struct node *node, const char *audit_path, unsigned int pods, bool chain);
/* Until here the thread of the audit file waits, so that what it does does not depend on when it is
 * woken: it writes everything now. Its queue has to be long enough. */
void node_done(struct node *node);

/* A process of the pod that asks, as the kernel tells of it. */
void node_fill_flow(struct ig_flow *ret);
/* Time goes on: no limit of so many a second is met. */
void node_next_turn(void);

/* Says why and exits. */
_Noreturn void node_die(const char *what);
