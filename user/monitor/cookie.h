/*
 * Cookies of network namespaces, on every kernel that the gate runs on. Called by the monitor.
 */
#pragma once

#include <stdint.h>

struct ig_datapath;

/* The cookie of a namespace, which is entered for it; home_fd is the one to come back to.
 * -EOPNOTSUPP when the kernel does not tell it and this process is not below the cgroup that the
 * programs attach to. */
int ig_cookie_of_netns(struct ig_datapath *dp, int netns_fd, int home_fd, uint64_t *ret);
