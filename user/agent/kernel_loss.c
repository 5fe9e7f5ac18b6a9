/*
 * Events that the kernel lost; see kernel_loss.h.
 *
 * The counter lives as long as the maps, longer than this process: what it says first was reported,
 * or lost, before, and counts from there.
 */
#include "agent/kernel_loss.h"

#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "agent/agent.h"
#include "agent/link.h"
#include "audit/stream.h"
#include "base/cleanup.h"

#define ASK_SEC 5

struct ig_kernel_loss {
	struct ig_agent *agent; /* borrowed */
	struct event *timer;	/* owned */
	bool has_base;
	uint64_t reported; /* of the counter */
};

static void on_counters(const struct ig_monitor_message *reply, void *userdata)
{
	struct ig_kernel_loss *loss = userdata;
	uint64_t now = reply->counters[IG_COUNTER_EVENTS_LOST];

	if (reply->result < 0)
		return; /* the next answer tells as much */
	if (loss->has_base && now > loss->reported)
		ig_audit_emit(
			loss->agent->audit, &(struct ig_audit_record){.kind = IG_AUDIT_EVENTS_LOST,
						    .reason = "kernel",
						    .count = now - loss->reported});
	loss->has_base = true;
	loss->reported = now;
}

static void on_timer(evutil_socket_t fd, short what, void *userdata)
{
	struct ig_monitor_request request = {.kind = IG_MONITOR_COUNTERS};
	struct ig_kernel_loss *loss = userdata;

	(void)fd;
	(void)what;
	/* too many under way: then next time */
	(void)ig_link_request(loss->agent->link, &request, on_counters, loss);
}

int ig_kernel_loss_new(struct ig_agent *agent, struct ig_kernel_loss **ret)
{
	const struct timeval period = {.tv_sec = ASK_SEC};
	_cleanup_free_ struct ig_kernel_loss *loss = calloc(1, sizeof(*loss));

	if (!loss)
		return -ENOMEM;
	loss->agent = agent;
	loss->timer = event_new(agent->base, -1, EV_PERSIST, on_timer, loss);
	if (!loss->timer)
		return -ENOMEM;
	if (event_add(loss->timer, &period) < 0) {
		event_free(loss->timer);
		return -ENOMEM;
	}
	on_timer(-1, 0, loss);
	*ret = TAKE_PTR(loss);
	return 0;
}

struct ig_kernel_loss *ig_kernel_loss_free(struct ig_kernel_loss *loss)
{
	if (!loss)
		return NULL;
	ig_link_forget(loss->agent->link, loss);
	event_free(loss->timer);
	free(loss);
	return NULL;
}
