/*
 * The allow-list of request paths; see routes.h. Called first for every request, before anything
 * else of it is looked at.
 *
 * Must never decode, normalise or guess: whoever lets two spellings reach one resource lets a
 * client choose the one that a later check does not know. What is not on the list is NONE.
 */
#include "imds/routes.h"

#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"

struct rule {
	const char *path; /* behind "/metadata" */
	enum ig_imds_route route;
	bool below; /* longer paths, too */
};

static const struct rule rules[] = {
	{"/identity/oauth2/token", IG_IMDS_ROUTE_TOKEN, false},
	{"/identity/info", IG_IMDS_ROUTE_INFO, false},
	{"/versions", IG_IMDS_ROUTE_VERSIONS, false},
	{"/instance", IG_IMDS_ROUTE_INSTANCE, true},
	{"/attested", IG_IMDS_ROUTE_ATTESTED, true},
	{"/loadbalancer", IG_IMDS_ROUTE_LOADBALANCER, true},
	{"/scheduledevents", IG_IMDS_ROUTE_SCHEDULEDEVENTS, true},
};

static const char *const names[_IG_IMDS_ROUTE_MAX] = {
	[IG_IMDS_ROUTE_TOKEN] = "token",
	[IG_IMDS_ROUTE_INFO] = "info",
	[IG_IMDS_ROUTE_VERSIONS] = "versions",
	[IG_IMDS_ROUTE_INSTANCE] = "instance",
	[IG_IMDS_ROUTE_ATTESTED] = "attested",
	[IG_IMDS_ROUTE_LOADBALANCER] = "loadbalancer",
	[IG_IMDS_ROUTE_SCHEDULEDEVENTS] = "scheduledevents",
	[IG_IMDS_ROUTE_HOST_TOKEN] = "host_token",
	[IG_IMDS_ROUTE_NONE] = "none",
	[IG_IMDS_ROUTE_INVALID] = "invalid",
};

/* lower is a literal in lower case. */
static bool has_prefix_nocase(const char *s, const char *lower)
{
	for (; *lower; s++, lower++) {
		char c = *s;

		if (c >= 'A' && c <= 'Z')
			c = (char)(c | 0x20);
		if (c != *lower)
			return false;
	}
	return true;
}

/* The path of an origin-form or absolute-form target, or NULL. RFC 9112 wants absolute forms
 * accepted: clients send them when a proxy is set. Whom the authority names does not matter, the
 * connection came here. */
static const char *path_of(const char *target)
{
	static const char scheme[] = "http://";
	const char *authority;
	size_t len;

	if (target[0] == '/')
		return target;
	if (!has_prefix_nocase(target, scheme))
		return NULL;
	authority = target + sizeof(scheme) - 1;
	len = strcspn(authority, "/?#");
	if (len == 0 || memchr(authority, '@', len))
		return NULL;
	return authority + len;
}

/* No byte that anyone could decode, no empty, "." or ".." segment. A slash at the end counts as an
 * empty one. */
static bool is_canonical(const char *path, size_t len)
{
	size_t start = 1; /* of the segment */

	if (len == 0 || path[0] != '/')
		return false;
	for (size_t i = 1; i <= len; i++) {
		size_t n = i - start;

		if (i < len && path[i] != '/') {
			if (path[i] <= ' ' || path[i] > '~' || strchr("%\\;#", path[i]))
				return false;
			continue;
		}
		if (n == 0 || (n == 1 && path[start] == '.') ||
			(n == 2 && path[start] == '.' && path[start + 1] == '.'))
			return false;
		start = i + 1;
	}
	return true;
}

static enum ig_imds_route match(const char *path, size_t len)
{
	static const char root[] = "/metadata";
	size_t root_len = sizeof(root) - 1;

	if (len < root_len || !has_prefix_nocase(path, root) || !is_canonical(path, len))
		return IG_IMDS_ROUTE_NONE;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rules); i++) {
		size_t n = strlen(rules[i].path);

		if (len - root_len < n || memcmp(path + root_len, rules[i].path, n) != 0)
			continue;
		if (len - root_len == n || (rules[i].below && path[root_len + n] == '/'))
			return rules[i].route;
	}
	return IG_IMDS_ROUTE_NONE;
}

/* Path and query, with no route yet: INVALID, or NONE where there is a path. */
static struct ig_imds_target split(const char *target)
{
	struct ig_imds_target ret = {.route = IG_IMDS_ROUTE_INVALID, .path = target, .query = ""};
	const char *path = path_of(target);

	if (!path)
		return ret;
	ret.route = IG_IMDS_ROUTE_NONE;
	ret.path_len = strcspn(path, "?");
	if (path[ret.path_len] == '?')
		ret.query = path + ret.path_len + 1;
	/* some clients join a base that ends in a slash with a path that starts with one */
	if (ret.path_len >= 2 && path[0] == '/' && path[1] == '/') {
		path++;
		ret.path_len--;
	}
	ret.path = path;
	return ret;
}

static bool ends_in_slash(const struct ig_imds_target *target)
{
	return target->path_len > 1 && target->path[target->path_len - 1] == '/';
}

struct ig_imds_target ig_imds_route(const char *target)
{
	struct ig_imds_target ret = split(target);

	if (ret.route == IG_IMDS_ROUTE_INVALID)
		return ret;
	ret.route = match(ret.path, ret.path_len);
	if (ret.route == IG_IMDS_ROUTE_NONE && ends_in_slash(&ret) &&
		match(ret.path, ret.path_len - 1) == IG_IMDS_ROUTE_TOKEN) {
		ret.route = IG_IMDS_ROUTE_TOKEN;
		ret.path_len--;
	}
	return ret;
}

struct ig_imds_target ig_imds_route_host(const char *target)
{
	static const char path[] = "/host/token";
	struct ig_imds_target ret = split(target);
	size_t len = ret.path_len - (ends_in_slash(&ret) ? 1 : 0);

	if (ret.route == IG_IMDS_ROUTE_NONE && len == sizeof(path) - 1 &&
		memcmp(ret.path, path, len) == 0) {
		ret.route = IG_IMDS_ROUTE_HOST_TOKEN;
		ret.path_len = len;
	}
	return ret;
}

const char *ig_imds_route_name(enum ig_imds_route route)
{
	if ((unsigned int)route >= _IG_IMDS_ROUTE_MAX)
		return "invalid";
	return names[route];
}
