/*
 * The cookie of a socket's network namespace by way of a connect hook, for kernels before 5.14; see
 * datapath.h. The hook is attached while the agent runs and not pinned: nothing else needs it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "base/cleanup.h"
#include "cookie.skel.h"
#include "datapath/datapath_internal.h"

static int attach(struct ig_datapath *dp)
{
	struct cookie_bpf *skel;
	int r;

	if (dp->cookie)
		return 0;
	skel = cookie_bpf__open_and_load();
	if (!skel)
		return -errno;
	skel->links.ig_cookie4 = bpf_program__attach_cgroup(skel->progs.ig_cookie4, dp->cgroup_fd);
	if (!skel->links.ig_cookie4) {
		r = -errno;
		cookie_bpf__destroy(skel);
		return r;
	}
	dp->cookie = skel;
	return 0;
}

void ig_datapath_cookie_done(struct ig_datapath *dp)
{
	cookie_bpf__destroy(dp->cookie);
	dp->cookie = NULL;
}

/* connect() of a datagram socket sends nothing; whether there is a route does not matter, the hook
 * runs before the kernel looks for one. */
int ig_datapath_netns_cookie(struct ig_datapath *dp, int udp_sock, uint64_t *ret)
{
	const struct sockaddr_in self = {.sin_family = AF_INET,
		.sin_port = htons(IPPORT_DISCARD),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	uint64_t cookie = 0;
	int fd, r = attach(dp);

	if (r < 0)
		return r;
	fd = bpf_map__fd(dp->cookie->maps.asked);
	r = bpf_map_update_elem(fd, &udp_sock, &cookie, BPF_ANY);
	if (r < 0)
		return r;
	(void)connect(udp_sock, (const struct sockaddr *)&self, sizeof(self));
	r = bpf_map_lookup_elem(fd, &udp_sock, &cookie);
	if (r < 0)
		return r;
	/* no cookie is 0: the hook did not run */
	if (!cookie)
		return -EOPNOTSUPP;
	*ret = cookie;
	return 0;
}
