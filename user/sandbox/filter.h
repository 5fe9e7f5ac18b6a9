/*
 * Which system calls this process may make from now on (seccomp). Anything else ends it, which the
 * kernel logs with the number of the call.
 */
#pragma once

#include "base/err.h"

enum ig_filter {
	IG_FILTER_SERVER,
	IG_FILTER_MONITOR, /* wide enough that the server can be started, and narrow itself down */
};

/* For all threads, and for whatever is started later. Cannot be undone; sets no_new_privs. */
int ig_filter_install(enum ig_filter filter, struct ig_err *reterr_err);
