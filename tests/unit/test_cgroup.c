/*
 * Pod UIDs and container ids from cgroup paths: the real shapes of every runtime and driver, and
 * names that somebody may have made to look like them.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "workload/cgroup.h"

#define UID    "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
#define UID_   "0a1b2c3d_4e5f_6071_8293_a4b5c6d7e8f9"
#define UID2   "ffffffff-4e5f-6071-8293-a4b5c6d7e8f9"
#define UID2_  "ffffffff_4e5f_6071_8293_a4b5c6d7e8f9"
#define STATIC "7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f"
#define ID     "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define KUBE   "/kubepods.slice"
#define BURST  KUBE "/kubepods-burstable.slice/kubepods-burstable-pod" UID_ ".slice"
#define GUAR   KUBE "/kubepods-pod" UID_ ".slice"
#define KIND   "/kubelet.slice/kubelet-kubepods.slice"

static const struct {
	const char *path;
	const char *uid; /* NULL: not inside a pod */
	const char *id;
	const char *runtime;
} paths[] = {
	/* systemd driver */
	{BURST "/cri-containerd-" ID ".scope", UID, ID, "containerd"},
	{BURST "/crio-" ID ".scope", UID, ID, "crio"},
	{BURST "/docker-" ID ".scope", UID, ID, "docker"},
	{BURST, UID, "", ""},
	{KUBE "/kubepods-besteffort.slice/kubepods-besteffort-pod" UID_ ".slice/crio-" ID ".scope",
		UID, ID, "crio"},
	{GUAR "/cri-containerd-" ID ".scope", UID, ID, "containerd"},
	{GUAR, UID, "", ""},
	{BURST "/crio-conmon-" ID ".scope", UID, "", "crio"},
	{BURST "/crio-" ID ".scope/container", UID, ID, "crio"},
	{BURST "/cri-containerd-" ID ".scope/system.slice/nginx.service", UID, ID, "containerd"},
	{KUBE "/kubepods-burstable.slice/kubepods-burstable-pod" STATIC ".slice/cri-containerd-" ID
	      ".scope",
		STATIC, ID, "containerd"},
	/* cgroupfs driver */
	{"/kubepods/besteffort/pod" UID "/" ID, UID, ID, ""},
	{"/kubepods/burstable/pod" UID "/" ID, UID, ID, ""},
	{"/kubepods/pod" UID "/" ID, UID, ID, ""},
	{"/kubepods/pod" UID, UID, "", ""},
	{"/kubepods/burstable/pod" UID "/crio-" ID, UID, ID, "crio"},
	{"/kubepods/burstable/pod" UID "/crio-conmon-" ID, UID, "", "crio"},
	{"/kubepods/burstable/pod" STATIC "/" ID, STATIC, ID, ""},
	{"/kubepods/pod" UID "/" ID "/child/grandchild", UID, ID, ""},
	/* nested: kind */
	{KIND "/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod" UID_
	      ".slice/cri-containerd-" ID ".scope",
		UID, ID, "containerd"},
	{KIND "/kubelet-kubepods-pod" UID_ ".slice/cri-containerd-" ID ".scope", UID, ID,
		"containerd"},
	{"/kubelet/kubepods/burstable/pod" UID "/" ID, UID, ID, ""},
	{"/system.slice/docker-" ID ".scope" KIND "/kubelet-kubepods-pod" UID_
	 ".slice/cri-containerd-" ID ".scope",
		UID, ID, "containerd"},
	{"/docker/" ID "/kubelet/kubepods/burstable/pod" UID "/" ID, UID, ID, ""},
	{"/a.slice/a-b.slice/a-b-kubepods.slice/a-b-kubepods-pod" UID_ ".slice", UID, "", ""},
	/* a pods tree inside a pod is that pod's own work */
	{BURST "/cri-containerd-" ID ".scope/kubepods/pod" UID2 "/" ID, UID, ID, "containerd"},
	{GUAR "/kubepods.slice/kubepods-pod" UID2_ ".slice", UID, "", ""},
	{"/kubepods/burstable/pod" UID "/" ID "/kubepods/pod" UID2, UID, ID, ""},
	/* below the pod but no container of ours to name */
	{"/kubepods/burstable/pod" UID "/helper", UID, "", ""},
	{"/kubepods/burstable/pod" UID "/" ID "0", UID, "", ""},
	{BURST "/cri-containerd-" ID, UID, "", ""},
	{BURST "/cri-containerd-abc.scope", UID, "", ""},
	{BURST "/cri-containerd-" ID ".service", UID, "", ""},

	/* no pod */
	{"/", NULL, NULL, NULL},
	{"", NULL, NULL, NULL},
	{"/system.slice/kubelet.service", NULL, NULL, NULL},
	{"/user.slice/user-1000.slice/session-2.scope", NULL, NULL, NULL},
	{KUBE, NULL, NULL, NULL},
	{KUBE "/kubepods-burstable.slice", NULL, NULL, NULL},
	{"/kubepods", NULL, NULL, NULL},
	{"/kubepods/burstable", NULL, NULL, NULL},
	{"/system.slice/docker-" ID ".scope", NULL, NULL, NULL},
	/* look-alikes */
	{"/kubepods-pod" UID_ ".slice", NULL, NULL, NULL},
	{"/user.slice/kubepods-pod" UID_ ".slice", NULL, NULL, NULL},
	{"/user.slice/kubepods.slice/kubepods-pod" UID_ ".slice", NULL, NULL, NULL},
	{"/user.slice/user-1000.slice/user@1000.service/kubepods/pod" UID "/" ID, NULL, NULL, NULL},
	{"/system.slice/evil.service/kubepods.slice/kubepods-pod" UID_ ".slice", NULL, NULL, NULL},
	{KUBE "/kubepods-podfoo.slice", NULL, NULL, NULL},
	{KUBE "/kubepods-pod.slice", NULL, NULL, NULL},
	{KUBE "/kubepods-pod" UID ".slice", NULL, NULL, NULL},
	{KUBE "/kubepods-pod" UID_ "0.slice", NULL, NULL, NULL},
	{KUBE "/kubepods-pod" UID_ ".scope", NULL, NULL, NULL},
	{KUBE "/kubepods-pod" UID_, NULL, NULL, NULL},
	{KUBE "/xkubepods-pod" UID_ ".slice", NULL, NULL, NULL},
	{KUBE "/kubepods-burstable.slice/kubepods-besteffort-pod" UID_ ".slice", NULL, NULL, NULL},
	{KUBE "/kubepods-burstable.slice/kubepods-pod" UID_ ".slice", NULL, NULL, NULL},
	{KUBE "/kubepods-burstable-pod" UID_ ".slice", NULL, NULL, NULL},
	{KUBE "/kubepods-guaranteed.slice/kubepods-guaranteed-pod" UID_ ".slice", NULL, NULL, NULL},
	{KUBE "/pod" UID, NULL, NULL, NULL},
	{KUBE "/x/kubepods/pod" UID, NULL, NULL, NULL},
	{KIND "/kubepods-pod" UID_ ".slice", NULL, NULL, NULL},
	{"/kubelet-kubepods.slice/kubelet-kubepods-pod" UID_ ".slice", NULL, NULL, NULL},
	{"/-kubepods.slice/-kubepods-pod" UID_ ".slice", NULL, NULL, NULL},
	{"/a.slice/a--kubepods.slice/a--kubepods-pod" UID_ ".slice", NULL, NULL, NULL},
	{"/Kubepods.slice/Kubepods-pod" UID_ ".slice", NULL, NULL, NULL},
	{"/evil.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" UID_ ".slice", NULL, NULL, NULL},
	{"/kubepods/pod", NULL, NULL, NULL},
	{"/kubepods/podfoo", NULL, NULL, NULL},
	{"/kubepods/" UID, NULL, NULL, NULL},
	{"/kubepods/pod" UID_, NULL, NULL, NULL},
	{"/kubepods/pod" UID "0", NULL, NULL, NULL},
	{"/kubepods/pod0A1B2C3D-4E5F-6071-8293-A4B5C6D7E8F9", NULL, NULL, NULL},
	{"/kubepods/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8fg", NULL, NULL, NULL},
	{"/kubepods/pod0a1b2c3d4-e5f-6071-8293-a4b5c6d7e8f9", NULL, NULL, NULL},
	{"/kubepods/pod" STATIC "0", NULL, NULL, NULL},
	{"/kubepods/pod7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2", NULL, NULL, NULL},
	{"/kubepods/guaranteed/pod" UID, NULL, NULL, NULL},
	{"/kubepods/burstable/besteffort/pod" UID, NULL, NULL, NULL},
	{"/kubepods/x/../pod" UID, NULL, NULL, NULL},
	{"/kubepods/pod" UID "/" ID "/../../pod" UID2, NULL, NULL, NULL},
	{"/kubepods//pod" UID, NULL, NULL, NULL},
	{"/kubepods/./pod" UID, NULL, NULL, NULL},
	{"/kubepods/pod" UID "/", NULL, NULL, NULL},
	{"kubepods/pod" UID, NULL, NULL, NULL},
	{"/Kubepods/pod" UID, NULL, NULL, NULL},
	{"/kubepods2/pod" UID, NULL, NULL, NULL},
};

static void test_paths(void **state)
{
	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(paths); i++) {
		struct ig_cgroup_pod pod = {.uid = "untouched"};
		int r = ig_cgroup_parse_pod(paths[i].path, &pod);

		if (r != (paths[i].uid ? 0 : -ENXIO))
			fail_msg("%s: %d", paths[i].path, r);
		if (!paths[i].uid) {
			assert_string_equal(pod.uid, "untouched");
			continue;
		}
		assert_string_equal(pod.uid, paths[i].uid);
		assert_string_equal(pod.container_id, paths[i].id);
		assert_string_equal(pod.runtime, paths[i].runtime);
	}
}

/* Every way to cut or spoil one good path by a byte leads to the same pod or to none. */
static void test_mutations(void **state)
{
	static const char good[] = BURST "/cri-containerd-" ID ".scope";
	char path[sizeof(good)];

	(void)state;
	for (size_t i = 0; i < sizeof(good) - 1; i++) {
		static const char bytes[] = {'\0', '/', '.', 'x', '_', '-', '\x80'};

		for (size_t j = 0; j < sizeof(bytes); j++) {
			struct ig_cgroup_pod pod = {};

			memcpy(path, good, sizeof(good));
			path[i] = bytes[j];
			if (ig_cgroup_parse_pod(path, &pod) < 0)
				continue;
			assert_string_equal(pod.uid, UID);
			assert_true(!pod.container_id[0] || strcmp(pod.container_id, ID) == 0);
		}
	}
}

static void test_overlong(void **state)
{
	char path[8192];

	(void)state;
	memset(path, 'a', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	memcpy(path, "/kubepods/pod", strlen("/kubepods/pod"));
	struct ig_cgroup_pod pod;
	assert_int_equal(ig_cgroup_parse_pod(path, &pod), -ENXIO);
	/* deep below a container it is still the container */
	memset(path, 'a', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	memcpy(path, "/kubepods/pod" UID "/" ID "/", strlen("/kubepods/pod" UID "/" ID "/"));
	assert_int_equal(ig_cgroup_parse_pod(path, &pod), 0);
	assert_string_equal(pod.uid, UID);
	assert_string_equal(pod.container_id, ID);
}

static void test_path_check(void **state)
{
	static const char *const good[] = {
		"/", "/a", "/demo.slice/app", "/a/...", "/a/..b", "/a b/\xc3\xa9"};
	static const char *const bad[] = {"", "a", "//", "/a/", "/a//b", "/.", "/..", "/a/./b",
		"/a/../b", "/a/..", "/a\n", "/a\x7f", "/\x01"};
	char path[IG_CGROUP_PATH_BYTES + 2];

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(good); i++)
		if (ig_cgroup_path_check(good[i]) != 0)
			fail_msg("%s", good[i]);
	for (size_t i = 0; i < IG_ARRAY_SIZE(bad); i++)
		if (ig_cgroup_path_check(bad[i]) != -EINVAL)
			fail_msg("%s", bad[i]);
	memset(path, 'a', sizeof(path));
	path[0] = '/';
	path[IG_CGROUP_PATH_BYTES] = '\0';
	assert_int_equal(ig_cgroup_path_check(path), 0);
	path[IG_CGROUP_PATH_BYTES] = 'a';
	path[IG_CGROUP_PATH_BYTES + 1] = '\0';
	assert_int_equal(ig_cgroup_path_check(path), -EINVAL);
}

static void test_is_below(void **state)
{
	(void)state;
	assert_true(ig_cgroup_path_is_below("/a", "/a"));
	assert_true(ig_cgroup_path_is_below("/a/b", "/a"));
	assert_true(ig_cgroup_path_is_below("/a/b/c", "/a"));
	assert_true(ig_cgroup_path_is_below("/a", "/"));
	assert_true(ig_cgroup_path_is_below("/", "/"));
	assert_false(ig_cgroup_path_is_below("/", "/a"));
	assert_false(ig_cgroup_path_is_below("/ab", "/a"));
	assert_false(ig_cgroup_path_is_below("/a", "/a/b"));
	assert_false(ig_cgroup_path_is_below("/b/a", "/a"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_overlong),
		cmocka_unit_test(test_path_check),
		cmocka_unit_test(test_is_below),
	};

	return cmocka_run_group_tests_name("cgroup", tests, NULL, NULL);
}
