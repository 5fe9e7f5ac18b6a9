/*
 * Tells the cookie of a network namespace on kernels that have no SO_NETNS_COOKIE (before 5.14,
 * after which this can go): a connect hook may ask for it. Only sockets that the agent put into the
 * map are looked at; everybody else's connect goes on as it is. Attached by
 * user/datapath/cookie.c for as long as it asks, never pinned.
 */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u64);
} asked SEC(".maps");

SEC("cgroup/connect4")
int ig_cookie4(struct bpf_sock_addr *ctx)
{
	__u64 *cookie = ctx->sk ? bpf_sk_storage_get(&asked, ctx->sk, NULL, 0) : NULL;

	if (cookie)
		*cookie = bpf_get_netns_cookie(ctx);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
