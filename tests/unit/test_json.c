/*
 * What jansson frees was overwritten.
 *
 * Linked with --wrap for free.
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

void __real_free(void *p);
void __wrap_free(void *p);

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wiped),
	};

	return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
