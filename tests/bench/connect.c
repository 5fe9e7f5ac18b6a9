/*
 * Connects and closes, and says how long that takes: the median of one round in nanoseconds, of
 * connect() and close() together. Each line on stdin is one round: where to, and how often.
 *
 *	connect			(then lines of ADDRESS PORT COUNT)
 *
 * Says first on which port of its own it listens, on all addresses of its namespace: what is
 * connected to there is accepted in between, outside of the time that is measured. Other listeners
 * have to do it themselves, or to have a backlog that is long enough. close() resets the
 * connection, so that no port waits in TIME_WAIT.
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

#define ROUND_MAX 4000

/* How long it took, or a negative errno. */
static int64_t connect_once(const struct sockaddr_in *to)
{
	const struct linger reset = {.l_onoff = 1};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint64_t begin;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) < 0)
		return -errno;
	begin = bench_nsec();
	/* a gate listener that does not know us may have ended it already */
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0 && errno != ECONNRESET)
		return -errno;
	fd = ig_close(fd);
	return (int64_t)(bench_nsec() - begin);
}

static int by_size(const void *a, const void *b)
{
	const int64_t *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

/* The median, or a negative errno. */
static int64_t round_of(const struct sockaddr_in *to, uint32_t n, int listener)
{
	static int64_t nsec[ROUND_MAX];

	for (uint32_t i = 0; i < n; i++) {
		nsec[i] = connect_once(to);
		if (nsec[i] < 0)
			return nsec[i];
		if (listener >= 0)
			(void)ig_close(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
	}
	qsort(nsec, n, sizeof(*nsec), by_size);
	return nsec[n / 2];
}

int main(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET};
	char line[64], address[INET_ADDRSTRLEN];
	_cleanup_close_ int listener = -1;
	in_port_t own_port_be;
	uint16_t port;
	uint32_t n;

	if (netns_is_forbidden())
		return 99;
	listener = bench_listen(&own_port_be);
	if (listener < 0)
		return 1;
	(void)printf("%u\n", ntohs(own_port_be));
	(void)fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		int64_t nsec;

		if (sscanf(line, "%15s %" SCNu16 " %" SCNu32, address, &port, &n) != 3 || n == 0 ||
			n > ROUND_MAX || inet_pton(AF_INET, address, &to.sin_addr) != 1) {
			(void)fprintf(stderr, "connect: no round: %s", line);
			return 2;
		}
		to.sin_port = htons(port);
		nsec = round_of(&to, n, to.sin_port == own_port_be ? listener : -1);
		if (nsec < 0) {
			(void)fprintf(stderr, "connect: %s\n", strerror((int)-nsec));
			return 1;
		}
		(void)printf("%" PRId64 "\n", nsec);
		(void)fflush(stdout);
	}
	return 0;
}
