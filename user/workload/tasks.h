/*
 * A look at what runs already: the network namespaces of processes below a cgroup. For the start of
 * the agent; afterwards namespaces are met as they appear.
 */
#pragma once

#include <stdint.h>

/* Called once for each network namespace that a process below the cgroup root is in, other than the
 * caller's own: with an open descriptor of it (the callee's to use, not to keep) and the id of the
 * cgroup of one such process. */
typedef void ig_tasks_namespace(int netns_fd, uint64_t cgroup_id, void *userdata);

/* Walks /proc once. Processes that vanish meanwhile are passed over. cgroup_root_fd is the
 * directory of the cgroup root. 0 or a negative errno when /proc cannot be read. */
int ig_tasks_each_namespace(int cgroup_root_fd, ig_tasks_namespace *each, void *userdata);
