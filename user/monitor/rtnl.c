/*
 * Netlink; see rtnl.h. Takes no memory.
 */
#include "monitor/rtnl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <imdsgate/abi.h>

#include "base/cleanup.h"

/* Not in headers before 5.3 */
#ifndef RTA_NH_ID
#define RTA_NH_ID 30
#endif

/* Links with two ends, which may be in two namespaces. */
static const char *const pair_kinds[] = {"veth", "netkit"};

static const char *const inner_kinds[] = {
	"veth", "netkit", "bridge", "dummy", "ifb", "nlmon", "vcan", "vrf"};

int ig_rtnl_hear_kernel_only(int netlink_fd)
{
	/* a connected netlink socket refuses what others send */
	const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};

	return connect(netlink_fd, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0 ? -errno
											 : 0;
}

static void add_interface(struct ig_rtnl_route *route, int ifindex)
{
	if (ifindex <= 0)
		return;
	if (route->n_ifindexes < IG_RTNL_NEXTHOPS_MAX)
		route->ifindexes[route->n_ifindexes++] = (unsigned int)ifindex;
	else
		route->by_unknown = true;
}

static void add_multipath(struct ig_rtnl_route *route, const struct rtattr *attribute)
{
	const struct rtnexthop *hop = RTA_DATA(attribute);
	int left = (int)RTA_PAYLOAD(attribute);

	while (RTNH_OK(hop, left)) {
		add_interface(route, hop->rtnh_ifindex);
		left -= (int)RTNH_ALIGN(hop->rtnh_len);
		hop = RTNH_NEXT(hop);
	}
}

static bool covers(uint32_t dst_be, unsigned int prefix_len, uint32_t addr)
{
	uint32_t mask = prefix_len ? UINT32_MAX << (32 - prefix_len) : 0;

	return ((ntohl(dst_be) ^ addr) & mask) == 0;
}

bool ig_rtnl_route_read(const struct nlmsghdr *message, struct ig_rtnl_route *ret)
{
	const struct rtmsg *rtm = NLMSG_DATA(message);
	int left = (int)message->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*rtm));
	bool has_nexthop_id = false;
	uint32_t dst_be = 0;

	if (message->nlmsg_type != RTM_NEWROUTE || left < 0 || rtm->rtm_family != AF_INET ||
		rtm->rtm_type != RTN_UNICAST || rtm->rtm_dst_len > 32 ||
		(rtm->rtm_flags & RTM_F_CLONED))
		return false;
	*ret = (struct ig_rtnl_route){};
	for (const struct rtattr *a = RTM_RTA(rtm); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == RTA_DST && RTA_PAYLOAD(a) >= sizeof(dst_be))
			memcpy(&dst_be, RTA_DATA(a), sizeof(dst_be));
		else if (a->rta_type == RTA_OIF && RTA_PAYLOAD(a) >= sizeof(int))
			add_interface(ret, *(const int *)RTA_DATA(a));
		else if (a->rta_type == RTA_MULTIPATH)
			add_multipath(ret, a);
		else if (a->rta_type == RTA_NH_ID)
			has_nexthop_id = true;
	}
	if (has_nexthop_id && ret->n_ifindexes == 0)
		ret->by_unknown = true;
	return covers(dst_be, rtm->rtm_dst_len, IG_ADDR_IMDS) ||
	       covers(dst_be, rtm->rtm_dst_len, IG_ADDR_WIRESERVER);
}

static bool kind_is_one_of(const struct rtattr *link_info, const char *const *kinds, size_t n_kinds)
{
	int left = (int)RTA_PAYLOAD(link_info);

	for (const struct rtattr *a = RTA_DATA(link_info); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type != IFLA_INFO_KIND)
			continue;
		for (size_t i = 0; i < n_kinds; i++)
			if (strncmp(RTA_DATA(a), kinds[i], RTA_PAYLOAD(a)) == 0)
				return true;
	}
	return false;
}

bool ig_rtnl_link_read(const struct nlmsghdr *message, struct ig_rtnl_link *ret)
{
	const struct ifinfomsg *info = NLMSG_DATA(message);
	int left = (int)message->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*info));

	/* bridges send messages about their ports, too, in a family of their own */
	if (message->nlmsg_type != RTM_NEWLINK || left < 0 || info->ifi_family != AF_UNSPEC ||
		info->ifi_index <= 0)
		return false;
	*ret = (struct ig_rtnl_link){
		.ifindex = (unsigned int)info->ifi_index, .type = info->ifi_type};
	for (const struct rtattr *a = IFLA_RTA(info); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == IFLA_IFNAME)
			(void)snprintf(ret->name, sizeof(ret->name), "%.*s", (int)RTA_PAYLOAD(a),
				(const char *)RTA_DATA(a));
		else if ((a->rta_type & NLA_TYPE_MASK) == IFLA_LINKINFO)
			ret->is_inner = kind_is_one_of(a, inner_kinds, IG_ARRAY_SIZE(inner_kinds));
	}
	return true;
}

static bool read_nsid(const struct rtattr *a, int32_t *ret)
{
	if (RTA_PAYLOAD(a) < sizeof(*ret))
		return false;
	memcpy(ret, RTA_DATA(a), sizeof(*ret));
	return *ret >= 0;
}

int ig_rtnl_peer_read(const struct nlmsghdr *message, int32_t *ret_nsid)
{
	const struct ifinfomsg *info = NLMSG_DATA(message);
	int left = (int)message->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*info));
	bool is_pair = false, is_elsewhere = false;
	int32_t nsid = -1;

	if (message->nlmsg_type != RTM_NEWLINK || left < 0)
		return -ENOENT;
	for (const struct rtattr *a = IFLA_RTA(info); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == IFLA_LINK_NETNSID)
			is_elsewhere = read_nsid(a, &nsid);
		else if ((a->rta_type & NLA_TYPE_MASK) == IFLA_LINKINFO)
			is_pair = kind_is_one_of(a, pair_kinds, IG_ARRAY_SIZE(pair_kinds));
	}
	if (!is_pair || !is_elsewhere)
		return -ENOENT;
	*ret_nsid = nsid;
	return 0;
}

int ig_rtnl_nsid_read(const struct nlmsghdr *message, int32_t *ret_nsid)
{
	int left = (int)message->nlmsg_len - (int)NLMSG_LENGTH(sizeof(struct rtgenmsg));
	const struct rtattr *a = (const struct rtattr *)((const char *)NLMSG_DATA(message) +
							 NLMSG_ALIGN(sizeof(struct rtgenmsg)));

	left -= NLMSG_ALIGN(sizeof(struct rtgenmsg)) - (int)sizeof(struct rtgenmsg);
	if (message->nlmsg_type != RTM_NEWNSID)
		return -ENOENT;
	for (; RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == NETNSA_NSID && read_nsid(a, ret_nsid))
			return 0;
	return -ENOENT;
}
