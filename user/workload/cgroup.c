/*
 * Pod UID and container id from a cgroup path; see cgroup.h. Pure text work on paths that the
 * kernel reported, but whose names anybody may have chosen who may create cgroups: a container with
 * a writable cgroup2 can make "kubepods/pod<uid of another pod>" below itself. So the outermost
 * pods root decides and is never skipped, every component from there to the pod must have exactly
 * the name that kubelet gives it, and a pods root below a systemd service or a user's session
 * (subtrees that systemd hands over to their owners) is none.
 *
 * Never allocates, never touches a file. Called by the monitor, the workload table and the
 * manifest validator.
 */
#include "workload/cgroup.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/parse.h"

/* A piece of the path that is being looked at; not terminated. */
struct part {
	const char *s;
	size_t len;
};

static bool part_is(struct part p, const char *s)
{
	return p.len == strlen(s) && memcmp(p.s, s, p.len) == 0;
}

/* Cuts the text off the front (or the end) of *p if it is there. */
static bool cut_front(struct part *p, const char *s, size_t len)
{
	if (p->len < len || memcmp(p->s, s, len) != 0)
		return false;
	p->s += len;
	p->len -= len;
	return true;
}

static bool cut_prefix(struct part *p, const char *s)
{
	return cut_front(p, s, strlen(s));
}

static bool cut_suffix(struct part *p, const char *s)
{
	size_t len = strlen(s);

	if (p->len < len || memcmp(p->s + p->len - len, s, len) != 0)
		return false;
	p->len -= len;
	return true;
}

/* Moves the first component of *path ("/a/b") to *ret. 1, 0 at the end, -ENXIO if the path is not
 * canonical. */
static int next_part(const char **path, struct part *ret)
{
	struct part p;

	if (!**path)
		return 0;
	if (**path != '/')
		return -ENXIO;
	p.s = *path + 1;
	p.len = strcspn(p.s, "/");
	if (p.len == 0 || part_is(p, ".") || part_is(p, ".."))
		return -ENXIO;
	*path = p.s + p.len;
	*ret = p;
	return 1;
}

/* "kubepods.slice" or "PREFIX-kubepods.slice"; *ret_base is the name without ".slice", and
 * *ret_prefix "PREFIX" or empty. */
static bool is_root_slice(struct part name, struct part *ret_base, struct part *ret_prefix)
{
	struct part base = name, prefix;

	if (!cut_suffix(&base, ".slice"))
		return false;
	prefix = base;
	if (!cut_suffix(&prefix, "kubepods"))
		return false;
	if (prefix.len > 0 && (!cut_suffix(&prefix, "-") || prefix.len == 0))
		return false;
	/* systemd refuses to name a slice with a dash at either end or two in a row */
	if (prefix.len > 0 && (prefix.s[0] == '-' || prefix.s[prefix.len - 1] == '-' ||
				      memmem(prefix.s, prefix.len, "--", 2)))
		return false;
	*ret_base = base;
	*ret_prefix = prefix;
	return true;
}

static bool is_lower_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

/* A UID with `dash` between its groups, or a static pod's 32 digits. */
static bool copy_uid(struct part p, char dash, char ret[IG_POD_UID_BYTES + 1])
{
	bool dashed = p.len == IG_POD_UID_BYTES;

	if (!dashed && p.len != 32)
		return false;
	for (size_t i = 0; i < p.len; i++) {
		bool is_dash = dashed && (i == 8 || i == 13 || i == 18 || i == 23);

		if (is_dash ? p.s[i] != dash : !is_lower_hex(p.s[i]))
			return false;
		ret[i] = is_dash ? '-' : p.s[i];
	}
	ret[p.len] = '\0';
	return true;
}

static bool copy_container_id(struct part p, char ret[IG_CONTAINER_ID_BYTES + 1])
{
	if (p.len != IG_CONTAINER_ID_BYTES)
		return false;
	for (size_t i = 0; i < p.len; i++)
		if (!is_lower_hex(p.s[i]))
			return false;
	memcpy(ret, p.s, p.len);
	ret[p.len] = '\0';
	return true;
}

/* What stands directly below the pod. A name that is no container's (a helper's scope, a cgroup
 * that the pod made) leaves the container id empty: the pod is still the pod. */
static void read_container(struct part name, bool systemd, struct ig_cgroup_pod *ret)
{
	static const struct {
		const char *prefix;
		const char *runtime;
		bool helper; /* of the runtime, not a container */
	} shapes[] = {
		{"cri-containerd-", "containerd", false},
		{"crio-conmon-", "crio", true},
		{"crio-", "crio", false},
		{"docker-", "docker", false},
	};

	if (systemd && !cut_suffix(&name, ".scope"))
		return;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
		char id[IG_CONTAINER_ID_BYTES + 1];

		if (!cut_prefix(&name, shapes[i].prefix))
			continue;
		if (!copy_container_id(name, id))
			return;
		if (!shapes[i].helper)
			memcpy(ret->container_id, id, sizeof(id));
		memcpy(ret->runtime, shapes[i].runtime, strlen(shapes[i].runtime) + 1);
		return;
	}
	/* the bare id of the cgroupfs driver does not say which runtime */
	if (!systemd)
		(void)copy_container_id(name, ret->container_id);
}

/* Below /…/kubepods: [besteffort/|burstable/]pod<uid>[/<container>…] */
static int parse_cgroupfs(const char *path, struct ig_cgroup_pod *ret)
{
	struct part p;
	int r = next_part(&path, &p);

	if (r > 0 && (part_is(p, "besteffort") || part_is(p, "burstable")))
		r = next_part(&path, &p);
	if (r <= 0 || !cut_prefix(&p, "pod") || !copy_uid(p, '-', ret->uid))
		return -ENXIO;
	r = next_part(&path, &p);
	if (r > 0)
		read_container(p, false, ret);
	return r < 0 ? r : 0;
}

/* Cuts "<base>-<word>" off the front. */
static bool cut_slice_name(struct part *p, struct part base, const char *word)
{
	struct part rest = *p;

	if (!cut_front(&rest, base.s, base.len) || !cut_prefix(&rest, "-") ||
		!cut_prefix(&rest, word))
		return false;
	*p = rest;
	return true;
}

/* Below /…/<base>.slice: [<base>-<qos>.slice/]<base>[-<qos>]-pod<uid_>.slice[/<container>…] */
static int parse_systemd(const char *path, struct part base, struct ig_cgroup_pod *ret)
{
	static const char *const qos[] = {"besteffort", "burstable"};
	const char *pod_word = "pod";
	struct part p;
	int r = next_part(&path, &p);

	for (size_t i = 0; r > 0 && i < 2; i++) {
		struct part rest = p;

		if (!cut_slice_name(&rest, base, qos[i]) || !part_is(rest, ".slice"))
			continue;
		pod_word = i == 0 ? "besteffort-pod" : "burstable-pod";
		r = next_part(&path, &p);
		break;
	}
	if (r <= 0 || !cut_slice_name(&p, base, pod_word) || !cut_suffix(&p, ".slice") ||
		!copy_uid(p, '_', ret->uid))
		return -ENXIO;
	r = next_part(&path, &p);
	if (r > 0)
		read_container(p, true, ret);
	return r < 0 ? r : 0;
}

/* Subtrees below these are their owners' to fill with cgroups of any name. */
static bool is_handed_over(struct part p)
{
	return part_is(p, "user.slice") || cut_suffix(&p, ".service");
}

static bool is_canonical(const char *path)
{
	struct part p;
	int r;

	do
		r = next_part(&path, &p);
	while (r > 0);
	return r == 0;
}

int ig_cgroup_parse_pod(const char *path, struct ig_cgroup_pod *ret)
{
	struct ig_cgroup_pod found = {};
	struct part p, parent = {}, base, prefix;
	int r;

	if (!is_canonical(path))
		return -ENXIO;
	while ((r = next_part(&path, &p)) > 0) {
		if (part_is(p, "kubepods")) {
			r = parse_cgroupfs(path, &found);
			break;
		}
		if (is_root_slice(p, &base, &prefix)) {
			/* systemd nests a-b.slice in a.slice; anything else is not its work */
			if (prefix.len > 0 &&
				(!cut_suffix(&parent, ".slice") || parent.len != prefix.len ||
					memcmp(parent.s, prefix.s, prefix.len) != 0))
				return -ENXIO;
			r = parse_systemd(path, base, &found);
			break;
		}
		if (is_handed_over(p))
			return -ENXIO;
		parent = p;
	}
	if (r < 0 || !found.uid[0])
		return -ENXIO;
	*ret = found;
	return 0;
}

int ig_cgroup_path_check(const char *path)
{
	if (path[0] != '/' || strlen(path) > IG_CGROUP_PATH_BYTES)
		return -EINVAL;
	for (const char *s = path; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return -EINVAL;
	/* the root is canonical although it ends in a slash */
	return !path[1] || is_canonical(path) ? 0 : -EINVAL;
}

bool ig_cgroup_path_is_below(const char *path, const char *ancestor)
{
	size_t len = strlen(ancestor);

	if (len == 1)
		return true;
	return strncmp(path, ancestor, len) == 0 && (path[len] == '/' || path[len] == '\0');
}
