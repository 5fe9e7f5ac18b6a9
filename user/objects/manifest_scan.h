/*
 * Reading the files of a manifest directory into the store, once or again and again; knows nothing
 * of events. Internal to user/objects (manifest_dir.c).
 */
#pragma once

#include <stdbool.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "objects/manifest.h"

struct ig_manifest_scan;

/* store outlives the result. */
int ig_manifest_scan_new(const struct ig_manifest_source *source, struct ig_store *store,
	ig_manifest_reported *reported, void *userdata, struct ig_manifest_scan **ret);
struct ig_manifest_scan *ig_manifest_scan_free(struct ig_manifest_scan *scan);
IG_DEFINE_CLEANUP(struct ig_manifest_scan *, ig_manifest_scan_free);

/* What happened to a file, for the next run. Names that are no manifests are passed over. */
enum ig_manifest_touch {
	IG_MANIFEST_WRITTEN, /* complete: read it again whatever its dates say */
	IG_MANIFEST_CREATED, /* complete only if it is a link; else its writer is at work still */
	IG_MANIFEST_CHANGED, /* mode or owner: worth a try if it could not be read before */
};
int ig_manifest_scan_touch(
	struct ig_manifest_scan *scan, const char *name, enum ig_manifest_touch touch);

/* Brings the store in line with the directory: reads what is touched and links that lead somewhere
 * else, with `all` every file whose identity, size or dates are new, and drops what is gone. Wrong
 * files are reported. A negative errno, with nothing changed, when the directory cannot be read. */
int ig_manifest_scan_run(struct ig_manifest_scan *scan, bool all, struct ig_err *reterr_err);

/* Of a run or a file: too few descriptors, no memory and the like, which no event tells the end of.
 */
bool ig_manifest_error_passes(int error);
/* Are there files that could not be read for such an error? */
bool ig_manifest_scan_failing(const struct ig_manifest_scan *scan);
/* Are there files that declare what others do? */
bool ig_manifest_scan_clashes(const struct ig_manifest_scan *scan);
/* Tries both again, because time has passed or others have changed the store. A negative errno when
 * the directory cannot be opened. */
int ig_manifest_scan_retry(struct ig_manifest_scan *scan);

size_t ig_manifest_scan_bad(const struct ig_manifest_scan *scan);
void ig_manifest_scan_each_bad(const struct ig_manifest_scan *scan,
	void (*each)(const char *path, int error, void *userdata), void *userdata);
