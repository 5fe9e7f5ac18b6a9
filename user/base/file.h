/*
 * Files that an operator names and others may replace at any time: found without leaving a
 * directory, and read whole, with no copy left behind.
 */
#pragma once

#include "base/buf.h"

/* Opens for reading, without blocking. Links are followed as long as they stay below the directory
 * (-EXDEV). flags: added to open()'s. Returns a descriptor or a negative errno. */
int ig_file_open_beneath(int dirfd, const char *path, int flags);

/* Keeps *fd (-1: not open) at the directory of that name, as O_PATH: it is opened again when it
 * appeared or was replaced. On failure it is -1. */
int ig_file_follow_directory(const char *path, int *fd);

/* Appends a regular file's content, up to the buffer's limit. -EINVAL: not a regular file; -E2BIG.
 * On failure the buffer holds a part. Only the buffer has it afterwards. */
int ig_file_read(int fd, struct ig_buf *b);
