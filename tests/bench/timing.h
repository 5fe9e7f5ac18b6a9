/*
 * What the programs that measure connections share: a clock, and a listener of their own.
 */
#pragma once

#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>

#include "base/cleanup.h"

static inline uint64_t bench_nsec(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* On all addresses of the namespace; which port is up to the kernel. */
static inline int bench_listen(in_port_t *ret_port_be)
{
	struct sockaddr_in any = {.sin_family = AF_INET};
	socklen_t len = sizeof(any);
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)) < 0 || listen(fd, 16) < 0 ||
		getsockname(fd, (struct sockaddr *)&any, &len) < 0)
		return -errno;
	*ret_port_be = any.sin_port;
	return TAKE_FD(fd);
}
