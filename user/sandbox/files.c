/*
 * Landlock; see files.h. Called once by the server, as its last step before the filter of system
 * calls. Versions of the kernel's interface differ in which rights there are: each is handled from
 * the version on that has it.
 */
#include "sandbox/files.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/landlock.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

/* not in older headers */
#define ACCESS_FS_REFER	    (1ULL << 13)
#define ACCESS_FS_TRUNCATE  (1ULL << 14)
#define ACCESS_FS_IOCTL_DEV (1ULL << 15)
#define ACCESS_NET_BIND_TCP (1ULL << 0)
#define SCOPE_ABSTRACT_UNIX (1ULL << 0)
#define SCOPE_SIGNAL	    (1ULL << 1)

struct ruleset_attr {
	uint64_t access_fs, access_net, scoped;
};

#define ACCESS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define ACCESS_KEEP                                                                                \
	(ACCESS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |               \
		LANDLOCK_ACCESS_FS_REMOVE_FILE | ACCESS_FS_TRUNCATE)
/* what can be said about something that is no directory */
#define ACCESS_FILE                                                                                \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_READ_FILE |                               \
		LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_FS_TRUNCATE | ACCESS_FS_IOCTL_DEV)
/* "/a": half the machine may be below it */
#define DEPTH_MIN 2

static uint64_t handled_files(int abi)
{
	/* all rights of the first version, from EXECUTE to MAKE_SYM */
	uint64_t access = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;

	if (abi >= 2)
		access |= ACCESS_FS_REFER;
	if (abi >= 3)
		access |= ACCESS_FS_TRUNCATE;
	if (abi >= 5)
		access |= ACCESS_FS_IOCTL_DEV;
	return access;
}

int ig_files_init(struct ig_files *ret, struct ig_err *reterr_err)
{
	struct ruleset_attr attr = {};
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	size_t size = sizeof(attr.access_fs);
	long fd;

	*ret = (struct ig_files){.ruleset = -1};
	/* not built in; switched off at boot */
	if (abi < 0 && (errno == ENOSYS || errno == EOPNOTSUPP))
		return 0;
	if (abi < 0)
		return ig_err_set(reterr_err, -errno,
			"cannot ask the kernel for landlock's version: %s", strerror(errno));
	attr.access_fs = handled_files((int)abi);
	if (abi >= 4) {
		attr.access_net = ACCESS_NET_BIND_TCP;
		size += sizeof(attr.access_net);
	}
	if (abi >= 6) {
		attr.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
		size += sizeof(attr.scoped);
	}
	fd = syscall(SYS_landlock_create_ruleset, &attr, size, 0);
	if (fd < 0)
		return ig_err_set(reterr_err, -errno, "cannot make a set of landlock rules: %s",
			strerror(errno));
	*ret = (struct ig_files){.ruleset = (int)fd, .abi = (int)abi};
	return 0;
}

void ig_files_done(struct ig_files *files)
{
	files->ruleset = ig_close(files->ruleset);
}

static uint64_t access_bits(enum ig_files_access access)
{
	switch (access) {
	case IG_FILES_READ: return ACCESS_READ;
	case IG_FILES_READ_FILES: return LANDLOCK_ACCESS_FS_READ_FILE;
	case IG_FILES_KEEP: return ACCESS_KEEP;
	default: return 0;
	}
}

int ig_files_allow_fd(
	struct ig_files *files, int fd, enum ig_files_access access, struct ig_err *reterr_err)
{
	struct landlock_path_beneath_attr attr = {
		.allowed_access = access_bits(access) & handled_files(files->abi),
		.parent_fd = fd,
	};
	struct stat st;

	if (files->ruleset < 0)
		return 0;
	if (fstat(fd, &st) < 0)
		return ig_err_set(reterr_err, -errno, "landlock: %s", strerror(errno));
	if (!S_ISDIR(st.st_mode))
		attr.allowed_access &= ACCESS_FILE;
	if (syscall(SYS_landlock_add_rule, files->ruleset, LANDLOCK_RULE_PATH_BENEATH, &attr, 0) <
		0)
		return ig_err_set(
			reterr_err, -errno, "cannot add a landlock rule: %s", strerror(errno));
	return 0;
}

/* -ENOENT where there is nothing; what else goes wrong is the caller's to report. */
static int open_place(const char *path, int *ret_fd)
{
	int fd = open(path, O_PATH | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOTDIR ? -ENOENT : -errno;
	*ret_fd = fd;
	return 0;
}

int ig_files_allow(struct ig_files *files, const char *path, enum ig_files_access access,
	struct ig_err *reterr_err)
{
	_cleanup_close_ int fd = -1;
	int r = open_place(path, &fd);

	if (r == 0)
		return ig_files_allow_fd(files, fd, access, reterr_err);
	return ig_err_set(reterr_err, r, "landlock: cannot open %s: %s", path, strerror(-r));
}

/* How many names deep a directory is; "/" is 0. Links on the way to it do not count. */
static int depth(int fd, unsigned int *ret_depth)
{
	char link[64], path[PATH_MAX];
	unsigned int n = 0;
	ssize_t len;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len < 0)
		return -errno;
	path[len] = '\0';
	for (const char *p = path; *p; p++)
		n += p[0] == '/' && p[1] && p[1] != '/';
	*ret_depth = n;
	return 0;
}

static int allow_above(struct ig_files *files, const char *path, struct ig_err *reterr_err)
{
	_cleanup_free_ char *copy = strdup(path);
	_cleanup_close_ int fd = -1;
	unsigned int deep = 0;
	char *above = copy;
	int r;

	if (!copy)
		return -ENOMEM;
	do {
		above = dirname(above);
		r = open_place(above, &fd);
	} while (r == -ENOENT && strcmp(above, "/") != 0 && strcmp(above, ".") != 0);
	if (r == 0)
		r = depth(fd, &deep);
	if (r < 0)
		return ig_err_set(reterr_err, r, "landlock: cannot open the directory of %s: %s",
			path, strerror(-r));
	return deep < DEPTH_MIN ? -ENOENT : ig_files_allow_fd(files, fd, IG_FILES_READ, reterr_err);
}

int ig_files_allow_place(struct ig_files *files, const char *path, struct ig_err *reterr_err)
{
	int itself = ig_files_allow(files, path, IG_FILES_READ, reterr_err), above;

	if (itself < 0 && itself != -ENOENT)
		return itself;
	above = allow_above(files, path, reterr_err);
	return above == -ENOENT ? itself : above;
}

int ig_files_enforce(struct ig_files *files, struct ig_err *reterr_err)
{
	if (files->ruleset < 0)
		return 0;
	if (syscall(SYS_landlock_restrict_self, files->ruleset, 0) < 0)
		return ig_err_set(reterr_err, -errno, "landlock does not take its rules: %s",
			strerror(errno));
	return 0;
}
