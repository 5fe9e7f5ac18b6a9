/*
 * The manifest directory: *.yaml and *.yml files with any number of documents each, of the kinds in
 * object.h, read once and followed with inotify. A file is one unit: if anything in it is wrong,
 * the problem is reported with file, line and column and the file's last good content stays in
 * force, while the other files go on. A file that disappears takes its objects with it. Hidden
 * files and editors' leftovers (*~, #*#) are passed over, as are kinds of other API groups
 * (reported, not an error, so that a mixed file works).
 */
#pragma once

#include <stddef.h>

#include "base/err.h"
#include "objects/object.h"
#include "objects/store.h"

struct event_base;
struct ig_manifest_dir;

/* Parses one file's text. `name` is used in messages; policy_namespace: as in validate.h. 0, or
 * -EINVAL / -E2BIG / -ENOMEM with *reterr_err. */
int ig_manifest_parse(const char *name, const char *text, size_t len, const char *policy_namespace,
	struct ig_object_set **ret_set, struct ig_err *reterr_err);

struct ig_manifest_report {
	const char *file; /* full path; the directory itself when that is what is wrong */
	int error;	  /* 0: the file was applied (or removed) */
	const struct ig_err *detail; /* NULL when error == 0 */
	size_t objects;		     /* now in force from this file; 0 when error != 0 */
	size_t ignored;		     /* objects of other API groups that were passed over */
};

struct ig_manifest_source {
	const char *path;	      /* of the directory; copied */
	const char *policy_namespace; /* as in validate.h; outlives what is made from this */
};

typedef void ig_manifest_reported(const struct ig_manifest_report *report, void *userdata);

/* Reads the directory now (so the store is filled when this returns) and follows it. Files that are
 * wrong are reported, not an error; a directory that cannot be opened or read is. `reported` is
 * called for every file that changed, from inside this function too; it must not free the result.
 * store outlives the result, and what was declared stays declared after ig_manifest_dir_free().
 *
 * Symbolic links are followed as long as they stay inside the directory (as a mounted ConfigMap's
 * do). A directory that goes away is reported, its objects stay in force, and it is read again when
 * a directory of that path appears. */
int ig_manifest_dir_new(struct event_base *base, const struct ig_manifest_source *source,
	struct ig_store *store, ig_manifest_reported *reported, void *userdata,
	struct ig_manifest_dir **ret, struct ig_err *reterr_err);
struct ig_manifest_dir *ig_manifest_dir_free(struct ig_manifest_dir *dir);

/* For the store's listener, after each change: a file that declares what another source (the
 * cluster) declared may fit now. It is tried from the loop, at most once in IG_MANIFEST_RETRY_MSEC.
 */
void ig_manifest_dir_store_changed(struct ig_manifest_dir *dir);

/* Files whose last read failed. */
size_t ig_manifest_dir_bad_files(const struct ig_manifest_dir *dir);
/* Each of them, with the error of that read. */
void ig_manifest_dir_each_bad(const struct ig_manifest_dir *dir,
	void (*each)(const char *path, int error, void *userdata), void *userdata);

/* For --check-config: reads every file, calls `reported` for each, keeps nothing. Returns how many
 * files were wrong (clashes between files included), or a negative errno when the directory cannot
 * be read. */
int ig_manifest_dir_check(const struct ig_manifest_source *source, ig_manifest_reported *reported,
	void *userdata, struct ig_err *reterr_err);
