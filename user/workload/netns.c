/*
 * Network namespaces; see netns.h. The only place that calls setns().
 */
#include "workload/netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

int ig_netns_open(const char *path, int *ret_fd)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	struct statfs fs;

	if (fd < 0 || fstatfs(fd, &fs) < 0)
		return -errno;
	if (fs.f_type != NSFS_MAGIC)
		return -EAGAIN;
	if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
		return -ENXIO;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int ig_netns_open_task(uint32_t tgid, uint32_t tid, int *ret_fd)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%u/task/%u/ns/net", tgid, tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int ig_netns_cookie(int sock, uint64_t *ret)
{
	socklen_t len = sizeof(*ret);

	if (getsockopt(sock, SOL_SOCKET, SO_NETNS_COOKIE, ret, &len) < 0)
		return -errno;
	return 0;
}

int ig_netns_own_cookie(uint64_t *ret)
{
	_cleanup_close_ int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return sock < 0 ? -errno : ig_netns_cookie(sock, ret);
}

int ig_netns_enter(int netns_fd)
{
	return setns(netns_fd, CLONE_NEWNET) < 0 ? -errno : 0;
}

/* IP_FREEBIND: whoever sets the namespace up may not have come to its loopback, whose address then
 * is not there yet (while the namespace has no address at all, bind() does not ask for one). */
static int bind_loopback(int sock, uint16_t port)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int one = 1;

	if (setsockopt(sock, IPPROTO_IP, IP_FREEBIND, &one, sizeof(one)) < 0)
		return -errno;
	return bind(sock, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
}

int ig_netns_listen(int sock, uint16_t port, uint16_t *ret_port)
{
	struct sockaddr_in bound = {};
	socklen_t len = sizeof(bound);
	int one = 1, r;

	/* connections of an earlier listener may linger on the port; two listeners it does not
	 * allow */
	if (port && setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
		return -errno;
	r = bind_loopback(sock, port);
	if (r < 0)
		return r;
	if (listen(sock, IG_LISTENER_BACKLOG) < 0 ||
		getsockname(sock, (struct sockaddr *)&bound, &len) < 0)
		return -errno;
	*ret_port = ntohs(bound.sin_port);
	return 0;
}

int ig_netns_socket(int netns_fd, int home_fd, int family, int type, int protocol, int *ret_sock)
{
	int sock, r;

	if (setns(netns_fd, CLONE_NEWNET) < 0)
		return -errno;
	sock = socket(family, type | SOCK_CLOEXEC, protocol);
	r = sock < 0 ? -errno : 0;
	if (setns(home_fd, CLONE_NEWNET) < 0)
		(void)raise(SIGKILL);
	if (r == 0)
		*ret_sock = sock;
	return r;
}
