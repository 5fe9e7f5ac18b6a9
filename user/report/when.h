/*
 * Points in time as people and audit records write them.
 */
#pragma once

#include <stdint.h>

/* RFC 3339: "2026-01-02T03:04:05Z", with a fraction (cut to microseconds) or an offset if there is
 * one. Microseconds since 1970. 0 or -EINVAL; years before 1970 are -EINVAL. */
int ig_when_parse(const char *s, uint64_t *ret_usec);

/* The same, or how long ago: a number and s, m, h, d or w ("36h"). A time before 1970 becomes 0.
 * 0 or -EINVAL. */
int ig_when_parse_or_ago(const char *s, uint64_t now_usec, uint64_t *ret_usec);
