/*
 * The self-test of `imdsgate doctor` from inside: a cgroup below the agent's root, a network
 * namespace with nothing but lo in it, and what is dialled there; see doctor.h.
 *
 * No packet may ever leave the machine. The dialler makes its own network namespace, puts a
 * blackhole in front of each guarded address, and then looks: unless it is in another namespace
 * than before, no interface but lo is up, and the kernel has no way to those addresses, it does not
 * dial. The only way out is then the gate, which rewrites the destination to lo.
 *
 * Three processes: the tool; a keeper, which ignores the terminal's signals, makes the cgroup and
 * removes it when the dialler is done, is late, or the tool is gone; and the dialler, which dies
 * with the keeper. What a killed keeper leaves is an empty cgroup, removed by the next run.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <imdsgate/abi.h>
#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdutil.h"
#include "cli/doctor.h"

#define CGROUP_PREFIX "imdsgate-doctor-"
#define STALE_SEC     60 /* an empty cgroup of ours that is older was left behind */
#define RETRY_MSEC    20
#define PATIENCE_MSEC 5000 /* for a listener to be opened */
#define ANSWER_MSEC   3000
#define REMOVE_TRIES  100
#define NETLINK_BYTES 4096
#define ANSWER_BYTES  512

static const uint32_t guarded[] = {IG_ADDR_IMDS, IG_ADDR_WIRESERVER};

/* ---- the way out that must not be ---- */

struct route_request {
	struct nlmsghdr header;
	struct rtmsg route;
	struct rtattr attribute;
	uint32_t destination_be;
};

/* Sends and reads the kernel's word: 0 or its negative errno; what is no error message is 0, too.
 */
static int ask_kernel(const struct route_request *request)
{
	_cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	union {
		char bytes[NETLINK_BYTES];
		struct nlmsghdr header;
	} reply;
	const struct nlmsgerr *error = NLMSG_DATA(&reply.header);
	ssize_t n;

	if (fd < 0 || send(fd, request, sizeof(*request), 0) != (ssize_t)sizeof(*request))
		return -errno;
	n = recv(fd, &reply, sizeof(reply), 0);
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(*error)))
		return n < 0 ? -errno : -EBADMSG;
	return reply.header.nlmsg_type == NLMSG_ERROR ? error->error : 0;
}

static int ask_about(uint32_t address, uint16_t type, uint16_t flags)
{
	struct route_request request = {
		.header = {.nlmsg_len = sizeof(request),
			.nlmsg_type = type,
			.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags)},
		.route = {.rtm_family = AF_INET, .rtm_dst_len = 32},
		.attribute = {.rta_len = RTA_LENGTH(sizeof(uint32_t)), .rta_type = RTA_DST},
		.destination_be = htonl(address),
	};

	if (type == RTM_NEWROUTE) {
		request.route.rtm_table = RT_TABLE_MAIN;
		request.route.rtm_protocol = RTPROT_BOOT;
		request.route.rtm_type = RTN_BLACKHOLE;
	}
	return ask_kernel(&request);
}

static int bring_lo_up(void)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};

	return fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

/* Tunnel modules put a device into each new namespace; it is down, and so no way out. */
static int only_lo_is_up(void)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct if_nameindex *all = if_nameindex();
	int r = fd < 0 || !all ? -errno : 0;

	for (size_t i = 0; r == 0 && all[i].if_index; i++) {
		struct ifreq request = {};

		(void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", all[i].if_name);
		if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
			r = -errno;
		else if ((request.ifr_flags & IFF_UP) && !(request.ifr_flags & IFF_LOOPBACK))
			r = -ENOTUNIQ;
	}
	if (all)
		if_freenameindex(all);
	return r;
}

static int inode_of_netns(ino_t *ret)
{
	struct stat st;

	if (stat("/proc/self/ns/net", &st) < 0)
		return -errno;
	*ret = st.st_ino;
	return 0;
}

static int fail(struct ig_selftest_result *result, int error, const char *step)
{
	result->error = error;
	(void)snprintf(result->step, sizeof(result->step), "%s", step);
	return error;
}

/* After this returned 0, nothing that this process sends can leave the machine. */
static int confine(struct ig_selftest_result *result)
{
	ino_t before = 0, after = 0;
	int r = inode_of_netns(&before);

	if (r < 0 || unshare(CLONE_NEWNET) < 0)
		return fail(result, r < 0 ? r : -errno, "making a network namespace");
	r = inode_of_netns(&after);
	if (r < 0 || before == after)
		return fail(result, r < 0 ? r : -EXDEV, "entering the network namespace");
	r = bring_lo_up();
	if (r < 0)
		return fail(result, r, "bringing lo up");
	for (size_t i = 0; i < IG_ARRAY_SIZE(guarded); i++) {
		r = ask_about(guarded[i], RTM_NEWROUTE, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL);
		if (r < 0)
			return fail(result, r, "adding a blackhole route");
	}
	r = only_lo_is_up();
	if (r < 0)
		return fail(result, r, "making sure that lo is the only interface");
	for (size_t i = 0; i < IG_ARRAY_SIZE(guarded); i++)
		if (ask_about(guarded[i], RTM_GETROUTE, 0) >= 0)
			return fail(result, -ENOTUNIQ, "making sure that there is no way out");
	return 0;
}

/* ---- dialling ---- */

static const struct {
	bool is_mapped, is_datagram, expects_answer;
	uint32_t address;
	uint16_t port;
} probes[_IG_SELFTEST_PROBE_MAX] = {
	[IG_SELFTEST_IMDS] = {false, false, true, IG_ADDR_IMDS, IG_PORT_METADATA},
	[IG_SELFTEST_IMDS_MAPPED] = {true, false, true, IG_ADDR_IMDS, IG_PORT_METADATA},
	[IG_SELFTEST_IMDS_UDP] = {false, true, false, IG_ADDR_IMDS, IG_PORT_METADATA},
	[IG_SELFTEST_WIRESERVER] = {false, false, false, IG_ADDR_WIRESERVER, IG_PORT_METADATA},
	[IG_SELFTEST_HOSTGAPLUGIN] = {false, false, false, IG_ADDR_WIRESERVER,
		IG_PORT_HOSTGAPLUGIN},
};

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* IPv4 address (host order) of either family; 0 when it is none. */
static uint32_t ipv4_of(const union address *a)
{
	uint32_t be;

	if (a->any.sa_family == AF_INET)
		return ntohl(a->in.sin_addr.s_addr);
	if (a->any.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr))
		return 0;
	memcpy(&be, a->in6.sin6_addr.s6_addr + 12, sizeof(be));
	return ntohl(be);
}

static socklen_t destination(enum ig_selftest_probe probe, union address *ret)
{
	uint32_t be = htonl(probes[probe].address);

	memset(ret, 0, sizeof(*ret));
	if (!probes[probe].is_mapped) {
		ret->in = (struct sockaddr_in){.sin_family = AF_INET,
			.sin_port = htons(probes[probe].port),
			.sin_addr.s_addr = be};
		return sizeof(ret->in);
	}
	ret->in6.sin6_family = AF_INET6;
	ret->in6.sin6_port = htons(probes[probe].port);
	memset(ret->in6.sin6_addr.s6_addr + 10, 0xff, 2);
	memcpy(ret->in6.sin6_addr.s6_addr + 12, &be, sizeof(be));
	return sizeof(ret->in6);
}

static int dial(enum ig_selftest_probe probe, int *ret_fd)
{
	_cleanup_close_ int fd = socket(probes[probe].is_mapped ? AF_INET6 : AF_INET,
		(probes[probe].is_datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	const struct timeval limit = {.tv_sec = ANSWER_MSEC / 1000};
	union address to;
	socklen_t len = destination(probe, &to);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		return -errno;
	if (connect(fd, &to.any, len) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* A request without the header `Metadata: true`: answered before anything is looked up. */
static void ask(int fd, struct ig_selftest_outcome *outcome)
{
	static const char request[] =
		"GET /metadata/identity/oauth2/token HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: imdsgate-doctor\r\nConnection: close\r\n\r\n";
	const struct timeval limit = {.tv_sec = ANSWER_MSEC / 1000};
	char answer[ANSWER_BYTES + 1];
	ssize_t n;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
		send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0) {
		outcome->read_error = -errno;
		return;
	}
	n = recv(fd, answer, ANSWER_BYTES, 0);
	if (n <= 0) {
		outcome->read_error = n < 0 ? -errno : -ECONNRESET;
		return;
	}
	answer[n] = '\0';
	if (sscanf(answer, "HTTP/1.1 %3u ", &outcome->http_status) != 1)
		outcome->read_error = -EBADMSG;
}

static void look_at(int fd, enum ig_selftest_probe probe, struct ig_selftest_outcome *outcome)
{
	union address own = {}, peer = {};
	socklen_t own_len = sizeof(own), peer_len = sizeof(peer);

	outcome->is_redirected =
		getsockname(fd, &own.any, &own_len) == 0 && ipv4_of(&own) == IG_ADDR_LOOPBACK;
	outcome->is_hidden = getpeername(fd, &peer.any, &peer_len) == 0 &&
			     ipv4_of(&peer) == probes[probe].address;
}

static bool is_refusal(int error)
{
	return error == -ECONNREFUSED || error == -EPERM;
}

static void run_probe(enum ig_selftest_probe probe, bool patient, struct ig_selftest_outcome *ret)
{
	uint64_t end = ig_clock_mono_usec() + PATIENCE_MSEC * IG_USEC_PER_MSEC;
	_cleanup_close_ int fd = -1;

	for (;;) {
		ret->attempts++;
		ret->error = dial(probe, &fd);
		/* the first connect of a namespace is refused, and has its listener opened */
		if (!patient || !probes[probe].expects_answer || !is_refusal(ret->error) ||
			ig_clock_mono_usec() >= end)
			break;
		(void)poll(NULL, 0, RETRY_MSEC);
	}
	if (ret->error)
		return;
	look_at(fd, probe, ret);
	if (probes[probe].expects_answer)
		ask(fd, ret);
}

/* ---- the dialler ---- */

static int join(int cgroup_fd)
{
	_cleanup_close_ int fd = openat(cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, "0", 1) != 1 ? -errno : 0;
}

static void run_dialler(int cgroup_fd, bool patient, int out)
{
	struct ig_selftest_result result = {};
	int r;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)prctl(PR_SET_NAME, "imdsgate-doctor");
	r = join(cgroup_fd);
	if (r < 0)
		(void)fail(&result, r, "moving into the cgroup");
	else
		r = confine(&result);
	for (unsigned int i = 0; r == 0 && i < _IG_SELFTEST_PROBE_MAX; i++)
		run_probe((enum ig_selftest_probe)i, patient, &result.outcome[i]);
	_exit(ig_fd_write_all(out, &result, sizeof(result)) < 0);
}

/* ---- the keeper ---- */

/* What an earlier keeper could not remove: empty, and too old to be of a run that begins. */
static void remove_stale(int root_fd)
{
	int fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	struct stat st;

	if (!dir) {
		(void)ig_close(fd);
		return;
	}
	while ((entry = readdir(dir)) != NULL)
		if (strncmp(entry->d_name, CGROUP_PREFIX, sizeof(CGROUP_PREFIX) - 1) == 0 &&
			fstatat(root_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			time(NULL) - st.st_mtime > STALE_SEC)
			(void)unlinkat(root_fd, entry->d_name, AT_REMOVEDIR);
	(void)closedir(dir);
}

/* The last process may need a moment to leave. */
static void remove_cgroup(int root_fd, const char *name)
{
	for (int i = 0; i < REMOVE_TRIES; i++) {
		if (unlinkat(root_fd, name, AT_REMOVEDIR) == 0 || errno != EBUSY)
			return;
		(void)poll(NULL, 0, RETRY_MSEC);
	}
}

/* Until the dialler ends (its end of `done` closes), time is up, or the tool is gone. */
static void wait_for_end(int alive_fd, int done_fd)
{
	uint64_t end = ig_clock_mono_usec() + IG_DOCTOR_SELF_TEST_SEC * IG_USEC_PER_SEC;
	struct pollfd fds[] = {{.fd = alive_fd}, {.fd = done_fd}};
	uint64_t now;

	while ((now = ig_clock_mono_usec()) < end)
		if (poll(fds, IG_ARRAY_SIZE(fds), (int)((end - now) / IG_USEC_PER_MSEC) + 1) > 0)
			return;
}

/* alive_fd hangs up when the tool is gone. */
static int keep(int root_fd, const char *name, bool patient, int alive_fd, int out)
{
	_cleanup_close_ int cgroup = -1;
	int done[2], status, r = 0;
	pid_t pid;

	remove_stale(root_fd);
	if (mkdirat(root_fd, name, 0755) < 0)
		return -errno;
	cgroup = openat(root_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cgroup < 0 || pipe2(done, O_CLOEXEC) < 0) {
		r = -errno;
		remove_cgroup(root_fd, name);
		return r;
	}
	pid = fork();
	if (pid == 0) {
		(void)ig_close(alive_fd);
		(void)ig_close(done[0]);
		run_dialler(cgroup, patient, out);
	}
	(void)ig_close(done[1]);
	if (pid > 0) {
		wait_for_end(alive_fd, done[0]);
		(void)kill(pid, SIGKILL);
		(void)waitpid(pid, &status, 0);
	} else {
		r = -errno;
	}
	(void)ig_close(done[0]);
	remove_cgroup(root_fd, name);
	return r;
}

static void run_keeper(int root_fd, const char *name, bool patient, int alive_fd, int out)
{
	static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGPIPE};
	struct ig_selftest_result result = {};
	int r;

	for (size_t i = 0; i < IG_ARRAY_SIZE(ignored); i++)
		(void)signal(ignored[i], SIG_IGN);
	r = keep(root_fd, name, patient, alive_fd, out);
	if (r < 0) {
		(void)fail(&result, r, "making a cgroup");
		(void)ig_fd_write_all(out, &result, sizeof(result));
	}
	_exit(0);
}

/* ---- the tool ---- */

static int spawn_keeper(
	int root_fd, const char *name, bool patient, int alive[2], int result[2], pid_t *ret_pid)
{
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		(void)ig_close(alive[1]);
		(void)ig_close(result[0]);
		run_keeper(root_fd, name, patient, alive[0], result[1]);
	}
	*ret_pid = pid;
	return 0;
}

int ig_selftest_run(const char *cgroup_root, bool patient, struct ig_selftest_result *ret,
	char ret_name[IG_SELFTEST_CGROUP_BYTES])
{
	_cleanup_close_ int root = open(cgroup_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int alive[2], result[2], status, r;
	uint64_t number;
	pid_t pid = 0;
	ssize_t n = 0;

	if (root < 0 || getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
		return -errno;
	(void)snprintf(ret_name, IG_SELFTEST_CGROUP_BYTES, CGROUP_PREFIX "%016llx",
		(unsigned long long)number);
	if (pipe2(alive, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(result, O_CLOEXEC) < 0) {
		r = -errno;
		(void)ig_close(alive[0]);
		(void)ig_close(alive[1]);
		return r;
	}
	r = spawn_keeper(root, ret_name, patient, alive, result, &pid);
	(void)ig_close(alive[0]);
	(void)ig_close(result[1]);
	if (r == 0) {
		/* smaller than PIPE_BUF; the keeper sees to it that this ends */
		do
			n = read(result[0], ret, sizeof(*ret));
		while (n < 0 && errno == EINTR);
		(void)waitpid(pid, &status, 0);
		if (n != (ssize_t)sizeof(*ret))
			r = -ETIMEDOUT;
	}
	(void)ig_close(alive[1]);
	(void)ig_close(result[0]);
	return r;
}
