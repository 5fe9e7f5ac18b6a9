/*
 * The hooks of the data path. Each translates its context, calls the decision and writes the
 * result:
 *
 * - connect4, connect6: any connect() to an endpoint (v4-mapped destinations run connect6 only),
 *   and to the agent's own port for /host/token, which only leaves a flow.
 * - sockops: publishes the flow of a redirected socket once its source port is known.
 * - getpeername4, getpeername6: the application still sees the address that it asked for.
 * - bind4, bind6: the ports of gate listeners and of /host/token are nobody else's, also while no
 *   agent listens there. Who had one then would answer in the place of the metadata service.
 *
 * When something is missing (a listener in the namespace, memory for the socket's storage, a device
 * binding that cannot be undone, room for one more connection of the workload) the connect is
 * refused, counted and recorded. If the flow table is full that is counted and recorded here, and
 * the agent refuses the connection that it cannot attribute. If a ring is full that is counted, and
 * the decision stands. If the agent is gone the maps stay, and its closed listener refuses. A
 * connect to /host/token that leaves no flow goes on, and the agent refuses what it cannot
 * attribute.
 */
#include <linux/bpf.h>

#include <asm/socket.h>
#include <linux/errno.h>

#include "conn.bpf.h"
#include "event.bpf.h"
#include "guard.bpf.h"

/* Does this kernel let connect hooks choose the errno (bpf_set_retval, in connect hooks since 6.1)?
 * Found out by the loader. Without it a refusal is always EPERM. Remove when 5.15 is no longer
 * served. */
const volatile bool has_set_retval = false;

#define ALLOW  1
#define REFUSE 0

static __always_inline int refuse_with(int error)
{
	if (has_set_retval)
		(void)bpf_set_retval(-error);
	return REFUSE;
}

/* A socket that is bound to a device cannot reach lo: its SYN would go nowhere until it times out.
 * Undoing the binding needs CAP_NET_RAW in the socket's user namespace, as the binding itself once
 * did. */
static __always_inline bool unbind_device(struct bpf_sock_addr *ctx)
{
	char none[4] = {};

	if (!ctx->sk || ctx->sk->bound_dev_if == 0)
		return true;
	if (bpf_setsockopt(ctx, SOL_SOCKET, SO_BINDTODEVICE, none, sizeof(none)))
		return false;
	count(IG_COUNTER_DEVICE_UNBOUND);
	return true;
}

/* Returns the port to go to (network order), or 0 when the connect has to be refused. */
static __always_inline __u16 redirect(struct bpf_sock_addr *ctx, struct ig_flow *flow)
{
	const struct ig_listener_entry *listener;
	struct ig_flow *stored;

	listener = bpf_map_lookup_elem(&listeners, &flow->caller.netns_cookie);
	if (!listener || listener->port_be == 0) {
		count(IG_COUNTER_NO_LISTENER);
		ig_wakeup_emit(&flow->caller);
		ig_event_emit(IG_EVENT_NO_LISTENER, flow);
		return 0;
	}
	if (ig_share_is_full(ig_share_of(&flow->caller))) {
		count(IG_COUNTER_TOO_MANY_CONNECTIONS);
		ig_event_emit(IG_EVENT_TOO_MANY_CONNECTIONS, flow);
		return 0;
	}
	if (!unbind_device(ctx)) {
		count(IG_COUNTER_BOUND_TO_DEVICE);
		ig_event_emit(IG_EVENT_BOUND_TO_DEVICE, flow);
		return 0;
	}
	flow->gate_port_be = listener->port_be;
	stored = ctx->sk ? bpf_sk_storage_get(
				   &redirected, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE)
			 : NULL;
	if (!stored) {
		count(IG_COUNTER_NO_STORAGE);
		ig_event_emit(IG_EVENT_NO_STORAGE, flow);
		return 0;
	}
	*stored = *flow;
	count(IG_COUNTER_REDIRECTED);
	return flow->gate_port_be;
}

/* Everything about the caller and where it wants to go. */
static __always_inline void flow_read(struct bpf_sock_addr *ctx, const struct ig_conn *conn,
	__u64 workload_cgroup_id, __u32 daddr_be, __u8 family, struct ig_flow *flow)
{
	ig_caller_read(&flow->caller);
	flow->caller.netns_cookie = conn->netns_cookie;
	flow->caller.workload_cgroup_id = workload_cgroup_id;
	flow->cookie = bpf_get_socket_cookie(ctx);
	flow->connect_time_ns = bpf_ktime_get_ns();
	flow->daddr_be = daddr_be;
	flow->dport_be = (__u16)ctx->user_port;
	flow->family = family;
	flow->protocol = (__u8)conn->protocol;
	flow->endpoint = (__u8)conn->endpoint;
}

/* A connect to the port for /host/token: nothing is changed, the facts go along. */
static __always_inline void attribute(struct bpf_sock_addr *ctx, __u8 family)
{
	struct ig_conn conn = {};
	struct ig_flow *stored, flow = {};
	__u64 workload_cgroup_id = 0;

	ig_conn_read(ctx, IG_ENDPOINT_HOST_TOKEN, &conn);
	if (!ig_is_for_host_token(&conn, &workload_cgroup_id))
		return;
	flow_read(ctx, &conn, workload_cgroup_id, bpf_htonl(IG_ADDR_LOOPBACK), family, &flow);
	flow.gate_port_be = flow.dport_be;
	stored = ctx->sk ? bpf_sk_storage_get(
				   &redirected, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE)
			 : NULL;
	if (!stored) {
		count(IG_COUNTER_NO_STORAGE);
		return;
	}
	*stored = flow;
	count(IG_COUNTER_HOST_TOKEN);
}

/* For the guard, which sees the packets of a pod without their socket (those of the host's
 * namespace have one). Without memory for it the connect still goes on, and its packets are
 * dropped. */
static __always_inline void remember_passed(struct bpf_sock_addr *ctx, const struct ig_flow *flow)
{
	const struct ig_settings *set;
	struct ig_flow *stored;
	__u32 zero = 0;

	set = bpf_map_lookup_elem(&settings, &zero);
	if (!set || set->host_netns_cookie == flow->caller.netns_cookie)
		return;
	stored = ctx->sk ? bpf_sk_storage_get(
				   &redirected, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE)
			 : NULL;
	if (stored)
		*stored = *flow;
	else
		count(IG_COUNTER_NO_STORAGE);
}

/* *ret_port_be: where to go on 127.0.0.1, or 0 to leave the destination alone. */
static __always_inline int handle_connect(struct bpf_sock_addr *ctx, enum ig_endpoint endpoint,
	__u32 daddr_be, __u8 family, __u16 *ret_port_be)
{
	struct ig_flow flow = {};
	struct ig_decision d;
	struct ig_conn conn = {};

	ig_conn_read(ctx, endpoint, &conn);
	d = ig_decide(&conn);
	if (d.silent) {
		count(IG_COUNTER_UPSTREAM);
		return ALLOW;
	}
	flow_read(ctx, &conn, d.workload_cgroup_id, daddr_be, family, &flow);
	if (d.verdict == IG_VERDICT_REDIRECT) {
		*ret_port_be = redirect(ctx, &flow);
		/* a retry may cure it, so it looks like nobody listened; SDKs retry that */
		return *ret_port_be ? ALLOW : refuse_with(ECONNREFUSED);
	}
	count(d.verdict == IG_VERDICT_PASS     ? IG_COUNTER_PASSED
		: d.reason == IG_EVENT_NOT_TCP ? IG_COUNTER_NOT_TCP
					       : IG_COUNTER_DENIED);
	ig_event_emit(d.reason, &flow);
	if (d.verdict != IG_VERDICT_PASS)
		return REFUSE;
	remember_passed(ctx, &flow);
	return ALLOW;
}

SEC("cgroup/connect4")
int ig_connect4(struct bpf_sock_addr *ctx)
{
	enum ig_endpoint endpoint = ig_endpoint_find(ctx->user_ip4, (__u16)ctx->user_port);
	__u16 port_be = 0;
	int verdict;

	if (endpoint == _IG_ENDPOINT_MAX) {
		if (ig_is_host_token_port(ctx->user_ip4, (__u16)ctx->user_port))
			attribute(ctx, AF_INET);
		return ALLOW;
	}
	verdict = handle_connect(ctx, endpoint, ctx->user_ip4, AF_INET, &port_be);
	if (port_be) {
		ctx->user_ip4 = bpf_htonl(IG_ADDR_LOOPBACK);
		ctx->user_port = port_be;
	}
	return verdict;
}

SEC("cgroup/connect6")
int ig_connect6(struct bpf_sock_addr *ctx)
{
	__u32 ip6[4] = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]};
	enum ig_endpoint endpoint;
	__u16 port_be = 0;
	int verdict;

	if (!ig_is_v4_mapped(ip6))
		return ALLOW;
	endpoint = ig_endpoint_find(ip6[3], (__u16)ctx->user_port);
	if (endpoint == _IG_ENDPOINT_MAX) {
		if (ig_is_host_token_port(ip6[3], (__u16)ctx->user_port))
			attribute(ctx, AF_INET6);
		return ALLOW;
	}
	verdict = handle_connect(ctx, endpoint, ip6[3], AF_INET6, &port_be);
	if (port_be) {
		ctx->user_ip6[3] = bpf_htonl(IG_ADDR_LOOPBACK);
		ctx->user_port = port_be;
	}
	return verdict;
}

/* The flow as the stored record describes it, if this socket was redirected and still goes where it
 * was sent: a socket can be disconnected and connected again elsewhere. */
static __always_inline struct ig_flow *redirected_flow(
	struct bpf_sock *sk, __u32 raddr_be, __u16 rport_be)
{
	struct ig_flow *flow;

	if (!sk || raddr_be != bpf_htonl(IG_ADDR_LOOPBACK))
		return NULL;
	flow = bpf_sk_storage_get(&redirected, sk, NULL, 0);
	return flow && flow->gate_port_be == rport_be ? flow : NULL;
}

static __always_inline void flow_key_read(
	struct bpf_sock_ops *ctx, const struct ig_flow *flow, struct ig_flow_key *key)
{
	key->netns_cookie = flow->caller.netns_cookie;
	key->saddr_be = ctx->local_ip4;
	key->sport_be = bpf_htons((__u16)ctx->local_port);
	key->gate_port_be = flow->gate_port_be;
}

static __always_inline void publish(struct bpf_sock_ops *ctx, struct ig_flow *flow)
{
	struct ig_share *share = ig_share_of(&flow->caller);
	struct ig_flow_key key = {};

	if (flow->published)
		return;
	flow->published = 1;
	/* again: many may have come as far as here before the first one counted */
	if (ig_share_is_full(share)) {
		count(IG_COUNTER_TOO_MANY_CONNECTIONS);
		ig_event_emit(IG_EVENT_TOO_MANY_CONNECTIONS, flow);
		return;
	}
	flow_key_read(ctx, flow, &key);
	if (bpf_map_update_elem(&flows, &key, flow, BPF_ANY)) {
		count(IG_COUNTER_FLOW_TABLE_FULL);
		ig_event_emit(IG_EVENT_FLOW_TABLE_FULL, flow);
		return;
	}
	flow->counted = 1;
	ig_share_count_connection(share, 1);
	count(IG_COUNTER_FLOW_PUBLISHED);
	(void)bpf_sock_ops_cb_flags_set(
		ctx, (int)ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

/* The caller's end is closed, perhaps before the agent took the record out. The cookie tells this
 * socket's record from that of a later one with the same port. */
static __always_inline void unpublish(struct bpf_sock_ops *ctx, struct ig_flow *flow)
{
	struct ig_flow_key key = {};
	const struct ig_flow *current;

	if (flow->counted) {
		flow->counted = 0;
		ig_share_count_connection(ig_share_of(&flow->caller), -1);
	}
	flow_key_read(ctx, flow, &key);
	current = bpf_map_lookup_elem(&flows, &key);
	if (!current || current->cookie != flow->cookie)
		return;
	if (bpf_map_delete_elem(&flows, &key) == 0)
		count(IG_COUNTER_FLOW_CLOSED);
}

/* The connection to an endpoint that connect4/6 let pass: its beginning and end go to the map that
 * the guard looks at. gate_port_be tells it from a redirected one. */
static __always_inline void note_direct(struct bpf_sock_ops *ctx, bool connecting)
{
	struct ig_direct_key key = {.saddr_be = ctx->local_ip4,
		.daddr_be = ctx->remote_ip4,
		.sport_be = bpf_htons((__u16)ctx->local_port),
		.dport_be = (__u16)(ctx->remote_port >> 16)};
	struct ig_direct entry = {}, *current;
	const struct ig_flow *flow;

	flow = ctx->sk ? bpf_sk_storage_get(&redirected, ctx->sk, NULL, 0) : NULL;
	if (!flow || flow->gate_port_be || flow->daddr_be != key.daddr_be ||
		flow->dport_be != key.dport_be)
		return;
	if (connecting) {
		entry.cookie = flow->cookie;
		(void)bpf_map_update_elem(&direct, &key, &entry, BPF_ANY);
		(void)bpf_sock_ops_cb_flags_set(
			ctx, (int)ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
		return;
	}
	current = bpf_map_lookup_elem(&direct, &key);
	if (current && current->cookie == flow->cookie)
		current->closed = 1;
}

SEC("sockops")
int ig_sockops(struct bpf_sock_ops *ctx)
{
	struct ig_flow *flow;
	bool connecting = ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB;

	if (!connecting && (ctx->op != BPF_SOCK_OPS_STATE_CB || ctx->args[1] != BPF_TCP_CLOSE))
		return 1;
	if (ig_guard_is_guarded(ctx->remote_ip4)) {
		note_direct(ctx, connecting);
		return 1;
	}
	flow = redirected_flow(ctx->sk, ctx->remote_ip4, (__u16)(ctx->remote_port >> 16));
	if (!flow)
		return 1;
	if (connecting)
		publish(ctx, flow);
	else
		unpublish(ctx, flow);
	return 1;
}

SEC("cgroup/getpeername4")
int ig_getpeername4(struct bpf_sock_addr *ctx)
{
	const struct ig_flow *flow = redirected_flow(ctx->sk, ctx->user_ip4, (__u16)ctx->user_port);

	if (flow) {
		ctx->user_ip4 = flow->daddr_be;
		ctx->user_port = flow->dport_be;
		count(IG_COUNTER_PEERNAME);
	}
	return ALLOW;
}

SEC("cgroup/getpeername6")
int ig_getpeername6(struct bpf_sock_addr *ctx)
{
	__u32 ip6[4] = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]};
	const struct ig_flow *flow;

	if (!ig_is_v4_mapped(ip6))
		return ALLOW;
	flow = redirected_flow(ctx->sk, ip6[3], (__u16)ctx->user_port);
	if (flow) {
		ctx->user_ip6[3] = flow->daddr_be;
		ctx->user_port = flow->dport_be;
		count(IG_COUNTER_PEERNAME);
	}
	return ALLOW;
}

/* Is this port of loopback, in the socket's namespace, where connects are answered that should
 * reach the agent? */
static __always_inline bool is_kept_port(struct bpf_sock_addr *ctx, bool is_ip6_loopback)
{
	__u64 netns_cookie = bpf_get_netns_cookie(ctx);
	const struct ig_listener_entry *listener;
	__u16 port_be = (__u16)ctx->user_port;
	const struct ig_settings *set;
	__u32 zero = 0;

	if (port_be == 0)
		return false;
	listener = bpf_map_lookup_elem(&listeners, &netns_cookie);
	if (listener && listener->port_be == port_be && !is_ip6_loopback)
		return true;
	set = bpf_map_lookup_elem(&settings, &zero);
	return set && set->host_token_port_be == port_be && set->host_netns_cookie == netns_cookie;
}

static __always_inline int keep_port(struct bpf_sock_addr *ctx, bool is_ip6_loopback)
{
	if (ctx->type != SOCK_STREAM ||
		(ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_MPTCP))
		return ALLOW;
	if (!is_kept_port(ctx, is_ip6_loopback))
		return ALLOW;
	if (ctx->sk && bpf_sk_storage_get(&port_owners, ctx->sk, NULL, 0))
		return ALLOW;
	return refuse_with(EADDRINUSE);
}

static __always_inline bool takes_loopback(__u32 addr_be)
{
	return addr_be == 0 || addr_be == bpf_htonl(IG_ADDR_LOOPBACK);
}

SEC("cgroup/bind4")
int ig_bind4(struct bpf_sock_addr *ctx)
{
	return takes_loopback(ctx->user_ip4) ? keep_port(ctx, false) : ALLOW;
}

SEC("cgroup/bind6")
int ig_bind6(struct bpf_sock_addr *ctx)
{
	__u32 ip6[4] = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]};

	if (ig_is_v4_mapped(ip6))
		return takes_loopback(ip6[3]) ? keep_port(ctx, false) : ALLOW;
	if (ip6[0] | ip6[1] | ip6[2])
		return ALLOW;
	/* "::" takes the port of every IPv4 address, too */
	if (ip6[3] == 0)
		return keep_port(ctx, false);
	return ip6[3] == bpf_htonl(1) ? keep_port(ctx, true) : ALLOW;
}

/* GPL is what the socket storage and probe-read helpers ask for; see LICENSE for the project's own.
 */
char _license[] SEC("license") = "Dual BSD/GPL";
