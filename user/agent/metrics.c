/*
 * Serves /metrics and /healthz; see metrics.h. Has connections and limits of its own, so scrapes
 * and requests of workloads never take each other's place.
 *
 * Anybody on the host may connect to the port, so no connection may be worth keeping others out
 * with: at the limit the oldest goes. Nor may asking often cost much: what was collected last is
 * served again for IG_METRICS_REFRESH_MSEC.
 */
#include "agent/metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include <imdsgate/limits.h>

#include "agent/agent.h"
#include "agent/metrics_collect.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "ctl/server.h"
#include "http/server.h"

#define BACKLOG	     16
#define ACCEPT_BURST 8 /* in one go, before workloads get their turn */
#define RESUME_SEC   1 /* after accept() failed, most likely for want of descriptors */

struct conn {
	struct door *door;
	struct ig_http_conn *http;
	TAILQ_ENTRY(conn) link;
};

/* A way in, with its own limit. */
struct door {
	struct ig_metrics_server *server;
	int fd;				 /* owned; -1: shut */
	struct event *readable, *resume; /* owned */
	TAILQ_HEAD(, conn) conns;	 /* oldest first */
	size_t n_conns;
};

struct ig_metrics_server {
	struct ig_agent *agent;
	struct ig_http_server *http; /* owned */
	struct door port, socket;
	struct ig_collect collect;
	int statm_fd;		 /* owned */
	uint64_t collected_usec; /* 0: never */
	struct ig_buf page;	 /* of that time */
};

IG_DEFINE_CLEANUP(struct ig_metrics_server *, ig_metrics_server_free);

/* ---- privileged ---- */

/* Any process of the host may have taken the port while the server was away: that must not keep the
 * gate from serving. */
static int without_port(uint16_t port)
{
	ig_log_err("somebody else has the port of --metrics-port, so metrics are not served there",
		IG_KV_U64(PORT, port));
	return 0;
}

/* text: IPv4 or IPv6, checked when the flag was read. Returns the length. */
static socklen_t port_address(const char *text, uint16_t port, struct sockaddr_storage *ret)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;

	*ret = (struct sockaddr_storage){};
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		return sizeof(*v4);
	}
	inet_pton(AF_INET6, text, &v6->sin6_addr);
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(port);
	return sizeof(*v6);
}

int ig_metrics_open_port(const struct ig_metrics_choices *choices, int *ret_fd, struct ig_err *err)
{
	const char *text = choices->address ?: "127.0.0.1";
	struct sockaddr_storage address;
	socklen_t len = port_address(text, choices->port, &address);
	_cleanup_close_ int fd =
		socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1;

	/* connections of the process before this one may still linger */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
		bind(fd, (const struct sockaddr *)&address, len) < 0 || listen(fd, BACKLOG) < 0)
		return errno == EADDRINUSE
			       ? without_port(choices->port)
			       : ig_err_set(err, -errno,
					 "cannot listen on %s port %u (--metrics-port): %s", text,
					 choices->port, strerror(errno));
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* ---- requests ---- */

static void refresh(struct ig_metrics_server *s)
{
	uint64_t now_usec = ig_clock_mono_usec();

	if (s->collected_usec &&
		now_usec - s->collected_usec < IG_METRICS_REFRESH_MSEC * IG_USEC_PER_MSEC)
		return;
	ig_collect(&s->collect);
	ig_buf_reset(&s->page);
	ig_metrics_write(s->agent->metrics, &s->page);
	s->collected_usec = ig_clock_mono_usec();
}

static void respond(struct conn *conn, unsigned int status, const char *text)
{
	ig_http_conn_respond(
		conn->http, status, "text/plain; charset=utf-8", NULL, 0, text, strlen(text));
}

static void serve_metrics(struct conn *conn)
{
	struct ig_metrics_server *s = conn->door->server;

	refresh(s);
	if (ig_buf_finish(&s->page) < 0)
		respond(conn, 500, "out of memory\n");
	else
		ig_http_conn_respond(conn->http, 200, "text/plain; version=0.0.4; charset=utf-8",
			NULL, 0, s->page.data, s->page.len);
}

static void serve_health(struct conn *conn)
{
	static const char *const wrong[_IG_HEALTH_MAX] = {
		[IG_HEALTH_ENFORCING] =
			"not enforcing: the programs are not attached yet, or the monitor does not answer\n",
		[IG_HEALTH_SYNCED] =
			"not synced: the API server has not said everything that it declares yet\n",
		[IG_HEALTH_AUDIT] = "audit stuck: no sink takes records\n",
	};
	struct ig_metrics_server *s = conn->door->server;

	refresh(s);
	for (int i = 0; i < _IG_HEALTH_MAX; i++) {
		if (!s->collect.ok[i]) {
			respond(conn, 503, wrong[i]);
			return;
		}
	}
	respond(conn, 200, "ok\n");
}

static void on_request(struct ig_http_conn *http, const struct ig_http_request *req, void *data)
{
	bool is_get = req->method == IG_HTTP_GET;

	(void)http;
	if (is_get && strcmp(req->target, "/metrics") == 0)
		serve_metrics(data);
	else if (is_get && strcmp(req->target, "/healthz") == 0)
		serve_health(data);
	else
		respond(data, 404, "there are /metrics and /healthz\n");
}

static void on_close(struct ig_http_conn *http, void *data)
{
	struct conn *conn = data;

	(void)http;
	TAILQ_REMOVE(&conn->door->conns, conn, link);
	conn->door->n_conns--;
	free(conn);
}

static const struct ig_http_server_ops http_ops = {
	.on_request = on_request,
	.on_close = on_close,
};

/* ---- connections ---- */

/* Takes fd. */
static void accepted(struct door *door, int fd)
{
	struct conn *conn = calloc(1, sizeof(*conn));

	if (door->n_conns >= IG_METRICS_CONNECTIONS_MAX)
		ig_http_conn_close(TAILQ_FIRST(&door->conns)->http);
	if (!conn || ig_http_server_add(door->server->http, fd, NULL, conn, &conn->http) < 0) {
		(void)ig_close(fd);
		free(conn);
		return;
	}
	conn->door = door;
	TAILQ_INSERT_TAIL(&door->conns, conn, link);
	door->n_conns++;
}

static void on_accept(evutil_socket_t sock, short what, void *userdata)
{
	static const struct timeval pause = {.tv_sec = RESUME_SEC};
	struct door *door = userdata;

	(void)what;
	for (int i = 0; i < ACCEPT_BURST; i++) {
		int fd = accept4(sock, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			accepted(door, fd);
			continue;
		}
		if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
			return;
		(void)ig_log_errno(-errno, "cannot accept a scrape, waiting a little");
		(void)event_del(door->readable);
		(void)evtimer_add(door->resume, &pause);
		return;
	}
}

static void on_resume(evutil_socket_t fd, short what, void *userdata)
{
	struct door *door = userdata;

	(void)fd;
	(void)what;
	(void)event_add(door->readable, NULL);
}

/* Takes fd. */
static int door_open(struct door *door, int fd)
{
	struct event_base *base = door->server->agent->base;

	door->fd = fd;
	ig_http_server_prepare(fd);
	door->resume = evtimer_new(base, on_resume, door);
	door->readable = event_new(base, door->fd, EV_READ | EV_PERSIST, on_accept, door);
	if (!door->resume || !door->readable || event_add(door->readable, NULL) < 0)
		return -ENOMEM;
	return 0;
}

static void door_close(struct door *door)
{
	if (door->readable)
		event_free(door->readable);
	if (door->resume)
		event_free(door->resume);
	(void)ig_close(door->fd);
}

int ig_metrics_server_new(struct ig_agent *agent, int statm_fd, struct ig_metrics_server **ret)
{
	_cleanup_(ig_metrics_server_freep) struct ig_metrics_server *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		(void)ig_close(statm_fd);
		return -ENOMEM;
	}
	s->agent = agent;
	s->statm_fd = statm_fd;
	s->collect = (struct ig_collect){.agent = agent, .statm_fd = s->statm_fd};
	ig_buf_init(&s->page, IG_METRICS_PAGE_BYTES);
	s->port.server = s->socket.server = s;
	s->port.fd = s->socket.fd = -1;
	TAILQ_INIT(&s->port.conns);
	TAILQ_INIT(&s->socket.conns);
	r = ig_http_server_new(agent->base, &http_ops, &s->http);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(s);
	return 0;
}

int ig_metrics_serve_port(struct ig_metrics_server *s, int fd)
{
	return door_open(&s->port, fd);
}

int ig_metrics_serve_socket(struct ig_metrics_server *s, int fd)
{
	return door_open(&s->socket, fd);
}

struct ig_metrics_server *ig_metrics_server_free(struct ig_metrics_server *s)
{
	if (!s)
		return NULL;
	door_close(&s->port);
	door_close(&s->socket);
	/* ends the connections, which still leave their doors */
	s->http = ig_http_server_free(s->http);
	ig_buf_done(&s->page);
	(void)ig_close(s->statm_fd);
	free(s);
	return NULL;
}
