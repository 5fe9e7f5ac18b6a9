/*
 * A load balancer by sockets, as CNIs bring one, whose service 10.77.255.9:8080 somebody gave the
 * metadata service for an endpoint: connect() is led there. Compiled and attached by the tests with
 * clang and bpftool; no part of the agent.
 */
#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

SEC("cgroup/connect4")
int service_connect4(struct bpf_sock_addr *ctx)
{
	if (ctx->user_ip4 == bpf_htonl(0x0a4dff09) && ctx->user_port == bpf_htons(8080)) {
		ctx->user_ip4 = bpf_htonl(0xa9fea9fe);
		ctx->user_port = bpf_htons(80);
	}
	return 1;
}

char _license[] SEC("license") = "GPL";
