/*
 * The audit file by name; see file.h.
 *
 * It must never follow a link, never leave the directory, and never delete or shorten anything but
 * what is its own: the oldest rotated file, and the torn end of a line.
 */
#include "audit/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define OPEN_FLAGS (O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
#define FILE_MODE  0640
#define LINE_START "{\"v\":"

static uint64_t birth_usec(int fd)
{
	struct statx s;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &s) < 0 || !(s.stx_mask & STATX_BTIME))
		return ig_clock_real_usec();
	return (uint64_t)s.stx_btime.tv_sec * IG_USEC_PER_SEC + s.stx_btime.tv_nsec / 1000;
}

/* What the descriptor is. */
static int inspect(struct ig_audit_file *file)
{
	struct stat st;

	if (fstat(file->fd, &st) < 0)
		return -errno;
	file->is_regular = S_ISREG(st.st_mode);
	file->size_bytes = file->is_regular ? (uint64_t)st.st_size : 0;
	file->created_usec = birth_usec(file->fd);
	return 0;
}

int ig_audit_file_look(struct ig_audit_file *file)
{
	struct stat st;

	if (!file->is_regular)
		return 0;
	if (fstat(file->fd, &st) < 0)
		return -errno;
	file->size_bytes = (uint64_t)st.st_size;
	return st.st_nlink == 0 && file->dir_fd >= 0 ? -ESTALE : 0;
}

int ig_audit_file_cut(struct ig_audit_file *file, uint64_t bytes)
{
	int r = ig_audit_file_look(file);

	if (r < 0 && r != -ESTALE)
		return r;
	if (!file->is_regular || bytes > file->size_bytes)
		return -EINVAL;
	if (ftruncate(file->fd, (off_t)(file->size_bytes - bytes)) < 0)
		return -errno;
	file->size_bytes -= bytes;
	return 0;
}

int ig_audit_file_end_line(struct ig_audit_file *file)
{
	if (write(file->fd, "\n", 1) != 1)
		return -errno;
	file->size_bytes++;
	return 0;
}

/* The piece behind the last newline: its length, and whether it is the beginning of a record. */
static int find_torn_end(const struct ig_audit_file *file, uint64_t *ret_bytes, bool *ret_ours)
{
	_cleanup_close_ int fd =
		openat(file->dir_fd, file->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	_cleanup_free_ char *end = NULL;
	size_t want = file->size_bytes < IG_AUDIT_LINE_BYTES ? (size_t)file->size_bytes
							     : IG_AUDIT_LINE_BYTES;
	const char *newline, *piece;
	ssize_t n;

	if (fd < 0)
		return -errno;
	end = malloc(want ? want : 1);
	if (!end)
		return -ENOMEM;
	n = pread(fd, end, want, (off_t)(file->size_bytes - want));
	if (n < 0 || (size_t)n != want)
		return n < 0 ? -errno : -EIO;
	newline = memrchr(end, '\n', want);
	piece = newline ? newline + 1 : end;
	want -= (size_t)(piece - end);
	*ret_bytes = want;
	*ret_ours = (newline || file->size_bytes == want) &&
		    memcmp(piece, LINE_START,
			    want < strlen(LINE_START) ? want : strlen(LINE_START)) == 0;
	return 0;
}

/* A crash in the middle of a write: what follows must not stand on the same line. */
static int mend(struct ig_audit_file *file, uint64_t *ret_cut_bytes)
{
	uint64_t torn = 0;
	bool ours = false;
	int r;

	*ret_cut_bytes = 0;
	if (!file->is_regular || !file->size_bytes || file->dir_fd < 0)
		return 0;
	r = find_torn_end(file, &torn, &ours);
	if (r < 0 || !torn)
		return r;
	if (ours) {
		*ret_cut_bytes = torn;
		return ig_audit_file_cut(file, torn);
	}
	return ig_audit_file_end_line(file);
}

int ig_audit_file_init(
	struct ig_audit_file *file, int dir_fd, int fd, const char *name, uint64_t *ret_cut_bytes)
{
	struct ig_audit_file f = {.dir_fd = dir_fd, .fd = fd};
	_cleanup_free_ char *copy = strdup(name);
	int r;

	if (!copy)
		return -ENOMEM;
	f.name = copy;
	*ret_cut_bytes = 0;
	r = inspect(&f);
	/* who holds the lock is writing: what looks torn is a line on its way */
	if (r == 0 && (!f.is_regular || flock(fd, LOCK_EX | LOCK_NB) == 0)) {
		r = inspect(&f);
		if (r == 0)
			r = mend(&f, ret_cut_bytes);
		(void)flock(fd, LOCK_UN);
	}
	if (r < 0)
		return r;
	(void)TAKE_PTR(copy);
	*file = f;
	return 0;
}

void ig_audit_file_done(struct ig_audit_file *file)
{
	file->fd = ig_close(file->fd);
	file->dir_fd = ig_close(file->dir_fd);
	free(file->name);
	file->name = NULL;
}

static int take_over(struct ig_audit_file *file, int new_fd)
{
	struct ig_audit_file f = *file;
	int r;

	f.fd = new_fd;
	r = inspect(&f);
	if (r < 0)
		return r;
	(void)ig_close(file->fd);
	*file = f;
	return 0;
}

int ig_audit_file_reopen(struct ig_audit_file *file)
{
	_cleanup_close_ int fd = -1;
	int r;

	if (file->dir_fd < 0)
		return -EOPNOTSUPP;
	fd = openat(file->dir_fd, file->name, OPEN_FLAGS, FILE_MODE);
	if (fd < 0)
		return -errno;
	r = take_over(file, fd);
	if (r == 0)
		(void)TAKE_FD(fd);
	return r;
}

/* ---- rotation -------------------------------------------------------------------------------- */

/* NAME, or NAME.number. NULL when out of memory. */
static char *numbered(const struct ig_audit_file *file, unsigned int number)
{
	char *name;

	if (number == 0)
		return strdup(file->name);
	return asprintf(&name, "%s.%u", file->name, number) < 0 ? NULL : name;
}

static int move(const struct ig_audit_file *file, unsigned int from, unsigned int to)
{
	_cleanup_free_ char *old = numbered(file, from), *new = numbered(file, to);

	if (!old || !new)
		return -ENOMEM;
	return renameat(file->dir_fd, old, file->dir_fd, new) < 0 ? -errno : 0;
}

static bool exists(const struct ig_audit_file *file, unsigned int number)
{
	_cleanup_free_ char *name = numbered(file, number);
	struct stat st;

	return name && fstatat(file->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Makes NAME.1 free. The last of `keep` is overwritten by the one before it. */
static int shift(const struct ig_audit_file *file, unsigned int keep)
{
	unsigned int last = 0;

	while (last < keep && exists(file, last + 1))
		last++;
	if (last == keep)
		last--;
	for (; last > 0; last--) {
		int r = move(file, last, last + 1);

		if (r < 0)
			return r;
	}
	return 0;
}

bool ig_audit_file_is_current(const struct ig_audit_file *file)
{
	struct stat named, open;

	return fstatat(file->dir_fd, file->name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       fstat(file->fd, &open) == 0 && named.st_ino == open.st_ino &&
	       named.st_dev == open.st_dev;
}

/* The descriptor is for writing only, so by name. */
bool ig_audit_file_is_whole(const struct ig_audit_file *file)
{
	_cleanup_close_ int fd = -1;
	struct stat st;
	char last;

	if (file->dir_fd < 0)
		return false;
	/* nobody writes to one that was replaced */
	if (!ig_audit_file_is_current(file) || fstat(file->fd, &st) < 0 || st.st_size == 0)
		return true;
	fd = openat(file->dir_fd, file->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	return fd < 0 || pread(fd, &last, 1, st.st_size - 1) != 1 || last == '\n';
}

/* The next file is made first, under another name: if that fails, nothing has changed. */
static int replace(struct ig_audit_file *file, const char *new_name, unsigned int keep)
{
	_cleanup_close_ int fd = -1;
	int r;

	(void)unlinkat(file->dir_fd, new_name, 0);
	fd = openat(file->dir_fd, new_name, OPEN_FLAGS | O_EXCL, FILE_MODE);
	if (fd < 0)
		return -errno;
	r = shift(file, keep);
	if (r == 0)
		r = move(file, 0, 1);
	if (r == 0 && renameat(file->dir_fd, new_name, file->dir_fd, file->name) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlinkat(file->dir_fd, new_name, 0);
		return r;
	}
	r = take_over(file, fd);
	if (r == 0)
		(void)TAKE_FD(fd);
	return r;
}

int ig_audit_file_rotate(struct ig_audit_file *file, unsigned int keep)
{
	_cleanup_free_ char *new_name = NULL;

	if (file->dir_fd < 0 || !file->is_regular)
		return -EOPNOTSUPP;
	/* somebody else was faster */
	if (!ig_audit_file_is_current(file))
		return ig_audit_file_reopen(file);
	if (asprintf(&new_name, "%s.new", file->name) < 0) {
		new_name = NULL;
		return -ENOMEM;
	}
	return replace(file, new_name, keep);
}

int ig_audit_file_sync(struct ig_audit_file *file)
{
	if (!file->is_regular)
		return 0;
	return fdatasync(file->fd) < 0 ? -errno : 0;
}
