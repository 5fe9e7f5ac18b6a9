/*
 * Following cgroup paths; see cgroup_watch.h. On any event in a directory above a wanted path
 * everything is looked at again: events are rare, a look is one fstatat(), and so no event can be
 * misunderstood.
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
#include <sys/stat.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/table.h"

#define DIR_EVENTS (IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_ONLYDIR)

struct wanted {
	char *path; /* owned */
	uint64_t id;
	bool keep; /* while the set is being replaced */
	UT_hash_handle hh;
};

struct ig_cgroup_watch {
	struct wanted *wanted;
	ig_cgroup_watch_changed *changed;
	void *userdata;
	int root_fd; /* borrowed */
	int inotify_fd;
	struct event *event; /* owned */
};

IG_DEFINE_CLEANUP(struct ig_cgroup_watch *, ig_cgroup_watch_free);

static void wanted_free(struct ig_cgroup_watch *w, struct wanted *want)
{
	HASH_DEL(w->wanted, want);
	free(want->path);
	free(want);
}

/* The root itself has no name to open by, but its descriptor has one in /proc. */
static void watch_one(struct ig_cgroup_watch *w, const char *below)
{
	char path[IG_CGROUP_PATH_BYTES + 64];

	if (snprintf(path, sizeof(path), "/proc/self/fd/%d%s", w->root_fd, below) <
		(int)sizeof(path))
		(void)inotify_add_watch(w->inotify_fd, path, DIR_EVENTS);
}

/* Every directory above the path that exists, top down: what is made while we look is then
 * reported. */
static void watch_above(struct ig_cgroup_watch *w, const char *path)
{
	char prefix[IG_CGROUP_PATH_BYTES + 1];

	for (const char *slash = path; slash; slash = strchr(slash + 1, '/')) {
		size_t n = (size_t)(slash - path);

		memcpy(prefix, path, n);
		prefix[n] = '\0';
		watch_one(w, prefix);
	}
}

static void look(struct ig_cgroup_watch *w, struct wanted *want)
{
	struct stat st;
	uint64_t old = want->id;

	watch_above(w, want->path);
	want->id = fstatat(w->root_fd, want->path + 1, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
				   S_ISDIR(st.st_mode)
			   ? st.st_ino
			   : 0;
	if (want->id != old)
		w->changed(want->path, old, want->id, w->userdata);
}

static void on_inotify(evutil_socket_t fd, short what, void *arg)
{
	char buf[8192] __attribute__((aligned(__alignof__(struct inotify_event))));
	struct ig_cgroup_watch *w = arg;
	struct wanted *want, *next;

	(void)what;
	while (read(fd, buf, sizeof(buf)) > 0)
		;
	HASH_ITER (hh, w->wanted, want, next)
		look(w, want);
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
	w->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (w->inotify_fd < 0)
		return -errno;
	w->event = event_new(base, w->inotify_fd, EV_READ | EV_PERSIST, on_inotify, w);
	if (!w->event || event_add(w->event, NULL) < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(w);
	return 0;
}

struct ig_cgroup_watch *ig_cgroup_watch_free(struct ig_cgroup_watch *w)
{
	struct wanted *want, *next;

	if (!w)
		return NULL;
	HASH_ITER (hh, w->wanted, want, next)
		wanted_free(w, want);
	if (w->event)
		event_free(w->event);
	(void)ig_close(w->inotify_fd);
	free(w);
	return NULL;
}

static struct wanted *find(const struct ig_cgroup_watch *w, const char *path)
{
	struct wanted *want;

	HASH_FIND_STR(w->wanted, path, want);
	return want;
}

static int want_path(struct ig_cgroup_watch *w, const char *path)
{
	struct wanted *want = find(w, path);

	if (!want) {
		want = calloc(1, sizeof(*want));
		if (!want)
			return -ENOMEM;
		want->path = strdup(path);
		if (!want->path) {
			free(want);
			return -ENOMEM;
		}
		HASH_ADD_KEYPTR(hh, w->wanted, want->path, strlen(want->path), want);
		if (!ig_table_has(want)) {
			free(want->path);
			free(want);
			return -ENOMEM;
		}
	}
	want->keep = true;
	return 0;
}

int ig_cgroup_watch_set(struct ig_cgroup_watch *w, const char *const *paths, size_t n)
{
	struct wanted *want, *next;

	HASH_ITER (hh, w->wanted, want, next)
		want->keep = false;
	for (size_t i = 0; i < n; i++) {
		int r = want_path(w, paths[i]);

		if (r < 0)
			return r;
	}
	HASH_ITER (hh, w->wanted, want, next) {
		if (!want->keep)
			wanted_free(w, want);
		else if (want->id == 0)
			look(w, want);
	}
	return 0;
}

uint64_t ig_cgroup_watch_id(const struct ig_cgroup_watch *w, const char *path)
{
	const struct wanted *want = find(w, path);

	return want ? want->id : 0;
}
