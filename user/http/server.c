/*
 * The HTTP server: which connections there are, their deadlines, its counters; see server.h. Runs
 * in the event loop of the server process and is called by the code that accepts workload
 * connections. What happens on a connection is in server_conn.c.
 *
 * There is one timer for all: connections stand in one list per state in the order in which they
 * entered it, so a request costs no timer and a tick looks only at what is due. It must never touch
 * a connection after calling up for it.
 */
#include "http/server_conn.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/event.h>

#include "base/cleanup.h"
#include "base/clock.h"

/* For the client to read a refusal. */
#define DRAIN_TIMEOUT_USEC (2 * IG_USEC_PER_SEC)
#define TICK_MAX_USEC	   (1 * IG_USEC_PER_SEC)
#define TICK_MIN_USEC	   (5 * IG_USEC_PER_MSEC)

static void server_destroy(struct ig_http_server *server)
{
	(void)event_del(&server->tick);
	free(server);
}

void ig_http_server_enter(struct ig_http_server *server)
{
	server->depth++;
	server->now_usec = ig_clock_mono_usec();
}

void ig_http_server_leave(struct ig_http_server *server)
{
	if (--server->depth == 0 && server->dying)
		server_destroy(server);
}

/* ---- deadlines --------------------------------------------------------------------------- */

/* The only timer: looks at the oldest connection of each state. */
static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct ig_http_server *server = arg;

	(void)fd;
	(void)what;
	ig_http_server_enter(server);
	for (int state = 0; state < _STATE_MAX; state++) {
		uint64_t timeout = server->timeout_usec[state];
		struct ig_http_conn *conn;

		while (timeout && (conn = TAILQ_FIRST(&server->lists[state])) &&
			server->now_usec - conn->since_usec >= timeout)
			ig_http_conn_expire(conn);
	}
	ig_http_server_leave(server);
}

static int start_tick(struct ig_http_server *server)
{
	struct timeval tv = {
		.tv_sec = (time_t)(server->tick_usec / IG_USEC_PER_SEC),
		.tv_usec = (suseconds_t)(server->tick_usec % IG_USEC_PER_SEC),
	};

	return event_add(&server->tick, &tv) < 0 ? -ENOMEM : 0;
}

static void set_timeouts(
	struct ig_http_server *server, const struct ig_http_server_options *options)
{
	server->timeout_usec[STATE_IDLE] = options->idle_timeout_usec;
	server->timeout_usec[STATE_RECEIVING] = options->header_timeout_usec;
	server->timeout_usec[STATE_WRITING] = options->write_timeout_usec;
	server->timeout_usec[STATE_DRAINING] = options->drain_timeout_usec;
	server->tick_usec = TICK_MAX_USEC;
	for (int state = 0; state < _STATE_MAX; state++) {
		uint64_t timeout = server->timeout_usec[state];

		if (timeout && timeout / 4 < server->tick_usec)
			server->tick_usec = timeout / 4;
	}
	if (server->tick_usec < TICK_MIN_USEC)
		server->tick_usec = TICK_MIN_USEC;
}

/* ---- for callers ------------------------------------------------------------------------- */

int ig_http_server_new_with(struct event_base *base, const struct ig_http_server_ops *ops,
	const struct ig_http_server_options *options, struct ig_http_server **ret)
{
	const int needed = EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE;
	_cleanup_free_ struct ig_http_server *server = NULL;

	assert(ops->on_request);
	if ((event_base_get_features(base) & needed) != needed)
		return -EOPNOTSUPP;
	server = calloc(1, sizeof(*server));
	if (!server)
		return -ENOMEM;
	server->base = base;
	server->ops = *ops;
	server->connections_max = options->connections_max;
	set_timeouts(server, options);
	for (int state = 0; state < _STATE_MAX; state++)
		TAILQ_INIT(&server->lists[state]);
	if (event_assign(&server->tick, base, -1, EV_PERSIST, on_tick, server) < 0)
		return -EINVAL;
	*ret = TAKE_PTR(server);
	return 0;
}

int ig_http_server_new(
	struct event_base *base, const struct ig_http_server_ops *ops, struct ig_http_server **ret)
{
	static const struct ig_http_server_options defaults = {
		.header_timeout_usec = IG_HTTP_HEADER_TIMEOUT_SEC * IG_USEC_PER_SEC,
		.idle_timeout_usec = IG_HTTP_IDLE_TIMEOUT_SEC * IG_USEC_PER_SEC,
		.write_timeout_usec = IG_HTTP_IDLE_TIMEOUT_SEC * IG_USEC_PER_SEC,
		.drain_timeout_usec = DRAIN_TIMEOUT_USEC,
		.connections_max = IG_HTTP_CONNECTIONS_MAX,
	};

	return ig_http_server_new_with(base, ops, &defaults, ret);
}

void ig_http_server_limit(struct ig_http_server *server, size_t connections_max)
{
	server->connections_max = connections_max;
}

struct ig_http_server *ig_http_server_free(struct ig_http_server *server)
{
	if (!server || server->dying)
		return NULL;
	ig_http_server_enter(server);
	server->dying = true;
	for (int state = 0; state < _STATE_MAX; state++) {
		struct ig_http_conn *conn;

		while ((conn = TAILQ_FIRST(&server->lists[state])))
			ig_http_conn_close(conn);
	}
	ig_http_server_leave(server);
	return NULL;
}

void ig_http_server_drain(struct ig_http_server *server)
{
	server->draining = true;
}

void ig_http_server_prepare(int listening_fd)
{
	int on = 1;

	/* not a TCP socket: no delay to switch off */
	(void)setsockopt(listening_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

int ig_http_server_add(struct ig_http_server *server, int fd, struct ig_http_share *share,
	void *conn_data, struct ig_http_conn **ret)
{
	_cleanup_free_ struct ig_http_conn *conn = NULL;

	if (server->dying)
		return -EBUSY;
	if (server->n_conns >= server->connections_max) {
		server->counters[IG_HTTP_LIMIT_CONNECTIONS]++;
		return -EBUSY;
	}
	conn = calloc(1, sizeof(*conn));
	if (!conn)
		return -ENOMEM;
	conn->server = server;
	conn->data = conn_data;
	conn->share = share;
	conn->fd = fd;
	conn->state = STATE_IDLE;
	conn->since_usec = server->now_usec = ig_clock_mono_usec();
	if (event_assign(&conn->event, server->base, fd,
		    EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST, ig_http_conn_on_event,
		    conn) < 0)
		return -EINVAL;
	/* already now: its first event need not come twice then */
	(void)ig_http_conn_rank(conn);
	if (server->n_conns == 0 && start_tick(server) < 0)
		return -ENOMEM;
	if (event_add(&conn->event, NULL) < 0) {
		if (server->n_conns == 0)
			(void)event_del(&server->tick);
		return -ENOMEM;
	}
	TAILQ_INSERT_TAIL(&server->lists[STATE_IDLE], conn, link);
	server->n_conns++;
	server->counters[IG_HTTP_CONNECTIONS]++;
	if (ret)
		*ret = conn;
	(void)TAKE_PTR(conn);
	return 0;
}

void ig_http_server_counters(
	const struct ig_http_server *server, uint64_t ret[_IG_HTTP_COUNTER_MAX])
{
	memcpy(ret, server->counters, sizeof(server->counters));
}
