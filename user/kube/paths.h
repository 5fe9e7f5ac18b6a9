/*
 * Request paths of lists and watches. Pure. Called by watch.c.
 */
#pragma once

#include <stdint.h>

#include "base/buf.h"

/* Both append to `path`; base is "/api/v1/pods", query "a=b&c=d" (escaped already) or NULL. The
 * other texts come from the API server and are escaped here. The buffer says whether it had room.
 */

/* next: the token of the page, "" for the first one, which has to be as new as at_least: "0" is
 * whatever the API server has at hand, "" what is true now. */
void ig_kube_path_list(struct ig_buf *path, const char *base, const char *query, const char *next,
	const char *at_least);
void ig_kube_path_watch(struct ig_buf *path, const char *base, const char *query,
	const char *resource_version, uint64_t timeout_sec);
