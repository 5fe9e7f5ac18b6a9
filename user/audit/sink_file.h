/*
 * The audit file as a sink: JSON lines, rotated by size and age, opened again on request, synced
 * according to a policy. See docs/audit.md for what each policy promises.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "audit/sink.h"

enum ig_audit_fsync {
	IG_AUDIT_FSYNC_NONE,	 /* the kernel writes when it likes */
	IG_AUDIT_FSYNC_INTERVAL, /* at most one second after a line was written */
	IG_AUDIT_FSYNC_ALWAYS,	 /* after every batch of lines */
	_IG_AUDIT_FSYNC_MAX
};

struct ig_audit_file_options {
	int dir_fd; /* its directory, for rotation and reopening; -1: neither. Becomes the sink's */
	int fd;	    /* opened O_APPEND; becomes the sink's */
	const char *name;      /* within the directory; copied */
	uint64_t rotate_bytes; /* 0: not by size */
	uint64_t rotate_usec;  /* 0: not by age */
	unsigned int keep;     /* rotated files, 1 to IG_AUDIT_KEEP_MAX */
	enum ig_audit_fsync fsync;
	uint64_t half_line_usec; /* wait so long for somebody else to end a line; 0: until no
				    other agent can be there any more */
	size_t queue_lines, queue_bytes; /* 0: the usual limits */
};

/* After privileges were dropped: it starts a thread. On failure the descriptors stay the caller's.
 * -EINVAL: it is to be rotated but is no regular file. */
int ig_audit_sink_file_new(const struct ig_audit_file_options *options, struct ig_audit_sink **ret);
