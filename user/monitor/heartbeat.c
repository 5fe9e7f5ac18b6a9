/*
 * The heartbeat; see heartbeat.h. Called by the monitor.
 */
#include "monitor/heartbeat.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"

enum state {
	STATE_ENDED,
	STATE_STARTING, /* its loop does not run yet */
	STATE_ANSWERING,
};

struct ig_heartbeat {
	const struct ig_heartbeat_ops *ops;
	void *userdata;
	struct event *timer; /* owned */
	enum state state;
	unsigned int missed;   /* ticks since it answered, or since it was started */
	unsigned int unserved; /* ticks since somebody served */
	bool serving;
	bool told_away;
};

IG_DEFINE_CLEANUP(struct ig_heartbeat *, ig_heartbeat_free);

static void tell_away(struct ig_heartbeat *h)
{
	if (h->told_away)
		return;
	h->told_away = h->ops->away(h->userdata);
	if (!h->told_away)
		h->unserved = 0;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct ig_heartbeat *h = arg;
	unsigned int limit = h->state == STATE_STARTING
				     ? IG_SERVER_STARTING_SEC * 1000 / IG_HEARTBEAT_MSEC
				     : IG_HEARTBEAT_MISSED_MAX;

	(void)fd;
	(void)what;
	if (!h->serving && ++h->unserved >= IG_SERVER_AWAY_SEC * 1000 / IG_HEARTBEAT_MSEC)
		tell_away(h);
	if (h->state == STATE_ENDED)
		return;
	h->missed++;
	if (h->state == STATE_ANSWERING && h->missed > IG_HEARTBEAT_REFUSE_MISSED)
		tell_away(h);
	if (h->missed > limit) {
		h->missed = 0;
		h->ops->hung(h->userdata);
		return;
	}
	h->ops->ask(h->userdata);
}

int ig_heartbeat_new(struct event_base *base, const struct ig_heartbeat_ops *ops, void *userdata,
	struct ig_heartbeat **ret)
{
	const struct timeval period = {
		.tv_sec = IG_HEARTBEAT_MSEC / 1000, .tv_usec = IG_HEARTBEAT_MSEC % 1000 * 1000};
	_cleanup_(ig_heartbeat_freep) struct ig_heartbeat *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	h->ops = ops;
	h->userdata = userdata;
	h->timer = event_new(base, -1, EV_PERSIST, on_tick, h);
	if (!h->timer || event_add(h->timer, &period) < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(h);
	return 0;
}

struct ig_heartbeat *ig_heartbeat_free(struct ig_heartbeat *h)
{
	if (!h)
		return NULL;
	if (h->timer)
		event_free(h->timer);
	free(h);
	return NULL;
}

void ig_heartbeat_started(struct ig_heartbeat *h)
{
	h->state = STATE_STARTING;
	h->missed = 0;
}

static void admit(struct ig_heartbeat *h)
{
	if (!h->told_away)
		return;
	h->told_away = false;
	h->ops->back(h->userdata);
}

void ig_heartbeat_serving(struct ig_heartbeat *h)
{
	h->state = STATE_ANSWERING;
	h->missed = 0;
	h->serving = true;
	h->unserved = 0;
	admit(h);
}

void ig_heartbeat_alive(struct ig_heartbeat *h)
{
	h->state = STATE_ANSWERING;
	h->missed = 0;
	if (h->serving)
		admit(h);
}

void ig_heartbeat_ended(struct ig_heartbeat *h)
{
	h->state = STATE_ENDED;
	h->serving = false;
}
