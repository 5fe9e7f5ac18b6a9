/*
 * Following a manifest directory with inotify; see manifest.h. This file decides when to look;
 * manifest_scan.c does the looking. Events only ever say "look again", with the names of the files
 * that are complete now: a lost, late or doubled event costs a look and never the truth.
 *
 * While the directory is gone its nearest existing ancestor is watched, and any event there is a
 * reason to try again. Polls only for the end of what no event tells: a want of descriptors or
 * memory that kept it from reading. Called by the agent, on its event loop.
 */
#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "objects/manifest.h"
#include "objects/manifest_scan.h"

/* No IN_MODIFY: a file is read when its writer has closed it. */
#define DIR_EVENTS                                                                                 \
	(IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB |        \
		IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)
#define ANCESTOR_EVENTS                                                                            \
	(IN_CREATE | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)
#define GONE_EVENTS (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED)

#define READS_PER_TURN 64
#define EVENT_BYTES    16384
#define ANCESTOR_TRIES 8

struct ig_manifest_dir {
	char *path; /* owned */
	struct ig_manifest_scan *scan;
	ig_manifest_reported *reported;
	void *userdata;
	struct event *readable;
	struct event *retry;   /* owned; tries again what clashed, or what may have passed */
	uint64_t retried_usec; /* monotonic; the last time; 0: never */
	int fd;		       /* inotify */
	int wd;		       /* of the directory, or of an ancestor while `away` */
	bool away;	       /* there is no directory to read */
	bool all;	       /* the next run reads everything that is new */
	int error;	       /* of the last look at the directory itself */
};

/* What one turn's events ask for. */
struct wish {
	bool look;
	bool gone;
};

IG_DEFINE_CLEANUP(struct ig_manifest_dir *, ig_manifest_dir_free);

struct ig_manifest_dir *ig_manifest_dir_free(struct ig_manifest_dir *dir)
{
	if (!dir)
		return NULL;
	if (dir->readable)
		event_free(dir->readable);
	if (dir->retry)
		event_free(dir->retry);
	dir->fd = ig_close(dir->fd);
	(void)ig_manifest_scan_free(dir->scan);
	free(dir->path);
	free(dir);
	return NULL;
}

/* Tells about the directory itself when something about it is new. */
static void tell(struct ig_manifest_dir *dir, int error, const struct ig_err *detail)
{
	struct ig_manifest_report report = {
		.file = dir->path, .error = error, .detail = error ? detail : NULL};

	if (dir->error == error)
		return;
	dir->error = error;
	if (dir->reported)
		dir->reported(&report, dir->userdata);
}

/* Nothing will happen when the error is over. */
static void retry_if_passing(struct ig_manifest_dir *dir, int error)
{
	static const struct timeval pause = {
		.tv_sec = IG_MANIFEST_RETRY_MSEC / 1000,
		.tv_usec = IG_MANIFEST_RETRY_MSEC % 1000 * 1000,
	};

	if (evtimer_pending(dir->retry, NULL))
		return;
	if (ig_manifest_error_passes(error) || ig_manifest_scan_failing(dir->scan))
		(void)evtimer_add(dir->retry, &pause);
}

static void look(struct ig_manifest_dir *dir)
{
	struct ig_err err = {};
	int r = ig_manifest_scan_run(dir->scan, dir->all, &err);

	if (r == 0)
		dir->all = false;
	tell(dir, r, &err);
	retry_if_passing(dir, r);
}

static int watch(const struct ig_manifest_dir *dir, const char *path, uint32_t events, int *ret)
{
	int wd = inotify_add_watch(dir->fd, path, events);

	if (wd < 0)
		return -errno;
	*ret = wd;
	return 0;
}

static void unwatch(struct ig_manifest_dir *dir)
{
	if (dir->wd >= 0)
		(void)inotify_rm_watch(dir->fd, dir->wd);
	dir->wd = -1;
}

/* Cuts the last part off: "/a/b" -> "/a" -> "/", "a" -> ".". False at the top. */
static bool to_parent(char path[PATH_MAX])
{
	char *slash = strrchr(path, '/');

	if (strcmp(path, "/") == 0 || strcmp(path, ".") == 0)
		return false;
	if (!slash)
		memcpy(path, ".", 2);
	else
		slash[slash == path ? 1 : 0] = '\0';
	return true;
}

/* Watches the nearest ancestor that can be. False when the part of the path below it exists, so
 * that what was missing has come while we looked. */
static bool watch_ancestor(struct ig_manifest_dir *dir)
{
	char at[PATH_MAX], below[PATH_MAX];
	int wd = -1;

	(void)snprintf(at, sizeof(at), "%s", dir->path);
	do {
		memcpy(below, at, sizeof(below));
		if (!to_parent(at))
			break;
	} while (watch(dir, at, ANCESTOR_EVENTS, &wd) < 0);
	if (wd != dir->wd)
		unwatch(dir);
	dir->wd = wd;
	return access(below, F_OK) < 0;
}

/* Takes the directory up (again), or waits for it at an ancestor. */
static void find(struct ig_manifest_dir *dir)
{
	for (int i = 0; i < ANCESTOR_TRIES; i++) {
		int wd = -1;

		if (watch(dir, dir->path, DIR_EVENTS, &wd) == 0) {
			if (wd != dir->wd)
				unwatch(dir);
			dir->wd = wd;
			dir->away = false;
			dir->all = true;
			look(dir);
			return;
		}
		if (watch_ancestor(dir))
			return;
	}
}

static void lose(struct ig_manifest_dir *dir)
{
	struct ig_err err = {};

	(void)ig_err_at(&err, -ENOENT, dir->path, 0, 0,
		"the directory is gone; what it declared stays in force");
	unwatch(dir);
	dir->away = true;
	tell(dir, -ENOENT, &err);
	find(dir);
}

static void note_name(struct ig_manifest_dir *dir, const struct inotify_event *e)
{
	int r = 0;

	if (e->mask & (IN_CLOSE_WRITE | IN_MOVED_TO))
		r = ig_manifest_scan_touch(dir->scan, e->name, IG_MANIFEST_WRITTEN);
	else if (e->mask & IN_CREATE)
		r = ig_manifest_scan_touch(dir->scan, e->name, IG_MANIFEST_CREATED);
	else if (e->mask & IN_ATTRIB)
		r = ig_manifest_scan_touch(dir->scan, e->name, IG_MANIFEST_CHANGED);
	/* what cannot be noted must not be missed */
	if (r < 0)
		dir->all = true;
}

static void note_event(
	struct ig_manifest_dir *dir, const struct inotify_event *e, struct wish *wish)
{
	if (e->mask & IN_Q_OVERFLOW) {
		dir->all = true;
		wish->look = true;
		return;
	}
	/* of a watch that has been given up */
	if (e->wd != dir->wd)
		return;
	wish->look = true;
	if (!dir->away && (e->mask & GONE_EVENTS))
		wish->gone = true;
	else if (!dir->away && e->len > 0)
		note_name(dir, e);
}

/* Takes in everything that is queued, so that a burst of events is one look. */
static void drain(struct ig_manifest_dir *dir, struct wish *wish)
{
	char buf[EVENT_BYTES] __attribute__((aligned(__alignof__(struct inotify_event))));

	for (int i = 0; i < READS_PER_TURN; i++) {
		ssize_t n = read(dir->fd, buf, sizeof(buf));
		const char *p = buf;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		while (p < buf + n) {
			const struct inotify_event *e = (const void *)p;

			note_event(dir, e, wish);
			p += sizeof(*e) + e->len;
		}
	}
}

static void on_readable(evutil_socket_t fd, short what, void *userdata)
{
	struct ig_manifest_dir *dir = userdata;
	struct wish wish = {};

	(void)fd;
	(void)what;
	drain(dir, &wish);
	if (wish.gone)
		lose(dir);
	else if (wish.look && dir->away)
		find(dir);
	else if (wish.look)
		look(dir);
}

static void on_retry(evutil_socket_t fd, short what, void *userdata)
{
	struct ig_manifest_dir *dir = userdata;

	(void)fd;
	(void)what;
	dir->retried_usec = ig_clock_mono_usec();
	if (dir->away) /* it is read when it is back */
		return;
	if (ig_manifest_error_passes(dir->error))
		look(dir);
	else
		retry_if_passing(dir, ig_manifest_scan_retry(dir->scan));
}

/* Anybody's object in the cluster is a change, and a file may be large: not for each of them. */
void ig_manifest_dir_store_changed(struct ig_manifest_dir *dir)
{
	static const uint64_t pause_usec = IG_MANIFEST_RETRY_MSEC * IG_USEC_PER_MSEC;
	uint64_t since_usec = ig_clock_mono_usec() - dir->retried_usec;
	struct timeval after = {};

	if (!ig_manifest_scan_clashes(dir->scan) || evtimer_pending(dir->retry, NULL))
		return;
	if (dir->retried_usec && since_usec < pause_usec) {
		after.tv_sec = (time_t)((pause_usec - since_usec) / IG_USEC_PER_SEC);
		after.tv_usec = (suseconds_t)((pause_usec - since_usec) % IG_USEC_PER_SEC);
	}
	(void)evtimer_add(dir->retry, &after);
}

static int start(struct ig_manifest_dir *dir, struct event_base *base, struct ig_err *err)
{
	int r;

	dir->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (dir->fd < 0)
		return ig_err_at(err, -errno, dir->path, 0, 0, "inotify: %s", strerror(errno));
	/* before the first look, so that nothing falls between the two */
	r = watch(dir, dir->path, DIR_EVENTS, &dir->wd);
	if (r < 0)
		return ig_err_at(err, r, dir->path, 0, 0, "cannot be watched: %s", strerror(-r));
	r = ig_manifest_scan_run(dir->scan, true, err);
	if (r < 0)
		return r;
	dir->retry = evtimer_new(base, on_retry, dir);
	dir->readable = event_new(base, dir->fd, EV_READ | EV_PERSIST, on_readable, dir);
	if (!dir->retry || !dir->readable || event_add(dir->readable, NULL) < 0)
		return ig_err_at(err, -ENOMEM, dir->path, 0, 0, "out of memory");
	retry_if_passing(dir, 0);
	return 0;
}

int ig_manifest_dir_new(struct event_base *base, const struct ig_manifest_source *source,
	struct ig_store *store, ig_manifest_reported *reported, void *userdata,
	struct ig_manifest_dir **ret, struct ig_err *reterr_err)
{
	_cleanup_(ig_manifest_dir_freep) struct ig_manifest_dir *dir = calloc(1, sizeof(*dir));
	int r = -ENOMEM;

	if (dir) {
		dir->fd = dir->wd = -1;
		dir->reported = reported;
		dir->userdata = userdata;
		dir->path = strdup(source->path);
	}
	if (dir && dir->path)
		r = ig_manifest_scan_new(source, store, reported, userdata, &dir->scan);
	if (r < 0)
		return ig_err_at(reterr_err, r, source->path, 0, 0, "out of memory");
	r = start(dir, base, reterr_err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(dir);
	return 0;
}

size_t ig_manifest_dir_bad_files(const struct ig_manifest_dir *dir)
{
	return ig_manifest_scan_bad(dir->scan);
}

void ig_manifest_dir_each_bad(const struct ig_manifest_dir *dir,
	void (*each)(const char *path, int error, void *userdata), void *userdata)
{
	ig_manifest_scan_each_bad(dir->scan, each, userdata);
}

IG_DEFINE_CLEANUP(struct ig_store *, ig_store_free);

int ig_manifest_dir_check(const struct ig_manifest_source *source, ig_manifest_reported *reported,
	void *userdata, struct ig_err *reterr_err)
{
	/* the store is declared first and so freed last */
	_cleanup_(ig_store_freep) struct ig_store *store = NULL;
	_cleanup_(ig_manifest_scan_freep) struct ig_manifest_scan *scan = NULL;
	int r = ig_store_new(&store);

	if (r == 0)
		r = ig_manifest_scan_new(source, store, reported, userdata, &scan);
	if (r < 0)
		return ig_err_at(reterr_err, r, source->path, 0, 0, "out of memory");
	r = ig_manifest_scan_run(scan, true, reterr_err);
	return r < 0 ? r : (int)ig_manifest_scan_bad(scan);
}
