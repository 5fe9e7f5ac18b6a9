/*
 * Reading rtnetlink messages: which routes lead to an endpoint, by which interfaces, and which
 * links may lead out at all.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_arp.h>
#include <linux/net_namespace.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "monitor/rtnl.h"

struct message {
	_Alignas(NLMSG_ALIGNTO) char bytes[8192];
};

static struct nlmsghdr *header(struct message *m)
{
	return (struct nlmsghdr *)m->bytes;
}

static void add(struct message *m, unsigned short type, const void *data, size_t len)
{
	struct rtattr *a = (struct rtattr *)(m->bytes + NLMSG_ALIGN(header(m)->nlmsg_len));

	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(len);
	memcpy(RTA_DATA(a), data, len);
	header(m)->nlmsg_len =
		NLMSG_ALIGN(header(m)->nlmsg_len) + (unsigned int)RTA_ALIGN(a->rta_len);
}

/* A unicast route to prefix/len; interface 0: none is named. */
static void route(struct message *m, const char *prefix, unsigned char len, int interface)
{
	struct rtmsg *rtm = NLMSG_DATA(header(m));
	struct in_addr dst;

	memset(m, 0, sizeof(*m));
	header(m)->nlmsg_type = RTM_NEWROUTE;
	header(m)->nlmsg_len = NLMSG_LENGTH(sizeof(*rtm));
	rtm->rtm_family = AF_INET;
	rtm->rtm_type = RTN_UNICAST;
	rtm->rtm_dst_len = len;
	assert_int_equal(inet_pton(AF_INET, prefix, &dst), 1);
	if (len)
		add(m, RTA_DST, &dst, sizeof(dst));
	if (interface)
		add(m, RTA_OIF, &interface, sizeof(interface));
}

static void expect(const char *prefix, unsigned char len, bool leads)
{
	struct ig_rtnl_route r;
	struct message m;

	route(&m, prefix, len, 3);
	assert_int_equal(ig_rtnl_route_read(header(&m), &r), leads);
	if (leads) {
		assert_int_equal(r.n_ifindexes, 1);
		assert_int_equal(r.ifindexes[0], 3);
		assert_false(r.by_unknown);
	}
}

static void routes_that_cover(void **state)
{
	(void)state;
	expect("0.0.0.0", 0, true);
	expect("128.0.0.0", 1, true);
	expect("0.0.0.0", 1, false);
	expect("169.254.0.0", 16, true);
	expect("169.254.169.254", 32, true);
	expect("169.254.169.253", 32, false);
	expect("168.63.129.16", 32, true);
	expect("168.63.128.0", 20, true);
	expect("10.0.0.0", 8, false);
	expect("169.254.169.254", 33, false);
}

static void other_kinds_of_routes(void **state)
{
	struct ig_rtnl_route r;
	struct message m;
	struct rtmsg *rtm = NLMSG_DATA(header(&m));

	(void)state;
	route(&m, "0.0.0.0", 0, 3);
	rtm->rtm_type = RTN_LOCAL;
	assert_false(ig_rtnl_route_read(header(&m), &r));
	route(&m, "0.0.0.0", 0, 3);
	rtm->rtm_family = AF_INET6;
	assert_false(ig_rtnl_route_read(header(&m), &r));
	route(&m, "0.0.0.0", 0, 3);
	rtm->rtm_flags = RTM_F_CLONED;
	assert_false(ig_rtnl_route_read(header(&m), &r));
	route(&m, "0.0.0.0", 0, 3);
	header(&m)->nlmsg_type = RTM_DELROUTE;
	assert_false(ig_rtnl_route_read(header(&m), &r));
	route(&m, "0.0.0.0", 0, 3);
	header(&m)->nlmsg_len = NLMSG_LENGTH(sizeof(*rtm)) - 1;
	assert_false(ig_rtnl_route_read(header(&m), &r));
}

static void several_nexthops(void **state)
{
	struct rtnexthop hops[IG_RTNL_NEXTHOPS_MAX + 1] = {};
	struct ig_rtnl_route r;
	struct message m;

	(void)state;
	for (int i = 0; i <= IG_RTNL_NEXTHOPS_MAX; i++) {
		hops[i].rtnh_len = sizeof(hops[i]);
		hops[i].rtnh_ifindex = 10 + i;
	}
	route(&m, "0.0.0.0", 0, 0);
	add(&m, RTA_MULTIPATH, hops, 2 * sizeof(hops[0]));
	assert_true(ig_rtnl_route_read(header(&m), &r));
	assert_int_equal(r.n_ifindexes, 2);
	assert_int_equal(r.ifindexes[1], 11);
	assert_false(r.by_unknown);
	route(&m, "0.0.0.0", 0, 0);
	add(&m, RTA_MULTIPATH, hops, sizeof(hops));
	assert_true(ig_rtnl_route_read(header(&m), &r));
	assert_int_equal(r.n_ifindexes, IG_RTNL_NEXTHOPS_MAX);
	assert_true(r.by_unknown);
}

static void nexthop_objects(void **state)
{
	struct ig_rtnl_route r;
	struct message m;
	uint32_t id = 7;

	(void)state;
	route(&m, "0.0.0.0", 0, 0);
	add(&m, 30 /* RTA_NH_ID */, &id, sizeof(id));
	assert_true(ig_rtnl_route_read(header(&m), &r));
	assert_true(r.by_unknown);
	route(&m, "0.0.0.0", 0, 5);
	add(&m, 30, &id, sizeof(id));
	assert_true(ig_rtnl_route_read(header(&m), &r));
	assert_false(r.by_unknown);
	assert_int_equal(r.n_ifindexes, 1);
}

static void link_message(struct message *m, const char *kind)
{
	struct ifinfomsg *info = NLMSG_DATA(header(m));
	struct {
		struct rtattr kind;
		char text[12];
	} nested = {};

	memset(m, 0, sizeof(*m));
	header(m)->nlmsg_type = RTM_NEWLINK;
	header(m)->nlmsg_len = NLMSG_LENGTH(sizeof(*info));
	info->ifi_index = 4;
	info->ifi_type = ARPHRD_ETHER;
	add(m, IFLA_IFNAME, "eth0", 5);
	if (!kind)
		return;
	nested.kind.rta_type = IFLA_INFO_KIND;
	nested.kind.rta_len = (unsigned short)RTA_LENGTH(strlen(kind) + 1);
	strncpy(nested.text, kind, sizeof(nested.text) - 1);
	add(m, IFLA_LINKINFO, &nested, RTA_ALIGN(nested.kind.rta_len));
}

static void expect_inner(const char *kind, bool is_inner)
{
	struct ig_rtnl_link link;
	struct message m;

	link_message(&m, kind);
	assert_true(ig_rtnl_link_read(header(&m), &link));
	assert_int_equal(link.ifindex, 4);
	assert_int_equal(link.type, ARPHRD_ETHER);
	assert_string_equal(link.name, "eth0");
	assert_int_equal(link.is_inner, is_inner);
}

static void links(void **state)
{
	struct ig_rtnl_link link;
	struct message m;
	struct ifinfomsg *info = NLMSG_DATA(header(&m));

	(void)state;
	expect_inner(NULL, false);
	expect_inner("veth", true);
	expect_inner("bridge", true);
	expect_inner("bond", false);
	expect_inner("wireguard", false);
	expect_inner("vet", false);
	link_message(&m, NULL);
	info->ifi_family = AF_BRIDGE;
	assert_false(ig_rtnl_link_read(header(&m), &link));
	link_message(&m, NULL);
	header(&m)->nlmsg_type = RTM_DELLINK;
	assert_false(ig_rtnl_link_read(header(&m), &link));
	link_message(&m, NULL);
	header(&m)->nlmsg_len = NLMSG_LENGTH(sizeof(*info)) - 1;
	assert_false(ig_rtnl_link_read(header(&m), &link));
}

/* A link of this kind with the number of its peer's namespace, if that says anything. */
static int peer_of(const char *kind, const int32_t *nsid, int32_t *ret)
{
	struct message m;

	link_message(&m, kind);
	if (nsid)
		add(&m, IFLA_LINK_NETNSID, nsid, sizeof(*nsid));
	return ig_rtnl_peer_read(header(&m), ret);
}

static void peers(void **state)
{
	int32_t five = 5, none = -1, found = 0;
	struct message m;

	(void)state;
	assert_int_equal(peer_of("veth", &five, &found), 0);
	assert_int_equal(found, 5);
	assert_int_equal(peer_of("netkit", &five, &found), 0);
	assert_int_equal(peer_of("veth", &none, &found), -ENOENT);
	assert_int_equal(peer_of("veth", NULL, &found), -ENOENT); /* both ends are here */
	assert_int_equal(peer_of("vlan", &five, &found), -ENOENT);
	assert_int_equal(peer_of(NULL, &five, &found), -ENOENT);
	link_message(&m, "veth");
	add(&m, IFLA_LINK_NETNSID, &five, 2);
	assert_int_equal(ig_rtnl_peer_read(header(&m), &found), -ENOENT);
	header(&m)->nlmsg_len = NLMSG_LENGTH(sizeof(struct ifinfomsg)) - 1;
	assert_int_equal(ig_rtnl_peer_read(header(&m), &found), -ENOENT);
}

static void numbers_of_namespaces(void **state)
{
	int32_t seven = 7, none = NETNSA_NSID_NOT_ASSIGNED, found = 0;
	struct message m = {};

	(void)state;
	header(&m)->nlmsg_type = RTM_NEWNSID;
	header(&m)->nlmsg_len = NLMSG_LENGTH(sizeof(struct rtgenmsg));
	assert_int_equal(ig_rtnl_nsid_read(header(&m), &found), -ENOENT);
	add(&m, NETNSA_NSID, &none, sizeof(none));
	assert_int_equal(ig_rtnl_nsid_read(header(&m), &found), -ENOENT);
	add(&m, NETNSA_NSID, &seven, sizeof(seven));
	assert_int_equal(ig_rtnl_nsid_read(header(&m), &found), 0);
	assert_int_equal(found, 7);
	header(&m)->nlmsg_len -= 1;
	assert_int_equal(ig_rtnl_nsid_read(header(&m), &found), -ENOENT);
	header(&m)->nlmsg_len = NLMSG_LENGTH(0);
	assert_int_equal(ig_rtnl_nsid_read(header(&m), &found), -ENOENT);
}

/* Only an administrator of the namespace may send to others at all. */
static void only_the_kernel_is_heard(void **state)
{
	struct nlmsghdr done = {.nlmsg_len = sizeof(done), .nlmsg_type = NLMSG_DONE};
	int heard = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	int other = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct sockaddr_nl address = {.nl_family = AF_NETLINK};
	socklen_t len = sizeof(address);

	(void)state;
	assert_true(heard >= 0 && other >= 0);
	assert_int_equal(ig_rtnl_hear_kernel_only(heard), 0);
	assert_int_equal(getsockname(heard, (struct sockaddr *)&address, &len), 0);
	assert_int_equal(
		sendto(other, &done, sizeof(done), 0, (struct sockaddr *)&address, len), -1);
	assert_true(errno == ECONNREFUSED || errno == EPERM);
	/* and it answers */
	done = (struct nlmsghdr){.nlmsg_len = sizeof(done),
		.nlmsg_type = NLMSG_NOOP,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK};
	assert_int_equal(send(heard, &done, sizeof(done), 0), sizeof(done));
	assert_true(recv(heard, &done, sizeof(done), MSG_DONTWAIT) > 0);
	assert_int_equal(done.nlmsg_type, NLMSG_ERROR);
	assert_int_equal(close(heard), 0);
	assert_int_equal(close(other), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(routes_that_cover),
		cmocka_unit_test(other_kinds_of_routes),
		cmocka_unit_test(several_nexthops),
		cmocka_unit_test(nexthop_objects),
		cmocka_unit_test(links),
		cmocka_unit_test(peers),
		cmocka_unit_test(numbers_of_namespaces),
		cmocka_unit_test(only_the_kernel_is_heard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
