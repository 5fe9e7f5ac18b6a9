/*
 * Every way in which a process can open a connection, for the system tests: one attempt is one JSON
 * line on stdout. The tests run it inside network namespaces that they made; it refuses to run
 * without IG_FORBIDDEN_NETNS (inode numbers of the namespaces that lead out of the machine) or in
 * one of those, so a slip in a test can never reach a real metadata service.
 *
 * It never decides whether an outcome is right: it reports. Further attempts (--attempts) and
 * further requests on the connection (--requests) wait for a line on stdin, so that a test can
 * change the world between two of them without anybody sleeping.
 *
 * Exit: 0 the last attempt went well · 1 it did not · 2 usage · 77 the kernel lacks the mode.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/parse.h"
#include "confined.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

#define REPLY_BYTES   (1024 * 1024)
#define REQUEST_BYTES 16384
#define HEADERS_MAX   16
#define ADDRESS_BYTES 64

struct options {
	const struct mode *mode;
	struct in_addr addr, bind_addr;
	uint16_t port, bind_port;
	const char *path, *method, *device, *cgroup, *unix_path;
	const char *headers[HEADERS_MAX];
	size_t n_headers;
	uint32_t timeout_ms, attempts, requests;
	bool no_metadata;
	bool hold;
};

struct outcome {
	int error;	   /* negative errno; 0: ok */
	const char *stage; /* where it stopped: "socket", "prepare", "connect", "send", "receive" */
	uint32_t status;
	char *body; /* owned */
	char peername[ADDRESS_BYTES], sockname[ADDRESS_BYTES];
	bool sent; /* connect carried the request already */
};

struct mode {
	const char *name;
	int family, type, protocol;
	int (*open)(const struct options *opt, int *ret_fd); /* NULL: socket() */
	int (*prepare)(int fd, const struct options *opt);   /* between socket and connect */
	int (*connect)(int fd, const struct options *opt, struct outcome *out);
	bool no_request, half_close;
};

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

static void outcome_done(struct outcome *out)
{
	free(out->body);
	*out = (struct outcome){};
}

/* ---- addresses ------------------------------------------------------------------------------ */

static socklen_t address_make(
	int family, struct in_addr addr, uint16_t port, union address *ret_address)
{
	*ret_address = (union address){};
	if (family == AF_INET) {
		ret_address->v4.sin_family = AF_INET;
		ret_address->v4.sin_addr = addr;
		ret_address->v4.sin_port = htons(port);
		return sizeof(ret_address->v4);
	}
	ret_address->v6.sin6_family = AF_INET6;
	ret_address->v6.sin6_port = htons(port);
	ret_address->v6.sin6_addr.s6_addr[10] = 0xff;
	ret_address->v6.sin6_addr.s6_addr[11] = 0xff;
	memcpy(&ret_address->v6.sin6_addr.s6_addr[12], &addr, sizeof(addr));
	return sizeof(ret_address->v6);
}

static void address_format(const union address *address, char *buf, size_t len)
{
	char text[INET6_ADDRSTRLEN] = "";

	if (address->any.sa_family == AF_INET) {
		(void)inet_ntop(AF_INET, &address->v4.sin_addr, text, sizeof(text));
		(void)snprintf(buf, len, "%s:%u", text, ntohs(address->v4.sin_port));
	} else if (address->any.sa_family == AF_INET6) {
		(void)inet_ntop(AF_INET6, &address->v6.sin6_addr, text, sizeof(text));
		(void)snprintf(buf, len, "[%s]:%u", text, ntohs(address->v6.sin6_port));
	}
}

static void read_names(int fd, struct outcome *out)
{
	union address address = {};
	socklen_t len = sizeof(address);

	if (getpeername(fd, &address.any, &len) == 0)
		address_format(&address, out->peername, sizeof(out->peername));
	len = sizeof(address);
	if (getsockname(fd, &address.any, &len) == 0)
		address_format(&address, out->sockname, sizeof(out->sockname));
}

/* ---- waiting -------------------------------------------------------------------------------- */

static int wait_for(int fd, short events, uint32_t timeout_ms)
{
	struct pollfd pfd = {.fd = fd, .events = events};
	int r;

	do {
		r = poll(&pfd, 1, (int)timeout_ms);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return r == 0 ? -ETIMEDOUT : 0;
}

/* False at end of file: nobody wants another attempt. */
static bool wait_for_line(void)
{
	char c;

	while (read(STDIN_FILENO, &c, 1) == 1)
		if (c == '\n')
			return true;
	return false;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- prepare -------------------------------------------------------------------------------- */

static int bind_to(int fd, const struct options *opt, struct in_addr addr)
{
	const int on = 1;
	union address address;
	const socklen_t len = address_make(opt->mode->family, addr, opt->bind_port, &address);

	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	return bind(fd, &address.any, len) < 0 ? -errno : 0;
}

static int bind_source(int fd, const struct options *opt)
{
	return bind_to(fd, opt, opt->bind_addr);
}

static int bind_loopback(int fd, const struct options *opt)
{
	return bind_to(fd, opt, (struct in_addr){htonl(INADDR_LOOPBACK)});
}

static int bind_device(int fd, const struct options *opt)
{
	const char *device = opt->device ?: "eth0";

	return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, (socklen_t)strlen(device)) < 0
		       ? -errno
		       : 0;
}

static int set_fastopen_connect(int fd, const struct options *opt)
{
	const int on = 1;

	(void)opt;
	return setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on)) < 0 ? -errno : 0;
}

static int move_cgroup(int fd, const struct options *opt)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int procs = -1;

	(void)fd;
	if (!opt->cgroup)
		return -EINVAL;
	if (asprintf(&path, "%s/cgroup.procs", opt->cgroup) < 0)
		return -ENOMEM;
	procs = open(path, O_WRONLY | O_CLOEXEC);
	if (procs < 0)
		return -errno;
	return write(procs, "0", 1) < 0 ? -errno : 0;
}

/* ---- connect -------------------------------------------------------------------------------- */

static int limit_time(int fd, const struct options *opt)
{
	const struct timeval limit = {
		opt->timeout_ms / 1000, (suseconds_t)(opt->timeout_ms % 1000) * 1000};

	return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ? -errno : 0;
}

/* SO_SNDTIMEO bounds a blocking connect too; the kernel then says EINPROGRESS. */
static int connect_plain(int fd, const struct options *opt, struct outcome *out)
{
	union address address;
	const socklen_t len = address_make(opt->mode->family, opt->addr, opt->port, &address);
	const int r = limit_time(fd, opt);

	(void)out;
	if (r < 0)
		return r;
	if (connect(fd, &address.any, len) == 0)
		return 0;
	return errno == EINPROGRESS ? -ETIMEDOUT : -errno;
}

static int connect_nonblocking(int fd, const struct options *opt, struct outcome *out)
{
	union address address;
	const socklen_t len = address_make(opt->mode->family, opt->addr, opt->port, &address);
	const int flags = fcntl(fd, F_GETFL);
	int error = 0, r;
	socklen_t error_len = sizeof(error);

	(void)out;
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	if (connect(fd, &address.any, len) < 0) {
		if (errno != EINPROGRESS)
			return -errno;
		r = wait_for(fd, POLLOUT, opt->timeout_ms);
		if (r < 0)
			return r;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_len) < 0)
			return -errno;
		if (error)
			return -error;
	}
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : 0;
}

static size_t format_request(const struct options *opt, bool last, char *buf, size_t size);

/* The request travels with the connect: sendmsg() on a socket that is not connected yet. */
static int connect_msg_fastopen(int fd, const struct options *opt, struct outcome *out)
{
	char request[REQUEST_BYTES];
	const size_t n = format_request(opt, opt->requests <= 1, request, sizeof(request));
	union address address;
	const socklen_t len = address_make(opt->mode->family, opt->addr, opt->port, &address);
	const int r = limit_time(fd, opt);
	ssize_t sent;

	if (r < 0)
		return r;
	sent = sendto(fd, request, n, MSG_FASTOPEN | MSG_NOSIGNAL, &address.any, len);
	if (sent < 0)
		return errno == EINPROGRESS ? -ETIMEDOUT : -errno;
	out->sent = true;
	return sent == (ssize_t)n ? 0 : -EIO;
}

static int connect_uring(int fd, const struct options *opt, struct outcome *out)
{
	struct __kernel_timespec limit = {
		opt->timeout_ms / 1000, (long long)(opt->timeout_ms % 1000) * 1000000};
	union address address;
	const socklen_t len = address_make(opt->mode->family, opt->addr, opt->port, &address);
	struct io_uring_cqe *cqe = NULL;
	struct io_uring ring;
	int r = io_uring_queue_init(4, &ring, 0);

	(void)out;
	if (r < 0)
		return r == -ENOSYS || r == -EPERM ? -EOPNOTSUPP : r;
	io_uring_prep_connect(io_uring_get_sqe(&ring), fd, &address.any, len);
	r = io_uring_submit(&ring);
	if (r >= 0)
		r = io_uring_wait_cqe_timeout(&ring, &cqe, &limit);
	if (r >= 0) {
		r = cqe->res;
		io_uring_cqe_seen(&ring, cqe);
	}
	io_uring_queue_exit(&ring);
	return r == -ETIME ? -ETIMEDOUT : r;
}

/* UDP: one datagram out, one back. The answer becomes the body. */
static int udp_exchange(int fd, const struct options *opt, const union address *to,
	socklen_t to_len, struct outcome *out)
{
	static const char question[] = "dial";
	char answer[512] = "";
	ssize_t n;
	int r;

	if (sendto(fd, question, sizeof(question) - 1, 0, to ? &to->any : NULL, to_len) < 0)
		return -errno;
	r = wait_for(fd, POLLIN, opt->timeout_ms);
	if (r < 0)
		return r;
	n = recv(fd, answer, sizeof(answer) - 1, 0);
	if (n < 0)
		return -errno;
	out->body = strndup(answer, (size_t)n);
	return out->body ? 0 : -ENOMEM;
}

static int connect_udp(int fd, const struct options *opt, struct outcome *out)
{
	int r = connect_plain(fd, opt, out);

	return r < 0 ? r : udp_exchange(fd, opt, NULL, 0, out);
}

static int connect_udp_sendto(int fd, const struct options *opt, struct outcome *out)
{
	union address address;
	const socklen_t len = address_make(opt->mode->family, opt->addr, opt->port, &address);

	return udp_exchange(fd, opt, &address, len, out);
}

/* ---- a socket that travels from one process to another ----------------------------------------
 */

static int unix_address(const struct options *opt, struct sockaddr_un *ret_address)
{
	*ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (!opt->unix_path || strlen(opt->unix_path) >= sizeof(ret_address->sun_path))
		return -EINVAL;
	(void)stpcpy(ret_address->sun_path, opt->unix_path);
	return 0;
}

static int send_fd(int sock, int fd)
{
	char byte = 'f';
	struct iovec iov = {&byte, 1};
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {};
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	return sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* The giver: makes the socket, hands it to the first who asks, and stays until that one hangs up.
 */
static int give_socket(int fd, const struct options *opt, struct outcome *out)
{
	_cleanup_close_ int listener = -1, peer = -1;
	struct sockaddr_un address;
	char byte;
	int r = unix_address(opt, &address);

	(void)out;
	if (r < 0)
		return r;
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(listener, 1) < 0)
		return -errno;
	(void)puts("{\"result\":\"listening\"}");
	(void)fflush(stdout);
	r = wait_for(listener, POLLIN, opt->timeout_ms);
	if (r < 0)
		return r;
	peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (peer < 0)
		return -errno;
	r = send_fd(peer, fd);
	return r < 0 || read(peer, &byte, 1) >= 0 ? r : -errno;
}

static int recv_fd(int sock, int *ret_fd)
{
	char byte;
	struct iovec iov = {&byte, 1};
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = {};
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf)};
	const struct cmsghdr *cmsg;

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) < 0)
		return -errno;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS || cmsg->cmsg_len != CMSG_LEN(sizeof(int)))
		return -EBADMSG;
	memcpy(ret_fd, CMSG_DATA(cmsg), sizeof(*ret_fd));
	return 0;
}

static int take_socket(const struct options *opt, int *ret_fd)
{
	_cleanup_close_ int sock = -1;
	struct sockaddr_un address;
	int r = unix_address(opt, &address);

	if (r < 0)
		return r;
	sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0 || connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return recv_fd(sock, ret_fd);
}

/* ---- HTTP ----------------------------------------------------------------------------------- */

static size_t format_request(const struct options *opt, bool last, char *buf, size_t size)
{
	char host[INET_ADDRSTRLEN] = "";
	size_t n, i;

	(void)inet_ntop(AF_INET, &opt->addr, host, sizeof(host));
	n = (size_t)snprintf(buf, size, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: igdial/1\r\n",
		opt->method, opt->path, host);
	if (!opt->no_metadata && n < size)
		n += (size_t)snprintf(buf + n, size - n, "Metadata: true\r\n");
	for (i = 0; i < opt->n_headers && n < size; i++)
		n += (size_t)snprintf(buf + n, size - n, "%s\r\n", opt->headers[i]);
	if (n < size)
		n += (size_t)snprintf(
			buf + n, size - n, "%s\r\n", last ? "Connection: close\r\n" : "");
	return n < size ? n : size - 1;
}

static int send_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		const ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* A length that is missing or is none counts as none: the tests' servers always send one. */
static int parse_head(char *head, struct outcome *out, uint32_t *ret_body_len)
{
	static const char status_at[] = "HTTP/1.1 ", length_at[] = "\r\nContent-Length: ";
	char *length = strcasestr(head, length_at);

	*ret_body_len = 0;
	if (length) {
		length += sizeof(length_at) - 1;
		length[strcspn(length, "\r")] = '\0';
		if (ig_parse_u32(length, ret_body_len) < 0 || *ret_body_len > REPLY_BYTES)
			return -EBADMSG;
	}
	if (!ig_str_has_prefix(head, "HTTP/1.") || strlen(head) < strlen("HTTP/1.1 200"))
		return -EBADMSG;
	head[strlen("HTTP/1.1 200")] = '\0';
	return ig_parse_u32(head + sizeof(status_at) - 1, &out->status) < 0 ? -EBADMSG : 0;
}

/* -EAGAIN: more is needed. */
static int parse_reply(const char *text, size_t len, struct outcome *out)
{
	const char *head_end = memmem(text, len, "\r\n\r\n", 4);
	_cleanup_free_ char *head = NULL;
	uint32_t body_len;
	int r;

	if (!head_end)
		return -EAGAIN;
	head = strndup(text, (size_t)(head_end - text));
	if (!head)
		return -ENOMEM;
	r = parse_head(head, out, &body_len);
	if (r < 0)
		return r;
	head_end += 4;
	if (len - (size_t)(head_end - text) < body_len)
		return -EAGAIN;
	free(out->body);
	out->body = strndup(head_end, body_len);
	return out->body ? 0 : -ENOMEM;
}

/* -ENODATA: the peer closed before the whole answer was there. */
static int receive_reply(int fd, const struct options *opt, struct outcome *out)
{
	static char buf[REPLY_BYTES];
	size_t len = 0;
	int r = -EAGAIN;

	while (r == -EAGAIN && len < sizeof(buf)) {
		ssize_t n;

		r = wait_for(fd, POLLIN, opt->timeout_ms);
		if (r < 0)
			return r;
		n = recv(fd, buf + len, sizeof(buf) - len, 0);
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		len += (size_t)n;
		r = parse_reply(buf, len, out);
	}
	return r == -EAGAIN ? -E2BIG : r;
}

static int exchange(int fd, const struct options *opt, bool last, struct outcome *out)
{
	char request[REQUEST_BYTES];
	int r = 0;

	out->stage = "send";
	if (!out->sent)
		r = send_all(fd, request, format_request(opt, last, request, sizeof(request)));
	out->sent = false;
	if (r == 0 && opt->mode->half_close && shutdown(fd, SHUT_WR) < 0)
		r = -errno;
	if (r < 0)
		return r;
	out->stage = "receive";
	return receive_reply(fd, opt, out);
}

/* ---- attempts ------------------------------------------------------------------------------- */

static void report(const struct outcome *out, uint64_t started_ms)
{
	_cleanup_free_ char *line = NULL;
	const char *result = out->error == 0 ? "ok" : "error";
	json_t *json;

	if (out->error == -EOPNOTSUPP)
		result = "unsupported";
	/* "s*" leaves a member out that is NULL */
	json = json_pack("{s:s, s:I, s:i, s:i, s:s*, s:s*, s:s*, s:s*, s:s*}", "result", result,
		"ms", (json_int_t)(now_ms() - started_ms), "pid", (int)getpid(), "status",
		(int)out->status, "errno", out->error ? ig_err_name(out->error) : NULL, "stage",
		out->error ? out->stage : NULL, "body", out->body, "peername",
		*out->peername ? out->peername : NULL, "sockname",
		*out->sockname ? out->sockname : NULL);
	line = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	(void)puts(line ?: "{\"result\":\"error\",\"errno\":\"EBADMSG\",\"stage\":\"report\"}");
	(void)fflush(stdout);
}

static int open_socket(const struct options *opt, int *ret_fd)
{
	const struct mode *mode = opt->mode;
	const int fd = socket(mode->family, mode->type | SOCK_CLOEXEC, mode->protocol);

	if (fd < 0)
		return errno == EPROTONOSUPPORT || errno == ENOPROTOOPT ? -EOPNOTSUPP : -errno;
	*ret_fd = fd;
	return 0;
}

static int connect_socket(const struct options *opt, struct outcome *out, int *ret_fd)
{
	const struct mode *mode = opt->mode;
	_cleanup_close_ int fd = -1;
	int r;

	out->stage = "socket";
	r = mode->open ? mode->open(opt, &fd) : open_socket(opt, &fd);
	if (r < 0)
		return r;
	out->stage = "prepare";
	r = mode->prepare ? mode->prepare(fd, opt) : 0;
	if (r < 0)
		return r;
	out->stage = "connect";
	r = mode->connect(fd, opt, out);
	if (r < 0)
		return r;
	read_names(fd, out);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int attempt(const struct options *opt)
{
	uint64_t started_ms = now_ms();
	_cleanup_(outcome_done) struct outcome out = {};
	_cleanup_close_ int fd = -1;
	uint32_t i;

	out.error = connect_socket(opt, &out, &fd);
	for (i = 0; out.error == 0 && !opt->mode->no_request && i < opt->requests; i++) {
		if (i > 0) {
			report(&out, started_ms);
			if (!wait_for_line())
				return 0;
			started_ms = now_ms();
		}
		out.error = exchange(fd, opt, i + 1 == opt->requests, &out);
	}
	report(&out, started_ms);
	return out.error;
}

/* ---- command line --------------------------------------------------------------------------- */

/* clang-format off */
static const struct mode modes[] = {
	{.name = "plain", .connect = connect_plain},
	{.name = "nonblocking", .connect = connect_nonblocking},
	{.name = "bound-source", .prepare = bind_source, .connect = connect_plain},
	{.name = "bound-port", .prepare = bind_source, .connect = connect_plain},
	{.name = "bind-device", .prepare = bind_device, .connect = connect_plain},
	{.name = "fastopen-msg", .connect = connect_msg_fastopen},
	{.name = "fastopen-connect", .prepare = set_fastopen_connect, .connect = connect_plain},
	{.name = "mptcp", .protocol = IPPROTO_MPTCP, .connect = connect_plain},
	{.name = "io_uring", .connect = connect_uring},
	{.name = "v6mapped", .family = AF_INET6, .connect = connect_plain},
	{.name = "v6mapped-nonblocking", .family = AF_INET6, .connect = connect_nonblocking},
	{.name = "udp-connect", .type = SOCK_DGRAM, .connect = connect_udp, .no_request = true},
	{.name = "udp-sendto", .type = SOCK_DGRAM, .connect = connect_udp_sendto, .no_request = true},
	{.name = "udp-sendto-v6mapped", .family = AF_INET6, .type = SOCK_DGRAM,
		.connect = connect_udp_sendto, .no_request = true},
	{.name = "scm-give", .connect = give_socket, .no_request = true},
	{.name = "scm-take", .open = take_socket, .connect = connect_plain},
	{.name = "cgroup-move", .prepare = move_cgroup, .connect = connect_plain},
	{.name = "half-close", .connect = connect_plain, .half_close = true},
	{.name = "connect-only", .connect = connect_plain, .no_request = true},
	{.name = "forge", .prepare = bind_loopback, .connect = connect_plain},
};
/* clang-format on */

/* A mode's family and type are TCP over IPv4 unless it says otherwise. */
static const struct mode *mode_find(const char *name, struct mode *storage)
{
	size_t i;

	for (i = 0; i < IG_ARRAY_SIZE(modes); i++)
		if (strcmp(modes[i].name, name) == 0) {
			*storage = modes[i];
			storage->family = storage->family ?: AF_INET;
			storage->type = storage->type ?: SOCK_STREAM;
			return storage;
		}
	return NULL;
}

static int usage(void)
{
	size_t i;

	(void)fputs(
		"usage: dial MODE [--addr A] [--port N] [--method M] [--path P] [--header H]…\n"
		"  [--no-metadata] [--timeout MS] [--attempts N] [--requests N]\n"
		"  [--bind-addr A] [--bind-port N] [--device D] [--cgroup DIR] [--socket PATH]\n"
		"  [--hold: stay until standard input says something or ends]\n"
		"modes:",
		stderr);
	for (i = 0; i < IG_ARRAY_SIZE(modes); i++)
		(void)fprintf(stderr, " %s", modes[i].name);
	(void)fputc('\n', stderr);
	return 2;
}

static int parse_address(const char *text, struct in_addr *ret)
{
	return inet_pton(AF_INET, text, ret) == 1 ? 0 : -EINVAL;
}

static int parse_option(int c, const char *arg, struct options *opt)
{
	switch (c) {
	case 'a': return parse_address(arg, &opt->addr);
	case 'A': return parse_address(arg, &opt->bind_addr);
	case 'p': return ig_parse_u16(arg, &opt->port);
	case 'P': return ig_parse_u16(arg, &opt->bind_port);
	case 't': return ig_parse_u32(arg, &opt->timeout_ms);
	case 'n': return ig_parse_u32(arg, &opt->attempts);
	case 'r': return ig_parse_u32(arg, &opt->requests);
	case 'u': opt->path = arg; return 0;
	case 'm': opt->method = arg; return 0;
	case 'd': opt->device = arg; return 0;
	case 'c': opt->cgroup = arg; return 0;
	case 's': opt->unix_path = arg; return 0;
	case 'M': opt->no_metadata = true; return 0;
	case 'h': opt->hold = true; return 0;
	case 'H':
		if (opt->n_headers == HEADERS_MAX)
			return -E2BIG;
		opt->headers[opt->n_headers++] = arg;
		return 0;
	default: return -EINVAL;
	}
}

static int parse_options(int argc, char **argv, struct options *opt)
{
	static const struct option longs[] = {{"addr", 1, NULL, 'a'}, {"port", 1, NULL, 'p'},
		{"bind-addr", 1, NULL, 'A'}, {"bind-port", 1, NULL, 'P'}, {"path", 1, NULL, 'u'},
		{"method", 1, NULL, 'm'}, {"header", 1, NULL, 'H'}, {"no-metadata", 0, NULL, 'M'},
		{"timeout", 1, NULL, 't'}, {"attempts", 1, NULL, 'n'}, {"requests", 1, NULL, 'r'},
		{"device", 1, NULL, 'd'}, {"cgroup", 1, NULL, 'c'}, {"socket", 1, NULL, 's'},
		{"hold", 0, NULL, 'h'}, {}};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		if (parse_option(c, optarg, opt) < 0)
			return -EINVAL;
	return optind == argc && opt->attempts > 0 && opt->requests > 0 ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	struct options opt = {.port = 80,
		.method = "GET",
		.path = "/metadata/identity/oauth2/token?api-version=2018-02-01"
			"&resource=https%3A%2F%2Fvault.azure.net",
		.timeout_ms = 8000,
		.attempts = 1,
		.requests = 1};
	struct mode storage;
	uint32_t i;
	int r = 0;

	(void)signal(SIGPIPE, SIG_IGN);
	if (netns_is_forbidden()) {
		(void)fputs("dial: not in a network namespace of a test: refusing\n", stderr);
		return 2;
	}
	(void)parse_address("169.254.169.254", &opt.addr);
	opt.mode = argc > 1 ? mode_find(argv[1], &storage) : NULL;
	if (!opt.mode || parse_options(argc - 1, argv + 1, &opt) < 0)
		return usage();
	for (i = 0; i < opt.attempts; i++)
		if (i == 0 || wait_for_line())
			r = attempt(&opt);
	if (opt.hold)
		(void)wait_for_line();
	return r == 0 ? 0 : r == -EOPNOTSUPP ? 77 : 1;
}
