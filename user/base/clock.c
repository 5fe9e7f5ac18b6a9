/*
 * Time; see clock.h. clock_gettime() cannot fail for these clocks.
 */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

#define LAST_USEC 253402300799999999ULL /* 9999-12-31T23:59:59.999999Z */

static uint64_t now_usec(clockid_t id)
{
	struct timespec ts = {};

	(void)clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * IG_USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t ig_clock_mono_usec(void)
{
	return now_usec(CLOCK_MONOTONIC);
}

uint64_t ig_clock_real_usec(void)
{
	return now_usec(CLOCK_REALTIME);
}

uint64_t ig_clock_boot_usec(void)
{
	return now_usec(CLOCK_BOOTTIME);
}

const char *ig_clock_format_rfc3339(uint64_t real_usec, char *buf)
{
	struct tm tm = {};
	time_t sec;
	size_t n;

	/* RFC 3339 has four digits for the year, and so has the buffer */
	if (real_usec > LAST_USEC)
		real_usec = LAST_USEC;
	sec = (time_t)(real_usec / IG_USEC_PER_SEC);
	(void)gmtime_r(&sec, &tm);
	n = strftime(buf, IG_RFC3339_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(buf + n, IG_RFC3339_BYTES - n, ".%06uZ",
		(unsigned int)(real_usec % IG_USEC_PER_SEC));
	return buf;
}
