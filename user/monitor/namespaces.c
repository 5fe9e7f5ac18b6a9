/*
 * The network namespaces that the monitor looks after: which there are, their listeners, and what
 * the server hears of them. Private to monitor.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/descriptors.h"
#include "base/log.h"
#include "datapath/datapath.h"
#include "monitor/child.h"
#include "monitor/listeners.h"
#include "monitor/monitor_internal.h"
#include "monitor/netns_watch.h"
#include "monitor/services.h"
#include "workload/cgroup.h"
#include "workload/netns.h"
#include "workload/process.h"
#include "workload/tasks.h"

#define SWEEP_SEC 5

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

	/* while we stand by, the server is told later */
	if (!channel || m->takeover)
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
void ig_monitor_sweep_later(struct monitor *m)
{
	struct timeval tv = {.tv_sec = SWEEP_SEC};

	if (!evtimer_pending(m->sweep, NULL))
		(void)evtimer_add(m->sweep, &tv);
}

static void on_sweep(evutil_socket_t fd, short what, void *userdata)
{
	static const struct timeval now = {};
	struct monitor *m = userdata;

	(void)fd;
	(void)what;
	m->swept = ig_listeners_sweep(m->listeners, m->swept, owner_lives, m);
	if (m->swept)
		(void)evtimer_add(m->sweep, &now); /* new pods come first */
	else if (ig_listeners_any_anonymous(m->listeners))
		ig_monitor_sweep_later(m);
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
		ig_monitor_sweep_later(m);
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

int ig_monitor_announce(struct monitor *m)
{
	struct ig_channel *channel = ig_child_channel(m->child);
	int r = channel ? ig_services_announce(m->services, channel) : 0;

	if (r == 0)
		ig_listeners_each(m->listeners, announce_existing, m);
	return r;
}

/* ---- start-up ---- */

/* As the connect hooks count: a pod is one, whatever cgroups it makes for itself. The map of
 * workloads may still be empty, but a path says which part of it is the pod's. */
static uint64_t owner_of(const struct monitor *m, uint64_t cgroup_id)
{
	int root_fd = ig_datapath_cgroup_fd(m->dp);
	char path[IG_CGROUP_PATH_BYTES + 1];
	struct ig_cgroup_pod pod;
	struct stat st;

	if (ig_cgroup_path_by_id(root_fd, cgroup_id, path, sizeof(path)) < 0)
		return cgroup_id;
	for (char *end = strchr(path + 1, '/'); end; end = strchr(end + 1, '/')) {
		*end = '\0';
		if (ig_cgroup_parse_pod(path, &pod) == 0)
			return fstatat(root_fd, path + 1, &st, AT_SYMLINK_NOFOLLOW) < 0 ? cgroup_id
											: st.st_ino;
		*end = '/';
	}
	return cgroup_id;
}

/* Namespaces without a file in the watched directories: their first connect need not be the one
 * that makes them known. */
static void on_running(int netns_fd, uint64_t cgroup_id, void *userdata)
{
	struct monitor *m = userdata;

	if (ig_listeners_add_running(m->listeners, netns_fd, owner_of(m, cgroup_id)) == 0)
		ig_monitor_sweep_later(m);
}

void ig_monitor_look_for_running(struct monitor *m)
{
	int r = ig_tasks_each_namespace(ig_datapath_cgroup_fd(m->dp), on_running, m);

	if (r < 0)
		(void)ig_log_warning_errno(
			r, "cannot look for the namespaces of running processes, ignoring");
}

int ig_monitor_follow(struct monitor *m)
{
	static const struct ig_netns_watch_ops watch_ops = {.added = on_netns_added,
		.removed = on_netns_removed,
		.given_up = on_netns_given_up};
	int r = ig_netns_watch_new(m->base, m->options->netns_dirs, &watch_ops, m, &m->watch);

	if (r < 0)
		return ig_err_set(
			m->err, r, "cannot follow the network namespaces: %s", strerror(-r));
	ig_monitor_look_for_running(m);
	if (event_add(m->on_wakeup, NULL) < 0)
		return -ENOMEM;
	return 0;
}

int ig_monitor_open_listeners(struct monitor *m)
{
	uint64_t cookie;
	/* What an earlier agent left points to closed sockets; without an entry a connect wakes us.
	 * That of this namespace keeps the port for the listener below. */
	int r = ig_datapath_listeners_clear(m->dp, m->host_cookie);

	if (r < 0)
		return ig_err_set(m->err, r, "cannot clear the map of listeners: %s", strerror(-r));
	/* those that an agent gave us before it went away */
	ig_listeners_refuse(m->listeners);
	ig_listeners_admit(m->listeners);
	if (!ig_listeners_has(m->listeners, m->host_cookie))
		r = ig_listeners_add_host(m->listeners, &cookie);
	return r < 0 ? ig_err_set(m->err, r,
			       "cannot open the gate listener of this network namespace: %s",
			       strerror(-r))
		     : 0;
}

int ig_monitor_prepare_namespaces(struct monitor *m)
{
	static const struct ig_listeners_ops ops = {.opened = on_opened, .closed = on_closed};
	int r = ig_listeners_new(m->dp, m->options->gate_port, ig_descriptors_get().listeners, &ops,
		m, &m->listeners);

	if (r == 0)
		r = ig_ring_new(ig_datapath_wakeups_fd(m->dp), sizeof(struct ig_wakeup),
			on_wakeup_record, m, &m->wakeups);
	if (r < 0)
		return r;
	m->on_wakeup = event_new(
		m->base, ig_ring_epoll_fd(m->wakeups), EV_READ | EV_PERSIST, on_wakeup, m);
	m->sweep = evtimer_new(m->base, on_sweep, m);
	return m->on_wakeup && m->sweep ? 0 : -ENOMEM;
}
