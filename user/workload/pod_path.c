/*
 * From a pod's UID to the cgroups that it can have; the reverse of cgroup.c. Used where a pod needs
 * an entry of its own in the data path before it connects for the first time.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "workload/cgroup.h"

#define CGROUPFS_ROOT "/kubepods"
#define SYSTEMD_ROOT  "/kubepods.slice"
/* kind nests the node's kubelet below a slice of its own */
#define KIND_CGROUPFS_ROOT "/kubelet/kubepods"
#define KIND_SYSTEMD_ROOT  "/kubelet.slice/kubelet-kubepods.slice"

const char *const ig_cgroup_pods_roots[] = {
	SYSTEMD_ROOT,
	SYSTEMD_ROOT "/kubepods-burstable.slice",
	SYSTEMD_ROOT "/kubepods-besteffort.slice",
	CGROUPFS_ROOT,
	CGROUPFS_ROOT "/burstable",
	CGROUPFS_ROOT "/besteffort",
	KIND_SYSTEMD_ROOT,
	KIND_SYSTEMD_ROOT "/kubelet-kubepods-burstable.slice",
	KIND_SYSTEMD_ROOT "/kubelet-kubepods-besteffort.slice",
	KIND_CGROUPFS_ROOT,
	KIND_CGROUPFS_ROOT "/burstable",
	KIND_CGROUPFS_ROOT "/besteffort",
	NULL,
};

/* The systemd driver's slices repeat the names of the slices above them. */
struct layout {
	const char *root;
	const char *slice_prefix; /* NULL: cgroupfs driver */
};

static const struct layout layouts[] = {
	{SYSTEMD_ROOT, "kubepods"},
	{CGROUPFS_ROOT, NULL},
	{KIND_SYSTEMD_ROOT, "kubelet-kubepods"},
	{KIND_CGROUPFS_ROOT, NULL},
};

static const char *const qos_classes[] = {"", "burstable", "besteffort"};

static bool is_uid(const char *uid)
{
	size_t n = strlen(uid);

	if (n == 32)
		return strspn(uid, "0123456789abcdef") == n;
	return ig_parse_is_guid(uid);
}

static int format_systemd(
	const struct layout *layout, const char *qos, const char *uid, char *ret, size_t len)
{
	char escaped[IG_POD_UID_BYTES + 1];
	size_t i;

	for (i = 0; uid[i]; i++)
		escaped[i] = uid[i] == '-' ? '_' : uid[i];
	escaped[i] = '\0';
	if (!qos[0])
		return snprintf(
			ret, len, "%s/%s-pod%s.slice", layout->root, layout->slice_prefix, escaped);
	return snprintf(ret, len, "%s/%s-%s.slice/%s-%s-pod%s.slice", layout->root,
		layout->slice_prefix, qos, layout->slice_prefix, qos, escaped);
}

int ig_cgroup_pod_path(const char *uid, unsigned int i, char *ret, size_t len)
{
	const struct layout *layout =
		&layouts[i / IG_ARRAY_SIZE(qos_classes) % IG_ARRAY_SIZE(layouts)];
	const char *qos = qos_classes[i % IG_ARRAY_SIZE(qos_classes)];
	int n;

	if (!is_uid(uid))
		return -EINVAL;
	if (i >= IG_ARRAY_SIZE(layouts) * IG_ARRAY_SIZE(qos_classes))
		return -ENOENT;
	if (layout->slice_prefix)
		n = format_systemd(layout, qos, uid, ret, len);
	else
		n = snprintf(ret, len, "%s/%s%spod%s", layout->root, qos, qos[0] ? "/" : "", uid);
	return n < 0 || (size_t)n >= len ? -E2BIG : 0;
}
