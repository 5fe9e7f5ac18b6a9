/*
 * Following cgroup paths; see cgroup_watch.h. The paths are kept as a tree of their parts, so that
 * an event in a directory leads to what is wanted there and below, and to nothing else. An event
 * only says where to look: a look is one fstatat(), and what is there then counts, so no event can
 * be misunderstood. When events were lost, everything is looked at.
 */
#include "workload/cgroup_watch.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/table.h"

#define DIR_EVENTS (IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_ONLYDIR)

/* A part of a wanted path; the root's has no name. */
struct node {
	struct node *parent;
	char *name;	       /* owned */
	struct node *children; /* owned; table by name */
	int wd;		       /* of the directory, watched when it has children; -1: it is not */
	bool wanted;	       /* a path ends here; the rest is of that */
	bool keep;	       /* while the set is being replaced */
	uint64_t id;
	LIST_ENTRY(node) link; /* of those that are wanted */
	UT_hash_handle hh;     /* of the parent's table */
	UT_hash_handle hh_wd;
};

struct ig_cgroup_watch {
	struct node root;
	struct node *by_wd;
	LIST_HEAD(, node) wanted;
	ig_cgroup_watch_changed *changed;
	void *userdata;
	int root_fd; /* borrowed */
	int inotify_fd;
	struct event *event; /* owned */
};

IG_DEFINE_CLEANUP(struct ig_cgroup_watch *, ig_cgroup_watch_free);

static void node_free(struct node *node)
{
	free(node->name);
	free(node);
}

/* "" for the root, else "/a/b". */
static void path_of(const struct node *node, char ret[IG_CGROUP_PATH_BYTES + 1])
{
	const struct node *n;
	size_t at = 0;

	for (n = node; n->parent; n = n->parent)
		at += 1 + strlen(n->name);
	ret[at] = '\0';
	for (n = node; n->parent; n = n->parent) {
		size_t len = strlen(n->name);

		at -= len;
		memcpy(ret + at, n->name, len);
		ret[--at] = '/';
	}
}

/* ---- the tree ---- */

static struct node *child_of(const struct node *parent, const char *name, size_t len)
{
	struct node *child;

	HASH_FIND(hh, parent->children, name, len, child);
	return child;
}

static struct node *make_child(struct node *parent, const char *name, size_t len)
{
	struct node *child = calloc(1, sizeof(*child));

	if (!child)
		return NULL;
	child->parent = parent;
	child->wd = -1;
	child->name = strndup(name, len);
	if (child->name)
		HASH_ADD_KEYPTR(hh, parent->children, child->name, len, child);
	if (child->name && ig_table_has(child))
		return child;
	node_free(child);
	return NULL;
}

static void set_wd(struct ig_cgroup_watch *w, struct node *node, int wd)
{
	if (node->wd == wd)
		return;
	if (node->wd >= 0) {
		HASH_DELETE(hh_wd, w->by_wd, node);
		(void)inotify_rm_watch(w->inotify_fd, node->wd);
	}
	node->wd = -1;
	if (wd < 0)
		return;
	node->wd = wd;
	HASH_ADD(hh_wd, w->by_wd, wd, sizeof(node->wd), node);
	if (!ig_table_has_by(node, hh_wd)) {
		/* as if the directory could not be watched */
		node->wd = -1;
		(void)inotify_rm_watch(w->inotify_fd, wd);
	}
}

/* What leads to nothing that is wanted goes. */
static void prune(struct ig_cgroup_watch *w, struct node *node)
{
	while (!node->wanted && !node->children) {
		struct node *parent = node->parent;

		set_wd(w, node, -1);
		if (!parent)
			return;
		HASH_DEL(parent->children, node);
		node_free(node);
		node = parent;
	}
	if (!node->children)
		set_wd(w, node, -1);
}

/* The node of a path, made if need be. NULL: no memory. */
static struct node *make_path(struct ig_cgroup_watch *w, const char *path)
{
	struct node *node = &w->root;

	while (*path) {
		size_t len = strcspn(++path, "/");
		struct node *child = child_of(node, path, len);

		if (!child)
			child = make_child(node, path, len);
		if (!child) {
			prune(w, node);
			return NULL;
		}
		node = child;
		path += len;
	}
	return node;
}

static struct node *find(struct ig_cgroup_watch *w, const char *path)
{
	struct node *node = &w->root;

	while (node && *path) {
		size_t len = strcspn(++path, "/");

		node = child_of(node, path, len);
		path += len;
	}
	return node && node->wanted ? node : NULL;
}

/* ---- looking ---- */

/* The root itself has no name to open by, but its descriptor has one in /proc. */
static void watch_dir(struct ig_cgroup_watch *w, struct node *node, const char *below)
{
	char path[IG_CGROUP_PATH_BYTES + 64];

	if (snprintf(path, sizeof(path), "/proc/self/fd/%d%s", w->root_fd, below) <
		(int)sizeof(path))
		set_wd(w, node, inotify_add_watch(w->inotify_fd, path, DIR_EVENTS));
}

static void check(struct ig_cgroup_watch *w, struct node *node, const char *path)
{
	uint64_t old = node->id;
	struct stat st;

	node->id =
		fstatat(w->root_fd, path + 1, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)
			? st.st_ino
			: 0;
	if (node->id != old)
		w->changed(path, old, node->id, w->userdata);
}

/* Directories before what is in them: what is made while we look is then reported. */
static void look(struct ig_cgroup_watch *w, struct node *node)
{
	char path[IG_CGROUP_PATH_BYTES + 1];
	struct node *child, *next;

	path_of(node, path);
	if (node->children)
		watch_dir(w, node, path);
	if (node->wanted)
		check(w, node, path);
	HASH_ITER (hh, node->children, child, next)
		look(w, child);
}

/* A path that is new: the directories above it may not be watched yet. Top down, as above. */
static void look_from_above(struct ig_cgroup_watch *w, struct node *node)
{
	char path[IG_CGROUP_PATH_BYTES + 1];
	struct node *above[IG_CGROUP_PATH_BYTES + 1];
	size_t n = 0;

	for (struct node *p = node->parent; p; p = p->parent)
		above[n++] = p;
	while (n-- > 0) {
		if (above[n]->wd >= 0)
			continue;
		path_of(above[n], path);
		watch_dir(w, above[n], path);
	}
	look(w, node);
}

/* ---- events ---- */

static void handle(struct ig_cgroup_watch *w, const struct inotify_event *event)
{
	struct node *dir, *child;

	if (event->mask & IN_Q_OVERFLOW) {
		look(w, &w->root);
		return;
	}
	HASH_FIND(hh_wd, w->by_wd, &event->wd, sizeof(event->wd), dir);
	if (!dir)
		return; /* it was watched before */
	if (event->mask & IN_IGNORED) {
		set_wd(w, dir, -1);
		return;
	}
	child = event->len ? child_of(dir, event->name, strlen(event->name)) : NULL;
	if (child)
		look(w, child);
}

static void on_inotify(evutil_socket_t fd, short what, void *arg)
{
	char buf[8192] __attribute__((aligned(__alignof__(struct inotify_event))));
	struct ig_cgroup_watch *w = arg;
	ssize_t n;

	(void)what;
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		for (const char *p = buf; p < buf + n;) {
			const struct inotify_event *event = (const void *)p;

			handle(w, event);
			p += sizeof(*event) + event->len;
		}
	}
}

int ig_cgroup_watch_new(struct event_base *base, int root_fd, ig_cgroup_watch_changed *changed,
	void *userdata, struct ig_cgroup_watch **ret)
{
	_cleanup_(ig_cgroup_watch_freep) struct ig_cgroup_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->changed = changed;
	w->userdata = userdata;
	w->root_fd = root_fd;
	w->root.wd = -1;
	LIST_INIT(&w->wanted);
	w->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (w->inotify_fd < 0)
		return -errno;
	w->event = event_new(base, w->inotify_fd, EV_READ | EV_PERSIST, on_inotify, w);
	if (!w->event || event_add(w->event, NULL) < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(w);
	return 0;
}

static void free_children(struct ig_cgroup_watch *w, struct node *node)
{
	struct node *child, *next;

	HASH_ITER (hh, node->children, child, next) {
		free_children(w, child);
		HASH_DEL(node->children, child);
		node_free(child);
	}
}

struct ig_cgroup_watch *ig_cgroup_watch_free(struct ig_cgroup_watch *w)
{
	if (!w)
		return NULL;
	HASH_CLEAR(hh_wd, w->by_wd);
	free_children(w, &w->root);
	if (w->event)
		event_free(w->event);
	(void)ig_close(w->inotify_fd);
	free(w);
	return NULL;
}

int ig_cgroup_watch_add(struct ig_cgroup_watch *w, const char *path)
{
	struct node *node = make_path(w, path);

	if (!node)
		return -ENOMEM;
	node->keep = true;
	if (node->wanted)
		return 0;
	node->wanted = true;
	LIST_INSERT_HEAD(&w->wanted, node, link);
	look_from_above(w, node);
	return 0;
}

static void unwant(struct ig_cgroup_watch *w, struct node *node)
{
	LIST_REMOVE(node, link);
	node->wanted = false;
	node->id = 0;
	prune(w, node);
}

void ig_cgroup_watch_remove(struct ig_cgroup_watch *w, const char *path)
{
	struct node *node = find(w, path);

	if (node)
		unwant(w, node);
}

int ig_cgroup_watch_set(struct ig_cgroup_watch *w, const char *const *paths, size_t n)
{
	struct node *node, *next;

	LIST_FOREACH (node, &w->wanted, link)
		node->keep = false;
	for (size_t i = 0; i < n; i++) {
		int r = ig_cgroup_watch_add(w, paths[i]);

		if (r < 0)
			return r;
	}
	for (node = LIST_FIRST(&w->wanted); node; node = next) {
		next = LIST_NEXT(node, link);
		if (!node->keep)
			unwant(w, node);
	}
	return 0;
}

uint64_t ig_cgroup_watch_id(struct ig_cgroup_watch *w, const char *path)
{
	const struct node *node = find(w, path);

	return node ? node->id : 0;
}
