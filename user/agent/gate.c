/*
 * The connections of callers: counted against their workload, let in or refused, and closed. Whose
 * they are is known when they arrive here, from gate_listeners.c or host_token.c; of their requests
 * this knows nothing.
 *
 * Who comes in by the port for /host/token is let in once everything is known about it, and not a
 * byte of it is read before.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/gate_internal.h"
#include "agent/quota.h"
#include "agent/serve_internal.h"
#include "audit/stream.h"
#include "base/cleanup.h"
#include "base/descriptors.h"

#define OUT_OF_MEMORY "out_of_memory"

IG_DEFINE_CLEANUP(struct ig_gate *, ig_gate_free);

static bool is_empty(const struct ig_gate *gate)
{
	return gate->connections == 0 && LIST_EMPTY(&gate->listeners.waiting);
}

void ig_gate_end_if_drained(struct ig_gate *gate)
{
	if (gate->draining && is_empty(gate))
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
	ig_gate_end_if_drained(gate);
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

struct ig_gate *ig_gate_free(struct ig_gate *gate)
{
	struct ig_gate_conn *conn;

	if (!gate)
		return NULL;
	gate->draining = false;
	ig_gate_listeners_done(gate);
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
	ig_gate_listeners_close(gate);
	ig_http_server_drain(gate->http);
	ig_gate_end_if_drained(gate);
}

void ig_gate_reset(int fd)
{
	struct linger now = {.l_onoff = 1};

	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	(void)close(fd);
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
	ig_gate_reset(fd);
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
	ig_gate_reset(TAKE_FD(conn->fd));
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
