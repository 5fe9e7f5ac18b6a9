/*
 * One agent takes over from another; see handover_proto.h for what is said. First half: the new
 * one, which stands by until its server knows all that there is to know. Second half: the old one,
 * whose server then brings to an end what it has begun.
 *
 * It must never leave the gate to an agent that is not ready, and never have two agents at work on
 * what is pinned, except for the moment between APPLY and COMMIT, which the old one watches over.
 */
#include <errno.h>
#include <event2/event.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "base/log.h"
#include "datapath/datapath.h"
#include "monitor/child.h"
#include "monitor/handover.h"
#include "monitor/listeners.h"
#include "monitor/monitor_internal.h"
#include "monitor/netns_watch.h"
#include "monitor/packets.h"
#include "monitor/requests.h"
#include "monitor/services.h"
#include "monitor/takeover.h"

#define HOLD_SEC 5 /* between two looks whether somebody serves */

/* ---- the new agent ---- */

int ig_upgrade_ask(struct monitor *m)
{
	struct ig_err detail = {};
	int r = ig_takeover_new(m->options->handover, &m->takeover, &detail);

	if (r == 0) {
		*m->err = (struct ig_err){};
		ig_log_info("another agent serves, standing by");
		return 0;
	}
	/* nobody answers: what was said about the pin directory is all there is to say */
	if (detail.message[0])
		*m->err = detail;
	return -EBUSY;
}

static void end_takeover(struct monitor *m)
{
	if (m->on_old_gone)
		event_free(m->on_old_gone);
	m->on_old_gone = NULL;
	m->takeover = ig_takeover_free(m->takeover);
}

/* Our server hears that its turn has come, which is its first record, and then of everything. If it
 * ended just now, or cannot be told, the next one hears it at its start. */
static void begin(struct monitor *m)
{
	const struct ig_monitor_message message = {.kind = IG_MONITOR_SERVE};
	struct ig_channel *channel = ig_child_channel(m->child);
	int r = channel ? ig_channel_send(channel, &message, NULL, 0) : 0;

	if (r == 0)
		r = ig_monitor_announce(m);
	if (r < 0) {
		(void)ig_log_errno(r, "cannot tell the server that its turn has come");
		ig_child_kill(m->child);
	}
}

/* As if it had not been there: its programs are in force, its sockets are closed. Our server hears
 * of listeners when all are there, and not before it knows that its turn has come. */
static int go_on_alone(struct monitor *m)
{
	int r;

	ig_log_warning("the agent that served is gone, starting without it");
	r = ig_requests_apply(m->requests);
	if (r == 0)
		r = ig_monitor_open(m);
	if (r < 0) {
		ig_monitor_give_up(m, r);
		return r;
	}
	/* what it gave us before it went */
	ig_listeners_drop_unnamed(m->listeners);
	end_takeover(m);
	begin(m);
	ig_monitor_sweep_later(m);
	return m->server_ready ? ig_monitor_serving(m) : 0;
}

static void on_old_gone(evutil_socket_t fd, short what, void *userdata)
{
	(void)fd;
	(void)what;
	(void)go_on_alone(userdata);
}

/* The services' sockets are fetched now: should the old agent die, its server may hold them a while
 * longer. Gate listeners would keep their namespaces alive. */
int ig_upgrade_stand_by(struct monitor *m)
{
	int r = ig_takeover_services(m->takeover, m->services);

	if (r < 0)
		return ig_err_set(m->err, r, "the running agent does not hand over its sockets: %s",
			strerror(-r));
	ig_requests_hold(m->requests);
	m->on_old_gone = event_new(m->base, ig_takeover_fd(m->takeover), EV_READ, on_old_gone, m);
	return m->on_old_gone && event_add(m->on_old_gone, NULL) == 0 ? 0 : -ENOMEM;
}

/* Sockets first: getting them changes nothing. */
static int fetch(struct monitor *m)
{
	int r = ig_takeover_listeners(m->takeover, m->listeners);

	if (r == 0)
		r = ig_services_open(m->services, m->err);
	if (r == 0 && !ig_listeners_has(m->listeners, m->host_cookie))
		r = ig_err_set(m->err, -EXDEV,
			"the running agent is in another network namespace: it has to be stopped first");
	return r;
}

static int apply(struct monitor *m)
{
	int r = ig_takeover_apply(m->takeover);

	if (r == 0)
		r = ig_requests_apply(m->requests);
	if (r == 0)
		r = ig_monitor_set_settings(m);
	return r < 0 ? r : ig_monitor_enforce(m);
}

/* Once it was asked to, the old agent stops serving, whether or not we hear of it in time: there is
 * no way back to it. */
static int commit(struct monitor *m)
{
	const char *begun = m->options->begun_text;
	int r;

	if (begun && m->ready_fd >= 0)
		(void)ig_fd_write_all(m->ready_fd, begun, strlen(begun));
	r = ig_takeover_commit(m->takeover);
	if (r < 0 && r != -EPIPE && r != -ETIMEDOUT)
		return r;
	/* what was opened since; without it we open our own */
	if (r == 0)
		r = ig_takeover_listeners(m->takeover, m->listeners);
	/* it may go now: we have everything */
	if (r < 0 && r != -EPIPE)
		(void)ig_log_warning_errno(
			r, "the agent that served does not answer, going on without it");
	return 0;
}

/* The old agent's sockets and what is pinned are ours. */
static int succeed(struct monitor *m)
{
	int r;

	end_takeover(m);
	ig_log_info("took over from the agent that served",
		IG_KV_U64(COUNT, ig_listeners_count(m->listeners)));
	begin(m);
	r = ig_monitor_follow(m);
	if (r < 0)
		return r;
	ig_listeners_drop_unnamed(m->listeners);
	ig_monitor_sweep_later(m);
	return ig_monitor_serving(m);
}

int ig_upgrade_take_over(struct monitor *m)
{
	int r = fetch(m);

	if (r == 0)
		r = apply(m);
	if (r == 0)
		r = commit(m);
	if (r == -EPIPE)
		return go_on_alone(m);
	if (r == 0)
		r = succeed(m);
	if (r < 0) {
		if (!m->err->message[0])
			(void)ig_err_set(m->err, r, "cannot take over from the running agent: %s",
				strerror(-r));
		ig_monitor_give_up(m, r);
	}
	return r;
}

/* ---- the old agent ---- */

/* A new one may have replaced programs, settings and entries with its own. */
static void on_undo(void *userdata)
{
	struct monitor *m = userdata;
	int r = ig_requests_apply(m->requests);

	if (r == 0)
		r = ig_monitor_set_settings(m);
	if (r == 0)
		r = ig_packets_again(m->packets);
	if (r == 0)
		r = ig_monitor_enforce(m);
	if (r < 0)
		(void)ig_log_errno(r, "cannot put back what the new agent has changed",
			IG_KV_STR(ERROR, m->err->message));
}

/* Who starts us again whenever we end would have us take over from the agent that took over from
 * us, and so on in turn: then we stay, until we are told to end or nobody serves. */
static void end_if_over(struct monitor *m)
{
	static const struct timeval later = {.tv_sec = HOLD_SEC};

	if (!m->handed_over || ig_child_runs(m->child))
		return;
	if (m->options->hold && !m->told && ig_datapath_is_held(m->dp))
		(void)evtimer_add(m->hold_timer, &later);
	else
		(void)event_base_loopbreak(m->base);
}

static void on_hold(evutil_socket_t fd, short what, void *userdata)
{
	(void)fd;
	(void)what;
	end_if_over(userdata);
}

void ig_upgrade_end(struct monitor *m)
{
	m->told = true;
	end_if_over(m);
}

void ig_upgrade_quiet(struct monitor *m)
{
	(void)evtimer_del(m->quiet_timer);
	if (m->handover)
		ig_handover_quiet(m->handover);
}

static void on_not_quiet(evutil_socket_t fd, short what, void *userdata)
{
	struct monitor *m = userdata;

	(void)fd;
	(void)what;
	ig_log_err("the server does not stop accepting, killing it");
	ig_child_kill(m->child);
}

static void on_commit(void *userdata)
{
	static const struct timeval patience = {.tv_sec = IG_HANDOVER_QUIET_SEC};
	const struct ig_monitor_message message = {.kind = IG_MONITOR_DRAIN};
	struct monitor *m = userdata;
	struct ig_channel *channel = ig_child_channel(m->child);

	ig_log_info("another agent takes over");
	m->draining = true;
	ig_child_let_end(m->child);
	ig_requests_drain(m->requests);
	m->watch = ig_netns_watch_free(m->watch);
	m->packets = ig_packets_free(m->packets);
	(void)event_del(m->on_wakeup);
	(void)event_del(m->sweep);
	if (!ig_child_runs(m->child)) {
		ig_upgrade_quiet(m);
		return;
	}
	if (!channel || ig_channel_send(channel, &message, NULL, 0) < 0)
		ig_child_kill(m->child);
	(void)evtimer_add(m->quiet_timer, &patience);
}

static void on_drain_over(evutil_socket_t fd, short what, void *userdata)
{
	struct monitor *m = userdata;

	(void)fd;
	(void)what;
	ig_log_warning("connections are still open, ending them");
	(void)ig_child_stop(m->child);
}

static void on_done(void *userdata)
{
	static const struct timeval longest = {.tv_sec = IG_DRAIN_SEC};
	struct monitor *m = userdata;

	m->handed_over = true;
	m->listeners = ig_listeners_free(m->listeners);
	m->services = ig_services_free(m->services);
	ig_datapath_release(m->dp);
	(void)evtimer_add(m->drain_timer, &longest);
	end_if_over(m);
}

void ig_upgrade_drained(struct monitor *m)
{
	ig_upgrade_quiet(m);
	end_if_over(m);
}

void ig_upgrade_offer(struct monitor *m)
{
	static const struct ig_handover_ops ops = {
		.undo = on_undo, .commit = on_commit, .done = on_done};
	const struct ig_handover_options options = {
		.path = m->options->handover,
		.dp = m->dp,
		.listeners = m->listeners,
		.services = m->services,
		.ops = &ops,
		.userdata = m,
	};
	int r;

	if (m->handover || !m->options->handover[0])
		return;
	if (!m->quiet_timer)
		m->quiet_timer = evtimer_new(m->base, on_not_quiet, m);
	if (!m->drain_timer)
		m->drain_timer = evtimer_new(m->base, on_drain_over, m);
	if (!m->hold_timer)
		m->hold_timer = evtimer_new(m->base, on_hold, m);
	r = m->quiet_timer && m->drain_timer && m->hold_timer
		    ? ig_handover_new(m->base, &options, &m->handover)
		    : -ENOMEM;
	if (r < 0)
		(void)ig_log_warning_errno(r,
			"another agent will not be able to take over from this one",
			IG_KV_STR(PATH, m->options->handover));
}

void ig_upgrade_done(struct monitor *m)
{
	struct event *events[] = {m->on_old_gone, m->quiet_timer, m->drain_timer, m->hold_timer};

	m->handover = ig_handover_free(m->handover);
	m->takeover = ig_takeover_free(m->takeover);
	for (size_t i = 0; i < IG_ARRAY_SIZE(events); i++)
		if (events[i])
			event_free(events[i]);
	m->on_old_gone = m->quiet_timer = m->drain_timer = m->hold_timer = NULL;
}
