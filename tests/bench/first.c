/*
 * Containers whose first instruction is the token request: is the gate faster than they are?
 *
 *	first named|bare COUNT PARALLEL NETNS_DIR CGROUP_DIR
 *
 * named: as containerd makes them. A file, a new network namespace mounted on it, lo up, the
 * network plugin (a program, which adds a veth pair), then the container: a program in that
 * namespace and in the pod's control group. The files NETNS_DIR/p0, p1, … stay.
 * bare: a process of the pod makes itself a namespace without telling anybody (`unshare -n`) and
 * starts the program in it. What is refused there is tried again after 20 ms.
 *
 * The i-th runs in CGROUP_DIR/pi. A line for each: the status of the answer (0: none), and how many
 * connects were refused. The program is this one with the argument "ask"; it refuses to run in a
 * namespace that leads out of the machine, as dial.c does.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "netns/confined.h"

#define PATH_BYTES   512
#define RETRY_MSEC   20
#define ATTEMPTS_MAX 50

static const char request[] =
	"GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net HTTP/1.1\r\n"
	"Host: 169.254.169.254\r\nMetadata: true\r\nConnection: close\r\n\r\n";

static void die(const char *what)
{
	(void)fprintf(stderr, "first: %s: %s\n", what, strerror(errno));
	_exit(1);
}

/* ---- the container's program ---- */

/* The status of the answer; 0 when there is none, and *ret_refused when nobody was there. */
static unsigned int ask_once(bool *ret_refused)
{
	const struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons(80), .sin_addr.s_addr = htonl(0xa9fea9fe)};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char buf[256] = "";
	unsigned int status = 0;

	*ret_refused = false;
	if (fd < 0)
		die("socket");
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0) {
		*ret_refused = errno == ECONNREFUSED || errno == EPERM;
		return 0;
	}
	if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0 ||
		recv(fd, buf, sizeof(buf) - 1, 0) <= 0 || sscanf(buf, "HTTP/1.1 %u", &status) != 1)
		return 0;
	return status;
}

static int ask(bool again)
{
	const struct timespec pause = {.tv_nsec = RETRY_MSEC * 1000000L};
	unsigned int status, refusals = 0;
	bool refused = true;

	if (netns_is_forbidden())
		return 99;
	for (;;) {
		status = ask_once(&refused);
		refusals += refused;
		if (!refused || !again || refusals >= ATTEMPTS_MAX)
			break;
		(void)nanosleep(&pause, NULL);
	}
	(void)printf("%u %u\n", status, refusals);
	return 0;
}

/* ---- what makes the container ---- */

static void join_cgroup(const char *dir, uint32_t number)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_BYTES];

	(void)snprintf(path, sizeof(path), "%s/p%" PRIu32 "/cgroup.procs", dir, number);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		die(path);
}

static void set_lo_up(void)
{
	_cleanup_close_ int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};

	if (sock < 0 || ioctl(sock, SIOCSIFFLAGS, &lo) < 0)
		die("lo");
}

static void start(const char *const argv[])
{
	(void)execv(argv[0], (char *const *)argv);
	die(argv[0]);
}

/* Both ends in the namespace: nothing leads out of it. */
static void run_network_plugin(void)
{
	static const char *const argv[] = {
		"/sbin/ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other0", NULL};
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork");
	if (pid == 0)
		start(argv);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		die("ip link add");
}

static void make_named(const char *dir, uint32_t number)
{
	char path[PATH_BYTES];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/p%" PRIu32, dir, number);
	fd = open(path, O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0444);
	if (fd < 0 || unshare(CLONE_NEWNET) < 0)
		die(path);
	(void)close(fd);
	if (mount("/proc/self/ns/net", path, "none", MS_BIND, NULL) < 0)
		die(path);
	set_lo_up();
	run_network_plugin();
}

static void container(bool named, uint32_t number, const char *netns_dir, const char *cgroup_dir)
{
	const char *const argv[] = {"/proc/self/exe", "ask", named ? "once" : "again", NULL};

	if (named) {
		make_named(netns_dir, number);
		join_cgroup(cgroup_dir, number);
	} else {
		join_cgroup(cgroup_dir, number);
		if (unshare(CLONE_NEWNET) < 0)
			die("unshare");
		set_lo_up();
	}
	start(argv);
}

static void wait_one(uint32_t *running)
{
	int status;

	if (wait(&status) < 0)
		die("wait");
	if (status != 0)
		(void)printf("0 0\n");
	(*running)--;
}

static int make_all(char *const *argv)
{
	uint32_t count, parallel, running = 0;
	bool named = strcmp(argv[1], "named") == 0;

	if (ig_parse_u32(argv[2], &count) < 0 || ig_parse_u32(argv[3], &parallel) < 0)
		return 2;
	/* before the containers inherit the buffer */
	(void)setvbuf(stdout, NULL, _IONBF, 0);
	for (uint32_t i = 0; i < count; i++) {
		pid_t pid;

		if (running >= parallel)
			wait_one(&running);
		pid = fork();
		if (pid < 0)
			die("fork");
		if (pid == 0)
			container(named, i, argv[4], argv[5]);
		running++;
	}
	while (running)
		wait_one(&running);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "ask") == 0)
		return ask(strcmp(argv[2], "again") == 0);
	if (argc == 6)
		return make_all(argv);
	(void)fprintf(stderr, "usage: first named|bare COUNT PARALLEL NETNS_DIR CGROUP_DIR\n");
	return 2;
}
