/*
 * Follows a set of cgroup paths: which exist, and with which id. A cgroup that is made, removed or
 * made again under the same name is noticed with inotify on the directories above it. Needs no
 * privilege.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct event_base;
struct ig_cgroup_watch;

/* id 0: the path does not exist (any more). old_id 0: it did not before. Never called with equal
 * ids. */
typedef void ig_cgroup_watch_changed(
	const char *path, uint64_t old_id, uint64_t id, void *userdata);

/* root_fd: directory of the cgroup root, borrowed; paths are below it. */
int ig_cgroup_watch_new(struct event_base *base, int root_fd, ig_cgroup_watch_changed *changed,
	void *userdata, struct ig_cgroup_watch **ret);
struct ig_cgroup_watch *ig_cgroup_watch_free(struct ig_cgroup_watch *watch);

/* Replaces the set (canonical paths, copied, duplicates allowed). Reports paths that exist and are
 * new to the set; says nothing of those that left it. */
int ig_cgroup_watch_set(struct ig_cgroup_watch *watch, const char *const *paths, size_t n);

/* One path more, or less, without looking at the others. */
int ig_cgroup_watch_add(struct ig_cgroup_watch *watch, const char *path);
void ig_cgroup_watch_remove(struct ig_cgroup_watch *watch, const char *path);

/* Its id as last seen, 0 when it does not exist or is not in the set. */
uint64_t ig_cgroup_watch_id(struct ig_cgroup_watch *watch, const char *path);
