/*
 * Facts that only a privileged process can find out: where a cgroup id leads, and which file a
 * process runs. Called by the monitor with numbers that came from the kernel (through the server).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Path of a cgroup below the directory cgroup_root_fd ("/demo.slice/app"; "/" for that directory
 * itself). -ENOENT when the cgroup is gone, -ENXIO when it is outside that directory, -E2BIG when
 * the path does not fit. */
int ig_cgroup_path_by_id(int cgroup_root_fd, uint64_t cgroup_id, char *ret, size_t len);

/* 0 when the cgroup exists, -ENOENT when it is gone. Any other error: that could not be found out.
 */
int ig_cgroup_id_check(int cgroup_root_fd, uint64_t cgroup_id);

/* Is there a process in the cgroup or anywhere below it? Whoever made it may leave an empty one
 * behind. True when that cannot be found out. */
bool ig_cgroup_id_has_processes(int cgroup_root_fd, uint64_t cgroup_id);

/* When process pid started, in nanoseconds since boot (as exact as /proc tells: 10 ms). -ESRCH when
 * there is none. */
int ig_process_start(uint32_t pid, uint64_t *ret_start_time_ns);

/* Path of the executable of process tgid as its own mount namespace names it, provided that it is
 * still the process that started at start_time_ns (since boot) and still runs the file with that
 * inode. -ESRCH when it is another process or gone, -ESTALE when it runs another file by now. */
int ig_process_exe(uint32_t tgid, uint64_t start_time_ns, uint64_t exe_inode, char *ret, size_t len,
	bool *ret_deleted);
