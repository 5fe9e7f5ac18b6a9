/*
 * The privileged process; see monitor.h. Start-up in one place, top to bottom: data path,
 * listeners, namespaces, attach, server. From then on it waits for namespaces, wake-ups, requests
 * and signals.
 */
#include "monitor/monitor.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "base/log.h"
#include "base/memory.h"
#include "datapath/datapath.h"
#include "monitor/child.h"
#include "monitor/confine.h"
#include "monitor/cookie.h"
#include "monitor/heartbeat.h"
#include "monitor/listeners.h"
#include "monitor/monitor_internal.h"
#include "monitor/netns_watch.h"
#include "monitor/packets.h"
#include "monitor/requests.h"
#include "monitor/services.h"
#include "monitor/session.h"
#include "monitor/sources.h"
#include "monitor/takeover.h"

#define MONITOR_NICER 10

static void monitor_done(struct monitor *m)
{
	struct event *events[] = {m->on_term, m->on_int, m->on_hup, m->on_wakeup, m->sweep};

	m->child = ig_child_free(m->child);
	m->heartbeat = ig_heartbeat_free(m->heartbeat);
	ig_upgrade_done(m);
	m->packets = ig_packets_free(m->packets);
	m->watch = ig_netns_watch_free(m->watch);
	m->requests = ig_requests_free(m->requests);
	m->sources = ig_sources_free(m->sources);
	m->listeners = ig_listeners_free(m->listeners);
	m->services = ig_services_free(m->services);
	m->wakeups = ig_ring_free(m->wakeups);
	for (size_t i = 0; i < IG_ARRAY_SIZE(events); i++)
		if (events[i])
			event_free(events[i]);
	m->dp = ig_datapath_free(m->dp);
	if (m->base)
		event_base_free(m->base);
	m->ready_fd = ig_close(m->ready_fd);
}

/* ---- the guard ---- */

static void on_older_ended(const struct ig_event *event, void *userdata)
{
	struct monitor *m = userdata;
	struct ig_monitor_message message = {.kind = IG_MONITOR_CONNECTION_ENDED, .event = *event};
	struct ig_channel *channel = ig_child_channel(m->child);
	int r = channel ? ig_channel_send(channel, &message, NULL, 0) : -EPIPE;

	if (r < 0)
		(void)ig_log_warning_errno(r, "an older connection was ended without a record",
			IG_KV_U64(NETNS, event->flow.caller.netns_cookie));
}

static int prepare_packets(struct monitor *m)
{
	struct ig_packets_options options = {
		.dp = m->dp,
		.listeners = m->listeners,
		.guard = m->options->guard,
		.clsact = m->options->guard_clsact,
		.adopting = m->takeover != NULL,
		.settings = m->options->settings,
		.ended = on_older_ended,
		.userdata = m,
	};

	options.settings.host_netns_cookie = m->host_cookie;
	return ig_packets_new(m->base, &options, &m->packets, m->err);
}

/* ---- the server process ---- */

/* Connect hooks first: the guard asks for what they note of connections that they let pass. */
int ig_monitor_enforce(struct monitor *m)
{
	unsigned int adopted = 0;
	int r = ig_datapath_attach(m->dp, &adopted, m->err);

	if (r < 0)
		return r;
	m->attached = true;
	ig_log_info(
		"enforcing", IG_KV_STR(CGROUP, m->options->cgroup_root), IG_KV_U64(COUNT, adopted));
	/* those that were made while the server started may have connections from before, too;
	 * while another agent serves, new ones are its to find */
	if (!m->takeover)
		ig_monitor_look_for_running(m);
	return ig_packets_start(m->packets, m->err);
}

void ig_monitor_give_up(struct monitor *m, int result)
{
	m->result = result;
	(void)event_base_loopbreak(m->base);
}

/* What workloads have open that may not pass any more. */
static void end_revoked(struct monitor *m)
{
	if (!ig_requests_take_revoked(m->requests) || !m->packets)
		return;
	/* a namespace that only connected past the gate has no listener yet */
	ig_monitor_look_for_running(m);
	ig_packets_end_connections(m->packets);
}

/* Attaching waits for the first server that serves: a mistake in the configuration then leaves the
 * machine as it was. Links of an earlier agent have been in force all along. */
int ig_monitor_serving(struct monitor *m)
{
	int r;

	ig_heartbeat_serving(m->heartbeat);
	if (!m->attached) {
		r = ig_monitor_enforce(m);
		if (r < 0) {
			ig_monitor_give_up(m, r);
			return r;
		}
	}
	/* by an agent before us, which had other rules */
	end_revoked(m);
	ig_log_info("serving", IG_KV_U64(COUNT, ig_listeners_count(m->listeners)));
	if (m->ready_fd >= 0) {
		(void)ig_fd_write_all(
			m->ready_fd, m->options->ready_text, strlen(m->options->ready_text));
		m->ready_fd = ig_close(m->ready_fd);
	}
	ig_memory_give_back();
	ig_upgrade_offer(m);
	return 0;
}

static int ready(struct monitor *m)
{
	/* one that was started while another agent took over, and says so too late: nothing is left
	 * to serve; or one that is ended, as we are: whoever serves has to go on */
	if (m->draining || m->stopping)
		return 0;
	ig_child_note_serving(m->child);
	m->server_ready = true;
	return m->takeover ? ig_upgrade_take_over(m) : ig_monitor_serving(m);
}

static int on_request(const struct ig_monitor_request *request, struct ig_monitor_message *reply,
	int *ret_fd, void *userdata)
{
	struct monitor *m = userdata;
	int r = ig_requests_admit(m->requests, request);

	if (r == -EPROTO)
		return ig_log_errno(r, "the server asked for what no working server asks for now",
			IG_KV_STR(KIND, ig_session_request_name(request->kind)));
	if (r < 0)
		return r;
	switch (request->kind) {
	case IG_MONITOR_READY: return ready(m);
	case IG_MONITOR_ALIVE: ig_heartbeat_alive(m->heartbeat); return 0;
	case IG_MONITOR_DRAINING: ig_upgrade_quiet(m); return 0;
	default: break;
	}
	r = ig_requests_serve(m->requests, request, reply, ret_fd);
	end_revoked(m);
	return r;
}

static int on_server_started(struct ig_channel *channel, void *userdata)
{
	struct monitor *m = userdata;
	struct ig_monitor_message message = {
		.kind = IG_MONITOR_HELLO,
		.hello = {.host_netns_cookie = m->host_cookie,
			.abi_version = IG_ABI_VERSION,
			.monitor_pid = (uint32_t)getpid(),
			.standby = m->takeover != NULL,
			.start = m->start,
			.hung = m->hung},
	};
	int fds[] = {ig_datapath_flows_fd(m->dp), ig_datapath_events_fd(m->dp)};
	int r = ig_channel_send(channel, &message, fds, IG_ARRAY_SIZE(fds));

	m->server_ready = false;
	ig_heartbeat_started(m->heartbeat);
	ig_requests_new_session(m->requests);
	if (r < 0 || m->takeover)
		return r;
	/* one that could not be had before */
	if (m->start != IG_MONITOR_START_FIRST)
		r = ig_services_open(m->services, m->err);
	m->start = IG_MONITOR_START_DIED;
	return r < 0 ? r : ig_monitor_announce(m);
}

static bool on_server_ended(int status, void *userdata)
{
	struct monitor *m = userdata;

	ig_heartbeat_ended(m->heartbeat);
	if (m->stopping) {
		(void)event_base_loopbreak(m->base);
		return false;
	}
	if (m->draining) {
		ig_upgrade_drained(m);
		return false;
	}
	/* A server that gives up the first time has said why: a mistake in the configuration. */
	if (!m->attached && WIFEXITED(status) && WEXITSTATUS(status) == 1) {
		ig_monitor_give_up(
			m, ig_err_set(m->err, -ECHILD, "the server could not start, see above"));
		return false;
	}
	ig_log_err("server ended, connections wait in the backlog until the next one serves",
		IG_KV_U64(STATUS, WIFEXITED(status) ? WEXITSTATUS(status) : 0),
		IG_KV_U64(SIGNAL, WIFSIGNALED(status) ? WTERMSIG(status) : 0));
	return true;
}

static const struct ig_child_ops child_ops = {
	.started = on_server_started,
	.request = on_request,
	.ended = on_server_ended,
};

/* ---- a server that hangs ---- */

static void on_ask(void *userdata)
{
	const struct ig_monitor_message message = {.kind = IG_MONITOR_HEARTBEAT};
	struct monitor *m = userdata;
	struct ig_channel *channel = ig_child_channel(m->child);

	/* one that does not read is told apart by not answering */
	if (channel)
		(void)ig_channel_send(channel, &message, NULL, 0);
}

static void on_hung(void *userdata)
{
	struct monitor *m = userdata;

	ig_log_err("the server hangs, killing it");
	m->start = IG_MONITOR_START_HUNG;
	m->hung++;
	ig_child_kill(m->child);
}

static bool on_away(void *userdata)
{
	struct monitor *m = userdata;

	if (m->takeover || m->draining)
		return false;
	ig_log_err("no server answers, connections are refused until one does");
	ig_listeners_refuse(m->listeners);
	return true;
}

static void on_back(void *userdata)
{
	struct monitor *m = userdata;

	if (m->draining)
		return;
	ig_log_info("a server answers, connections are let in again");
	ig_listeners_admit(m->listeners);
}

static const struct ig_heartbeat_ops heartbeat_ops = {
	.ask = on_ask, .hung = on_hung, .away = on_away, .back = on_back};

static void on_stop(evutil_socket_t signo, short what, void *userdata)
{
	struct monitor *m = userdata;

	(void)what;
	if (m->draining) {
		ig_log_info("another agent serves; ending with the last connection");
		ig_upgrade_end(m);
		return;
	}
	ig_log_info(
		"stopping; the programs stay attached and refuse (imdsgated --detach takes them off)",
		IG_KV_U64(SIGNAL, signo));
	m->stopping = true;
	if (!ig_child_stop(m->child))
		(void)event_base_loopbreak(m->base);
}

static void on_reopen(evutil_socket_t signo, short what, void *userdata)
{
	struct monitor *m = userdata;

	(void)what;
	ig_child_signal(m->child, (int)signo);
}

/* ---- start-up ---- */

static int make_events(struct monitor *m)
{
	m->on_term = evsignal_new(m->base, SIGTERM, on_stop, m);
	m->on_int = evsignal_new(m->base, SIGINT, on_stop, m);
	m->on_hup = evsignal_new(m->base, SIGHUP, on_reopen, m);
	if (!m->on_term || !m->on_int || !m->on_hup || event_add(m->on_term, NULL) < 0 ||
		event_add(m->on_int, NULL) < 0 || event_add(m->on_hup, NULL) < 0)
		return -ENOMEM;
	return ig_child_new(m->base, m->options->server_argv, &child_ops, m, &m->child);
}

/* A pod that starts on a busy machine must not wait for its listener behind all other programs. Not
 * for the server, which does what pods ask for. Without the right to it goes on as it is. */
static void come_first(void)
{
	(void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) - MONITOR_NICER);
}

int ig_monitor_open(struct monitor *m)
{
	int r = ig_monitor_set_settings(m);

	if (r == 0)
		r = ig_services_open(m->services, m->err);
	if (r == 0)
		r = ig_monitor_open_listeners(m);
	return r < 0 ? r : ig_monitor_follow(m);
}

int ig_monitor_set_settings(struct monitor *m)
{
	struct ig_settings settings = m->options->settings;
	int r;

	settings.host_netns_cookie = m->host_cookie;
	r = ig_datapath_settings_set(m->dp, &settings);
	return r < 0 ? ig_err_set(m->err, r, "cannot write the settings map: %s", strerror(-r)) : 0;
}

static int open_datapath(struct monitor *m)
{
	struct ig_datapath_options options = {
		.bpffs = m->options->bpffs,
		.cgroup_root = m->options->cgroup_root,
	};
	int r = ig_datapath_open(&options, &m->dp, m->err);

	if (r != -EBUSY)
		return r;
	r = ig_upgrade_ask(m);
	if (r < 0)
		return r;
	options.beside = true;
	options.lock_fd = ig_takeover_lock(m->takeover);
	r = ig_datapath_open(&options, &m->dp, m->err);
	if (r < 0)
		(void)ig_close(options.lock_fd);
	return r;
}

/* Everything that is ours alone, whether or not another agent serves. */
static int make_parts(struct monitor *m)
{
	int r = make_events(m);

	if (r == 0)
		come_first();
	if (r == 0)
		r = ig_heartbeat_new(m->base, &heartbeat_ops, m, &m->heartbeat);
	if (r == 0)
		r = ig_services_new(
			m->options->services, m->options->n_services, m->dp, &m->services);
	if (r == 0)
		r = ig_monitor_prepare_namespaces(m);
	if (r == 0)
		r = ig_sources_new(m->dp, m->listeners, &m->sources);
	if (r == 0)
		r = ig_requests_new(m->dp, m->sources, &m->requests);
	return r < 0 ? ig_err_set(m->err, r, "cannot set up the event loop: %s", strerror(-r)) : 0;
}

static int cookie_failed(const struct monitor *m, int r)
{
	if (r == -EOPNOTSUPP)
		return ig_err_set(m->err, r,
			"before Linux 5.14 imdsgated has to run below its --cgroup-root (%s), or it cannot tell network namespaces apart",
			m->options->cgroup_root);
	if (r == -EBUSY)
		return ig_err_set(m->err, r,
			"cannot attach to connect4: another program is attached exclusively (without BPF_F_ALLOW_MULTI) at %s or above it; see bpftool cgroup tree",
			m->options->cgroup_root);
	return ig_err_set(
		m->err, r, "cannot tell this network namespace's cookie: %s", strerror(-r));
}

static int know_home(struct monitor *m)
{
	_cleanup_close_ int home_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int r = home_fd < 0 ? -errno : ig_cookie_of_netns(m->dp, home_fd, home_fd, &m->host_cookie);

	return r < 0 ? cookie_failed(m, r) : 0;
}

static int start(struct monitor *m)
{
	int r = open_datapath(m);

	if (r < 0)
		return r;
	m->base = event_base_new();
	if (!m->base)
		return -ENOMEM;
	r = know_home(m);
	if (r == 0)
		r = make_parts(m);
	if (r == 0)
		r = m->takeover ? ig_upgrade_stand_by(m) : ig_monitor_open(m);
	if (r == 0)
		r = prepare_packets(m);
	if (r == 0)
		r = ig_monitor_confine(m->err);
	if (r < 0)
		return r;
	r = ig_child_start(m->child);
	return r < 0 ? ig_err_set(m->err, r, "cannot start the server: %s", strerror(-r)) : 0;
}

int ig_monitor_run(const struct ig_monitor_options *options, struct ig_err *reterr_err)
{
	struct monitor m = {
		.options = options,
		.ready_fd = options->ready_fd,
		.err = reterr_err,
	};
	int r;

	(void)signal(SIGPIPE, SIG_IGN);
	/* until the loop has it; inherited by the server, which does the same */
	(void)signal(SIGHUP, SIG_IGN);
	r = start(&m);
	if (r == 0) {
		(void)event_base_dispatch(m.base);
		r = m.result;
	}
	monitor_done(&m);
	return r;
}
