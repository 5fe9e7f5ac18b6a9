/*
 * System calls of the monitor; see calls.h. A filter holds for the children, too: what the server
 * needs to start, and all that its own list allows, has to be here.
 *
 * It enters network namespaces and works with BPF programs that are loaded; it does not load any,
 * mounts nothing, and traces nobody.
 */
#include "sandbox/calls.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <linux/sockios.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "base/cleanup.h"

#define BPF_COMMAND(command) IG_CALL_IF(bpf, IG_ARG_IS(0, command))
/* The library tries whether it could load something, and goes on when it cannot. */
#define BPF_REFUSED(command)                                                                       \
	{                                                                                          \
		SCMP_SYS(bpf), SCMP_ACT_ERRNO(EPERM), 1,                                           \
		{                                                                                  \
			IG_ARG_IS(0, command)                                                      \
		}                                                                                  \
	}

static const struct ig_call calls[] = {
	/* executable, but not writable at once: the server's libraries are mapped when it starts */
	IG_CALL_IF(mmap, IG_ARG_HAS(2, PROT_WRITE, 0)),
	IG_CALL_IF(mmap2, IG_ARG_HAS(2, PROT_WRITE, 0)),

	/* the server: started, signalled, waited for */
	IG_CALL_IF(clone, IG_ARG_HAS(0, IG_NEW_NAMESPACES, 0)),
	IG_CALL(fork),
	IG_CALL(vfork),
	IG_CALL(execve),
	IG_CALL(dup2),
	IG_CALL(dup3),
	IG_CALL(wait4),
	IG_CALL(waitid),
	IG_CALL(kill),
	IG_CALL(tgkill),
	IG_CALL(pidfd_open),
	IG_CALL(pidfd_send_signal),

	/* what the server calls while it starts and gives its rights up */
	IG_CALL(arch_prctl),
	IG_CALL(prlimit64),
	IG_CALL(setrlimit),
	IG_CALL(setpriority),
	IG_CALL(setgroups),
	IG_CALL(setresgid),
	IG_CALL(setresuid),
	IG_CALL(setuid),
	IG_CALL(capget),
	IG_CALL(capset),
	IG_CALL(seccomp),
	IG_CALL(landlock_create_ruleset),
	IG_CALL(landlock_add_rule),
	IG_CALL(landlock_restrict_self),
	IG_CALL_IF(prctl, IG_ARG_IS(0, PR_CAPBSET_READ)),
	IG_CALL_IF(prctl, IG_ARG_IS(0, PR_CAPBSET_DROP)),
	IG_CALL_IF(prctl, IG_ARG_IS(0, PR_CAP_AMBIENT)),
	IG_CALL_IF(prctl, IG_ARG_IS(0, PR_GET_SECUREBITS)),
	IG_CALL_IF(prctl, IG_ARG_IS(0, PR_SET_NO_NEW_PRIVS)),
	IG_CALL_IF(prctl, IG_ARG_IS(0, PR_GET_NO_NEW_PRIVS)),
	IG_CALL_IF(prctl, IG_ARG_IS(0, PR_SET_DUMPABLE)),
	IG_CALL_IF(prctl, IG_ARG_IS(0, PR_SET_PDEATHSIG)),
	IG_CALL_IF(prctl, IG_ARG_IS(0, PR_SET_SECCOMP)),
	IG_CALL_IF(prctl, IG_ARG_IS(0, PR_GET_SECCOMP)),

	/* files: sockets in the file system, pins */
	IG_CALL(mkdir),
	IG_CALL(mkdirat),
	IG_CALL(rmdir),
	IG_CALL(chmod),
	IG_CALL(fchmod),
	IG_CALL(fchmodat),
	IG_CALL(chown),
	IG_CALL(fchown),
	IG_CALL(fchownat),
	IG_CALL(umask),
	/* a cgroup by its number */
	IG_CALL(name_to_handle_at),
	IG_CALL(open_by_handle_at),

	/* namespaces and sockets in them */
	IG_CALL_IF(setns, IG_ARG_IS(1, CLONE_NEWNET)),
	IG_CALL_IF(ioctl, IG_ARG_IS(1, NS_GET_NSTYPE)),
	IG_CALL_IF(ioctl, IG_ARG_IS(1, SIOCGSKNS)),
	IG_CALL_IF(ioctl, IG_ARG_IS(1, SIOCGIFHWADDR)),
	IG_CALL_IF_BOTH(socket, IG_ARG_IS(0, AF_NETLINK), IG_ARG_IS(2, NETLINK_SOCK_DIAG)),
	IG_CALL(listen),
	IG_CALL(accept),

	BPF_COMMAND(BPF_MAP_LOOKUP_ELEM),
	BPF_COMMAND(BPF_MAP_UPDATE_ELEM),
	BPF_COMMAND(BPF_MAP_DELETE_ELEM),
	BPF_COMMAND(BPF_MAP_GET_NEXT_KEY),
	BPF_COMMAND(BPF_MAP_LOOKUP_AND_DELETE_ELEM),
	BPF_COMMAND(BPF_OBJ_PIN),
	BPF_COMMAND(BPF_OBJ_GET),
	BPF_COMMAND(BPF_OBJ_GET_INFO_BY_FD),
	BPF_COMMAND(BPF_PROG_ATTACH),
	BPF_COMMAND(BPF_PROG_DETACH),
	BPF_COMMAND(BPF_PROG_QUERY),
	BPF_COMMAND(BPF_PROG_GET_NEXT_ID),
	BPF_COMMAND(BPF_PROG_GET_FD_BY_ID),
	BPF_COMMAND(BPF_MAP_GET_NEXT_ID),
	BPF_COMMAND(BPF_MAP_GET_FD_BY_ID),
	BPF_COMMAND(BPF_LINK_CREATE),
	BPF_COMMAND(BPF_LINK_UPDATE),
	BPF_COMMAND(BPF_LINK_DETACH),
	BPF_COMMAND(BPF_LINK_GET_NEXT_ID),
	BPF_COMMAND(BPF_LINK_GET_FD_BY_ID),
	BPF_REFUSED(BPF_PROG_LOAD),
	BPF_REFUSED(BPF_MAP_CREATE),
	BPF_REFUSED(BPF_BTF_LOAD),
};

struct ig_call_list ig_calls_monitor(void)
{
	return (struct ig_call_list){.calls = calls, .n = IG_ARRAY_SIZE(calls)};
}
