/*
 * System calls of the server process; see calls.h. It serves what is open already, reads files,
 * writes the audit, calls other hosts, and has threads. It starts no program, makes no memory
 * executable, and opens no kind of socket that goes round TCP and UDP.
 */
#include "sandbox/calls.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/cleanup.h"

#define NEW_NAMESPACES                                                                             \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |             \
		CLONE_NEWPID | CLONE_NEWNET)

#define SOCKET_TYPE_MASK 0xf /* the rest are SOCK_CLOEXEC and SOCK_NONBLOCK */

static const struct ig_call calls[] = {
	IG_CALL_IF(mmap, IG_ARG_HAS(2, PROT_EXEC, 0)),
	IG_CALL_IF(mmap2, IG_ARG_HAS(2, PROT_EXEC, 0)),
	IG_CALL_IF(mprotect, IG_ARG_HAS(2, PROT_EXEC, 0)),
	/* A library: name resolution tries to load what /etc/nsswitch.conf names, and goes on to
	 * the next row of it when it cannot. */
	{SCMP_SYS(mmap), SCMP_ACT_ERRNO(EACCES), 2,
		{IG_ARG_HAS(2, PROT_WRITE | PROT_EXEC, PROT_EXEC),
			IG_ARG_HAS(3, MAP_ANONYMOUS, 0)}},

	/* the audit's files; two agents may write to one */
	IG_CALL(flock),
	IG_CALL(ftruncate),
	IG_CALL(ftruncate64),
	IG_CALL(fsync),
	IG_CALL(fdatasync),
	IG_CALL(rename),
	IG_CALL(renameat),
	IG_CALL(renameat2),

	/* threads of this process, and nothing else that clone() makes */
	IG_CALL_IF(clone, IG_ARG_HAS(0, CLONE_THREAD | NEW_NAMESPACES, CLONE_THREAD)),
	/* reading a limit, not setting one */
	IG_CALL(getrlimit),
	IG_CALL(ugetrlimit),
	IG_CALL_IF(prlimit64, IG_ARG_IS(2, 0)),
	/* who is at the other end of a unix socket; what could be done with it is not here */
	IG_CALL_IF(pidfd_open, IG_ARG_IS(1, 0)),

	/* getaddrinfo() asks the kernel for the addresses of this machine */
	IG_CALL_IF_BOTH(socket, IG_ARG_IS(0, AF_NETLINK), IG_ARG_IS(2, NETLINK_ROUTE)),
	IG_CALL_IF(socket, IG_ARG_IS(0, AF_UNIX)),
	IG_CALL_IF_BOTH(
		socket, IG_ARG_IS(0, AF_INET), IG_ARG_HAS(1, SOCKET_TYPE_MASK, SOCK_STREAM)),
	IG_CALL_IF_BOTH(socket, IG_ARG_IS(0, AF_INET), IG_ARG_HAS(1, SOCKET_TYPE_MASK, SOCK_DGRAM)),
	IG_CALL_IF_BOTH(
		socket, IG_ARG_IS(0, AF_INET6), IG_ARG_HAS(1, SOCKET_TYPE_MASK, SOCK_STREAM)),
	IG_CALL_IF_BOTH(
		socket, IG_ARG_IS(0, AF_INET6), IG_ARG_HAS(1, SOCKET_TYPE_MASK, SOCK_DGRAM)),
	IG_CALL_IF(socketpair, IG_ARG_IS(0, AF_UNIX)),

	/* entries of the map of flows, whose descriptor it was given */
	IG_CALL_IF(bpf, IG_ARG_IS(0, BPF_MAP_LOOKUP_ELEM)),
	IG_CALL_IF(bpf, IG_ARG_IS(0, BPF_MAP_DELETE_ELEM)),
	IG_CALL_IF(bpf, IG_ARG_IS(0, BPF_MAP_LOOKUP_AND_DELETE_ELEM)),
};

struct ig_call_list ig_calls_server(void)
{
	return (struct ig_call_list){.calls = calls, .n = IG_ARRAY_SIZE(calls)};
}
