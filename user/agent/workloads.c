/*
 * Declared workloads into the data path; see workloads.h. Works towards a wanted state: every
 * cgroup id has a wanted entry and a state that was asked for last; differences are sent as the
 * link allows, so a full link delays but never loses a change.
 */
#include "agent/workloads.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include "agent/agent.h"
#include "agent/link.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/table.h"
#include "policy/binding.h"
#include "workload/cgroup.h"
#include "workload/cgroup_watch.h"

struct target {
	uint64_t cgroup_id;
	struct ig_workload_entry want, sent;
	bool wanted;   /* else: to be deleted */
	bool was_sent; /* `sent` is what the map has or will have */
	bool again;    /* the monitor could not do what was sent */
	bool queued;
	TAILQ_ENTRY(target) queue;
	UT_hash_handle hh;
};

struct ig_workloads {
	struct ig_link *link;	      /* outlives this */
	const struct ig_store *store; /* outlives this */
	struct ig_cgroup_watch *watch;
	int root_fd; /* borrowed */
	struct target *targets;
	TAILQ_HEAD(, target) queue; /* those that may differ from what was sent */
	uint64_t exceptions_epoch;  /* of the store; that all verdicts belong to */
	struct event *pump;	    /* owned */
	struct event *again;	    /* owned */
	const struct ig_workloads_ops *ops;
	void *userdata;
	size_t outstanding;
	bool updated, is_synced, sync_sent;
	bool incomplete; /* something is declared that there was no memory to follow */
	bool resend;	 /* something was sent that the monitor could not do */
};

IG_DEFINE_CLEANUP(struct ig_workloads *, ig_workloads_free);

struct ig_workload_entry ig_workloads_verdicts(
	const struct ig_store *store, const struct ig_pod *pod)
{
	/* the built-in exceptions, for which it takes options, lead through the gate */
	const struct ig_exception *exception = ig_policy_exception(store, pod, NULL);
	struct ig_workload_entry entry = {};

	entry.verdict[IG_ENDPOINT_IMDS] = exception && exception->mode == IG_EXCEPTION_DIRECT
						  ? IG_VERDICT_PASS
						  : IG_VERDICT_REDIRECT;
	entry.verdict[IG_ENDPOINT_WIRESERVER] = IG_VERDICT_DENY;
	entry.verdict[IG_ENDPOINT_HOSTGAPLUGIN] = IG_VERDICT_DENY;
	return entry;
}

/* What holds below the pods' roots. Pods that are not known yet are redirected all the same, and
 * decided by the server. */
static const struct ig_workload_entry pods_default = {
	.verdict = {[IG_ENDPOINT_IMDS] = IG_VERDICT_REDIRECT,
		[IG_ENDPOINT_WIRESERVER] = IG_VERDICT_DENY,
		[IG_ENDPOINT_HOSTGAPLUGIN] = IG_VERDICT_DENY},
	.covers_many = 1,
};

static struct ig_workload_entry verdicts_of_path(const struct ig_workloads *w, const char *path)
{
	struct ig_cgroup_pod in = {};
	const struct ig_pod *pod;

	(void)ig_cgroup_parse_pod(path, &in);
	pod = ig_serve_find_pod(w->store, path, &in);
	return pod ? ig_workloads_verdicts(w->store, pod) : pods_default;
}

static bool is_default(const struct ig_workload_entry *entry)
{
	return memcmp(entry->verdict, pods_default.verdict, sizeof(entry->verdict)) == 0;
}

static struct target *target_get(struct ig_workloads *w, uint64_t cgroup_id)
{
	struct target *t;

	HASH_FIND(hh, w->targets, &cgroup_id, sizeof(cgroup_id), t);
	if (t)
		return t;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->cgroup_id = cgroup_id;
	HASH_ADD(hh, w->targets, cgroup_id, sizeof(t->cgroup_id), t);
	if (!ig_table_has(t)) {
		free(t);
		return NULL;
	}
	return t;
}

static void look_at(struct ig_workloads *w, struct target *t)
{
	if (t->queued)
		return;
	t->queued = true;
	TAILQ_INSERT_TAIL(&w->queue, t, queue);
}

static bool differs(const struct target *t)
{
	return t->again || t->wanted != t->was_sent ||
	       (t->wanted && memcmp(&t->want, &t->sent, sizeof(t->want)) != 0);
}

static void pump_soon(struct ig_workloads *w)
{
	static const struct timeval now = {};

	(void)evtimer_add(w->pump, &now);
}

static void arm_again(struct ig_workloads *w)
{
	static const struct timeval pause = {.tv_sec = IG_WORKLOADS_AGAIN_SEC};

	(void)evtimer_add(w->again, &pause);
}

/* Out of memory: what the kernel has stays until all of it can be looked at again. */
static void again_later(struct ig_workloads *w)
{
	w->incomplete = true;
	arm_again(w);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct ig_workloads *w = arg;
	struct target *t, *next;
	int r;

	(void)fd;
	(void)what;
	HASH_ITER (hh, w->targets, t, next) {
		t->again |= w->resend;
		look_at(w, t);
	}
	w->resend = false;
	r = ig_workloads_update(w);
	if (r < 0)
		(void)ig_log_errno(r, "cannot follow the workloads, trying again");
}

/* Whatever the reason: a workload of the host's namespace without its entry passes as the host. */
static void refused(struct ig_workloads *w, const struct ig_monitor_message *reply)
{
	if (!w->resend) /* once for all that are sent together */
		(void)ig_log_errno(reply->result, "cannot change the map of workloads",
			IG_KV_U64(KIND, reply->request));
	if (reply->request == IG_MONITOR_WORKLOADS_SYNCED)
		return; /* a server says it once */
	w->resend = true;
	if (reply->result == -E2BIG)
		arm_again(w); /* SYNCED may make room, so it is not held back */
	else
		again_later(w);
}

static void on_reply(const struct ig_monitor_message *reply, void *userdata)
{
	struct ig_workloads *w = userdata;

	w->outstanding--;
	/* -ENOENT: the cgroup went away meanwhile, which its directory's event says too */
	if (reply->result < 0 && reply->result != -ENOENT)
		refused(w, reply);
	if (reply->request == IG_MONITOR_WORKLOADS_SYNCED && !w->is_synced) {
		w->is_synced = true;
		w->ops->synced(w->userdata);
	}
	pump_soon(w);
}

static int send_target(struct ig_workloads *w, struct target *t)
{
	struct ig_monitor_request request = {};
	int r;

	if (t->wanted) {
		request.kind = IG_MONITOR_WORKLOAD_SET;
		request.workload.cgroup_id = t->cgroup_id;
		request.workload.entry = t->want;
	} else {
		request.kind = IG_MONITOR_WORKLOAD_DELETE;
		request.cgroup_id = t->cgroup_id;
	}
	r = ig_link_request(w->link, &request, on_reply, w);
	if (r < 0)
		return r;
	w->outstanding++;
	t->sent = t->want;
	t->was_sent = t->wanted;
	t->again = false;
	return 0;
}

/* All that is known has been sent. Entries that an earlier process left and nobody declares any
 * more go now, unless part of what is declared could not be read: they may be of that part, and
 * without its entry a workload in the host's namespace would pass as the host. */
static void settle(struct ig_workloads *w)
{
	struct ig_monitor_request done = {.kind = IG_MONITOR_WORKLOADS_SYNCED};

	if (w->ops->complete(w->userdata)) {
		if (ig_link_request(w->link, &done, on_reply, w) < 0) {
			again_later(w);
			return;
		}
		w->outstanding++;
		w->sync_sent = true;
	} else if (!w->is_synced) {
		w->is_synced = true;
		w->ops->synced(w->userdata);
	}
}

/* Sends what differs until the link is full; replies and changes call it again. */
static void pump(struct ig_workloads *w)
{
	struct target *t;

	while ((t = TAILQ_FIRST(&w->queue)) != NULL) {
		if (differs(t) && send_target(w, t) < 0) {
			if (w->outstanding == 0) /* no reply calls us again */
				again_later(w);
			return;
		}
		TAILQ_REMOVE(&w->queue, t, queue);
		t->queued = false;
		if (!t->wanted && !t->was_sent) {
			HASH_DEL(w->targets, t);
			free(t);
		}
	}
	if (w->updated && !w->incomplete && !w->sync_sent && w->outstanding == 0)
		settle(w);
}

static void on_pump(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	pump(arg);
}

static void on_cgroup_changed(const char *path, uint64_t old_id, uint64_t id, void *userdata)
{
	struct ig_workloads *w = userdata;
	struct target *t;

	if (old_id) {
		HASH_FIND(hh, w->targets, &old_id, sizeof(old_id), t);
		if (t) {
			t->wanted = false;
			look_at(w, t);
		}
	}
	t = id ? target_get(w, id) : NULL;
	if (t) {
		t->want = verdicts_of_path(w, path);
		t->wanted = true;
		look_at(w, t);
	} else if (id) {
		(void)ig_log_errno(-ENOMEM, "cannot follow a workload, trying again");
		again_later(w);
	}
	pump_soon(w);
}

int ig_workloads_new(struct event_base *base, int root_fd, struct ig_link *link,
	const struct ig_store *store, const struct ig_workloads_ops *ops, void *userdata,
	struct ig_workloads **ret)
{
	_cleanup_(ig_workloads_freep) struct ig_workloads *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	w->link = link;
	w->store = store;
	w->root_fd = root_fd;
	w->ops = ops;
	w->userdata = userdata;
	TAILQ_INIT(&w->queue);
	w->pump = evtimer_new(base, on_pump, w);
	w->again = evtimer_new(base, on_again, w);
	if (!w->pump || !w->again)
		return -ENOMEM;
	r = ig_cgroup_watch_new(base, root_fd, on_cgroup_changed, w, &w->watch);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(w);
	return 0;
}

struct ig_workloads *ig_workloads_free(struct ig_workloads *w)
{
	struct target *t, *next;

	if (!w)
		return NULL;
	ig_link_forget(w->link, w);
	w->watch = ig_cgroup_watch_free(w->watch);
	HASH_ITER (hh, w->targets, t, next) {
		HASH_DEL(w->targets, t);
		free(t);
	}
	if (w->pump)
		event_free(w->pump);
	if (w->again)
		event_free(w->again);
	free(w);
	return NULL;
}

struct paths {
	char **items; /* owned, as are the strings */
	size_t n, cap;
};

static void paths_done(struct paths *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->items[i]);
	free(p->items);
	*p = (struct paths){};
}

static int paths_add(struct paths *p, const char *path)
{
	char *copy;

	if (p->n == p->cap) {
		size_t cap = p->cap ? 2 * p->cap : 16;
		char **items = reallocarray(p->items, cap, sizeof(*items));

		if (!items)
			return -ENOMEM;
		p->items = items;
		p->cap = cap;
	}
	copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	p->items[p->n++] = copy;
	return 0;
}

/* The pods' roots cover every pod that is treated as the rest; one that is not needs its own entry.
 */
static int add_pod(struct paths *p, const struct ig_store *store, const struct ig_pod *pod)
{
	struct ig_workload_entry entry = ig_workloads_verdicts(store, pod);
	char path[IG_CGROUP_PATH_BYTES + 1];
	int r = 0;

	if (pod->cgroup[0])
		return paths_add(p, pod->cgroup);
	if (is_default(&entry))
		return 0;
	for (unsigned int i = 0; r == 0; i++) {
		r = ig_cgroup_pod_path(pod->uid, i, path, sizeof(path));
		if (r == 0)
			r = paths_add(p, path);
	}
	return r == -ENOMEM ? r : 0;
}

static int collect_paths(const struct ig_workloads *w, struct paths *ret)
{
	const struct ig_pod *pod;
	size_t iter = 0;
	int r = 0;

	while (r == 0 && (pod = ig_store_next_pod(w->store, &iter)) != NULL)
		r = add_pod(ret, w->store, pod);
	for (size_t i = 0; r == 0 && ig_cgroup_pods_roots[i]; i++)
		r = paths_add(ret, ig_cgroup_pods_roots[i]);
	return r;
}

int ig_workloads_update(struct ig_workloads *w)
{
	_cleanup_(paths_done) struct paths paths = {};
	struct target *t, *next;
	int r = collect_paths(w, &paths);

	if (r == 0) /* reports the new ones; all are looked up below */
		r = ig_cgroup_watch_set(w->watch, (const char *const *)paths.items, paths.n);
	if (r < 0) {
		again_later(w);
		return r;
	}
	/* only now: an entry that goes by mistake makes a workload part of the host */
	w->incomplete = w->resend;
	w->exceptions_epoch = ig_store_kind_epoch(w->store, IG_OBJECT_EXCEPTION);
	HASH_ITER (hh, w->targets, t, next) {
		t->wanted = false;
		look_at(w, t);
	}
	for (size_t i = 0; i < paths.n; i++) {
		uint64_t id = ig_cgroup_watch_id(w->watch, paths.items[i]);

		if (id)
			on_cgroup_changed(paths.items[i], 0, id, w);
	}
	w->updated = true;
	pump_soon(w);
	return 0;
}

static bool is_pods_root(const char *path)
{
	for (size_t i = 0; ig_cgroup_pods_roots[i]; i++)
		if (strcmp(ig_cgroup_pods_roots[i], path) == 0)
			return true;
	return false;
}

/* As collect_paths() decides it for all. */
static bool is_declared(const struct ig_workloads *w, const char *path)
{
	const struct ig_pod *pod = ig_store_pod_by_cgroup(w->store, path);
	struct ig_workload_entry entry;
	struct ig_cgroup_pod in;

	if (is_pods_root(path) || (pod && strcmp(pod->cgroup, path) == 0))
		return true;
	if (ig_cgroup_parse_pod(path, &in) < 0)
		return false;
	pod = ig_store_pod_by_uid(w->store, in.uid);
	if (!pod || pod->cgroup[0])
		return false;
	entry = ig_workloads_verdicts(w->store, pod);
	return !is_default(&entry);
}

static void follow_path(struct ig_workloads *w, const char *path)
{
	bool declared = is_declared(w, path);
	uint64_t id = ig_cgroup_watch_id(w->watch, path);

	if (!declared) {
		on_cgroup_changed(path, id, 0, w);
		ig_cgroup_watch_remove(w->watch, path);
	} else if (id) {
		on_cgroup_changed(path, 0, id, w);
	} else if (ig_cgroup_watch_add(w->watch, path) < 0) {
		(void)ig_log_errno(-ENOMEM, "cannot follow a workload, trying again");
		again_later(w);
	}
}

static void on_changed_pod(const struct ig_pod *pod, void *userdata)
{
	char path[IG_CGROUP_PATH_BYTES + 1];
	struct ig_workloads *w = userdata;

	if (pod->cgroup[0])
		follow_path(w, pod->cgroup);
	else
		for (unsigned int i = 0; ig_cgroup_pod_path(pod->uid, i, path, sizeof(path)) == 0;
			i++)
			follow_path(w, path);
}

/* Other pods' verdicts do not depend on these, except that one may have declared a cgroup above
 * the pods' roots. */
int ig_workloads_update_changed(struct ig_workloads *w)
{
	if (!w->updated || w->incomplete ||
		w->exceptions_epoch != ig_store_kind_epoch(w->store, IG_OBJECT_EXCEPTION))
		return ig_workloads_update(w);
	ig_store_each_changed_pod(w->store, on_changed_pod, w);
	for (size_t i = 0; ig_cgroup_pods_roots[i]; i++)
		follow_path(w, ig_cgroup_pods_roots[i]);
	pump_soon(w);
	return 0;
}

/* For people: looked up when they ask, so that pods which need no entry cost nothing. */
uint64_t ig_workloads_cgroup_id(struct ig_workloads *w, const struct ig_pod *pod)
{
	char path[IG_CGROUP_PATH_BYTES + 1];
	struct stat st;

	if (pod->cgroup[0])
		return ig_cgroup_watch_id(w->watch, pod->cgroup);
	for (unsigned int i = 0; ig_cgroup_pod_path(pod->uid, i, path, sizeof(path)) == 0; i++)
		if (fstatat(w->root_fd, path + 1, &st, AT_SYMLINK_NOFOLLOW) == 0)
			return st.st_ino;
	return 0;
}
