/*
 * How many descriptors a process of the agent may have, and what that allows. Called once by each
 * process when it starts: who meets the limit only when it is reached turns away whoever comes
 * next, not who has too much.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct ig_descriptors {
	uint64_t limit;	 /* RLIMIT_NOFILE, the soft one */
	uint64_t wanted; /* for the limits of limits.h */
	/* limits of limits.h, or what there are descriptors for */
	size_t listeners, connections, connections_workload;
};

/* Raises the soft limit as far as is wanted and allowed. 0 or a negative errno. */
int ig_descriptors_raise(void);

/* What this process may have. */
struct ig_descriptors ig_descriptors_get(void);

/* The same for a limit. Pure. */
struct ig_descriptors ig_descriptors_of(uint64_t limit);
