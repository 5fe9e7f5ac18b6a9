/*
 * Facts about callers; see callers.h. Two small caches in front of two requests to the monitor.
 * Entries are never wrong: cgroup ids are not used again, and a process is named by pid and start
 * time.
 */
#include "agent/callers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <imdsgate/limits.h>

#include "agent/link.h"
#include "agent/quota.h"
#include "base/cleanup.h"
#include "base/table.h"

struct process_key {
	uint64_t start_time_ns;
	uint64_t exe_inode;
	uint32_t tgid;
	uint32_t pad;
};

struct fact_key {
	uint64_t cgroup_id; /* 0 in entries of processes */
	struct process_key process;
};

struct fact {
	struct fact_key key;
	char *text; /* owned */
	bool deleted;
	UT_hash_handle hh;
};

/* One caller that waits for one or two answers. */
struct lookup {
	struct ig_callers *callers;
	struct ig_caller caller;
	struct ig_caller_facts *facts; /* the waiting one's; NULL once cancelled */
	ig_callers_done *done;
	const void *userdata;
	unsigned int outstanding;
	bool of_workload; /* what is asked for is the workload's path, not the caller's own */
	LIST_ENTRY(lookup) link;
};

struct ig_callers {
	struct ig_link *link; /* outlives this */
	struct fact *facts;   /* oldest first */
	LIST_HEAD(, lookup) lookups;
	struct ig_quota *quota; /* lookups of each workload */
	uint64_t too_many;
};

uint64_t ig_caller_workload(const struct ig_caller *caller)
{
	return caller->workload_cgroup_id ? caller->workload_cgroup_id : caller->cgroup_id;
}

void ig_caller_facts_done(struct ig_caller_facts *facts)
{
	free(facts->cgroup_path);
	free(facts->exe);
	*facts = (struct ig_caller_facts){};
}

int ig_callers_new(struct ig_link *link, struct ig_callers **ret)
{
	struct ig_callers *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->link = link;
	LIST_INIT(&c->lookups);
	if (ig_quota_new(IG_CALLER_LOOKUPS_WORKLOAD_MAX, &c->quota) < 0) {
		free(c);
		return -ENOMEM;
	}
	*ret = c;
	return 0;
}

static void drop_fact(struct ig_callers *c, struct fact *fact)
{
	HASH_DEL(c->facts, fact);
	free(fact->text);
	free(fact);
}

struct ig_callers *ig_callers_free(struct ig_callers *c)
{
	struct fact *fact, *next;
	struct lookup *l;

	if (!c)
		return NULL;
	HASH_ITER (hh, c->facts, fact, next)
		drop_fact(c, fact);
	while ((l = LIST_FIRST(&c->lookups)) != NULL) {
		LIST_REMOVE(l, link);
		ig_link_forget(c->link, l);
		if (l->facts)
			l->done((void *)l->userdata);
		free(l);
	}
	c->quota = ig_quota_free(c->quota);
	free(c);
	return NULL;
}

static struct fact_key cgroup_key(const struct ig_caller *caller)
{
	return (struct fact_key){.cgroup_id = caller->cgroup_id};
}

static struct fact_key process_key(const struct ig_caller *caller)
{
	return (struct fact_key){.process = {.start_time_ns = caller->start_time_ns,
					 .exe_inode = caller->exe_inode,
					 .tgid = caller->tgid}};
}

static const struct fact *find(const struct ig_callers *c, const struct fact_key *key)
{
	struct fact *fact;

	HASH_FIND(hh, c->facts, key, sizeof(*key), fact);
	return fact;
}

/* A fact that does not fit in memory is merely asked for again. */
static void remember(
	struct ig_callers *c, const struct fact_key *key, const char *text, bool deleted)
{
	struct fact *fact;

	if (find(c, key))
		return;
	fact = calloc(1, sizeof(*fact));
	if (!fact)
		return;
	fact->key = *key;
	fact->deleted = deleted;
	fact->text = strdup(text);
	if (!fact->text) {
		free(fact);
		return;
	}
	if (HASH_COUNT(c->facts) >= IG_CALLER_FACTS_MAX)
		drop_fact(c, c->facts);
	HASH_ADD(hh, c->facts, key, sizeof(fact->key), fact);
	if (!ig_table_has(fact)) {
		free(fact->text);
		free(fact);
	}
}

static void keep(struct ig_caller_facts *facts, char **field, const char *text)
{
	*field = strdup(text);
	facts->lost |= !*field;
}

void ig_caller_facts_set_cgroup(struct ig_caller_facts *facts, const char *path)
{
	keep(facts, &facts->cgroup_path, path);
	if (facts->cgroup_path)
		(void)ig_cgroup_parse_pod(path, &facts->in);
}

/* Returns whether the cache had it. */
static bool take_cgroup(
	const struct ig_callers *c, const struct ig_caller *caller, struct ig_caller_facts *facts)
{
	struct fact_key key = cgroup_key(caller);
	const struct fact *fact = find(c, &key);

	if (fact)
		ig_caller_facts_set_cgroup(facts, fact->text);
	return fact != NULL;
}

static bool take_process(
	const struct ig_callers *c, const struct ig_caller *caller, struct ig_caller_facts *facts)
{
	struct fact_key key = process_key(caller);
	const struct fact *fact = find(c, &key);

	if (fact) {
		keep(facts, &facts->exe, fact->text);
		facts->exe_deleted = fact->deleted;
	}
	return fact != NULL;
}

static void answered(struct lookup *l)
{
	if (--l->outstanding > 0)
		return;
	LIST_REMOVE(l, link);
	ig_quota_give(l->callers->quota, ig_caller_workload(&l->caller));
	if (l->facts)
		l->done((void *)l->userdata);
	free(l);
}

static ig_link_reply on_cgroup;

/* A cgroup that a workload made for itself can be gone by now, or have a path that nobody can read.
 * The workload's own, which the kernel found at connect(), says as much of who it is. */
static bool ask_for_workload(struct lookup *l)
{
	const struct ig_monitor_request request = {
		.kind = IG_MONITOR_CGROUP_PATH, .cgroup_id = l->caller.workload_cgroup_id};

	if (l->of_workload || !request.cgroup_id || request.cgroup_id == l->caller.cgroup_id)
		return false;
	l->of_workload = true;
	return ig_link_request(l->callers->link, &request, on_cgroup, l) == 0;
}

static void on_cgroup(const struct ig_monitor_message *reply, void *userdata)
{
	struct lookup *l = userdata;
	struct fact_key key = cgroup_key(&l->caller);

	if (reply->result == 0) {
		remember(l->callers, &key, reply->cgroup_path, false);
		if (l->facts)
			ig_caller_facts_set_cgroup(l->facts, reply->cgroup_path);
	} else if (reply->result == -ENOMEM) {
		if (l->facts)
			l->facts->lost = true;
	} else if (ask_for_workload(l)) {
		return;
	}
	answered(l);
}

static void on_process(const struct ig_monitor_message *reply, void *userdata)
{
	struct lookup *l = userdata;
	struct fact_key key = process_key(&l->caller);

	if (reply->result == 0) {
		remember(l->callers, &key, reply->process.path, reply->process.deleted);
		if (l->facts) {
			keep(l->facts, &l->facts->exe, reply->process.path);
			l->facts->exe_deleted = reply->process.deleted;
		}
	} else if (reply->result == -ENOMEM && l->facts) {
		l->facts->lost = true;
	}
	answered(l);
}

static int ask(struct ig_callers *c, struct lookup *l, bool cgroup, bool process)
{
	struct ig_monitor_request request = {};
	int r = 0;

	if (cgroup) {
		request.kind = IG_MONITOR_CGROUP_PATH;
		request.cgroup_id = l->caller.cgroup_id;
		r = ig_link_request(c->link, &request, on_cgroup, l);
		if (r < 0)
			return r;
		l->outstanding++;
	}
	if (process) {
		request = (struct ig_monitor_request){.kind = IG_MONITOR_PROCESS};
		request.process.tgid = l->caller.tgid;
		request.process.start_time_ns = l->caller.start_time_ns;
		request.process.exe_inode = l->caller.exe_inode;
		r = ig_link_request(c->link, &request, on_process, l);
		if (r == 0)
			l->outstanding++;
	}
	/* the executable's path is worth having, the cgroup is what counts */
	return l->outstanding ? 0 : r;
}

int ig_callers_resolve(struct ig_callers *c, const struct ig_caller *caller,
	struct ig_caller_facts *facts, ig_callers_done *done, void *userdata)
{
	bool need_cgroup = !take_cgroup(c, caller, facts);
	bool need_process = caller->exe_inode && !take_process(c, caller, facts);
	struct lookup *l;
	int r;

	if (facts->lost)
		return -ENOMEM;
	if (!need_cgroup && !need_process)
		return 1;
	if (!ig_quota_take(c->quota, ig_caller_workload(caller))) {
		c->too_many++;
		return -EBUSY;
	}
	l = calloc(1, sizeof(*l));
	if (!l) {
		ig_quota_give(c->quota, ig_caller_workload(caller));
		return -ENOMEM;
	}
	l->callers = c;
	l->caller = *caller;
	l->facts = facts;
	l->done = done;
	l->userdata = userdata;
	r = ask(c, l, need_cgroup, need_process);
	if (r < 0 || l->outstanding == 0) {
		c->too_many += r == -EBUSY;
		ig_quota_give(c->quota, ig_caller_workload(caller));
		free(l);
		return need_cgroup ? r : 1;
	}
	LIST_INSERT_HEAD(&c->lookups, l, link);
	return 0;
}

uint64_t ig_callers_too_many(const struct ig_callers *c)
{
	return c->too_many;
}

void ig_callers_cancel(struct ig_callers *c, const void *userdata)
{
	struct lookup *l;

	/* the answers still come and are worth remembering */
	LIST_FOREACH (l, &c->lookups, link)
		if (l->userdata == userdata)
			l->facts = NULL;
}
