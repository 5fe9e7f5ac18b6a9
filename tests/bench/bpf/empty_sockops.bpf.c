/* The least that a sockops program can be: what case_bpf.py compares ours with. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("sockops")
int empty_sockops(struct bpf_sock_ops *ctx)
{
	(void)ctx;
	return 1;
}

char _license[] SEC("license") = "GPL";
