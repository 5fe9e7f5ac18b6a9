/*
 * Time; see clock.h. clock_gettime() cannot fail for these clocks.
 */
#include "base/clock.h"

#include <string.h>
#include <time.h>

#define DAY_SEC	  86400
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

/* The date of a day since 1970, as text. Not gmtime_r(), which takes the lock of the time zone and
 * ten times as long. Years are counted from March, so that a leap day is the last of its year. */
static void put_date(char *buf, unsigned int days)
{
	const unsigned int to_1970 = 719468, of_400_years = 146097;
	unsigned int era = (days + to_1970) / of_400_years, day = (days + to_1970) % of_400_years;
	unsigned int year = (day - day / 1460 + day / 36524 - day / (of_400_years - 1)) / 365;
	unsigned int month;

	day -= 365 * year + year / 4 - year / 100;
	month = (5 * day + 2) / 153;
	day -= (153 * month + 2) / 5;
	month = month < 10 ? month + 3 : month - 9;
	year += 400 * era + (month <= 2);
	put_digits(buf, year, 4);
	put_digits(buf + 5, month, 2);
	put_digits(buf + 8, day + 1, 2);
}

const char *ig_clock_format_rfc3339(uint64_t real_usec, char *buf)
{
	unsigned int sec;

	/* RFC 3339 has four digits for the year, and so has the buffer */
	if (real_usec > LAST_USEC)
		real_usec = LAST_USEC;
	/* each audit record has times, and strftime() takes longer than the rest of it */
	memcpy(buf, "YYYY-MM-DDThh:mm:ss.uuuuuuZ", IG_RFC3339_BYTES);
	put_date(buf, (unsigned int)(real_usec / IG_USEC_PER_SEC / DAY_SEC));
	sec = (unsigned int)(real_usec / IG_USEC_PER_SEC % DAY_SEC);
	put_digits(buf + 11, sec / 3600, 2);
	put_digits(buf + 14, sec / 60 % 60, 2);
	put_digits(buf + 17, sec % 60, 2);
	put_digits(buf + 20, (unsigned int)(real_usec % IG_USEC_PER_SEC), 6);
	return buf;
}
