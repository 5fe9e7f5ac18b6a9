/*
 * The audit file by name: appending whole lines, rotating, opening it again. Works below a
 * directory that was opened earlier, without paths, so that it goes on in a sandbox. Used by
 * sink_file.c, in one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ig_audit_file {
	int dir_fd; /* owned; -1: cannot be rotated or opened again */
	int fd;	    /* owned; O_APPEND */
	char *name; /* owned; within the directory */
	bool is_regular;
	uint64_t size_bytes;
	uint64_t created_usec; /* real clock */
};

/* Takes both descriptors on success. A line that a crash has cut short at the end of the file is
 * removed, or ended if it is not one of ours; *ret_cut_bytes says how long it was. */
int ig_audit_file_init(
	struct ig_audit_file *file, int dir_fd, int fd, const char *name, uint64_t *ret_cut_bytes);
void ig_audit_file_done(struct ig_audit_file *file);

/* Is it the file that stands under its name? */
bool ig_audit_file_is_current(const struct ig_audit_file *file);
/* false: it ends in the middle of a line, or (without its directory) nobody can tell. */
bool ig_audit_file_is_whole(const struct ig_audit_file *file);

/* Ends the line that somebody else began and left, so that the next one stands on its own. */
int ig_audit_file_end_line(struct ig_audit_file *file);

/* Size as it is now; somebody else may have truncated it. -ESTALE: the file has been deleted. */
int ig_audit_file_look(struct ig_audit_file *file);
/* Removes the last `bytes` bytes. */
int ig_audit_file_cut(struct ig_audit_file *file, uint64_t bytes);
/* NAME becomes NAME.1, NAME.1 becomes NAME.2, …; what would be NAME.(keep+1) is deleted. On failure
 * the file stays as it is, and usable. */
int ig_audit_file_rotate(struct ig_audit_file *file, unsigned int keep);
/* Makes or opens what has the name now. On failure it goes on with what it had. */
int ig_audit_file_reopen(struct ig_audit_file *file);
/* Data to the disk. */
int ig_audit_file_sync(struct ig_audit_file *file);
