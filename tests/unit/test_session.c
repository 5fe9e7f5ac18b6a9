/*
 * Which requests of a server are legal when: each kind in each state, and what they change.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>

#include <imdsgate/limits.h>

#include "base/clock.h"
#include "monitor/session.h"

#define ILLEGAL (-EPROTO)

struct row {
	uint32_t kind;
	/* by state: what is answered */
	int starting, synced, serving, settled;
};

/* Written down a second time on purpose: a kind without a row here fails below. */
static const struct row rows[] = {
	{IG_MONITOR_CGROUP_PATH, 0, 0, 0, 0},
	{IG_MONITOR_PROCESS, 0, 0, 0, 0},
	{IG_MONITOR_UPSTREAM_SOCKET, 0, 0, 0, 0},
	{IG_MONITOR_WORKLOAD_SET, 0, 0, 0, 0},
	{IG_MONITOR_WORKLOAD_DELETE, 0, 0, 0, 0},
	{IG_MONITOR_WORKLOADS_SYNCED, 0, ILLEGAL, 0, ILLEGAL},
	{IG_MONITOR_FLOW_TAKE, 0, 0, 0, 0},
	{IG_MONITOR_COUNTERS, 0, 0, 0, 0},
	{IG_MONITOR_SOURCE, 0, 0, 0, 0},
	{IG_MONITOR_READY, 0, 0, ILLEGAL, ILLEGAL},
	{IG_MONITOR_ALIVE, 0, 0, 0, 0},
	{IG_MONITOR_DRAINING, ILLEGAL, ILLEGAL, ILLEGAL, ILLEGAL},
};

static struct ig_session session_in(enum ig_session_state state)
{
	struct ig_session session;

	ig_session_begin(&session, 0);
	assert_int_equal(session.state, IG_SESSION_STARTING);
	session.state = state;
	return session;
}

static void assert_admitted(const struct row *row, enum ig_session_state state, int expected)
{
	struct ig_session session = session_in(state);
	int got = ig_session_admit(&session, row->kind, 0);

	if (got != expected)
		fail_msg("%s in state %d: %d instead of %d", ig_session_request_name(row->kind),
			(int)state, got, expected);
	/* what is refused changes nothing */
	if (got < 0)
		assert_int_equal(session.state, state);
}

static void each_kind_in_each_state(void **state)
{
	bool has_row[_IG_MONITOR_REQUEST_MAX] = {};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		has_row[rows[i].kind] = true;
		assert_admitted(&rows[i], IG_SESSION_STARTING, rows[i].starting);
		assert_admitted(&rows[i], IG_SESSION_SYNCED, rows[i].synced);
		assert_admitted(&rows[i], IG_SESSION_SERVING, rows[i].serving);
		assert_admitted(&rows[i], IG_SESSION_SETTLED, rows[i].settled);
		assert_string_not_equal(ig_session_request_name(rows[i].kind), "unknown");
	}
	for (uint32_t kind = 1; kind < _IG_MONITOR_REQUEST_MAX; kind++)
		if (!has_row[kind])
			fail_msg("request %u has no row here", kind);
}

static void what_is_no_kind_is_illegal(void **state)
{
	const uint32_t kinds[] = {0, _IG_MONITOR_REQUEST_MAX, UINT32_MAX};

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		for (int s = 0; s < _IG_SESSION_STATE_MAX; s++) {
			struct ig_session session = session_in((enum ig_session_state)s);

			assert_int_equal(ig_session_admit(&session, kinds[i], 0), ILLEGAL);
			assert_string_equal(ig_session_request_name(kinds[i]), "unknown");
		}
}

static void both_ways_to_be_settled(void **state)
{
	struct ig_session session = session_in(IG_SESSION_STARTING);

	(void)state;
	assert_int_equal(ig_session_admit(&session, IG_MONITOR_WORKLOADS_SYNCED, 0), 0);
	assert_int_equal(session.state, IG_SESSION_SYNCED);
	assert_int_equal(ig_session_admit(&session, IG_MONITOR_READY, 0), 0);
	assert_int_equal(session.state, IG_SESSION_SETTLED);

	session = session_in(IG_SESSION_STARTING);
	assert_int_equal(ig_session_admit(&session, IG_MONITOR_READY, 0), 0);
	assert_int_equal(session.state, IG_SESSION_SERVING);
	assert_int_equal(ig_session_admit(&session, IG_MONITOR_WORKLOADS_SYNCED, 0), 0);
	assert_int_equal(session.state, IG_SESSION_SETTLED);
}

/* In whatever state it was told to. */
static void draining_is_answered_once(void **state)
{
	(void)state;
	for (int s = 0; s < _IG_SESSION_STATE_MAX; s++) {
		struct ig_session session = session_in((enum ig_session_state)s);

		ig_session_drain(&session);
		assert_int_equal(ig_session_admit(&session, IG_MONITOR_CGROUP_PATH, 0), 0);
		assert_int_equal(ig_session_admit(&session, IG_MONITOR_DRAINING, 0), 0);
		assert_int_equal(session.state, s);
		assert_int_equal(ig_session_admit(&session, IG_MONITOR_DRAINING, 0), ILLEGAL);
	}
}

static void another_server_was_told_nothing(void **state)
{
	struct ig_session session = session_in(IG_SESSION_SETTLED);

	(void)state;
	ig_session_drain(&session);
	ig_session_begin(&session, 0);
	assert_int_equal(ig_session_admit(&session, IG_MONITOR_DRAINING, 0), ILLEGAL);
}

static unsigned int upstream_sockets(struct ig_session *session, uint64_t now_usec)
{
	unsigned int n = 0;

	while (ig_session_admit(session, IG_MONITOR_UPSTREAM_SOCKET, now_usec) == 0)
		n++;
	assert_int_equal(ig_session_admit(session, IG_MONITOR_UPSTREAM_SOCKET, now_usec), -EBUSY);
	return n;
}

static void upstream_sockets_are_limited(void **state)
{
	struct ig_session session;
	uint64_t now = 5 * IG_USEC_PER_SEC;

	(void)state;
	ig_session_begin(&session, now);
	assert_int_equal(upstream_sockets(&session, now), IG_MONITOR_UPSTREAM_BURST);
	/* everything else goes on */
	assert_int_equal(ig_session_admit(&session, IG_MONITOR_CGROUP_PATH, now), 0);
	now += IG_USEC_PER_SEC;
	assert_in_range(upstream_sockets(&session, now), IG_MONITOR_UPSTREAM_PER_SEC - 1,
		IG_MONITOR_UPSTREAM_PER_SEC + 1);
	/* no more than the burst is saved up, and a clock that stands still or goes back gives
	 * nothing */
	now += 3600 * IG_USEC_PER_SEC;
	assert_int_equal(upstream_sockets(&session, now), IG_MONITOR_UPSTREAM_BURST);
	assert_int_equal(upstream_sockets(&session, now - IG_USEC_PER_SEC), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_in_each_state),
		cmocka_unit_test(what_is_no_kind_is_illegal),
		cmocka_unit_test(both_ways_to_be_settled),
		cmocka_unit_test(draining_is_answered_once),
		cmocka_unit_test(another_server_was_told_nothing),
		cmocka_unit_test(upstream_sockets_are_limited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
