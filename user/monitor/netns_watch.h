/*
 * Follows the directories in which container runtimes keep their network namespaces. A runtime
 * first creates the file and then mounts the namespace on it: inotify reports the former, and a
 * change of /proc/self/mountinfo the latter, however late. Both only say where to look; what is
 * there then counts, so notices may be lost or come late. A directory that does not exist yet is
 * waited for.
 */
#pragma once

#include <stdint.h>

struct event_base;
struct ig_netns_watch;

struct ig_netns_watch_ops {
	/* A namespace appeared. Returns 0 and a number for it, or a negative errno (reported by the
	 * callee; the file is then forgotten until it is made again). */
	int (*added)(int netns_fd, const char *name, uint64_t *ret_cookie, void *userdata);
	/* A namespace that was added is not there any more: its file is gone, or it was unmounted,
	 * or another was mounted there (which is then added). */
	void (*removed)(uint64_t cookie, void *userdata);
	/* What is there is no network namespace and no plain file that may become one. It is
	 * forgotten likewise. */
	void (*given_up)(const char *path, int error, void *userdata);
};

/* dirs: NULL-terminated, copied. Scans what is there before it returns. */
int ig_netns_watch_new(struct event_base *base, const char *const *dirs,
	const struct ig_netns_watch_ops *ops, void *userdata, struct ig_netns_watch **ret);
struct ig_netns_watch *ig_netns_watch_free(struct ig_netns_watch *watch);
