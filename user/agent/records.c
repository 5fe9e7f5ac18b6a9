/*
 * Audit records of connections and kernel events. Puts together what the kernel knew at connect(),
 * what the monitor found out and what is declared; decides nothing.
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/agent.h"
#include "agent/link.h"
#include "agent/metrics_table.h"
#include "agent/rate.h"
#include "agent/serve_internal.h"
#include "audit/stream.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

/* Apart from the ids of cgroups, beside which cookies of namespaces are counted. */
#define OF_NAMESPACE (1ULL << 63)

static const char *endpoint_name(unsigned int endpoint)
{
	static const char *const names[_IG_ENDPOINT_MAX] = {
		[IG_ENDPOINT_IMDS] = "imds",
		[IG_ENDPOINT_WIRESERVER] = "wireserver",
		[IG_ENDPOINT_HOSTGAPLUGIN] = "hostgaplugin",
	};

	if (endpoint == IG_ENDPOINT_HOST_TOKEN)
		return "host_token";
	return endpoint < _IG_ENDPOINT_MAX ? names[endpoint] : NULL;
}

static const char *protocol_name(unsigned int protocol)
{
	return protocol == IPPROTO_TCP ? "tcp" : protocol == IPPROTO_UDP ? "udp" : "unknown";
}

/* By hand, since it is done for every record: inet_ntop() and snprintf() take a multiple. */
static void format_address(uint32_t addr_be, uint16_t port_be, char *buf, size_t len)
{
	const unsigned char *bytes = (const unsigned char *)&addr_be;
	struct ig_buf b = {.data = buf, .cap = len, .limit = len - 1};

	for (size_t i = 0; i < sizeof(addr_be); i++) {
		if (i)
			ig_buf_putc(&b, '.');
		ig_buf_put_u64(&b, bytes[i]);
	}
	ig_buf_putc(&b, ':');
	ig_buf_put_u64(&b, ntohs(port_be));
}

static void fill_caller(const struct ig_agent *agent, const struct ig_flow *flow,
	const struct ig_caller_facts *facts, const struct ig_pod *pod, struct ig_conn_record *r)
{
	r->caller = (struct ig_audit_caller){
		.container_id = facts ? facts->in.container_id : NULL,
		.cgroup = facts ? facts->cgroup_path : NULL,
		.cgroup_id = flow->caller.cgroup_id,
		.netns_cookie = flow->caller.netns_cookie,
		.host_network = flow->caller.netns_cookie == agent->host_netns_cookie,
		.has_process = true,
		.pid = flow->caller.tgid,
		.tid = flow->caller.tid,
		.uid = flow->caller.uid,
		.gid = flow->caller.gid,
		.start_time_ns = flow->caller.start_time_ns,
		.comm = flow->caller.comm,
		.exe = facts ? facts->exe : NULL,
		.exe_inode = flow->caller.exe_inode,
		.exe_device = flow->caller.exe_device,
		.exe_deleted = facts && facts->exe_deleted,
	};
	if (pod) {
		r->caller.pod_namespace = pod->namespace;
		r->caller.pod_name = pod->name;
		r->caller.pod_uid = pod->uid;
		r->caller.service_account = pod->service_account;
	}
}

static void fill(const struct ig_agent *agent, const struct ig_flow *flow,
	const struct ig_caller_facts *facts, const struct ig_pod *pod,
	const struct sockaddr_in *peer, struct ig_conn_record *ret)
{
	*ret = (struct ig_conn_record){};
	fill_caller(agent, flow, facts, pod, ret);
	ret->record.caller = &ret->caller;
	ret->record.connection = &ret->connection;
	ret->record.policy_epoch = ig_store_epoch(agent->store);
	if (flow->family == AF_UNIX) {
		ret->connection = (struct ig_audit_connection){
			.protocol = "unix", .endpoint = endpoint_name(flow->endpoint)};
		return;
	}
	format_address(flow->daddr_be, flow->dport_be, ret->destination, sizeof(ret->destination));
	if (peer)
		format_address(
			peer->sin_addr.s_addr, peer->sin_port, ret->source, sizeof(ret->source));
	ret->connection = (struct ig_audit_connection){
		.protocol = protocol_name(flow->protocol),
		.endpoint = endpoint_name(flow->endpoint),
		.destination = ret->destination,
		.source = ret->source,
		.family = flow->family == AF_INET6 ? "ipv6" : "ipv4",
		.flow_id = flow->cookie,
	};
}

void ig_record_flow(const struct ig_agent *agent, const struct ig_flow *flow,
	const struct ig_caller_facts *facts, const struct sockaddr_in *peer,
	struct ig_conn_record *ret)
{
	const struct ig_pod *pod =
		facts && facts->cgroup_path
			? ig_serve_find_pod(agent->store, facts->cgroup_path, &facts->in)
			: NULL;

	fill(agent, flow, facts, pod, peer, ret);
}

void ig_record_conn(struct ig_gate_conn *conn, struct ig_conn_record *ret)
{
	fill(conn->agent, &conn->flow, &conn->facts, ig_serve_pod_of(conn), &conn->peer, ret);
}

bool ig_record_turn(struct ig_agent *agent, uint64_t workload, uint64_t *ret_count)
{
	uint64_t left_out;

	if (!ig_rate_allow_after(agent->record_rate, workload, ig_clock_mono_usec(), &left_out)) {
		ig_metrics_add(agent->metrics, IG_M_AUDIT_SUPPRESSED, 0, 0, 1);
		return false;
	}
	*ret_count = left_out ? left_out + 1 : 0;
	return true;
}

void ig_record_unattributed(
	struct ig_agent *agent, uint64_t netns_cookie, const struct sockaddr_in *peer, bool gone)
{
	char source[32];
	struct ig_audit_caller caller = {
		.netns_cookie = netns_cookie,
		.host_network = netns_cookie == agent->host_netns_cookie,
	};
	struct ig_audit_connection connection = {.protocol = "tcp", .source = source};
	struct ig_audit_record record = {
		.kind = IG_AUDIT_CONNECT_UNATTRIBUTED,
		/* who only looked whether something listens (Java does) was not denied anything */
		.decision = gone ? IG_AUDIT_DECISION_NONE : IG_AUDIT_DENY,
		.reason = gone ? "closed_before_accept" : "no_flow",
		.caller = &caller,
		.connection = &connection,
	};

	/* nobody knows whose it was: a namespace counts as one caller */
	if (!ig_record_turn(agent, netns_cookie | OF_NAMESPACE, &record.count))
		return;
	format_address(peer->sin_addr.s_addr, peer->sin_port, source, sizeof(source));
	ig_audit_emit(agent->audit, &record);
}

void ig_record_listener(struct ig_agent *agent, enum ig_audit_kind kind, uint64_t netns_cookie,
	bool is_host, const char *name, const struct ig_listener_pod *pod)
{
	struct ig_audit_caller caller = {.netns_cookie = netns_cookie,
		.host_network = is_host,
		.pod_namespace = pod->namespace,
		.pod_name = pod->name,
		.pod_uid = pod->uid};
	struct ig_audit_record record = {.kind = kind, .message = name, .caller = &caller};

	ig_audit_emit(agent->audit, &record);
}

static const char *const reasons[_IG_EVENT_REASON_MAX] = {
#define X(id, text) [IG_EVENT_##id] = text,
	IG_EVENT_REASONS(X)
#undef X
};

static enum ig_audit_kind kind_of(unsigned int reason)
{
	switch (reason) {
	case IG_EVENT_PASSED: return IG_AUDIT_CONNECT_PASSED;
	case IG_EVENT_DENIED:
	case IG_EVENT_NOT_TCP: return IG_AUDIT_CONNECT_DENIED;
	case IG_EVENT_PACKET_FORWARDED:
	case IG_EVENT_PACKET_RAW:
	case IG_EVENT_PACKET_NOT_ALLOWED:
	case IG_EVENT_OLDER_CONNECTION: return IG_AUDIT_GUARD_DROP;
	default: return IG_AUDIT_CONNECT_REFUSED;
	}
}

/* An event that waits for the facts about its caller. */
struct waiting_event {
	struct ig_agent *agent;
	struct ig_event event;
	struct ig_caller_facts facts;
};

/* What the guard knows of a packet: no process, and a source address that its sender chose. The
 * message says by which interfaces it came and was to leave; what is known of neither is left out.
 */
static void fill_packet(
	const struct ig_event *event, char *message, size_t len, struct ig_conn_record *r)
{
	char in[IF_NAMESIZE] = "", out[IF_NAMESIZE] = "";

	r->caller.has_process = false;
	r->caller.comm = NULL;
	r->caller.host_network = r->caller.host_network && event->packet.ingress_ifindex == 0;
	if (event->reason == IG_EVENT_PACKET_FORWARDED) {
		/* of some process in the namespace that it came from: good for the pod, no more */
		r->caller.cgroup = NULL;
		r->caller.cgroup_id = 0;
		r->caller.container_id = NULL;
	}
	format_address(
		event->packet.saddr_be, event->packet.sport_be, r->source, sizeof(r->source));
	r->connection.source = r->source;
	if (event->packet.ifindex == 0)
		return;
	(void)if_indextoname(event->packet.ifindex, out);
	if (event->packet.ingress_ifindex)
		(void)if_indextoname(event->packet.ingress_ifindex, in);
	if (in[0])
		(void)snprintf(message, len, "from %s to %s", in, out);
	else if (event->packet.ingress_ifindex)
		(void)snprintf(message, len, "from interface %u to %s",
			event->packet.ingress_ifindex, out);
	else
		(void)snprintf(message, len, "to %s", out);
	r->record.message = message;
}

static void emit_event(
	struct ig_agent *agent, const struct ig_event *event, const struct ig_caller_facts *facts)
{
	char message[2 * IF_NAMESIZE + 32];
	struct ig_conn_record r;

	ig_record_flow(agent, &event->flow, facts, NULL, &r);
	r.record.kind = kind_of(event->reason);
	if (r.record.kind == IG_AUDIT_GUARD_DROP)
		fill_packet(event, message, sizeof(message), &r);
	if (r.record.kind == IG_AUDIT_GUARD_DROP || event->packet.suppressed)
		r.record.count = event->packet.suppressed + 1;
	r.record.decision = event->reason == IG_EVENT_PASSED ? IG_AUDIT_ALLOW : IG_AUDIT_DENY;
	r.record.reason = event->reason < _IG_EVENT_REASON_MAX ? reasons[event->reason] : NULL;
	ig_audit_emit(agent->audit, &r.record);
}

static void on_facts(void *userdata)
{
	struct waiting_event *w = userdata;

	emit_event(w->agent, &w->event, &w->facts);
	ig_caller_facts_done(&w->facts);
	free(w);
}

static void record_event(struct ig_agent *agent, const struct ig_event *event)
{
	struct waiting_event *w = calloc(1, sizeof(*w));

	if (!w) {
		emit_event(agent, event, NULL);
		return;
	}
	w->agent = agent;
	w->event = *event;
	/* a packet whose source is not known has no cgroup to ask for */
	if (event->flow.caller.cgroup_id == 0) {
		on_facts(w);
		return;
	}
	/* 1 or an error: no answer will come, what is known is recorded */
	if (ig_callers_resolve(agent->callers, &event->flow.caller, &w->facts, on_facts, w) != 0)
		on_facts(w);
}

/* A forwarded packet, while the monitor looks whose namespace is at the other end of the interface
 * that it came by. */
struct ig_source_lookup {
	struct ig_agent *agent;
	struct ig_event event;
	LIST_ENTRY(ig_source_lookup) link;
};

static void lookup_done(struct ig_source_lookup *lookup)
{
	LIST_REMOVE(lookup, link);
	record_event(lookup->agent, &lookup->event);
	free(lookup);
}

static void on_source(const struct ig_monitor_message *reply, void *userdata)
{
	struct ig_source_lookup *lookup = userdata;

	if (reply->result == 0) {
		lookup->event.flow.caller.netns_cookie = reply->source.netns_cookie;
		lookup->event.flow.caller.cgroup_id = reply->source.cgroup_id;
	}
	lookup_done(lookup);
}

void ig_record_agent(struct ig_agent *agent, enum ig_audit_kind kind, const char *reason,
	const char *message, uint64_t count)
{
	struct ig_audit_record record = {
		.kind = kind,
		.reason = reason,
		.message = message,
		.count = count,
		.policy_epoch = agent->store ? ig_store_epoch(agent->store) : 0,
	};

	ig_audit_emit(agent->audit, &record);
}

void ig_record_kernel_event(struct ig_agent *agent, const struct ig_event *event)
{
	struct ig_monitor_request request = {
		.kind = IG_MONITOR_SOURCE, .ifindex = event->packet.ingress_ifindex};
	struct ig_source_lookup *lookup = NULL;

	if (event->reason == IG_EVENT_PACKET_FORWARDED && event->packet.ingress_ifindex)
		lookup = calloc(1, sizeof(*lookup));
	if (!lookup) {
		record_event(agent, event);
		return;
	}
	*lookup = (struct ig_source_lookup){.agent = agent, .event = *event};
	LIST_INSERT_HEAD(&agent->source_lookups, lookup, link);
	if (ig_link_request(agent->link, &request, on_source, lookup) < 0)
		lookup_done(lookup);
}

void ig_records_finish(struct ig_agent *agent)
{
	struct ig_source_lookup *lookup;

	while ((lookup = LIST_FIRST(&agent->source_lookups)) != NULL) {
		ig_link_forget(agent->link, lookup);
		lookup_done(lookup);
	}
}
