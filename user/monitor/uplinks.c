/*
 * The uplinks; see uplinks.h. Listens before it asks for what there is, so nothing falls in
 * between; when the kernel had to drop reports, everything is asked for again, and what has the
 * guard is looked at again.
 */
#include "monitor/uplinks.h"

#include <errno.h>
#include <event2/event.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "base/log.h"
#include "datapath/guard.h"
#include "monitor/rtnl.h"

#define RECEIVE_BYTES	    32768 /* the kernel's dumps fill at most this */
#define SOCKET_BUFFER_BYTES (1024 * 1024)
#define RETRY_SEC	    5

struct ig_uplinks {
	struct ig_guard *guard; /* outlives this */
	const char *choice;	/* borrowed */
	const struct ig_uplinks_ops *ops;
	void *userdata;
	int socket;
	struct event *readable, *retry; /* owned */
	unsigned int guarded[IG_GUARD_UPLINKS_MAX];
	size_t n_guarded;
	bool all;  /* a route leads somewhere that cannot be told: everything is an uplink */
	int error; /* the first failure of this look, negative errno */
	char failed[IFNAMSIZ];
};

IG_DEFINE_CLEANUP(struct ig_uplinks *, ig_uplinks_free);

/* ---- the guard on one interface ---- */

static bool is_guarded(const struct ig_uplinks *u, unsigned int ifindex)
{
	for (size_t i = 0; i < u->n_guarded; i++)
		if (u->guarded[i] == ifindex)
			return true;
	return false;
}

static void is_gone(struct ig_uplinks *u, unsigned int ifindex)
{
	ig_guard_forget(u->guard, ifindex);
	ig_log_info("an uplink is gone", IG_KV_U64(IFINDEX, ifindex));
}

static void forget(struct ig_uplinks *u, unsigned int ifindex)
{
	for (size_t i = 0; i < u->n_guarded; i++) {
		if (u->guarded[i] != ifindex)
			continue;
		u->guarded[i] = u->guarded[--u->n_guarded];
		is_gone(u, ifindex);
		return;
	}
}

/* -ENODEV: gone meanwhile. */
static int read_type(const struct ig_uplinks *u, unsigned int ifindex, char name[IFNAMSIZ],
	unsigned short *ret_type)
{
	struct ifreq request = {};

	if (!if_indextoname(ifindex, request.ifr_name))
		return -ENODEV;
	if (ioctl(u->socket, SIOCGIFHWADDR, &request) < 0)
		return -errno;
	memcpy(name, request.ifr_name, IFNAMSIZ);
	*ret_type = request.ifr_hwaddr.sa_family;
	return 0;
}

/* What precedes the IP header of packets on an interface of this type: an Ethernet header, nothing,
 * or something that the guard cannot look behind. */
static int has_ethernet(unsigned short type)
{
	switch (type) {
	case ARPHRD_ETHER: return 1;
	case ARPHRD_NONE:
	case ARPHRD_RAWIP:
	case ARPHRD_PPP:
	case ARPHRD_TUNNEL:
	case ARPHRD_TUNNEL6:
	case ARPHRD_SIT:
	case ARPHRD_IPGRE: return 0;
	default: return -EOPNOTSUPP;
	}
}

static int try_attach(struct ig_uplinks *u, unsigned int ifindex, char name[IFNAMSIZ])
{
	const char *hook = NULL;
	unsigned short type = 0;
	int r = read_type(u, ifindex, name, &type);

	if (r < 0)
		return r;
	if (type == ARPHRD_LOOPBACK)
		return 0;
	if (u->n_guarded >= IG_GUARD_UPLINKS_MAX)
		return -E2BIG;
	r = has_ethernet(type);
	if (r >= 0)
		r = ig_guard_attach(u->guard, ifindex, r == 1, &hook);
	if (r < 0)
		return r;
	u->guarded[u->n_guarded++] = ifindex;
	ig_log_info("guarding an uplink", IG_KV_STR(NAME, name), IG_KV_STR(KIND, hook));
	u->ops->guarded(name, u->userdata);
	return 0;
}

static void ensure(struct ig_uplinks *u, unsigned int ifindex)
{
	char name[IFNAMSIZ] = "";
	int r;

	if (is_guarded(u, ifindex))
		return;
	r = try_attach(u, ifindex, name);
	if (r == 0 || r == -ENODEV)
		return;
	(void)ig_log_errno(r, "cannot guard an uplink, packets to an endpoint may leave by it",
		IG_KV_STR(NAME, name));
	if (u->error == 0) {
		u->error = r;
		memcpy(u->failed, name, sizeof(u->failed));
	}
}

/* After reports were lost: a number may stand for no interface any more, or for another than the
 * one that got the guard. Where it is attached, attaching it again changes nothing. */
static void ensure_guarded(struct ig_uplinks *u)
{
	unsigned int guarded[IG_GUARD_UPLINKS_MAX];
	size_t n = u->n_guarded;
	char name[IFNAMSIZ];

	memcpy(guarded, u->guarded, sizeof(guarded));
	u->n_guarded = 0;
	for (size_t i = 0; i < n; i++)
		if (if_indextoname(guarded[i], name))
			ensure(u, guarded[i]);
		else
			is_gone(u, guarded[i]);
}

/* ---- messages ---- */

static bool is_auto(const struct ig_uplinks *u)
{
	return strcmp(u->choice, "auto") == 0;
}

static bool is_chosen(const struct ig_uplinks *u, const char *name)
{
	size_t len = strlen(name);

	for (const char *p = u->choice; *p; p += *p == ',') {
		size_t n = strcspn(p, ",");

		if (n == len && memcmp(p, name, n) == 0)
			return true;
		p += n;
	}
	return false;
}

static void ensure_all(struct ig_uplinks *u)
{
	struct if_nameindex *all = if_nameindex();

	if (!u->all)
		ig_log_warning("a route does not say by which interface, guarding all");
	u->all = true;
	for (const struct if_nameindex *i = all; i && i->if_index; i++)
		ensure(u, i->if_index);
	if_freenameindex(all);
}

static void on_route(struct ig_uplinks *u, const struct nlmsghdr *message)
{
	struct ig_rtnl_route route;

	if (!is_auto(u) || !ig_rtnl_route_read(message, &route))
		return;
	for (size_t i = 0; i < route.n_ifindexes; i++)
		ensure(u, route.ifindexes[i]);
	if (route.by_unknown)
		ensure_all(u);
}

static void on_link(struct ig_uplinks *u, const struct nlmsghdr *message)
{
	struct ig_rtnl_link link;

	if (!ig_rtnl_link_read(message, &link))
		return;
	if (!is_auto(u)) {
		if (is_chosen(u, link.name))
			ensure(u, link.ifindex);
		return;
	}
	/* what cannot carry IP (CAN and the like) is no uplink until a route says that it is */
	if ((!link.is_inner && has_ethernet(link.type) >= 0) || u->all)
		ensure(u, link.ifindex);
}

static void on_link_gone(struct ig_uplinks *u, const struct nlmsghdr *message)
{
	const struct ifinfomsg *info = NLMSG_DATA(message);

	/* a bridge says in this way that a port left it, in a family of its own */
	if (message->nlmsg_len >= NLMSG_LENGTH(sizeof(*info)) && info->ifi_family == AF_UNSPEC &&
		info->ifi_index > 0)
		forget(u, (unsigned int)info->ifi_index);
}

/* 1: the end of a dump. */
static int handle(struct ig_uplinks *u, const struct nlmsghdr *message)
{
	const struct nlmsgerr *error = NLMSG_DATA(message);

	switch (message->nlmsg_type) {
	case RTM_NEWROUTE: on_route(u, message); return 0;
	case RTM_NEWLINK: on_link(u, message); return 0;
	case RTM_DELLINK: on_link_gone(u, message); return 0;
	case NLMSG_DONE: return 1;
	case NLMSG_ERROR:
		return message->nlmsg_len >= NLMSG_LENGTH(sizeof(*error)) ? error->error : -EBADMSG;
	default: return 0;
	}
}

/* One datagram. 1: it held the end of a dump. -EAGAIN: there is none. */
static int receive(struct ig_uplinks *u, int fd)
{
	char buf[RECEIVE_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
	ssize_t n = recv(fd, buf, sizeof(buf), MSG_TRUNC);
	int r = 0;

	if (n < 0)
		return -errno;
	if ((size_t)n > sizeof(buf))
		return -ENOBUFS;
	for (const struct nlmsghdr *m = (const struct nlmsghdr *)buf; NLMSG_OK(m, n) && r == 0;
		m = NLMSG_NEXT(m, n))
		r = handle(u, m);
	return r;
}

static int open_netlink(uint32_t groups, int *ret_fd)
{
	struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	int bytes = SOCKET_BUFFER_BYTES, r;

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	r = ig_rtnl_hear_kernel_only(fd);
	if (r < 0)
		return r;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Asks for all objects of a kind and waits for them. */
static int dump(struct ig_uplinks *u, uint16_t type, unsigned char family)
{
	struct {
		struct nlmsghdr header;
		struct rtgenmsg family;
	} request = {
		.header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtgenmsg)),
			.nlmsg_type = type,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
		.family = {.rtgen_family = family},
	};
	_cleanup_close_ int fd = -1;
	int r = open_netlink(0, &fd);

	if (r < 0)
		return r;
	if (send(fd, &request, request.header.nlmsg_len, 0) < 0)
		return -errno;
	while (r == 0)
		r = receive(u, fd);
	return r < 0 ? r : 0;
}

static int look(struct ig_uplinks *u)
{
	int r;

	u->error = 0;
	r = dump(u, RTM_GETLINK, AF_UNSPEC);
	if (r == 0 && is_auto(u))
		r = dump(u, RTM_GETROUTE, AF_INET);
	return r;
}

static void retry_later(struct ig_uplinks *u)
{
	struct timeval tv = {.tv_sec = RETRY_SEC};

	(void)evtimer_add(u->retry, &tv);
}

static void on_retry(evutil_socket_t fd, short what, void *userdata)
{
	struct ig_uplinks *u = userdata;
	int r = look(u);

	(void)fd;
	(void)what;
	if (r < 0)
		(void)ig_log_errno(r, "cannot ask for links and routes, trying again");
	if (r < 0 || u->error)
		retry_later(u);
}

static void on_readable(evutil_socket_t fd, short what, void *userdata)
{
	struct ig_uplinks *u = userdata;
	int r = 0;

	(void)what;
	u->error = 0;
	while (r >= 0)
		r = receive(u, fd);
	if (r != -EAGAIN && r != -EINTR) {
		(void)ig_log_warning_errno(
			r, "reports of links and routes were lost, asking again");
		ensure_guarded(u);
		on_retry(-1, 0, u);
	} else if (u->error) {
		retry_later(u);
	}
}

int ig_uplinks_new(struct event_base *base, struct ig_guard *guard, const char *choice,
	const struct ig_uplinks_ops *ops, void *userdata, struct ig_uplinks **ret)
{
	_cleanup_(ig_uplinks_freep) struct ig_uplinks *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return -ENOMEM;
	u->socket = -1;
	u->guard = guard;
	u->choice = choice;
	u->ops = ops;
	u->userdata = userdata;
	r = open_netlink(RTMGRP_LINK | RTMGRP_IPV4_ROUTE, &u->socket);
	if (r == 0)
		r = ig_fd_set_nonblock(u->socket);
	if (r < 0)
		return r;
	u->readable = event_new(base, u->socket, EV_READ | EV_PERSIST, on_readable, u);
	u->retry = evtimer_new(base, on_retry, u);
	if (!u->readable || !u->retry)
		return -ENOMEM;
	*ret = TAKE_PTR(u);
	return 0;
}

struct ig_uplinks *ig_uplinks_free(struct ig_uplinks *u)
{
	if (!u)
		return NULL;
	if (u->readable)
		event_free(u->readable);
	if (u->retry)
		event_free(u->retry);
	(void)ig_close(u->socket);
	free(u);
	return NULL;
}

int ig_uplinks_start(struct ig_uplinks *u, struct ig_err *reterr_err)
{
	int r = look(u);

	if (r < 0)
		return ig_err_set(
			reterr_err, r, "cannot ask for links and routes: %s", strerror(-r));
	if (u->error)
		return ig_err_set(reterr_err, u->error,
			"cannot guard the interface %s: %s; name the ones to guard (--guard IFACE,…) or go without (--guard off)",
			u->failed, strerror(-u->error));
	if (event_add(u->readable, NULL) < 0)
		return -ENOMEM;
	if (u->n_guarded == 0)
		ig_log_warning("no interface leads to an endpoint, the guard waits for one");
	return 0;
}
