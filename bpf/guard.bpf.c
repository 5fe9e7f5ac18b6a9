/*
 * The guard: sched_cls programs at egress of every uplink by which an endpoint can be reached. They
 * see packets, whoever made them: what connect hooks never see (raw and packet sockets, packets
 * that are forwarded, connections older than the gate) ends here. Attached by
 * user/datapath/guard.c, as tcx link or clsact filter.
 *
 * What goes on: the agent's own upstream sockets, connections of processes whose verdict is pass,
 * and forwarded packets of connections that connect4/6 let pass in a pod (map `direct`). All else
 * to an endpoint is dropped, counted and recorded. Whatever is missing (settings, storage, a map
 * entry) drops.
 *
 * Packets that are for nobody we guard leave after three comparisons, and other programs at the
 * same hook still see them (TC_ACT_UNSPEC): the guard never decides for others.
 */
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>

#include "event.bpf.h"
#include "guard.bpf.h"
#include "kernel_min.h"
#include "packet.bpf.h"

#define NEXT TC_ACT_UNSPEC
#define DROP TC_ACT_SHOT

#define AF_INET	    2
#define SOCK_STREAM 1
#define SOCK_DGRAM  2

/* The verifier allows neither reading these kernel structures through the pointers that it knows
 * nor arithmetic on them. The same address, read back as a number, can be given to
 * bpf_probe_read_kernel(). */
static __always_inline const void *as_address(const void *const *pointer)
{
	const void *address = NULL;

	(void)bpf_probe_read_kernel(&address, sizeof(address), pointer);
	return address;
}

/* bpf_get_netns_cookie() is for sched_cls only since 6.15. */
static __always_inline __u64 netns_cookie_of(struct bpf_sock *sk)
{
	const void *pointer = sk;
	const struct sock *sock = as_address(&pointer);
	const struct net *net = BPF_CORE_READ(sock, __sk_common.skc_net.net);

	if (bpf_core_field_exists(net->net_cookie))
		return BPF_CORE_READ(net, net_cookie);
	/* 0 until somebody asked for it; for the host's namespace the agent did */
	return (__u64)BPF_CORE_READ((const struct net___atomic *)net, net_cookie.counter);
}

static __always_inline bool is_own_kind(const struct bpf_sock *sk, __u8 protocol)
{
	if (sk->protocol != protocol)
		return false;
	return protocol == IPPROTO_TCP ? sk->type == SOCK_STREAM : sk->type == SOCK_DGRAM;
}

/* Source address and port before they were translated, if they were. */
static __always_inline bool original_source(struct __sk_buff *skb, struct ig_direct_key *key)
{
	const void *pointer = skb;
	const struct sk_buff *buff;
	const struct nf_conn *ct;

	if (!bpf_core_type_exists(struct nf_conn) ||
		!bpf_core_field_exists(((struct sk_buff *)0)->_nfct))
		return false;
	buff = as_address(&pointer);
	/* the low bits are the state of the connection */
	ct = (const struct nf_conn *)(BPF_CORE_READ(buff, _nfct) & ~7UL);
	if (!ct)
		return false;
	key->saddr_be = BPF_CORE_READ(ct, tuplehash[0].tuple.src.u3.ip);
	key->sport_be = BPF_CORE_READ(ct, tuplehash[0].tuple.src.u.all);
	return true;
}

static __always_inline void find_direct(
	struct __sk_buff *skb, const struct ig_packet *packet, struct ig_sender *sender)
{
	struct ig_direct_key key = {.saddr_be = packet->saddr_be,
		.daddr_be = packet->daddr_be,
		.sport_be = packet->sport_be,
		.dport_be = packet->dport_be};
	const struct ig_direct *entry = bpf_map_lookup_elem(&direct, &key);

	if (!entry && original_source(skb, &key))
		entry = bpf_map_lookup_elem(&direct, &key);
	sender->is_direct = entry != NULL;
	sender->is_direct_open = entry && !entry->closed;
}

__attribute__((noinline)) __u64 ig_packet_declared(struct __sk_buff *skb)
{
	__u64 declared = 0;

	for (int level = 0; level < IG_CGROUP_DEPTH_MAX; level++)
		if (!ig_declared_step(bpf_skb_ancestor_cgroup_id(skb, level), &declared))
			break;
	return declared;
}

__attribute__((noinline)) __u64 ig_packet_below(struct __sk_buff *skb, __u64 declared)
{
	__u64 last = 0;

	for (int level = 0; level <= IG_CGROUP_DEPTH_MAX; level++)
		if (!ig_below_step(bpf_skb_ancestor_cgroup_id(skb, level), declared, &last))
			return last;
	return 0;
}

static __always_inline void sender_read(
	struct __sk_buff *skb, const struct ig_packet *packet, struct ig_sender *sender)
{
	struct bpf_sock *sk = skb->sk;

	sender->conn.endpoint = packet->endpoint;
	sender->conn.protocol = packet->protocol;
	if (!sk) {
		find_direct(skb, packet, sender);
		return;
	}
	sender->has_socket = true;
	sender->conn.netns_cookie = netns_cookie_of(sk);
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return;
	sender->is_full = true;
	sender->is_own_kind = is_own_kind(sk, packet->protocol);
	sender->conn.is_stream = sk->type == SOCK_STREAM;
	sender->conn.from_agent = bpf_sk_storage_get(&upstream, sk, NULL, 0) != NULL;
	sender->conn.declared = ig_packet_declared(skb);
	sender->conn.below =
		sender->conn.declared ? ig_packet_below(skb, sender->conn.declared) : 0;
}

/* Returns whether to record; *ret_suppressed: drops of this source since its last record. Turns are
 * per CPU: a flood costs at most so many records on each, and nothing that is counted is lost in a
 * race. */
static __always_inline bool is_recorded(const struct ig_turn_key *key, __u64 *ret_suppressed)
{
	struct ig_turn fresh = {}, *turn, *all;
	__u64 now_ns = bpf_ktime_get_ns();
	__u32 zero = 0;

	all = bpf_map_lookup_elem(&drops_all, &zero);
	turn = bpf_map_lookup_elem(&drops, key);
	if (!turn) {
		(void)bpf_map_update_elem(&drops, key, &fresh, BPF_NOEXIST);
		turn = bpf_map_lookup_elem(&drops, key);
	}
	if (!all || !turn)
		return false;
	if (!ig_turn_take(turn, now_ns, IG_GUARD_RECORDS_SOURCE_PER_SEC) ||
		!ig_turn_take(all, now_ns, IG_GUARD_RECORDS_PER_SEC)) {
		turn->suppressed++;
		return false;
	}
	*ret_suppressed = ig_turn_tell(turn);
	return true;
}

static __always_inline void report(struct __sk_buff *skb, const struct ig_packet *packet,
	const struct ig_sender *sender, const struct ig_decision *d)
{
	struct ig_turn_key key = {.cgroup_id = sender->is_full ? bpf_skb_cgroup_id(skb) : 0,
		.saddr_be = packet->saddr_be,
		.ingress_ifindex = skb->ingress_ifindex};
	struct ig_event *event;
	__u64 suppressed = 0;

	count(IG_COUNTER_GUARD_DROPPED);
	if (!is_recorded(&key, &suppressed)) {
		count(IG_COUNTER_GUARD_SUPPRESSED);
		return;
	}
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		count_shared(IG_COUNTER_EVENTS_LOST);
		return;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->reason = d->reason;
	event->flow.caller.cgroup_id = key.cgroup_id;
	event->flow.caller.workload_cgroup_id = d->workload_cgroup_id;
	event->flow.caller.netns_cookie = sender->conn.netns_cookie;
	event->flow.cookie = bpf_get_socket_cookie(skb);
	event->flow.connect_time_ns = bpf_ktime_get_ns();
	event->flow.daddr_be = packet->daddr_be;
	event->flow.dport_be = packet->dport_be;
	event->flow.family = AF_INET;
	event->flow.protocol = packet->protocol;
	event->flow.endpoint = (__u8)packet->endpoint;
	event->packet.suppressed = suppressed;
	event->packet.saddr_be = packet->saddr_be;
	event->packet.sport_be = packet->sport_be;
	event->packet.ifindex = skb->ifindex;
	event->packet.ingress_ifindex = key.ingress_ifindex;
	bpf_ringbuf_submit(event, 0);
}

/* A packet that may be to a guarded address. ip_at: where its IPv4 header is. Not static, so that
 * the verifier looks at it once, apart from its callers. */
__attribute__((noinline)) int ig_guard_judge(struct __sk_buff *skb, __u32 ip_at)
{
	struct ig_sender sender = {};
	struct ig_packet packet = {};
	struct ig_decision d;

	if (!ig_packet_read(skb, ip_at, &packet))
		return NEXT;
	sender_read(skb, &packet, &sender);
	d = ig_guard_decide(&packet, &sender);
	if (d.verdict == IG_VERDICT_PASS) {
		count(IG_COUNTER_GUARD_PASSED);
		return NEXT;
	}
	report(skb, &packet, &sender, &d);
	return DROP;
}

/* Uplinks whose frames begin with an Ethernet header. */
SEC("tc")
int ig_guard_l2(struct __sk_buff *skb)
{
	const void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const struct ethhdr *eth = data;
	const struct iphdr *ip = data + sizeof(*eth);
	__u32 ip_at = 0;
	int r;

	/* nearly every packet ends here; headers outside the linear part take the long way */
	if (data + sizeof(*eth) + sizeof(*ip) <= end) {
		if (eth->h_proto == bpf_htons(ETH_P_IP)) {
			if (!ig_guard_is_guarded(ip->daddr) && ip->ihl <= 5)
				return NEXT;
		} else if (!ig_packet_is_vlan(eth->h_proto)) {
			return NEXT;
		}
	}
	r = ig_packet_find_ip(skb, &ip_at);
	if (r < 0) {
		count(IG_COUNTER_GUARD_UNREADABLE);
		return DROP;
	}
	return r == 0 ? NEXT : ig_guard_judge(skb, ip_at);
}

/* Uplinks whose packets begin with their IP header (tunnels, tun). */
SEC("tc")
int ig_guard_l3(struct __sk_buff *skb)
{
	return ig_guard_judge(skb, 0);
}

char _license[] SEC("license") = "Dual BSD/GPL";
