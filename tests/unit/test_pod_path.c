/*
 * The cgroup paths that a pod can have: every one of them is recognised by the parser as that
 * pod's.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "workload/cgroup.h"

#define UID "0bc6ab3c-0181-45de-aee9-7d5a65715786"

static bool has_path(const char *uid, const char *wanted)
{
	char path[512];

	for (unsigned int i = 0; ig_cgroup_pod_path(uid, i, path, sizeof(path)) == 0; i++)
		if (strcmp(path, wanted) == 0)
			return true;
	return false;
}

static void knows_what_kubelet_makes(void **state)
{
	(void)state;
	assert_true(has_path(UID,
		"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0bc6ab3c_0181_45de_aee9_7d5a65715786.slice"));
	assert_true(has_path(
		UID, "/kubepods.slice/kubepods-pod0bc6ab3c_0181_45de_aee9_7d5a65715786.slice"));
	assert_true(has_path(UID, "/kubepods/besteffort/pod" UID));
	assert_true(has_path(UID, "/kubepods/pod" UID));
	assert_true(has_path(UID,
		"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod0bc6ab3c_0181_45de_aee9_7d5a65715786.slice"));
	assert_true(has_path("0123456789abcdef0123456789abcdef",
		"/kubepods/burstable/pod0123456789abcdef0123456789abcdef"));
}

static void every_path_leads_back_to_the_pod(void **state)
{
	struct ig_cgroup_pod pod;
	unsigned int n = 0;
	char path[512];

	(void)state;
	for (; ig_cgroup_pod_path(UID, n, path, sizeof(path)) == 0; n++) {
		assert_int_equal(ig_cgroup_parse_pod(path, &pod), 0);
		assert_string_equal(pod.uid, UID);
		assert_string_equal(pod.container_id, "");
	}
	assert_int_equal(n, 12);
	assert_int_equal(ig_cgroup_pod_path(UID, n, path, sizeof(path)), -ENOENT);
}

static void what_is_no_uid_has_no_path(void **state)
{
	static const char *const uids[] = {"", "x", "../../etc",
		"0bc6ab3c-0181-45de-aee9-7d5a6571578", "0123456789ABCDEF0123456789abcdef",
		"0123456789abcdef0123456789abcde/"};
	char path[512];

	(void)state;
	for (size_t i = 0; i < sizeof(uids) / sizeof(uids[0]); i++)
		assert_int_equal(ig_cgroup_pod_path(uids[i], 0, path, sizeof(path)), -EINVAL);
	assert_int_equal(ig_cgroup_pod_path(UID, 0, path, 10), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_what_kubelet_makes),
		cmocka_unit_test(every_path_leads_back_to_the_pod),
		cmocka_unit_test(what_is_no_uid_has_no_path),
	};

	return cmocka_run_group_tests_name("workload/pod_path", tests, NULL, NULL);
}
