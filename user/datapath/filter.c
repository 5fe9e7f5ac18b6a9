/*
 * The classic filter; see filter.h. Called by guard.c and inspect.c.
 */
#include "datapath/filter.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"

/* Priority 1 is the first; another filter with it has another handle. */
#define FILTER_HANDLE	0x1d5a7e
#define FILTER_PRIORITY 1

static bool program_is_ours(__u32 id)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(id);

	return fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &len) == 0 &&
	       strncmp(info.name, IG_FILTER_PROGRAM_PREFIX, strlen(IG_FILTER_PROGRAM_PREFIX)) == 0;
}

static int find(const struct bpf_tc_hook *hook, uint32_t *ret_program_id)
{
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY);
	int r = bpf_tc_query(hook, &opts);

	/* -EINVAL: no clsact on the interface */
	if (r == -ENOENT || r == -EINVAL)
		return 0;
	if (r < 0)
		return r;
	if (!program_is_ours(opts.prog_id))
		return -EEXIST;
	*ret_program_id = opts.prog_id;
	return 1;
}

int ig_filter_find(unsigned int ifindex, uint32_t *ret_program_id)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_EGRESS);

	return find(&hook, ret_program_id);
}

int ig_filter_remove(unsigned int ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY);
	uint32_t program_id;
	int r = find(&hook, &program_id);

	if (r <= 0)
		return r == -EEXIST ? 0 : r;
	r = bpf_tc_detach(&hook, &opts);
	return r < 0 ? r : 1;
}

int ig_filter_attach(unsigned int ifindex, int prog_fd)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex, .attach_point = BPF_TC_EGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = FILTER_HANDLE, .priority = FILTER_PRIORITY,
		.prog_fd = prog_fd);
	int r = bpf_tc_hook_create(&hook);
	uint32_t program_id;

	if (r < 0 && r != -EEXIST)
		return r;
	r = find(&hook, &program_id);
	if (r < 0)
		return r;
	if (r > 0)
		opts.flags = BPF_TC_F_REPLACE;
	return bpf_tc_attach(&hook, &opts);
}
