/*
 * Taking a taint off a node, against a scripted client: what is asked and sent, what each answer
 * leads to, replies that make no sense, names that must not get into a URL, and every allocation
 * failing once. Timers are the test's; nothing waits.
 *
 * Linked with --wrap for allocations, event_add, and the client's start and cancel.
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

#include "base/json.h"
#include "kube/client.h"
#include "kube/node_taint.h"
#include "unit/alloc_failure.h"

#define KEY	"imdsgate.dev/agent-not-ready"
#define PATH	"/api/v1/nodes/node-1"
#define OURS	"{\"key\":\"" KEY "\",\"value\":\"true\",\"effect\":\"NoSchedule\"}"
#define OTHER	"{\"key\":\"" KEY "-2\",\"effect\":\"NoSchedule\"}"
#define NODE(t) "{\"spec\":{\"taints\":[" t "]}}"

static struct fixture {
	struct event_base *base;
	struct ig_kube_node_taint *taint;
	/* the call under way */
	ig_http_done *done;
	void *userdata;
	struct ig_kube_request request;
	char body[1024];
	int start_error;
	unsigned int n_calls, n_cancelled;
	uint64_t delay_msec; /* of the last timer */
	/* what was told */
	int gone; /* -1: nothing; else was_there */
	unsigned int n_failed, failed_status;
} f;

int __real_event_add(struct event *event, const struct timeval *after);
int __wrap_event_add(struct event *event, const struct timeval *after);
int __wrap_ig_kube_client_start(struct ig_kube_client *client,
	const struct ig_kube_request *request, ig_http_done *done, void *userdata,
	struct ig_kube_call **ret_call);
void __wrap_ig_kube_call_cancel(struct ig_kube_call *call);

int __wrap_event_add(struct event *event, const struct timeval *after)
{
	f.delay_msec = (uint64_t)after->tv_sec * 1000 + (uint64_t)after->tv_usec / 1000;
	return __real_event_add(event, &(struct timeval){});
}

int __wrap_ig_kube_client_start(struct ig_kube_client *client,
	const struct ig_kube_request *request, ig_http_done *done, void *userdata,
	struct ig_kube_call **ret_call)
{
	assert_ptr_equal(client, &f);
	assert_string_equal(request->path, PATH);
	assert_true(request->timeout_usec > 0 && request->response_limit_bytes > 0);
	if (f.start_error)
		return f.start_error;
	f.n_calls++;
	f.request = *request;
	(void)snprintf(f.body, sizeof(f.body), "%.*s", (int)request->body_len,
		request->body ? request->body : "");
	f.done = done;
	f.userdata = userdata;
	*ret_call = (struct ig_kube_call *)&f;
	return 0;
}

void __wrap_ig_kube_call_cancel(struct ig_kube_call *call)
{
	f.n_cancelled += call != NULL;
}

static void on_gone(bool was_there, void *userdata)
{
	assert_ptr_equal(userdata, &f);
	assert_int_equal(f.gone, -1);
	f.gone = was_there;
}

static void on_failed(unsigned int http_status, void *userdata)
{
	assert_ptr_equal(userdata, &f);
	f.n_failed++;
	f.failed_status = http_status;
}

static const struct ig_kube_node_taint_ops ops = {.gone = on_gone, .failed = on_failed};

static int begin(void)
{
	return ig_kube_node_taint_new(
		f.base, (struct ig_kube_client *)&f, "node-1", KEY, &ops, &f, &f.taint);
}

/* Timers of any length are over at once. */
static void run(void)
{
	(void)event_base_loop(f.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static void reply(unsigned int status, const char *body)
{
	const struct ig_http_response response = {.status = status,
		.error = status ? 0 : -ECONNREFUSED,
		.error_text = "",
		.body = body,
		.body_len = strlen(body)};
	ig_http_done *done = f.done;

	assert_non_null(done);
	f.done = NULL;
	done(&response, f.userdata);
}

static int set_up(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	f.gone = -1;
	f.base = event_base_new();
	assert_int_equal(begin(), 0);
	run();
	assert_int_equal(f.n_calls, 1);
	assert_string_equal(f.request.method, "GET");
	assert_int_equal(f.request.response_limit_bytes, IG_KUBE_NODE_BYTES);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	f.taint = ig_kube_node_taint_free(f.taint);
	event_base_free(f.base);
	return 0;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_it_goes(void **state)
{
	json_t *sent, *expected;

	(void)state;
	reply(200, NODE(OURS "," OTHER "," OURS));
	assert_string_equal(f.request.method, "PATCH");
	assert_string_equal(f.request.content_type, "application/json-patch+json");
	sent = json_loads(f.body, 0, NULL);
	expected = json_loads("[{\"op\":\"test\",\"path\":\"/spec/taints/2\",\"value\":" OURS "},"
			      "{\"op\":\"remove\",\"path\":\"/spec/taints/2\"},"
			      "{\"op\":\"test\",\"path\":\"/spec/taints/0\",\"value\":" OURS "},"
			      "{\"op\":\"remove\",\"path\":\"/spec/taints/0\"}]",
		0, NULL);
	assert_true(json_equal(sent, expected));
	json_decref(sent);
	json_decref(expected);
	assert_int_equal(f.request.on_data("any", 3, f.userdata), 0);
	assert_int_equal(f.gone, -1);
	reply(200, "");
	assert_int_equal(f.gone, true);
	run();
	assert_int_equal(f.n_calls, 2);
	assert_int_equal(f.n_failed, 0);
}

static void test_nothing_to_do(void **state)
{
	static const char *const nodes[] = {NODE(OTHER), NODE(""), "{\"spec\":{}}", "{}",
		"{\"spec\":[]}", "{\"spec\":{\"taints\":{\"key\":\"" KEY "\"}}}",
		NODE("{\"key\":7},null,\"" KEY "\",{}")};

	for (size_t i = 0; i < sizeof(nodes) / sizeof(*nodes); i++) {
		reply(200, nodes[i]);
		assert_int_equal(f.gone, false);
		assert_int_equal(f.n_failed, 0);
		(void)tear_down(state);
		(void)set_up(state);
	}
}

static void test_no_sense(void **state)
{
	static const char *const bodies[] = {"", "[]", "7", "{", "null", "<html>"};

	(void)state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
		reply(200, bodies[i]);
		assert_int_equal(f.n_failed, 1); /* the same each time, so told once */
		assert_int_equal(f.failed_status, 0);
		run();
		assert_string_equal(f.request.method, "GET");
	}
	assert_int_equal(f.gone, -1);
}

static void test_told_once(void **state)
{
	static const struct {
		unsigned int status, n_failed;
	} answers[] = {{403, 1}, {403, 1}, {404, 2}, {0, 3}, {0, 3}, {503, 4}, {403, 5}};

	(void)state;
	for (size_t i = 0; i < sizeof(answers) / sizeof(*answers); i++) {
		reply(answers[i].status, "{}");
		assert_int_equal(f.n_failed, answers[i].n_failed);
		assert_int_equal(f.failed_status, answers[i].status);
		run();
	}
	reply(200, NODE(OURS));
	reply(403, "");
	assert_int_equal(f.n_failed, 5); /* the same again */
	run();
	assert_string_equal(f.request.method, "GET");
	assert_int_equal(f.gone, -1);
}

static void test_pauses(void **state)
{
	uint64_t longest = 0;

	(void)state;
	for (unsigned int i = 0; i < 40; i++) {
		uint64_t full = IG_KUBE_BACKOFF_MAX_MSEC;

		if (i < 8 && (uint64_t)IG_KUBE_BACKOFF_MIN_MSEC << i < full)
			full = (uint64_t)IG_KUBE_BACKOFF_MIN_MSEC << i;
		reply(503, "");
		assert_in_range(f.delay_msec, full / 2, full);
		longest = f.delay_msec > longest ? f.delay_msec : longest;
		run();
	}
	assert_in_range(longest, IG_KUBE_BACKOFF_MAX_MSEC / 2, IG_KUBE_BACKOFF_MAX_MSEC);
}

/* The taints moved, or somebody was quicker: it looks again, and nobody is told. */
static void test_moved(void **state)
{
	static const unsigned int statuses[] = {422, 409};

	(void)state;
	for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
		reply(200, NODE(OURS));
		reply(statuses[i], "{}");
		run();
		assert_string_equal(f.request.method, "GET");
		assert_int_equal(f.n_failed, 0);
	}
	reply(200, NODE(OTHER));
	assert_int_equal(f.gone, false);
}

static void test_cannot_start(void **state)
{
	(void)state;
	f.start_error = -EBUSY;
	reply(200, NODE(OURS));
	assert_int_equal(f.n_failed, 1);
	run();
	f.start_error = 0;
	run();
	reply(200, NODE(OURS));
	reply(200, "");
	assert_int_equal(f.gone, true);
}

static void test_given_up(void **state)
{
	(void)state;
	f.taint = ig_kube_node_taint_free(f.taint);
	assert_int_equal(f.n_cancelled, 1);
	assert_null(ig_kube_node_taint_free(NULL));
}

static void test_names(void **state)
{
	static const char *const names[] = {"", "a/b", "..", "a?b", "A", "a b", "a%2fb"};
	struct ig_kube_node_taint *untouched = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		assert_int_equal(ig_kube_node_taint_new(f.base, (struct ig_kube_client *)&f,
					 names[i], KEY, &ops, &f, &untouched),
			-EINVAL);
	assert_null(untouched);
}

static void test_memory(void **state)
{
	bool all = false;

	ig_json_wipe_memory(); /* so that jansson's are counted */
	for (failing = 1; !all; failing++) {
		(void)tear_down(state);
		memset(&f, 0, sizeof(f));
		f.gone = -1;
		f.base = event_base_new();
		allocations = 0;
		armed = true;
		if (begin() == 0) {
			run();
			reply(200, NODE(OURS "," OTHER));
		}
		armed = false;
		all = allocations < failing;
		/* sent whole, or told and tried again */
		assert_true(!f.taint || f.n_failed == 1 ||
			    strncmp(f.body, "[{\"op\":\"test\"", 13) == 0);
		assert_true(!f.n_failed || f.n_calls == 1);
	}
	assert_in_range(failing, 10, 10000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {TEST(test_it_goes), TEST(test_nothing_to_do),
		TEST(test_no_sense), TEST(test_told_once), TEST(test_pauses), TEST(test_moved),
		TEST(test_cannot_start), TEST(test_given_up), TEST(test_names), TEST(test_memory)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
