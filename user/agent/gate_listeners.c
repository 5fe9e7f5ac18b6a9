/*
 * Listens in the namespaces of workloads, accepts, and finds out whose connection it is: the
 * namespace of the listener and the peer's address name the flow that the kernel recorded when that
 * socket was redirected. Without a flow the connection was not redirected by us and is closed
 * unread. What becomes of one that has a flow is gate.c's.
 *
 * The port for /host/token is such a listener, too.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include <imdsgate/limits.h>

#include "agent/gate_internal.h"
#include "agent/link.h"
#include "agent/listener_pod.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/table.h"
#include "datapath/datapath.h"
#include "http/share.h"

/* EMFILE and the like do not go away by trying again at once */
#define ACCEPT_PAUSE_USEC 50000

struct ig_gate_listener {
	struct ig_gate *gate;
	uint64_t netns_cookie;
	bool is_host;
	enum ig_entrance entrance;
	uint16_t port;
	int sock;			 /* owned */
	struct event *readable, *resume; /* owned */
	struct ig_http_share share;	 /* of the loop's time, for accepting */
	unsigned int waiting;		 /* accepted, and their flows asked for */
	struct ig_listener_pod pod;	 /* seen last; of the host's listener none */
	char *name;			 /* owned; of the namespace's file, "" without */
	UT_hash_handle hh;
};

/* A connection whose flow the monitor takes for us (kernels before 5.19). */
struct ig_gate_waiting {
	struct ig_gate *gate;
	struct ig_gate_listener *listener; /* NULL: it was closed meanwhile */
	int fd;				   /* owned */
	uint64_t netns_cookie;
	struct ig_arrival arrival; /* its flow is what is missing */
	LIST_ENTRY(ig_gate_waiting) link;
};

static void listener_free(struct ig_gate_listener *l)
{
	struct ig_gate_waiting *w;

	LIST_FOREACH (w, &l->gate->listeners.waiting, link)
		if (w->listener == l)
			w->listener = NULL;
	if (l->readable)
		event_free(l->readable);
	if (l->resume)
		event_free(l->resume);
	(void)ig_close(l->sock);
	ig_listener_pod_done(&l->pod);
	free(l->name);
	free(l);
}

/* Unless it pauses, or has as many as it may that wait. */
static void accept_again(struct ig_gate_listener *l)
{
	if (l->waiting < IG_ACCEPTS_WAITING_MAX && !evtimer_pending(l->resume, NULL))
		(void)event_add(l->readable, NULL);
}

static void waiting_free(struct ig_gate_waiting *w)
{
	LIST_REMOVE(w, link);
	if (w->listener) {
		w->listener->waiting--;
		accept_again(w->listener);
	}
	(void)ig_close(w->fd);
	free(w);
}

void ig_gate_listeners_close(struct ig_gate *gate)
{
	struct ig_gate_listener *l, *next;

	HASH_ITER (hh, gate->listeners.table, l, next) {
		HASH_DEL(gate->listeners.table, l);
		listener_free(l);
	}
	if (gate->listeners.host_port)
		listener_free(gate->listeners.host_port);
	gate->listeners.host_port = NULL;
}

void ig_gate_listeners_done(struct ig_gate *gate)
{
	struct ig_gate_waiting *w;

	ig_gate_listeners_close(gate);
	while ((w = LIST_FIRST(&gate->listeners.waiting)) != NULL) {
		ig_link_forget(gate->agent->link, w);
		waiting_free(w);
	}
}

static bool peer_is_gone(int fd)
{
	struct tcp_info info = {};
	socklen_t len = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
	       info.tcpi_state != TCP_ESTABLISHED;
}

/* One that was reset while it waited to be accepted frees its port, and the kernel may have
 * recorded the flow of a later connection from there: that is not its flow. */
static bool was_reset(int fd)
{
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);

	return getpeername(fd, (struct sockaddr *)&peer, &len) < 0;
}

static void not_attributed(
	struct ig_gate *gate, int fd, const struct sockaddr_in *peer, uint64_t netns_cookie)
{
	/* The kernel drops the record when the redirected socket closes, so this may be an ordinary
	 * caller that gave up before it was accepted. */
	ig_record_unattributed(gate->agent, netns_cookie, peer, peer_is_gone(fd));
	ig_gate_reset(fd);
}

static void on_flow_taken(const struct ig_monitor_message *reply, void *userdata)
{
	struct ig_gate_waiting *w = userdata;
	struct ig_gate *gate = w->gate;
	int fd = TAKE_FD(w->fd);

	w->arrival.flow = reply->flow;
	if (reply->result == 0 && !was_reset(fd))
		ig_gate_arrived(gate, fd, &w->arrival, NULL);
	else
		not_attributed(gate, fd, &w->arrival.peer, w->netns_cookie);
	waiting_free(w);
	ig_gate_end_if_drained(gate);
}

/* Takes fd. */
static void ask_monitor(struct ig_gate_listener *l, int fd, const struct ig_arrival *arrival,
	const struct ig_flow_key *key)
{
	struct ig_monitor_request request = {.kind = IG_MONITOR_FLOW_TAKE, .flow = *key};
	struct ig_gate_waiting *w = calloc(1, sizeof(*w));

	if (!w) {
		ig_gate_reset(fd);
		return;
	}
	w->gate = l->gate;
	w->listener = l;
	w->fd = fd;
	w->netns_cookie = l->netns_cookie;
	w->arrival = *arrival;
	LIST_INSERT_HEAD(&l->gate->listeners.waiting, w, link);
	/* the others wait in the backlog of its namespace, where they are in nobody's way */
	if (++l->waiting == IG_ACCEPTS_WAITING_MAX)
		(void)event_del(l->readable);
	if (ig_link_request(l->gate->agent->link, &request, on_flow_taken, w) < 0) {
		w->fd = -1;
		waiting_free(w);
		ig_gate_reset(fd);
	}
}

/* Looks before, so that nobody loses a flow to a connection that is no more, and afterwards: one
 * that is still there was the only one from its port all the time. */
static int take_flow(
	const struct ig_gate *gate, int fd, const struct ig_flow_key *key, struct ig_flow *ret)
{
	int r;

	if (was_reset(fd))
		return -ENOENT;
	if (gate->listeners.ask_monitor)
		return -EPERM;
	r = ig_flow_take(gate->agent->flows_fd, key, ret);
	return r == 0 && was_reset(fd) ? -ENOENT : r;
}

/* Takes fd. */
static void accepted(struct ig_gate_listener *l, int fd, const struct sockaddr_in *peer)
{
	struct ig_gate *gate = l->gate;
	struct ig_flow_key key = {
		.netns_cookie = l->netns_cookie,
		.saddr_be = peer->sin_addr.s_addr,
		.sport_be = peer->sin_port,
		.gate_port_be = htons(l->port),
	};
	struct ig_arrival arrival = {.entrance = l->entrance, .is_host = l->is_host, .peer = *peer};
	int r = take_flow(gate, fd, &key, &arrival.flow);

	if (r == -EPERM) {
		gate->listeners.ask_monitor = true;
		ask_monitor(l, fd, &arrival, &key);
	} else if (r < 0) {
		not_attributed(gate, fd, peer, l->netns_cookie);
	} else {
		ig_gate_arrived(gate, fd, &arrival, NULL);
	}
}

static void accept_some(struct ig_gate_listener *l, evutil_socket_t sock, unsigned int max)
{
	static const struct timeval pause = {.tv_usec = ACCEPT_PAUSE_USEC};

	for (unsigned int i = 0; i < max && l->waiting < IG_ACCEPTS_WAITING_MAX; i++) {
		struct sockaddr_in peer = {};
		socklen_t len = sizeof(peer);
		int fd =
			accept4(sock, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			accepted(l, fd, &peer);
			continue;
		}
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		(void)ig_log_errno(-errno, "cannot accept, waiting a little");
		(void)event_del(l->readable);
		(void)evtimer_add(l->resume, &pause);
		return;
	}
}

/* A listener that took more than its part of the loop's time waits for the others, and then has one
 * connection at a time. */
static void on_accept(evutil_socket_t sock, short what, void *arg)
{
	struct ig_gate_listener *l = arg;
	struct ig_http_share *share = &l->share;
	int last = event_base_get_npriorities(l->gate->agent->base) - 1;
	uint64_t begin_usec = ig_clock_mono_usec(), end_usec;
	bool late = ig_http_share_is_over(share, begin_usec);

	(void)what;
	(void)event_priority_set(l->readable, late ? last : (last + 1) / 2);
	accept_some(l, sock, late ? 1 : IG_ACCEPTS_TURN);
	end_usec = ig_clock_mono_usec();
	ig_http_share_spend(share, end_usec - begin_usec, end_usec);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct ig_gate_listener *l = arg;

	(void)fd;
	(void)what;
	accept_again(l);
}

/* Takes the socket. */
static int listener_new(struct ig_gate *gate, const struct ig_gate_listener *settings,
	const char *name, int sock, struct ig_gate_listener **ret)
{
	struct ig_gate_listener *l = calloc(1, sizeof(*l));

	if (!l) {
		(void)ig_close(sock);
		return -ENOMEM;
	}
	*l = *settings;
	l->gate = gate;
	l->sock = sock;
	ig_http_server_prepare(sock);
	l->name = strdup(name);
	l->readable = event_new(gate->agent->base, sock, EV_READ | EV_PERSIST, on_accept, l);
	l->resume = evtimer_new(gate->agent->base, on_resume, l);
	if (!l->name || !l->readable || !l->resume || event_add(l->readable, NULL) < 0) {
		listener_free(l);
		return -ENOMEM;
	}
	*ret = l;
	return 0;
}

int ig_gate_listener_opened(struct ig_gate *gate, uint64_t netns_cookie, bool is_host,
	uint16_t port, const char *name, int sock)
{
	const struct ig_gate_listener settings = {
		.netns_cookie = netns_cookie, .is_host = is_host, .port = port};
	struct ig_gate_listener *l;
	int r = listener_new(gate, &settings, name, sock, &l);

	if (r < 0)
		return r;
	ig_gate_listener_closed(gate, netns_cookie);
	HASH_ADD(hh, gate->listeners.table, netns_cookie, sizeof(netns_cookie), l);
	if (!ig_table_has(l)) {
		listener_free(l);
		return -ENOMEM;
	}
	ig_record_listener(
		gate->agent, IG_AUDIT_LISTENER_OPENED, netns_cookie, is_host, l->name, &l->pod);
	return 0;
}

int ig_gate_serve_host_port(struct ig_gate *gate, uint16_t port, int sock)
{
	const struct ig_gate_listener settings = {.netns_cookie = gate->agent->host_netns_cookie,
		.is_host = true,
		.entrance = IG_ENTRANCE_HOST,
		.port = port};

	return listener_new(gate, &settings, "", sock, &gate->listeners.host_port);
}

void ig_gate_listener_closed(struct ig_gate *gate, uint64_t netns_cookie)
{
	struct ig_gate_listener *l;

	HASH_FIND(hh, gate->listeners.table, &netns_cookie, sizeof(netns_cookie), l);
	if (!l)
		return;
	ig_record_listener(
		gate->agent, IG_AUDIT_LISTENER_CLOSED, netns_cookie, l->is_host, l->name, &l->pod);
	HASH_DEL(gate->listeners.table, l);
	listener_free(l);
}

void ig_gate_saw_pod(struct ig_gate_conn *conn, const struct ig_pod *pod)
{
	const struct ig_gate *gate = conn->agent->gate;
	struct ig_gate_listener *l;

	if (conn->had_pod)
		return;
	conn->had_pod = true;
	HASH_FIND(hh, gate->listeners.table, &conn->flow.caller.netns_cookie,
		sizeof(l->netns_cookie), l);
	if (l && !l->is_host)
		ig_listener_pod_note(&l->pod, pod);
}

size_t ig_gate_listener_count(const struct ig_gate *gate)
{
	return HASH_COUNT(gate->listeners.table);
}
