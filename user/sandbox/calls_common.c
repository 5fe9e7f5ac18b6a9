/*
 * System calls of both processes; see calls.h. What stands here is what the C library, the event
 * loop and the logger need, files and ordinary sockets: nothing that makes processes, changes
 * rights or names another process.
 */
#include "sandbox/calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "sandbox/sanitized.h"

#define SOCKET_TYPE_MASK 0xf /* the rest are SOCK_CLOEXEC and SOCK_NONBLOCK */

static const struct ig_call calls[] = {
	/* memory; what of it becomes executable differs between the two */
	IG_CALL_IF(mmap, IG_ARG_HAS(2, PROT_EXEC, 0)),
	IG_CALL_IF(mmap2, IG_ARG_HAS(2, PROT_EXEC, 0)),
	IG_CALL_IF(mprotect, IG_ARG_HAS(2, PROT_EXEC, 0)),
	IG_CALL(brk),
	IG_CALL(munmap),
	IG_CALL(mremap),
	IG_CALL(madvise),

	/* open descriptors */
	IG_CALL(close),
	IG_CALL(read),
	IG_CALL(readv),
	IG_CALL(pread64),
	IG_CALL(write),
	IG_CALL(writev),
	IG_CALL(pwrite64),
	IG_CALL(lseek),
	IG_CALL(_llseek),
	IG_CALL(fcntl),
	IG_CALL(fcntl64),
	IG_CALL(fstat),
	IG_CALL(fstat64),
	IG_CALL(fstatfs),
	IG_CALL(fstatfs64),
	IG_CALL(getdents64),
	IG_CALL(dup),
	IG_CALL(pipe2),
	/* two agents may write to one audit file */
	IG_CALL(flock),
	IG_CALL(ftruncate),
	IG_CALL(ftruncate64),
	IG_CALL(fsync),
	IG_CALL(fdatasync),

	/* files by name: which of them is for landlock and the file's mode to say */
	IG_CALL(open),
	IG_CALL(openat),
	IG_CALL(openat2),
	IG_CALL(access),
	IG_CALL(faccessat),
	IG_CALL(faccessat2),
	IG_CALL(stat),
	IG_CALL(stat64),
	IG_CALL(lstat),
	IG_CALL(lstat64),
	IG_CALL(newfstatat),
	IG_CALL(fstatat64),
	IG_CALL(statx),
	IG_CALL(statfs),
	IG_CALL(statfs64),
	IG_CALL(readlink),
	IG_CALL(readlinkat),
	IG_CALL(getcwd),
	IG_CALL(rename),
	IG_CALL(renameat),
	IG_CALL(renameat2),
	IG_CALL(unlink),
	IG_CALL(unlinkat),
	IG_CALL(inotify_init1),
	IG_CALL(inotify_add_watch),
	IG_CALL(inotify_rm_watch),

	/* the event loop */
	IG_CALL(epoll_create1),
	IG_CALL(epoll_ctl),
	IG_CALL(epoll_wait),
	IG_CALL(epoll_pwait),
	IG_CALL(epoll_pwait2),
	IG_CALL(poll),
	IG_CALL(ppoll),
	IG_CALL(ppoll_time64),
	IG_CALL(select),
	IG_CALL(pselect6),
	IG_CALL(eventfd2),
	IG_CALL(timerfd_create),
	IG_CALL(timerfd_settime),
	IG_CALL(restart_syscall),

	/* time */
	IG_CALL(clock_gettime),
	IG_CALL(clock_gettime64),
	IG_CALL(clock_getres),
	IG_CALL(gettimeofday),
	IG_CALL(time),
	IG_CALL(nanosleep),
	IG_CALL(clock_nanosleep),
	IG_CALL(clock_nanosleep_time64),

	/* this process, its threads and signals */
	IG_CALL(getpid),
	IG_CALL(getppid),
	IG_CALL(gettid),
	IG_CALL(getuid),
	IG_CALL(geteuid),
	IG_CALL(getgid),
	IG_CALL(getegid),
	IG_CALL(getresuid),
	IG_CALL(getresgid),
	IG_CALL(getgroups),
	IG_CALL(getrusage),
	IG_CALL(getrlimit),
	IG_CALL(ugetrlimit),
	IG_CALL(getcpu),
	IG_CALL(uname),
	IG_CALL(sysinfo),
	IG_CALL(sched_yield),
	IG_CALL(sched_getaffinity),
	IG_CALL(futex),
	IG_CALL(futex_time64),
	IG_CALL(set_robust_list),
	IG_CALL(set_tid_address),
	IG_CALL(rseq),
	IG_CALL(rt_sigaction),
	IG_CALL(rt_sigprocmask),
	IG_CALL(rt_sigreturn),
	IG_CALL(sigaltstack),
	IG_CALL(exit),
	IG_CALL(exit_group),
	IG_CALL(getrandom),
	/* its flags are in memory, where no filter sees them: the C library then takes clone() */
	{.number = SCMP_SYS(clone3), .action = SCMP_ACT_ERRNO(ENOSYS)},
	IG_CALL_IF(prctl, IG_ARG_IS(0, PR_SET_NAME)),
	/* the C library names its memory where the kernel can, and asks nobody whether it can */
	{SCMP_SYS(prctl), SCMP_ACT_ERRNO(EINVAL), 1, {IG_ARG_IS(0, 0x53564d41 /* PR_SET_VMA */)}},

	/* new sockets; getaddrinfo() asks netlink for the addresses of this machine */
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

	/* sockets that are there already */
	IG_CALL(connect),
	IG_CALL(bind),
	IG_CALL(accept4),
	IG_CALL(getsockname),
	IG_CALL(getpeername),
	IG_CALL(getsockopt),
	IG_CALL(setsockopt),
	IG_CALL(sendto),
	IG_CALL(sendmsg),
	IG_CALL(sendmmsg),
	IG_CALL(recvfrom),
	IG_CALL(recvmsg),
	IG_CALL(recvmmsg),
	IG_CALL(shutdown),

	/* is it a terminal; what waits in a socket; to block or not to; names of interfaces */
	IG_CALL_IF(ioctl, IG_ARG_IS(1, TCGETS)),
	IG_CALL_IF(ioctl, IG_ARG_IS(1, FIONREAD)),
	IG_CALL_IF(ioctl, IG_ARG_IS(1, FIONBIO)),
	IG_CALL_IF(ioctl, IG_ARG_IS(1, TIOCOUTQ)),
	IG_CALL_IF(ioctl, IG_ARG_IS(1, SIOCGIFNAME)),
	IG_CALL_IF(ioctl, IG_ARG_IS(1, SIOCGIFINDEX)),

#if IG_SANITIZED
	IG_CALL(getdents),
	IG_CALL(ptrace),
	IG_CALL(wait4),
	IG_CALL(kill),
	IG_CALL(tgkill),
	IG_CALL(personality),
	IG_CALL(prlimit64),
	IG_CALL(process_vm_readv),
	IG_CALL_IF(prctl, IG_ARG_IS(0, PR_GET_DUMPABLE)),
	IG_CALL_IF(prctl, IG_ARG_IS(0, PR_SET_DUMPABLE)),
	IG_CALL_IF(prctl, IG_ARG_IS(0, PR_SET_PTRACER)),
	IG_CALL_IF(prctl, IG_ARG_IS(0, PR_SET_PDEATHSIG)),
	IG_CALL_IF(clone, IG_ARG_HAS(0, CLONE_VM | CLONE_UNTRACED, CLONE_VM | CLONE_UNTRACED)),
#endif
};

struct ig_call_list ig_calls_common(void)
{
	return (struct ig_call_list){.calls = calls, .n = IG_ARRAY_SIZE(calls)};
}
