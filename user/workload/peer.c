/*
 * The process at the other end of a unix socket; see peer.h. Called by the server process for each
 * connection to a socket file of the agent.
 *
 * A pid is only a number: the process may be gone and another may have it. So a descriptor of the
 * process is held, and what /proc says counts only if the process still lived after it was read.
 * Where the kernel does not hand out the peer's own descriptor (SO_PEERPIDFD, Linux 6.5) it is made
 * from the number, which leaves the moment between connect() and accept() open: then a process must
 * have ended and its pid been used again, while its socket lives on elsewhere.
 */
#include "workload/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "workload/process.h"
#include "workload/tasks.h"

/* not in older headers */
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

static int open_process(int sock, uint32_t pid)
{
	int fd = -1;
	socklen_t len = sizeof(fd);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, &fd, &len) == 0)
		return fd;
	if (errno != ENOPROTOOPT)
		return -ESRCH;
	fd = (int)syscall(SYS_pidfd_open, pid, 0);
	return fd < 0 ? -errno : fd;
}

static bool has_ended(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	return poll(&p, 1, 0) != 0;
}

static int read_comm(uint32_t pid, char ret[static IG_COMM_BYTES])
{
	_cleanup_close_ int fd = -1;
	char path[32];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%u/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -ESRCH;
	n = read(fd, ret, IG_COMM_BYTES - 1);
	if (n < 0)
		return -errno;
	ret[n] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	return 0;
}

int ig_peer_read(int sock, int cgroup_root_fd, struct ig_peer *ret)
{
	_cleanup_close_ int pidfd = -1;
	struct ucred cred = {};
	socklen_t len = sizeof(cred);
	struct ig_peer peer;
	int r;

	*ret = (struct ig_peer){};
	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return -errno;
	ret->pid = (uint32_t)cred.pid;
	ret->uid = cred.uid;
	ret->gid = cred.gid;
	/* in another pid namespace, from where it has no number here */
	if (cred.pid <= 0)
		return -ESRCH;
	pidfd = open_process(sock, ret->pid);
	if (pidfd < 0)
		return pidfd;
	peer = *ret;
	r = ig_task_cgroup(cgroup_root_fd, peer.pid, peer.cgroup_path, sizeof(peer.cgroup_path),
		&peer.cgroup_id);
	if (r == 0)
		r = ig_process_start(peer.pid, &peer.start_time_ns);
	if (r == 0)
		r = read_comm(peer.pid, peer.comm);
	if (has_ended(pidfd) || r == -ENOENT)
		return -ESRCH;
	if (r < 0)
		return r;
	*ret = peer;
	return 0;
}
