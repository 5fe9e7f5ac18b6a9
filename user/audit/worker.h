/*
 * A sink that works in a thread of its own, so that a disk or a peer that hangs holds up nothing
 * else. The thread is started after privileges were dropped: some of them belong to a thread, not
 * to the process.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include "audit/sink.h"

struct ig_audit_worker {
	struct ig_audit_sink sink; /* the first member */
	pthread_t thread;
	bool running;
	/* The thread: serves sink.queue until IG_AUDIT_QUEUE_STOP, then writes what it can at once
	 * and returns. Touches nothing of the loop's. */
	void (*run)(struct ig_audit_worker *worker);
};

/* Makes the queue and starts the thread. max_lines, max_bytes: 0 for the usual limits. */
int ig_audit_worker_start(struct ig_audit_worker *worker, const struct ig_audit_sink_ops *ops,
	void (*run)(struct ig_audit_worker *worker), size_t max_lines, size_t max_bytes);
/* For ops.finish. A thread that does not end in time stays running (see below). */
void ig_audit_worker_finish(struct ig_audit_sink *sink, uint64_t deadline_usec);
/* True: the thread has ended and everything may be freed. False: it hangs in a system call, so what
 * it uses has to be left to it. */
bool ig_audit_worker_done(struct ig_audit_worker *worker);
