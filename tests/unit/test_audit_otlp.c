/*
 * The OTLP sink with a collector that answers what the test says: batches, retries, refusals, the
 * end. The real HTTP is in tests/netns/test_audit_otlp.py.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "audit/sink_otlp.h"
#include "base/cleanup.h"
#include "base/clock.h"

struct fixture {
	struct event_base *base;
	struct ig_audit_sink *sink;
	json_t *request; /* the last one; owned */
	size_t n_requests, n_freed;
	int post_error;
	bool answers; /* by itself, with `reply` */
	struct ig_audit_post_reply reply;
	struct event *answer;
	ig_audit_posted *done;
	void *userdata;
};

static void on_answer(evutil_socket_t fd, short what, void *userdata)
{
	struct fixture *f = userdata;
	ig_audit_posted *done = f->done;

	(void)fd;
	(void)what;
	f->done = NULL;
	done(&f->reply, f->userdata);
}

static int post(void *self, const char *body, size_t len, ig_audit_posted *done, void *userdata)
{
	struct fixture *f = self;

	if (f->post_error)
		return f->post_error;
	assert_null(f->done); /* one at a time */
	json_decref(f->request);
	f->request = json_loadb(body, len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(f->request);
	f->n_requests++;
	f->done = done;
	f->userdata = userdata;
	if (f->answers)
		event_active(f->answer, 0, 0);
	return 0;
}

static void poster_free(void *self)
{
	struct fixture *f = self;

	f->n_freed++;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct ig_audit_otlp_options options = {.poster = {.post = post, .free = poster_free},
		.resource = {.version = "9.9", .node = "n1", .run_id = "r1"},
		.queue_lines = 1000};

	assert_non_null(f);
	f->base = event_base_new();
	f->answer = event_new(f->base, -1, 0, on_answer, f);
	f->reply = (struct ig_audit_post_reply){
		.status = 200, .retry_after_sec = -1, .body = "", .body_len = 0};
	options.base = f->base;
	options.poster.self = f;
	assert_int_equal(ig_audit_sink_otlp_new(&options, &f->sink), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	(void)ig_audit_sink_free(f->sink);
	assert_int_equal(f->n_freed, 1);
	event_free(f->answer);
	event_base_free(f->base);
	json_decref(f->request);
	free(f);
	return 0;
}

static void push_text(struct fixture *f, const char *text, enum ig_audit_decision decision)
{
	struct ig_audit_line *line = ig_audit_line_new(text, strlen(text));

	assert_non_null(line);
	line->seq = 1;
	line->kind = IG_AUDIT_TOKEN_DENIED;
	line->decision = decision;
	line->time_usec = 1767323045678901ULL;
	assert_true(ig_audit_queue_push(f->sink->queue, line));
	(void)ig_audit_line_unref(line);
	f->sink->ops->kick(f->sink);
}

static void push(struct fixture *f, size_t n)
{
	while (n-- > 0)
		push_text(f, "{\"v\":1,\"seq\":1}\n", IG_AUDIT_DENY);
}

/* The pause before the next batch or attempt, in milliseconds; -1: none. */
struct pause {
	struct event *event;
	const struct fixture *f;
	long msec;
};

static int find_timer(const struct event_base *base, const struct event *event, void *arg)
{
	struct pause *pause = arg;
	struct timeval when, now;

	if (event == pause->f->answer || !event_pending(event, EV_TIMEOUT, &when))
		return 0;
	(void)event_base_gettimeofday_cached((struct event_base *)(uintptr_t)base, &now);
	pause->event = (struct event *)(uintptr_t)event;
	pause->msec = (when.tv_sec - now.tv_sec) * 1000 + (when.tv_usec - now.tv_usec) / 1000;
	return 1;
}

static struct pause get_pause(const struct fixture *f)
{
	struct pause pause = {.f = f, .msec = -1};

	(void)event_base_foreach_event(f->base, find_timer, &pause);
	return pause;
}

static void fire(struct fixture *f)
{
	struct pause pause = get_pause(f);

	assert_non_null(pause.event);
	(void)event_del(pause.event);
	event_active(pause.event, EV_TIMEOUT, 0);
	assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) >= 0);
}

static void answer(struct fixture *f, unsigned int status, const char *body, int64_t retry_after)
{
	assert_non_null(f->done);
	f->reply = (struct ig_audit_post_reply){.status = status,
		.body = body,
		.body_len = strlen(body),
		.retry_after_sec = retry_after};
	on_answer(-1, 0, f);
}

static json_t *records_of(const struct fixture *f)
{
	json_t *logs = json_object_get(f->request, "resourceLogs"), *scopes;

	assert_int_equal(json_array_size(logs), 1);
	scopes = json_object_get(json_array_get(logs, 0), "scopeLogs");
	assert_int_equal(json_array_size(scopes), 1);
	return json_object_get(json_array_get(scopes, 0), "logRecords");
}

static void expect_counts(struct fixture *f, uint64_t queued, uint64_t delivered, uint64_t lost)
{
	struct ig_audit_queue_stats stats = ig_audit_queue_stats(f->sink->queue);

	assert_int_equal(stats.queued, queued);
	assert_int_equal(stats.delivered, delivered);
	assert_int_equal(stats.lost, lost);
}

static void test_request_byte_for_byte(void **state)
{
	static const char expected[] =
		"{\"resourceLogs\":[{\"resource\":{\"attributes\":["
		"{\"key\":\"service.name\",\"value\":{\"stringValue\":\"imdsgate\"}},"
		"{\"key\":\"service.version\",\"value\":{\"stringValue\":\"9.9\"}},"
		"{\"key\":\"service.instance.id\",\"value\":{\"stringValue\":\"r1\"}},"
		"{\"key\":\"host.name\",\"value\":{\"stringValue\":\"n1\"}}]},"
		"\"scopeLogs\":[{\"scope\":{\"name\":\"imdsgate.audit\",\"version\":\"1\"},\"logRecords\":["
		"{\"timeUnixNano\":\"1767323045678901000\",\"observedTimeUnixNano\":\"1767323045678901000\","
		"\"severityNumber\":13,\"severityText\":\"WARN\",\"eventName\":\"imdsgate.token.denied\","
		"\"body\":{\"stringValue\":\"{\\\"v\\\":1,\\\"seq\\\":7,\\\"pod\\\":{\\\"name\\\":\\\"a\\\\\\\"b\\\",\\\"host_network\\\":true},\\\"netns\\\":\\\"5\\\"}\"},"
		"\"attributes\":[{\"key\":\"imdsgate.seq\",\"value\":{\"intValue\":\"7\"}},"
		"{\"key\":\"k8s.pod.name\",\"value\":{\"stringValue\":\"a\\\"b\"}},"
		"{\"key\":\"imdsgate.pod.host_network\",\"value\":{\"boolValue\":true}},"
		"{\"key\":\"imdsgate.netns\",\"value\":{\"stringValue\":\"5\"}}]}]}]}]}";
	static const char text[] =
		"{\"v\":1,\"seq\":7,\"pod\":{\"name\":\"a\\\"b\",\"host_network\":true},\"netns\":\"5\"}\n";
	struct ig_audit_line *line = ig_audit_line_new(text, strlen(text));
	const struct ig_otlp_resource resource = {.version = "9.9", .node = "n1", .run_id = "r1"};
	_cleanup_(json_decrefp) json_t *json = json_loads(expected, JSON_REJECT_DUPLICATES, NULL);
	struct ig_buf b = {.limit = 1 << 20};

	(void)state;
	assert_non_null(json);
	line->kind = IG_AUDIT_TOKEN_DENIED;
	line->decision = IG_AUDIT_DENY;
	line->time_usec = 1767323045678901ULL;
	ig_otlp_format(&line, 1, &resource, &b);
	assert_string_equal(b.data, expected);
	ig_buf_done(&b);
	(void)ig_audit_line_unref(line);
}

/* The worst lines there may be still fit into one request. */
static void test_largest_batch_fits(void **state)
{
	struct fixture *f = *state;
	char *text = calloc(1, IG_AUDIT_LINE_BYTES + 1);
	size_t at;

	assert_non_null(text);
	/* every escape doubles in the body and stands once more in the attributes */
	at = (size_t)snprintf(text, IG_AUDIT_LINE_BYTES, "{\"seq\":1,\"message\":\"");
	while (at < IG_AUDIT_LINE_BYTES - 10) {
		memcpy(text + at, "\\u0001", 6);
		at += 6;
	}
	memcpy(text + at, "\"}\n", 4);
	for (size_t i = 0; i < 40; i++)
		push_text(f, text, IG_AUDIT_ERROR);
	fire(f);
	assert_in_range(json_array_size(records_of(f)), 1, IG_AUDIT_OTLP_TEXT_BYTES / at);
	assert_true(json_array_size(records_of(f)) >= IG_AUDIT_OTLP_TEXT_BYTES / at - 1);
	free(text);
}

static void test_a_small_batch_waits_for_more(void **state)
{
	struct fixture *f = *state;

	push(f, 3);
	assert_int_equal(f->n_requests, 0);
	assert_in_range(get_pause(f).msec, 900, 1050);
	fire(f);
	assert_int_equal(f->n_requests, 1);
	assert_int_equal(json_array_size(records_of(f)), 3);
	push(f, 2); /* while it is under way */
	assert_int_equal(f->n_requests, 1);
	expect_counts(f, 5, 0, 0);
	answer(f, 200, "{}", -1);
	expect_counts(f, 2, 3, 0);
	fire(f);
	assert_int_equal(json_array_size(records_of(f)), 2);
	answer(f, 200, "", -1);
	expect_counts(f, 0, 5, 0);
	assert_int_equal(get_pause(f).msec, -1);
}

static void test_a_full_batch_goes_at_once(void **state)
{
	struct fixture *f = *state;

	push(f, 2 * IG_AUDIT_OTLP_LINES + 10);
	assert_int_equal(f->n_requests, 1);
	assert_int_equal(json_array_size(records_of(f)), IG_AUDIT_OTLP_LINES);
	answer(f, 200, "", -1);
	assert_int_equal(f->n_requests, 2);
	answer(f, 200, "", -1);
	assert_int_equal(f->n_requests, 2); /* the last ten wait */
	fire(f);
	assert_int_equal(json_array_size(records_of(f)), 10);
}

static void test_retries(void **state)
{
	static const unsigned int statuses[] = {401, 403, 429, 502, 503, 504};
	struct fixture *f = *state;
	long longest = 0;

	push(f, 3);
	fire(f);
	for (size_t i = 0; i < IG_ARRAY_SIZE(statuses); i++) {
		answer(f, statuses[i], "", -1);
		assert_true(get_pause(f).msec > longest); /* they grow */
		longest = get_pause(f).msec;
		expect_counts(f, 3, 0, 0);
		fire(f);
	}
	for (int i = 0; i < 10; i++) {
		answer(f, 503, "", -1);
		assert_in_range(get_pause(f).msec, 30000, 60050);
		fire(f);
	}
	assert_int_equal(ig_audit_queue_stats(f->sink->queue).failures, 1);
	assert_int_equal(ig_audit_queue_stats(f->sink->queue).error, -EREMOTEIO);
	answer(f, 200, "", -1);
	expect_counts(f, 0, 3, 0);
	assert_int_equal(ig_audit_queue_stats(f->sink->queue).error, 0);
	push(f, 1); /* and the pause is forgotten */
	assert_in_range(get_pause(f).msec, 900, 1050);
}

static void test_retry_after(void **state)
{
	struct fixture *f = *state;

	push(f, 1);
	fire(f);
	answer(f, 429, "", 17);
	assert_in_range(get_pause(f).msec, 16900, 17050);
	push(f, 500); /* nothing goes before its time */
	assert_int_equal(f->n_requests, 1);
	fire(f);
	answer(f, 503, "", 1000000);
	assert_in_range(get_pause(f).msec, 299900, 300050);
	fire(f);
	answer(f, 429, "", 0); /* at once is what it cannot take */
	assert_in_range(get_pause(f).msec, 3900, 4050);
}

static void test_no_answer(void **state)
{
	struct fixture *f = *state;

	push(f, 2);
	fire(f);
	f->reply = (struct ig_audit_post_reply){.error = -ECONNREFUSED, .body = ""};
	on_answer(-1, 0, f);
	expect_counts(f, 2, 0, 0);
	assert_int_equal(ig_audit_queue_stats(f->sink->queue).error, -ECONNREFUSED);
	f->post_error = -EACCES; /* not even a request */
	fire(f);
	assert_int_equal(ig_audit_queue_stats(f->sink->queue).error, -EACCES);
	f->post_error = 0;
	fire(f);
	answer(f, 200, "", -1);
	expect_counts(f, 0, 2, 0);
}

static void test_refused_for_good(void **state)
{
	static const unsigned int statuses[] = {400, 404, 413, 500, 301};
	struct fixture *f = *state;

	for (size_t i = 0; i < IG_ARRAY_SIZE(statuses); i++) {
		push(f, 2);
		fire(f);
		answer(f, statuses[i], "", 5);
		expect_counts(f, 0, 0, 2 * (i + 1));
	}
	assert_int_equal(ig_audit_queue_loss(f->sink->queue), 10);
}

/* Each refusal is reported in a record, which this collector refuses as well. */
static void test_refused_for_ever(void **state)
{
	static const struct {
		unsigned int status;
		const char *body;
	} answers[] = {
		{404, ""}, {200, "{\"partialSuccess\":{\"rejectedLogRecords\":\"1\"}}"}, {500, ""}};
	struct fixture *f = *state;
	long longest = 0;

	for (size_t i = 0; i < 12; i++) {
		push(f, 1);
		if (i > 0) { /* the first one only waits for company */
			assert_true(get_pause(f).msec > longest || longest > 30000);
			longest = get_pause(f).msec;
		}
		fire(f);
		answer(f, answers[i % 3].status, answers[i % 3].body, 0);
		expect_counts(f, 0, 0, i + 1);
	}
	assert_in_range(longest, 30000, 60050);
	fire(f); /* and nothing waits */
	push(f, 1);
	assert_in_range(get_pause(f).msec, 900, 1050);
	fire(f);
	answer(f, 200, "", -1);
	push(f, IG_AUDIT_OTLP_LINES);
	expect_counts(f, IG_AUDIT_OTLP_LINES, 1, 12);
	assert_non_null(f->done); /* on its way without a pause */
}

static void test_the_end_passes_over_what_is_refused(void **state)
{
	struct fixture *f = *state;

	f->answers = true;
	f->reply.status = 400;
	push(f, 700);
	f->sink->ops->finish(f->sink, ig_clock_mono_usec() + 10 * IG_USEC_PER_SEC);
	expect_counts(f, 0, 0, 700);
}

static void test_partial_success(void **state)
{
	static const struct {
		const char *body;
		uint64_t rejected;
	} rows[] = {
		{"{\"partialSuccess\":{\"rejectedLogRecords\":\"2\",\"errorMessage\":\"x\"}}", 2},
		{"{\"partialSuccess\":{\"rejectedLogRecords\":3}}", 3},
		{"{\"partialSuccess\":{\"rejectedLogRecords\":\"99999999999999999999999\"}}", 4},
		{"{\"partialSuccess\":{\"rejectedLogRecords\":-1}}", 0},
		{"{\"partialSuccess\":{\"errorMessage\":\"a warning\"}}", 0},
		{"{\"partialSuccess\":null}", 0},
		{"not JSON", 0},
	};
	struct fixture *f = *state;
	uint64_t lost = 0;

	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		push(f, 4);
		fire(f);
		answer(f, 200, rows[i].body, -1);
		lost += rows[i].rejected;
		expect_counts(f, 0, 4 * (i + 1) - lost, lost);
	}
}

static void test_a_collector_that_is_gone_fills_the_queue(void **state)
{
	struct fixture *f = *state;
	struct ig_audit_line *line = ig_audit_line_new("{}\n", 3);

	push(f, 1000);
	assert_false(ig_audit_queue_push(f->sink->queue, line));
	expect_counts(f, 1000, 0, 1);
	(void)ig_audit_line_unref(line);
}

static void test_the_end_sends_what_waits(void **state)
{
	struct fixture *f = *state;

	f->answers = true;
	push(f, 700);
	f->sink->ops->finish(f->sink, ig_clock_mono_usec() + 10 * IG_USEC_PER_SEC);
	expect_counts(f, 0, 700, 0);
}

static void test_the_end_does_not_wait_for_ever(void **state)
{
	struct fixture *f = *state;
	uint64_t before = ig_clock_mono_usec();

	push(f, 3);
	f->sink->ops->finish(f->sink, before + 50 * IG_USEC_PER_MSEC); /* no answer comes */
	assert_in_range(ig_clock_mono_usec() - before, 50000, 5000000);
	expect_counts(f, 3, 0, 0);
	answer(f, 503, "", -1);
	before = ig_clock_mono_usec();
	f->sink->ops->finish(f->sink, before + 100 * IG_USEC_PER_SEC); /* it fails already */
	expect_counts(f, 3, 0, 0);
	assert_in_range(ig_clock_mono_usec() - before, 0, 5000000);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request_byte_for_byte),
		T(test_largest_batch_fits),
		T(test_a_small_batch_waits_for_more),
		T(test_a_full_batch_goes_at_once),
		T(test_retries),
		T(test_retry_after),
		T(test_no_answer),
		T(test_refused_for_good),
		T(test_refused_for_ever),
		T(test_the_end_passes_over_what_is_refused),
		T(test_partial_success),
		T(test_a_collector_that_is_gone_fills_the_queue),
		T(test_the_end_sends_what_waits),
		T(test_the_end_does_not_wait_for_ever),
	};

	return cmocka_run_group_tests_name("audit/otlp", tests, NULL, NULL);
}
