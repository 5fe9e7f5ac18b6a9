/*
 * What jansson frees was overwritten. When memory runs out, a text is parsed right or not at all.
 *
 * Linked with --wrap for malloc and free.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <malloc.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/json.h"

#define SECRET "eyJh.eyJz.c2ln"

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void __real_free(void *p);
void __wrap_free(void *p);

static unsigned int allocations, first, last; /* from the first to the last one fail */
static bool watching;
static unsigned int n_freed, n_dirty;

static bool is_zero(const char *p, size_t len)
{
	while (len && *p == '\0') {
		p++;
		len--;
	}
	return len == 0;
}

void *__wrap_malloc(size_t size)
{
	allocations++;
	return first && allocations >= first && allocations <= last ? NULL : __real_malloc(size);
}

void __wrap_free(void *p)
{
	if (watching && p) {
		n_freed++;
		n_dirty += !is_zero(p, malloc_usable_size(p));
	}
	__real_free(p);
}

static void test_wiped(void **state)
{
	static const char text[] =
		"{\"status\":{\"token\":\"" SECRET "\"},\"list\":[\"" SECRET "\",1,true]}";
	json_t *root;

	(void)state;
	/* what was allocated before is wiped, too */
	root = json_loads(text, 0, NULL);
	assert_non_null(root);
	for (int i = 0; i < 2; i++) {
		ig_json_wipe_memory();
		watching = true;
		json_decref(root);
		root = json_loads(text, 0, NULL);
		watching = false;
		assert_non_null(root);
	}
	json_decref(root);
	assert_true(n_freed > 10);
	assert_int_equal(n_dirty, 0);
}

static void test_parses(void **state)
{
	static const char text[] = "[1,\"two\"]", bad[] = "[1,";
	json_error_t where;
	json_t *root = ig_json_load(text, strlen(text), 0, NULL);

	(void)state;
	assert_int_equal(json_array_size(root), 2);
	json_decref(root);
	assert_null(ig_json_load(bad, strlen(bad), 0, &where));
	assert_int_equal(json_error_code(&where), json_error_premature_end_of_input);
	assert_null(ig_json_load("[1,1]", 2, 0, NULL));
}

#define FIFTY "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

/* What the parser's own buffer has to grow for, at every place where it may stop growing. */
static const char *const long_tokens[] = {
	"{\"a\":\"" FIFTY "\",\"b\":\"" FIFTY FIFTY "\"}",
	"[\"aaaaaaaaaaaaaa\"]", /* the closing quote is the one that does not fit */
	"[\"aaaaaaaaaaaaaaa\",\"" FIFTY "\"]",
	"[\"\\u00e4\\u00e4\\u00e4\\\\\\\"\\\"\\\"" FIFTY "\"]",
	"{\"" FIFTY "\":{\"" FIFTY "\":[]}}",
	"[123456789012345,12345678901234567]",
	"[12345678901234e5,1]",
	"[-1234567890123.25,1.2345678901234567890e-10]",
	"[\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",1]",
};
static const char *const long_nonsense[] = {
	"[" FIFTY "]",
	"[12345678901234567890123]",
	"[1234567890123456789e99999]",
	("[\"" FIFTY),
};

/* Returns whether an allocation failed. */
static bool check(const char *text, json_t *expected, unsigned int from, unsigned int to)
{
	json_error_t where;
	json_t *root;

	allocations = 0;
	first = from;
	last = to;
	root = ig_json_load(text, strlen(text), JSON_REJECT_DUPLICATES, &where);
	first = 0;
	if (root) {
		assert_true(json_equal(root, expected));
		json_decref(root);
		return allocations >= from;
	}
	if (allocations >= from)
		assert_int_equal(json_error_code(&where), json_error_out_of_memory);
	else
		assert_null(expected);
	return allocations >= from;
}

static void fail_each(const char *text, json_t *expected)
{
	unsigned int n = 1;

	while (check(text, expected, n, n) || check(text, expected, n, UINT32_MAX))
		n++;
	assert_true(n > 3);
}

static void test_without_memory(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(long_tokens) / sizeof(*long_tokens); i++) {
		json_t *expected = ig_json_load(long_tokens[i], strlen(long_tokens[i]), 0, NULL);

		assert_non_null(expected);
		fail_each(long_tokens[i], expected);
		json_decref(expected);
	}
	for (size_t i = 0; i < sizeof(long_nonsense) / sizeof(*long_nonsense); i++)
		fail_each(long_nonsense[i], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wiped),
		cmocka_unit_test(test_parses),
		cmocka_unit_test(test_without_memory),
	};

	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
