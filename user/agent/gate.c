/*
 * Accepts on the gate listeners and finds out whose connection it is: the namespace of the listener
 * and the peer's address name the flow that the kernel recorded when that socket was redirected.
 * Without a flow the connection was not redirected by us and is closed unread. Knows nothing of
 * requests.
 *
 * The port for /host/token is such a listener, too; who came in there is let in or refused once it
 * is known who it is, and not a byte of it is read before.
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

#include <imdsgate/limits.h>

#include "agent/agent.h"
#include "agent/link.h"
#include "agent/listener_pod.h"
#include "agent/quota.h"
#include "agent/serve_internal.h"
#include "audit/stream.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/descriptors.h"
#include "base/log.h"
#include "base/table.h"
#include "datapath/datapath.h"
#include "http/share.h"

#define OUT_OF_MEMORY "out_of_memory"
/* EMFILE and the like do not go away by trying again at once */
#define ACCEPT_PAUSE_USEC 50000

struct listener {
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
struct waiting_accept {
	struct ig_gate *gate;
	struct listener *listener; /* NULL: it was closed meanwhile */
	int fd;			   /* owned */
	uint64_t netns_cookie;
	struct ig_arrival arrival; /* its flow is what is missing */
	LIST_ENTRY(waiting_accept) link;
};

struct ig_gate {
	struct ig_agent *agent;
	struct ig_http_server *http;
	struct listener *listeners;
	struct listener *host_port; /* for /host/token; NULL without */
	LIST_HEAD(, waiting_accept) waiting;
	LIST_HEAD(, ig_gate_conn) not_in; /* attributed, and not let in yet */
	struct ig_quota *quota;		  /* connections of each workload */
	LIST_HEAD(, ig_gate_conn) conns;
	size_t connections;
	bool draining;
	bool ask_monitor; /* the kernel does not let us read the flows map */
};

IG_DEFINE_CLEANUP(struct ig_gate *, ig_gate_free);

/* Another agent serves, and our last connection is gone. */
static void end_if_drained(struct ig_gate *gate)
{
	if (gate->draining && ig_gate_is_empty(gate))
		(void)event_base_loopexit(gate->agent->base, NULL);
}

/* Gives back what the connection was counted for. */
static void conn_free(struct ig_gate_conn *conn)
{
	struct ig_gate *gate = conn->agent->gate;

	if (conn->facts_pending)
		ig_callers_cancel(conn->agent->callers, conn);
	gate->connections--;
	ig_quota_give(gate->quota, ig_caller_workload(&conn->flow.caller));
	ig_caller_facts_done(&conn->facts);
	free(conn);
	end_if_drained(gate);
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
	LIST_REMOVE(conn, link);
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
	struct ig_descriptors descriptors = ig_descriptors_get();
	int r;

	if (!gate)
		return -ENOMEM;
	gate->agent = agent;
	LIST_INIT(&gate->waiting);
	LIST_INIT(&gate->not_in);
	LIST_INIT(&gate->conns);
	r = ig_quota_new(descriptors.connections_workload, &gate->quota);
	if (r == 0)
		r = ig_http_server_new(agent->base, &http_ops, &gate->http);
	if (r < 0)
		return r;
	ig_http_server_limit(gate->http, descriptors.connections);
	*ret = TAKE_PTR(gate);
	return 0;
}

static void listener_free(struct listener *l)
{
	struct waiting_accept *w;

	LIST_FOREACH (w, &l->gate->waiting, link)
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
static void accept_again(struct listener *l)
{
	if (l->waiting < IG_ACCEPTS_WAITING_MAX && !evtimer_pending(l->resume, NULL))
		(void)event_add(l->readable, NULL);
}

static void waiting_free(struct waiting_accept *w)
{
	LIST_REMOVE(w, link);
	if (w->listener) {
		w->listener->waiting--;
		accept_again(w->listener);
	}
	(void)ig_close(w->fd);
	free(w);
}

static void close_listeners(struct ig_gate *gate)
{
	struct listener *l, *next;

	HASH_ITER (hh, gate->listeners, l, next) {
		HASH_DEL(gate->listeners, l);
		listener_free(l);
	}
	if (gate->host_port)
		listener_free(gate->host_port);
	gate->host_port = NULL;
}

struct ig_gate *ig_gate_free(struct ig_gate *gate)
{
	struct waiting_accept *w;
	struct ig_gate_conn *conn;

	if (!gate)
		return NULL;
	gate->draining = false;
	close_listeners(gate);
	while ((w = LIST_FIRST(&gate->waiting)) != NULL) {
		ig_link_forget(gate->agent->link, w);
		waiting_free(w);
	}
	while ((conn = LIST_FIRST(&gate->not_in)) != NULL) {
		LIST_REMOVE(conn, waiting);
		(void)ig_close(conn->fd);
		conn_free(conn);
	}
	/* ends the connections, which still count themselves off here */
	gate->http = ig_http_server_free(gate->http);
	gate->quota = ig_quota_free(gate->quota);
	free(gate);
	return NULL;
}

void ig_gate_drain(struct ig_gate *gate)
{
	gate->draining = true;
	close_listeners(gate);
	ig_http_server_drain(gate->http);
	end_if_drained(gate);
}

bool ig_gate_is_empty(const struct ig_gate *gate)
{
	return gate->connections == 0 && LIST_EMPTY(&gate->waiting);
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

static void record_refusal(struct ig_agent *agent, const struct ig_flow *flow,
	const struct sockaddr_in *peer, const struct ig_caller_facts *facts, const char *reason)
{
	struct ig_conn_record r;
	uint64_t count;

	if (!ig_record_turn(agent, ig_caller_workload(&flow->caller), &count))
		return;
	ig_record_flow(agent, flow, facts, peer, &r);
	r.record.kind = IG_AUDIT_CONNECT_REFUSED;
	r.record.count = count;
	r.record.decision = IG_AUDIT_DENY;
	r.record.reason = reason;
	ig_audit_emit(agent->audit, &r.record);
}

void ig_gate_refuse(struct ig_gate *gate, int fd, const struct ig_arrival *arrival,
	const struct ig_caller_facts *facts, const char *reason)
{
	refuse(fd);
	record_refusal(gate->agent, &arrival->flow, &arrival->peer, facts, reason);
}

/* The connection ends, whether it was let in or not. */
static void turn_away(struct ig_gate_conn *conn, const char *reason)
{
	record_refusal(conn->agent, &conn->flow, &conn->peer,
		conn->facts_known ? &conn->facts : NULL, reason);
	if (conn->http) {
		ig_http_conn_close(conn->http);
		return;
	}
	refuse(TAKE_FD(conn->fd));
	conn_free(conn);
}

static const char *reason_of(int error)
{
	switch (error) {
	case -EDQUOT: return "too_many_connections_of_workload";
	case -ENOMEM: return OUT_OF_MEMORY;
	default: return "too_many_connections";
	}
}

/* Its requests are read from now on. false: it is gone instead. */
static bool let_in(struct ig_gate_conn *conn)
{
	struct ig_gate *gate = conn->agent->gate;
	int r = ig_http_server_add(gate->http, conn->fd,
		ig_quota_share(gate->quota, ig_caller_workload(&conn->flow.caller)), conn,
		&conn->http);

	if (r < 0) {
		turn_away(conn, reason_of(r));
		return false;
	}
	conn->fd = -1;
	LIST_INSERT_HEAD(&gate->conns, conn, link);
	return true;
}

/* The facts about a caller of /host/token are there. */
static void judge(struct ig_gate_conn *conn)
{
	const char *reason = conn->facts.lost ? OUT_OF_MEMORY : ig_host_token_refusal(conn);

	LIST_REMOVE(conn, waiting);
	if (reason)
		turn_away(conn, reason);
	else
		(void)let_in(conn);
}

static void on_facts(void *userdata)
{
	struct ig_gate_conn *conn = userdata;

	conn->facts_pending = false;
	conn->facts_known = true;
	if (!conn->http)
		judge(conn);
	else if (conn->facts.lost)
		turn_away(conn, OUT_OF_MEMORY);
	else
		ig_serve_facts_known(conn);
}

static void find_facts(struct ig_gate_conn *conn)
{
	int r = ig_callers_resolve(
		conn->agent->callers, &conn->flow.caller, &conn->facts, on_facts, conn);

	conn->facts_known = r != 0;
	conn->facts_pending = r == 0;
	conn->facts.lost |= r < 0;
}

/* Counts the connection against its workload. Takes fd on success. */
static int conn_new(
	struct ig_gate *gate, int fd, const struct ig_arrival *arrival, struct ig_gate_conn **ret)
{
	struct ig_gate_conn *conn;

	if (!ig_quota_take(gate->quota, ig_caller_workload(&arrival->flow.caller)))
		return -EDQUOT;
	conn = calloc(1, sizeof(*conn));
	if (!conn) {
		ig_quota_give(gate->quota, ig_caller_workload(&arrival->flow.caller));
		return -ENOMEM;
	}
	conn->agent = gate->agent;
	conn->entrance = arrival->entrance;
	conn->flow = arrival->flow;
	conn->peer = arrival->peer;
	conn->is_host = arrival->is_host;
	conn->fd = fd;
	gate->connections++;
	*ret = conn;
	return 0;
}

void ig_gate_arrived(struct ig_gate *gate, int fd, const struct ig_arrival *arrival,
	struct ig_caller_facts *facts)
{
	struct ig_gate_conn *conn;
	int r = conn_new(gate, fd, arrival, &conn);

	if (r < 0) {
		ig_gate_refuse(gate, fd, arrival, facts, reason_of(r));
		if (facts)
			ig_caller_facts_done(facts);
		return;
	}
	if (facts) {
		conn->facts = *facts;
		*facts = (struct ig_caller_facts){};
		conn->facts_known = true;
	}
	if (conn->entrance == IG_ENTRANCE_GATE) {
		if (!let_in(conn))
			return;
		if (!conn->facts_known)
			find_facts(conn);
		if (conn->facts.lost)
			turn_away(conn, OUT_OF_MEMORY);
		return;
	}
	LIST_INSERT_HEAD(&gate->not_in, conn, waiting);
	if (!conn->facts_known)
		find_facts(conn);
	if (conn->facts_known)
		judge(conn);
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
	struct ig_gate *gate = w->gate;
	int fd = TAKE_FD(w->fd);

	w->arrival.flow = reply->flow;
	if (reply->result == 0)
		ig_gate_arrived(gate, fd, &w->arrival, NULL);
	else
		not_attributed(gate, fd, &w->arrival.peer, w->netns_cookie);
	waiting_free(w);
	end_if_drained(gate);
}

/* Takes fd. */
static void ask_monitor(
	struct listener *l, int fd, const struct ig_arrival *arrival, const struct ig_flow_key *key)
{
	struct ig_monitor_request request = {.kind = IG_MONITOR_FLOW_TAKE, .flow = *key};
	struct waiting_accept *w = calloc(1, sizeof(*w));

	if (!w) {
		refuse(fd);
		return;
	}
	w->gate = l->gate;
	w->listener = l;
	w->fd = fd;
	w->netns_cookie = l->netns_cookie;
	w->arrival = *arrival;
	LIST_INSERT_HEAD(&l->gate->waiting, w, link);
	/* the others wait in the backlog of its namespace, where they are in nobody's way */
	if (++l->waiting == IG_ACCEPTS_WAITING_MAX)
		(void)event_del(l->readable);
	if (ig_link_request(l->gate->agent->link, &request, on_flow_taken, w) < 0) {
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
	struct ig_arrival arrival = {.entrance = l->entrance, .is_host = l->is_host, .peer = *peer};
	int r = gate->ask_monitor ? -EPERM
				  : ig_flow_take(gate->agent->flows_fd, &key, &arrival.flow);

	if (r == -EPERM) {
		gate->ask_monitor = true;
		ask_monitor(l, fd, &arrival, &key);
	} else if (r < 0) {
		not_attributed(gate, fd, peer, l->netns_cookie);
	} else {
		ig_gate_arrived(gate, fd, &arrival, NULL);
	}
}

static void accept_some(struct listener *l, evutil_socket_t sock, unsigned int max)
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
	struct listener *l = arg;
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
	struct listener *l = arg;

	(void)fd;
	(void)what;
	accept_again(l);
}

/* Takes the socket. */
static int listener_new(struct ig_gate *gate, const struct listener *settings, const char *name,
	int sock, struct listener **ret)
{
	struct listener *l = calloc(1, sizeof(*l));

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
	const struct listener settings = {
		.netns_cookie = netns_cookie, .is_host = is_host, .port = port};
	struct listener *l;
	int r = listener_new(gate, &settings, name, sock, &l);

	if (r < 0)
		return r;
	ig_gate_listener_closed(gate, netns_cookie);
	HASH_ADD(hh, gate->listeners, netns_cookie, sizeof(netns_cookie), l);
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
	const struct listener settings = {.netns_cookie = gate->agent->host_netns_cookie,
		.is_host = true,
		.entrance = IG_ENTRANCE_HOST,
		.port = port};

	return listener_new(gate, &settings, "", sock, &gate->host_port);
}

void ig_gate_listener_closed(struct ig_gate *gate, uint64_t netns_cookie)
{
	struct listener *l;

	HASH_FIND(hh, gate->listeners, &netns_cookie, sizeof(netns_cookie), l);
	if (!l)
		return;
	ig_record_listener(
		gate->agent, IG_AUDIT_LISTENER_CLOSED, netns_cookie, l->is_host, l->name, &l->pod);
	HASH_DEL(gate->listeners, l);
	listener_free(l);
}

void ig_gate_saw_pod(struct ig_gate_conn *conn, const struct ig_pod *pod)
{
	const struct ig_gate *gate = conn->agent->gate;
	struct listener *l;

	if (conn->had_pod)
		return;
	conn->had_pod = true;
	HASH_FIND(hh, gate->listeners, &conn->flow.caller.netns_cookie, sizeof(l->netns_cookie), l);
	if (l && !l->is_host)
		ig_listener_pod_note(&l->pod, pod);
}

size_t ig_gate_listener_count(const struct ig_gate *gate)
{
	return HASH_COUNT(gate->listeners);
}

size_t ig_gate_connection_count(const struct ig_gate *gate)
{
	return gate->connections;
}

void ig_gate_http_counters(const struct ig_gate *gate, uint64_t ret[_IG_HTTP_COUNTER_MAX])
{
	ig_http_server_counters(gate->http, ret);
}

void ig_gate_declared(struct ig_gate *gate)
{
	struct ig_gate_conn *conn, *next;

	/* closing one takes no other with it */
	for (conn = LIST_FIRST(&gate->conns); conn; conn = next) {
		next = LIST_NEXT(conn, link);
		if (conn->had_pod && !ig_serve_pod_of(conn))
			ig_http_conn_close(conn->http);
	}
}
