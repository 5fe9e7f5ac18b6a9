/*
 * A syslog receiver as a sink (RFC 5424; over TCP and TLS with octet counting, RFC 6587 and 5425).
 * Each line arrives at least once: after a break, what was sent shortly before is sent again, since
 * syslog acknowledges nothing. (run, seq) tells the copies.
 */
#pragma once

#include <stddef.h>

#include "audit/sink.h"
#include "audit/syslog_conn.h"

struct ig_audit_syslog_options {
	struct ig_syslog_target target;
	const char *ca_file;		 /* for TLS; NULL: the system's */
	const char *node;		 /* copied */
	const char *run_id;		 /* copied */
	size_t queue_lines, queue_bytes; /* 0: the usual limits */
};

/* Reads ca_file, starts a thread; connects later. */
int ig_audit_sink_syslog_new(const struct ig_audit_syslog_options *options,
	struct ig_audit_sink **ret, struct ig_err *err);
