/*
 * Which files this process may open from now on (landlock). Descriptors that are open stay so; what
 * stands in the way of everybody (owner, mode) goes on doing so.
 *
 * Landlock goes by the object that was found under a path when it was allowed. A file or directory
 * that is replaced by another one later is therefore allowed together with the directory that it
 * stands in, see ig_files_allow_place().
 */
#pragma once

#include "base/err.h"

enum ig_files_access {
	IG_FILES_READ,	     /* files and directories, with all below */
	IG_FILES_READ_FILES, /* the same, but no directory can be listed */
	IG_FILES_KEEP,	     /* read, write, make, rename and remove plain files */
};

struct ig_files {
	int ruleset; /* -1 where the kernel has no landlock: then all of this does nothing */
	int abi;     /* version of the kernel's interface; 0: it has none */
};

int ig_files_init(struct ig_files *ret, struct ig_err *reterr_err);
void ig_files_done(struct ig_files *files);

/* -ENOENT: there is nothing under this path. */
int ig_files_allow(struct ig_files *files, const char *path, enum ig_files_access access,
	struct ig_err *reterr_err);
int ig_files_allow_fd(
	struct ig_files *files, int fd, enum ig_files_access access, struct ig_err *reterr_err);
/* For reading a file or directory that may be replaced, or does not exist yet: itself, and the
 * nearest directory above that there is; unless that is "/" or stands directly in it, which would
 * be half the machine. -ENOENT: so nothing was allowed. */
int ig_files_allow_place(struct ig_files *files, const char *path, struct ig_err *reterr_err);

/* For the calling thread and what it starts: before there are others. Needs no_new_privs. TCP ports
 * cannot be bound and processes outside cannot be signalled either, where the kernel knows how. */
int ig_files_enforce(struct ig_files *files, struct ig_err *reterr_err);
