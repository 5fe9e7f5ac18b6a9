/*
 * System calls of the server process; see calls.h. It serves what is open already, reads files,
 * writes the audit, calls other hosts, and has threads. It starts no program, makes no memory
 * executable, and opens no kind of socket that goes round TCP and UDP.
 */
#include "sandbox/calls.h"

#include <errno.h>
#include <linux/bpf.h>
#include <sched.h>
#include <sys/mman.h>

#include "base/cleanup.h"

static const struct ig_call calls[] = {
	/* A library: name resolution tries to load what /etc/nsswitch.conf names, and goes on to
	 * the next row of it when it cannot. */
	{SCMP_SYS(mmap), SCMP_ACT_ERRNO(EACCES), 2,
		{IG_ARG_HAS(2, PROT_WRITE | PROT_EXEC, PROT_EXEC),
			IG_ARG_HAS(3, MAP_ANONYMOUS, 0)}},

	/* threads of this process, and nothing else that clone() makes */
	IG_CALL_IF(clone, IG_ARG_HAS(0, CLONE_THREAD | IG_NEW_NAMESPACES, CLONE_THREAD)),
	/* reading a limit, not setting one */
	IG_CALL_IF(prlimit64, IG_ARG_IS(2, 0)),
	/* who is at the other end of a unix socket; what could be done with it is not here */
	IG_CALL_IF(pidfd_open, IG_ARG_IS(1, 0)),

	/* entries of the map of flows, whose descriptor it was given */
	IG_CALL_IF(bpf, IG_ARG_IS(0, BPF_MAP_LOOKUP_ELEM)),
	IG_CALL_IF(bpf, IG_ARG_IS(0, BPF_MAP_DELETE_ELEM)),
	IG_CALL_IF(bpf, IG_ARG_IS(0, BPF_MAP_LOOKUP_AND_DELETE_ELEM)),
};

struct ig_call_list ig_calls_server(void)
{
	return (struct ig_call_list){.calls = calls, .n = IG_ARRAY_SIZE(calls)};
}
