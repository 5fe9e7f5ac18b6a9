/*
 * Finds the cgroup2 file system.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"

/* First mount point of type cgroup2 in a mountinfo(5) text. -ENOENT when there is none. Pure. */
int ig_cgroup2_mount_parse(const char *mountinfo, char *ret, size_t len);

/* The same for this process (/proc/self/mountinfo), with a message that says what to do. */
int ig_cgroup2_mount_find(char *ret, size_t len, struct ig_err *reterr_err);
