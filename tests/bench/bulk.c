/*
 * Sends many bytes over one TCP connection and says how long it took until the other end had all of
 * them, in nanoseconds.
 *
 *	bulk sink	says on which port it listens, on all addresses of its namespace
 *	bulk send	a line of ADDRESS PORT BYTES on stdin is one round
 *
 * Runs inside of network namespaces that a benchmark made, and refuses to run in one that leads out
 * of the machine (IG_FORBIDDEN_NETNS, as tests/netns/dial.c).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "bench/timing.h"
#include "netns/confined.h"

static char buf[256 * 1024];

static int sink(void)
{
	in_port_t port_be = 0;
	_cleanup_close_ int listener = bench_listen(&port_be);

	if (listener < 0)
		return 1;
	(void)printf("%u\n", ntohs(port_be));
	(void)fflush(stdout);
	for (;;) {
		_cleanup_close_ int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		while (fd >= 0 && recv(fd, buf, sizeof(buf), 0) > 0)
			;
		(void)send(fd, "", 1, MSG_NOSIGNAL);
	}
}

/* How long it took, or a negative errno. */
static int64_t send_bytes(const struct sockaddr_in *to, uint64_t bytes)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint64_t begin;
	ssize_t n = 0;

	if (fd < 0 || connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0)
		return -errno;
	begin = bench_nsec();
	for (uint64_t left = bytes; left; left -= (uint64_t)n) {
		n = send(fd, buf, left < sizeof(buf) ? left : sizeof(buf), MSG_NOSIGNAL);
		if (n < 0)
			return -errno;
	}
	if (shutdown(fd, SHUT_WR) < 0)
		return -errno;
	n = recv(fd, buf, 1, 0);
	if (n != 1)
		return n < 0 ? -errno : -EPIPE;
	return (int64_t)(bench_nsec() - begin);
}

static int sender(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	char line[64], address[INET_ADDRSTRLEN];
	uint16_t port;
	uint64_t bytes;

	while (fgets(line, sizeof(line), stdin)) {
		int64_t nsec;

		if (sscanf(line, "%15s %" SCNu16 " %" SCNu64, address, &port, &bytes) != 3 ||
			inet_pton(AF_INET, address, &to.sin_addr) != 1)
			return 2;
		to.sin_port = htons(port);
		nsec = send_bytes(&to, bytes);
		if (nsec < 0) {
			(void)fprintf(stderr, "bulk: %s\n", strerror((int)-nsec));
			return 1;
		}
		(void)printf("%" PRId64 "\n", nsec);
		(void)fflush(stdout);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 2 || (strcmp(argv[1], "sink") != 0 && strcmp(argv[1], "send") != 0)) {
		(void)fprintf(stderr, "usage: bulk sink|send\n");
		return 2;
	}
	if (netns_is_forbidden())
		return 99;
	return strcmp(argv[1], "sink") == 0 ? sink() : sender();
}
