/*
 * A place where the lines of the audit go, as the stream sees it: a name, a queue, and what to do
 * at the end. Each sink is a file of its own (sink_file.c, sink_stdout.c, sink_syslog.c,
 * sink_otlp.c) with a constructor; ig_audit_add_sink() takes what they make.
 */
#pragma once

#include <stdint.h>

#include "audit/queue.h"

struct ig_audit_sink;

struct ig_audit_sink_ops {
	const char *name; /* also the reason of its events.lost */
	/* Lines have been queued. NULL: the queue wakes its thread by itself. */
	void (*kick)(struct ig_audit_sink *sink);
	/* Writes what is left, until that time (monotonic) at the latest. The order to stop was
	 * given already. */
	void (*finish)(struct ig_audit_sink *sink, uint64_t deadline_usec);
	void (*free)(struct ig_audit_sink *sink);
};

/* The first member of each sink. */
struct ig_audit_sink {
	const struct ig_audit_sink_ops *ops;
	struct ig_audit_queue *queue; /* owned by the sink */
};

static inline struct ig_audit_sink *ig_audit_sink_free(struct ig_audit_sink *sink)
{
	if (sink)
		sink->ops->free(sink);
	return NULL;
}

static inline void ig_audit_sink_freep(struct ig_audit_sink **sink)
{
	(void)ig_audit_sink_free(*sink);
}
