/*
 * Is this a network namespace that leads out of the machine? What dials in tests and benchmarks
 * asks first, and refuses to run without IG_FORBIDDEN_NETNS (inode numbers of the namespaces that
 * do), so that a slip can never reach a real metadata service.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/parse.h"

static inline bool netns_is_forbidden(void)
{
	const char *forbidden = getenv("IG_FORBIDDEN_NETNS");
	_cleanup_free_ char *list = NULL;
	char *inode, *rest;
	struct stat st;
	uint64_t n;

	if (!forbidden || !*forbidden || stat("/proc/self/ns/net", &st) < 0)
		return true;
	list = rest = strdup(forbidden);
	if (!list)
		return true;
	while ((inode = strsep(&rest, ",")))
		if (ig_parse_u64(inode, &n) < 0 || n == st.st_ino)
			return true;
	return false;
}
