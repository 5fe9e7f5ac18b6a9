/*
 * Namespace directories; see netns_watch.h. It opens files by names that a container runtime (root)
 * made; a workload cannot write there.
 */
#include "monitor/netns_watch.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "workload/netns.h"

#define FIRST_RETRY_USEC   500
#define LONGEST_RETRY_USEC 50000
#define NETNS_SETTLE_USEC  (2 * IG_USEC_PER_SEC)

#define DIR_EVENTS                                                                                 \
	(IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF | IN_ONLYDIR)

struct watched_dir {
	char *path; /* owned */
	int wd;	    /* of the directory, or of its nearest existing ancestor while it is missing */
	bool present;
};

struct netns_file {
	struct ig_netns_watch *watch;
	char *path; /* owned */
	bool added;
	uint64_t cookie;
	uint64_t deadline_usec, retry_usec;
	struct event *timer; /* owned; NULL once added */
	TAILQ_ENTRY(netns_file) link;
};

struct ig_netns_watch {
	struct event_base *base;
	const struct ig_netns_watch_ops *ops;
	void *userdata;
	int inotify_fd;
	struct event *event; /* owned */
	struct watched_dir *dirs;
	size_t n_dirs;
	TAILQ_HEAD(, netns_file) files;
};

IG_DEFINE_CLEANUP(struct ig_netns_watch *, ig_netns_watch_free);

static void file_free(struct netns_file *file)
{
	if (file->timer)
		event_free(file->timer);
	free(file->path);
	free(file);
}

static void forget(struct ig_netns_watch *w, struct netns_file *file)
{
	TAILQ_REMOVE(&w->files, file, link);
	if (file->added)
		w->ops->removed(file->cookie, w->userdata);
	file_free(file);
}

static void retry_later(struct netns_file *file)
{
	struct timeval tv = {.tv_usec = (suseconds_t)file->retry_usec};

	(void)evtimer_add(file->timer, &tv);
	file->retry_usec *= 2;
	if (file->retry_usec > LONGEST_RETRY_USEC)
		file->retry_usec = LONGEST_RETRY_USEC;
}

static void try_open(struct netns_file *file)
{
	struct ig_netns_watch *w = file->watch;
	const char *name = strrchr(file->path, '/') + 1;
	_cleanup_close_ int fd = -1;
	int r = ig_netns_open(file->path, &fd);

	if (r == -EAGAIN && ig_clock_mono_usec() < file->deadline_usec) {
		retry_later(file);
		return;
	}
	if (r == 0)
		r = w->ops->added(fd, name, &file->cookie, w->userdata);
	else if (r != -ENOENT)
		w->ops->given_up(file->path, r, w->userdata);
	if (r < 0) {
		forget(w, file);
		return;
	}
	file->added = true;
	event_free(file->timer);
	file->timer = NULL;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	try_open(arg);
}

static struct netns_file *find_file(struct ig_netns_watch *w, const char *path)
{
	struct netns_file *file;

	TAILQ_FOREACH (file, &w->files, link)
		if (strcmp(file->path, path) == 0)
			return file;
	return NULL;
}

static void file_appeared(struct ig_netns_watch *w, const char *dir, const char *name)
{
	struct netns_file *file = calloc(1, sizeof(*file));

	if (!file)
		return;
	file->watch = w;
	file->retry_usec = FIRST_RETRY_USEC;
	file->deadline_usec = ig_clock_mono_usec() + NETNS_SETTLE_USEC;
	file->timer = evtimer_new(w->base, on_timer, file);
	if (!file->timer || asprintf(&file->path, "%s/%s", dir, name) < 0) {
		file->path = NULL;
		file_free(file);
		return;
	}
	if (find_file(w, file->path)) {
		file_free(file);
		return;
	}
	TAILQ_INSERT_TAIL(&w->files, file, link);
	try_open(file);
}

static void file_disappeared(struct ig_netns_watch *w, const char *dir, const char *name)
{
	char path[PATH_MAX];
	struct netns_file *file;

	if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
		return;
	file = find_file(w, path);
	if (file)
		forget(w, file);
}

static void scan(struct ig_netns_watch *w, const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			file_appeared(w, path, entry->d_name);
	(void)closedir(dir);
}

/* Watches the nearest existing ancestor of a directory that is missing. */
static int watch_ancestor(struct ig_netns_watch *w, const char *path)
{
	char parent[PATH_MAX];

	(void)snprintf(parent, sizeof(parent), "%s", path);
	for (;;) {
		char *slash = strrchr(parent, '/');
		int wd;

		if (!slash)
			return -ENOENT;
		slash[slash == parent] = '\0';
		wd = inotify_add_watch(
			w->inotify_fd, parent, IN_CREATE | IN_MOVED_TO | IN_ONLYDIR | IN_MASK_ADD);
		if (wd >= 0)
			return wd;
		if (errno != ENOENT || strcmp(parent, "/") == 0)
			return -errno;
	}
}

static int watch_dir(struct ig_netns_watch *w, struct watched_dir *dir)
{
	int wd = inotify_add_watch(w->inotify_fd, dir->path, DIR_EVENTS);

	if (wd >= 0) {
		dir->wd = wd;
		dir->present = true;
		scan(w, dir->path);
		return 0;
	}
	if (errno != ENOENT && errno != ENOTDIR)
		return -errno;
	dir->present = false;
	dir->wd = watch_ancestor(w, dir->path);
	return dir->wd < 0 ? dir->wd : 0;
}

static void dir_gone(struct ig_netns_watch *w, struct watched_dir *dir)
{
	struct netns_file *file = TAILQ_FIRST(&w->files), *next;
	size_t n = strlen(dir->path);

	for (; file; file = next) {
		next = TAILQ_NEXT(file, link);
		if (strncmp(file->path, dir->path, n) == 0 && file->path[n] == '/')
			forget(w, file);
	}
	(void)watch_dir(w, dir);
}

/* Events were lost: what is gone is dropped, what is new is found. */
static void rescan(struct ig_netns_watch *w)
{
	struct netns_file *file = TAILQ_FIRST(&w->files), *next;

	for (; file; file = next) {
		next = TAILQ_NEXT(file, link);
		if (access(file->path, F_OK) < 0)
			forget(w, file);
	}
	for (size_t i = 0; i < w->n_dirs; i++)
		(void)watch_dir(w, &w->dirs[i]);
}

static void handle(struct ig_netns_watch *w, const struct inotify_event *event)
{
	if (event->mask & IN_Q_OVERFLOW) {
		rescan(w);
		return;
	}
	for (size_t i = 0; i < w->n_dirs; i++) {
		struct watched_dir *dir = &w->dirs[i];

		if (dir->wd != event->wd)
			continue;
		if (!dir->present)
			(void)watch_dir(w, dir);
		else if (event->mask & (IN_DELETE_SELF | IN_IGNORED | IN_UNMOUNT))
			dir_gone(w, dir);
		else if (event->mask & (IN_DELETE | IN_MOVED_FROM))
			file_disappeared(w, dir->path, event->name);
		else if (event->mask & (IN_CREATE | IN_MOVED_TO))
			file_appeared(w, dir->path, event->name);
	}
}

static void on_inotify(evutil_socket_t fd, short what, void *arg)
{
	char buf[8192] __attribute__((aligned(__alignof__(struct inotify_event))));
	struct ig_netns_watch *w = arg;
	ssize_t n;

	(void)what;
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		for (char *p = buf; p < buf + n;) {
			const struct inotify_event *event = (const struct inotify_event *)p;

			handle(w, event);
			p += sizeof(*event) + event->len;
		}
	}
}

static int copy_dirs(struct ig_netns_watch *w, const char *const *dirs)
{
	size_t n = 0;

	while (dirs[n])
		n++;
	w->dirs = calloc(n ? n : 1, sizeof(*w->dirs));
	if (!w->dirs)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		w->dirs[i].wd = -1;
		w->dirs[i].path = strdup(dirs[i]);
		if (!w->dirs[i].path)
			return -ENOMEM;
		w->n_dirs++;
	}
	return 0;
}

int ig_netns_watch_new(struct event_base *base, const char *const *dirs,
	const struct ig_netns_watch_ops *ops, void *userdata, struct ig_netns_watch **ret)
{
	_cleanup_(ig_netns_watch_freep) struct ig_netns_watch *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	TAILQ_INIT(&w->files);
	w->base = base;
	w->ops = ops;
	w->userdata = userdata;
	w->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (w->inotify_fd < 0)
		return -errno;
	w->event = event_new(base, w->inotify_fd, EV_READ | EV_PERSIST, on_inotify, w);
	if (!w->event || event_add(w->event, NULL) < 0)
		return -ENOMEM;
	r = copy_dirs(w, dirs);
	for (size_t i = 0; i < w->n_dirs && r == 0; i++)
		r = watch_dir(w, &w->dirs[i]);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(w);
	return 0;
}

struct ig_netns_watch *ig_netns_watch_free(struct ig_netns_watch *w)
{
	struct netns_file *file;

	if (!w)
		return NULL;
	while ((file = TAILQ_FIRST(&w->files)) != NULL) {
		TAILQ_REMOVE(&w->files, file, link);
		file_free(file);
	}
	if (w->event)
		event_free(w->event);
	(void)ig_close(w->inotify_fd);
	for (size_t i = 0; i < w->n_dirs; i++)
		free(w->dirs[i].path);
	free(w->dirs);
	free(w);
	return NULL;
}
