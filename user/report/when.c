/*
 * Reading points in time; see when.h. No locale, no time zone of the machine: only what the text
 * says counts. Called for every record of a log, so it does not allocate.
 */
#include "report/when.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/parse.h"

#define SEC_PER_MIN  60
#define SEC_PER_HOUR 3600
#define SEC_PER_DAY  86400

/* Takes n digits off the front. */
static bool take(const char **s, int n, int *ret)
{
	int value = 0;

	for (int i = 0; i < n; i++) {
		char c = (*s)[i];

		if (c < '0' || c > '9')
			return false;
		value = value * 10 + (c - '0');
	}
	*s += n;
	*ret = value;
	return true;
}

static bool take_char(const char **s, char c)
{
	if (**s != c)
		return false;
	(*s)++;
	return true;
}

static bool is_leap(int year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* "YYYY-MM-DDTHH:MM:SS" */
static bool take_time(const char **s, struct tm *tm)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap_day;

	if (!take(s, 4, &tm->tm_year) || !take_char(s, '-') || !take(s, 2, &tm->tm_mon) ||
		!take_char(s, '-') || !take(s, 2, &tm->tm_mday))
		return false;
	if (!take_char(s, 'T') && !take_char(s, 't') && !take_char(s, ' '))
		return false;
	if (!take(s, 2, &tm->tm_hour) || !take_char(s, ':') || !take(s, 2, &tm->tm_min) ||
		!take_char(s, ':') || !take(s, 2, &tm->tm_sec))
		return false;
	if (tm->tm_year < 1970 || tm->tm_mon < 1 || tm->tm_mon > 12 || tm->tm_mday < 1 ||
		tm->tm_hour > 23 || tm->tm_min > 59 || tm->tm_sec > 60)
		return false;
	leap_day = tm->tm_mon == 2 && tm->tm_mday == 29 && is_leap(tm->tm_year);
	if (tm->tm_mday > days[tm->tm_mon - 1] && !leap_day)
		return false;
	tm->tm_year -= 1900;
	tm->tm_mon--;
	return true;
}

/* ".5", as microseconds; what is finer is cut off. */
static bool take_fraction(const char **s, uint64_t *ret_usec)
{
	uint64_t unit = IG_USEC_PER_SEC;
	int digit, n = 0;

	*ret_usec = 0;
	if (!take_char(s, '.'))
		return true;
	for (; take(s, 1, &digit); n++) {
		unit /= 10;
		*ret_usec += unit * (uint64_t)digit;
	}
	return n > 0;
}

/* "Z" or "+02:00", as seconds east. */
static bool take_offset(const char **s, int *ret_sec)
{
	int hours, minutes, sign = **s == '-' ? -1 : 1;

	*ret_sec = 0;
	if (take_char(s, 'Z') || take_char(s, 'z'))
		return true;
	if (!take_char(s, '+') && !take_char(s, '-'))
		return false;
	if (!take(s, 2, &hours) || !take_char(s, ':') || !take(s, 2, &minutes) || hours > 23 ||
		minutes > 59)
		return false;
	*ret_sec = sign * (hours * SEC_PER_HOUR + minutes * SEC_PER_MIN);
	return true;
}

int ig_when_parse(const char *s, uint64_t *ret_usec)
{
	struct tm tm = {};
	uint64_t fraction;
	time_t sec;
	int offset;

	if (!take_time(&s, &tm) || !take_fraction(&s, &fraction) || !take_offset(&s, &offset) || *s)
		return -EINVAL;
	sec = timegm(&tm) - offset;
	if (sec < 0)
		return -EINVAL;
	*ret_usec = (uint64_t)sec * IG_USEC_PER_SEC + fraction;
	return 0;
}

int ig_when_parse_or_ago(const char *s, uint64_t now_usec, uint64_t *ret_usec)
{
	static const struct {
		char unit;
		uint64_t sec;
	} units[] = {{'s', 1}, {'m', SEC_PER_MIN}, {'h', SEC_PER_HOUR}, {'d', SEC_PER_DAY},
		{'w', 7 * SEC_PER_DAY}};
	size_t digits = strspn(s, "0123456789");
	char number[11];
	uint32_t n;

	if (digits == 0 || digits >= sizeof(number) || s[digits] == '\0' || s[digits + 1] != '\0')
		return ig_when_parse(s, ret_usec);
	memcpy(number, s, digits);
	number[digits] = '\0';
	if (ig_parse_u32(number, &n) < 0)
		return -EINVAL;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		uint64_t ago = (uint64_t)n * units[i].sec * IG_USEC_PER_SEC;

		if (units[i].unit != s[digits])
			continue;
		*ret_usec = ago < now_usec ? now_usec - ago : 0;
		return 0;
	}
	return -EINVAL;
}
