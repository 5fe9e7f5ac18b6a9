/*
 * Older connections; see older.h. The rule is that of the connect hooks: the agent's own sockets
 * pass; the deepest declared cgroup of the socket's decides, else the default of its namespace.
 * Only TCP: endpoints speak nothing else, and what UDP sockets send to one is dropped by the guard.
 */
#include "monitor/older.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "datapath/datapath.h"
#include "monitor/rtnl.h"
#include "workload/netns.h"
#include "workload/process.h"

#define RECEIVE_BYTES 32768

/* not in UAPI: states as in /proc/net/tcp. All but TIME_WAIT, CLOSE and LISTEN. */
#define TCP_STATES_LIVE (0xfffU & ~((1U << 6) | (1U << 7) | (1U << 10)))

struct search {
	const struct ig_older *older;
	uint64_t netns_cookie;
	int destroy_fd;
	int ended, error;
};

static enum ig_endpoint endpoint_of(uint32_t daddr_be, uint16_t dport_be)
{
	uint16_t port = ntohs(dport_be);

	if (daddr_be == htonl(IG_ADDR_IMDS) && port == IG_PORT_METADATA)
		return IG_ENDPOINT_IMDS;
	if (daddr_be != htonl(IG_ADDR_WIRESERVER))
		return _IG_ENDPOINT_MAX;
	return port == IG_PORT_METADATA	      ? IG_ENDPOINT_WIRESERVER
	       : port == IG_PORT_HOSTGAPLUGIN ? IG_ENDPOINT_HOSTGAPLUGIN
					      : _IG_ENDPOINT_MAX;
}

/* The IPv4 address in an address of either family, or 0. */
static uint32_t ipv4_of(uint8_t family, const __be32 address[4])
{
	if (family == AF_INET)
		return address[0];
	return address[0] == 0 && address[1] == 0 && address[2] == htonl(0xffff) ? address[3] : 0;
}

/* The entry of the deepest declared cgroup on the way to this one. -ENOENT: none is. */
static int find_workload(
	struct ig_datapath *dp, uint64_t cgroup_id, struct ig_workload_entry *ret_entry)
{
	char path[IG_CGROUP_PATH_BYTES];
	int r = ig_cgroup_path_by_id(ig_datapath_cgroup_fd(dp), cgroup_id, path, sizeof(path));
	bool found = false;
	struct stat st;

	if (r < 0)
		return r;
	for (char *end = path; end;) {
		char rest;

		end = strchr(end + 1, '/');
		rest = end ? *end : '\0';
		if (end)
			*end = '\0';
		/* the id of a cgroup is the inode number of its directory */
		if (fstatat(ig_datapath_cgroup_fd(dp), path[1] ? path + 1 : ".", &st, 0) == 0 &&
			ig_datapath_workload_get(dp, st.st_ino, ret_entry) == 0)
			found = true;
		if (end)
			*end = rest;
	}
	return found ? 0 : -ENOENT;
}

static bool is_host(const struct search *s)
{
	return s->netns_cookie == s->older->settings->host_netns_cookie;
}

static struct ig_direct_key key_of(const struct inet_diag_msg *socket, uint32_t daddr_be)
{
	return (struct ig_direct_key){
		.saddr_be = ipv4_of(socket->idiag_family, socket->id.idiag_src),
		.daddr_be = daddr_be,
		.sport_be = socket->id.idiag_sport,
		.dport_be = socket->id.idiag_dport};
}

static bool is_noted(const struct search *s, const struct inet_diag_msg *socket, uint32_t daddr_be)
{
	struct ig_direct_key key = key_of(socket, daddr_be);

	return ig_datapath_is_direct(s->older->dp, &key);
}

/* The guard drops what is not noted. */
static void forget(const struct search *s, const struct inet_diag_msg *socket, uint32_t daddr_be)
{
	struct ig_direct_key key = key_of(socket, daddr_be);

	ig_datapath_direct_delete(s->older->dp, &key);
}

static bool may_have(const struct search *s, uint64_t cgroup_id, enum ig_endpoint endpoint)
{
	const struct ig_settings *set = s->older->settings;
	struct ig_workload_entry entry = {};
	int r = find_workload(s->older->dp, cgroup_id, &entry);

	if (r == 0)
		return entry.verdict[endpoint] == IG_VERDICT_PASS;
	/* A cgroup outside of what is guarded, or one that is gone: that of a process which left
	 * its socket to another. Both are the host's if their namespace is. */
	return (is_host(s) ? set->host_verdict[endpoint] : set->other_verdict[endpoint]) ==
	       IG_VERDICT_PASS;
}

static int destroy(const struct search *s, const struct inet_diag_msg *socket)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 body;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			.nlmsg_type = SOCK_DESTROY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		.body = {.sdiag_family = socket->idiag_family,
			.sdiag_protocol = IPPROTO_TCP,
			.id = socket->id},
	};
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char request[sizeof(request)];
	} answer;
	ssize_t n;

	if (send(s->destroy_fd, &request, sizeof(request), 0) < 0)
		return -errno;
	n = recv(s->destroy_fd, &answer, sizeof(answer), 0);
	if (n < 0)
		return -errno;
	if ((size_t)n < NLMSG_LENGTH(sizeof(answer.error)) ||
		answer.header.nlmsg_type != NLMSG_ERROR)
		return -EBADMSG;
	return answer.error.error;
}

/* What the kernel tells besides the addresses. */
struct told {
	uint64_t cgroup_id;
	bool is_agents; /* stands in the map `upstream`, the only one that list() asks about */
};

static struct told told_of(const struct inet_diag_msg *socket, int left)
{
	struct told told = {};

	left -= (int)sizeof(*socket);
	for (const struct rtattr *a = (const struct rtattr *)(socket + 1); RTA_OK(a, left);
		a = RTA_NEXT(a, left)) {
		int type = a->rta_type & NLA_TYPE_MASK;

		if (type == INET_DIAG_CGROUP_ID && RTA_PAYLOAD(a) >= sizeof(told.cgroup_id))
			memcpy(&told.cgroup_id, RTA_DATA(a), sizeof(told.cgroup_id));
		else if (type == INET_DIAG_SK_BPF_STORAGES)
			told.is_agents = true;
	}
	return told;
}

static void report(const struct search *s, const struct inet_diag_msg *socket, uint32_t daddr_be,
	uint64_t cgroup_id, enum ig_endpoint endpoint)
{
	struct ig_event event = {
		.reason = IG_EVENT_OLDER_CONNECTION,
		.flow = {.caller = {.cgroup_id = cgroup_id, .netns_cookie = s->netns_cookie},
			.cookie = (uint64_t)socket->id.idiag_cookie[1] << 32 |
				  socket->id.idiag_cookie[0],
			.daddr_be = daddr_be,
			.dport_be = socket->id.idiag_dport,
			.family = socket->idiag_family,
			.protocol = IPPROTO_TCP,
			.endpoint = (uint8_t)endpoint},
		.packet = {.saddr_be = ipv4_of(socket->idiag_family, socket->id.idiag_src),
			.sport_be = socket->id.idiag_sport},
	};

	s->older->ended(&event, s->older->userdata);
}

static void look_at(struct search *s, const struct nlmsghdr *message)
{
	const struct inet_diag_msg *socket = NLMSG_DATA(message);
	int left = (int)message->nlmsg_len - NLMSG_HDRLEN, r;
	enum ig_endpoint endpoint;
	uint32_t daddr_be;
	struct told told;

	if (left < (int)sizeof(*socket))
		return;
	daddr_be = ipv4_of(socket->idiag_family, socket->id.idiag_dst);
	endpoint = endpoint_of(daddr_be, socket->id.idiag_dport);
	if (endpoint == _IG_ENDPOINT_MAX)
		return;
	told = told_of(socket, left);
	if (told.is_agents)
		return;
	if (may_have(s, told.cgroup_id, endpoint) && (is_host(s) || is_noted(s, socket, daddr_be)))
		return;
	r = destroy(s, socket);
	if (r == 0) {
		s->ended++;
		report(s, socket, daddr_be, told.cgroup_id, endpoint);
	} else if (r != -ENOENT) { /* it ended by itself */
		s->error = r;
		forget(s, socket, daddr_be);
	}
}

/* 1: the end of the list. */
static int receive(struct search *s, int fd)
{
	char buf[RECEIVE_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
	ssize_t n = recv(fd, buf, sizeof(buf), 0);

	if (n < 0)
		return -errno;
	for (const struct nlmsghdr *m = (const struct nlmsghdr *)buf; NLMSG_OK(m, n);
		m = NLMSG_NEXT(m, n)) {
		const struct nlmsgerr *error = NLMSG_DATA(m);

		if (m->nlmsg_type == NLMSG_DONE)
			return 1;
		if (m->nlmsg_type == NLMSG_ERROR)
			return m->nlmsg_len >= NLMSG_LENGTH(sizeof(*error)) ? error->error
									    : -EBADMSG;
		look_at(s, m);
	}
	return 0;
}

static int list(struct search *s, int fd, uint8_t family)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 body;
		struct nlattr storages, map;
		uint32_t map_fd;
	} request = {
		.header = {.nlmsg_len = sizeof(request),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.body = {.sdiag_family = family,
			.sdiag_protocol = IPPROTO_TCP,
			.idiag_states = TCP_STATES_LIVE},
		.storages = {.nla_len = sizeof(request.storages) + sizeof(request.map) +
					sizeof(request.map_fd),
			.nla_type = NLA_F_NESTED | INET_DIAG_REQ_SK_BPF_STORAGES},
		.map = {.nla_len = sizeof(request.map) + sizeof(request.map_fd),
			.nla_type = SK_DIAG_BPF_STORAGE_REQ_MAP_FD},
		.map_fd = (uint32_t)ig_datapath_upstream_fd(s->older->dp),
	};
	int r = 0;

	if (send(fd, &request, sizeof(request), 0) < 0)
		return -errno;
	while (r == 0)
		r = receive(s, fd);
	return r < 0 ? r : 0;
}

/* In the workload's namespace, where the workload may be an administrator. */
static int open_diag(int netns_fd, int home_fd, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	int r = ig_netns_socket(netns_fd, home_fd, AF_NETLINK, SOCK_DGRAM, NETLINK_SOCK_DIAG, &fd);

	if (r == 0)
		r = ig_rtnl_hear_kernel_only(fd);
	if (r == 0)
		*ret_fd = TAKE_FD(fd);
	return r;
}

int ig_older_end(const struct ig_older *older, int netns_fd, int home_fd, uint64_t netns_cookie)
{
	struct search s = {.older = older, .netns_cookie = netns_cookie, .destroy_fd = -1};
	_cleanup_close_ int list_fd = -1, destroy_fd = -1;
	int r = open_diag(netns_fd, home_fd, &list_fd);

	if (r == 0)
		r = open_diag(netns_fd, home_fd, &destroy_fd);
	s.destroy_fd = destroy_fd;
	if (r == 0)
		r = list(&s, list_fd, AF_INET);
	if (r == 0)
		r = list(&s, list_fd, AF_INET6);
	if (r == 0)
		r = s.error;
	return r < 0 ? r : s.ended;
}
