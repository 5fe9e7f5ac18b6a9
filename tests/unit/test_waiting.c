/*
 * Requests that wait for what is declared: woken, timed out, given up in every state, many at once.
 * Nothing waits here: the clock is the test's, and timers are seen when they are armed.
 *
 * Linked with --wrap for ig_clock_mono_usec, event_add and calloc.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>

#include <event2/event.h>

#include <imdsgate/limits.h>

#include "agent/agent.h"
#include "agent/waiting.h"
#include "base/clock.h"

#define CONNS 1000
#define LIMIT (IG_WAIT_POD_SEC * IG_USEC_PER_SEC)

static struct event_base *base;
static struct ig_waiting *waiting;
static struct ig_gate_conn conns[CONNS];
static unsigned int n_again[CONNS];
static uint64_t now_usec, delay_usec;
static struct event *timer;
static bool no_memory;
/* what a decision does: NULL: nothing */
static void (*decision)(struct ig_gate_conn *conn);

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
int __real_event_add(struct event *event, const struct timeval *after);
int __wrap_event_add(struct event *event, const struct timeval *after);
uint64_t __wrap_ig_clock_mono_usec(void);

void *__wrap_calloc(size_t n, size_t size)
{
	return no_memory ? NULL : __real_calloc(n, size);
}

int __wrap_event_add(struct event *event, const struct timeval *after)
{
	timer = event;
	delay_usec = (uint64_t)after->tv_sec * IG_USEC_PER_SEC + (uint64_t)after->tv_usec;
	return __real_event_add(event, after);
}

uint64_t __wrap_ig_clock_mono_usec(void)
{
	return now_usec;
}

static void again(struct ig_gate_conn *conn)
{
	assert_null(conn->wait);
	n_again[conn - conns]++;
	if (decision)
		decision(conn);
}

static int set_up(void **state)
{
	(void)state;
	base = event_base_new();
	now_usec = 1000 * IG_USEC_PER_SEC;
	decision = NULL;
	for (size_t i = 0; i < CONNS; i++) {
		conns[i] = (struct ig_gate_conn){.request_usec = now_usec};
		n_again[i] = 0;
	}
	return ig_waiting_new(base, again, &waiting);
}

static int tear_down(void **state)
{
	(void)state;
	for (size_t i = 0; i < CONNS; i++)
		ig_waiting_stop(&conns[i]);
	assert_int_equal(ig_waiting_count(waiting), 0);
	waiting = ig_waiting_free(waiting);
	event_base_free(base);
	return 0;
}

static void run(void)
{
	for (int i = 0; i < 3; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

static void wait_again(struct ig_gate_conn *conn)
{
	(void)ig_waiting_start(waiting, conn, LIMIT);
}

static void is_decided_again_when_woken(void **state)
{
	(void)state;
	assert_true(ig_waiting_start(waiting, &conns[0], LIMIT));
	assert_int_equal(ig_waiting_count(waiting), 1);
	run();
	assert_int_equal(n_again[0], 0);
	ig_waiting_wake(waiting);
	assert_int_equal(n_again[0], 0); /* not in the middle of somebody else's change */
	ig_waiting_wake(waiting);
	run();
	assert_int_equal(n_again[0], 1);
	assert_int_equal(ig_waiting_count(waiting), 0);
	ig_waiting_wake(waiting);
	run();
	assert_int_equal(n_again[0], 1);
}

static void nobody_is_woken(void **state)
{
	(void)state;
	ig_waiting_wake(waiting);
	run();
	assert_true(ig_waiting_start(waiting, &conns[0], LIMIT));
	run();
	assert_int_equal(n_again[0], 0); /* what was before is known already */
}

static void time_counts_from_the_request(void **state)
{
	(void)state;
	decision = wait_again;
	now_usec += 1;
	assert_true(ig_waiting_start(waiting, &conns[0], LIMIT));
	assert_int_equal(delay_usec, LIMIT - 1);
	for (unsigned int i = 1; i < IG_WAIT_POD_SEC; i++) {
		now_usec += IG_USEC_PER_SEC;
		ig_waiting_wake(waiting);
		run();
		assert_int_equal(n_again[0], i);
		assert_int_equal(delay_usec, LIMIT - 1 - i * IG_USEC_PER_SEC);
		assert_int_equal(ig_waiting_count(waiting), 1);
	}
	now_usec = conns[0].request_usec + LIMIT;
	event_active(timer, EV_TIMEOUT, 0);
	run();
	assert_int_equal(n_again[0], IG_WAIT_POD_SEC);
	assert_int_equal(ig_waiting_count(waiting), 0); /* the time was up */
}

static void time_that_is_up_is_not_waited(void **state)
{
	(void)state;
	now_usec = conns[0].request_usec + LIMIT - 1;
	assert_true(ig_waiting_start(waiting, &conns[0], LIMIT));
	ig_waiting_stop(&conns[0]);
	now_usec++;
	assert_false(ig_waiting_start(waiting, &conns[0], LIMIT));
	assert_null(conns[0].wait);
	assert_false(ig_waiting_start(waiting, &conns[0], 0));
	/* the next request on the same connection has its own */
	conns[0].request_usec = now_usec;
	assert_true(ig_waiting_start(waiting, &conns[0], LIMIT));
	assert_int_equal(delay_usec, LIMIT);
}

/* By the real timer: a microsecond is left. */
static void the_time_is_up(void **state)
{
	(void)state;
	now_usec = conns[0].request_usec + LIMIT - 1;
	assert_true(ig_waiting_start(waiting, &conns[0], LIMIT));
	assert_int_equal(event_base_loop(base, EVLOOP_ONCE), 0);
	assert_int_equal(n_again[0], 1);
	assert_int_equal(ig_waiting_count(waiting), 0);
}

static void given_up_in_every_state(void **state)
{
	(void)state;
	ig_waiting_stop(&conns[0]); /* never waited */
	assert_true(ig_waiting_start(waiting, &conns[0], LIMIT));
	ig_waiting_stop(&conns[0]);
	ig_waiting_stop(&conns[0]);
	ig_waiting_wake(waiting);
	run();
	assert_true(ig_waiting_start(waiting, &conns[0], LIMIT));
	ig_waiting_wake(waiting);
	ig_waiting_stop(&conns[0]); /* woken, and not yet decided */
	run();
	assert_int_equal(n_again[0], 0);
	assert_true(ig_waiting_start(waiting, &conns[0], LIMIT));
	decision = ig_waiting_stop; /* the decision closes the connection */
	ig_waiting_wake(waiting);
	run();
	assert_int_equal(n_again[0], 1);
}

static void waiting_twice_is_waiting_once(void **state)
{
	(void)state;
	assert_true(ig_waiting_start(waiting, &conns[0], LIMIT));
	assert_true(ig_waiting_start(waiting, &conns[0], LIMIT / 2));
	assert_int_equal(delay_usec, LIMIT / 2);
	assert_int_equal(ig_waiting_count(waiting), 1);
	ig_waiting_wake(waiting);
	run();
	assert_int_equal(n_again[0], 1);
}

static void without_memory_there_is_no_waiting(void **state)
{
	(void)state;
	no_memory = true;
	assert_false(ig_waiting_start(waiting, &conns[0], LIMIT));
	no_memory = false;
	assert_null(conns[0].wait);
	assert_int_equal(ig_waiting_count(waiting), 0);
}

static void start_all(void)
{
	for (size_t i = 0; i < CONNS; i++)
		assert_true(ig_waiting_start(waiting, &conns[i], LIMIT));
	assert_int_equal(ig_waiting_count(waiting), CONNS);
}

static void each_of_many_is_decided_once_for_a_wake(void **state)
{
	(void)state;
	decision = wait_again;
	start_all();
	for (unsigned int wakes = 1; wakes <= 3; wakes++) {
		ig_waiting_wake(waiting);
		run();
		for (size_t i = 0; i < CONNS; i++)
			assert_int_equal(n_again[i], wakes);
		assert_int_equal(ig_waiting_count(waiting), CONNS);
	}
}

/* Every other connection is closed by its neighbour's decision. */
static void stop_neighbour(struct ig_gate_conn *conn)
{
	ig_waiting_stop(&conns[(size_t)(conn - conns) ^ 1]);
}

static void a_decision_may_end_the_waiting_of_others(void **state)
{
	(void)state;
	decision = stop_neighbour;
	start_all();
	ig_waiting_wake(waiting);
	run();
	for (size_t i = 0; i < CONNS; i += 2)
		assert_int_equal(n_again[i] + n_again[i + 1], 1);
	assert_int_equal(ig_waiting_count(waiting), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(is_decided_again_when_woken),
		TEST(nobody_is_woken),
		TEST(time_counts_from_the_request),
		TEST(time_that_is_up_is_not_waited),
		TEST(the_time_is_up),
		TEST(given_up_in_every_state),
		TEST(waiting_twice_is_waiting_once),
		TEST(without_memory_there_is_no_waiting),
		TEST(each_of_many_is_decided_once_for_a_wake),
		TEST(a_decision_may_end_the_waiting_of_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
