/*
 * Paths of cgroups, which a pod can name below its own: what belongs to a pod, what a declared path
 * may be; and the table of mounts. Each line is a path; the whole input is a mountinfo, too.
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/parse.h"
#include "workload/cgroup.h"
#include "workload/mount.h"

static void check_pod(const char *path)
{
	struct ig_cgroup_pod pod, child;
	char *below;

	if (ig_cgroup_parse_pod(path, &pod) < 0)
		return;
	FUZZ_CHECK(ig_parse_is_guid(pod.uid) ||
		   (strlen(pod.uid) == 32 && !pod.uid[strspn(pod.uid, "0123456789abcdef")]));
	FUZZ_CHECK(!pod.uid[strspn(pod.uid, "0123456789abcdef-")]);
	FUZZ_CHECK(!pod.container_id[0] || strlen(pod.container_id) == IG_CONTAINER_ID_BYTES);
	FUZZ_CHECK(!pod.container_id[strspn(pod.container_id, "0123456789abcdef")]);
	/* what a container makes below its cgroup changes neither the pod nor a known container */
	FUZZ_CHECK(
		asprintf(&below, "%s/kubepods/pod00000000-0000-0000-0000-000000000000", path) > 0);
	FUZZ_CHECK(ig_cgroup_parse_pod(below, &child) == 0);
	FUZZ_CHECK(strcmp(child.uid, pod.uid) == 0);
	FUZZ_CHECK(!pod.container_id[0] || strcmp(child.container_id, pod.container_id) == 0);
	free(below);
}

static void check_path(const char *path, const char *other)
{
	if (ig_cgroup_path_check(path) < 0)
		return;
	FUZZ_CHECK(path[0] == '/' && strlen(path) <= IG_CGROUP_PATH_BYTES);
	FUZZ_CHECK(!strstr(path, "//") && !strstr(path, "/../") && !strstr(path, "/./"));
	FUZZ_CHECK(!path[1] || path[strlen(path) - 1] != '/');
	FUZZ_CHECK(ig_cgroup_path_is_below(path, "/") && ig_cgroup_path_is_below(path, path));
	if (ig_cgroup_path_check(other) == 0 && ig_cgroup_path_is_below(path, other) && other[1])
		FUZZ_CHECK(strncmp(path, other, strlen(other)) == 0 &&
			   (path[strlen(other)] == '/' || !path[strlen(other)]));
}

static void check_uid(const char *uid)
{
	char path[IG_CGROUP_PATH_BYTES];

	/* the validator has put them into lower case */
	if (strpbrk(uid, "ABCDEF"))
		return;
	for (unsigned int i = 0;; i++) {
		struct ig_cgroup_pod pod;
		int r = ig_cgroup_pod_path(uid, i, path, sizeof(path));

		if (r < 0) {
			FUZZ_CHECK(r == -ENOENT || r == -EINVAL);
			return;
		}
		FUZZ_CHECK(ig_cgroup_path_check(path) == 0);
		FUZZ_CHECK(ig_cgroup_parse_pod(path, &pod) == 0);
		FUZZ_CHECK(strcmp(pod.uid, uid) == 0 && !pod.container_id[0]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input whole = {.data = data, .left = size}, in = whole;
	char *text = fuzz_text(&whole), *before = fuzz_line(&in);
	char mount_point[64];

	if (ig_cgroup2_mount_parse(text, mount_point, sizeof(mount_point)) == 0)
		FUZZ_CHECK(strlen(mount_point) < sizeof(mount_point));
	for (int i = 0; i < 64; i++) {
		char *path = i ? fuzz_line(&in) : strdup(before);

		check_pod(path);
		check_path(path, before);
		check_uid(path);
		free(before);
		before = path;
		if (in.left == 0)
			break;
	}
	free(before);
	free(text);
	return 0;
}
