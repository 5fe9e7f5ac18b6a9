/*
 * Requests that wait for what is declared; see waiting.h. The connection owns its place in the
 * list, so a wait never outlives it.
 */
#include "agent/waiting.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "agent/agent.h"
#include "base/clock.h"

struct ig_wait {
	struct ig_waiting *waiting;
	struct ig_gate_conn *conn;
	struct event *timer; /* owned; goes off at the latest when the time is up */
	LIST_ENTRY(ig_wait) link;
};

struct ig_waiting {
	struct event_base *base;
	ig_waiting_again *again;
	LIST_HEAD(, ig_wait) waits;
	size_t n;
};

int ig_waiting_new(struct event_base *base, ig_waiting_again *again, struct ig_waiting **ret)
{
	struct ig_waiting *waiting = calloc(1, sizeof(*waiting));

	if (!waiting)
		return -ENOMEM;
	waiting->base = base;
	waiting->again = again;
	LIST_INIT(&waiting->waits);
	*ret = waiting;
	return 0;
}

struct ig_waiting *ig_waiting_free(struct ig_waiting *waiting)
{
	free(waiting);
	return NULL;
}

void ig_waiting_stop(struct ig_gate_conn *conn)
{
	struct ig_wait *wait = conn->wait;

	if (!wait)
		return;
	conn->wait = NULL;
	LIST_REMOVE(wait, link);
	wait->waiting->n--;
	event_free(wait->timer);
	free(wait);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct ig_wait *wait = arg;
	struct ig_waiting *waiting = wait->waiting;
	struct ig_gate_conn *conn = wait->conn;

	(void)fd;
	(void)what;
	/* the decision may want to wait again, which begins afresh */
	ig_waiting_stop(conn);
	waiting->again(conn);
}

bool ig_waiting_start(struct ig_waiting *waiting, struct ig_gate_conn *conn, uint64_t limit_usec)
{
	uint64_t waited = ig_clock_mono_usec() - conn->request_usec;
	struct timeval rest;
	struct ig_wait *wait;

	if (waited >= limit_usec)
		return false;
	wait = calloc(1, sizeof(*wait));
	if (!wait)
		return false;
	rest.tv_sec = (time_t)((limit_usec - waited) / IG_USEC_PER_SEC);
	rest.tv_usec = (suseconds_t)((limit_usec - waited) % IG_USEC_PER_SEC);
	wait->timer = evtimer_new(waiting->base, on_timer, wait);
	if (!wait->timer || evtimer_add(wait->timer, &rest) < 0) {
		if (wait->timer)
			event_free(wait->timer);
		free(wait);
		return false;
	}
	ig_waiting_stop(conn);
	wait->waiting = waiting;
	wait->conn = conn;
	conn->wait = wait;
	LIST_INSERT_HEAD(&waiting->waits, wait, link);
	waiting->n++;
	return true;
}

void ig_waiting_wake(struct ig_waiting *waiting)
{
	struct ig_wait *wait;

	/* not from here: whoever declares something is in the middle of it */
	LIST_FOREACH (wait, &waiting->waits, link)
		event_active(wait->timer, EV_TIMEOUT, 0);
}

size_t ig_waiting_count(const struct ig_waiting *waiting)
{
	return waiting->n;
}
