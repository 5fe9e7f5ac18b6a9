/*
 * From the flags of the audit to its sinks. What needs privilege is opened by ig_audit_open(), the
 * sinks are made after it was dropped. Called by server.c.
 */
#pragma once

#include "agent/options.h"
#include "base/err.h"

struct event_base;
struct ig_audit;

/* Descriptors are -1 or owned. */
struct ig_audit_opened {
	int dir_fd;
	int file_fd;
	const char *file_name; /* within the directory; owned by the options */
};

#define IG_AUDIT_OPENED_NONE ((struct ig_audit_opened){.dir_fd = -1, .file_fd = -1})

/* While privileged: makes the directory (if only that is missing) and the file, for the server's
 * user. */
int ig_audit_open(
	const struct ig_options *options, struct ig_audit_opened *ret, struct ig_err *err);
void ig_audit_opened_done(struct ig_audit_opened *opened);

/* Afterwards: the stream with all its sinks. Takes what was opened. */
int ig_audit_start(struct event_base *base, const struct ig_options *options,
	struct ig_audit_opened *opened, struct ig_audit **ret, struct ig_err *err);
