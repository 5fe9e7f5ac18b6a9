/*
 * Which agent serves; see duty.h.
 */
#include "agent/duty.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>

#include <imdsgate/limits.h>

#include "agent/agent.h"
#include "agent/declared.h"
#include "agent/kernel_loss.h"
#include "agent/kubernetes.h"
#include "agent/link.h"
#include "agent/metrics.h"
#include "audit/stream.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/memory.h"
#include "ctl/server.h"
#include "datapath/datapath.h"
#include "version.h"

struct ig_duty {
	struct ig_agent *agent;
	enum ig_monitor_start reason;
	void (*stop)(int result, void *userdata);
	void *userdata;
	struct event *on_events;	    /* owned */
	struct ig_kernel_loss *kernel_loss; /* owned; NULL while nothing is read */
	bool standby;			    /* another agent serves */
	bool synced;			    /* with the map of workloads */
	bool said_ready;
};

IG_DEFINE_CLEANUP(struct ig_duty *, ig_duty_free);

static void stop(const struct ig_duty *d, int result)
{
	d->stop(result, d->userdata);
}

/* The gate is ours. */
static void started(struct ig_duty *d, const char *reason)
{
	d->agent->ready = true;
	ig_memory_give_back();
	ig_record_agent(d->agent, IG_AUDIT_AGENT_STARTED, reason, IG_VERSION, 0);
	ig_kubernetes_ready(d->agent->kubernetes);
}

static void on_ready_acknowledged(const struct ig_monitor_message *reply, void *userdata)
{
	static const char *const reasons[] = {
		[IG_MONITOR_START_DIED] = "server_died", [IG_MONITOR_START_HUNG] = "server_hung"};
	struct ig_duty *d = userdata;

	if (reply->result < 0)
		stop(d, reply->result);
	else if (!d->standby && !d->agent->ready && !d->agent->draining)
		started(d, d->reason <= IG_MONITOR_START_HUNG ? reasons[d->reason] : NULL);
}

/* The agent that serves knows all rules, the last good content of a broken manifest included: we
 * take its place only if we do, too. */
static bool may_be_ready(const struct ig_duty *d)
{
	return d->synced && (!d->standby || ig_declared_is_complete(d->agent));
}

static void on_wants_ready(evutil_socket_t fd, short what, void *userdata)
{
	struct ig_monitor_request request = {.kind = IG_MONITOR_READY};
	struct ig_duty *d = userdata;
	int r;

	(void)fd;
	(void)what;
	if (d->said_ready || d->agent->draining || !may_be_ready(d))
		return;
	d->said_ready = true;
	r = ig_link_request(d->agent->link, &request, on_ready_acknowledged, d);
	if (r < 0)
		stop(d, ig_log_errno(r, "cannot tell the monitor that this serves"));
}

static void on_events(evutil_socket_t fd, short what, void *userdata)
{
	struct ig_duty *d = userdata;

	(void)fd;
	(void)what;
	(void)ig_ring_consume(d->agent->events, IG_EVENTS_TURN);
}

/* A ring has one reader: the agent that serves. */
static int read_kernel_events(struct ig_duty *d)
{
	int r = event_add(d->on_events, NULL) < 0 ? -ENOMEM : 0;

	return r < 0 ? r : ig_kernel_loss_new(d->agent, &d->kernel_loss);
}

void ig_duty_begin(struct ig_duty *d)
{
	int r = d->standby ? read_kernel_events(d) : -EBADMSG;

	if (r < 0) {
		stop(d, ig_log_errno(r, "cannot take over"));
		return;
	}
	d->standby = false;
	ig_audit_stand_by(d->agent->audit, false);
	if (d->said_ready)
		started(d, "took_over");
	/* else the other agent is gone, and less will do */
	event_active(d->agent->wants_ready, 0, 0);
}

void ig_duty_end(struct ig_duty *d)
{
	struct ig_monitor_request request = {.kind = IG_MONITOR_DRAINING};
	struct ig_agent *agent = d->agent;
	int r;

	agent->draining = true;
	/* what is left in the ring is for its next reader */
	ig_duty_stop(d);
	agent->metrics_server = ig_metrics_server_free(agent->metrics_server);
	agent->ctl = ig_ctl_server_free(agent->ctl);
	agent->host_token = ig_host_token_free(agent->host_token);
	r = ig_link_request(agent->link, &request, NULL, NULL);
	if (r < 0) {
		stop(d, ig_log_errno(r, "cannot tell the monitor that this accepts nothing more"));
		return;
	}
	ig_gate_drain(agent->gate);
}

void ig_duty_synced(struct ig_duty *d)
{
	d->synced = true;
	event_active(d->agent->wants_ready, 0, 0);
}

int ig_duty_start(struct ig_duty *d)
{
	return d->standby ? 0 : read_kernel_events(d);
}

void ig_duty_stop(struct ig_duty *d)
{
	if (!d)
		return;
	(void)event_del(d->on_events);
	d->kernel_loss = ig_kernel_loss_free(d->kernel_loss);
}

int ig_duty_new(const struct ig_duty_options *options, struct ig_duty **ret)
{
	_cleanup_(ig_duty_freep) struct ig_duty *d = calloc(1, sizeof(*d));
	struct ig_agent *agent = options->agent;

	if (!d)
		return -ENOMEM;
	d->agent = agent;
	d->reason = options->reason;
	d->standby = options->standby;
	d->stop = options->stop;
	d->userdata = options->userdata;
	d->on_events = event_new(
		agent->base, ig_ring_epoll_fd(agent->events), EV_READ | EV_PERSIST, on_events, d);
	agent->wants_ready = event_new(agent->base, -1, 0, on_wants_ready, d);
	/* events wait for whoever asks something */
	if (!d->on_events || !agent->wants_ready ||
		event_priority_set(d->on_events, event_base_get_npriorities(agent->base) - 1) < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(d);
	return 0;
}

struct ig_duty *ig_duty_free(struct ig_duty *d)
{
	if (!d)
		return NULL;
	d->kernel_loss = ig_kernel_loss_free(d->kernel_loss);
	if (d->on_events)
		event_free(d->on_events);
	if (d->agent->wants_ready)
		event_free(d->agent->wants_ready);
	d->agent->wants_ready = NULL;
	free(d);
	return NULL;
}
