/*
 * The guard's decision, apart from the hooks: is this packet for an endpoint, and did the gate let
 * it through? Plain structures in, plain values out; maps are read, never written. tests/bpf runs
 * it through BPF_PROG_TEST_RUN, which sched_cls programs allow.
 *
 * Failing closed: what cannot be read of a packet to a guarded address (ports in a later fragment,
 * a header that is cut short) is taken to be for the endpoint, except in UDP and its like, which no
 * endpoint speaks: without its first fragment, which has the port, a datagram is never put
 * together.
 */
#pragma once

#include <linux/ip.h>

#include "decide.bpf.h"

#define IG_IP_FRAGMENT_OFFSET 0x1fff

/* What a packet says of itself. */
struct ig_packet {
	__u32 saddr_be, daddr_be;
	__u16 sport_be, dport_be; /* 0: cannot be read */
	__u32 endpoint;		  /* enum ig_endpoint */
	__u8 protocol;		  /* one with ports: ig_guard_has_ports() */
	bool is_bare; /* TCP without SYN and without data: asks for nothing, carries nothing */
};

/* Who sent it, as far as the kernel knows. */
struct ig_sender {
	struct ig_conn conn; /* of the socket; endpoint and protocol are the packet's */
	bool has_socket;     /* no: forwarded, or made by the kernel in answer to something */
	bool is_full;	  /* no: a TIME_WAIT or half-open socket, which only the kernel sends for */
	bool is_own_kind; /* the socket's own protocol made the packet: not raw, not AF_PACKET */
	bool is_direct;	  /* forwarded, and on a connection that connect4 or connect6 let pass */
	bool is_direct_open; /* that connection is still open */
};

static __always_inline bool ig_guard_is_guarded(__u32 daddr_be)
{
	return daddr_be == bpf_htonl(IG_ADDR_IMDS) || daddr_be == bpf_htonl(IG_ADDR_WIRESERVER);
}

/* Protocols that begin with two ports as TCP does. No endpoint speaks the others of these, but what
 * stands behind the address is not ours to know. */
static __always_inline bool ig_guard_has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE ||
	       protocol == IPPROTO_SCTP || protocol == IPPROTO_DCCP;
}

/* The endpoint that this IPv4 packet is for, or _IG_ENDPOINT_MAX. dport_be 0: cannot be read. */
static __always_inline enum ig_endpoint ig_guard_endpoint(
	__u32 daddr_be, __u8 protocol, __u16 dport_be, bool is_later_fragment)
{
	if (!ig_guard_is_guarded(daddr_be) || !ig_guard_has_ports(protocol))
		return _IG_ENDPOINT_MAX;
	if (is_later_fragment && protocol != IPPROTO_TCP)
		return _IG_ENDPOINT_MAX;
	if (dport_be == 0)
		return daddr_be == bpf_htonl(IG_ADDR_IMDS) ? IG_ENDPOINT_IMDS
							   : IG_ENDPOINT_WIRESERVER;
	return ig_endpoint_find(daddr_be, dport_be);
}

/* Lets the packet go (IG_VERDICT_PASS) or says why not. */
static __always_inline struct ig_decision ig_guard_decide(
	const struct ig_packet *packet, const struct ig_sender *sender)
{
	struct ig_decision d = {.verdict = IG_VERDICT_DENY, .reason = IG_EVENT_PACKET_FORWARDED};
	const struct ig_settings *set;
	__u32 zero = 0;

	if (!sender->has_socket) {
		if (sender->is_direct && (sender->is_direct_open || packet->is_bare))
			d.verdict = IG_VERDICT_PASS;
		return d;
	}
	if (!sender->is_full) {
		/* the end of a connection of the host's namespace: nobody can make these send data
		 */
		set = bpf_map_lookup_elem(&settings, &zero);
		if (set && packet->is_bare && sender->conn.netns_cookie == set->host_netns_cookie)
			d.verdict = IG_VERDICT_PASS;
		return d;
	}
	d = ig_decide(&sender->conn);
	if (d.verdict == IG_VERDICT_PASS && !sender->is_own_kind && !packet->is_bare) {
		d.verdict = IG_VERDICT_DENY;
		d.reason = IG_EVENT_PACKET_RAW;
	} else if (d.verdict != IG_VERDICT_PASS) {
		d.verdict = IG_VERDICT_DENY;
		d.reason = sender->is_own_kind ? IG_EVENT_PACKET_NOT_ALLOWED : IG_EVENT_PACKET_RAW;
	}
	return d;
}
