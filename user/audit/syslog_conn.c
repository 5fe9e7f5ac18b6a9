/*
 * Connections to syslog receivers; see syslog_conn.h.
 *
 * It must never send to a peer that TLS has not proved to be the one that was named, and never wait
 * for long: whoever stops the agent waits for this thread.
 */
#include "audit/syslog_conn.h"

#include <errno.h>
#include <arpa/inet.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "base/parse.h"

#define CONNECT_MSEC	  5000
#define POLL_MSEC	  200
#define IO_SEC		  1
#define UNIX_SEND_BYTES	  (256 * 1024) /* more than the longest line */
#define USER_TIMEOUT_MSEC 20000	       /* unacknowledged for so long: broken */

/* ---- targets --------------------------------------------------------------------------------- */

static int parse_host_port(const char *text, struct ig_syslog_target *t)
{
	bool bracket = text[0] == '[';
	const char *host = text + bracket, *rest;
	size_t len = strcspn(host, bracket ? "]" : ":");
	uint16_t port;

	rest = host + len + (bracket && host[len] == ']');
	if (!len || len >= sizeof(t->host) || (bracket && host[len] != ']') ||
		memchr(host, '/', len) || memchr(host, '@', len) || memchr(host, ' ', len))
		return -EINVAL;
	memcpy(t->host, host, len);
	t->host[len] = '\0';
	if (!rest[0])
		return 0;
	if (rest[0] != ':' || ig_parse_u16(rest + 1, &port) < 0 || !port)
		return -EINVAL;
	(void)snprintf(t->port, sizeof(t->port), "%u", port);
	return 0;
}

int ig_syslog_target_parse(const char *url, struct ig_syslog_target *ret, struct ig_err *err)
{
	struct ig_syslog_target t = {};
	int r = -EINVAL;

	if (ig_str_has_prefix(url, "unix:/")) {
		t.transport = IG_SYSLOG_UNIX;
		r = strlen(url + 5) < sizeof(((struct sockaddr_un *)0)->sun_path) ? 0 : -EINVAL;
		(void)snprintf(t.host, sizeof(t.host), "%s", url + 5);
	} else if (ig_str_has_prefix(url, "tcp://") || ig_str_has_prefix(url, "tls://")) {
		t.transport = url[1] == 'c' ? IG_SYSLOG_TCP : IG_SYSLOG_TLS;
		(void)snprintf(t.port, sizeof(t.port), "%s", url[1] == 'c' ? "514" : "6514");
		r = parse_host_port(url + 6, &t);
	}
	if (r < 0)
		return ig_err_set(err, r,
			"a syslog receiver is unix:/PATH, tcp://HOST[:PORT] or tls://HOST[:PORT], got \"%s\"",
			url);
	*ret = t;
	return 0;
}

/* ---- TLS ------------------------------------------------------------------------------------- */

int ig_syslog_tls_new(const char *ca_file, struct ssl_ctx_st **ret, struct ig_err *err)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	int ok;

	if (!ctx)
		return -ENOMEM;
	ok = SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) == 1;
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	(void)SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE);
	/* reading is only done to find out whether the peer has left */
	(void)SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
	if (ok)
		ok = ca_file ? SSL_CTX_load_verify_file(ctx, ca_file) == 1
			     : SSL_CTX_set_default_verify_paths(ctx) == 1;
	ERR_clear_error();
	if (!ok) {
		SSL_CTX_free(ctx);
		return ig_err_set(err, -EINVAL,
			"cannot read certificates of authorities from %s; the agent's user has to be able to",
			ca_file ? ca_file : "the system's directory");
	}
	*ret = ctx;
	return 0;
}

static int tls_error(SSL *ssl, int result)
{
	int r;

	switch (SSL_get_error(ssl, result)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE: r = -EAGAIN; break;
	case SSL_ERROR_ZERO_RETURN: r = -EPIPE; break;
	case SSL_ERROR_SYSCALL: r = errno ? -errno : -ECONNRESET; break;
	default: r = SSL_get_verify_result(ssl) == X509_V_OK ? -EPROTO : -EKEYREJECTED;
	}
	ERR_clear_error();
	return r;
}

static bool is_address(const char *host)
{
	unsigned char buf[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, host, buf) == 1 || inet_pton(AF_INET6, host, buf) == 1;
}

static int start_tls(struct ig_syslog_conn *conn, const char *host, SSL_CTX *tls)
{
	int ok, r;

	conn->ssl = SSL_new(tls);
	if (!conn->ssl)
		return -ENOMEM;
	if (is_address(host))
		ok = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(conn->ssl), host) == 1;
	else
		ok = SSL_set1_host(conn->ssl, host) == 1 &&
		     SSL_set_tlsext_host_name(conn->ssl, host) == 1;
	if (!ok || SSL_set_fd(conn->ssl, conn->fd) != 1)
		return -ENOMEM;
	errno = 0;
	r = SSL_connect(conn->ssl);
	if (r == 1)
		return 0;
	r = tls_error(conn->ssl, r);
	return r == -EAGAIN ? -ETIMEDOUT : r;
}

/* ---- connecting ------------------------------------------------------------------------------ */

static int set_limits(int fd)
{
	const struct timeval limit = {.tv_sec = IO_SEC};

	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0)
		return -errno;
	return 0;
}

static int open_unix(const char *path, int *ret_fd)
{
	const int bytes = UNIX_SEND_BYTES;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return -errno;
	memcpy(address.sun_path, path, strlen(path));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	r = set_limits(fd);
	if (r == 0)
		*ret_fd = TAKE_FD(fd);
	return r;
}

static int wait_connected(int fd, bool (*stop)(void *userdata), void *userdata)
{
	int error = 0;
	socklen_t len = sizeof(error);

	for (int waited = 0; waited < CONNECT_MSEC; waited += POLL_MSEC) {
		struct pollfd p = {.fd = fd, .events = POLLOUT};

		if (poll(&p, 1, POLL_MSEC) > 0) {
			if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
				return -errno;
			return -error;
		}
		if (stop(userdata))
			return -ECANCELED;
	}
	return -ETIMEDOUT;
}

static int connect_one(
	const struct addrinfo *a, bool (*stop)(void *userdata), void *userdata, int *ret_fd)
{
	const int one = 1, timeout = USER_TIMEOUT_MSEC;
	_cleanup_close_ int fd =
		socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
	int r, flags = 0;

	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
	r = connect(fd, a->ai_addr, a->ai_addrlen) < 0 ? -errno : 0;
	if (r == -EINPROGRESS)
		r = wait_connected(fd, stop, userdata);
	if (r == 0)
		r = set_limits(fd);
	/* blocking from here on, within the limits */
	if (r == 0 && ioctl(fd, FIONBIO, &flags) < 0)
		r = -errno;
	if (r == 0)
		*ret_fd = TAKE_FD(fd);
	return r;
}

static int open_tcp(const struct ig_syslog_target *target, bool (*stop)(void *userdata),
	void *userdata, int *ret_fd)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	struct addrinfo *found = NULL;
	int r = -EHOSTUNREACH;

	if (getaddrinfo(target->host, target->port, &hints, &found) != 0)
		return r;
	for (const struct addrinfo *a = found; a && r < 0 && r != -ECANCELED; a = a->ai_next)
		r = connect_one(a, stop, userdata, ret_fd);
	freeaddrinfo(found);
	return r;
}

void ig_syslog_conn_close(struct ig_syslog_conn *conn)
{
	if (conn->ssl) {
		(void)SSL_shutdown(conn->ssl);
		SSL_free(conn->ssl);
		ERR_clear_error();
	}
	conn->ssl = NULL;
	conn->fd = ig_close(conn->fd);
}

int ig_syslog_conn_open(const struct ig_syslog_target *target, struct ssl_ctx_st *tls,
	bool (*stop)(void *userdata), void *userdata, struct ig_syslog_conn *ret)
{
	struct ig_syslog_conn conn = {.fd = -1};
	int r = target->transport == IG_SYSLOG_UNIX ? open_unix(target->host, &conn.fd)
						    : open_tcp(target, stop, userdata, &conn.fd);

	if (r == 0 && target->transport == IG_SYSLOG_TLS)
		r = start_tls(&conn, target->host, tls);
	if (r < 0)
		ig_syslog_conn_close(&conn);
	else
		*ret = conn;
	return r;
}

/* ---- talking --------------------------------------------------------------------------------- */

int ig_syslog_conn_check(struct ig_syslog_conn *conn)
{
	struct pollfd p = {.fd = conn->fd, .events = POLLIN | POLLRDHUP};
	int error = 0, n;
	socklen_t len = sizeof(error);
	char byte;

	if (poll(&p, 1, 0) <= 0)
		return 0;
	if (p.revents & POLLERR && getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0)
		return error ? -error : -ECONNRESET;
	if (p.revents & (POLLRDHUP | POLLHUP))
		return -EPIPE;
	if (!conn->ssl) { /* receivers have nothing to say */
		n = (int)recv(conn->fd, &byte, 1, MSG_DONTWAIT);
		return n == 0 ? -EPIPE : n < 0 && errno != EAGAIN ? -errno : 0;
	}
	errno = 0;
	n = SSL_read(conn->ssl, &byte, 1); /* session tickets, or the end */
	if (n > 0)
		return 0;
	n = tls_error(conn->ssl, n);
	return n == -EAGAIN ? 0 : n;
}

ssize_t ig_syslog_conn_send(struct ig_syslog_conn *conn, const void *data, size_t len)
{
	ssize_t n;

	if (conn->ssl) {
		errno = 0;
		n = SSL_write(conn->ssl, data, len > INT_MAX ? INT_MAX : (int)len);
		return n > 0 ? n : tls_error(conn->ssl, (int)n);
	}
	do
		n = send(conn->fd, data, len, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

size_t ig_syslog_conn_unacknowledged(const struct ig_syslog_conn *conn)
{
	int bytes = 0;

	return ioctl(conn->fd, SIOCOUTQ, &bytes) < 0 || bytes < 0 ? 0 : (size_t)bytes;
}
