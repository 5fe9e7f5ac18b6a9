/*
 * Where running processes are: which cgroup one of them is in, and the network namespaces of all
 * below a cgroup. The latter is for the start of the agent; afterwards namespaces are met as they
 * appear.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Called once for each network namespace that a process below the cgroup root is in, other than the
 * caller's own: with an open descriptor of it (the callee's to use, not to keep) and the id of the
 * cgroup of one such process. */
typedef void ig_tasks_namespace(int netns_fd, uint64_t cgroup_id, void *userdata);

/* Walks /proc once. Processes that vanish meanwhile are passed over. cgroup_root_fd is the
 * directory of the cgroup root. 0 or a negative errno when /proc cannot be read. */
int ig_tasks_each_namespace(int cgroup_root_fd, ig_tasks_namespace *each, void *userdata);

/* The cgroup of a process: its path below the directory cgroup_root_fd ("/" for that directory
 * itself) and its id. Whether the number still means the same process is the caller's affair.
 * -ENOENT when there is no such process or its cgroup is gone, -ENXIO when it is outside that
 * directory. */
int ig_task_cgroup(int cgroup_root_fd, uint32_t pid, char *ret_path, size_t len, uint64_t *ret_id);
