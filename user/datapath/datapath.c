/*
 * Loading, adopting, attaching and pinning; see datapath.h. Who calls it: the monitor's start-up.
 * It must never leave a half-attached set of programs behind, and never detach what an earlier
 * agent attached, except in ig_datapath_detach().
 */
#include "datapath/datapath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "datapath/datapath_internal.h"
#include "datapath/guard.h"
#include "datapath/probe.h"
#include "redirect.skel.h"

/* First warning of libbpf since the last reset: it names the program or map that failed. */
static char libbpf_warning[256];

__attribute__((format(printf, 2, 0))) static int on_libbpf_message(
	enum libbpf_print_level level, const char *fmt, va_list ap)
{
	static const char prefix[] = "libbpf: ";

	if (level == LIBBPF_WARN && !libbpf_warning[0]) {
		if (strncmp(fmt, prefix, sizeof(prefix) - 1) == 0)
			fmt += sizeof(prefix) - 1;
		(void)vsnprintf(libbpf_warning, sizeof(libbpf_warning), fmt, ap);
		libbpf_warning[strcspn(libbpf_warning, "\n")] = '\0';
	}
	return 0;
}

static int open_cgroup(const char *path, int *ret_fd, struct ig_err *reterr_err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;

	if (fd < 0)
		return ig_err_set(reterr_err, -errno, "cannot open cgroup root %s: %s", path,
			strerror(errno));
	if (fstatfs(fd, &fs) < 0)
		return ig_err_set(reterr_err, -errno, "cannot look at cgroup root %s: %s", path,
			strerror(errno));
	if (fs.f_type != CGROUP2_SUPER_MAGIC)
		return ig_err_set(reterr_err, -EINVAL,
			"%s is not in a cgroup2 file system; mount one (mount -t cgroup2 none DIR) and name it with --cgroup-root",
			path);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int set_pin_paths(struct bpf_object *object, const struct ig_pins *pins)
{
	char path[IG_PIN_PATH_BYTES];
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		int r;

		/* .rodata and the like belong to one load of the programs */
		if (bpf_map__is_internal(map))
			continue;
		r = ig_pins_path(pins->maps, bpf_map__name(map), path, sizeof(path));
		if (r == 0)
			r = bpf_map__set_pin_path(map, path);
		if (r < 0)
			return r;
	}
	return 0;
}

int ig_datapath_set_pin_paths(const struct ig_datapath *dp, struct bpf_object *object)
{
	libbpf_warning[0] = '\0';
	return set_pin_paths(object, &dp->pins);
}

const char *ig_datapath_load_warning(void)
{
	return libbpf_warning;
}

static int try_load(const struct ig_pins *pins, bool has_set_retval, struct redirect_bpf **ret)
{
	struct redirect_bpf *skel = redirect_bpf__open();
	int r;

	if (!skel)
		return -errno;
	skel->rodata->has_set_retval = has_set_retval;
	r = set_pin_paths(skel->obj, pins);
	if (r == 0)
		r = redirect_bpf__load(skel);
	if (r < 0) {
		redirect_bpf__destroy(skel);
		return r;
	}
	*ret = skel;
	return 0;
}

static int load_failed(int r, struct ig_err *reterr_err)
{
	struct utsname uts = {};
	char missing[256];

	(void)uname(&uts);
	if (r == -EPERM)
		return ig_err_set(reterr_err, r,
			"the kernel does not let this process load BPF programs (%s); run imdsgated as root with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or CAP_SYS_ADMIN",
			libbpf_warning);
	ig_probe_missing(missing, sizeof(missing));
	return ig_err_set(reterr_err, r == -ENOMEM ? r : -EOPNOTSUPP,
		"kernel %s lacks what the data path needs%s%s (%s); it needs 5.10 or later with CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF and CONFIG_DEBUG_INFO_BTF",
		uts.release, missing[0] ? ": " : "", missing,
		libbpf_warning[0] ? libbpf_warning : strerror(-r));
}

/* A kernel without bpf_set_retval in connect hooks gets the same programs without it. Maps that
 * another build pinned with other sizes are made anew: connections that were under way are refused
 * once. */
static int load(const struct ig_pins *pins, bool beside, struct redirect_bpf **ret,
	struct ig_err *reterr_err)
{
	int r;

	libbpf_warning[0] = '\0';
	r = try_load(pins, true, ret);
	if (r == 0)
		return 0;
	if (r == -EPERM)
		return load_failed(r, reterr_err);
	if (strstr(libbpf_warning, "parameter mismatch") && beside)
		return ig_err_set(reterr_err, -ENOTUNIQ,
			"the maps of the running agent have another shape (%s): it has to be stopped first",
			libbpf_warning);
	if (strstr(libbpf_warning, "parameter mismatch")) {
		ig_log_warning("pinned maps have another shape, making new ones",
			IG_KV_STR(PATH, pins->maps), IG_KV_STR(DETAIL, libbpf_warning));
		(void)ig_pins_remove_dir(pins->maps);
		(void)mkdir(pins->maps, 0700);
		libbpf_warning[0] = '\0';
		if (try_load(pins, true, ret) == 0)
			return 0;
	}
	libbpf_warning[0] = '\0';
	r = try_load(pins, false, ret);
	if (r < 0)
		return load_failed(r, reterr_err);
	ig_log_info("kernel lacks bpf_set_retval in connect hooks, refusals will be EPERM");
	return 0;
}

int ig_datapath_open(const struct ig_datapath_options *options, struct ig_datapath **ret,
	struct ig_err *reterr_err)
{
	_cleanup_(ig_datapath_freep) struct ig_datapath *dp = calloc(1, sizeof(*dp));
	int r;

	if (!dp)
		return -ENOMEM;
	dp->cgroup_fd = -1;
	dp->pins.lock_fd = -1;
	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	libbpf_set_print(on_libbpf_message);
	r = open_cgroup(options->cgroup_root, &dp->cgroup_fd, reterr_err);
	if (r < 0)
		return r;
	r = options->beside ? ig_pins_join(options->bpffs, options->lock_fd, &dp->pins, reterr_err)
			    : ig_pins_open(options->bpffs, &dp->pins, reterr_err);
	if (r < 0)
		return r;
	r = load(&dp->pins, options->beside, &dp->skel, reterr_err);
	if (r < 0) {
		if (options->beside)
			dp->pins.lock_fd = -1; /* the caller's */
		return r;
	}
	*ret = TAKE_PTR(dp);
	return 0;
}

struct ig_datapath *ig_datapath_free(struct ig_datapath *dp)
{
	if (!dp)
		return NULL;
	redirect_bpf__destroy(dp->skel);
	ig_datapath_cookie_done(dp);
	ig_pins_close(&dp->pins);
	(void)ig_close(dp->cgroup_fd);
	free(dp);
	return NULL;
}

int ig_datapath_lock_fd(const struct ig_datapath *dp)
{
	return dp->pins.lock_fd;
}

void ig_datapath_release(struct ig_datapath *dp)
{
	ig_pins_close(&dp->pins);
}

bool ig_datapath_is_held(const struct ig_datapath *dp)
{
	return ig_pins_is_held(&dp->pins);
}

int ig_datapath_detach(const char *bpffs, unsigned int *ret_links, struct ig_err *reterr_err)
{
	struct ig_pins pins;
	int filters, r = ig_pins_open(bpffs, &pins, reterr_err);

	if (r < 0)
		return r;
	/* links first: without its link a program runs no more, whatever its maps say */
	r = ig_pins_remove_dir(pins.links);
	filters = r < 0 ? r : ig_guard_remove_filters();
	if (r >= 0 && filters >= 0) {
		*ret_links = (unsigned int)(r + filters);
		r = ig_pins_remove_dir(pins.maps);
	} else {
		r = filters;
	}
	if (r >= 0 && rmdir(pins.dir) < 0)
		r = -errno;
	ig_pins_close(&pins);
	if (r < 0)
		return ig_err_set(
			reterr_err, r, "cannot remove the pins in %s: %s", pins.dir, strerror(-r));
	return 0;
}
