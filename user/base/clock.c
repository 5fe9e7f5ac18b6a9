/*
 * Time; see clock.h. clock_gettime() cannot fail for these clocks.
 */
#include "base/clock.h"

#include <string.h>
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

static void put_digits(char *buf, unsigned int n, size_t digits)
{
	for (; digits-- > 0; n /= 10)
		buf[digits] = (char)('0' + n % 10);
}

const char *ig_clock_format_rfc3339(uint64_t real_usec, char *buf)
{
	struct tm tm = {};
	time_t sec;

	/* RFC 3339 has four digits for the year, and so has the buffer */
	if (real_usec > LAST_USEC)
		real_usec = LAST_USEC;
	sec = (time_t)(real_usec / IG_USEC_PER_SEC);
	(void)gmtime_r(&sec, &tm);
	/* each audit record has a time, and strftime() takes longer than the rest of it */
	memcpy(buf, "YYYY-MM-DDThh:mm:ss.uuuuuuZ", IG_RFC3339_BYTES);
	put_digits(buf, (unsigned int)tm.tm_year + 1900, 4);
	put_digits(buf + 5, (unsigned int)tm.tm_mon + 1, 2);
	put_digits(buf + 8, (unsigned int)tm.tm_mday, 2);
	put_digits(buf + 11, (unsigned int)tm.tm_hour, 2);
	put_digits(buf + 14, (unsigned int)tm.tm_min, 2);
	put_digits(buf + 17, (unsigned int)tm.tm_sec, 2);
	put_digits(buf + 20, (unsigned int)(real_usec % IG_USEC_PER_SEC), 6);
	return buf;
}
