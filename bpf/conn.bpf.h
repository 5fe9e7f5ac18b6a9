/*
 * From a hook's context to plain structures: who is calling and what for. The only place that reads
 * kernel structures.
 */
#pragma once

#include <bpf/bpf_core_read.h>

#include "decide.bpf.h"
#include "kernel_min.h"

/* not in the UAPI headers */
#define AF_INET	    2
#define AF_INET6    10
#define SOCK_STREAM 1

static __always_inline void ig_caller_read(struct ig_caller *caller)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct inode *exe = BPF_CORE_READ(task, mm, exe_file, f_inode);
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__u64 uid_gid = bpf_get_current_uid_gid();

	caller->cgroup_id = bpf_get_current_cgroup_id();
	caller->tgid = (__u32)(pid_tgid >> 32);
	caller->tid = (__u32)pid_tgid;
	caller->uid = (__u32)uid_gid;
	caller->gid = (__u32)(uid_gid >> 32);
	caller->start_time_ns = BPF_CORE_READ(leader, start_boottime);
	caller->exe_inode = BPF_CORE_READ(exe, i_ino);
	caller->exe_device = BPF_CORE_READ(exe, i_sb, s_dev);
	(void)bpf_get_current_comm(caller->comm, sizeof(caller->comm));
}

__attribute__((noinline)) __u64 ig_connect_declared(void)
{
	__u64 declared = 0;

	for (int level = 0; level < IG_CGROUP_DEPTH_MAX; level++)
		if (!ig_declared_step(bpf_get_current_ancestor_cgroup_id(level), &declared))
			break;
	return declared;
}

__attribute__((noinline)) __u64 ig_connect_below(__u64 declared)
{
	__u64 last = 0;

	for (int level = 0; level <= IG_CGROUP_DEPTH_MAX; level++)
		if (!ig_below_step(bpf_get_current_ancestor_cgroup_id(level), declared, &last))
			return last;
	return 0;
}

static __always_inline void ig_conn_read(
	struct bpf_sock_addr *ctx, enum ig_endpoint endpoint, struct ig_conn *conn)
{
	conn->endpoint = endpoint;
	conn->protocol = ctx->protocol;
	conn->is_stream = ctx->type == SOCK_STREAM;
	conn->netns_cookie = bpf_get_netns_cookie(ctx);
	conn->from_agent = ctx->sk && bpf_sk_storage_get(&upstream, ctx->sk, NULL, 0) != NULL;
	conn->declared = ig_connect_declared();
	conn->below = conn->declared ? ig_connect_below(conn->declared) : 0;
}
