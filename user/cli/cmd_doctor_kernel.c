/*
 * Checks of `imdsgate doctor` that look into the kernel: programs, links, maps, features, and
 * whether each pod's network namespace has its listener; see doctor.h. They need root, and work
 * with and without an agent.
 *
 * It must never attach, pin, write to a map, or run anything in a workload's namespace but the
 * question which one it is.
 */
#include <errno.h>
#include <net/if.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "cli/doctor.h"
#include "datapath/features.h"
#include "datapath/inspect.h"
#include "workload/cgroup.h"
#include "workload/netns.h"
#include "workload/process.h"
#include "workload/tasks.h"

#define NEEDS_ROOT	 "needs root"
#define FULL_PERCENT	 80
#define N_CONNECT_HOOKS	 2 /* the first two of ig_inspect_hooks() */
#define FAIL_CLOSED_HINT "start the agent"

static bool needs_root(struct ig_doctor *d, const char *name)
{
	if (!d->is_root)
		ig_doctor_add(d, name, IG_DOCTOR_SKIPPED, NULL, NEEDS_ROOT);
	return !d->is_root;
}

/* -1 when it cannot be opened. */
static int open_cgroup_root(const struct ig_doctor *d)
{
	return d->cgroup_root[0] ? open(d->cgroup_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
}

/* ---- the place ---- */

void ig_doctor_check_cgroup(struct ig_doctor *d)
{
	struct statfs fs;

	if (!d->cgroup_root[0])
		ig_doctor_add(d, "cgroup", IG_DOCTOR_PROBLEM,
			"mount -t cgroup2 none /sys/fs/cgroup, or boot with the unified hierarchy",
			"%s", d->cgroup_error);
	else if (statfs(d->cgroup_root, &fs) < 0)
		ig_doctor_add(d, "cgroup", IG_DOCTOR_PROBLEM,
			"run this where the agent runs (the same mounts)", "%s: %s", d->cgroup_root,
			strerror(errno));
	else if (fs.f_type != CGROUP2_SUPER_MAGIC)
		ig_doctor_add(d, "cgroup", IG_DOCTOR_PROBLEM,
			"name a directory of the cgroup2 mount with --cgroup-root",
			"%s is not in a cgroup2 file system", d->cgroup_root);
	else
		ig_doctor_add(d, "cgroup", IG_DOCTOR_OK, NULL, "%s is a cgroup2 directory",
			d->cgroup_root);
}

/* ---- features ---- */

void ig_doctor_check_features(struct ig_doctor *d)
{
	struct ig_feature features[IG_FEATURES_MAX];
	size_t n, present = 0;

	if (needs_root(d, "kernel_feature"))
		return;
	n = ig_features_probe(features);
	for (size_t i = 0; i < n; i++) {
		const struct ig_feature *f = &features[i];

		present += f->present == 1;
		if (f->present < 0)
			ig_doctor_add(d, "kernel_feature", IG_DOCTOR_SKIPPED, NULL,
				"%s: cannot be tried: %s", f->name, strerror(-f->present));
		else if (!f->present)
			ig_doctor_add(d, "kernel_feature",
				f->needed ? IG_DOCTOR_PROBLEM : IG_DOCTOR_WARNING,
				"a newer kernel has it; README.md says which is needed",
				"%s is missing: %s", f->name, f->cost);
	}
	if (present)
		ig_doctor_add(d, "kernel_feature", IG_DOCTOR_OK, NULL,
			"%zu of %zu features that the data path can use are there", present, n);
}

/* ---- programs ---- */

/* Place of our program in the order of the hook; -1: it does not run there. */
static int position(const struct ig_inspect_hook *hook)
{
	for (size_t i = 0; i < hook->n_programs; i++)
		if (hook->program_id && hook->programs[i].id == hook->program_id)
			return (int)i;
	return -1;
}

static const char *lost_without(const struct ig_doctor *d, const struct ig_inspect_hook *hook)
{
	if (strncmp(hook->hook, "bind", strlen("bind")) == 0)
		return "others can take the port of the gate while no agent runs";
	return d->status ? "connections are not redirected here"
			 : "connections are not redirected here; the node is open";
}

static void check_link(struct ig_doctor *d, const struct ig_inspect_hook *hook, uint64_t expected)
{
	if (hook->link_error == -ENOENT)
		ig_doctor_add(d, "attached", IG_DOCTOR_PROBLEM, FAIL_CLOSED_HINT,
			"%s: no link is pinned in %s: %s", hook->hook, d->pin_dir,
			lost_without(d, hook));
	else if (hook->link_error)
		ig_doctor_add(d, "attached", IG_DOCTOR_PROBLEM, "restart the agent",
			"%s: the pinned link cannot be used: %s", hook->hook,
			strerror(-hook->link_error));
	else if (hook->cgroup_id == 0)
		ig_doctor_add(d, "attached", IG_DOCTOR_PROBLEM, "restart the agent",
			"%s: link %u is attached to nothing: its cgroup was removed", hook->hook,
			hook->link_id);
	else if (expected && hook->cgroup_id != expected)
		ig_doctor_add(d, "attached", IG_DOCTOR_PROBLEM,
			"restart the agent with the right --cgroup-root",
			"%s: link %u is attached to cgroup %" PRIu64 ", not to %s", hook->hook,
			hook->link_id, hook->cgroup_id, d->cgroup_root);
	else if (hook->query_error && hook->query_error != -EBADF)
		ig_doctor_add(d, "attached", IG_DOCTOR_SKIPPED, NULL,
			"%s: the kernel does not say what runs: %s", hook->hook,
			strerror(-hook->query_error));
	else if (!hook->query_error && position(hook) < 0)
		ig_doctor_add(d, "attached", IG_DOCTOR_PROBLEM, "restart the agent",
			"%s: program %u of link %u does not run for %s", hook->hook,
			hook->program_id, hook->link_id, d->cgroup_root);
	else
		ig_doctor_add(d, "attached", IG_DOCTOR_OK, NULL,
			"%s: link %u, program %u (%s), pinned", hook->hook, hook->link_id,
			hook->program_id, hook->program);
}

/* Names of those that run before (or after) ours; returns how many. */
static size_t list_others(
	const struct ig_inspect_hook *hook, size_t from, size_t to, char *buf, size_t len)
{
	size_t n = 0;

	buf[0] = '\0';
	for (size_t i = from; i < to && i < hook->n_programs; i++, n++) {
		size_t used = strlen(buf);

		(void)snprintf(buf + used, len - used, "%s%s (id %u)", n ? ", " : "",
			hook->programs[i].name[0] ? hook->programs[i].name : "?",
			hook->programs[i].id);
	}
	return n;
}

static void check_others(struct ig_doctor *d, const struct ig_inspect_hook *hook)
{
	int own = position(hook);
	char text[IG_DOCTOR_TEXT_BYTES / 2];
	size_t mine = own < 0 ? hook->n_programs : (size_t)own;

	if (hook->query_error)
		return;
	if (hook->exclusive)
		ig_doctor_add(d, "other_programs", IG_DOCTOR_PROBLEM,
			"bpftool cgroup tree shows who; have it attached with BPF_F_ALLOW_MULTI",
			"%s: a program is attached to %s that allows no other beside it",
			hook->hook, d->cgroup_root);
	if (list_others(hook, 0, mine, text, sizeof(text)))
		ig_doctor_add(d, "other_programs", IG_DOCTOR_WARNING,
			"make sure that none of them changes connections to 169.254.169.254",
			"%s: %s: %s", hook->hook,
			own < 0 ? "attached, without ours"
				: "runs before ours and may change where a connect goes",
			text);
	if (own >= 0 && list_others(hook, mine + 1, hook->n_programs, text, sizeof(text)))
		ig_doctor_add(d, "other_programs", IG_DOCTOR_OK, NULL, "%s: runs after ours: %s",
			hook->hook, text);
}

/* Without an agent: what the programs that it left mean for the node. */
static void explain_left(struct ig_doctor *d, const struct ig_inspect_hook *hooks)
{
	size_t left = 0;

	for (size_t i = 0; i < IG_INSPECT_HOOKS; i++)
		left += !hooks[i].link_error && hooks[i].cgroup_id;
	if (left == IG_INSPECT_HOOKS)
		ig_doctor_add(d, "node", IG_DOCTOR_WARNING,
			"start the agent; or imdsgated --detach, which opens the node",
			"closed: the programs of an earlier agent are in force, metadata connections of workloads are refused and none gets a token");
	else if (left)
		ig_doctor_add(d, "node", IG_DOCTOR_PROBLEM, FAIL_CLOSED_HINT,
			"half open: %zu of %d programs of an earlier agent are in force", left,
			IG_INSPECT_HOOKS);
	else
		ig_doctor_add(d, "node", IG_DOCTOR_PROBLEM, FAIL_CLOSED_HINT,
			"open: nothing is attached, every process may ask the metadata service for any identity of this node");
}

void ig_doctor_check_hooks(struct ig_doctor *d)
{
	struct ig_inspect_hook hooks[IG_INSPECT_HOOKS];
	_cleanup_close_ int cgroup = -1;
	struct stat st = {};

	if (needs_root(d, "attached"))
		return;
	cgroup = open_cgroup_root(d);
	/* the id of a cgroup is the inode number of its directory */
	if (cgroup >= 0 && fstat(cgroup, &st) < 0)
		st.st_ino = 0;
	ig_inspect_hooks(d->pin_dir, cgroup, hooks);
	for (size_t i = 0; i < IG_INSPECT_HOOKS; i++)
		check_link(d, &hooks[i], st.st_ino);
	for (size_t i = 0; i < N_CONNECT_HOOKS; i++)
		check_others(d, &hooks[i]);
	if (!d->status)
		explain_left(d, hooks);
}

/* ---- maps ---- */

void ig_doctor_check_maps(struct ig_doctor *d)
{
	struct ig_inspect_map maps[IG_INSPECT_MAPS];
	size_t usable = 0;

	if (needs_root(d, "map"))
		return;
	ig_inspect_maps(d->pin_dir, maps);
	for (size_t i = 0; i < IG_INSPECT_MAPS; i++) {
		const struct ig_inspect_map *m = &maps[i];
		uint64_t percent = m->max_entries ? 100 * (uint64_t)m->used / m->max_entries : 0;

		usable += !m->error;
		if (m->error)
			ig_doctor_add(d, "map", IG_DOCTOR_PROBLEM, "restart the agent",
				"%s is not pinned in %s as this version knows it: %s", m->name,
				d->pin_dir, strerror(-m->error));
		else if (m->is_counted)
			ig_doctor_add(d, "map",
				percent >= FULL_PERCENT ? IG_DOCTOR_WARNING : IG_DOCTOR_OK,
				"when it is full, new entries are refused: the connections they stand for, too",
				"%s: %u of %u entries", m->name, m->used, m->max_entries);
	}
	if (usable == IG_INSPECT_MAPS)
		ig_doctor_add(d, "map", IG_DOCTOR_OK, NULL, "all %zu maps are pinned", usable);
}

/* ---- listeners ---- */

/* Counted by a child that goes from namespace to namespace; crosses a pipe. */
struct seen {
	int32_t error;
	uint32_t pods, pods_without; /* namespaces in which a process of a pod runs */
	uint32_t others, others_without;
	char example[IG_DOCTOR_TEXT_BYTES / 2]; /* cgroup of a process in one of pods_without */
};

struct survey {
	int cgroup_fd, listeners_fd; /* borrowed */
	struct seen seen;
};

static void survey_namespace(int netns_fd, uint64_t cgroup_id, void *userdata)
{
	struct survey *s = userdata;
	char path[IG_CGROUP_PATH_BYTES + 1] = "";
	struct ig_cgroup_pod pod;
	uint64_t cookie = 0;
	bool is_pod, has;
	int r;

	(void)ig_cgroup_path_by_id(s->cgroup_fd, cgroup_id, path, sizeof(path));
	is_pod = ig_cgroup_parse_pod(path, &pod) == 0;
	r = ig_netns_enter(netns_fd);
	if (r == 0)
		r = ig_netns_own_cookie(&cookie);
	if (r == 0)
		r = ig_inspect_has_listener(s->listeners_fd, cookie);
	if (r < 0) {
		s->seen.error = r;
		return;
	}
	has = r > 0;
	s->seen.pods += is_pod;
	s->seen.others += !is_pod;
	s->seen.pods_without += is_pod && !has;
	s->seen.others_without += !is_pod && !has;
	if (is_pod && !has && !s->seen.example[0])
		(void)snprintf(s->seen.example, sizeof(s->seen.example), "%.500s", path);
}

/* In a process of its own, since it does not come back from where it goes. */
static int run_survey(int cgroup_fd, int listeners_fd, struct seen *ret)
{
	int pipes[2], status, r = 0;
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		struct survey s = {.cgroup_fd = cgroup_fd, .listeners_fd = listeners_fd};

		r = ig_tasks_each_namespace(cgroup_fd, survey_namespace, &s);
		if (r < 0)
			s.seen.error = r;
		_exit(ig_fd_write_all(pipes[1], &s.seen, sizeof(s.seen)) < 0);
	}
	if (pid < 0)
		r = -errno;
	(void)ig_close(pipes[1]);
	/* smaller than PIPE_BUF: whole or not at all */
	if (r == 0 && read(pipes[0], ret, sizeof(*ret)) != (ssize_t)sizeof(*ret))
		r = -EIO;
	(void)ig_close(pipes[0]);
	if (pid > 0)
		(void)waitpid(pid, &status, 0);
	return r;
}

void ig_doctor_check_listeners(struct ig_doctor *d)
{
	_cleanup_close_ int cgroup = -1, listeners = -1;
	struct seen seen = {};
	int r;

	if (needs_root(d, "listeners"))
		return;
	cgroup = open_cgroup_root(d);
	r = cgroup < 0 ? -ENOENT : ig_inspect_listeners_open(d->pin_dir, &listeners);
	if (r == 0)
		r = run_survey(cgroup, listeners, &seen);
	if (r == 0)
		r = seen.error;
	if (r == -ENOPROTOOPT)
		ig_doctor_add(d, "listeners", IG_DOCTOR_SKIPPED, NULL,
			"before Linux 5.14 the agent alone tells namespaces apart");
	else if (r < 0)
		ig_doctor_add(d, "listeners", IG_DOCTOR_SKIPPED, NULL,
			"cannot be compared with the namespaces of running processes: %s",
			strerror(-r));
	else if (seen.pods_without)
		ig_doctor_add(d, "listeners", IG_DOCTOR_WARNING,
			"does --netns-dir name the directories of the container runtime?",
			"%u of %u namespaces of pods have no listener (a process in %s): the first connect there is refused, later ones are served",
			seen.pods_without, seen.pods, seen.example);
	else
		ig_doctor_add(d, "listeners", IG_DOCTOR_OK, NULL,
			"each of %u namespaces of running pods has one; of %u others %u have none yet",
			seen.pods, seen.others, seen.others_without);
}

static void add_uplink(struct ig_doctor *d, const struct ig_inspect_uplink *uplink)
{
	char name[IF_NAMESIZE] = "?";

	if (uplink->ifindex)
		(void)if_indextoname(uplink->ifindex, name);
	ig_doctor_add(d, "guard", uplink->ifindex ? IG_DOCTOR_OK : IG_DOCTOR_WARNING,
		uplink->ifindex ? NULL : "the next start of the agent removes it",
		"%s %u on interface %u (%s)", uplink->is_filter ? "filter with program" : "link",
		uplink->id, uplink->ifindex, uplink->ifindex ? name : "gone");
}

void ig_doctor_check_guard(struct ig_doctor *d)
{
	struct ig_inspect_uplink uplinks[IG_INSPECT_UPLINKS_MAX];
	int n;

	if (needs_root(d, "guard"))
		return;
	n = ig_inspect_uplinks(d->pin_dir, uplinks);
	for (int i = 0; i < n; i++)
		add_uplink(d, &uplinks[i]);
	if (n == 0)
		ig_doctor_add(d, "guard", IG_DOCTOR_SKIPPED, NULL,
			"on no interface of this network namespace: it is off (--guard), or no interface leads to an endpoint");
	else if (n < 0)
		ig_doctor_add(d, "guard", IG_DOCTOR_SKIPPED, NULL,
			"cannot read the pins in %s, or the filters: %s", d->pin_dir, strerror(-n));
}
