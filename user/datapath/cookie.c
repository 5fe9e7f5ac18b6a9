/*
 * The cookie of a socket's network namespace by way of a connect hook, for kernels before 5.14; see
 * datapath.h. The hook is attached while it is asked and no longer: every connect on the machine
 * would run it.
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

static int load(struct ig_datapath *dp)
{
	if (!dp->cookie)
		dp->cookie = cookie_bpf__open_and_load();
	return dp->cookie ? 0 : -errno;
}

void ig_datapath_cookie_done(struct ig_datapath *dp)
{
	cookie_bpf__destroy(dp->cookie);
	dp->cookie = NULL;
}

/* -EBUSY: somebody's program is attached exclusively. */
static int attach(struct ig_datapath *dp, struct bpf_link **ret)
{
	struct bpf_link *link =
		bpf_program__attach_cgroup(dp->cookie->progs.ig_cookie4, dp->cgroup_fd);

	if (!link)
		return errno == EPERM ? -EBUSY : -errno;
	*ret = link;
	return 0;
}

/* connect() of a datagram socket sends nothing; whether there is a route does not matter, the hook
 * runs before the kernel looks for one. */
int ig_datapath_netns_cookie(struct ig_datapath *dp, int udp_sock, uint64_t *ret)
{
	const struct sockaddr_in self = {.sin_family = AF_INET,
		.sin_port = htons(IPPORT_DISCARD),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct bpf_link *link = NULL;
	uint64_t cookie = 0;
	int fd, r = load(dp);

	if (r < 0)
		return r;
	fd = bpf_map__fd(dp->cookie->maps.asked);
	r = bpf_map_update_elem(fd, &udp_sock, &cookie, BPF_ANY);
	if (r == 0)
		r = attach(dp, &link);
	if (r < 0)
		return r;
	(void)connect(udp_sock, (const struct sockaddr *)&self, sizeof(self));
	(void)bpf_link__destroy(link);
	r = bpf_map_lookup_elem(fd, &udp_sock, &cookie);
	if (r < 0)
		return r;
	/* no cookie is 0: the hook did not run */
	if (!cookie)
		return -EOPNOTSUPP;
	*ret = cookie;
	return 0;
}
