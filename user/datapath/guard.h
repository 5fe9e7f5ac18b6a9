/*
 * The guard: the programs of bpf/guard.bpf.c at egress of interfaces, as tcx links (Linux 6.6) or
 * clsact filters. Knows interfaces by number and nothing of routes; which ones are uplinks is the
 * monitor's affair. Both kinds outlive the agent: links are pinned below `links/`, filters belong
 * to the interface. Only ig_datapath_detach() takes them off.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"

struct ig_datapath;
struct ig_guard;

enum ig_guard_hook {
	IG_GUARD_HOOK_AUTO,   /* tcx where the kernel has it */
	IG_GUARD_HOOK_CLSACT, /* the classic filter, also where the kernel has tcx */
};

/* Loads the programs against the pinned maps of dp, which outlives the guard. Attaches nothing.
 * -EOPNOTSUPP when the kernel lacks something. */
int ig_guard_new(struct ig_datapath *dp, enum ig_guard_hook hook, struct ig_guard **ret,
	struct ig_err *reterr_err);
/* Lets go of descriptors; what is attached stays. */
struct ig_guard *ig_guard_free(struct ig_guard *guard);

/* Attaches at egress of the interface, in front of other programs there, which stay; takes over
 * what an earlier agent left on it. has_ethernet: its frames begin with an Ethernet header.
 * *ret_hook: "tcx" or "clsact". Attaching again is harmless. -ENODEV when there is no such
 * interface. */
int ig_guard_attach(
	struct ig_guard *guard, unsigned int ifindex, bool has_ethernet, const char **ret_hook);

/* The interface is gone, and our program with it: removes what is left of its pin. */
void ig_guard_forget(struct ig_guard *guard, unsigned int ifindex);

/* Removes our clsact filters from all interfaces of this network namespace; others' stay, as does
 * the (empty) clsact queueing discipline, which somebody else may have made. Returns how many. For
 * ig_datapath_detach(). */
int ig_guard_remove_filters(void);
