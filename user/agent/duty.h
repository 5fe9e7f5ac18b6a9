/*
 * Which agent serves, of several. A server says when it is ready, is on duty at once or when the
 * agent beside it lets go, and ends when the next one takes over. The monitor decides
 * (monitor/proto.h); this is the server's side of it. Used by server.c.
 */
#pragma once

#include <stdbool.h>

#include "monitor/proto.h"

struct ig_agent;
struct ig_duty;

struct ig_duty_options {
	struct ig_agent *agent;
	bool standby; /* another agent serves */
	enum ig_monitor_start reason;
	/* There is nothing to go on with (result < 0). */
	void (*stop)(int result, void *userdata);
	void *userdata;
};

/* The agent's base, link, ring and audit have to be there. Sets agent->wants_ready. */
int ig_duty_new(const struct ig_duty_options *options, struct ig_duty **ret);
struct ig_duty *ig_duty_free(struct ig_duty *duty);

/* Reads the kernel's events, unless another agent does. */
int ig_duty_start(struct ig_duty *duty);
/* The kernel knows all workloads that are declared. */
void ig_duty_synced(struct ig_duty *duty);
/* The monitor: this agent serves now. */
void ig_duty_begin(struct ig_duty *duty);
/* The monitor: another agent serves now. What has begun is brought to an end. */
void ig_duty_end(struct ig_duty *duty);
/* No kernel event comes in any more. duty may be NULL. */
void ig_duty_stop(struct ig_duty *duty);
