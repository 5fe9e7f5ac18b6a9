/*
 * The kernel's features by trying; see features.h.
 */
#include "datapath/features.h"

#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "datapath/datapath_internal.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#define NOBODY		65534
#define FUNC_SET_RETVAL 187 /* bpf_set_retval */
#define SOME_RING_BYTES (64 * 1024)

/* Loads a cgroup/connect4 program; its descriptor or a negative errno. */
static int load_connect4(const struct bpf_insn *insns, size_t n)
{
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_CGROUP_INET4_CONNECT);
	int fd = bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "ig_probe", "GPL", insns, n, &opts);

	return fd < 0 ? -errno : fd;
}

static int judge_load(int fd)
{
	if (fd == -EPERM)
		return -EPERM;
	if (fd < 0)
		return 0;
	(void)ig_close(fd);
	return 1;
}

static int has_connect_hooks(void)
{
	const struct bpf_insn allow[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return judge_load(load_connect4(allow, IG_ARRAY_SIZE(allow)));
}

static int has_set_retval(void)
{
	const struct bpf_insn refuse[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_1, .imm = -ECONNREFUSED},
		{.code = BPF_JMP | BPF_CALL, .imm = FUNC_SET_RETVAL},
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return judge_load(load_connect4(refuse, IG_ARRAY_SIZE(refuse)));
}

static int has_ring_buffer(void)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "ig_probe", 0, 0, SOME_RING_BYTES, NULL);

	return judge_load(fd < 0 ? -errno : fd);
}

static int has_socket_storage(void)
{
	return libbpf_probe_bpf_map_type(BPF_MAP_TYPE_SK_STORAGE, NULL);
}

static int make_hash(void)
{
	int fd = bpf_map_create(
		BPF_MAP_TYPE_HASH, "ig_probe", sizeof(uint32_t), sizeof(uint32_t), 1, NULL);

	return fd < 0 ? -errno : fd;
}

static int has_take_from_hash(void)
{
	_cleanup_close_ int fd = make_hash();
	uint32_t key = 1, value = 2;

	if (fd < 0)
		return fd;
	if (bpf_map_update_elem(fd, &key, &value, BPF_ANY) < 0)
		return -errno;
	return bpf_map_lookup_and_delete_elem(fd, &key, &value) == 0;
}

/* Whoever has the descriptor of a map can use it, as the server process does. */
static int has_maps_without_capability(void)
{
	_cleanup_close_ int fd = make_hash();
	uint32_t key = 1, value = 2;
	int status = 0;
	pid_t pid;

	if (fd < 0)
		return fd;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		if (setresuid(NOBODY, NOBODY, NOBODY) < 0)
			_exit(2);
		_exit(bpf_map_update_elem(fd, &key, &value, BPF_ANY) == 0 ? 1 : 0);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) > 1)
		return -EIO;
	return WEXITSTATUS(status);
}

static int has_netns_cookie(void)
{
	_cleanup_close_ int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t cookie;
	socklen_t len = sizeof(cookie);

	if (sock < 0)
		return -errno;
	return getsockopt(sock, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) == 0;
}

/* The kernel answers for an interface, and knows the kind of hook or not. */
static int has_tcx(void)
{
	LIBBPF_OPTS(bpf_prog_query_opts, opts);
	int r = bpf_prog_query_opts(
		(int)if_nametoindex("lo"), (enum bpf_attach_type)ATTACH_TCX_EGRESS, &opts);

	return r == -EPERM ? r : r == 0;
}

static const struct {
	const char *name;
	int (*probe)(void);
	bool needed;
	const char *cost;
} features[] = {
	{"programs in connect()", has_connect_hooks, true, "nothing can be redirected"},
	{"socket-local storage", has_socket_storage, true, "connections cannot be attributed"},
	{"ring buffers", has_ring_buffer, true, "the kernel's events cannot be recorded"},
	{"SO_NETNS_COOKIE", has_netns_cookie, false,
		"the agent has to run below the cgroup that its programs attach to"},
	{"bpf_set_retval", has_set_retval, false,
		"a refusal that a retry may cure is EPERM, which clients do not retry, in place of ECONNREFUSED"},
	{"tcx", has_tcx, false,
		"the guard is a filter of a clsact queueing discipline, which whoever manages the interface may take off"},
	{"taking an entry out of a hash map in one step", has_take_from_hash, false,
		"two calls for each connection"},
	{"maps without CAP_BPF", has_maps_without_capability, false,
		"the server process asks the monitor for each connection"},
};

_Static_assert(IG_ARRAY_SIZE(features) <= IG_FEATURES_MAX, "all fit");

static int say_nothing(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	(void)level;
	(void)fmt;
	(void)ap;
	return 0;
}

size_t ig_features_probe(struct ig_feature ret[IG_FEATURES_MAX])
{
	libbpf_print_fn_t before = libbpf_set_print(say_nothing);

	(void)libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	for (size_t i = 0; i < IG_ARRAY_SIZE(features); i++)
		ret[i] = (struct ig_feature){features[i].name, features[i].probe(),
			features[i].needed, features[i].cost};
	(void)libbpf_set_print(before);
	return IG_ARRAY_SIZE(features);
}
