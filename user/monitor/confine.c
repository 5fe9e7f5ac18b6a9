/*
 * Giving up rights; see confine.h. The programs are loaded and the first namespaces entered; from
 * here on the monitor works with what there is.
 *
 * There is no landlock here: a process under landlock may not look into processes that are not, and
 * the namespaces and executables of workloads are what the monitor is asked for.
 */
#include "monitor/confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/cleanup.h"
#include "sandbox/capabilities.h"
#include "sandbox/filter.h"

/* docs/architecture.md says of each what breaks without it. */
static const unsigned int kept[] = {
	/* its own work */
	CAP_NET_ADMIN,	      /* attaching programs, ending older connections */
	CAP_SYS_ADMIN,	      /* entering network namespaces, bpf() */
	CAP_SYS_PTRACE,	      /* namespace and executable of a workload's process */
	CAP_DAC_READ_SEARCH,  /* a cgroup by its number */
	CAP_KILL,	      /* the server has another user; a new agent that hangs */
	CAP_NET_BIND_SERVICE, /* port 254, and the services' below 1024 */
	CAP_CHOWN,	      /* the control socket is the server's user's */
	/* what the server needs until it has opened its files and given everything up */
	CAP_DAC_OVERRIDE, /* directories and files of the server's user; the monitor's sockets there
			   */
	CAP_SETUID,
	CAP_SETGID,
	CAP_SETPCAP,
};

static int failed(const char *what, struct ig_err *err)
{
	int r = -errno;

	return ig_err_set(err, r, "cannot give up rights (%s): %s", what, strerror(-r));
}

int ig_monitor_confine(struct ig_err *reterr_err)
{
	const struct rlimit no_core = {};
	int r;

	if (setrlimit(RLIMIT_CORE, &no_core) < 0)
		return failed("core dumps", reterr_err);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return failed("no_new_privs", reterr_err);
	r = ig_capabilities_keep(kept, IG_ARRAY_SIZE(kept), reterr_err);
	return r < 0 ? r : ig_filter_install(IG_FILTER_MONITOR, reterr_err);
}
