/*
 * Facts about callers: what is asked of the monitor, and how much of it at once. The link to it is
 * a list of what was asked.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "agent/callers.h"
#include "agent/link.h"
#include "base/cleanup.h"

#define MAX IG_CALLER_LOOKUPS_WORKLOAD_MAX

static struct asked {
	uint64_t cgroup_id;
	ig_link_reply *reply;
	void *userdata;
} asked[MAX + 8];
static size_t n_asked;

int __wrap_ig_link_request(struct ig_link *link, const struct ig_monitor_request *request,
	ig_link_reply *reply, void *userdata);
int __wrap_ig_link_request(struct ig_link *link, const struct ig_monitor_request *request,
	ig_link_reply *reply, void *userdata)
{
	(void)link;
	assert_true(n_asked < IG_ARRAY_SIZE(asked));
	asked[n_asked++] = (struct asked){
		.cgroup_id = request->cgroup_id, .reply = reply, .userdata = userdata};
	return 0;
}

void __wrap_ig_link_forget(struct ig_link *link, const void *userdata);
void __wrap_ig_link_forget(struct ig_link *link, const void *userdata)
{
	(void)link;
	(void)userdata;
}

static void on_done(void *userdata)
{
	++*(size_t *)userdata;
}

/* Everything is answered: nobody knows that cgroup. */
static void answer_all(void)
{
	const struct ig_monitor_message reply = {.result = -ENOENT};

	while (n_asked) {
		struct asked last = asked[--n_asked];

		last.reply(&reply, last.userdata);
	}
}

static void a_workload_has_so_many_lookups(void **state)
{
	static struct ig_caller_facts facts[MAX + 2];
	struct ig_callers *callers;
	struct ig_caller caller = {.workload_cgroup_id = 5};
	size_t done = 0;

	(void)state;
	assert_int_equal(ig_callers_new(NULL, &callers), 0);
	for (size_t i = 0; i < MAX; i++) {
		caller.cgroup_id = 1000 + i; /* all of the same workload */
		assert_int_equal(
			ig_callers_resolve(callers, &caller, &facts[i], on_done, &done), 0);
	}
	caller.cgroup_id = 7;
	assert_int_equal(ig_callers_resolve(callers, &caller, &facts[MAX], on_done, &done), -EBUSY);
	assert_int_equal(ig_callers_too_many(callers), 1);
	/* another has its own */
	caller = (struct ig_caller){.workload_cgroup_id = 6, .cgroup_id = 8};
	assert_int_equal(ig_callers_resolve(callers, &caller, &facts[MAX + 1], on_done, &done), 0);
	answer_all();
	assert_int_equal(done, MAX + 1);
	caller = (struct ig_caller){.workload_cgroup_id = 5, .cgroup_id = 7};
	assert_int_equal(ig_callers_resolve(callers, &caller, &facts[MAX], on_done, &done), 0);
	answer_all();
	assert_null(ig_callers_free(callers));
}

/* What is known is remembered, up to a limit; then the oldest is asked for again. */
static void so_many_facts_are_remembered(void **state)
{
	struct ig_monitor_message reply = {.cgroup_path = "/pod"};
	struct ig_callers *callers;
	struct ig_caller caller = {};
	struct ig_caller_facts facts;
	size_t done = 0;

	(void)state;
	assert_int_equal(ig_callers_new(NULL, &callers), 0);
	for (uint64_t id = 1; id <= IG_CALLER_FACTS_MAX + 1; id++) {
		caller.cgroup_id = id;
		facts = (struct ig_caller_facts){};
		assert_int_equal(ig_callers_resolve(callers, &caller, &facts, on_done, &done), 0);
		n_asked--;
		asked[0].reply(&reply, asked[0].userdata);
		assert_string_equal(facts.cgroup_path, "/pod");
		ig_caller_facts_done(&facts);
	}
	assert_int_equal(ig_callers_resolve(callers, &caller, &facts, on_done, &done), 1);
	ig_caller_facts_done(&facts);
	caller.cgroup_id = 1;
	assert_int_equal(ig_callers_resolve(callers, &caller, &facts, on_done, &done), 0);
	answer_all();
	assert_null(ig_callers_free(callers));
}

/* A cgroup that the workload made for itself says no less who it is when nobody can read its path.
 */
static void the_workloads_path_stands_for_one_that_is_gone(void **state)
{
	const struct ig_monitor_message pod = {.cgroup_path = "/pod"};
	const struct ig_monitor_message gone = {.result = -ENOENT}, too_long = {.result = -E2BIG};
	const struct ig_caller caller = {.workload_cgroup_id = 5, .cgroup_id = 7};
	struct ig_caller_facts facts = {};
	struct ig_callers *callers;
	size_t done = 0;

	(void)state;
	assert_int_equal(ig_callers_new(NULL, &callers), 0);
	assert_int_equal(ig_callers_resolve(callers, &caller, &facts, on_done, &done), 0);
	assert_int_equal(asked[0].cgroup_id, 7);
	n_asked--;
	asked[0].reply(&too_long, asked[0].userdata);
	assert_int_equal(n_asked, 1);
	assert_int_equal(asked[0].cgroup_id, 5);
	n_asked--;
	asked[0].reply(&gone, asked[0].userdata);
	assert_int_equal(n_asked, 0);
	assert_int_equal(done, 1);
	assert_null(facts.cgroup_path);
	assert_int_equal(ig_callers_resolve(callers, &caller, &facts, on_done, &done), 0);
	n_asked--;
	asked[0].reply(&gone, asked[0].userdata);
	n_asked--;
	asked[0].reply(&pod, asked[0].userdata);
	assert_int_equal(done, 2);
	assert_string_equal(facts.cgroup_path, "/pod");
	ig_caller_facts_done(&facts);
	assert_null(ig_callers_free(callers));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_workload_has_so_many_lookups),
		cmocka_unit_test(so_many_facts_are_remembered),
		cmocka_unit_test(the_workloads_path_stands_for_one_that_is_gone),
	};

	return cmocka_run_group_tests_name("agent/callers", tests, NULL, NULL);
}
