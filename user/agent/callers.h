/*
 * What only the monitor can find out about a caller (its cgroup's path, its executable),
 * remembered: the same cgroup and the same process ask again and again.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <imdsgate/abi.h>

#include "workload/cgroup.h"

struct ig_callers;
struct ig_link;

/* Strings are owned by the structure; ig_caller_facts_done() frees them. */
struct ig_caller_facts {
	/* below the cgroup root: the caller's own, or its workload's where that cannot be found out
	 * any more; NULL when neither can */
	char *cgroup_path;
	struct ig_cgroup_pod in; /* what that says; uid "": it is in no pod */
	char *exe;		 /* NULL when the process is gone or runs another file by now */
	bool exe_deleted;
	bool lost; /* there was no memory for what is known: not a word on who it is */
};

/* What counts as one caller: the declared cgroup, else the caller's own. */
uint64_t ig_caller_workload(const struct ig_caller *caller);

void ig_caller_facts_done(struct ig_caller_facts *facts);
/* Its path, which is copied, and what it says: read once, since every request asks for it. */
void ig_caller_facts_set_cgroup(struct ig_caller_facts *facts, const char *path);

typedef void ig_callers_done(void *userdata);

int ig_callers_new(struct ig_link *link, struct ig_callers **ret);
/* Who still waits is told at once, with what is known. */
struct ig_callers *ig_callers_free(struct ig_callers *callers);

/* Fills *facts (see `lost`). 1: now, `done` is not called. 0: later, `done` is called once unless
 * ig_callers_cancel() comes first; `facts` must stay where it is until then. Negative errno: not at
 * all, ask again later; -EBUSY: too many of the caller's workload, or of all, are under way. */
int ig_callers_resolve(struct ig_callers *callers, const struct ig_caller *caller,
	struct ig_caller_facts *facts, ig_callers_done *done, void *userdata);
void ig_callers_cancel(struct ig_callers *callers, const void *userdata);
/* Lookups that were refused: too many were under way already, of the workload or of all. */
uint64_t ig_callers_too_many(const struct ig_callers *callers);
