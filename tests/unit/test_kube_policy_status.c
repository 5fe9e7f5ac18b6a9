/*
 * The status of MetadataPolicies against a scripted client: what is written and what is left alone,
 * after which pause, what each answer leads to, and how few of many agents write. Clock and timers
 * are the test's; nothing waits.
 *
 * Linked with --wrap for allocations, event_add, the clocks, and the client's start and
 * cancel.
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

#include <event2/event.h>
#include <jansson.h>

#include <imdsgate/limits.h>

#include "base/clock.h"
#include "http/client.h"
#include "kube/client.h"
#include "kube/policy_status.h"
#include "unit/alloc_failure.h"

#define PATH	"/apis/imdsgate.dev/v1alpha1/namespaces/shop/metadatapolicies/pay/status"
#define SPREAD	(IG_KUBE_STATUS_SPREAD_MSEC * IG_USEC_PER_MSEC)
#define RETRY	(IG_KUBE_STATUS_RETRY_MSEC * IG_USEC_PER_MSEC)
#define NOW_SEC 1800000000ULL /* 2027-01-15T08:00:00Z */
#define NOW	"2027-01-15T08:00:00.000000Z"
#define LATELY	"2027-01-15T07:55:00.000000Z"
#define LONGAGO "2027-01-15T07:00:00.000000Z"

#define ACCEPTED(status, generation, since)                                                        \
	"{\"type\":\"Accepted\",\"status\":\"" status "\",\"reason\":\"r\",\"message\":\"m\","     \
	"\"observedGeneration\":" generation ",\"lastTransitionTime\":\"" since "\"}"
#define OTHER(type) "{\"type\":\"" type "\",\"status\":\"Unknown\",\"extra\":[1]}"

static struct fixture {
	struct event_base *base;
	struct ig_kube_policy_status *status;
	/* the last call */
	bool calling;
	bool many; /* more than one may be under way */
	unsigned int n_calls, n_cancelled;
	char *path, *body;
	ig_http_done *done;
	void *userdata;
	int start_error;
	/* the last timer */
	struct event *timer;
	unsigned int n_timers;
	uint64_t delay_usec;
	unsigned int n_forbidden;
} f;

static uint64_t mono_usec, real_usec;

/* ---- what the code under test believes to be the world --------------------------------------- */

int __real_event_add(struct event *event, const struct timeval *after);
int __wrap_event_add(struct event *event, const struct timeval *after);
uint64_t __wrap_ig_clock_mono_usec(void);
uint64_t __wrap_ig_clock_real_usec(void);
int __wrap_ig_kube_client_start(struct ig_kube_client *client,
	const struct ig_kube_request *request, ig_http_done *done, void *userdata,
	struct ig_kube_call **ret_call);
void __wrap_ig_kube_call_cancel(struct ig_kube_call *call);

int __wrap_event_add(struct event *event, const struct timeval *after)
{
	f.timer = event;
	f.n_timers++;
	f.delay_usec = (uint64_t)after->tv_sec * IG_USEC_PER_SEC + (uint64_t)after->tv_usec;
	return __real_event_add(event, after);
}

uint64_t __wrap_ig_clock_mono_usec(void)
{
	return mono_usec;
}

uint64_t __wrap_ig_clock_real_usec(void)
{
	return real_usec;
}

int __wrap_ig_kube_client_start(struct ig_kube_client *client,
	const struct ig_kube_request *request, ig_http_done *done, void *userdata,
	struct ig_kube_call **ret_call)
{
	assert_null(client);
	assert_true(f.many || !f.calling);
	if (f.start_error)
		return f.start_error;
	assert_string_equal(request->method, "PATCH");
	assert_string_equal(request->content_type, "application/merge-patch+json");
	assert_int_equal(request->body_len, strlen(request->body));
	assert_true(request->timeout_usec > 0 && request->response_limit_bytes > 0);
	free(f.path);
	free(f.body);
	f.path = strdup(request->path);
	f.body = strdup(request->body);
	f.done = done;
	f.userdata = userdata;
	f.calling = true;
	f.n_calls++;
	*ret_call = (struct ig_kube_call *)&f;
	return 0;
}

void __wrap_ig_kube_call_cancel(struct ig_kube_call *call)
{
	assert_ptr_equal(call, &f);
	assert_true(f.many || f.calling);
	f.calling = false;
	f.n_cancelled++;
}

static void on_forbidden(unsigned int http_status, void *userdata)
{
	assert_ptr_equal(userdata, &f);
	assert_true(http_status == 401 || http_status == 403);
	f.n_forbidden++;
}

/* ---- the script ------------------------------------------------------------------------------ */

static int set_up(void **state)
{
	(void)state;
	f = (struct fixture){};
	mono_usec = 50 * IG_USEC_PER_SEC;
	real_usec = NOW_SEC * IG_USEC_PER_SEC + 123456;
	f.base = event_base_new();
	assert_int_equal(ig_kube_policy_status_new(f.base, NULL, on_forbidden, &f, &f.status), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	f.status = ig_kube_policy_status_free(f.status);
	assert_false(f.calling);
	event_base_free(f.base);
	free(f.path);
	free(f.body);
	return 0;
}

static json_t *policy_named(const char *ns, const char *name, const char *version,
	unsigned int generation, const char *conditions)
{
	char text[2048];
	json_t *policy;

	(void)snprintf(text, sizeof(text),
		"{\"metadata\":{\"namespace\":\"%s\",\"name\":\"%s\",\"resourceVersion\":\"%s\",\"generation\":%u},\"status\":{\"conditions\":[%s]}}",
		ns, name, version, generation, conditions);
	policy = json_loads(text, 0, NULL);
	assert_non_null(policy);
	return policy;
}

static int report_named(const char *name, const char *version, unsigned int generation,
	const char *conditions, const char *refusal)
{
	json_t *policy = policy_named("shop", name, version, generation, conditions);
	int r = ig_kube_policy_status_report(f.status, policy, refusal);

	json_decref(policy);
	return r;
}

static void report(
	const char *version, unsigned int generation, const char *conditions, const char *refusal)
{
	assert_int_equal(report_named("pay", version, generation, conditions, refusal), 0);
}

static bool is_waiting(void)
{
	return f.timer && evtimer_pending(f.timer, NULL);
}

/* The pause is over. */
static void fire(void)
{
	assert_true(is_waiting());
	event_active(f.timer, EV_TIMEOUT, 0);
	event_base_loop(f.base, EVLOOP_NONBLOCK);
}

static void answer(int error, unsigned int status)
{
	const struct ig_http_response response = {
		.error = error, .error_text = "no way there", .status = status, .body = ""};

	assert_true(f.calling);
	f.calling = false;
	f.done(&response, f.userdata);
}

static void expect_body(const char *version, const char *conditions)
{
	char text[2048];
	json_t *expected, *actual = json_loads(f.body, 0, NULL);

	(void)snprintf(text, sizeof(text),
		"{\"metadata\":{\"resourceVersion\":\"%s\"},\"status\":{\"conditions\":[%s]}}",
		version, conditions);
	expected = json_loads(text, 0, NULL);
	assert_non_null(expected);
	if (!json_equal(expected, actual))
		assert_string_equal(f.body, text);
	json_decref(expected);
	json_decref(actual);
}

#define WRITTEN(status, reason, message, generation, since)                                        \
	"{\"type\":\"Accepted\",\"status\":\"" status "\",\"reason\":\"" reason                    \
	"\",\"message\":\"" message "\",\"observedGeneration\":" generation                        \
	",\"lastTransitionTime\":\"" since "\"}"
#define VALID(generation, since) WRITTEN("True", "Valid", "the policy is valid", generation, since)

/* ---- what is written ------------------------------------------------------------------------- */

static void writes_what_is_missing(void **state)
{
	(void)state;
	report("7", 3, "", NULL);
	assert_int_equal(f.n_calls, 0);
	assert_true(is_waiting() && f.delay_usec <= SPREAD);
	fire();
	assert_int_equal(f.n_calls, 1);
	assert_string_equal(f.path, PATH);
	expect_body("7", VALID("3", NOW));
	answer(0, 200);
	assert_false(is_waiting());
}

static void writes_why_not(void **state)
{
	(void)state;
	report("7", 3, "", "spec.rate: \"fast\" is no number\n");
	fire();
	expect_body("7",
		WRITTEN("False", "Invalid", "spec.rate: \\\"fast\\\" is no number\\n", "3", NOW));
	answer(0, 200);
}

static void leaves_what_is_there(void **state)
{
	(void)state;
	report("7", 3, ACCEPTED("True", "3", LONGAGO), NULL);
	report("8", 3, ACCEPTED("False", "3", LONGAGO), "in other words");
	assert_int_equal(f.n_timers, 0);
}

static void a_new_generation_keeps_the_transition(void **state)
{
	(void)state;
	report("7", 4, ACCEPTED("True", "3", LATELY), NULL);
	fire();
	expect_body("7", VALID("4", LATELY));
	answer(0, 200);
}

static void a_new_verdict_has_a_new_transition(void **state)
{
	(void)state;
	report("7", 4, ACCEPTED("False", "3", LATELY), NULL);
	fire();
	expect_body("7", VALID("4", NOW));
	answer(0, 200);
}

static void agents_that_disagree_do_not_take_turns(void **state)
{
	(void)state;
	report("7", 3, ACCEPTED("False", "3", LATELY), NULL);
	assert_int_equal(f.n_timers, 0);
	report("8", 3, ACCEPTED("False", "3", LONGAGO), NULL);
	assert_true(is_waiting());
	report("9", 3, ACCEPTED("True", "3", NOW), "no");
	assert_false(is_waiting());
}

static void keeps_conditions_of_others(void **state)
{
	(void)state;
	report("7", 3,
		OTHER("Ready") "," ACCEPTED("True", "1", LATELY) "," OTHER(
			"Accepte") ",7," ACCEPTED("True", "2", LATELY) "," OTHER("accepted"),
		NULL);
	fire();
	expect_body("7",
		OTHER("Ready") "," OTHER("Accepte") ",7," OTHER("accepted") "," VALID("3", LATELY));
	answer(0, 200);
}

static void a_message_is_text_whatever_it_was(void **state)
{
	(void)state;
	report("7", 3, "", "cut here: \xe2\x82");
	fire();
	expect_body("7", WRITTEN("False", "Invalid", "cut here: ", "3", NOW));
	answer(0, 200);
	report("8", 4, "", "broken \xff in the middle");
	fire();
	expect_body("8", WRITTEN("False", "Invalid", "what is wrong is in the logs of the agents",
				 "4", NOW));
	answer(0, 200);
}

/* Any number of policies may come at once, and the calls of the client are for the watches and for
 * tokens, too. */
static void few_are_written_at_once(void **state)
{
	char name[16];

	(void)state;
	f.many = true;
	for (unsigned int i = 0; i < 3 * IG_KUBE_STATUS_CALLS_MAX; i++) {
		(void)snprintf(name, sizeof(name), "p%u", i);
		assert_int_equal(report_named(name, "7", 3, "", NULL), 0);
		fire();
		assert_int_equal(is_waiting(), i >= IG_KUBE_STATUS_CALLS_MAX);
	}
	assert_int_equal(f.n_calls, IG_KUBE_STATUS_CALLS_MAX);
	/* the last one waits for its turn */
	assert_true(f.delay_usec < SPREAD);
	fire();
	assert_int_equal(f.n_calls, IG_KUBE_STATUS_CALLS_MAX);
	/* an answer makes room, and so does a policy that goes */
	answer(0, 200);
	fire();
	assert_int_equal(f.n_calls, IG_KUBE_STATUS_CALLS_MAX + 1);
	assert_int_equal(report_named("more", "7", 3, "", NULL), 0);
	fire();
	assert_true(is_waiting());
	ig_kube_policy_status_forget(f.status, "shop", "p0");
	assert_int_equal(f.n_cancelled, 1);
	fire();
	assert_int_equal(f.n_calls, IG_KUBE_STATUS_CALLS_MAX + 2);
	assert_false(is_waiting());
	f.status = ig_kube_policy_status_free(f.status);
	assert_int_equal(f.n_cancelled, 1 + IG_KUBE_STATUS_CALLS_MAX);
	f.calling = false;
}

static void names_that_are_none_are_refused(void **state)
{
	static const char *const bad[][3] = {{"..", "pay", "7"}, {"shop", "..", "7"},
		{"shop", "pay/status", "7"}, {"a.b", "pay", "7"}, {"", "pay", "7"},
		{"shop", "", "7"}};
	json_t *policy;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		policy = policy_named(bad[i][0], bad[i][1], bad[i][2], 1, "");
		assert_int_equal(ig_kube_policy_status_report(f.status, policy, NULL), -EINVAL);
		json_decref(policy);
	}
	policy = policy_named("shop", "pay", "7", 1, "");
	assert_int_equal(
		json_object_del(json_object_get(policy, "metadata"), "resourceVersion"), 0);
	assert_int_equal(ig_kube_policy_status_report(f.status, policy, NULL), -EINVAL);
	assert_int_equal(json_object_del(policy, "metadata"), 0);
	assert_int_equal(ig_kube_policy_status_report(f.status, policy, NULL), -EINVAL);
	json_decref(policy);
	assert_int_equal(f.n_timers, 0);
}

/* ---- changes meanwhile ----------------------------------------------------------------------- */

static void another_agent_was_quicker(void **state)
{
	(void)state;
	report("7", 3, "", NULL);
	report("8", 3, ACCEPTED("True", "3", NOW), NULL);
	assert_false(is_waiting());
	assert_int_equal(f.n_calls, 0);
}

static void the_newest_is_written_and_not_put_off(void **state)
{
	(void)state;
	report("7", 3, "", NULL);
	report("8", 4, "", "bad");
	report("9", 5, "", NULL);
	assert_int_equal(f.n_timers, 1);
	fire();
	expect_body("9", VALID("5", NOW));
	answer(0, 200);
	assert_int_equal(f.n_calls, 1);
}

static void a_change_while_it_is_written_is_written_next(void **state)
{
	static const unsigned int answers[] = {200, 409, 404, 422};

	(void)state;
	for (unsigned int i = 0; i < 4; i++) {
		report("7", 3, "", NULL);
		fire();
		report("8", 4, "", "bad");
		if (i % 2)
			fire(); /* too early: one call at a time */
		answer(0, answers[i]);
		fire();
		expect_body("8", WRITTEN("False", "Invalid", "bad", "4", NOW));
		answer(0, 200);
		assert_false(is_waiting());
	}
	assert_int_equal(f.n_calls, 8);
}

static void nothing_is_left_to_write_when_the_call_ends(void **state)
{
	(void)state;
	report("7", 3, "", NULL);
	fire();
	report("8", 3, ACCEPTED("True", "3", NOW), NULL);
	answer(0, 503);
	assert_false(is_waiting());
}

/* ---- answers --------------------------------------------------------------------------------- */

static void refusals_are_final(void **state)
{
	static const unsigned int statuses[] = {200, 400, 404, 409, 422};

	(void)state;
	for (unsigned int i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		report("7", i, "", NULL);
		fire();
		answer(0, statuses[i]);
		assert_false(is_waiting());
	}
	assert_int_equal(f.n_forbidden, 0);
}

static void trouble_is_tried_again(void **state)
{
	static const struct {
		int error;
		unsigned int status;
	} answers[] = {{0, 429}, {0, 500}, {0, 503}, {-ETIMEDOUT, 0}, {-ECONNREFUSED, 0}};

	(void)state;
	report("7", 3, "", NULL);
	for (unsigned int i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		fire();
		assert_int_equal(f.n_calls, i + 1);
		answer(answers[i].error, answers[i].status);
		assert_true(is_waiting());
		assert_true(f.delay_usec >= RETRY && f.delay_usec < 2 * RETRY);
	}
	f.start_error = -EBUSY;
	fire();
	assert_true(is_waiting() && f.delay_usec >= RETRY);
	f.start_error = 0;
	/* a new version does not wait for as long */
	report("8", 4, "", NULL);
	assert_true(f.delay_usec <= SPREAD);
	fire();
	expect_body("8", VALID("4", NOW));
	answer(0, 200);
	assert_false(is_waiting());
}

static void forbidden_is_told_and_ends_the_writing(void **state)
{
	(void)state;
	report("7", 3, "", NULL);
	fire();
	answer(0, 403);
	assert_int_equal(f.n_forbidden, 1);
	assert_false(is_waiting());
	mono_usec += IG_KUBE_STATUS_FORBIDDEN_SEC * IG_USEC_PER_SEC - 1;
	assert_int_equal(report_named("other", "8", 1, "", NULL), 0);
	fire();
	assert_int_equal(f.n_calls, 1);
	assert_false(is_waiting());
	mono_usec += 1;
	report("9", 4, "", NULL);
	fire();
	assert_int_equal(f.n_calls, 2);
	answer(0, 401);
	assert_int_equal(f.n_forbidden, 2);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void forgotten_in_every_state(void **state)
{
	(void)state;
	ig_kube_policy_status_forget(f.status, "shop", "pay");
	report("7", 3, "", NULL);
	ig_kube_policy_status_forget(f.status, "shop", "pay");
	event_base_loop(f.base, EVLOOP_NONBLOCK);
	report("7", 3, "", NULL);
	fire();
	ig_kube_policy_status_forget(f.status, "shop", "pay");
	assert_int_equal(f.n_cancelled, 1);
	assert_int_equal(f.n_calls, 1);
	/* and known again */
	report("9", 1, "", NULL);
	fire();
	expect_body("9", VALID("1", NOW));
	/* tear_down() frees it with the call under way */
}

/* more than a list has room for at first */
#define FOUR OTHER("A") "," OTHER("B") "," OTHER("C") "," OTHER("D")
#define MANY FOUR "," FOUR "," FOUR

static void every_allocation_may_fail(void **state)
{
	json_t *policy = policy_named("shop", "pay", "7", 3, MANY);
	unsigned int n = 0;
	int r;

	(void)state;
	json_set_alloc_funcs(__wrap_malloc, free);
	do {
		failing = ++n;
		allocations = 0;
		armed = true;
		r = ig_kube_policy_status_report(f.status, policy, "because \xff in it");
		armed = false;
		assert_true(r == 0 || r == -ENOMEM);
		if (r == 0) {
			fire();
			expect_body("7",
				MANY "," WRITTEN("False", "Invalid",
					"what is wrong is in the logs of the agents", "3", NOW));
			answer(0, 200);
		}
		ig_kube_policy_status_forget(f.status, "shop", "pay");
	} while (allocations >= n);
	json_set_alloc_funcs(__real_malloc, free);
	json_decref(policy);
	assert_int_equal(r, 0);
	assert_true(n > 20);
}

/* ---- many agents ----------------------------------------------------------------------------- */

static uint32_t next_random(void)
{
	static uint64_t x = 88172645463325252ULL;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (uint32_t)(x >> 16);
}

/* How many of n agents write when each needs d_msec to hear of another's; the mean of some runs. */
static double writes_of(unsigned int n, uint64_t d_msec, double *ret_first_msec)
{
	enum { RUNS = 40 };
	static uint64_t pauses[5000];
	double writes = 0, first_sum = 0;

	for (int run = 0; run < RUNS; run++) {
		uint64_t first = UINT64_MAX;

		for (unsigned int i = 0; i < n; i++) {
			pauses[i] = ig_kube_policy_status_pause_msec(next_random());
			first = pauses[i] < first ? pauses[i] : first;
		}
		for (unsigned int i = 0; i < n; i++)
			writes += pauses[i] <= first + d_msec;
		first_sum += (double)first;
	}
	*ret_first_msec = first_sum / RUNS;
	return writes / RUNS;
}

static void few_of_many_agents_write(void **state)
{
	double first;

	(void)state;
	assert_true(writes_of(1, 1000, &first) == 1);
	assert_true(first > 15000 && first < IG_KUBE_STATUS_SPREAD_MSEC);
	assert_true(writes_of(100, 1000, &first) < 3);
	assert_true(writes_of(5000, 100, &first) < 2);
	assert_true(writes_of(5000, 1000, &first) < 3);
	assert_true(writes_of(5000, 3000, &first) < 8);
	assert_true(first < 4000);
}

static void pauses_have_bounds_and_fall_with_the_number(void **state)
{
	uint64_t last = 0;

	(void)state;
	assert_int_equal(ig_kube_policy_status_pause_msec(0), 0);
	assert_in_range(ig_kube_policy_status_pause_msec(UINT32_MAX),
		IG_KUBE_STATUS_SPREAD_MSEC - 10, IG_KUBE_STATUS_SPREAD_MSEC);
	for (uint64_t random = 1; random <= UINT32_MAX; random += random / 64 + 1) {
		uint64_t pause = ig_kube_policy_status_pause_msec((uint32_t)random);

		assert_true(pause >= last && pause <= IG_KUBE_STATUS_SPREAD_MSEC);
		last = pause;
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(writes_what_is_missing),
		TEST(writes_why_not),
		TEST(leaves_what_is_there),
		TEST(a_new_generation_keeps_the_transition),
		TEST(a_new_verdict_has_a_new_transition),
		TEST(agents_that_disagree_do_not_take_turns),
		TEST(keeps_conditions_of_others),
		TEST(a_message_is_text_whatever_it_was),
		TEST(few_are_written_at_once),
		TEST(names_that_are_none_are_refused),
		TEST(another_agent_was_quicker),
		TEST(the_newest_is_written_and_not_put_off),
		TEST(a_change_while_it_is_written_is_written_next),
		TEST(nothing_is_left_to_write_when_the_call_ends),
		TEST(refusals_are_final),
		TEST(trouble_is_tried_again),
		TEST(forbidden_is_told_and_ends_the_writing),
		TEST(forgotten_in_every_state),
		TEST(every_allocation_may_fail),
		TEST(few_of_many_agents_write),
		TEST(pauses_have_bounds_and_fall_with_the_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
