/*
 * Who is at the other end of a unix socket, as the kernel knew it when that end connected.
 */
#pragma once

#include <stdint.h>

#include <imdsgate/abi.h>
#include <imdsgate/limits.h>

struct ig_peer {
	uint32_t pid; /* as this process sees it */
	uint32_t uid, gid;
	uint64_t start_time_ns; /* since boot */
	uint64_t cgroup_id;
	char cgroup_path[IG_CGROUP_PATH_BYTES + 1]; /* below the cgroup root */
	char comm[IG_COMM_BYTES];		    /* untrusted */
};

/* -ESRCH when the process is gone (or cannot be seen from here), -ENXIO when it is in a cgroup
 * outside the directory cgroup_root_fd, other negative errno when it cannot be found out. On
 * failure pid, uid and gid are filled all the same as far as they are known, everything else is 0.
 */
int ig_peer_read(int sock, int cgroup_root_fd, struct ig_peer *ret);
