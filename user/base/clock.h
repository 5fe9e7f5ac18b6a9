/*
 * Time. Durations and deadlines use the monotonic clock; tokens and records use the real one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define IG_USEC_PER_SEC	 1000000ULL
#define IG_USEC_PER_MSEC 1000ULL

uint64_t ig_clock_mono_usec(void);
uint64_t ig_clock_real_usec(void); /* microseconds since 1970-01-01T00:00:00Z */

#define IG_RFC3339_BYTES 28
/* "2026-01-02T03:04:05.678901Z"; buf holds IG_RFC3339_BYTES. Times behind the year 9999 become
 * its last microsecond. Returns buf. */
const char *ig_clock_format_rfc3339(uint64_t real_usec, char *buf);
