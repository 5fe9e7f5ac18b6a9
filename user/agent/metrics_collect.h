/*
 * What others of the agent count by themselves, taken over when somebody wants to see it, and what
 * that says about the agent's health. Reads, changes nothing.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "agent/metrics_table.h"

struct ig_agent;

struct ig_collect {
	const struct ig_agent *agent; /* the caller's */
	int statm_fd;		      /* the caller's; -1: no memory is told */
	uint64_t ask_monitor_usec;    /* not before (monotonic) */
	bool ok[_IG_HEALTH_MAX];      /* as of the last collection */
};

/* Into agent->metrics. Waits for the monitor, which answers at once unless something is wrong with
 * it; then at most two seconds, and not again for IG_METRICS_MONITOR_RETRY_SEC. */
void ig_collect(struct ig_collect *collect);
bool ig_collect_is_healthy(const struct ig_collect *collect);
