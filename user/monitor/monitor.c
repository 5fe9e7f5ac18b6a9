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
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "base/log.h"
#include "datapath/datapath.h"
#include "monitor/child.h"
#include "monitor/confine.h"
#include "monitor/cookie.h"
#include "monitor/listeners.h"
#include "monitor/netns_watch.h"
#include "monitor/packets.h"
#include "monitor/requests.h"
#include "monitor/session.h"
#include "monitor/sources.h"
#include "workload/netns.h"
#include "workload/process.h"
#include "workload/tasks.h"

#define SWEEP_SEC 5

struct monitor {
	const struct ig_monitor_options *options;
	struct event_base *base;
	struct ig_datapath *dp;
	struct ig_listeners *listeners;
	struct ig_netns_watch *watch;
	struct ig_sources *sources;
	struct ig_requests *requests;
	struct ig_child *child;
	struct ig_packets *packets;
	struct ig_ring *wakeups;
	struct event *on_term, *on_int, *on_hup, *on_wakeup, *sweep;
	uint64_t host_cookie;
	int ready_fd;
	bool attached, stopping;
	int result;	    /* of the run, once the loop ended early */
	struct ig_err *err; /* the caller's; why it ended early */
};

static void monitor_done(struct monitor *m)
{
	struct event *events[] = {m->on_term, m->on_int, m->on_hup, m->on_wakeup, m->sweep};

	m->child = ig_child_free(m->child);
	m->packets = ig_packets_free(m->packets);
	m->watch = ig_netns_watch_free(m->watch);
	m->requests = ig_requests_free(m->requests);
	m->sources = ig_sources_free(m->sources);
	m->listeners = ig_listeners_free(m->listeners);
	m->wakeups = ig_ring_free(m->wakeups);
	for (size_t i = 0; i < IG_ARRAY_SIZE(events); i++)
		if (events[i])
			event_free(events[i]);
	m->dp = ig_datapath_free(m->dp);
	if (m->base)
		event_base_free(m->base);
	m->ready_fd = ig_close(m->ready_fd);
}

/* ---- listeners ---- */

static void announce(const struct ig_listener *listener, uint32_t kind, struct monitor *m)
{
	struct ig_monitor_message message = {
		.kind = kind,
		.listener = {.netns_cookie = listener->netns_cookie,
			.is_host = listener->is_host,
			.port = listener->port},
	};
	struct ig_channel *channel = ig_child_channel(m->child);
	int r;

	if (!channel)
		return;
	strncpy(message.listener.name, listener->name, sizeof(message.listener.name) - 1);
	r = ig_channel_send(
		channel, &message, &listener->sock, kind == IG_MONITOR_LISTENER_OPENED ? 1 : 0);
	if (r < 0) {
		/* a server that missed a notice serves wrong: let the next one start afresh */
		(void)ig_log_errno(r, "cannot tell the server of a listener, restarting it");
		ig_child_kill(m->child);
	}
}

static void on_opened(const struct ig_listener *listener, void *userdata)
{
	ig_log_info("listener opened", IG_KV_U64(NETNS, listener->netns_cookie),
		IG_KV_STR(NAME, listener->name), IG_KV_U64(PORT, listener->port));
	announce(listener, IG_MONITOR_LISTENER_OPENED, userdata);
}

static void on_closed(const struct ig_listener *listener, void *userdata)
{
	ig_log_info("listener closed", IG_KV_U64(NETNS, listener->netns_cookie),
		IG_KV_STR(NAME, listener->name));
	announce(listener, IG_MONITOR_LISTENER_CLOSED, userdata);
}

static void announce_existing(const struct ig_listener *listener, void *userdata)
{
	announce(listener, IG_MONITOR_LISTENER_OPENED, userdata);
}

static int on_netns_added(int netns_fd, const char *name, uint64_t *ret_cookie, void *userdata)
{
	struct monitor *m = userdata;
	int r = ig_listeners_add_named(m->listeners, netns_fd, name, ret_cookie);

	if (r < 0)
		(void)ig_log_errno(r,
			"cannot open a listener in this namespace, its connections are refused",
			IG_KV_STR(NAME, name));
	return r;
}

static void on_netns_removed(uint64_t cookie, void *userdata)
{
	struct monitor *m = userdata;

	ig_listeners_drop_name(m->listeners, cookie);
}

static void on_netns_given_up(const char *path, int error, void *userdata)
{
	(void)userdata;
	(void)ig_log_warning_errno(
		error, "not a network namespace, ignoring", IG_KV_STR(PATH, path));
}

static bool owner_lives(uint64_t cgroup_id, void *userdata)
{
	struct monitor *m = userdata;

	return ig_cgroup_id_has_processes(ig_datapath_cgroup_fd(m->dp), cgroup_id);
}

/* The timer runs only while there are listeners that nobody else tells us the end of. */
static void sweep_later(struct monitor *m)
{
	struct timeval tv = {.tv_sec = SWEEP_SEC};

	if (!evtimer_pending(m->sweep, NULL))
		(void)evtimer_add(m->sweep, &tv);
}

static void on_sweep(evutil_socket_t fd, short what, void *userdata)
{
	struct monitor *m = userdata;

	(void)fd;
	(void)what;
	if (ig_listeners_sweep(m->listeners, owner_lives, m) > 0)
		sweep_later(m);
}

static void on_wakeup_record(const void *record, void *userdata)
{
	const struct ig_wakeup *wakeup = record;
	struct monitor *m = userdata;
	uint64_t owner =
		wakeup->workload_cgroup_id ? wakeup->workload_cgroup_id : wakeup->cgroup_id;
	_cleanup_close_ int netns_fd = -1;
	int r;

	if (ig_listeners_has(m->listeners, wakeup->netns_cookie))
		return;
	r = ig_netns_open_task(wakeup->tgid, wakeup->tid, &netns_fd);
	if (r == 0)
		r = ig_listeners_add_anonymous(m->listeners, netns_fd, wakeup->netns_cookie, owner);
	if (r == 0)
		sweep_later(m);
	else
		ig_log_debug("no listener for a namespace that was met",
			IG_KV_U64(NETNS, wakeup->netns_cookie), IG_KV_U64(PID, wakeup->tgid),
			IG_KV_STR(ERROR, strerror(-r)));
}

static void on_wakeup(evutil_socket_t fd, short what, void *userdata)
{
	struct monitor *m = userdata;

	(void)fd;
	(void)what;
	(void)ig_ring_consume(m->wakeups, IG_WAKEUPS_TURN);
}

/* Namespaces without a file in the watched directories: their first connect need not be the one
 * that makes them known. */
static void on_running(int netns_fd, uint64_t cgroup_id, void *userdata)
{
	struct monitor *m = userdata;

	if (ig_listeners_add_running(m->listeners, netns_fd, cgroup_id) == 0)
		sweep_later(m);
}

static void look_for_running(struct monitor *m)
{
	int r = ig_tasks_each_namespace(ig_datapath_cgroup_fd(m->dp), on_running, m);

	if (r < 0)
		(void)ig_log_warning_errno(
			r, "cannot look for the namespaces of running processes, ignoring");
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

static int prepare_packets(struct monitor *m, struct ig_err *reterr_err)
{
	struct ig_packets_options options = {
		.dp = m->dp,
		.listeners = m->listeners,
		.guard = m->options->guard,
		.clsact = m->options->guard_clsact,
		.settings = m->options->settings,
		.ended = on_older_ended,
		.userdata = m,
	};

	options.settings.host_netns_cookie = m->host_cookie;
	return ig_packets_new(m->base, &options, &m->packets, reterr_err);
}

/* ---- the server process ---- */

/* Connect hooks first: the guard asks for what they note of connections that they let pass. */
static int enforce(struct monitor *m)
{
	unsigned int adopted = 0;
	int r = ig_datapath_attach(m->dp, &adopted, m->err);

	if (r < 0)
		return r;
	m->attached = true;
	ig_log_info(
		"enforcing", IG_KV_STR(CGROUP, m->options->cgroup_root), IG_KV_U64(COUNT, adopted));
	/* those that were made while the server started may have connections from before, too */
	look_for_running(m);
	return ig_packets_start(m->packets, m->err);
}

/* Attaching waits for the first server that serves: a mistake in the configuration then leaves the
 * machine as it was. Links of an earlier agent have been in force all along. */
static int ready(struct monitor *m)
{
	int r;

	ig_child_note_serving(m->child);
	if (!m->attached) {
		r = enforce(m);
		if (r < 0) {
			m->result = r;
			(void)event_base_loopbreak(m->base);
			return r;
		}
	}
	ig_log_info("serving", IG_KV_U64(COUNT, ig_listeners_count(m->listeners)));
	if (m->ready_fd >= 0) {
		(void)ig_fd_write_all(m->ready_fd, "ready\n", 6);
		m->ready_fd = ig_close(m->ready_fd);
	}
	return 0;
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
	if (request->kind == IG_MONITOR_READY)
		return ready(m);
	return ig_requests_serve(m->requests, request, reply, ret_fd);
}

static int on_server_started(struct ig_channel *channel, void *userdata)
{
	struct monitor *m = userdata;
	struct ig_monitor_message message = {
		.kind = IG_MONITOR_HELLO,
		.hello = {.host_netns_cookie = m->host_cookie,
			.abi_version = IG_ABI_VERSION,
			.monitor_pid = (uint32_t)getpid()},
	};
	int fds[] = {ig_datapath_flows_fd(m->dp), ig_datapath_events_fd(m->dp)};
	int r = ig_channel_send(channel, &message, fds, IG_ARRAY_SIZE(fds));

	ig_requests_new_session(m->requests);
	if (r == 0)
		ig_listeners_each(m->listeners, announce_existing, m);
	return r;
}

static bool on_server_ended(int status, void *userdata)
{
	struct monitor *m = userdata;

	if (m->stopping) {
		(void)event_base_loopbreak(m->base);
		return false;
	}
	/* A server that gives up the first time has said why: a mistake in the configuration. */
	if (!m->attached && WIFEXITED(status) && WEXITSTATUS(status) == 1) {
		m->result = ig_err_set(m->err, -ECHILD, "the server could not start, see above");
		(void)event_base_loopbreak(m->base);
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

static void on_stop(evutil_socket_t signo, short what, void *userdata)
{
	struct monitor *m = userdata;

	(void)what;
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
	m->sweep = evtimer_new(m->base, on_sweep, m);
	if (!m->on_term || !m->on_int || !m->on_hup || !m->sweep ||
		event_add(m->on_term, NULL) < 0 || event_add(m->on_int, NULL) < 0 ||
		event_add(m->on_hup, NULL) < 0)
		return -ENOMEM;
	return ig_child_new(m->base, m->options->server_argv, &child_ops, m, &m->child);
}

static int start_listeners(struct monitor *m, struct ig_err *reterr_err)
{
	static const struct ig_listeners_ops ops = {.opened = on_opened, .closed = on_closed};
	static const struct ig_netns_watch_ops watch_ops = {.added = on_netns_added,
		.removed = on_netns_removed,
		.given_up = on_netns_given_up};
	int r = ig_listeners_new(m->dp, m->options->gate_port, &ops, m, &m->listeners);

	if (r == 0)
		r = ig_sources_new(m->dp, m->listeners, &m->sources);
	if (r == 0)
		r = ig_requests_new(m->dp, m->sources, &m->requests);
	/* What an earlier agent left points to closed sockets; without an entry a connect wakes us.
	 */
	if (r == 0)
		r = ig_datapath_listeners_clear(m->dp);
	if (r == 0)
		r = ig_listeners_add_host(m->listeners, &m->host_cookie);
	if (r < 0)
		return ig_err_set(reterr_err, r,
			"cannot open the gate listener of this network namespace: %s",
			strerror(-r));
	r = ig_netns_watch_new(m->base, m->options->netns_dirs, &watch_ops, m, &m->watch);
	if (r < 0)
		return ig_err_set(
			reterr_err, r, "cannot follow the network namespaces: %s", strerror(-r));
	look_for_running(m);
	return 0;
}

static int start_wakeups(struct monitor *m)
{
	int r = ig_ring_new(ig_datapath_wakeups_fd(m->dp), sizeof(struct ig_wakeup),
		on_wakeup_record, m, &m->wakeups);

	if (r < 0)
		return r;
	m->on_wakeup = event_new(
		m->base, ig_ring_epoll_fd(m->wakeups), EV_READ | EV_PERSIST, on_wakeup, m);
	return m->on_wakeup && event_add(m->on_wakeup, NULL) == 0 ? 0 : -ENOMEM;
}

static int cookie_failed(const struct monitor *m, int r, struct ig_err *reterr_err)
{
	if (r == -EOPNOTSUPP)
		return ig_err_set(reterr_err, r,
			"before Linux 5.14 imdsgated has to run below its --cgroup-root (%s), or it cannot tell network namespaces apart",
			m->options->cgroup_root);
	if (r == -EBUSY)
		return ig_err_set(reterr_err, r,
			"cannot attach to connect4: another program is attached exclusively (without BPF_F_ALLOW_MULTI) at %s or above it; see bpftool cgroup tree",
			m->options->cgroup_root);
	return ig_err_set(
		reterr_err, r, "cannot tell this network namespace's cookie: %s", strerror(-r));
}

static int set_settings(struct monitor *m, struct ig_err *reterr_err)
{
	struct ig_settings settings = m->options->settings;
	_cleanup_close_ int home_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	uint64_t cookie;
	int r = home_fd < 0 ? -errno : ig_cookie_of_netns(m->dp, home_fd, home_fd, &cookie);

	if (r < 0)
		return cookie_failed(m, r, reterr_err);
	settings.host_netns_cookie = cookie;
	r = ig_datapath_settings_set(m->dp, &settings);
	return r < 0 ? ig_err_set(reterr_err, r, "cannot write the settings map: %s", strerror(-r))
		     : 0;
}

static int start(struct monitor *m, struct ig_err *reterr_err)
{
	struct ig_datapath_options dp_options = {
		.bpffs = m->options->bpffs,
		.cgroup_root = m->options->cgroup_root,
	};
	int r = ig_datapath_open(&dp_options, &m->dp, reterr_err);

	if (r < 0)
		return r;
	m->base = event_base_new();
	if (!m->base)
		return -ENOMEM;
	r = make_events(m);
	if (r == 0)
		r = start_wakeups(m);
	if (r < 0)
		return ig_err_set(reterr_err, r, "cannot set up the event loop: %s", strerror(-r));
	r = set_settings(m, reterr_err);
	if (r == 0)
		r = start_listeners(m, reterr_err);
	if (r == 0)
		r = prepare_packets(m, reterr_err);
	if (r == 0)
		r = ig_monitor_confine(reterr_err);
	if (r < 0)
		return r;
	r = ig_child_start(m->child);
	return r < 0 ? ig_err_set(reterr_err, r, "cannot start the server: %s", strerror(-r)) : 0;
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
	r = start(&m, reterr_err);
	if (r == 0) {
		(void)event_base_dispatch(m.base);
		r = m.result;
	}
	monitor_done(&m);
	return r;
}
