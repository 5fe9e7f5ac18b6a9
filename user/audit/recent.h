/*
 * The last lines of the stream, for subscribers that resume. Bounded by lines and bytes: the oldest
 * go first.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "audit/line.h"

struct ig_audit_recent;

int ig_audit_recent_new(struct ig_audit_recent **ret);
struct ig_audit_recent *ig_audit_recent_free(struct ig_audit_recent *recent);

/* Takes a reference. */
void ig_audit_recent_add(struct ig_audit_recent *recent, struct ig_audit_line *line);
/* The oldest line whose number is above `seq`, borrowed; NULL when there is none. */
struct ig_audit_line *ig_audit_recent_after(const struct ig_audit_recent *recent, uint64_t seq);
