/*
 * The pin directory in bpffs; see pins.h. Knows files and locks, nothing of programs or maps.
 */
#include "datapath/pins.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <imdsgate/abi.h>

#include "base/cleanup.h"

static int make_dir(const char *path, struct ig_err *reterr_err)
{
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return 0;
	return ig_err_set(
		reterr_err, -errno, "cannot make directory %s: %s", path, strerror(errno));
}

static int ensure_bpffs(const char *path, struct ig_err *reterr_err)
{
	struct statfs fs;
	int r = make_dir(path, reterr_err);

	if (r < 0)
		return r;
	if (statfs(path, &fs) < 0)
		return ig_err_set(
			reterr_err, -errno, "cannot look at %s: %s", path, strerror(errno));
	if (fs.f_type == BPF_FS_MAGIC)
		return 0;
	if (mount("bpf", path, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") < 0)
		return ig_err_set(reterr_err, -errno,
			"%s is not a BPF file system and one cannot be mounted there: %s; mount it (mount -t bpf bpf %s) or name another place with --bpffs",
			path, strerror(errno), path);
	return 0;
}

int ig_pins_path(const char *dir, const char *name, char *ret, size_t len)
{
	int n = snprintf(ret, len, "%s/%s", dir, name);

	return n < 0 || (size_t)n >= len ? -E2BIG : 0;
}

static int lock_dir(const char *dir, struct ig_err *reterr_err)
{
	_cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return ig_err_set(reterr_err, -errno, "cannot open %s: %s", dir, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return ig_err_set(reterr_err, errno == EWOULDBLOCK ? -EBUSY : -errno,
			errno == EWOULDBLOCK
				? "another imdsgated holds %s; one agent serves one pin directory (--bpffs)"
				: "cannot lock %s",
			dir);
	return TAKE_FD(fd);
}

/* A lock belongs to the open file, so whoever has a descriptor of it holds the lock, too. */
static int check_lock(const char *dir, int lock_fd, struct ig_err *reterr_err)
{
	struct stat named, locked;

	if (stat(dir, &named) < 0 || fstat(lock_fd, &locked) < 0)
		return ig_err_set(
			reterr_err, -errno, "cannot look at %s: %s", dir, strerror(errno));
	if (named.st_dev != locked.st_dev || named.st_ino != locked.st_ino)
		return ig_err_set(reterr_err, -ENXIO,
			"the running agent has another pin directory than %s", dir);
	return 0;
}

/* lock_fd: what to hold the lock by, or -1: take it. Stays the caller's on failure. */
static int open_pins(const char *bpffs, int lock_fd, struct ig_pins *ret, struct ig_err *reterr_err)
{
	struct ig_pins pins = {.lock_fd = -1};
	char version[16];
	int r = ensure_bpffs(bpffs, reterr_err);

	if (r < 0)
		return r;
	(void)snprintf(version, sizeof(version), "v%d", IG_ABI_VERSION);
	if (ig_pins_path(bpffs, "imdsgate", pins.dir, sizeof(pins.dir)) < 0 ||
		ig_pins_path(pins.dir, "links", pins.links, sizeof(pins.links)) < 0 ||
		ig_pins_path(pins.dir, version, pins.maps, sizeof(pins.maps)) < 0)
		return ig_err_set(reterr_err, -E2BIG, "path %s is too long", bpffs);
	r = make_dir(pins.dir, reterr_err);
	if (r < 0)
		return r;
	if (lock_fd < 0)
		r = pins.lock_fd = lock_dir(pins.dir, reterr_err);
	else
		r = check_lock(pins.dir, lock_fd, reterr_err);
	if (r >= 0)
		r = make_dir(pins.links, reterr_err);
	if (r == 0)
		r = make_dir(pins.maps, reterr_err);
	if (r < 0) {
		ig_pins_close(&pins);
		return r;
	}
	if (lock_fd >= 0)
		pins.lock_fd = lock_fd;
	*ret = pins;
	return 0;
}

int ig_pins_open(const char *bpffs, struct ig_pins *ret, struct ig_err *reterr_err)
{
	return open_pins(bpffs, -1, ret, reterr_err);
}

int ig_pins_join(const char *bpffs, int lock_fd, struct ig_pins *ret, struct ig_err *reterr_err)
{
	return open_pins(bpffs, lock_fd, ret, reterr_err);
}

bool ig_pins_is_held(const struct ig_pins *pins)
{
	_cleanup_close_ int fd = open(pins->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

void ig_pins_close(struct ig_pins *pins)
{
	pins->lock_fd = ig_close(pins->lock_fd);
}

static void closedirp(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

int ig_pins_remove_dir(const char *path)
{
	_cleanup_(closedirp) DIR *dir = opendir(path);
	const struct dirent *entry;
	int removed = 0;

	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while ((entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(dir), entry->d_name, 0) < 0)
			return -errno;
		removed++;
	}
	if (rmdir(path) < 0)
		return -errno;
	return removed;
}
