/*
 * What is pinned, attached and stored in the kernel; see inspect.h. Called by `imdsgate doctor`.
 */
#include "datapath/inspect.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <imdsgate/abi.h>
#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "datapath/filter.h"
#include "datapath/pins.h"

static const struct {
	const char *hook, *program;
	enum bpf_attach_type type;
} hooks[IG_INSPECT_HOOKS] = {
	{"connect4", "ig_connect4", BPF_CGROUP_INET4_CONNECT},
	{"connect6", "ig_connect6", BPF_CGROUP_INET6_CONNECT},
	{"sock_ops", "ig_sockops", BPF_CGROUP_SOCK_OPS},
	{"getpeername4", "ig_getpeername4", BPF_CGROUP_INET4_GETPEERNAME},
	{"getpeername6", "ig_getpeername6", BPF_CGROUP_INET6_GETPEERNAME},
	{"bind4", "ig_bind4", BPF_CGROUP_INET4_BIND},
	{"bind6", "ig_bind6", BPF_CGROUP_INET6_BIND},
};

static const char *const map_names[IG_INSPECT_MAPS] = {"settings", "workloads", "listeners",
	"flows", "shares", "telling", "redirected", "upstream", "port_owners", "direct", "drops",
	"drops_all", "events", "wakeups", "counters"};

static int open_pin(const char *dir, const char *below, const char *name)
{
	char path[IG_PIN_PATH_BYTES];
	int n = snprintf(path, sizeof(path), "%s/%s/%s", dir, below, name), fd;

	if (n < 0 || (size_t)n >= sizeof(path))
		return -E2BIG;
	fd = bpf_obj_get(path);
	return fd < 0 ? -errno : fd;
}

static int open_map(const char *pin_dir, const char *name)
{
	char version[16];

	(void)snprintf(version, sizeof(version), "v%d", IG_ABI_VERSION);
	return open_pin(pin_dir, version, name);
}

/* ---- the guard ---- */

static void closedirp(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

/* false: not one of the guard's. */
static bool look_at_uplink(const char *pin_dir, const char *name, struct ig_inspect_uplink *ret)
{
	_cleanup_close_ int fd = -1;
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);

	if (strncmp(name, IG_PIN_GUARD_PREFIX, strlen(IG_PIN_GUARD_PREFIX)) != 0)
		return false;
	fd = open_pin(pin_dir, "links", name);
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return false;
	ret->is_filter = false;
	ret->id = info.id;
	/* info.tcx of newer headers is laid out as info.xdp: the number comes first */
	ret->ifindex = info.xdp.ifindex;
	return true;
}

static int look_at_links(const char *pin_dir, struct ig_inspect_uplink ret[], int max)
{
	char path[IG_PIN_PATH_BYTES];
	_cleanup_(closedirp) DIR *dir = NULL;
	const struct dirent *entry;
	int n = 0;

	if (ig_pins_path(pin_dir, "links", path, sizeof(path)) < 0)
		return -E2BIG;
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (n < max && (entry = readdir(dir)) != NULL)
		n += look_at_uplink(pin_dir, entry->d_name, &ret[n]);
	return n;
}

/* libbpf says on stderr for each interface that it has no filter. */
static int say_nothing(enum libbpf_print_level level, const char *format, va_list args)
{
	(void)level;
	(void)format;
	(void)args;
	return 0;
}

static int look_at_filters(struct ig_inspect_uplink ret[], int max)
{
	libbpf_print_fn_t before = libbpf_set_print(say_nothing);
	struct if_nameindex *all = if_nameindex();
	int n = 0, r = all ? 0 : -errno;

	for (const struct if_nameindex *i = all; i && i->if_index && n < max && r >= 0; i++) {
		struct ig_inspect_uplink found = {.is_filter = true, .ifindex = i->if_index};

		r = ig_filter_find(i->if_index, &found.id);
		if (r > 0)
			ret[n++] = found;
		if (r == -EEXIST || r == -ENODEV) /* another's; gone meanwhile */
			r = 0;
	}
	if_freenameindex(all);
	(void)libbpf_set_print(before);
	return r < 0 ? r : n;
}

int ig_inspect_uplinks(const char *pin_dir, struct ig_inspect_uplink ret[IG_INSPECT_UPLINKS_MAX])
{
	int links, filters;

	(void)libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	links = look_at_links(pin_dir, ret, IG_INSPECT_UPLINKS_MAX);
	if (links < 0)
		return links;
	filters = look_at_filters(ret + links, IG_INSPECT_UPLINKS_MAX - links);
	return filters < 0 ? filters : links + filters;
}

/* ---- hooks ---- */

static void look_at_link(const char *pin_dir, struct ig_inspect_hook *hook)
{
	_cleanup_close_ int fd = open_pin(pin_dir, "links", hook->program);
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);

	if (fd < 0) {
		hook->link_error = fd;
		return;
	}
	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0) {
		hook->link_error = -errno;
		return;
	}
	if (info.type != BPF_LINK_TYPE_CGROUP) {
		hook->link_error = -EINVAL;
		return;
	}
	hook->link_id = info.id;
	hook->program_id = info.prog_id;
	hook->cgroup_id = info.cgroup.cgroup_id;
}

static void name_program(struct ig_inspect_program *program)
{
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(program->id);
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &len) == 0)
		(void)snprintf(program->name, sizeof(program->name), "%s", info.name);
}

static void look_at_cgroup(int cgroup_fd, enum bpf_attach_type type, struct ig_inspect_hook *hook)
{
	__u32 ids[IG_INSPECT_PROGRAMS_MAX] = {}, n = IG_INSPECT_PROGRAMS_MAX, flags = 0;

	if (bpf_prog_query(cgroup_fd, type, 0, &flags, ids, &n) < 0) {
		hook->query_error = -errno;
		return;
	}
	hook->exclusive = n > 0 && !(flags & BPF_F_ALLOW_MULTI);
	n = IG_INSPECT_PROGRAMS_MAX;
	if (bpf_prog_query(cgroup_fd, type, BPF_F_QUERY_EFFECTIVE, &flags, ids, &n) < 0) {
		hook->query_error = -errno;
		return;
	}
	hook->n_programs = n;
	for (__u32 i = 0; i < n; i++) {
		hook->programs[i].id = ids[i];
		name_program(&hook->programs[i]);
	}
}

void ig_inspect_hooks(
	const char *pin_dir, int cgroup_fd, struct ig_inspect_hook ret[IG_INSPECT_HOOKS])
{
	(void)libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	for (int i = 0; i < IG_INSPECT_HOOKS; i++) {
		ret[i] = (struct ig_inspect_hook){
			.hook = hooks[i].hook, .program = hooks[i].program};
		look_at_link(pin_dir, &ret[i]);
		if (cgroup_fd < 0)
			ret[i].query_error = -EBADF;
		else
			look_at_cgroup(cgroup_fd, hooks[i].type, &ret[i]);
	}
}

/* ---- maps ---- */

/* The walk begins anew when the entry it stands at goes away, so it needs a bound of its own. */
static uint32_t count_entries(int fd, uint32_t key_bytes, uint32_t max)
{
	unsigned char key[sizeof(struct ig_flow_key)], next[sizeof(struct ig_flow_key)];
	void *prev = NULL;
	uint32_t n = 0;

	if (key_bytes > sizeof(key))
		return 0;
	while (n < max && bpf_map_get_next_key(fd, prev, next) == 0) {
		memcpy(key, next, key_bytes);
		prev = key;
		n++;
	}
	return n;
}

void ig_inspect_maps(const char *pin_dir, struct ig_inspect_map ret[IG_INSPECT_MAPS])
{
	for (int i = 0; i < IG_INSPECT_MAPS; i++) {
		_cleanup_close_ int fd = open_map(pin_dir, map_names[i]);
		struct bpf_map_info info = {};
		__u32 len = sizeof(info);

		ret[i] = (struct ig_inspect_map){.name = map_names[i]};
		if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) < 0) {
			ret[i].error = fd < 0 ? fd : -errno;
			continue;
		}
		ret[i].max_entries = info.max_entries;
		ret[i].is_counted = info.type == BPF_MAP_TYPE_HASH;
		if (ret[i].is_counted)
			ret[i].used = count_entries(fd, info.key_size, info.max_entries);
	}
}

int ig_inspect_listeners_open(const char *pin_dir, int *ret_fd)
{
	int fd = open_map(pin_dir, "listeners");

	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

int ig_inspect_has_listener(int listeners_fd, uint64_t netns_cookie)
{
	struct ig_listener_entry entry;

	if (bpf_map_lookup_elem(listeners_fd, &netns_cookie, &entry) < 0)
		return errno == ENOENT ? 0 : -errno;
	return entry.port_be != 0;
}

/* ---- the agent's lock ---- */

uint32_t ig_inspect_find_lock(
	const char *locks, unsigned int major, unsigned int minor, uint64_t inode)
{
	for (const char *line = locks; *line; line = strchrnul(line, '\n')) {
		unsigned int its_major, its_minor;
		unsigned long long its_inode;
		int pid;

		line += *line == '\n';
		/* "3: FLOCK  ADVISORY  WRITE 512 00:1f:2 0 EOF"; a pid below 1 is of elsewhere */
		if (sscanf(line, "%*u: FLOCK %*31s WRITE %d %x:%x:%llu", &pid, &its_major,
			    &its_minor, &its_inode) == 4 &&
			pid > 0 && its_major == major && its_minor == minor && its_inode == inode)
			return (uint32_t)pid;
	}
	return 0;
}

int ig_inspect_lock_holder(const char *pin_dir, uint32_t *ret_pid)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	struct stat st;
	int r;

	if (stat(pin_dir, &st) < 0)
		return -errno;
	r = ig_fd_read_file(AT_FDCWD, "/proc/locks", IG_PROC_LOCKS_BYTES, &text, &len);
	if (r < 0)
		return r;
	*ret_pid = ig_inspect_find_lock(text, major(st.st_dev), minor(st.st_dev), st.st_ino);
	return 0;
}
