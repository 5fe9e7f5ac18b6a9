/*
 * Load for benchmarks: N connections that each ask for the same token, wait for the whole answer
 * and ask again, kept or with a new connection for each request. Every line on stdin is one round,
 * its number the number of requests of all connections together; a round is answered by a line
 *
 *	USEC P50_NSEC P99_NSEC
 *
 * of how long all of it took, and one request (with connect() where the connection is new).
 *
 *	load ADDRESS PORT CONNECTIONS [fresh]
 *
 * The server is to be what is measured, so there is one thread, and nothing is made or freed inside
 * of a round but connections. Any answer but 200 ends the program. Runs inside of network
 * namespaces that a benchmark made (IG_FORBIDDEN_NETNS, as tests/netns/dial.c).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "base/cleanup.h"
#include "bench/reply.h"
#include "netns/confined.h"

#define REPLY_BYTES	16384
#define CONNECTIONS_MAX 512
#define ROUND_MAX	1000000
#define EVENTS		64

static const char request[] =
	"GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net HTTP/1.1\r\n"
	"Host: 169.254.169.254\r\nMetadata: true\r\nUser-Agent: bench\r\n\r\n";

struct conn {
	int fd;		     /* -1: not connected */
	uint64_t asked_nsec; /* 0: nothing is under way */
	size_t len;
	char reply[REPLY_BYTES];
};

struct load {
	struct sockaddr_in to;
	bool fresh;
	int epoll;
	uint32_t n_conns;
	struct conn *conns;
	uint32_t to_ask, to_answer;
	uint32_t *nsec; /* how long each took */
};

static uint64_t now_nsec(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* On loopback a connect is through when it returns, unless the other side has no room. */
static int conn_open(struct load *load, struct conn *c)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
	int on = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(c->fd, (const struct sockaddr *)&load->to, sizeof(load->to)) < 0 ||
		epoll_ctl(load->epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
		return -errno;
	return 0;
}

static int conn_ask(struct load *load, struct conn *c)
{
	int r;

	if (load->to_ask == 0)
		return 0;
	load->to_ask--;
	c->len = 0;
	c->asked_nsec = now_nsec();
	r = c->fd < 0 ? conn_open(load, c) : 0;
	if (r == 0 && send(c->fd, request, sizeof(request) - 1, MSG_NOSIGNAL) !=
			      (ssize_t)sizeof(request) - 1)
		r = -errno;
	return r;
}

static int conn_read(struct load *load, struct conn *c)
{
	ssize_t n = recv(c->fd, c->reply + c->len, sizeof(c->reply) - 1 - c->len, MSG_DONTWAIT);
	int r;

	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n == 0 || c->asked_nsec == 0)
		return -EPIPE;
	c->len += (size_t)n;
	r = reply_is_whole(c->reply, c->len);
	if (r <= 0)
		return r;
	load->nsec[--load->to_answer] = (uint32_t)(now_nsec() - c->asked_nsec);
	c->asked_nsec = 0;
	if (load->fresh)
		c->fd = ig_close(c->fd);
	return conn_ask(load, c);
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static int run_round(struct load *load, uint32_t n)
{
	struct epoll_event events[EVENTS];
	uint64_t begin = now_nsec();
	int r = 0;

	load->to_ask = load->to_answer = n;
	for (uint32_t i = 0; i < load->n_conns && r == 0; i++)
		r = conn_ask(load, &load->conns[i]);
	while (r == 0 && load->to_answer) {
		int ready = epoll_wait(load->epoll, events, EVENTS, 10000);

		if (ready == 0 || (ready < 0 && errno != EINTR))
			return ready ? -errno : -ETIMEDOUT;
		for (int i = 0; i < ready && r == 0; i++)
			r = conn_read(load, events[i].data.ptr);
	}
	if (r < 0)
		return r;
	begin = now_nsec() - begin;
	qsort(load->nsec, n, sizeof(*load->nsec), by_size);
	(void)printf("%" PRIu64 " %u %u\n", begin / 1000, load->nsec[n / 2],
		load->nsec[(uint64_t)n * 99 / 100]);
	(void)fflush(stdout);
	return 0;
}

/* A server may end connections that were idle while the other side was measured. */
static void begin_anew(struct load *load)
{
	for (uint32_t i = 0; i < load->n_conns; i++)
		load->conns[i].fd = ig_close(load->conns[i].fd);
}

static int load_init(struct load *load, uint32_t n_conns)
{
	load->n_conns = n_conns;
	load->conns = calloc(n_conns, sizeof(*load->conns));
	load->nsec = calloc(ROUND_MAX, sizeof(*load->nsec));
	load->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!load->conns || !load->nsec || load->epoll < 0)
		return -ENOMEM;
	for (uint32_t i = 0; i < n_conns; i++)
		load->conns[i].fd = -1;
	return 0;
}

static int rounds(struct load *load)
{
	char line[32];

	while (fgets(line, sizeof(line), stdin)) {
		uint32_t n;
		int r;

		if (sscanf(line, "%" SCNu32, &n) != 1 || n == 0 || n > ROUND_MAX)
			return -EINVAL;
		begin_anew(load);
		r = run_round(load, n);
		if (r < 0)
			return r;
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct load load = {.to = {.sin_family = AF_INET}};
	uint32_t n_conns;
	uint16_t port;
	int r;

	if (argc < 4 || inet_pton(AF_INET, argv[1], &load.to.sin_addr) != 1 ||
		sscanf(argv[2], "%hu", &port) != 1 || sscanf(argv[3], "%" SCNu32, &n_conns) != 1 ||
		n_conns == 0 || n_conns > CONNECTIONS_MAX) {
		(void)fprintf(stderr, "usage: load ADDRESS PORT CONNECTIONS [fresh]\n");
		return 2;
	}
	if (netns_is_forbidden())
		return 99;
	load.to.sin_port = htons(port);
	load.fresh = argc > 4;
	r = load_init(&load, n_conns);
	if (r == 0)
		r = rounds(&load);
	if (r < 0)
		(void)fprintf(stderr, "load: %s\n", strerror(-r));
	begin_anew(&load);
	(void)ig_close(load.epoll);
	free(load.conns);
	free(load.nsec);
	return r < 0;
}
