/*
 * Tests of base/buf: the limit, "broken once, broken until reset", wiping, and that what comes out
 * as a JSON string is valid JSON (asked of jansson) and harmless on a terminal, whatever went in.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "base/buf.h"
#include "base/cleanup.h"

static void starts_empty_and_healthy(void **state)
{
	struct ig_buf b;

	(void)state;
	ig_buf_init(&b, 10);
	assert_null(b.data);
	assert_int_equal(b.len, 0);
	assert_int_equal(ig_buf_finish(&b), 0);
	ig_buf_reset(&b);
	ig_buf_wipe(&b);
	ig_buf_done(&b);
	ig_buf_done(&b); /* twice is fine */
	assert_int_equal(b.limit, 10);
}

static void appends_and_terminates(void **state)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 100};

	(void)state;
	ig_buf_append(&b, "a\0b", 3);
	ig_buf_puts(&b, "cd");
	ig_buf_putc(&b, 'e');
	ig_buf_printf(&b, "%d-%s", 42, "f");
	ig_buf_append(&b, NULL, 0);
	ig_buf_puts(&b, "");
	ig_buf_printf(&b, "%s", "");
	assert_int_equal(ig_buf_finish(&b), 0);
	assert_int_equal(b.len, 10);
	assert_memory_equal(b.data, "a\0bcde42-f", 11);
}

static void empty_appends_give_an_empty_string(void **state)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 0};

	(void)state;
	ig_buf_puts(&b, "");
	assert_int_equal(ig_buf_finish(&b), 0);
	assert_string_equal(b.data, "");
	ig_buf_putc(&b, 'x');
	assert_int_equal(ig_buf_finish(&b), -E2BIG);
}

static void limit_is_exact(void **state)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 5};

	(void)state;
	ig_buf_puts(&b, "12345");
	assert_int_equal(ig_buf_finish(&b), 0);
	assert_string_equal(b.data, "12345");
	ig_buf_putc(&b, '6');
	assert_int_equal(ig_buf_finish(&b), -E2BIG);
	assert_string_equal(b.data, "12345");
}

/* What is expected is taken at once, and costs nothing but memory when it does not come. */
static void expecting_is_no_appending(void **state)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 1000};
	const char *data;

	(void)state;
	ig_buf_expect(&b, 700);
	assert_int_equal(ig_buf_finish(&b), 0);
	assert_int_equal(b.len, 0);
	data = b.data;
	for (int i = 0; i < 700; i++)
		ig_buf_putc(&b, 'x');
	assert_ptr_equal(b.data, data);
	/* more than may be */
	ig_buf_expect(&b, SIZE_MAX);
	assert_int_equal(ig_buf_finish(&b), 0);
	assert_int_equal(b.len, 700);
	ig_buf_puts(&b, "y");
	assert_int_equal(b.data[700], 'y');
}

static void broken_stays_broken_until_reset(void **state)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 5};

	(void)state;
	ig_buf_puts(&b, "12");
	ig_buf_printf(&b, "%s", "3456");
	ig_buf_putc(&b, '3'); /* would fit */
	ig_buf_json_string(&b, "", 0);
	assert_int_equal(ig_buf_finish(&b), -E2BIG);
	assert_string_equal(b.data, "12");
	ig_buf_reset(&b);
	assert_int_equal(ig_buf_finish(&b), 0);
	assert_string_equal(b.data, "");
	ig_buf_puts(&b, "ok");
	assert_string_equal(b.data, "ok");
}

static void grows_without_losing_anything(void **state)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 100000};

	(void)state;
	for (unsigned int i = 0; i < 100000; i++)
		ig_buf_putc(&b, (char)('a' + i % 26));
	assert_int_equal(ig_buf_finish(&b), 0);
	assert_int_equal(b.len, 100000);
	assert_int_equal(b.data[b.len], '\0');
	for (unsigned int i = 0; i < 100000; i++)
		assert_int_equal(b.data[i], 'a' + i % 26);
}

/* 255, 256 and 257 bytes: the NUL needs its place too */
static void first_allocation_boundary(void **state)
{
	char text[257];

	(void)state;
	memset(text, 'x', sizeof(text));
	for (size_t len = 254; len <= sizeof(text); len++) {
		_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 1000};

		ig_buf_append(&b, text, len);
		assert_int_equal(b.len, len);
		assert_int_equal(b.data[len], '\0');
		ig_buf_printf(&b, "%s", "yz");
		assert_string_equal(b.data + len, "yz");
	}
}

static void absurd_lengths_are_refused(void **state)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = SIZE_MAX};

	(void)state;
	ig_buf_putc(&b, 'x');
	ig_buf_append(&b, "", SIZE_MAX); /* the sum overflows; nothing is read */
	assert_int_equal(ig_buf_finish(&b), -E2BIG);
	ig_buf_reset(&b);
	ig_buf_append(&b, "", SIZE_MAX / 2 + 1); /* doubling overflows */
	assert_int_equal(ig_buf_finish(&b), -E2BIG);
}

static void printf_that_fails_breaks_the_buffer(void **state)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 100};

	(void)state;
	ig_buf_puts(&b, "a");
	ig_buf_printf(&b, "%lc", (wint_t)0x7fffffff); /* no character of any locale */
	assert_int_not_equal(ig_buf_finish(&b), 0);
	assert_string_equal(b.data, "a");
}

static void reset_keeps_the_memory(void **state)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 100};
	char *data;

	(void)state;
	ig_buf_puts(&b, "something");
	data = b.data;
	ig_buf_reset(&b);
	ig_buf_puts(&b, "else");
	assert_ptr_equal(b.data, data);
	assert_string_equal(b.data, "else");
}

static void wipe_frees_and_allows_reuse(void **state)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 100};

	(void)state;
	ig_buf_puts(&b, "secret");
	ig_buf_wipe(&b);
	assert_null(b.data);
	assert_int_equal(b.len, 0);
	assert_int_equal(b.limit, 100);
	ig_buf_puts(&b, "again");
	assert_string_equal(b.data, "again");
}

static void json_is(const char *in, size_t len, const char *expected)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 1000};

	ig_buf_json_string(&b, in, len);
	assert_int_equal(ig_buf_finish(&b), 0);
	assert_string_equal(b.data, expected);
}

#define JSON_IS(in, expected) json_is(in, sizeof(in) - 1, expected)

static void json_escapes(void **state)
{
	(void)state;
	JSON_IS("", "\"\"");
	JSON_IS("plain / text", "\"plain / text\"");
	JSON_IS("a\"b\\c", "\"a\\\"b\\\\c\"");
	JSON_IS("\n\t\r\b\f", "\"\\u000a\\u0009\\u000d\\u0008\\u000c\"");
	JSON_IS("a\0b", "\"a\\u0000b\"");
	JSON_IS("\x1b[2J\x7f", "\"\\u001b[2J\\u007f\"");
	JSON_IS("\xc2\x9b" /* CSI as one character */, "\"\\u009b\"");
	JSON_IS("\xc2\xa0", "\"\xc2\xa0\"");
}

static void json_keeps_valid_utf8(void **state)
{
	(void)state;
	JSON_IS("\xc3\xa4", "\"\xc3\xa4\"");
	JSON_IS("\xe2\x82\xac", "\"\xe2\x82\xac\"");
	JSON_IS("\xed\x9f\xbf\xee\x80\x80",
		"\"\xed\x9f\xbf\xee\x80\x80\""); /* round the surrogates */
	JSON_IS("\xf0\x9f\x94\x91", "\"\xf0\x9f\x94\x91\"");
	JSON_IS("\xf4\x8f\xbf\xbf", "\"\xf4\x8f\xbf\xbf\""); /* U+10FFFF */
}

static void json_replaces_invalid_utf8(void **state)
{
	(void)state;
	JSON_IS("\x80", "\"\\ufffd\"");
	JSON_IS("a\xff z", "\"a\\ufffd z\"");
	JSON_IS("\xc0\xaf", "\"\\ufffd\\ufffd\"");			 /* overlong '/' */
	JSON_IS("\xc1\xbf", "\"\\ufffd\\ufffd\"");			 /* overlong DEL */
	JSON_IS("\xe0\x80\xaf", "\"\\ufffd\\ufffd\\ufffd\"");		 /* overlong '/' */
	JSON_IS("\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"");		 /* a surrogate */
	JSON_IS("\xf0\x80\x80\xaf", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""); /* overlong '/' */
	JSON_IS("\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\""); /* U+110000 */
	JSON_IS("\xf5\x80\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"");
	JSON_IS("\xe2\x82", "\"\\ufffd\\ufffd\""); /* cut off at the end */
	JSON_IS("\xe2\"", "\"\\ufffd\\\"\"");	   /* a quote cannot hide behind a first byte */
	JSON_IS("\xc3\n", "\"\\ufffd\\u000a\"");
}

static bool is_harmless(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < 0x20 || c == 0x7f)
			return false;
		if (c == 0xc2 && i + 1 < len && (unsigned char)s[i + 1] < 0xa0)
			return false;
	}
	return true;
}

/* every pair of bytes, in the middle and at the end of a string, in memory of exactly that size */
static void json_of_any_bytes_is_valid_and_harmless(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 0x10000; i++) {
		_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 100};
		_cleanup_free_ char *in = malloc(2);
		_cleanup_(json_decrefp) json_t *value = NULL;

		assert_non_null(in);
		in[0] = (char)(i >> 8);
		in[1] = (char)i;
		ig_buf_json_string(&b, in, 2);
		assert_int_equal(ig_buf_finish(&b), 0);
		assert_true(is_harmless(b.data, b.len));
		value = json_loadb(b.data, b.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
		assert_non_null(value);
	}
}

/* every byte at every place of texts of every length that sixteen and eight at a time can treat
 * differently */
static void plain_ends_where_something_has_to_be_said_differently(void **state)
{
	char text[48];

	(void)state;
	for (size_t len = 0; len <= sizeof(text); len++)
		for (size_t at = 0; at < len; at++)
			for (unsigned int c = 0; c < 256; c++) {
				bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\';

				for (size_t i = 0; i < len; i++)
					text[i] = (char)(i % 2 ? ' ' : '~');
				text[at] = (char)c;
				assert_int_equal(ig_json_plain(text, len), plain ? len : at);
				/* and what comes behind does not hide it */
				memset(text + at, (int)c, len - at);
				assert_int_equal(ig_json_plain(text, len), plain ? len : at);
			}
}

static void numbers_are_decimal(void **state)
{
	static const uint64_t numbers[] = {0, 9, 10, 4711, UINT32_MAX, UINT64_MAX};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(numbers); i++) {
		_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 100};
		char text[32];

		(void)snprintf(text, sizeof(text), "%" PRIu64, numbers[i]);
		ig_buf_put_u64(&b, numbers[i]);
		assert_int_equal(ig_buf_finish(&b), 0);
		assert_string_equal(b.data, text);
	}
}

static void json_string_over_the_limit_breaks(void **state)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 7};

	(void)state;
	ig_buf_json_string(&b, "\n", 1); /* "\u000a" and two quotes are 8 bytes */
	assert_int_equal(ig_buf_finish(&b), -E2BIG);
}

static void json_members_get_their_commas(void **state)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 1000};

	(void)state;
	ig_buf_putc(&b, '{');
	ig_buf_json_member_str(&b, "s", "{"); /* a brace inside a value must not swallow a comma */
	ig_buf_json_member_u64(&b, "n", UINT64_MAX);
	ig_buf_json_member_bool(&b, "t", true);
	ig_buf_json_member_bool(&b, "f", false);
	ig_buf_json_key(&b, "o");
	ig_buf_putc(&b, '{');
	ig_buf_json_member_u64(&b, "z", 0);
	ig_buf_puts(&b, "}}");
	assert_int_equal(ig_buf_finish(&b), 0);
	assert_string_equal(b.data,
		"{\"s\":\"{\",\"n\":18446744073709551615,\"t\":true,\"f\":false,\"o\":{\"z\":0}}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(starts_empty_and_healthy),
		cmocka_unit_test(appends_and_terminates),
		cmocka_unit_test(empty_appends_give_an_empty_string),
		cmocka_unit_test(limit_is_exact),
		cmocka_unit_test(expecting_is_no_appending),
		cmocka_unit_test(broken_stays_broken_until_reset),
		cmocka_unit_test(grows_without_losing_anything),
		cmocka_unit_test(first_allocation_boundary),
		cmocka_unit_test(absurd_lengths_are_refused),
		cmocka_unit_test(printf_that_fails_breaks_the_buffer),
		cmocka_unit_test(reset_keeps_the_memory),
		cmocka_unit_test(wipe_frees_and_allows_reuse),
		cmocka_unit_test(json_escapes),
		cmocka_unit_test(json_keeps_valid_utf8),
		cmocka_unit_test(json_replaces_invalid_utf8),
		cmocka_unit_test(json_of_any_bytes_is_valid_and_harmless),
		cmocka_unit_test(plain_ends_where_something_has_to_be_said_differently),
		cmocka_unit_test(numbers_are_decimal),
		cmocka_unit_test(json_string_over_the_limit_breaks),
		cmocka_unit_test(json_members_get_their_commas),
	};

	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
