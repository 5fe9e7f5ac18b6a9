/*
 * Standard output as a sink: JSON lines for whatever collects the output of containers.
 */
#pragma once

#include <stddef.h>

#include "audit/sink.h"

struct ig_audit_stdout_options {
	int fd; /* usually a duplicate of standard output; becomes the sink's. Its flags are left
		   alone: others write there too */
	size_t queue_lines, queue_bytes; /* 0: the usual limits */
};

/* On failure the descriptor stays the caller's. */
int ig_audit_sink_stdout_new(
	const struct ig_audit_stdout_options *options, struct ig_audit_sink **ret);
