/*
 * One encoded audit record on its way to several sinks: made once, never changed, freed by whoever
 * lets go of it last. Sinks run in threads of their own, so the count is atomic.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "audit/record.h"

struct ig_audit_line {
	atomic_uint refs;
	enum ig_audit_kind kind;
	enum ig_audit_decision decision;
	uint64_t seq;
	uint64_t time_usec; /* real clock; what its "time" says */
	size_t len;	    /* with the newline at the end */
	char text[];
};

/* Copies the text. NULL when out of memory. */
struct ig_audit_line *ig_audit_line_new(const char *text, size_t len);
struct ig_audit_line *ig_audit_line_ref(struct ig_audit_line *line);
struct ig_audit_line *ig_audit_line_unref(struct ig_audit_line *line);

static inline void ig_audit_line_unrefp(struct ig_audit_line **line)
{
	(void)ig_audit_line_unref(*line);
}
