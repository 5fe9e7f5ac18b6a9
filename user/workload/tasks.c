/*
 * Cgroups and network namespaces of running processes; see tasks.h. Reads /proc, opens nothing by a
 * name that a workload chose.
 */
#include "workload/tasks.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "base/parse.h"
#include "base/table.h"
#include "workload/cgroup.h"
#include "workload/mount.h"

#define PROC_CGROUP_BYTES 65536

struct seen {
	ino_t inode; /* of the namespace */
	UT_hash_handle hh;
};

struct walk {
	int proc_fd, cgroup_root_fd;
	char root[IG_CGROUP_PATH_BYTES + 1]; /* of the cgroup root, as /proc/PID/cgroup names it */
	struct seen *seen;
	ig_tasks_namespace *each;
	void *userdata;
};

static void walk_done(struct walk *w)
{
	struct seen *s, *next;

	HASH_ITER (hh, w->seen, s, next) {
		HASH_DEL(w->seen, s);
		free(s);
	}
	w->proc_fd = ig_close(w->proc_fd);
}

/* true: it was not seen before. Out of memory counts as seen: the namespace is then met later. */
static bool remember(struct walk *w, ino_t inode)
{
	struct seen *s;

	HASH_FIND(hh, w->seen, &inode, sizeof(inode), s);
	if (s)
		return false;
	s = calloc(1, sizeof(*s));
	if (!s)
		return false;
	s->inode = inode;
	HASH_ADD(hh, w->seen, inode, sizeof(s->inode), s);
	if (!ig_table_has(s)) {
		free(s);
		return false;
	}
	return true;
}

/* Path of the process in the cgroup2 hierarchy: the line "0::/path". */
static int read_cgroup(const struct walk *w, const char *pid, char *ret, size_t len)
{
	_cleanup_free_ char *text = NULL;
	char path[NAME_MAX + 32], *line, *rest;
	size_t text_len;
	int r;

	(void)snprintf(path, sizeof(path), "%s/cgroup", pid);
	r = ig_fd_read_file(w->proc_fd, path, PROC_CGROUP_BYTES, &text, &text_len);
	if (r < 0)
		return r;
	rest = text;
	while ((line = strsep(&rest, "\n")) != NULL) {
		if (!ig_str_has_prefix(line, "0::"))
			continue;
		if (strlen(line + 3) >= len)
			return -E2BIG;
		memcpy(ret, line + 3, strlen(line + 3) + 1);
		return 0;
	}
	return -ENOENT;
}

/* The path below the cgroup root, and the id, which is the inode number of the directory. */
static int find_cgroup(
	const struct walk *w, const char *pid, char *ret_path, size_t len, uint64_t *ret_id)
{
	char path[IG_CGROUP_PATH_BYTES + 1];
	const char *below;
	struct stat st;
	int r = read_cgroup(w, pid, path, sizeof(path));

	if (r < 0)
		return r;
	/* outside of our cgroup namespace the kernel writes "/..", which is below nothing */
	if (ig_cgroup_path_check(path) < 0 || !ig_cgroup_path_is_below(path, w->root))
		return -ENXIO;
	below = path + (strcmp(w->root, "/") == 0 ? 0 : strlen(w->root));
	if (!below[0])
		below = "/";
	if (strlen(below) >= len)
		return -E2BIG;
	if (fstatat(w->cgroup_root_fd, below[1] ? below + 1 : ".", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	memcpy(ret_path, below, strlen(below) + 1);
	*ret_id = st.st_ino;
	return 0;
}

static void look_at(struct walk *w, const char *pid)
{
	_cleanup_close_ int fd = -1;
	char path[NAME_MAX + 32], cgroup[IG_CGROUP_PATH_BYTES + 1];
	struct stat st;
	uint64_t id = 0;

	(void)snprintf(path, sizeof(path), "%s/ns/net", pid);
	if (fstatat(w->proc_fd, path, &st, 0) < 0 ||
		find_cgroup(w, pid, cgroup, sizeof(cgroup), &id) < 0 || !remember(w, st.st_ino))
		return;
	fd = openat(w->proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		w->each(fd, id, w->userdata);
}

/* What /proc/PID/cgroup calls the cgroup root: its place below the mount point. A process below it
 * tells: ours may not be, so it is found from the directory's own path and the mount's. */
static int find_root(struct walk *w)
{
	char link[64], path[IG_CGROUP_PATH_BYTES + 1], mount_point[IG_CGROUP_PATH_BYTES + 1];
	ssize_t n;
	int r;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", w->cgroup_root_fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return -errno;
	path[n] = '\0';
	r = ig_cgroup2_mount_find(mount_point, sizeof(mount_point), NULL);
	if (r < 0)
		return r;
	if (!ig_cgroup_path_is_below(path, mount_point))
		return -ENXIO;
	(void)snprintf(w->root, sizeof(w->root), "%s",
		strcmp(path, mount_point) == 0 ? "/" : path + strlen(mount_point));
	return 0;
}

int ig_tasks_each_namespace(int cgroup_root_fd, ig_tasks_namespace *each, void *userdata)
{
	_cleanup_(walk_done) struct walk w = {.proc_fd = -1,
		.cgroup_root_fd = cgroup_root_fd,
		.each = each,
		.userdata = userdata};
	const struct dirent *entry;
	struct stat own;
	DIR *proc;
	int r = find_root(&w);

	if (r < 0)
		return r;
	w.proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	proc = opendir("/proc");
	if (w.proc_fd < 0 || !proc) {
		r = -errno;
	} else {
		if (fstatat(w.proc_fd, "self/ns/net", &own, 0) == 0)
			(void)remember(&w, own.st_ino);
		while ((entry = readdir(proc)) != NULL)
			if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
				look_at(&w, entry->d_name);
	}
	if (proc)
		(void)closedir(proc);
	return r;
}

int ig_task_cgroup(int cgroup_root_fd, uint32_t pid, char *ret_path, size_t len, uint64_t *ret_id)
{
	_cleanup_(walk_done) struct walk w = {.proc_fd = -1, .cgroup_root_fd = cgroup_root_fd};
	char number[16];
	int r = find_root(&w);

	if (r < 0)
		return r;
	w.proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (w.proc_fd < 0)
		return -errno;
	(void)snprintf(number, sizeof(number), "%u", pid);
	return find_cgroup(&w, number, ret_path, len, ret_id);
}
