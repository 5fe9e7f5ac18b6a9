/*
 * What is counted for each declared pod, and since when it is known.
 *
 * Linked with --wrap for ig_clock_mono_usec and allocations.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/tally.h"
#include "base/clock.h"
#include "objects/manifest.h"
#include "unit/alloc_failure.h"

#define UID  "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
#define UID2 "1a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
#define UID3 "2a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
#define POD(name, uid)                                                                             \
	"---\napiVersion: v1\nkind: Pod\nmetadata: {namespace: demo, name: " name ", uid: " uid    \
	"}\n"

static struct ig_store *store;
static struct ig_tally *tally;
static uint64_t now_usec;
uint64_t __wrap_ig_clock_mono_usec(void);

uint64_t __wrap_ig_clock_mono_usec(void)
{
	return now_usec;
}

static int set_up(void **state)
{
	(void)state;
	now_usec = 1000;
	assert_int_equal(ig_store_new(&store), 0);
	return ig_tally_new(&tally);
}

static int tear_down(void **state)
{
	(void)state;
	tally = ig_tally_free(tally);
	store = ig_store_free(store);
	return 0;
}

static void declare(const char *text)
{
	struct ig_object_set *set = NULL;
	struct ig_err err = {};

	assert_int_equal(ig_manifest_parse("m", text, strlen(text), NULL, &set, &err), 0);
	assert_int_equal(ig_store_replace(store, "m", set, &err), 0);
}

static const struct ig_pod *pod(const char *name)
{
	return ig_store_pod_by_name(store, "demo", name);
}

static void a_pod_is_noted_when_it_comes(void **state)
{
	(void)state;
	declare(POD("a", UID));
	assert_int_equal(ig_tally_first_seen_usec(tally, pod("a")), 0);
	ig_tally_follow(tally, store);
	now_usec = 2000;
	declare(POD("a", UID) POD("b", UID2));
	ig_tally_follow(tally, store);
	assert_int_equal(ig_tally_first_seen_usec(tally, pod("a")), 1000);
	assert_int_equal(ig_tally_first_seen_usec(tally, pod("b")), 2000);
}

static void another_pod_of_the_name_begins_anew(void **state)
{
	(void)state;
	declare(POD("a", UID));
	ig_tally_follow(tally, store);
	ig_tally_count(tally, pod("a"), &(struct ig_audit_record){.decision = IG_AUDIT_ALLOW});
	now_usec = 2000;
	declare(POD("a", UID2));
	assert_int_equal(ig_tally_get(tally, pod("a")).allowed, 0);
	ig_tally_follow(tally, store);
	assert_int_equal(ig_tally_first_seen_usec(tally, pod("a")), 2000);
	/* and what was known of the first is forgotten */
	now_usec = 3000;
	declare(POD("a", UID));
	ig_tally_follow(tally, store);
	assert_int_equal(ig_tally_first_seen_usec(tally, pod("a")), 3000);
	assert_int_equal(ig_tally_get(tally, pod("a")).allowed, 0);
}

static void on_store_changed(uint64_t epoch, void *userdata)
{
	(void)epoch;
	(void)userdata;
	ig_tally_follow_changed(tally, store);
}

/* As the agent does it: with each change, for the pods of that source alone. */
static void changed_pods_are_followed(void **state)
{
	struct ig_object_set *set = NULL;
	const char *other = POD("b", UID2);
	struct ig_err err = {};

	(void)state;
	declare(POD("a", UID)); /* before anybody follows */
	ig_store_set_listener(store, on_store_changed, NULL);
	now_usec = 2000;
	assert_int_equal(ig_manifest_parse("n", other, strlen(other), NULL, &set, &err), 0);
	assert_int_equal(ig_store_replace(store, "n", set, &err), 0);
	assert_int_equal(ig_tally_first_seen_usec(tally, pod("a")), 2000);
	assert_int_equal(ig_tally_first_seen_usec(tally, pod("b")), 2000);
	ig_tally_count(tally, pod("b"), &(struct ig_audit_record){.decision = IG_AUDIT_ALLOW});
	/* another of that name, and the other one as it was */
	now_usec = 3000;
	declare(POD("a", UID3));
	assert_int_equal(ig_tally_first_seen_usec(tally, pod("a")), 3000);
	assert_int_equal(ig_tally_get(tally, pod("b")).allowed, 1);
	/* gone, and back */
	assert_int_equal(ig_store_replace(store, "n", NULL, &err), 0);
	now_usec = 4000;
	assert_int_equal(ig_manifest_parse("n", other, strlen(other), NULL, &set, &err), 0);
	assert_int_equal(ig_store_replace(store, "n", set, &err), 0);
	assert_int_equal(ig_tally_first_seen_usec(tally, pod("b")), 4000);
	assert_int_equal(ig_tally_get(tally, pod("b")).allowed, 0);
	ig_store_set_listener(store, NULL, NULL);
}

static void decisions_are_counted(void **state)
{
	struct ig_tally_counts counts;

	(void)state;
	declare(POD("a", UID) POD("b", UID2));
	ig_tally_count(tally, pod("a"), &(struct ig_audit_record){.decision = IG_AUDIT_ALLOW});
	ig_tally_count(tally, pod("a"), &(struct ig_audit_record){.decision = IG_AUDIT_DENY});
	ig_tally_count(tally, pod("a"), &(struct ig_audit_record){.decision = IG_AUDIT_DENY});
	ig_tally_count(tally, pod("a"), &(struct ig_audit_record){.decision = IG_AUDIT_ERROR});
	counts = ig_tally_get(tally, pod("a"));
	assert_true(counts.allowed == 1 && counts.denied == 2 && counts.failed == 1);
	counts = ig_tally_get(tally, pod("b"));
	assert_true(counts.allowed == 0 && counts.denied == 0 && counts.failed == 0);
}

/* It survives, and a pod that could not be noted is noted the next time. */
static void every_allocation_may_fail(void **state)
{
	unsigned int n = 0;

	do {
		declare(POD("a", UID));
		failing = ++n;
		allocations = 0;
		armed = true;
		ig_tally_follow(tally, store);
		ig_tally_count(
			tally, pod("a"), &(struct ig_audit_record){.decision = IG_AUDIT_ALLOW});
		armed = false;
		now_usec++;
		ig_tally_follow(tally, store);
		assert_in_range(ig_tally_first_seen_usec(tally, pod("a")), now_usec - 1, now_usec);
		(void)tear_down(state);
		(void)set_up(state);
		now_usec += n;
	} while (allocations >= n);
	assert_true(n > 5);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_pod_is_noted_when_it_comes),
		TEST(another_pod_of_the_name_begins_anew),
		TEST(changed_pods_are_followed),
		TEST(decisions_are_counted),
		TEST(every_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
