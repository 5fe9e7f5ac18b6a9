/*
 * Containers whose first instruction is the token request: is the gate faster than they are?
 *
 *	first runc COUNT PARALLEL NETNS_DIR BUNDLES
 *	first named|bare COUNT PARALLEL NETNS_DIR CGROUP_DIR
 *
 * runc: as containerd makes them. A file, a new network namespace mounted on it, lo up, the
 * network plugin (a program, which adds a veth pair), then a container of runc's from BUNDLES/0,
 * 1, … (whose network namespace is NETNS_DIR/r0, r1, …); when it has ended the namespace goes.
 * named: the same, but instead of runc just a program in that namespace and in a control group of
 * the pod CGROUP_DIR/p0, p1, …; so it asks much earlier than any container could. The files
 * NETNS_DIR/p0, p1, … stay.
 * bare: a process of the pod makes itself a namespace without telling anybody (`unshare -n`) and
 * starts the program in it.
 *
 * What is refused is tried again after 20 ms. A line for each: the status of the answer (0: none),
 * and how many connects were refused. The program is this one with the argument "ask", and linked
 * statically; it refuses to run in a namespace that leads out of the machine, as dial.c does.
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
#include <sys/stat.h>
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

static int ask(void)
{
	const struct timespec pause = {.tv_nsec = RETRY_MSEC * 1000000L};
	unsigned int status, refusals = 0;
	bool refused = true;

	if (netns_is_forbidden())
		return 99;
	for (;;) {
		status = ask_once(&refused);
		refusals += refused;
		if (!refused || refusals >= ATTEMPTS_MAX)
			break;
		(void)nanosleep(&pause, NULL);
	}
	(void)printf("%u %u\n", status, refusals);
	return 0;
}

/* ---- what makes the container ---- */

/* Below the pod's, as every container is: with controllers a group has processes or groups. */
static void join_cgroup(const char *dir, uint32_t number)
{
	_cleanup_close_ int fd = -1;
	char path[PATH_BYTES];

	(void)snprintf(path, sizeof(path), "%s/p%" PRIu32 "/app", dir, number);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		die(path);
	(void)snprintf(path, sizeof(path), "%s/p%" PRIu32 "/app/cgroup.procs", dir, number);
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
	(void)execvp(argv[0], (char *const *)argv);
	die(argv[0]);
}

static void run_to_end(const char *const argv[], void (*prepare)(void))
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		if (prepare)
			prepare();
		start(argv);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		die(argv[0]);
}

/* Enters it. Both ends of its pair are in it: nothing leads out. */
static void make_namespace(const char *path)
{
	static const char *const plugin[] = {
		"/sbin/ip", "link", "add", "eth0", "type", "veth", "peer", "name", "other0", NULL};
	int fd = open(path, O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0444);

	if (fd < 0 || unshare(CLONE_NEWNET) < 0)
		die(path);
	(void)close(fd);
	if (mount("/proc/self/ns/net", path, "none", MS_BIND, NULL) < 0)
		die(path);
	set_lo_up();
	run_to_end(plugin, NULL);
}

/* Where runc expects them, control groups of one kind, on whatever machine. */
static void with_cgroup2(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL) < 0)
		die("cgroup2");
}

static void container_of_runc(uint32_t number, const char *netns_dir, const char *bundles)
{
	_cleanup_close_ int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	char netns[PATH_BYTES], state[PATH_BYTES], bundle[PATH_BYTES], name[32];
	const char *const argv[] = {"runc", "--root", state, "run", "--bundle", bundle, name, NULL};

	(void)snprintf(netns, sizeof(netns), "%s/r%" PRIu32, netns_dir, number);
	(void)snprintf(state, sizeof(state), "%s/state", bundles);
	(void)snprintf(bundle, sizeof(bundle), "%s/%" PRIu32, bundles, number);
	(void)snprintf(name, sizeof(name), "first-%" PRIu32, number);
	make_namespace(netns);
	if (home < 0 || setns(home, CLONE_NEWNET) < 0)
		die("setns");
	run_to_end(argv, with_cgroup2);
	if (umount2(netns, MNT_DETACH) < 0 || unlink(netns) < 0)
		die(netns);
	_exit(0);
}

static void container(const char *kind, uint32_t number, const char *netns_dir, const char *where)
{
	static const char *const argv[] = {"/proc/self/exe", "ask", NULL};
	char path[PATH_BYTES];

	if (strcmp(kind, "runc") == 0)
		container_of_runc(number, netns_dir, where);
	if (strcmp(kind, "named") == 0) {
		(void)snprintf(path, sizeof(path), "%s/p%" PRIu32, netns_dir, number);
		make_namespace(path);
		join_cgroup(where, number);
	} else {
		join_cgroup(where, number);
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
			container(argv[1], i, argv[4], argv[5]);
		running++;
	}
	while (running)
		wait_one(&running);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "ask") == 0)
		return ask();
	if (argc == 6)
		return make_all(argv);
	(void)fprintf(stderr,
		"usage: first runc|named|bare COUNT PARALLEL NETNS_DIR BUNDLES|CGROUP_DIR\n");
	return 2;
}
