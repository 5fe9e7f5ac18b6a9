/*
 * System call filters; see filter.h. Called once by each process, after everything that needs more
 * than the list and before anything is read that others wrote.
 */
#include "sandbox/filter.h"

#include <errno.h>
#include <seccomp.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sandbox/calls.h"

static void releasep(scmp_filter_ctx *context)
{
	if (*context)
		seccomp_release(*context);
}

static int add_list(scmp_filter_ctx context, struct ig_call_list list)
{
	for (size_t i = 0; i < list.n; i++) {
		const struct ig_call *call = &list.calls[i];
		/* a call that this architecture does not have is passed over */
		int r = seccomp_rule_add_array(
			context, call->action, call->number, call->n_args, call->args);

		if (r < 0)
			return r;
	}
	return 0;
}

/* abort() and the like: signals to this very process. The number is fixed here, so that what is
 * started later cannot use it either. */
static int add_own_signals(scmp_filter_ctx context)
{
	const struct scmp_arg_cmp self[] = {IG_ARG_IS(0, getpid())};

	return seccomp_rule_add_array(context, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, self);
}

static int set_attributes(scmp_filter_ctx context)
{
	int r = seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

	if (r == 0)
		r = seccomp_attr_set(context, SCMP_FLTATR_CTL_TSYNC, 1);
	/* a search tree instead of a list a hundred steps long */
	if (r == 0)
		r = seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	return r;
}

static int build(scmp_filter_ctx context, enum ig_filter filter)
{
	int r = set_attributes(context);

	if (r == 0)
		r = add_list(context, ig_calls_common());
	if (r == 0 && filter == IG_FILTER_SERVER)
		r = add_own_signals(context);
	if (r == 0)
		r = add_list(context,
			filter == IG_FILTER_SERVER ? ig_calls_server() : ig_calls_monitor());
	return r;
}

int ig_filter_install(enum ig_filter filter, struct ig_err *reterr_err)
{
	_cleanup_(releasep) scmp_filter_ctx context = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int r;

	if (!context)
		return ig_err_set(reterr_err, -ENOMEM, "cannot make a filter for system calls");
	r = build(context, filter);
	if (r < 0)
		return ig_err_set(reterr_err, r, "cannot build the filter for system calls: %s",
			strerror(-r));
	r = seccomp_load(context);
	if (r < 0)
		return ig_err_set(reterr_err, r,
			"the kernel does not take the filter for system calls (CONFIG_SECCOMP_FILTER): %s",
			strerror(-r));
	return 0;
}
