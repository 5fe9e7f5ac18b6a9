/*
 * Tests of base/parse: whole strings only, exact ranges, nothing that strtoul() would let through,
 * and that a failure leaves the caller's value alone.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"

static const char *const not_numbers[] = {"", " ", "+1", "-1", "-0", " 1", "1 ", "1\n", "\t1",
	"0x10", "1e3", "1.0", "1,0", "a", "1a", "a1", "\xd9\xa1" /* ARABIC-INDIC DIGIT ONE */,
	"--1", "/", ":"};

static void numbers_refuse_everything_but_digits(void **state)
{
	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(not_numbers); i++) {
		uint16_t a = 11;
		uint32_t b = 22;
		uint64_t c = 33;

		assert_int_equal(ig_parse_u16(not_numbers[i], &a), -EINVAL);
		assert_int_equal(ig_parse_u32(not_numbers[i], &b), -EINVAL);
		assert_int_equal(ig_parse_u64(not_numbers[i], &c), -EINVAL);
		assert_int_equal(a, 11);
		assert_int_equal(b, 22);
		assert_int_equal(c, 33);
	}
}

static void u16_range(void **state)
{
	uint16_t v = 7;

	(void)state;
	assert_int_equal(ig_parse_u16("65536", &v), -ERANGE);
	assert_int_equal(ig_parse_u16("4294967296", &v), -ERANGE);
	assert_int_equal(ig_parse_u16("18446744073709551616", &v), -ERANGE);
	assert_int_equal(v, 7);
	assert_int_equal(ig_parse_u16("65535", &v), 0);
	assert_int_equal(v, 65535);
	assert_int_equal(ig_parse_u16("0", &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(ig_parse_u16("000080", &v), 0);
	assert_int_equal(v, 80); /* decimal, not octal */
}

static void u32_range(void **state)
{
	uint32_t v = 7;

	(void)state;
	assert_int_equal(ig_parse_u32("4294967296", &v), -ERANGE);
	assert_int_equal(v, 7);
	assert_int_equal(ig_parse_u32("4294967295", &v), 0);
	assert_int_equal(v, UINT32_MAX);
}

static void u64_range(void **state)
{
	uint64_t v = 7;

	(void)state;
	assert_int_equal(ig_parse_u64("18446744073709551616", &v), -ERANGE); /* the addition */
	assert_int_equal(ig_parse_u64("18446744073709551620", &v), -ERANGE);
	assert_int_equal(ig_parse_u64("99999999999999999999999999", &v), -ERANGE); /* the product */
	assert_int_equal(v, 7);
	assert_int_equal(ig_parse_u64("18446744073709551615", &v), 0);
	assert_true(v == UINT64_MAX);
}

static void guid_accepts_any_letter_case(void **state)
{
	(void)state;
	assert_true(ig_parse_is_guid("00000000-0000-0000-0000-000000000000"));
	assert_true(ig_parse_is_guid("0123abcd-ef45-6789-ABCD-EFabcdef0123"));
}

static void guid_refuses(void **state)
{
	static const char *const bad[] = {"", "0", "0123abcd-ef45-6789-abcd-efabcdef012",
		"0123abcd-ef45-6789-abcd-efabcdef01234", "0123abcd-ef45-6789-abcd-efabcdef0123 ",
		" 0123abcd-ef45-6789-abcd-efabcdef0123", "{0123abcd-ef45-6789-abcd-efabcdef012}",
		"0123abcd-ef45-6789-abcd-efabcdef012g", "0123abcd+ef45-6789-abcd-efabcdef0123",
		"0123abcdef456789abcdefabcdef01230000", "0123abc--ef45-6789-abcd-efabcdef0123",
		"0123abcd-ef45-6789-abcd_efabcdef0123", "------------------------------------"};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(bad); i++)
		assert_false(ig_parse_is_guid(bad[i]));
}

/* every prefix stands at the end of its own allocation, so that ASan sees a read behind it */
static void guid_does_not_read_behind_the_end(void **state)
{
	static const char guid[] = "0123abcd-ef45-6789-abcd-efabcdef0123";

	(void)state;
	for (size_t len = 0; len < sizeof(guid) - 1; len++) {
		_cleanup_free_ char *copy = strndup(guid, len);

		assert_non_null(copy);
		assert_false(ig_parse_is_guid(copy));
	}
}

static void hex_digits(void **state)
{
	int digits = 0;

	(void)state;
	for (int c = -128; c < 128; c++)
		digits += ig_parse_hex_digit((char)c) >= 0;
	assert_int_equal(digits, 22);
	assert_int_equal(ig_parse_hex_digit('0'), 0);
	assert_int_equal(ig_parse_hex_digit('9'), 9);
	assert_int_equal(ig_parse_hex_digit('a'), 10);
	assert_int_equal(ig_parse_hex_digit('f'), 15);
	assert_int_equal(ig_parse_hex_digit('A'), 10);
	assert_int_equal(ig_parse_hex_digit('F'), 15);
	assert_int_equal(ig_parse_hex_digit('\0'), -1);
}

static void equal_without_case(void **state)
{
	(void)state;
	assert_true(ig_str_equal_nocase("", ""));
	assert_true(ig_str_equal_nocase("Metadata", "mETADATA"));
	assert_false(ig_str_equal_nocase("Metadata", "Metadat"));
	assert_false(ig_str_equal_nocase("Metadat", "Metadata"));
	assert_false(ig_str_equal_nocase("a", ""));
	assert_false(ig_str_equal_nocase("", "a"));
	/* neighbours of the letters differ by the same bit */
	assert_false(ig_str_equal_nocase("@", "`"));
	assert_false(ig_str_equal_nocase("[", "{"));
	/* only ASCII: the Kelvin sign and capital umlauts are what they are */
	assert_false(ig_str_equal_nocase("k", "\xe2\x84\xaa"));
	assert_false(ig_str_equal_nocase("\xc4", "\xe4"));
}

static void beginnings_equal_without_case(void **state)
{
	(void)state;
	assert_true(ig_str_equal_nocase_n("Metadata/a", "mETADATA?b", 8));
	assert_false(ig_str_equal_nocase_n("Metadata/a", "mETADATA?b", 9));
	assert_true(ig_str_equal_nocase_n("a", "b", 0));
	assert_true(ig_str_equal_nocase_n("ab", "AB", 7));
	assert_false(ig_str_equal_nocase_n("ab", "a", 7));
	assert_false(ig_str_equal_nocase_n("a", "ab", 2));
	assert_false(ig_str_equal_nocase_n("@", "`", 1));
	/* nothing behind the end is looked at */
	assert_true(ig_str_equal_nocase_n("a\0x", "A\0y", 3));
}

static void case_does_not_depend_on_the_locale(void **state)
{
	char text[] = "TITLE I";

	(void)state;
	/* where it is installed; the result is the same where it is not */
	(void)setlocale(LC_ALL, "tr_TR.UTF-8");
	ig_str_lower(text);
	assert_string_equal(text, "title i");
	assert_true(ig_str_equal_nocase("TITLE I", "title i"));
	(void)setlocale(LC_ALL, "C");
}

static void lower_leaves_the_rest_alone(void **state)
{
	char text[] = "AZaz09@[`{\xc3\x84\x7f";
	char empty[] = "";

	(void)state;
	ig_str_lower(text);
	assert_string_equal(text, "azaz09@[`{\xc3\x84\x7f");
	ig_str_lower(empty);
	assert_string_equal(empty, "");
}

static void prefixes(void **state)
{
	(void)state;
	assert_true(ig_str_has_prefix("/metadata/x", "/metadata/"));
	assert_true(ig_str_has_prefix("abc", "abc"));
	assert_true(ig_str_has_prefix("abc", ""));
	assert_true(ig_str_has_prefix("", ""));
	assert_false(ig_str_has_prefix("ab", "abc"));
	assert_false(ig_str_has_prefix("", "a"));
	assert_false(ig_str_has_prefix("Abc", "abc"));
}

static void concat(void **state)
{
	char buf[8];

	(void)state;
	assert_true(ig_str_concat(buf, sizeof(buf), "ab", "", "cd", "efg", (char *)NULL));
	assert_string_equal(buf, "abcdefg");
	assert_false(ig_str_concat(buf, sizeof(buf), "ab", "cd", "efgh", (char *)NULL));
	assert_string_equal(buf, "");
	assert_false(ig_str_concat(buf, sizeof(buf), "abcdefgh", "", (char *)NULL));
	assert_string_equal(buf, "");
	assert_true(ig_str_concat(buf, 1, "", (char *)NULL));
	assert_true(ig_str_concat(buf, sizeof(buf), (char *)NULL));
	assert_string_equal(buf, "");
}

static void test_utf8(void **state)
{
	static const struct {
		const char *bytes;
		size_t left, n;
	} cases[] = {
		{"a", 1, 1},
		{"\0", 1, 1},
		{"\x7f", 1, 1},
		{"\xc3\xa9", 2, 2},
		{"\xc3\xa9", 1, 0},
		{"\xe2\x82\xac", 3, 3},
		{"\xe2\x82", 2, 0},
		{"\xf0\x9f\x98\x80", 4, 4},
		{"\xf4\x8f\xbf\xbf", 4, 4},
		{"\xf4\x90\x80\x80", 4, 0}, /* behind U+10FFFF */
		{"\xf5\x80\x80\x80", 4, 0},
		{"\x80", 1, 0},
		{"\xff", 1, 0},
		{"\xc0\x80", 2, 0},
		{"\xc1\xbf", 2, 0},
		{"\xe0\x80\x80", 3, 0}, /* overlong */
		{"\xf0\x80\x80\x80", 4, 0},
		{"\xed\xa0\x80", 3, 0}, /* a surrogate */
		{"\xc3(", 2, 0},
		{"\xe2(\xac", 3, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(
			ig_utf8_sequence((const unsigned char *)cases[i].bytes, cases[i].left),
			cases[i].n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_refuse_everything_but_digits),
		cmocka_unit_test(u16_range),
		cmocka_unit_test(u32_range),
		cmocka_unit_test(u64_range),
		cmocka_unit_test(guid_accepts_any_letter_case),
		cmocka_unit_test(guid_refuses),
		cmocka_unit_test(guid_does_not_read_behind_the_end),
		cmocka_unit_test(hex_digits),
		cmocka_unit_test(equal_without_case),
		cmocka_unit_test(beginnings_equal_without_case),
		cmocka_unit_test(case_does_not_depend_on_the_locale),
		cmocka_unit_test(lower_leaves_the_rest_alone),
		cmocka_unit_test(prefixes),
		cmocka_unit_test(concat),
		cmocka_unit_test(test_utf8),
	};

	return cmocka_run_group_tests_name("parse", tests, NULL, NULL);
}
