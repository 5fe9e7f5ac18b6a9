/*
 * Giving up privilege; see privs.h. Called once by the server process before it looks at anything
 * that somebody else wrote. Reads from top to bottom as the list of what goes.
 */
#include "agent/privs.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "sandbox/sanitized.h"

static int failed(const char *what, struct ig_err *err)
{
	int r = errno ? -errno : -EPERM;

	return ig_err_set(err, r, "cannot give up privilege (%s): %s", what, strerror(-r));
}

static int verify(uint32_t uid, uint32_t gid, struct ig_err *err)
{
	uid_t r_uid, e_uid, s_uid;
	gid_t r_gid, e_gid, s_gid;

	if (getresuid(&r_uid, &e_uid, &s_uid) < 0 || getresgid(&r_gid, &e_gid, &s_gid) < 0)
		return failed("reading ids", err);
	if (r_uid != uid || e_uid != uid || s_uid != uid || r_gid != gid || e_gid != gid ||
		s_gid != gid || getgroups(0, NULL) != 0)
		return ig_err_set(err, -EPERM, "the user ids are not what was asked for");
	if (capng_get_caps_process() != 0 ||
		capng_have_capabilities(CAPNG_SELECT_ALL) != CAPNG_NONE)
		return ig_err_set(err, -EPERM, "capabilities are left after dropping them");
	errno = 0;
	if (setuid(0) == 0)
		return ig_err_set(err, -EPERM, "the way back to root is open");
	return 0;
}

int ig_privs_drop(uint32_t uid, uint32_t gid, struct ig_err *reterr_err)
{
	const struct rlimit no_core = {};

	errno = 0;
	if (setrlimit(RLIMIT_CORE, &no_core) < 0)
		return failed("core dumps", reterr_err);
	/* the bounding set needs CAP_SETPCAP, so it goes first */
	capng_clear(CAPNG_SELECT_ALL);
	if (capng_apply(CAPNG_SELECT_BOUNDS) != 0)
		return failed("bounding set", reterr_err);
	if (setgroups(0, NULL) < 0)
		return failed("groups", reterr_err);
	if (setresgid(gid, gid, gid) < 0)
		return failed("group id", reterr_err);
	if (setresuid(uid, uid, uid) < 0)
		return failed("user id", reterr_err);
	capng_clear(CAPNG_SELECT_ALL);
	if (capng_apply(CAPNG_SELECT_CAPS) != 0)
		return failed("capabilities", reterr_err);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return failed("no_new_privs", reterr_err);
	/* tokens are in this memory: no core file, no ptrace by others of the same uid */
	if (prctl(PR_SET_DUMPABLE, IG_SANITIZED, 0, 0, 0) < 0)
		return failed("dumpable", reterr_err);
	/* after the ids, whose change clears it */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return failed("parent death signal", reterr_err);
	return verify(uid, gid, reterr_err);
}
