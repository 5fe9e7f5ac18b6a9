/*
 * Follows the directories in which container runtimes keep their network namespaces. A runtime
 * first creates the file and then mounts the namespace on it, and inotify reports only the first,
 * so a new file is looked at again, a little later each time, until a namespace is there or
 * NETNS_SETTLE_USEC passed. A directory that does not exist yet is waited for.
 */
#pragma once

#include <stdint.h>

struct event_base;
struct ig_netns_watch;

struct ig_netns_watch_ops {
	/* A namespace appeared. Returns 0 and a number for it, or a negative errno (reported by the
	 * callee; the file is then forgotten until it is made again). */
	int (*added)(int netns_fd, const char *name, uint64_t *ret_cookie, void *userdata);
	/* The file of a namespace that was added is gone. */
	void (*removed)(uint64_t cookie, void *userdata);
	/* A file did not become a namespace in time, or cannot be opened. */
	void (*given_up)(const char *path, int error, void *userdata);
};

/* dirs: NULL-terminated, copied. Scans what is there before it returns. */
int ig_netns_watch_new(struct event_base *base, const char *const *dirs,
	const struct ig_netns_watch_ops *ops, void *userdata, struct ig_netns_watch **ret);
struct ig_netns_watch *ig_netns_watch_free(struct ig_netns_watch *watch);
