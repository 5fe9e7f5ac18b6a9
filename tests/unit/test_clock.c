/*
 * Tests of base/clock: the text form at its edges, and that each clock is the one it says it is.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"

static void format_known_times(void **state)
{
	static const struct {
		uint64_t usec;
		const char *text;
	} cases[] = {
		{0, "1970-01-01T00:00:00.000000Z"},
		{1, "1970-01-01T00:00:00.000001Z"},
		{999999, "1970-01-01T00:00:00.999999Z"},
		{IG_USEC_PER_SEC, "1970-01-01T00:00:01.000000Z"},
		{951782400ULL * IG_USEC_PER_SEC, "2000-02-29T00:00:00.000000Z"},
		{1767323045678901ULL, "2026-01-02T03:04:05.678901Z"},
		{2147483648ULL * IG_USEC_PER_SEC, "2038-01-19T03:14:08.000000Z"},
		{4107542399999999ULL, "2100-02-28T23:59:59.999999Z"},
		{253402300799999999ULL, "9999-12-31T23:59:59.999999Z"},
	};
	char buf[IG_RFC3339_BYTES];

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++)
		assert_string_equal(ig_clock_format_rfc3339(cases[i].usec, buf), cases[i].text);
}

/* each day of four hundred years, after which the calendar begins anew, and then some */
static void dates_are_the_calendars(void **state)
{
	char buf[IG_RFC3339_BYTES], expected[64];

	(void)state;
	for (time_t day = 0; day < 2932897; day += day < 160000 ? 1 : 61) {
		time_t sec = day * 86400 + day % 86400;
		struct tm tm;

		assert_non_null(gmtime_r(&sec, &tm));
		assert_true(strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S.000000Z", &tm));
		assert_string_equal(
			ig_clock_format_rfc3339((uint64_t)sec * IG_USEC_PER_SEC, buf), expected);
	}
}

static void format_stays_in_its_buffer(void **state)
{
	struct {
		char buf[IG_RFC3339_BYTES];
		char canary[8];
	} s;

	(void)state;
	memset(&s, '#', sizeof(s));
	assert_string_equal(ig_clock_format_rfc3339(253402300800000000ULL, s.buf),
		"9999-12-31T23:59:59.999999Z");
	assert_string_equal(
		ig_clock_format_rfc3339(UINT64_MAX, s.buf), "9999-12-31T23:59:59.999999Z");
	assert_int_equal(strlen(s.buf), IG_RFC3339_BYTES - 1);
	assert_memory_equal(s.canary, "########", 8);
}

/* the value lies between two readings of the kernel's clock of that name */
static void is_clock(uint64_t (*read_usec)(void), clockid_t id)
{
	struct timespec before, after;
	uint64_t usec;

	assert_int_equal(clock_gettime(id, &before), 0);
	usec = read_usec();
	assert_int_equal(clock_gettime(id, &after), 0);
	assert_true(usec >= (uint64_t)before.tv_sec * 1000000 + (uint64_t)before.tv_nsec / 1000);
	assert_true(usec <= (uint64_t)after.tv_sec * 1000000 + (uint64_t)after.tv_nsec / 1000);
}

static void each_clock_is_its_own(void **state)
{
	(void)state;
	is_clock(ig_clock_mono_usec, CLOCK_MONOTONIC);
	is_clock(ig_clock_real_usec, CLOCK_REALTIME);
}

static void monotonic_does_not_go_back(void **state)
{
	uint64_t last = ig_clock_mono_usec();

	(void)state;
	for (int i = 0; i < 10000; i++) {
		uint64_t now = ig_clock_mono_usec();

		assert_true(now >= last);
		last = now;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(format_known_times),
		cmocka_unit_test(dates_are_the_calendars),
		cmocka_unit_test(format_stays_in_its_buffer),
		cmocka_unit_test(each_clock_is_its_own),
		cmocka_unit_test(monotonic_does_not_go_back),
	};

	return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
