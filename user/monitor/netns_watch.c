/*
 * Namespace directories; see netns_watch.h. It opens files by names that a container runtime (root)
 * made; a workload cannot write there.
 *
 * With a notice of a file goes one look at that file. The kernel does not say what was mounted or
 * unmounted: files that wait for their mount are looked at once, since a pod is about to start
 * there. All others (unmounted and left in place, mounted over: nothing that a runtime does) have
 * their turn a little later, some at a time, however many mounts came and went meanwhile. So what a
 * pod costs does not depend on how many there are.
 */
#include "monitor/netns_watch.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/table.h"
#include "workload/netns.h"

#define DIR_EVENTS                                                                                 \
	(IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF | IN_ONLYDIR)

#define ROUND_SEC   2  /* from a mount that nobody waited for to the look at all files */
#define ROUND_FILES 16 /* at a time: new pods wait meanwhile */

struct watched_dir {
	char *path; /* owned */
	int wd;	    /* of the directory, or of its nearest existing ancestor while it is missing */
	bool present;
};

struct netns_file {
	char *path; /* owned */
	bool added; /* the rest is what was added; its listener keeps the inode number from being
		       used again */
	uint64_t cookie;
	dev_t device;
	ino_t inode;
	TAILQ_ENTRY(netns_file) link; /* in `waiting` until it is added, then in `added` */
	UT_hash_handle hh;
};

TAILQ_HEAD(netns_files, netns_file);

struct ig_netns_watch {
	struct event_base *base;
	const struct ig_netns_watch_ops *ops;
	void *userdata;
	int inotify_fd, mounts_fd;
	struct event *on_names, *on_mounts, *round; /* owned */
	struct watched_dir *dirs;
	size_t n_dirs;
	struct netns_file *by_path;
	struct netns_files waiting, added; /* for a mount; with a namespace */
	struct netns_file *turn;	   /* of `added`: the next in the round; NULL: none is on */
	bool another_round;		   /* something was mounted while this one was on */
};

IG_DEFINE_CLEANUP(struct ig_netns_watch *, ig_netns_watch_free);

static void file_free(struct netns_file *file)
{
	free(file->path);
	free(file);
}

IG_DEFINE_CLEANUP(struct netns_file *, file_free);

/* From `added` to `waiting`. */
static void drop(struct ig_netns_watch *w, struct netns_file *file)
{
	if (!file->added)
		return;
	w->ops->removed(file->cookie, w->userdata);
	file->added = false;
	if (w->turn == file)
		w->turn = TAILQ_NEXT(file, link);
	TAILQ_REMOVE(&w->added, file, link);
	TAILQ_INSERT_TAIL(&w->waiting, file, link);
}

static void forget(struct ig_netns_watch *w, struct netns_file *file)
{
	drop(w, file);
	TAILQ_REMOVE(&w->waiting, file, link);
	HASH_DEL(w->by_path, file);
	file_free(file);
}

static int add(struct ig_netns_watch *w, struct netns_file *file)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	int r = ig_netns_open(file->path, &fd);

	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	r = w->ops->added(fd, strrchr(file->path, '/') + 1, &file->cookie, w->userdata);
	if (r < 0)
		return -ECANCELED; /* it was reported */
	file->device = st.st_dev;
	file->inode = st.st_ino;
	file->added = true;
	TAILQ_REMOVE(&w->waiting, file, link);
	TAILQ_INSERT_TAIL(&w->added, file, link);
	return 0;
}

/* Makes what was added agree with what is there now, whatever led here: notices may be late, lost,
 * or about a file that had the name before. */
static void look(struct ig_netns_watch *w, struct netns_file *file)
{
	struct stat st;
	int r = lstat(file->path, &st) < 0 ? -errno : 0;

	if (r == 0 && file->added && st.st_dev == file->device && st.st_ino == file->inode)
		return;
	drop(w, file);
	if (r == 0)
		r = add(w, file);
	if (r == 0 || r == -EAGAIN) /* the latter: a mount is to come, and will be heard of */
		return;
	if (r != -ENOENT && r != -ECANCELED)
		w->ops->given_up(file->path, r, w->userdata);
	forget(w, file);
}

static void look_at_waiting(struct ig_netns_watch *w)
{
	struct netns_file *file = TAILQ_FIRST(&w->waiting), *next;

	for (; file; file = next) {
		next = TAILQ_NEXT(file, link);
		look(w, file);
	}
}

static void look_at_all(struct ig_netns_watch *w)
{
	struct netns_file *file, *next;

	HASH_ITER (hh, w->by_path, file, next)
		look(w, file);
}

static void start_round(struct ig_netns_watch *w, time_t sec)
{
	const struct timeval later = {.tv_sec = sec};

	(void)evtimer_add(w->round, &later);
}

static void on_round(evutil_socket_t fd, short what, void *arg)
{
	struct ig_netns_watch *w = arg;

	(void)fd;
	(void)what;
	if (!w->turn) {
		w->turn = TAILQ_FIRST(&w->added);
		w->another_round = false;
	}
	for (int i = 0; i < ROUND_FILES && w->turn; i++) {
		struct netns_file *file = w->turn;

		w->turn = TAILQ_NEXT(file, link);
		look(w, file);
	}
	if (w->turn)
		start_round(w, 0);
	else if (w->another_round)
		start_round(w, ROUND_SEC);
}

/* A mount in the middle of a round may be of a file that had its turn: there is another one, but
 * only after this, so that mounts without end keep no file from its turn. */
static void look_at_all_later(struct ig_netns_watch *w)
{
	if (w->turn)
		w->another_round = true;
	else if (!evtimer_pending(w->round, NULL))
		start_round(w, ROUND_SEC);
}

static struct netns_file *find_file(const struct ig_netns_watch *w, const char *path)
{
	struct netns_file *file;

	HASH_FIND_STR(w->by_path, path, file);
	return file;
}

/* Takes the file on success. */
static int remember(struct ig_netns_watch *w, struct netns_file *file)
{
	HASH_ADD_KEYPTR(hh, w->by_path, file->path, strlen(file->path), file);
	if (!ig_table_has(file))
		return -ENOMEM;
	TAILQ_INSERT_TAIL(&w->waiting, file, link);
	return 0;
}

/* A file of that name came or went. */
static void name_changed(struct ig_netns_watch *w, const char *dir, const char *name)
{
	_cleanup_(file_freep) struct netns_file *new = calloc(1, sizeof(*new));
	struct netns_file *file;

	if (!new || asprintf(&new->path, "%s/%s", dir, name) < 0) {
		if (new)
			new->path = NULL;
		return;
	}
	file = find_file(w, new->path);
	if (!file && remember(w, new) == 0)
		file = TAKE_PTR(new);
	if (file)
		look(w, file);
}

static void scan(struct ig_netns_watch *w, const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir)) != NULL)
		if (entry->d_name[0] != '.')
			name_changed(w, path, entry->d_name);
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

/* Events were lost, or a directory is gone. */
static void rescan(struct ig_netns_watch *w)
{
	look_at_all(w);
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
			rescan(w);
		else if (event->len)
			name_changed(w, dir->path, event->name);
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

/* Something was mounted or unmounted anywhere in our mount namespace. */
static void on_mounts(evutil_socket_t fd, short what, void *arg)
{
	struct ig_netns_watch *w = arg;

	(void)fd;
	(void)what;
	look_at_waiting(w);
	look_at_all_later(w);
}

static int follow_mounts(struct ig_netns_watch *w)
{
	/* The file is always readable, and wakes who waits when mounts change: only edges tell. */
	if (!(event_base_get_features(w->base) & EV_FEATURE_ET))
		return -EOPNOTSUPP;
	w->mounts_fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
	if (w->mounts_fd < 0)
		return -errno;
	w->on_mounts = event_new(w->base, w->mounts_fd, EV_READ | EV_ET | EV_PERSIST, on_mounts, w);
	return w->on_mounts && event_add(w->on_mounts, NULL) == 0 ? 0 : -ENOMEM;
}

static int follow_names(struct ig_netns_watch *w)
{
	w->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (w->inotify_fd < 0)
		return -errno;
	w->on_names = event_new(w->base, w->inotify_fd, EV_READ | EV_PERSIST, on_inotify, w);
	return w->on_names && event_add(w->on_names, NULL) == 0 ? 0 : -ENOMEM;
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
	TAILQ_INIT(&w->waiting);
	TAILQ_INIT(&w->added);
	w->base = base;
	w->ops = ops;
	w->userdata = userdata;
	w->inotify_fd = w->mounts_fd = -1;
	w->round = evtimer_new(base, on_round, w);
	/* before the first look, so that nothing falls in between */
	r = w->round ? follow_mounts(w) : -ENOMEM;
	if (r == 0)
		r = follow_names(w);
	if (r == 0)
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
	struct netns_file *file, *next;

	if (!w)
		return NULL;
	HASH_ITER (hh, w->by_path, file, next) {
		HASH_DEL(w->by_path, file);
		file_free(file);
	}
	if (w->round)
		event_free(w->round);
	if (w->on_names)
		event_free(w->on_names);
	if (w->on_mounts)
		event_free(w->on_mounts);
	(void)ig_close(w->inotify_fd);
	(void)ig_close(w->mounts_fd);
	for (size_t i = 0; i < w->n_dirs; i++)
		free(w->dirs[i].path);
	free(w->dirs);
	free(w);
	return NULL;
}
