/*
 * Facts about cgroups and processes from /proc and kernfs handles; see process.h. Reads only,
 * follows no path that a workload could have chosen.
 */
#include "workload/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "base/parse.h"
#include "workload/cgroup.h"

/* exportfs' FILEID_KERNFS (not in the UAPI headers): the handle of a kernfs node is its 64-bit id
 */
#define FILEID_KERNFS 0xfe

#define EVENTS_BYTES 4096 /* of cgroup.events, which has a few short lines */

/* starttime in /proc/PID/stat counts clock ticks of 1/100 s (USER_HZ is fixed by the ABI) */
#define NSEC_PER_TICK 10000000ULL

static int open_cgroup_id(int cgroup_root_fd, uint64_t cgroup_id)
{
	union {
		struct file_handle handle;
		char bytes[sizeof(struct file_handle) + sizeof(uint64_t)];
	} h = {};
	int fd;

	h.handle.handle_bytes = sizeof(cgroup_id);
	h.handle.handle_type = FILEID_KERNFS;
	memcpy(h.handle.f_handle, &cgroup_id, sizeof(cgroup_id));
	fd = open_by_handle_at(cgroup_root_fd, &h.handle, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return errno == ESTALE ? -ENOENT : -errno;
	return fd;
}

static int fd_path(int fd, char *ret, size_t len)
{
	char link[64];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, ret, len);
	if (n < 0)
		return -errno;
	if ((size_t)n >= len)
		return -E2BIG;
	ret[n] = '\0';
	return 0;
}

static bool has_suffix(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && strcmp(s + n - m, suffix) == 0;
}

/* Some kernels still open what was removed while anything refers to it, such as memory that was
 * charged to it. */
static bool is_removed(int fd, const char *path)
{
	struct stat st;

	return fstat(fd, &st) < 0 || st.st_nlink == 0 || has_suffix(path, " (deleted)");
}

int ig_cgroup_path_by_id(int cgroup_root_fd, uint64_t cgroup_id, char *ret, size_t len)
{
	_cleanup_close_ int fd = open_cgroup_id(cgroup_root_fd, cgroup_id);
	char root[PATH_MAX], path[PATH_MAX];
	const char *below;
	size_t root_len;
	int r;

	if (fd < 0)
		return fd;
	r = fd_path(cgroup_root_fd, root, sizeof(root));
	if (r == 0)
		r = fd_path(fd, path, sizeof(path));
	if (r < 0)
		return r;
	if (is_removed(fd, path))
		return -ENOENT;
	if (!ig_cgroup_path_is_below(path, root))
		return -ENXIO;
	root_len = strcmp(root, "/") == 0 ? 0 : strlen(root);
	below = path[root_len] ? path + root_len : "/";
	if (strlen(below) >= len)
		return -E2BIG;
	memcpy(ret, below, strlen(below) + 1);
	return 0;
}

int ig_cgroup_id_check(int cgroup_root_fd, uint64_t cgroup_id)
{
	_cleanup_close_ int fd = open_cgroup_id(cgroup_root_fd, cgroup_id);
	char path[PATH_MAX];
	int r = fd < 0 ? fd : fd_path(fd, path, sizeof(path));

	if (r < 0)
		return r;
	return is_removed(fd, path) ? -ENOENT : 0;
}

bool ig_cgroup_id_has_processes(int cgroup_root_fd, uint64_t cgroup_id)
{
	_cleanup_close_ int fd = open_cgroup_id(cgroup_root_fd, cgroup_id);
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r = fd < 0 ? fd : ig_fd_read_file(fd, "cgroup.events", EVENTS_BYTES, &text, &len);

	if (r == -ENOENT) /* the root of the hierarchy has no such file, and is never empty */
		return ig_cgroup_id_check(cgroup_root_fd, cgroup_id) != -ENOENT;
	return r < 0 ? r != -ENODEV : strstr(text, "populated 1") != NULL;
}

/* Field 22 of /proc/PID/stat. The process name in field 2 may contain anything, so count from the
 * last parenthesis on. */
static int read_start_ticks(int proc_fd, uint64_t *ret)
{
	_cleanup_close_ int fd = openat(proc_fd, "stat", O_RDONLY | O_CLOEXEC);
	char text[1024], *p, *end;
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	p = strrchr(text, ')');
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (!p)
		return -EBADMSG;
	end = strchr(p + 1, ' ');
	if (end)
		*end = '\0';
	return ig_parse_u64(p + 1, ret);
}

int ig_process_start(uint32_t pid, uint64_t *ret_start_time_ns)
{
	_cleanup_close_ int proc_fd = -1;
	uint64_t ticks;
	char dir[32];

	(void)snprintf(dir, sizeof(dir), "/proc/%u", pid);
	proc_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (proc_fd < 0 || read_start_ticks(proc_fd, &ticks) < 0 ||
		__builtin_mul_overflow(ticks, NSEC_PER_TICK, ret_start_time_ns))
		return -ESRCH;
	return 0;
}

int ig_process_exe(uint32_t tgid, uint64_t start_time_ns, uint64_t exe_inode, char *ret, size_t len,
	bool *ret_deleted)
{
	_cleanup_close_ int proc_fd = -1;
	char dir[32], path[PATH_MAX];
	uint64_t ticks;
	struct stat st;
	ssize_t n;

	(void)snprintf(dir, sizeof(dir), "/proc/%u", tgid);
	proc_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (proc_fd < 0 || read_start_ticks(proc_fd, &ticks) < 0)
		return -ESRCH;
	if (ticks != start_time_ns / NSEC_PER_TICK)
		return -ESRCH;
	if (fstatat(proc_fd, "exe", &st, 0) < 0)
		return -ESRCH;
	if (st.st_ino != exe_inode)
		return -ESTALE;
	n = readlinkat(proc_fd, "exe", path, sizeof(path));
	if (n < 0)
		return -ESRCH;
	if ((size_t)n >= len || (size_t)n >= sizeof(path))
		return -E2BIG;
	memcpy(ret, path, (size_t)n);
	ret[n] = '\0';
	*ret_deleted = st.st_nlink == 0;
	return 0;
}
