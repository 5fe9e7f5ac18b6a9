/*
 * Posts for the OTLP sink of the audit, through an HTTP client of its own.
 */
#pragma once

#include "audit/sink_otlp.h"

/* The client's sockets are ordinary ones, so a collector cannot be a guarded endpoint. headers_file
 * ("Name: value" lines, # for comments) is read for every request, as the server's user; NULL:
 * none. Both strings are borrowed for the poster's life. */
int ig_otlp_poster_new(struct event_base *base, const char *url, const char *headers_file,
	struct ig_audit_poster *ret);
