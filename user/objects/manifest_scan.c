/*
 * The files of a manifest directory; see manifest_scan.h. Each file is a source of the store under
 * its full path, and one unit: what is wrong leaves its last good content in force.
 *
 * A file in place of another (rename, link) is complete; one that is being written is not, and must
 * not be read before its writer closes it, or the objects that stand in the unwritten rest would be
 * gone for a moment. So outside of full runs a plain file is read only when it was touched.
 *
 * A file that declares what another one (or the cluster) declares already is put off and tried
 * again after every change to the others, so that the order in which they change does not matter.
 * One that could not be read for want of descriptors or memory is tried again after a while, since
 * nobody may ever touch it again.
 *
 * Never writes to the directory, never follows a link out of it.
 */
#include "objects/manifest_scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <imdsgate/limits.h>

#include "base/fdutil.h"
#include "base/file.h"
#include "base/table.h"

IG_DEFINE_CLEANUP(struct ig_object_set *, ig_object_set_free);
IG_DEFINE_CLEANUP(DIR *, closedir);

/* Which content this is, as far as can be told without reading it. */
struct stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtim;
	struct timespec ctim;
};

struct file {
	UT_hash_handle hh;
	char *path;			/* owned */
	char *name;			/* the last part of path */
	struct stamp stamp;		/* of the last content that was read; {} before */
	int error;			/* of the last try; 0 when what is there is in force */
	bool clash;			/* error is that another file declares the same */
	bool untold;			/* and that has not been reported yet */
	bool passing;			/* error may pass though the file stays as it is */
	bool known;			/* has been tried before */
	bool seen;			/* in the current run */
	bool plain;			/* the directory says that it is no link */
	bool written, created, changed; /* touches since the last run */
};

struct ig_manifest_scan {
	char *path;		      /* owned */
	const char *policy_namespace; /* the source's */
	struct ig_store *store;
	ig_manifest_reported *reported;
	void *userdata;
	struct file *files; /* uthash head by name; owned */
	bool unsorted;	    /* one was added since they were sorted */
};

static struct file *file_free(struct file *file)
{
	if (!file)
		return NULL;
	free(file->path);
	free(file);
	return NULL;
}
IG_DEFINE_CLEANUP(struct file *, file_free);

static bool is_manifest_name(const char *name)
{
	size_t len = strlen(name);

	if (name[0] == '.' || name[0] == '#')
		return false;
	return (len > 5 && strcmp(name + len - 5, ".yaml") == 0) ||
	       (len > 4 && strcmp(name + len - 4, ".yml") == 0);
}

int ig_manifest_scan_new(const struct ig_manifest_source *source, struct ig_store *store,
	ig_manifest_reported *reported, void *userdata, struct ig_manifest_scan **ret)
{
	_cleanup_(ig_manifest_scan_freep) struct ig_manifest_scan *scan = calloc(1, sizeof(*scan));

	if (!scan)
		return -ENOMEM;
	scan->path = strdup(source->path);
	if (!scan->path)
		return -ENOMEM;
	scan->policy_namespace = source->policy_namespace;
	scan->store = store;
	scan->reported = reported;
	scan->userdata = userdata;
	*ret = TAKE_PTR(scan);
	return 0;
}

struct ig_manifest_scan *ig_manifest_scan_free(struct ig_manifest_scan *scan)
{
	struct file *file, *next;

	if (!scan)
		return NULL;
	HASH_ITER (hh, scan->files, file, next) {
		HASH_DEL(scan->files, file);
		(void)file_free(file);
	}
	free(scan->path);
	free(scan);
	return NULL;
}

/* The entry of a name, made if there is none. NULL when out of memory. */
static struct file *get_file(struct ig_manifest_scan *scan, const char *name)
{
	_cleanup_(file_freep) struct file *file = NULL;
	size_t len = strlen(scan->path);
	const char *slash = len > 0 && scan->path[len - 1] == '/' ? "" : "/";
	struct file *old;

	HASH_FIND_STR(scan->files, name, old);
	if (old)
		return old;
	file = calloc(1, sizeof(*file));
	if (!file || asprintf(&file->path, "%s%s%s", scan->path, slash, name) < 0) {
		/* asprintf leaves the pointer undefined */
		if (file)
			file->path = NULL;
		return NULL;
	}
	file->name = file->path + strlen(file->path) - strlen(name);
	HASH_ADD_KEYPTR(hh, scan->files, file->name, strlen(file->name), file);
	if (!ig_table_has(file))
		return NULL;
	scan->unsorted = true;
	return TAKE_PTR(file);
}

int ig_manifest_scan_touch(
	struct ig_manifest_scan *scan, const char *name, enum ig_manifest_touch touch)
{
	struct file *file;

	if (!is_manifest_name(name))
		return 0;
	file = get_file(scan, name);
	if (!file)
		return -ENOMEM;
	file->written |= touch == IG_MANIFEST_WRITTEN;
	file->created |= touch == IG_MANIFEST_CREATED;
	file->changed |= touch == IG_MANIFEST_CHANGED;
	return 0;
}

static bool same_stamp(const struct stamp *a, const struct stamp *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtim.tv_sec == b->mtim.tv_sec && a->mtim.tv_nsec == b->mtim.tv_nsec &&
	       a->ctim.tv_sec == b->ctim.tv_sec && a->ctim.tv_nsec == b->ctim.tv_nsec;
}

static struct stamp stamp_of(const struct stat *st)
{
	return (struct stamp){.dev = st->st_dev,
		.ino = st->st_ino,
		.size = st->st_size,
		.mtim = st->st_mtim,
		.ctim = st->st_ctim};
}

/* The whole of an open file. One byte more than allowed is asked for, to tell too large. */
static int read_text(int fd, char **ret, size_t *ret_len)
{
	_cleanup_free_ char *text = malloc(IG_MANIFEST_FILE_BYTES + 1);
	int r = text ? ig_fd_read(fd, text, IG_MANIFEST_FILE_BYTES + 1, ret_len) : -ENOMEM;

	if (r == 0)
		*ret = TAKE_PTR(text);
	return r;
}

static int open_error(const struct file *file, int error, struct ig_err *err)
{
	if (error == -EXDEV)
		return ig_err_at(err, error, file->path, 0, 0,
			"a link that leads out of the directory is not followed");
	return ig_err_at(err, error, file->path, 0, 0, "cannot be read: %s", strerror(-error));
}

bool ig_manifest_error_passes(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -EIO ||
	       error == -EAGAIN;
}

/* Opens and judges a file without reading it. */
static int open_file(int dirfd, const struct file *file, int *ret_fd, struct stamp *ret_stamp,
	struct ig_err *err)
{
	_cleanup_close_ int fd = ig_file_open_beneath(dirfd, file->name, 0);
	struct stat st;

	if (fd < 0)
		return open_error(file, fd, err);
	if (fstat(fd, &st) < 0)
		return open_error(file, -errno, err);
	if (!S_ISREG(st.st_mode))
		return ig_err_at(err, -EINVAL, file->path, 0, 0, "not a regular file");
	*ret_stamp = stamp_of(&st);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

enum attempt {
	FIRST, /* in this run */
	AGAIN, /* it clashed, and other files have changed since; or its error may have passed */
	LAST,  /* the same, and now the clash is said */
};

/* Notes how an attempt ended, and tells unless it is no news. */
static void conclude(struct ig_manifest_scan *scan, struct file *file, int error, bool news,
	const struct ig_manifest_report *counts, const struct ig_err *err)
{
	struct ig_manifest_report report = {.file = file->path,
		.error = error,
		.detail = error ? err : NULL,
		.objects = error ? 0 : counts->objects,
		.ignored = error ? 0 : counts->ignored};

	news |= file->error != error;
	file->error = error;
	if (news && scan->reported)
		scan->reported(&report, scan->userdata);
}

/* Reads the text of an open file into the store. *ret_clash: the text is good, but not beside what
 * other sources declare. *ret_counts gets the numbers for the report. */
static int load(const struct ig_manifest_scan *scan, const struct file *file, int fd,
	bool *ret_clash, struct ig_manifest_report *ret_counts, struct ig_err *err)
{
	_cleanup_(ig_object_set_freep) struct ig_object_set *set = NULL;
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r;

	*ret_clash = false;
	r = read_text(fd, &text, &len);
	if (r < 0)
		return open_error(file, r, err);
	r = ig_manifest_parse(file->path, text, len, scan->policy_namespace, &set, err);
	if (r < 0)
		return r;
	ret_counts->objects = ig_object_set_count(set);
	ret_counts->ignored = set->n_ignored;
	r = ig_store_replace(scan->store, file->path, set, err);
	if (r < 0) {
		*ret_clash = r == -EINVAL;
		return r;
	}
	(void)TAKE_PTR(set);
	return 0;
}

/* It could not be opened. If it is tried again, then as it was at the first attempt: what is
 * written meanwhile has its own turn. */
static void fail_open(struct ig_manifest_scan *scan, int dirfd, struct file *file,
	enum attempt attempt, int error, const struct ig_err *err)
{
	const struct ig_manifest_report none = {};
	struct stat st;

	file->clash = false;
	file->passing = ig_manifest_error_passes(error) &&
			(attempt != FIRST || fstatat(dirfd, file->name, &st, 0) == 0);
	if (!file->passing)
		file->stamp = (struct stamp){};
	else if (attempt == FIRST)
		file->stamp = stamp_of(&st);
	conclude(scan, file, error, !file->known, &none, err);
	file->known = true;
}

static void attempt(
	struct ig_manifest_scan *scan, int dirfd, struct file *file, enum attempt attempt)
{
	_cleanup_close_ int fd = -1;
	struct ig_manifest_report counts = {};
	uint64_t epoch = ig_store_epoch(scan->store);
	bool same, clash, passing = file->passing;
	struct stamp stamp = {};
	struct ig_err err = {};
	int r = open_file(dirfd, file, &fd, &stamp, &err);

	if (r < 0) {
		fail_open(scan, dirfd, file, attempt, r, &err);
		return;
	}
	same = file->known && same_stamp(&stamp, &file->stamp);
	/* a file that is being written meanwhile has its own turn when that is done */
	if (attempt == FIRST ? same && !file->written && !passing : !same)
		return;
	r = load(scan, file, fd, &clash, &counts, &err);
	file->known = true;
	file->passing = ig_manifest_error_passes(r);
	/* what did not fail for the text's sake is tried again even if the file stays as it is */
	file->stamp =
		r == 0 || r == -EINVAL || r == -E2BIG || file->passing ? stamp : (struct stamp){};
	file->clash = clash;
	if (clash && attempt != LAST) {
		file->untold |= attempt == FIRST || passing;
		file->error = r;
		return;
	}
	file->untold = false;
	conclude(scan, file, r,
		(r < 0 && !passing) || !same || ig_store_epoch(scan->store) != epoch, &counts,
		&err);
}

/* Is it time to read the file? Links are looked at always, because what they lead to may change
 * without a word about the link. */
static bool is_due(int dirfd, const struct file *file, bool all)
{
	bool touched = file->written || file->created || file->changed;
	struct stat st;
	bool link;

	if (!all && !touched && file->plain)
		return false;
	/* gone since the directory was listed: an event of its own is under way */
	if (fstatat(dirfd, file->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	link = S_ISLNK(st.st_mode);
	return all || link || file->written || (file->created && st.st_nlink > 1) ||
	       (file->changed && file->error);
}

static int compare_names(const struct file *a, const struct file *b)
{
	return strcmp(a->name, b->name);
}

/* Enters what the directory holds into the table and marks it as seen. */
static int list(struct ig_manifest_scan *scan, DIR *dir)
{
	size_t n = 0;

	for (struct file *file = scan->files; file; file = file->hh.next)
		file->seen = false;
	for (;;) {
		const struct dirent *entry;
		struct file *file;

		errno = 0;
		entry = readdir(dir);
		if (!entry)
			break;
		if (!is_manifest_name(entry->d_name))
			continue;
		if (++n > IG_MANIFEST_FILES_MAX)
			return -E2BIG;
		file = get_file(scan, entry->d_name);
		if (!file)
			return -ENOMEM;
		file->seen = true;
		file->plain = entry->d_type == DT_REG; /* DT_UNKNOWN: is_due() finds out */
	}
	if (errno)
		return -errno;
	if (scan->unsorted)
		HASH_SORT(scan->files, compare_names);
	scan->unsorted = false;
	return 0;
}

static void drop_gone(struct ig_manifest_scan *scan)
{
	const struct ig_manifest_report none = {};
	struct file *file, *next;

	HASH_ITER (hh, scan->files, file, next) {
		if (file->seen)
			continue;
		/* cannot fail: there is nothing to take in */
		(void)ig_store_replace(scan->store, file->path, NULL, NULL);
		if (file->known)
			conclude(scan, file, 0, true, &none, NULL);
		HASH_DEL(scan->files, file);
		(void)file_free(file);
	}
}

static void try_clashes(struct ig_manifest_scan *scan, int dirfd)
{
	for (struct file *file = scan->files; file; file = file->hh.next)
		if (file->clash)
			attempt(scan, dirfd, file, AGAIN);
}

static void retry_clashes(struct ig_manifest_scan *scan, int dirfd, uint64_t epoch)
{
	/* every round that goes on has changed the store by at least one file's success, and a file
	 * that succeeded is not tried again */
	while (ig_store_epoch(scan->store) != epoch) {
		epoch = ig_store_epoch(scan->store);
		try_clashes(scan, dirfd);
	}
	for (struct file *file = scan->files; file; file = file->hh.next)
		if (file->clash && file->untold)
			attempt(scan, dirfd, file, LAST);
}

int ig_manifest_scan_run(struct ig_manifest_scan *scan, bool all, struct ig_err *reterr_err)
{
	_cleanup_(closedirp) DIR *dir = opendir(scan->path);
	uint64_t epoch = ig_store_epoch(scan->store);
	int r, fd;

	if (!dir)
		return ig_err_at(reterr_err, -errno, scan->path, 0, 0, "cannot be read: %s",
			strerror(errno));
	fd = dirfd(dir);
	r = list(scan, dir);
	if (r == -E2BIG)
		return ig_err_at(reterr_err, r, scan->path, 0, 0,
			"more than the %d manifests allowed", IG_MANIFEST_FILES_MAX);
	if (r < 0)
		return ig_err_at(
			reterr_err, r, scan->path, 0, 0, "cannot be read: %s", strerror(-r));
	drop_gone(scan);
	for (struct file *file = scan->files; file; file = file->hh.next) {
		if (is_due(fd, file, all))
			attempt(scan, fd, file, FIRST);
		file->written = file->created = file->changed = false;
	}
	retry_clashes(scan, fd, epoch);
	return 0;
}

bool ig_manifest_scan_clashes(const struct ig_manifest_scan *scan)
{
	for (const struct file *file = scan->files; file; file = file->hh.next)
		if (file->clash)
			return true;
	return false;
}

bool ig_manifest_scan_failing(const struct ig_manifest_scan *scan)
{
	for (const struct file *file = scan->files; file; file = file->hh.next)
		if (file->passing)
			return true;
	return false;
}

int ig_manifest_scan_retry(struct ig_manifest_scan *scan)
{
	_cleanup_close_ int fd = open(scan->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t epoch = ig_store_epoch(scan->store);

	if (fd < 0)
		return -errno;
	for (struct file *file = scan->files; file; file = file->hh.next)
		if (file->passing)
			attempt(scan, fd, file, AGAIN);
	try_clashes(scan, fd);
	retry_clashes(scan, fd, epoch);
	return 0;
}

size_t ig_manifest_scan_bad(const struct ig_manifest_scan *scan)
{
	size_t n = 0;

	for (const struct file *file = scan->files; file; file = file->hh.next)
		n += file->error != 0;
	return n;
}

void ig_manifest_scan_each_bad(const struct ig_manifest_scan *scan,
	void (*each)(const char *path, int error, void *userdata), void *userdata)
{
	for (const struct file *file = scan->files; file; file = file->hh.next)
		if (file->error)
			each(file->path, file->error, userdata);
}
