/*
 * Which request targets mean what: an allow-list of exact canonical paths, decided before anything
 * else (docs/conformance.md). Pure functions without allocation.
 *
 * Canonical form: an absolute-form target is reduced to its path and query; one doubled leading
 * slash is collapsed; the first segment "metadata" compares without regard to letter case, every
 * other one exactly; one trailing slash is dropped on the token path only. Nothing is
 * percent-decoded: a path that contains '%', '\\', ';', "." or ".." segments or an empty segment
 * matches no route.
 */
#pragma once

#include <stddef.h>

enum ig_imds_route {
	IG_IMDS_ROUTE_TOKEN,	       /* /metadata/identity/oauth2/token */
	IG_IMDS_ROUTE_INFO,	       /* /metadata/identity/info */
	IG_IMDS_ROUTE_VERSIONS,	       /* /metadata/versions */
	IG_IMDS_ROUTE_INSTANCE,	       /* /metadata/instance and below */
	IG_IMDS_ROUTE_ATTESTED,	       /* /metadata/attested and below */
	IG_IMDS_ROUTE_LOADBALANCER,    /* /metadata/loadbalancer and below */
	IG_IMDS_ROUTE_SCHEDULEDEVENTS, /* /metadata/scheduledevents and below */
	IG_IMDS_ROUTE_HOST_TOKEN,      /* /host/token; only ig_imds_route_host() gives it */
	IG_IMDS_ROUTE_NONE,	       /* anything else, other clouds' paths among it: 404 */
	IG_IMDS_ROUTE_INVALID, /* not a path at all ("*", authority form, no leading slash): 400 */
	_IG_IMDS_ROUTE_MAX
};

struct ig_imds_target {
	enum ig_imds_route route;
	const char *path; /* borrowed from the target; not terminated */
	size_t path_len;
	const char
		*query; /* behind the '?', NUL-terminated as the target is; "" when there is none */
};

/* target is a NUL-terminated request target. Never fails: what it does not know is NONE or INVALID.
 */
struct ig_imds_target ig_imds_route(const char *target);

/* The same for callers on the node, for whom there is /host/token (or with a slash behind it) and
 * nothing else. */
struct ig_imds_target ig_imds_route_host(const char *target);

/* "token", "instance", …: a closed set, safe as a metric label and in audit records. */
const char *ig_imds_route_name(enum ig_imds_route route);
