/*
 * Netlink: sockets that hear the kernel, and reading rtnetlink messages: which interfaces does this
 * route lead to an endpoint by, and what is this link. The readers are pure functions; a message
 * that is cut short says nothing. Private to monitor.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nlmsghdr;

/* From here on nobody but the kernel can send to this netlink socket: otherwise everybody with
 * CAP_NET_ADMIN in its network namespace can, a pod for instance. */
int ig_rtnl_hear_kernel_only(int netlink_fd);

#define IG_RTNL_NEXTHOPS_MAX 64

struct ig_rtnl_route {
	unsigned int ifindexes[IG_RTNL_NEXTHOPS_MAX];
	size_t n_ifindexes;
	/* it leads there by a nexthop object that the message does not spell out, or by more
	 * nexthops than fit */
	bool by_unknown;
};

/* RTM_NEWROUTE. true: packets to 169.254.169.254 or 168.63.129.16 may take this route, whatever
 * its table; *ret says by which interfaces. */
bool ig_rtnl_route_read(const struct nlmsghdr *message, struct ig_rtnl_route *ret);

struct ig_rtnl_link {
	unsigned int ifindex;
	unsigned short type; /* ARPHRD_… */
	char name[16];
	/* A link that only pods or nobody is behind, unless a route says otherwise: veth, netkit,
	 * bridge, dummy and the like. All others may lead out, whatever the routes say: a packet
	 * socket asks none. */
	bool is_inner;
};

/* RTM_NEWLINK. */
bool ig_rtnl_link_read(const struct nlmsghdr *message, struct ig_rtnl_link *ret);

/* RTM_NEWLINK: one end of a pair (veth, netkit) whose other end is in another network namespace.
 * 0 and the number of that namespace in the one that was asked; -ENOENT: it is none. */
int ig_rtnl_peer_read(const struct nlmsghdr *message, int32_t *ret_nsid);

/* RTM_NEWNSID: the number of a namespace in the one that was asked. -ENOENT: it has none there. */
int ig_rtnl_nsid_read(const struct nlmsghdr *message, int32_t *ret_nsid);
