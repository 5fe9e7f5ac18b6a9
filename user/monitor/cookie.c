/*
 * Cookies of network namespaces; see cookie.h.
 */
#include "monitor/cookie.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "datapath/datapath.h"
#include "workload/netns.h"

int ig_cookie_of_netns(struct ig_datapath *dp, int netns_fd, int home_fd, uint64_t *ret)
{
	_cleanup_close_ int sock = -1;
	int r = ig_netns_socket(netns_fd, home_fd, AF_INET, SOCK_DGRAM, 0, &sock);

	if (r < 0)
		return r;
	r = ig_netns_cookie(sock, ret);
	/* before Linux 5.14 */
	return r == -ENOPROTOOPT ? ig_datapath_netns_cookie(dp, sock, ret) : r;
}
