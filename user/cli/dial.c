/*
 * One connection to a guarded endpoint; see dial.h. Called by cmd_doctor_arena.c, in a namespace
 * without a way out, and by cmd_status.c, where it is.
 */
#include "cli/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <imdsgate/abi.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define RETRY_MSEC    20
#define PATIENCE_MSEC 5000 /* for a listener to be opened */
#define ANSWER_MSEC   3000
#define ANSWER_BYTES  512

static const struct {
	bool is_mapped, is_datagram, expects_answer;
	uint32_t address;
	uint16_t port;
} targets[_IG_DIAL_TARGET_MAX] = {
	[IG_DIAL_IMDS] = {false, false, true, IG_ADDR_IMDS, IG_PORT_METADATA},
	[IG_DIAL_IMDS_MAPPED] = {true, false, true, IG_ADDR_IMDS, IG_PORT_METADATA},
	[IG_DIAL_IMDS_UDP] = {false, true, false, IG_ADDR_IMDS, IG_PORT_METADATA},
	[IG_DIAL_WIRESERVER] = {false, false, false, IG_ADDR_WIRESERVER, IG_PORT_METADATA},
	[IG_DIAL_HOSTGAPLUGIN] = {false, false, false, IG_ADDR_WIRESERVER, IG_PORT_HOSTGAPLUGIN},
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

static socklen_t destination(enum ig_dial_target target, union address *ret)
{
	uint32_t be = htonl(targets[target].address);

	memset(ret, 0, sizeof(*ret));
	if (!targets[target].is_mapped) {
		ret->in = (struct sockaddr_in){.sin_family = AF_INET,
			.sin_port = htons(targets[target].port),
			.sin_addr.s_addr = be};
		return sizeof(ret->in);
	}
	ret->in6.sin6_family = AF_INET6;
	ret->in6.sin6_port = htons(targets[target].port);
	memset(ret->in6.sin6_addr.s6_addr + 10, 0xff, 2);
	memcpy(ret->in6.sin6_addr.s6_addr + 12, &be, sizeof(be));
	return sizeof(ret->in6);
}

static int dial(enum ig_dial_target target, int *ret_fd)
{
	_cleanup_close_ int fd = socket(targets[target].is_mapped ? AF_INET6 : AF_INET,
		(targets[target].is_datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	const struct timeval limit = {.tv_sec = ANSWER_MSEC / 1000};
	union address to;
	socklen_t len = destination(target, &to);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		return -errno;
	if (connect(fd, &to.any, len) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static void ask(int fd, const char *request, struct ig_dial_outcome *outcome)
{
	const struct timeval limit = {.tv_sec = ANSWER_MSEC / 1000};
	char answer[ANSWER_BYTES + 1];
	ssize_t n;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
		send(fd, request, strlen(request), MSG_NOSIGNAL) < 0) {
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

static void look_at(int fd, enum ig_dial_target target, struct ig_dial_outcome *outcome)
{
	union address own = {}, peer = {};
	socklen_t own_len = sizeof(own), peer_len = sizeof(peer);

	outcome->is_redirected =
		getsockname(fd, &own.any, &own_len) == 0 && ipv4_of(&own) == IG_ADDR_LOOPBACK;
	outcome->is_hidden = getpeername(fd, &peer.any, &peer_len) == 0 &&
			     ipv4_of(&peer) == targets[target].address;
}

bool ig_dial_is_refusal(int error)
{
	return error == -ECONNREFUSED || error == -EPERM;
}

void ig_dial(
	enum ig_dial_target target, const char *request, bool patient, struct ig_dial_outcome *ret)
{
	uint64_t end = ig_clock_mono_usec() + PATIENCE_MSEC * IG_USEC_PER_MSEC;
	_cleanup_close_ int fd = -1;

	for (;;) {
		ret->attempts++;
		ret->error = dial(target, &fd);
		/* the first connect of a namespace is refused, and has its listener opened */
		if (!patient || !targets[target].expects_answer ||
			!ig_dial_is_refusal(ret->error) || ig_clock_mono_usec() >= end)
			break;
		(void)poll(NULL, 0, RETRY_MSEC);
	}
	if (ret->error)
		return;
	look_at(fd, target, ret);
	if (targets[target].expects_answer && ret->is_redirected)
		ask(fd, request, ret);
}
