/*
 * A quiet client for benchmarks: asks the metadata service for the same token again and again, on
 * one kept connection (or with a new one each), at a given pace, and says how long each answer
 * took: one number of microseconds a line. Every line on stdin is one round, its number the number
 * of requests; an empty line follows each round.
 *
 *	ask ADDRESS PORT PACE_USEC [fresh]
 *
 * Runs inside of network namespaces that a benchmark made, and refuses to run in one that leads out
 * of the machine (IG_FORBIDDEN_NETNS, as tests/netns/dial.c).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "netns/confined.h"

#define REPLY_BYTES 65536
#define ROUND_MAX   100000

static const char request[] =
	"GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net HTTP/1.1\r\n"
	"Host: 169.254.169.254\r\nMetadata: true\r\nUser-Agent: bench\r\n\r\n";

struct client {
	struct sockaddr_in to;
	uint64_t pace_usec;
	bool fresh;
	int fd; /* -1: not connected */
};

static int client_connect(struct client *c)
{
	int on = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(c->fd, (const struct sockaddr *)&c->to, sizeof(c->to)) < 0) {
		int r = -errno;

		c->fd = ig_close(c->fd);
		return r;
	}
	return 0;
}

/* Reads one response with a Content-Length; its status, or a negative errno. */
static int read_reply(int fd)
{
	static char buf[REPLY_BYTES];
	size_t len = 0, whole = 0;
	int status;

	while (!whole || len < whole) {
		const char *body, *length;
		ssize_t n = recv(fd, buf + len, sizeof(buf) - 1 - len, 0);

		if (n <= 0)
			return n < 0 ? -errno : -EPIPE;
		len += (size_t)n;
		buf[len] = '\0';
		body = strstr(buf, "\r\n\r\n");
		if (whole || !body)
			continue;
		length = strcasestr(buf, "\r\nContent-Length: ");
		if (!length || sscanf(length, "%*[^:]: %zu", &whole) != 1)
			return -EBADMSG;
		whole += (size_t)(body + 4 - buf);
		if (whole >= sizeof(buf))
			return -E2BIG;
	}
	return sscanf(buf, "HTTP/1.1 %d", &status) == 1 ? status : -EBADMSG;
}

/* How long one answer took, or a negative errno. */
static int64_t ask(struct client *c)
{
	uint64_t begin = ig_clock_mono_usec();
	int r = c->fd < 0 ? client_connect(c) : 0;

	if (r == 0 && send(c->fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0)
		r = -errno;
	if (r == 0)
		r = read_reply(c->fd);
	if (c->fresh || r < 0)
		c->fd = ig_close(c->fd);
	if (r >= 0 && r != 200) {
		(void)fprintf(stderr, "ask: status %d\n", r);
		return -EBADMSG;
	}
	return r < 0 ? r : (int64_t)(ig_clock_mono_usec() - begin);
}

static int round_of(struct client *c, uint32_t n)
{
	uint64_t due;
	int64_t usec;

	/* afresh, and once without counting it: what was kept may have been idle for too long */
	c->fd = ig_close(c->fd);
	usec = ask(c);
	due = ig_clock_mono_usec();
	for (uint32_t i = 0; i < n && usec >= 0; i++) {
		struct timespec until;

		due += c->pace_usec;
		until = (struct timespec){
			.tv_sec = (time_t)(due / 1000000), .tv_nsec = (long)(due % 1000000) * 1000};
		(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		usec = ask(c);
		if (usec >= 0)
			(void)printf("%" PRId64 "\n", usec);
	}
	if (usec < 0) {
		(void)fprintf(stderr, "ask: %s\n", strerror((int)-usec));
		return (int)usec;
	}
	(void)printf("\n");
	(void)fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	struct client c = {.to = {.sin_family = AF_INET}, .fd = -1};
	uint16_t port;
	char line[32];

	if (argc < 4 || inet_pton(AF_INET, argv[1], &c.to.sin_addr) != 1 ||
		sscanf(argv[2], "%hu", &port) != 1 ||
		sscanf(argv[3], "%" SCNu64, &c.pace_usec) != 1) {
		(void)fprintf(stderr, "usage: ask ADDRESS PORT PACE_USEC [fresh]\n");
		return 2;
	}
	if (netns_is_forbidden())
		return 99;
	c.to.sin_port = htons(port);
	c.fresh = argc > 4;
	while (fgets(line, sizeof(line), stdin)) {
		uint32_t n;

		if (sscanf(line, "%" SCNu32, &n) != 1 || n > ROUND_MAX || round_of(&c, n) < 0)
			return 1;
	}
	(void)ig_close(c.fd);
	return 0;
}
