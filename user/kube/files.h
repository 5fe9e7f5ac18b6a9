/*
 * Files that configure access to the API server: named by the operator, so links are followed, and
 * possibly secret, so copies are wiped. Private to user/kube.
 */
#pragma once

#include "base/buf.h"

/* Appends a regular file's content, up to the buffer's limit. -EINVAL: not a regular file; -E2BIG.
 * On failure the buffer holds a part. */
int ig_kube_read_fd(int fd, struct ig_buf *b);
/* "dir/name", or name alone if it is absolute. To be freed; NULL: no memory. */
char *ig_kube_path_join(const char *dir, const char *name);
/* What stands before the last slash: "." for "a", "/" for "/a". To be freed; NULL: no memory. */
char *ig_kube_path_dir(const char *path);
