/*
 * Attaching the programs to the cgroup and pinning the links; see datapath.h.
 *
 * Order matters: the hooks that publish flows come before those that redirect, so that at no moment
 * a connection is redirected that nobody can attribute. New links are pinned only when all are
 * there.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "datapath/datapath_internal.h"
#include "redirect.skel.h"

#define N_HOOKS 7

struct hook {
	struct bpf_program *program; /* owned by the skeleton */
	enum bpf_attach_type type;
	struct bpf_link *link; /* owned until released */
	bool adopted;
};

static void list_hooks(struct redirect_bpf *skel, struct hook hooks[N_HOOKS])
{
	hooks[0] = (struct hook){
		skel->progs.ig_getpeername4, BPF_CGROUP_INET4_GETPEERNAME, NULL, false};
	hooks[1] = (struct hook){
		skel->progs.ig_getpeername6, BPF_CGROUP_INET6_GETPEERNAME, NULL, false};
	hooks[2] = (struct hook){skel->progs.ig_sockops, BPF_CGROUP_SOCK_OPS, NULL, false};
	hooks[3] = (struct hook){skel->progs.ig_connect4, BPF_CGROUP_INET4_CONNECT, NULL, false};
	hooks[4] = (struct hook){skel->progs.ig_connect6, BPF_CGROUP_INET6_CONNECT, NULL, false};
	hooks[5] = (struct hook){skel->progs.ig_bind4, BPF_CGROUP_INET4_BIND, NULL, false};
	hooks[6] = (struct hook){skel->progs.ig_bind6, BPF_CGROUP_INET6_BIND, NULL, false};
}

/* The id of a cgroup is the inode number of its directory on 64-bit kernels. */
static bool link_is_on_cgroup(const struct bpf_link *link, int cgroup_fd)
{
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);
	struct stat st;

	if (bpf_obj_get_info_by_fd(bpf_link__fd(link), &info, &len) < 0 ||
		fstat(cgroup_fd, &st) < 0)
		return false;
	return info.type == BPF_LINK_TYPE_CGROUP && info.cgroup.cgroup_id == st.st_ino;
}

/* 1 when an earlier agent's link was taken over, 0 when there is none to take over. */
static int adopt_link(const struct ig_datapath *dp, struct hook *hook, const char *path)
{
	struct bpf_link *link = bpf_link__open(path);
	int r;

	if (!link)
		return errno == ENOENT ? 0 : -errno;
	r = link_is_on_cgroup(link, dp->cgroup_fd) ? bpf_link__update_program(link, hook->program)
						   : -ENOLINK;
	if (r == 0) {
		hook->link = link;
		hook->adopted = true;
		return 1;
	}
	(void)bpf_link__destroy(link);
	if (r != -ENOLINK && r != -EINVAL)
		return r;
	/* It hangs on a cgroup that is gone or no longer ours to guard. It stays in force until the
	 * new links are all there: pin_one() takes its place. */
	ig_log_warning("replacing a link to another cgroup", IG_KV_STR(PATH, path));
	return 0;
}

static int attach_failed(int r, const struct hook *hook, struct ig_err *reterr_err)
{
	const char *name = bpf_program__name(hook->program);

	if (r == -EPERM || r == -EBUSY || r == -EEXIST)
		return ig_err_set(reterr_err, -EBUSY,
			"cannot attach %s: another program is attached exclusively (without BPF_F_ALLOW_MULTI) at this cgroup or above it; see bpftool cgroup tree",
			name);
	return ig_err_set(reterr_err, r, "cannot attach %s: %s", name, strerror(-r));
}

static int attach_one(struct ig_datapath *dp, struct hook *hook, struct ig_err *reterr_err)
{
	char path[IG_PIN_PATH_BYTES];
	int r = ig_pins_path(dp->pins.links, bpf_program__name(hook->program), path, sizeof(path));

	if (r == 0)
		r = adopt_link(dp, hook, path);
	if (r < 0)
		return ig_err_set(reterr_err, r, "cannot take over %s: %s", path, strerror(-r));
	if (r > 0)
		return 0;
	hook->link = bpf_program__attach_cgroup(hook->program, dp->cgroup_fd);
	return hook->link ? 0 : attach_failed(-errno, hook, reterr_err);
}

static int pin_one(struct ig_datapath *dp, struct hook *hook, struct ig_err *reterr_err)
{
	char path[IG_PIN_PATH_BYTES];
	int r = ig_pins_path(dp->pins.links, bpf_program__name(hook->program), path, sizeof(path));

	if (r == 0 && !hook->adopted) {
		(void)unlink(path);
		r = bpf_link__pin(hook->link, path);
	}
	return r < 0 ? ig_err_set(reterr_err, r, "cannot pin %s: %s", path, strerror(-r)) : 0;
}

int ig_datapath_attach(struct ig_datapath *dp, unsigned int *ret_adopted, struct ig_err *reterr_err)
{
	struct hook hooks[N_HOOKS];
	unsigned int adopted = 0;
	int r = 0;

	list_hooks(dp->skel, hooks);
	for (int i = 0; i < N_HOOKS && r == 0; i++)
		r = attach_one(dp, &hooks[i], reterr_err);
	for (int i = 0; i < N_HOOKS && r == 0; i++)
		r = pin_one(dp, &hooks[i], reterr_err);
	for (int i = 0; i < N_HOOKS; i++) {
		adopted += hooks[i].adopted;
		/* a new link that was pinned before another one failed must not stay behind */
		if (r < 0 && hooks[i].link && !hooks[i].adopted)
			(void)bpf_link__unpin(hooks[i].link);
		/* closes the descriptor; what is pinned stays */
		(void)bpf_link__destroy(hooks[i].link);
	}
	if (r == 0)
		*ret_adopted = adopted;
	return r;
}
