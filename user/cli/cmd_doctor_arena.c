/*
 * The self-test of `imdsgate doctor` from inside: a cgroup below the agent's root, a network
 * namespace with nothing but lo in it, and what is dialled there (dial.c); see doctor.h.
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
#define REMOVE_TRIES  100
#define NETLINK_BYTES 4096

/* Without the header `Metadata: true`: answered before anything is looked up. */
#define REQUEST                                                                                    \
	"GET /metadata/identity/oauth2/token HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: imdsgate-doctor\r\nConnection: close\r\n\r\n"

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
	for (unsigned int i = 0; r == 0 && i < _IG_DIAL_TARGET_MAX; i++)
		ig_dial((enum ig_dial_target)i, REQUEST, patient, &result.outcome[i]);
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
