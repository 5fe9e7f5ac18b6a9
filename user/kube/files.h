/*
 * Where the files are that configure access to the API server. Private to user/kube.
 */
#pragma once

/* "dir/name", or name alone if it is absolute. To be freed; NULL: no memory. */
char *ig_kube_path_join(const char *dir, const char *name);
/* What stands before the last slash: "." for "a", "/" for "/a". To be freed; NULL: no memory. */
char *ig_kube_path_dir(const char *path);
