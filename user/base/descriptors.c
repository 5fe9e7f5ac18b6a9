/*
 * RLIMIT_NOFILE and what it is good for; see descriptors.h.
 */
#include "base/descriptors.h"

#include <errno.h>
#include <sys/resource.h>

#include <imdsgate/limits.h>

#define WANTED (IG_LISTENERS_MAX + IG_HTTP_CONNECTIONS_MAX + IG_DESCRIPTORS_RESERVE)

static size_t at_most(uint64_t n, size_t max)
{
	return n < max ? (size_t)n : max;
}

struct ig_descriptors ig_descriptors_of(uint64_t limit)
{
	struct ig_descriptors d = {.limit = limit, .wanted = WANTED};
	uint64_t left = limit - at_most(limit / 2, IG_DESCRIPTORS_RESERVE);

	d.connections = at_most(left / 3, IG_HTTP_CONNECTIONS_MAX);
	d.listeners = at_most(left - d.connections, IG_LISTENERS_MAX);
	d.connections_workload = at_most(d.connections / 4, IG_HTTP_CONNECTIONS_WORKLOAD_MAX);
	return d;
}

int ig_descriptors_raise(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	if (limit.rlim_cur >= WANTED)
		return 0;
	limit.rlim_cur = limit.rlim_max < WANTED ? limit.rlim_max : WANTED;
	return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? -errno : 0;
}

struct ig_descriptors ig_descriptors_get(void)
{
	struct rlimit limit = {};

	(void)getrlimit(RLIMIT_NOFILE, &limit);
	return ig_descriptors_of(limit.rlim_cur);
}
