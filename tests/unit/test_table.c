/*
 * Tables without memory: what finds no place is left out, what was there stays, and the process
 * goes on. The table itself, and the modules in which workloads make entries.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>

#include "agent/object_ids.h"
#include "agent/quota.h"
#include "agent/rate.h"
#include "base/table.h"
#include "unit/alloc_failure.h"

/* enough for a table to grow several times */
#define N_ITEMS 2000

struct item {
	uint64_t key;
	UT_hash_handle hh;
};

static void arm(unsigned int n)
{
	allocations = 0;
	failing = n;
	armed = true;
}

static struct item *find(struct item *table, uint64_t key)
{
	struct item *item;

	HASH_FIND(hh, table, &key, sizeof(key), item);
	return item;
}

static void free_all(struct item *table)
{
	struct item *item, *next;

	HASH_ITER (hh, table, item, next) {
		HASH_DEL(table, item);
		free(item);
	}
	assert_null(table);
}

/* Adds all of them; the n-th allocation of the table fails. Returns how many found no place. */
static size_t fill(unsigned int n)
{
	struct item *table = NULL;
	size_t lost = 0;

	for (uint64_t key = 0; key < N_ITEMS; key++) {
		struct item *item = calloc(1, sizeof(*item));

		item->key = key;
		armed = failing == n;
		HASH_ADD(hh, table, key, sizeof(item->key), item);
		armed = false;
		assert_ptr_equal(find(table, key), ig_table_has(item) ? item : NULL);
		if (!ig_table_has(item)) {
			lost++;
			free(item);
		}
		assert_int_equal(HASH_COUNT(table), key + 1 - lost);
	}
	for (uint64_t key = 0, missing = 0; key < N_ITEMS; key++)
		assert_true((missing += !find(table, key)) <= lost);
	free_all(table);
	return lost;
}

static void only_the_element_without_memory_is_missing(void **state)
{
	unsigned int n;

	(void)state;
	for (n = 1;; n++) {
		allocations = 0;
		failing = n;
		if (fill(n) == 0)
			break;
	}
	/* the table, its buckets, and each time that it grows */
	assert_true(n > 5);
}

static void a_quota_refuses(void **state)
{
	struct ig_quota *quota;

	(void)state;
	assert_int_equal(ig_quota_new(2, &quota), 0);
	for (unsigned int n = 1; n <= 3; n++) {
		arm(n);
		assert_false(ig_quota_take(quota, 7));
		armed = false;
	}
	assert_true(ig_quota_take(quota, 7));
	assert_true(ig_quota_take(quota, 7));
	assert_false(ig_quota_take(quota, 7));
	(void)ig_quota_free(quota);
}

static void a_rate_refuses(void **state)
{
	static const struct ig_rate_options options = {.per_sec = 1, .burst = 2, .entries = 100};
	struct ig_rate *rate;

	(void)state;
	assert_int_equal(ig_rate_new(&options, &rate), 0);
	for (unsigned int n = 1; n <= 3; n++) {
		arm(n);
		assert_false(ig_rate_allow(rate, 7, 0));
		armed = false;
	}
	assert_true(ig_rate_allow(rate, 7, 0));
	assert_true(ig_rate_allow(rate, 7, 0));
	assert_false(ig_rate_allow(rate, 7, 0));
	/* the last entry of a table takes the table with it: moving it to the end may fail as well
	 */
	arm(1);
	assert_false(ig_rate_allow(rate, 7, 0));
	armed = false;
	(void)ig_rate_free(rate);
}

static void an_object_id_is_the_old_or_the_new_one(void **state)
{
	struct ig_object_ids *ids;
	int r = -ENOMEM;

	(void)state;
	assert_int_equal(ig_object_ids_new(&ids), 0);
	for (unsigned int n = 1; r == -ENOMEM; n++) {
		assert_null(ig_object_ids_get(ids, "ns", "name"));
		arm(n);
		r = ig_object_ids_learn(ids, "ns", "name", "one");
		armed = false;
	}
	assert_int_equal(r, 0);
	assert_string_equal(ig_object_ids_get(ids, "ns", "name"), "one");
	assert_int_equal(ig_object_ids_learn(ids, "ns", "name", "two"), 0);
	assert_string_equal(ig_object_ids_get(ids, "ns", "name"), "two");
	(void)ig_object_ids_free(ids);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_the_element_without_memory_is_missing),
		cmocka_unit_test(a_quota_refuses),
		cmocka_unit_test(a_rate_refuses),
		cmocka_unit_test(an_object_id_is_the_old_or_the_new_one),
	};

	return cmocka_run_group_tests_name("base/table", tests, NULL, NULL);
}
