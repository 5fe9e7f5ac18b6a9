/*
 * Accepts on the gate listeners and finds out whose connection it is: the namespace of the listener
 * and the peer's address name the flow that the kernel recorded when that socket was redirected.
 * Without a flow the connection was not redirected by us and is closed unread. Knows nothing of
 * requests.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uthash.h>

#include <imdsgate/limits.h>

#include "agent/agent.h"
#include "agent/link.h"
#include "agent/quota.h"
#include "audit/stream.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "datapath/datapath.h"

/* accepted in one go before other events get their turn */
#define ACCEPT_BURST 32
/* EMFILE and the like do not go away by trying again at once */
#define ACCEPT_PAUSE_USEC 50000

struct listener {
	struct ig_gate *gate;
	uint64_t netns_cookie;
	bool is_host;
	uint16_t port;
	int sock;			 /* owned */
	struct event *readable, *resume; /* owned */
	UT_hash_handle hh;
};

/* A connection whose flow the monitor takes for us (kernels before 5.19). */
struct waiting_accept {
	struct ig_gate *gate;
	int fd; /* owned */
	struct sockaddr_in peer;
	uint64_t netns_cookie;
	bool is_host;
	LIST_ENTRY(waiting_accept) link;
};

struct ig_gate {
	struct ig_agent *agent;
	struct ig_http_server *http;
	struct listener *listeners;
	LIST_HEAD(, waiting_accept) waiting;
	struct ig_quota *quota; /* connections of each workload */
	size_t connections;
	bool ask_monitor; /* the kernel does not let us read the flows map */
};

IG_DEFINE_CLEANUP(struct ig_gate *, ig_gate_free);

/* What counts as one caller: the declared cgroup, else the caller's own. */
static uint64_t workload_of(const struct ig_flow *flow)
{
	return flow->caller.workload_cgroup_id ? flow->caller.workload_cgroup_id
					       : flow->caller.cgroup_id;
}

static void conn_free(struct ig_gate_conn *conn)
{
	ig_caller_facts_done(&conn->facts);
	free(conn);
}

static void on_request(struct ig_http_conn *http, const struct ig_http_request *req, void *data)
{
	(void)http;
	ig_serve_request(data, req);
}

static void on_close(struct ig_http_conn *http, void *data)
{
	struct ig_gate_conn *conn = data;

	(void)http;
	ig_serve_cancel(conn);
	if (conn->facts_pending)
		ig_callers_cancel(conn->agent->callers, conn);
	conn->agent->gate->connections--;
	ig_quota_give(conn->agent->gate->quota, workload_of(&conn->flow));
	conn_free(conn);
}

/* Input that is no request: recorded, since it is either an attack or a broken client. */
static void on_malformed(
	struct ig_http_conn *http, unsigned int status, const char *why, void *data)
{
	(void)http;
	ig_serve_malformed(data, status, why);
}

static const struct ig_http_server_ops http_ops = {
	.on_request = on_request,
	.on_malformed = on_malformed,
	.on_close = on_close,
};

int ig_gate_new(struct ig_agent *agent, struct ig_gate **ret)
{
	_cleanup_(ig_gate_freep) struct ig_gate *gate = calloc(1, sizeof(*gate));
	int r;

	if (!gate)
		return -ENOMEM;
	gate->agent = agent;
	LIST_INIT(&gate->waiting);
	r = ig_quota_new(IG_HTTP_CONNECTIONS_WORKLOAD_MAX, &gate->quota);
	if (r == 0)
		r = ig_http_server_new(agent->base, &http_ops, &gate->http);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(gate);
	return 0;
}

static void listener_free(struct listener *l)
{
	if (l->readable)
		event_free(l->readable);
	if (l->resume)
		event_free(l->resume);
	(void)ig_close(l->sock);
	free(l);
}

static void waiting_free(struct waiting_accept *w)
{
	LIST_REMOVE(w, link);
	(void)ig_close(w->fd);
	free(w);
}

struct ig_gate *ig_gate_free(struct ig_gate *gate)
{
	struct listener *l, *next;
	struct waiting_accept *w;

	if (!gate)
		return NULL;
	HASH_ITER (hh, gate->listeners, l, next) {
		HASH_DEL(gate->listeners, l);
		listener_free(l);
	}
	while ((w = LIST_FIRST(&gate->waiting)) != NULL) {
		ig_link_forget(gate->agent->link, w);
		waiting_free(w);
	}
	/* ends the connections, which still count themselves off here */
	gate->http = ig_http_server_free(gate->http);
	gate->quota = ig_quota_free(gate->quota);
	free(gate);
	return NULL;
}

/* Closing with a reset: the peer learns at once, and nothing lingers for it. */
static void refuse(int fd)
{
	struct linger now = {.l_onoff = 1};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	(void)close(fd);
}

static bool peer_is_gone(int fd)
{
	struct tcp_info info = {};
	socklen_t len = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
	       info.tcpi_state != TCP_ESTABLISHED;
}

static void on_facts(void *userdata)
{
	struct ig_gate_conn *conn = userdata;

	conn->facts_pending = false;
	conn->facts_known = true;
	ig_serve_facts_known(conn);
}

/* Refuses a connection of a known caller, and says so. Takes fd. */
static void refuse_flow(struct ig_gate *gate, int fd, const struct sockaddr_in *peer,
	const struct ig_flow *flow, const char *reason)
{
	struct ig_conn_record r;

	refuse(fd);
	ig_record_flow(gate->agent, flow, NULL, peer, &r);
	r.record.kind = IG_AUDIT_CONNECT_REFUSED;
	r.record.decision = IG_AUDIT_DENY;
	r.record.reason = reason;
	ig_audit_emit(gate->agent->audit, &r.record);
}

/* Takes fd on success. */
static int add_conn(struct ig_gate *gate, int fd, const struct sockaddr_in *peer, bool is_host,
	const struct ig_flow *flow, struct ig_gate_conn **ret)
{
	struct ig_gate_conn *conn = calloc(1, sizeof(*conn));
	int r;

	if (!conn)
		return -ENOMEM;
	conn->agent = gate->agent;
	conn->flow = *flow;
	conn->peer = *peer;
	conn->is_host = is_host;
	r = ig_http_server_add(gate->http, fd, conn, &conn->http);
	if (r < 0) {
		conn_free(conn);
		return r;
	}
	gate->connections++;
	*ret = conn;
	return 0;
}

/* Takes fd. */
static void serve(struct ig_gate *gate, int fd, const struct sockaddr_in *peer, bool is_host,
	const struct ig_flow *flow)
{
	struct ig_gate_conn *conn;
	int r;

	if (!ig_quota_take(gate->quota, workload_of(flow))) {
		refuse_flow(gate, fd, peer, flow, "too_many_connections_of_workload");
		return;
	}
	if (add_conn(gate, fd, peer, is_host, flow, &conn) < 0) {
		ig_quota_give(gate->quota, workload_of(flow));
		refuse_flow(gate, fd, peer, flow, "too_many_connections");
		return;
	}
	r = ig_callers_resolve(gate->agent->callers, &flow->caller, &conn->facts, on_facts, conn);
	conn->facts_known = r != 0; /* a failure leaves them empty: not attributable, so denied */
	conn->facts_pending = r == 0;
}

static void not_attributed(
	struct ig_gate *gate, int fd, const struct sockaddr_in *peer, uint64_t netns_cookie)
{
	/* The kernel drops the record when the redirected socket closes, so this may be an ordinary
	 * caller that gave up before it was accepted. */
	ig_record_unattributed(gate->agent, netns_cookie, peer, peer_is_gone(fd));
	refuse(fd);
}

static void on_flow_taken(const struct ig_monitor_message *reply, void *userdata)
{
	struct waiting_accept *w = userdata;
	int fd = TAKE_FD(w->fd);

	if (reply->result == 0)
		serve(w->gate, fd, &w->peer, w->is_host, &reply->flow);
	else
		not_attributed(w->gate, fd, &w->peer, w->netns_cookie);
	waiting_free(w);
}

/* Takes fd. */
static void ask_monitor(struct ig_gate *gate, const struct listener *l, int fd,
	const struct sockaddr_in *peer, const struct ig_flow_key *key)
{
	struct ig_monitor_request request = {.kind = IG_MONITOR_FLOW_TAKE, .flow = *key};
	struct waiting_accept *w = calloc(1, sizeof(*w));

	if (!w) {
		refuse(fd);
		return;
	}
	w->gate = gate;
	w->fd = fd;
	w->peer = *peer;
	w->netns_cookie = l->netns_cookie;
	w->is_host = l->is_host;
	LIST_INSERT_HEAD(&gate->waiting, w, link);
	if (ig_link_request(gate->agent->link, &request, on_flow_taken, w) < 0) {
		w->fd = -1;
		waiting_free(w);
		refuse(fd);
	}
}

/* Takes fd. */
static void accepted(struct listener *l, int fd, const struct sockaddr_in *peer)
{
	struct ig_gate *gate = l->gate;
	struct ig_flow_key key = {
		.netns_cookie = l->netns_cookie,
		.saddr_be = peer->sin_addr.s_addr,
		.sport_be = peer->sin_port,
		.gate_port_be = htons(l->port),
	};
	struct ig_flow flow;
	int r = gate->ask_monitor ? -EPERM : ig_flow_take(gate->agent->flows_fd, &key, &flow);

	if (r == -EPERM) {
		gate->ask_monitor = true;
		ask_monitor(gate, l, fd, peer, &key);
	} else if (r < 0) {
		not_attributed(gate, fd, peer, l->netns_cookie);
	} else {
		serve(gate, fd, peer, l->is_host, &flow);
	}
}

static void on_accept(evutil_socket_t sock, short what, void *arg)
{
	static const struct timeval pause = {.tv_usec = ACCEPT_PAUSE_USEC};
	struct listener *l = arg;

	(void)what;
	for (int i = 0; i < ACCEPT_BURST; i++) {
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

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)fd;
	(void)what;
	(void)event_add(l->readable, NULL);
}

static void record_listener(struct ig_agent *agent, enum ig_audit_kind kind, uint64_t netns_cookie,
	bool is_host, const char *name)
{
	struct ig_audit_caller caller = {.netns_cookie = netns_cookie, .host_network = is_host};
	struct ig_audit_record record = {.kind = kind, .message = name, .caller = &caller};

	ig_audit_emit(agent->audit, &record);
}

int ig_gate_listener_opened(struct ig_gate *gate, uint64_t netns_cookie, bool is_host,
	uint16_t port, const char *name, int sock)
{
	struct listener *l = calloc(1, sizeof(*l));

	if (!l) {
		(void)ig_close(sock);
		return -ENOMEM;
	}
	l->gate = gate;
	l->netns_cookie = netns_cookie;
	l->is_host = is_host;
	l->port = port;
	l->sock = sock;
	l->readable = event_new(gate->agent->base, sock, EV_READ | EV_PERSIST, on_accept, l);
	l->resume = evtimer_new(gate->agent->base, on_resume, l);
	if (!l->readable || !l->resume || event_add(l->readable, NULL) < 0) {
		listener_free(l);
		return -ENOMEM;
	}
	ig_gate_listener_closed(gate, netns_cookie);
	HASH_ADD(hh, gate->listeners, netns_cookie, sizeof(netns_cookie), l);
	record_listener(gate->agent, IG_AUDIT_LISTENER_OPENED, netns_cookie, is_host, name);
	return 0;
}

void ig_gate_listener_closed(struct ig_gate *gate, uint64_t netns_cookie)
{
	struct listener *l;

	HASH_FIND(hh, gate->listeners, &netns_cookie, sizeof(netns_cookie), l);
	if (!l)
		return;
	record_listener(gate->agent, IG_AUDIT_LISTENER_CLOSED, netns_cookie, l->is_host, NULL);
	HASH_DEL(gate->listeners, l);
	listener_free(l);
}

size_t ig_gate_listener_count(const struct ig_gate *gate)
{
	return HASH_COUNT(gate->listeners);
}

size_t ig_gate_connection_count(const struct ig_gate *gate)
{
	return gate->connections;
}
