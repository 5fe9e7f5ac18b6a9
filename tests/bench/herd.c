/*
 * Many pods that ask at once, for benchmarks: a process for each, in its control group and network
 * namespace, which asks for a token of each identity on a connection of its own, all at the same
 * time.
 *
 *	herd ADDRESS PORT CLIENT_ID…
 *
 * Standard input names the pods, "CGROUP NETNS" a line (CGROUP is a cgroup.procs, NETNS a file),
 * and an empty line ends them. Each further line is a round, the resource to ask for; it is
 * answered by the microseconds that each request took from connect() to the end of its answer, a
 * line each, and an empty line. Any answer but 200 ends the program. Checks for each namespace that
 * it does not lead out of the machine (IG_FORBIDDEN_NETNS, as tests/netns/dial.c).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "bench/reply.h"
#include "netns/confined.h"

#define PODS_MAX       1024
#define IDENTITIES_MAX 16
#define REPLY_BYTES    16384
#define PATIENCE_MSEC  30000

struct shared {
	pthread_barrier_t begin, end;
	char resource[256];
	uint64_t usec[PODS_MAX][IDENTITIES_MAX]; /* 0: failed */
};

struct herd {
	struct sockaddr_in to;
	char **client_ids;
	unsigned int n_ids, n_pods;
	struct shared *shared;
};

struct request {
	int fd;
	uint64_t begin_usec;
	size_t len;
	char reply[REPLY_BYTES];
};

/* ---- in a pod -------------------------------------------------------------------------------- */

static int join_cgroup(const char *procs)
{
	_cleanup_close_ int fd = open(procs, O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, "0", 1) != 1 ? -errno : 0;
}

static int raise_loopback(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	return fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0 ? -errno : 0;
}

static int enter(const char *procs, const char *netns)
{
	_cleanup_close_ int fd = open(netns, O_RDONLY | O_CLOEXEC);
	int r = join_cgroup(procs);

	if (r < 0)
		return r;
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		return -errno;
	return netns_is_forbidden() ? -EPERM : raise_loopback();
}

static int request_begin(const struct herd *herd, const char *client_id, struct request *request)
{
	char text[1024];
	int n = snprintf(text, sizeof(text),
		"GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=%s&client_id=%s HTTP/1.1\r\n"
		"Host: 169.254.169.254\r\nMetadata: true\r\nUser-Agent: bench\r\n\r\n",
		herd->shared->resource, client_id);

	request->len = 0;
	request->begin_usec = ig_clock_mono_usec();
	request->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (request->fd < 0 ||
		connect(request->fd, (const struct sockaddr *)&herd->to, sizeof(herd->to)) < 0 ||
		send(request->fd, text, (size_t)n, MSG_NOSIGNAL) != n)
		return -errno;
	return 0;
}

/* 1: it has its answer. */
static int request_read(struct request *request)
{
	ssize_t n = recv(request->fd, request->reply + request->len,
		sizeof(request->reply) - 1 - request->len, MSG_DONTWAIT);

	if (n <= 0)
		return n < 0 ? -errno : -EPIPE;
	request->len += (size_t)n;
	return reply_is_whole(request->reply, request->len);
}

static int wait_for_all(struct request *requests, unsigned int n, uint64_t *usec)
{
	struct pollfd polled[IDENTITIES_MAX];
	unsigned int missing = n;

	for (unsigned int i = 0; i < n; i++)
		polled[i] = (struct pollfd){.fd = requests[i].fd, .events = POLLIN};
	while (missing) {
		if (poll(polled, n, PATIENCE_MSEC) <= 0)
			return -ETIMEDOUT;
		for (unsigned int i = 0; i < n; i++) {
			int r = polled[i].revents ? request_read(&requests[i]) : 0;

			if (r < 0)
				return r;
			if (r == 0)
				continue;
			usec[i] = ig_clock_mono_usec() - requests[i].begin_usec;
			polled[i].fd = -1;
			polled[i].revents = 0;
			missing--;
		}
	}
	return 0;
}

static void ask_for_all(const struct herd *herd, unsigned int pod)
{
	static struct request requests[IDENTITIES_MAX];
	int r = 0;

	for (unsigned int i = 0; i < herd->n_ids; i++)
		requests[i].fd = -1;
	for (unsigned int i = 0; i < herd->n_ids && r == 0; i++)
		r = request_begin(herd, herd->client_ids[i], &requests[i]);
	if (r == 0)
		r = wait_for_all(requests, herd->n_ids, herd->shared->usec[pod]);
	if (r < 0)
		(void)fprintf(stderr, "herd: pod %u: %s\n", pod, strerror(-r));
	for (unsigned int i = 0; i < herd->n_ids; i++)
		requests[i].fd = ig_close(requests[i].fd);
}

static _Noreturn void be_pod(
	const struct herd *herd, unsigned int pod, const char *procs, const char *netns)
{
	int r;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	r = enter(procs, netns);
	if (r < 0)
		(void)fprintf(stderr, "herd: %s: %s\n", netns, strerror(-r));
	for (;;) {
		(void)pthread_barrier_wait(&herd->shared->begin);
		if (r == 0)
			ask_for_all(herd, pod);
		(void)pthread_barrier_wait(&herd->shared->end);
	}
}

/* ---- outside --------------------------------------------------------------------------------- */

static int read_pods(char lines[PODS_MAX][512], unsigned int *ret_n)
{
	*ret_n = 0;
	while (*ret_n < PODS_MAX && fgets(lines[*ret_n], sizeof(lines[0]), stdin)) {
		if (lines[*ret_n][0] == '\n')
			return 0;
		(*ret_n)++;
	}
	return -E2BIG;
}

static int start_pods(struct herd *herd, char lines[PODS_MAX][512])
{
	pthread_barrierattr_t attributes;

	(void)pthread_barrierattr_init(&attributes);
	(void)pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	(void)pthread_barrier_init(&herd->shared->begin, &attributes, herd->n_pods + 1);
	(void)pthread_barrier_init(&herd->shared->end, &attributes, herd->n_pods + 1);
	for (unsigned int i = 0; i < herd->n_pods; i++) {
		char *rest = lines[i], *procs = strsep(&rest, " "), *netns = strsep(&rest, "\n");
		pid_t pid;

		if (!netns)
			return -EINVAL;
		pid = fork();
		if (pid < 0)
			return -errno;
		if (pid == 0)
			be_pod(herd, i, procs, netns);
	}
	return 0;
}

static int run_round(const struct herd *herd)
{
	memset(herd->shared->usec, 0, sizeof(herd->shared->usec));
	(void)pthread_barrier_wait(&herd->shared->begin);
	(void)pthread_barrier_wait(&herd->shared->end);
	for (unsigned int i = 0; i < herd->n_pods; i++) {
		for (unsigned int k = 0; k < herd->n_ids; k++) {
			if (!herd->shared->usec[i][k])
				return -EIO;
			(void)printf("%" PRIu64 "\n", herd->shared->usec[i][k]);
		}
	}
	(void)printf("\n");
	(void)fflush(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	static char lines[PODS_MAX][512];
	struct herd herd = {.to = {.sin_family = AF_INET}};
	struct shared *shared;
	uint16_t port;
	int r;

	if (argc < 4 || argc > 3 + IDENTITIES_MAX ||
		inet_pton(AF_INET, argv[1], &herd.to.sin_addr) != 1 ||
		sscanf(argv[2], "%hu", &port) != 1) {
		(void)fprintf(stderr, "usage: herd ADDRESS PORT CLIENT_ID…\n");
		return 2;
	}
	herd.to.sin_port = htons(port);
	herd.client_ids = argv + 3;
	herd.n_ids = (unsigned int)argc - 3;
	shared = mmap(
		NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 1;
	herd.shared = shared;
	r = read_pods(lines, &herd.n_pods);
	if (r == 0)
		r = start_pods(&herd, lines);
	while (r == 0 && fgets(shared->resource, sizeof(shared->resource), stdin)) {
		shared->resource[strcspn(shared->resource, "\n")] = '\0';
		r = run_round(&herd);
	}
	if (r < 0)
		(void)fprintf(stderr, "herd: %s\n", strerror(-r));
	return r < 0; /* the pods die with it */
}
