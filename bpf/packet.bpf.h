/*
 * Reading packets for the guard: Ethernet with VLAN tags, IPv4 with options, ports. Reads the
 * bytes that will be on the wire, never what the sender says of them (skb->protocol and the header
 * offsets of a packet socket's frame are its sender's choice).
 */
#pragma once

#include <linux/if_ether.h>
#include <linux/tcp.h>

#include "guard.bpf.h"

#define IG_IP_OPTION_BYTES 40 /* as many as the length of the header can say */

/* In the frame itself; a tag that the device inserts is not in the data. */
static __always_inline bool ig_packet_is_vlan(__u16 protocol_be)
{
	return protocol_be == bpf_htons(ETH_P_8021Q) || protocol_be == bpf_htons(ETH_P_8021AD);
}

/* 1: *ret_at is where the IPv4 header is. 0: no IPv4 packet. -1: more tags than anybody uses. */
static __always_inline int ig_packet_find_ip(struct __sk_buff *skb, __u32 *ret_at)
{
	__u32 at = __builtin_offsetof(struct ethhdr, h_proto);
	__u16 protocol_be = 0;

	for (int tags = 0; tags <= IG_GUARD_VLAN_TAGS_MAX; tags++) {
		if (bpf_skb_load_bytes(skb, at, &protocol_be, sizeof(protocol_be)))
			return 0;
		if (protocol_be == bpf_htons(ETH_P_IP)) {
			*ret_at = at + (__u32)sizeof(protocol_be);
			return 1;
		}
		if (!ig_packet_is_vlan(protocol_be))
			return 0;
		at += 4;
	}
	return -1;
}

static __always_inline bool is_bare(struct __sk_buff *skb, __u32 tcp_at)
{
	__u8 header[20];
	__u32 header_bytes;

	if (bpf_skb_load_bytes(skb, tcp_at, header, sizeof(header)))
		return false;
	header_bytes = (__u32)(header[12] >> 4) * 4;
	return !(header[13] & 0x02 /* SYN */) && skb->len <= tcp_at + header_bytes;
}

/* A router that honours source routes sends the packet on to an address in its options. Which
 * option an address is in, and whether it was passed already, does not matter: nobody else has a
 * reason to name an endpoint there. Returns it, or 0. */
static __always_inline __u32 ig_packet_routed_to(struct __sk_buff *skb, __u32 ip_at, __u32 ihl)
{
	__u32 last_four = 0;

	for (__u32 i = 0; i < IG_IP_OPTION_BYTES; i++) {
		__u8 byte = 0;

		if (i >= (ihl - 5) * 4 ||
			bpf_skb_load_bytes(skb, ip_at + sizeof(struct iphdr) + i, &byte, 1))
			return 0;
		last_four = last_four << 8 | byte;
		if (ig_guard_is_guarded(bpf_htonl(last_four)))
			return bpf_htonl(last_four);
	}
	return 0;
}

/* false: nothing for an endpoint. */
static __always_inline bool ig_packet_read(
	struct __sk_buff *skb, __u32 ip_at, struct ig_packet *packet)
{
	bool is_later_fragment;
	__u16 ports_be[2] = {};
	struct iphdr ip;
	__u32 next_at;

	/* what is shorter than an IPv4 header reaches nobody */
	if (bpf_skb_load_bytes(skb, ip_at, &ip, sizeof(ip)) || ip.version != 4)
		return false;
	packet->daddr_be =
		ig_guard_is_guarded(ip.daddr) ? ip.daddr : ig_packet_routed_to(skb, ip_at, ip.ihl);
	if (!packet->daddr_be)
		return false;
	next_at = ip_at + ip.ihl * 4U;
	is_later_fragment = (ip.frag_off & bpf_htons(IG_IP_FRAGMENT_OFFSET)) != 0;
	if (!is_later_fragment && ip.ihl >= 5)
		(void)bpf_skb_load_bytes(skb, next_at, ports_be, sizeof(ports_be));
	packet->saddr_be = ip.saddr;
	packet->sport_be = ports_be[0];
	packet->dport_be = ports_be[1];
	packet->protocol = ip.protocol;
	packet->endpoint =
		ig_guard_endpoint(packet->daddr_be, ip.protocol, ports_be[1], is_later_fragment);
	packet->is_bare = ip.protocol == IPPROTO_TCP && ports_be[1] && is_bare(skb, next_at);
	return packet->endpoint != _IG_ENDPOINT_MAX;
}
