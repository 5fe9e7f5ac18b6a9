/*
 * Counters of workloads: what is counted, for whom, and how much of a resource is kept.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "agent/tally.h"

static const struct ig_pod pod = {
	.namespace = (char *)"shop", .name = (char *)"a", .uid = (char *)"1"};
static const struct ig_pod again = {
	.namespace = (char *)"shop", .name = (char *)"a", .uid = (char *)"2"};

static int set_up(void **state)
{
	return ig_tally_new((struct ig_tally **)state);
}

static int tear_down(void **state)
{
	assert_null(ig_tally_free(*state));
	return 0;
}

static void count(struct ig_tally *tally, enum ig_audit_decision decision, const char *resource)
{
	const struct ig_audit_request request = {.resource = resource};
	const struct ig_audit_record record = {
		.decision = decision, .request = &request, .latency_usec = 10};

	ig_tally_count(tally, &pod, &record);
}

static void test_counts(void **state)
{
	struct ig_tally_counts counts;

	count(*state, IG_AUDIT_ALLOW, "https://vault.azure.net");
	count(*state, IG_AUDIT_ALLOW, "https://storage.azure.com");
	count(*state, IG_AUDIT_DENY, NULL);
	count(*state, IG_AUDIT_ERROR, "");
	counts = ig_tally_get(*state, &pod);
	assert_int_equal(counts.allowed, 2);
	assert_int_equal(counts.denied, 1);
	assert_int_equal(counts.failed, 1);
	assert_int_equal(counts.latency_usec, 40);
	/* requests for something else than a token name none */
	assert_string_equal(counts.last_resource, "https://storage.azure.com");
	counts = ig_tally_get(*state, &again);
	assert_int_equal(counts.allowed, 0);
	assert_string_equal(counts.last_resource, "");
}

/* A record without a request, as of a connection. */
static void test_no_request(void **state)
{
	ig_tally_count(*state, &pod, &(struct ig_audit_record){.decision = IG_AUDIT_DENY});
	assert_int_equal(ig_tally_get(*state, &pod).denied, 1);
	assert_string_equal(ig_tally_get(*state, &pod).last_resource, "");
}

static void test_long_resource(void **state)
{
	char resource[IG_TALLY_RESOURCE_BYTES + 2];

	for (size_t len = IG_TALLY_RESOURCE_BYTES - 1; len <= IG_TALLY_RESOURCE_BYTES + 1; len++) {
		memset(resource, 'r', len);
		resource[len] = '\0';
		count(*state, IG_AUDIT_ALLOW, resource);
		assert_int_equal(strlen(ig_tally_get(*state, &pod).last_resource),
			len < IG_TALLY_RESOURCE_BYTES ? len : IG_TALLY_RESOURCE_BYTES);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_counts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_no_request, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_long_resource, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("tally", tests, NULL, NULL);
}
