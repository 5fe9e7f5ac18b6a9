/*
 * Unit tests of the query parser: what it decodes, what it refuses, and its limits.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "imds/query.h"

/* In the heap and of the exact length, so that the sanitizer sees a read behind the end. */
static int parse(const char *text, struct ig_imds_query *q)
{
	_cleanup_free_ char *copy = strdup(text);

	assert_non_null(copy);
	memset(q, 0x5a, sizeof(*q));
	return ig_imds_query_parse(copy, q);
}

static void check_param(const struct ig_imds_query *q, const char *name, const char *value)
{
	const struct ig_imds_param *param = ig_imds_query_find(q, name);

	if (!param)
		fail_msg("no parameter %s", name);
	assert_string_equal(param->value, value);
	assert_int_equal(param->value_len, strlen(value));
}

static void test_pairs(void **state)
{
	struct ig_imds_query q;

	(void)state;
	assert_int_equal(parse("", &q), 0);
	assert_int_equal(q.n_params, 0);
	assert_null(ig_imds_query_find(&q, ""));
	assert_int_equal(parse("a=1&b=&c&&d=x=y&", &q), 0);
	assert_int_equal(q.n_params, 4);
	check_param(&q, "a", "1");
	check_param(&q, "b", "");
	check_param(&q, "c", "");
	check_param(&q, "d", "x=y");
	assert_null(ig_imds_query_find(&q, "A"));
	assert_null(ig_imds_query_find(&q, "e"));
	/* ';' and '?' separate nothing */
	assert_int_equal(parse("a=1;b=2?c=3", &q), 0);
	assert_int_equal(q.n_params, 1);
	check_param(&q, "a", "1;b=2?c=3");
}

static void test_absent_values(void **state)
{
	struct ig_imds_query q;

	(void)state;
	assert_int_equal(parse("a=1&b=&c", &q), 0);
	assert_non_null(ig_imds_query_find_value(&q, "a"));
	assert_null(ig_imds_query_find_value(&q, "b"));
	assert_null(ig_imds_query_find_value(&q, "c"));
	assert_null(ig_imds_query_find_value(&q, "d"));
}

static void test_decoding(void **state)
{
	struct ig_imds_query q;

	(void)state;
	assert_int_equal(parse("r=https%3A%2f%2Fx+y%2B&%61%62=%26%3D%25&u=%C3%A9", &q), 0);
	check_param(&q, "r", "https://x y+");
	check_param(&q, "ab", "&=%");
	check_param(&q, "u", "\xc3\xa9");
	/* decoded once */
	assert_int_equal(parse("a=%2541", &q), 0);
	check_param(&q, "a", "%41");
}

static void test_refused(void **state)
{
	static const char *const bad[] = {"%", "a=%", "a=%4", "a=%zz", "a=%4g", "a=% 1", "a=%+1",
		"a=%00", "a=%0a", "a=%0D", "a=%7f", "%01=1", "a=\t", "a=%c2%85", "a=%80",
		"a=%c0%80", "a=%e0%80%80", "a=%ed%a0%80", "a=%f4%90%80%80", "a=%f8%88%80%80%80",
		"a=%c3", "a=%e2%82", "a=1&a=2", "a&a", "a=1&%61=2", "=1&=2"};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(bad); i++) {
		struct ig_imds_query q;

		if (parse(bad[i], &q) != -EBADMSG)
			fail_msg("'%s' is not refused", bad[i]);
	}
}

static void test_number_of_parameters(void **state)
{
	char text[IG_QUERY_PARAMS_MAX * 8 + 8];
	struct ig_imds_query q;
	size_t len = 0;

	(void)state;
	for (int i = 0; i < IG_QUERY_PARAMS_MAX; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "p%d=%d&", i, i);
	assert_int_equal(parse(text, &q), 0);
	assert_int_equal(q.n_params, IG_QUERY_PARAMS_MAX);
	check_param(&q, "p0", "0");
	check_param(&q, "p31", "31");
	(void)snprintf(text + len, sizeof(text) - len, "x");
	assert_int_equal(parse(text, &q), -EBADMSG);
}

static void test_length(void **state)
{
	char *text = calloc(1, 2 * IG_HTTP_TARGET_BYTES + 1);
	struct ig_imds_query q;

	(void)state;
	assert_non_null(text);
	/* as long as a target can be */
	memset(text, 'x', IG_HTTP_TARGET_BYTES);
	text[1] = '=';
	assert_int_equal(parse(text, &q), 0);
	assert_int_equal(ig_imds_query_find(&q, "x")->value_len, IG_HTTP_TARGET_BYTES - 2);
	/* and longer than the HTTP layer would let in */
	memset(text, 'x', 2 * IG_HTTP_TARGET_BYTES);
	assert_int_equal(parse(text, &q), -EBADMSG);
	text[IG_HTTP_TARGET_BYTES] = '=';
	assert_int_equal(parse(text, &q), -EBADMSG);
	free(text);
}

static void test_text_sequence(void **state)
{
	static const struct {
		const char *text;
		size_t len;
	} cases[] = {{"a", 1}, {" ", 1}, {"~", 1}, {"\x1f", 0}, {"\x7f", 0}, {"\n", 0},
		{"\xc2\x80", 0}, {"\xc2\x9f", 0}, {"\xc2\xa0", 2}, {"\xdf\xbf", 2},
		{"\xe0\xa0\x80", 3}, {"\xe2\x82\xac", 3}, {"\xed\x9f\xbf", 3}, {"\xed\xa0\x80", 0},
		{"\xf0\x90\x80\x80", 4}, {"\xf0\x8f\xbf\xbf", 0}, {"\xf4\x8f\xbf\xbf", 4},
		{"\xf5\x80\x80\x80", 0}, {"\xff", 0}, {"\xc3", 0}, {"\xe2\x82", 0}, {"\xc3(", 0}};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		_cleanup_free_ unsigned char *copy = malloc(strlen(cases[i].text));

		assert_non_null(copy);
		memcpy(copy, cases[i].text, strlen(cases[i].text));
		if (ig_imds_text_sequence(copy, strlen(cases[i].text)) != cases[i].len)
			fail_msg("case %zu", i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pairs),
		cmocka_unit_test(test_absent_values),
		cmocka_unit_test(test_decoding),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_number_of_parameters),
		cmocka_unit_test(test_length),
		cmocka_unit_test(test_text_sequence),
	};

	return cmocka_run_group_tests_name("imds query", tests, NULL, NULL);
}
