/*
 * Attaching the guard; see guard.h. Called by the monitor. It must never touch a program or filter
 * at the same hook that is not ours: ours are known by their pin, or as filter.h says.
 */
#include "datapath/guard.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "datapath/datapath_internal.h"
#include "datapath/filter.h"
#include "guard.skel.h"

/* Not in headers before 6.6. Headers that have them have enumerators, so these cannot clash. */
#define LINK_TYPE_TCX 11
#define FLAG_BEFORE   (1U << 3) /* without a relative: in front of all others */

#define PIN_PREFIX IG_PIN_GUARD_PREFIX

struct ig_guard {
	struct ig_datapath *dp; /* outlives this */
	struct guard_bpf *skel; /* owned */
	enum ig_guard_hook hook;
};

IG_DEFINE_CLEANUP(struct ig_guard *, ig_guard_free);

static bool link_is_on(int link_fd, unsigned int ifindex)
{
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);

	/* info.tcx of newer headers is laid out as info.xdp: the number comes first */
	return bpf_obj_get_info_by_fd(link_fd, &info, &len) == 0 && info.type == LINK_TYPE_TCX &&
	       info.xdp.ifindex == ifindex;
}

static void closedirp(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

/* Pins of links whose interface went away while no agent ran: such a link is on interface 0. */
static void sweep_pins(const char *path)
{
	_cleanup_(closedirp) DIR *dir = opendir(path);
	const struct dirent *entry;
	char pin[IG_PIN_PATH_BYTES];

	while (dir && (entry = readdir(dir)) != NULL) {
		_cleanup_close_ int fd = -1;

		if (strncmp(entry->d_name, PIN_PREFIX, strlen(PIN_PREFIX)) != 0 ||
			ig_pins_path(path, entry->d_name, pin, sizeof(pin)) < 0)
			continue;
		fd = bpf_obj_get(pin);
		if (fd >= 0 && link_is_on(fd, 0))
			(void)unlink(pin);
	}
}

int ig_guard_new(struct ig_datapath *dp, enum ig_guard_hook hook, struct ig_guard **ret,
	struct ig_err *reterr_err)
{
	_cleanup_(ig_guard_freep) struct ig_guard *guard = calloc(1, sizeof(*guard));
	int r = 0;

	if (!guard)
		return -ENOMEM;
	guard->dp = dp;
	guard->hook = hook;
	guard->skel = guard_bpf__open();
	if (!guard->skel)
		r = -errno;
	if (r == 0)
		r = ig_datapath_set_pin_paths(dp, guard->skel->obj);
	if (r == 0)
		r = guard_bpf__load(guard->skel);
	if (r < 0)
		return ig_err_set(reterr_err, r == -ENOMEM || r == -EPERM ? r : -EOPNOTSUPP,
			"cannot load the guard's programs (%s): %s; it needs CONFIG_NET_CLS_ACT and CONFIG_NET_CLS_BPF; without it (--guard off) raw sockets and forwarded packets are not stopped",
			ig_datapath_load_warning(), strerror(-r));
	sweep_pins(dp->pins.links);
	*ret = TAKE_PTR(guard);
	return 0;
}

struct ig_guard *ig_guard_free(struct ig_guard *guard)
{
	if (!guard)
		return NULL;
	guard_bpf__destroy(guard->skel);
	free(guard);
	return NULL;
}

/* Interfaces are numbered per network namespace, so that is part of the name. */
static int pin_path(const struct ig_guard *guard, unsigned int ifindex, char *ret, size_t len)
{
	char name[64];

	(void)snprintf(
		name, sizeof(name), PIN_PREFIX "%" PRIu64 "_%u", guard->dp->netns_cookie, ifindex);
	return ig_pins_path(guard->dp->pins.links, name, ret, len);
}

static int program_fd(const struct ig_guard *guard, bool has_ethernet)
{
	return bpf_program__fd(
		has_ethernet ? guard->skel->progs.ig_guard_l2 : guard->skel->progs.ig_guard_l3);
}

/* ---- tcx ---- */

/* 1 when an earlier agent's link was taken over, 0 when there is none. */
static int adopt_link(const char *path, unsigned int ifindex, int prog_fd)
{
	_cleanup_close_ int fd = bpf_obj_get(path);

	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	if (link_is_on(fd, ifindex)) {
		int r = bpf_link_update(fd, prog_fd, NULL);

		return r < 0 ? r : 1;
	}
	/* its interface is gone */
	(void)unlink(path);
	return 0;
}

static int attach_tcx(const struct ig_guard *guard, unsigned int ifindex, int prog_fd)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = FLAG_BEFORE);
	_cleanup_close_ int fd = -1;
	char path[IG_PIN_PATH_BYTES];
	int r = pin_path(guard, ifindex, path, sizeof(path));

	if (r == 0)
		r = adopt_link(path, ifindex, prog_fd);
	if (r != 0)
		return r < 0 ? r : 0;
	fd = bpf_link_create(prog_fd, (int)ifindex, (enum bpf_attach_type)ATTACH_TCX_EGRESS, &opts);
	if (fd < 0)
		return fd;
	return bpf_obj_pin(fd, path);
}

/* ---- both ---- */

int ig_guard_attach(
	struct ig_guard *guard, unsigned int ifindex, bool has_ethernet, const char **ret_hook)
{
	int prog_fd = program_fd(guard, has_ethernet), r = -EOPNOTSUPP;
	char path[IG_PIN_PATH_BYTES];

	if (guard->hook == IG_GUARD_HOOK_AUTO)
		r = attach_tcx(guard, ifindex, prog_fd);
	if (r == 0) {
		*ret_hook = "tcx";
		/* of an agent before an upgrade of the kernel, or with another --guard-hook */
		(void)ig_filter_remove(ifindex);
		return 0;
	}
	if (r == -ENODEV)
		return r;
	/* a kernel without tcx says EINVAL; whatever it is, the other way may still work */
	r = ig_filter_attach(ifindex, prog_fd);
	if (r < 0)
		return r;
	*ret_hook = "clsact";
	if (pin_path(guard, ifindex, path, sizeof(path)) == 0)
		(void)unlink(path);
	return 0;
}

void ig_guard_forget(struct ig_guard *guard, unsigned int ifindex)
{
	char path[IG_PIN_PATH_BYTES];

	if (pin_path(guard, ifindex, path, sizeof(path)) == 0)
		(void)unlink(path);
}

int ig_guard_remove_filters(void)
{
	struct if_nameindex *all = if_nameindex();
	int removed = 0, r = all ? 0 : -errno;

	for (const struct if_nameindex *i = all; i && i->if_index && r >= 0; i++) {
		r = ig_filter_remove(i->if_index);
		if (r > 0)
			removed++;
	}
	if_freenameindex(all);
	return r < 0 ? r : removed;
}
