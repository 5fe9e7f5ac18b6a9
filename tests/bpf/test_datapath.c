/*
 * The door to libbpf: loading, adopting, pinning, maps. Needs root; mounts a BPF file system in a
 * mount namespace of its own, so everything pinned vanishes with the process. Attaches only to a
 * cgroup that it makes itself and that holds no process.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "datapath/datapath.h"
#include "workload/mount.h"
#include "workload/netns.h"

#define HOOKS	    7 /* programs on the cgroup */
#define TEXT_OF_(x) #x
#define TEXT_OF(x)  TEXT_OF_(x)
#define MAPS	    "v" TEXT_OF(IG_ABI_VERSION)

static char bpffs[64], cgroup[600];
static enum bpf_map_type missing_map;
static int fail_load;

int __real_bpf_object__load_skeleton(struct bpf_object_skeleton *s);
int __wrap_bpf_object__load_skeleton(struct bpf_object_skeleton *s);
int __wrap_bpf_object__load_skeleton(struct bpf_object_skeleton *s)
{
	return fail_load ? fail_load : __real_bpf_object__load_skeleton(s);
}

int __real_libbpf_probe_bpf_map_type(enum bpf_map_type type, const void *opts);
int __wrap_libbpf_probe_bpf_map_type(enum bpf_map_type type, const void *opts);
int __wrap_libbpf_probe_bpf_map_type(enum bpf_map_type type, const void *opts)
{
	return type == missing_map ? 0 : __real_libbpf_probe_bpf_map_type(type, opts);
}

static int group_setup(void **state)
{
	char mount_point[512];

	(void)state;
	if (ig_cgroup2_mount_find(mount_point, sizeof(mount_point), NULL) < 0)
		return -1;
	(void)snprintf(cgroup, sizeof(cgroup), "%s/igtest-%d-datapath", mount_point, getpid());
	(void)snprintf(bpffs, sizeof(bpffs), "/tmp/igtest-%d-bpf", getpid());
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -1;
	return mkdir(cgroup, 0755) < 0 || mkdir(bpffs, 0700) < 0 ? -1 : 0;
}

static int group_teardown(void **state)
{
	(void)state;
	(void)umount2(bpffs, MNT_DETACH);
	return rmdir(bpffs) < 0 || rmdir(cgroup) < 0 ? -1 : 0;
}

static int open_dp(struct ig_datapath **ret, struct ig_err *err)
{
	struct ig_datapath_options options = {.bpffs = bpffs, .cgroup_root = cgroup};

	return ig_datapath_open(&options, ret, err);
}

static struct ig_datapath *must_open(void)
{
	struct ig_datapath *dp = NULL;
	struct ig_err err = {};

	if (open_dp(&dp, &err) < 0)
		fail_msg("%s", err.message);
	return dp;
}

static bool pinned(const char *name)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/imdsgate/%s", bpffs, name);
	return access(path, F_OK) == 0;
}

static void mounts_and_pins(void **state)
{
	struct ig_datapath *dp = must_open();
	unsigned int adopted = 77;

	(void)state;
	assert_true(pinned(MAPS "/flows"));
	assert_false(pinned("links/ig_connect4"));
	assert_int_equal(ig_datapath_attach(dp, &adopted, NULL), 0);
	assert_int_equal(adopted, 0);
	assert_true(pinned("links/ig_connect4") && pinned("links/ig_sockops"));
	(void)ig_datapath_free(dp);
	assert_true(pinned("links/ig_connect4"));
}

static void one_agent_at_a_time(void **state)
{
	struct ig_datapath *dp = must_open(), *second = NULL;
	unsigned int links;
	struct ig_err err = {};

	(void)state;
	assert_int_equal(open_dp(&second, &err), -EBUSY);
	assert_non_null(strstr(err.message, "another imdsgated"));
	assert_int_equal(ig_datapath_detach(bpffs, &links, &err), -EBUSY);
	(void)ig_datapath_free(dp);
}

/* What the one before left is taken over: its links and what stands in its maps. */
static void the_next_agent_adopts(void **state)
{
	struct ig_workload_entry entry = {.verdict = {IG_VERDICT_PASS}};
	struct ig_datapath *dp = must_open();
	unsigned int adopted = 0;
	uint64_t counters[_IG_COUNTER_MAX];

	(void)state;
	assert_int_equal(ig_datapath_workload_set(dp, 42, &entry), 0);
	(void)ig_datapath_free(dp);
	dp = must_open();
	assert_int_equal(ig_datapath_attach(dp, &adopted, NULL), 0);
	assert_int_equal(adopted, HOOKS);
	/* deleting what is there, and what is not, is the same to the caller */
	assert_int_equal(ig_datapath_workloads_sweep(dp, NULL, NULL), 1);
	assert_int_equal(ig_datapath_workload_delete(dp, 42), 0);
	assert_int_equal(ig_datapath_counters(dp, counters), 0);
	(void)ig_datapath_free(dp);
}

static bool keep_even(uint64_t id, void *userdata)
{
	(*(unsigned int *)userdata)++;
	return id % 2 == 0;
}

static void a_sweep_sees_every_entry_once(void **state)
{
	struct ig_workload_entry entry = {};
	struct ig_datapath *dp = must_open();
	unsigned int seen = 0;

	(void)state;
	for (uint64_t id = 1; id <= 999; id++)
		assert_int_equal(ig_datapath_workload_set(dp, id, &entry), 0);
	assert_int_equal(ig_datapath_workloads_sweep(dp, keep_even, &seen), 500);
	assert_int_equal(seen, 999);
	assert_int_equal(ig_datapath_workloads_sweep(dp, NULL, NULL), 499);
	(void)ig_datapath_free(dp);
}

static void a_flow_is_taken_once(void **state)
{
	struct ig_flow_key key = {
		.netns_cookie = 5, .saddr_be = 1, .sport_be = htons(2), .gate_port_be = htons(254)};
	struct ig_flow_key elsewhere = key;
	struct ig_flow flow = {.cookie = 99}, got = {};
	struct ig_datapath *dp = must_open();
	int fd = ig_datapath_flows_fd(dp);

	(void)state;
	assert_int_equal(bpf_map_update_elem(fd, &key, &flow, BPF_ANY), 0);
	/* the same source port may be used for another listener */
	elsewhere.gate_port_be = htons(2579);
	assert_int_equal(ig_flow_take(fd, &elsewhere, &got), -ENOENT);
	assert_int_equal(ig_flow_take(fd, &key, &got), 0);
	assert_int_equal(got.cookie, 99);
	assert_int_equal(ig_flow_take(fd, &key, &got), -ENOENT);
	(void)ig_datapath_free(dp);
}

/* In a process of its own, below the cgroup or not: 0, or a negative errno. */
static int cookie_in(bool below, uint64_t *ret)
{
	char procs[700];
	int pipes[2], status, r = -EIO;
	uint64_t cookie = 0;
	pid_t pid;

	(void)snprintf(procs, sizeof(procs), "%s/cgroup.procs", cgroup);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct ig_datapath *dp = NULL;
		int sock, fd = below ? open(procs, O_WRONLY | O_CLOEXEC) : -1;

		if (below && write(fd, "0", 1) != 1)
			_exit(EIO);
		/* the hooks that run are those of the cgroup that the socket was made in */
		sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		r = open_dp(&dp, NULL);
		if (r == 0)
			r = ig_datapath_netns_cookie(dp, sock, &cookie);
		_exit(r == 0 ? write(pipes[1], &cookie, sizeof(cookie)) != sizeof(cookie) : -r);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 0)
		r = read(pipes[0], ret, sizeof(*ret)) == (ssize_t)sizeof(*ret) ? 0 : -EIO;
	else
		r = -WEXITSTATUS(status);
	(void)close(pipes[0]);
	(void)close(pipes[1]);
	return r;
}

static void a_connect_hook_tells_the_namespace(void **state)
{
	uint64_t told = 0, again = 0, own;
	int r = ig_netns_own_cookie(&own);

	(void)state;
	assert_int_equal(cookie_in(true, &told), 0);
	assert_int_not_equal(told, 0);
	assert_int_equal(cookie_in(true, &again), 0);
	assert_int_equal(told, again);
	if (r != -ENOPROTOOPT) { /* before Linux 5.14 nobody else tells it */
		assert_int_equal(r, 0);
		assert_int_equal(told, own);
	}
	assert_int_equal(cookie_in(false, &told), -EOPNOTSUPP);
}

static void only_sockets_can_be_marked(void **state)
{
	struct ig_datapath *dp = must_open();
	_cleanup_close_ int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int file = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(ig_datapath_upstream_mark(dp, sock), 0);
	assert_true(ig_datapath_upstream_mark(dp, file) < 0);
	assert_int_equal(ig_datapath_port_owner_mark(dp, sock), 0);
	assert_true(ig_datapath_port_owner_mark(dp, file) < 0);
	(void)ig_datapath_free(dp);
}

/* Another build pinned a map of this name with another shape. */
static void pins_of_another_shape_are_replaced(void **state)
{
	struct ig_datapath *dp = must_open();
	char path[256];
	_cleanup_close_ int odd = bpf_map_create(BPF_MAP_TYPE_HASH, "flows", 4, 4, 8, NULL);

	(void)state;
	(void)ig_datapath_free(dp);
	(void)snprintf(path, sizeof(path), "%s/imdsgate/" MAPS "/flows", bpffs);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(bpf_obj_pin(odd, path), 0);
	a_flow_is_taken_once(state);
}

static void what_the_kernel_lacks_is_named(void **state)
{
	struct ig_datapath *dp = NULL;
	struct ig_err err = {};

	(void)state;
	fail_load = -EINVAL;
	missing_map = BPF_MAP_TYPE_RINGBUF;
	assert_int_equal(open_dp(&dp, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.message, "ring buffer maps"));
	assert_null(strstr(err.message, "socket-local"));
	missing_map = BPF_MAP_TYPE_SK_STORAGE;
	assert_int_equal(open_dp(&dp, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.message, "socket-local storage maps"));
	fail_load = -EPERM;
	assert_int_equal(open_dp(&dp, &err), -EPERM);
	assert_non_null(strstr(err.message, "CAP_BPF"));
	fail_load = 0;
	missing_map = BPF_MAP_TYPE_UNSPEC;
}

static void what_is_no_cgroup2_is_refused(void **state)
{
	struct ig_datapath_options options = {.bpffs = bpffs, .cgroup_root = "/tmp"};
	struct ig_datapath *dp = NULL;
	struct ig_err err = {};

	(void)state;
	assert_int_equal(ig_datapath_open(&options, &dp, &err), -EINVAL);
	assert_non_null(strstr(err.message, "cgroup2"));
	options.cgroup_root = "/nowhere";
	assert_int_equal(ig_datapath_open(&options, &dp, &err), -ENOENT);
}

/* The cgroup that an earlier agent guarded is not the one to guard now. */
static void links_move_to_another_cgroup(void **state)
{
	struct ig_datapath_options options = {.bpffs = bpffs};
	struct ig_datapath *dp = NULL;
	unsigned int adopted = 77;
	char other[650];

	(void)state;
	(void)snprintf(other, sizeof(other), "%s/other", cgroup);
	assert_int_equal(mkdir(other, 0755), 0);
	options.cgroup_root = other;
	assert_int_equal(ig_datapath_open(&options, &dp, NULL), 0);
	assert_true(pinned("links/ig_connect4"));
	assert_int_equal(ig_datapath_attach(dp, &adopted, NULL), 0);
	assert_int_equal(adopted, 0);
	assert_true(pinned("links/ig_connect4") && pinned("links/ig_sockops"));
	(void)ig_datapath_free(dp);
	/* the pins are of the new ones: an agent on that cgroup takes them over */
	dp = NULL;
	assert_int_equal(ig_datapath_open(&options, &dp, NULL), 0);
	assert_int_equal(ig_datapath_attach(dp, &adopted, NULL), 0);
	assert_int_equal(adopted, HOOKS);
	(void)ig_datapath_free(dp);
	assert_int_equal(rmdir(other), 0);
}

static void detaching_leaves_nothing(void **state)
{
	unsigned int links = 0;

	(void)state;
	assert_int_equal(ig_datapath_detach(bpffs, &links, NULL), 0);
	assert_int_equal(links, HOOKS);
	assert_false(pinned(""));
	/* and again */
	assert_int_equal(ig_datapath_detach(bpffs, &links, NULL), 0);
	assert_int_equal(links, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mounts_and_pins),
		cmocka_unit_test(one_agent_at_a_time),
		cmocka_unit_test(the_next_agent_adopts),
		cmocka_unit_test(a_sweep_sees_every_entry_once),
		cmocka_unit_test(a_flow_is_taken_once),
		cmocka_unit_test(a_connect_hook_tells_the_namespace),
		cmocka_unit_test(only_sockets_can_be_marked),
		cmocka_unit_test(pins_of_another_shape_are_replaced),
		cmocka_unit_test(what_the_kernel_lacks_is_named),
		cmocka_unit_test(what_is_no_cgroup2_is_refused),
		cmocka_unit_test(links_move_to_another_cgroup),
		cmocka_unit_test(detaching_leaves_nothing),
	};

	return cmocka_run_group_tests_name("bpf/datapath", tests, group_setup, group_teardown);
}
