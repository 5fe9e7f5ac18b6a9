/*
 * What happens on one connection of the HTTP server: bytes in, requests up, responses out; see
 * server_conn.h for how. Called by the event loop, by server.c, and by whoever answers requests.
 *
 * It must never call up while it still needs what the callee may free: a connection that ends
 * inside a callback stays allocated until the function at the bottom of the stack (`busy`) is
 * through, and nothing that is called from outside the loop ends one, except _close().
 */
#include "http/server_conn.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/event.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "http/share.h"

/* A refused client may go on sending for a while; without reading that away, the reset that
 * close() would send could overtake the answer. */
#define DRAIN_BYTES (1024 * 1024)

#define REFUSAL_TYPE "application/json; charset=utf-8"
#define REFUSAL_BODY "{\"error\":\"invalid_request\",\"error_description\":\"Invalid request\"}"

static void conn_set_state(struct ig_http_conn *conn, enum conn_state state)
{
	TAILQ_REMOVE(&conn->server->lists[conn->state], conn, link);
	conn->state = state;
	conn->since_usec = conn->server->now_usec;
	TAILQ_INSERT_TAIL(&conn->server->lists[state], conn, link);
}

static bool conn_is_reading(const struct ig_http_conn *conn)
{
	return conn->state == STATE_IDLE || conn->state == STATE_RECEIVING;
}

/* Something can be done without waiting for the socket. */
static bool conn_has_work(const struct ig_http_conn *conn)
{
	if (conn_is_reading(conn))
		return conn->rx_more || conn->eof || conn->in_len;
	return conn->state == STATE_DRAINING || conn->state == STATE_DOOMED;
}

/* Runs conn_step() from the event loop. EV_TIMEOUT stands for "nothing happened on the socket". */
static void conn_kick(struct ig_http_conn *conn)
{
	event_active(&conn->event, EV_TIMEOUT, 0);
}

/* Memory for what is unfinished: counted for the owner, and for all. false: it is too much. */
static bool conn_take_bytes(struct ig_http_conn *conn, size_t n)
{
	struct ig_http_server *server = conn->server;

	if (server->buffered_bytes + n > IG_HTTP_BUFFERED_BYTES ||
		(conn->share && conn->share->bytes + n > IG_HTTP_BUFFERED_WORKLOAD_BYTES)) {
		server->counters[IG_HTTP_LIMIT_BUFFERED]++;
		return false;
	}
	server->buffered_bytes += n;
	if (conn->share)
		conn->share->bytes += n;
	return true;
}

static void conn_give_bytes(struct ig_http_conn *conn, size_t n)
{
	conn->server->buffered_bytes -= n;
	if (conn->share)
		conn->share->bytes -= n;
}

static void conn_drop_input(struct ig_http_conn *conn)
{
	conn_give_bytes(conn, conn->in_cap);
	free(conn->in);
	conn->in = NULL;
	conn->in_len = conn->in_cap = 0;
}

static void conn_drop_output(struct ig_http_conn *conn)
{
	if (conn->out)
		explicit_bzero(conn->out, conn->out_len);
	conn_give_bytes(conn, conn->out_len);
	free(conn->out);
	conn->out = NULL;
	conn->out_len = conn->out_off = 0;
}

/* Ends the connection. While it is busy its memory stays, and so does its state, for the functions
 * on the stack to see. */
static void conn_destroy(struct ig_http_conn *conn)
{
	struct ig_http_server *server = conn->server;

	if (conn->dead)
		return;
	conn->dead = true;
	(void)event_del(&conn->event);
	conn->fd = ig_close(conn->fd);
	TAILQ_REMOVE(&server->lists[conn->state], conn, link);
	conn->state = STATE_DOOMED;
	if (--server->n_conns == 0)
		(void)event_del(&server->tick);
	conn_drop_input(conn);
	conn_drop_output(conn);
	if (server->ops.on_close)
		server->ops.on_close(conn, conn->data);
	if (!conn->busy)
		free(conn);
}

/* ---- sending ----------------------------------------------------------------------------- */

/* The response is out: what comes next. */
static void conn_sent(struct ig_http_conn *conn)
{
	conn_drop_output(conn);
	/* closing with unread bytes would reset the connection under the response */
	conn->linger |= conn->rx_more;
	if (!conn->close_after) {
		conn->linger = false;
		conn_set_state(conn, STATE_IDLE);
	} else if (conn->linger && shutdown(conn->fd, SHUT_WR) == 0) {
		conn_drop_input(conn);
		conn_set_state(conn, STATE_DRAINING);
	} else {
		conn_set_state(conn, STATE_DOOMED);
	}
}

/* Sends until all is out or the socket is full. Only -EAGAIN makes sure that an edge will come. */
static void conn_flush(struct ig_http_conn *conn)
{
	while (conn->out_off < conn->out_len) {
		ssize_t n = send(conn->fd, conn->out + conn->out_off, conn->out_len - conn->out_off,
			MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return;
		if (n < 0) {
			conn_set_state(conn, STATE_DOOMED);
			return;
		}
		conn->out_off += (size_t)n;
	}
	conn_sent(conn);
}

/* Copies what sendmsg() did not take and goes on with that. */
static void conn_send_rest(struct ig_http_conn *conn, const struct iovec iov[2], size_t sent)
{
	size_t len = iov[0].iov_len + iov[1].iov_len - sent;
	size_t from_head = sent < iov[0].iov_len ? iov[0].iov_len - sent : 0;
	size_t body_off = sent > iov[0].iov_len ? sent - iov[0].iov_len : 0;

	if (!conn_take_bytes(conn, len)) {
		conn_set_state(conn, STATE_DOOMED);
		return;
	}
	conn->out = malloc(len);
	if (!conn->out) {
		conn_give_bytes(conn, len);
		conn_set_state(conn, STATE_DOOMED);
		return;
	}
	if (from_head)
		memcpy(conn->out, (const char *)iov[0].iov_base + sent, from_head);
	if (len > from_head)
		memcpy(conn->out + from_head, (const char *)iov[1].iov_base + body_off,
			len - from_head);
	conn->out_len = len;
	conn->out_off = 0;
	conn_set_state(conn, STATE_WRITING);
	conn_flush(conn);
}

/* Answers; the state afterwards is anything but PENDING. */
static void conn_send(struct ig_http_conn *conn, unsigned int status, const char *content_type,
	const struct ig_http_header *extra, size_t n_extra, const void *body, size_t body_len)
{
	char head[IG_HTTP_RESPONSE_HEAD_BYTES];
	ssize_t head_len = ig_http_format_head(status, content_type,
		ig_http_date_text(&conn->server->date, ig_clock_real_usec() / IG_USEC_PER_SEC),
		extra, n_extra, body_len, conn->close_after, head);
	/* sendmsg() reads only; the cast is the interface's */
	struct iovec iov[2] = {
		{.iov_base = head, .iov_len = (size_t)head_len},
		{.iov_base = (void *)body, .iov_len = conn->head_only ? 0 : body_len},
	};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	ssize_t n;

	if (head_len < 0) {
		conn_set_state(conn, STATE_DOOMED);
		return;
	}
	do {
		n = sendmsg(conn->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
		conn_set_state(conn, STATE_DOOMED);
	else if (n >= 0 && (size_t)n == iov[0].iov_len + iov[1].iov_len)
		conn_sent(conn);
	else
		conn_send_rest(conn, iov, n < 0 ? 0 : (size_t)n);
}

/* Answers what cannot be handed up and lets the connection end: -EBADMSG. The connection may be
 * dead afterwards. */
static int conn_refuse(struct ig_http_conn *conn, const struct ig_http_refusal *refusal)
{
	struct ig_http_server *server = conn->server;

	switch (refusal->status) {
	case 408: server->counters[IG_HTTP_TIMEOUTS]++; break;
	case 413: server->counters[IG_HTTP_LIMIT_BODY]++; break;
	case 414: server->counters[IG_HTTP_LIMIT_TARGET]++; break;
	case 431: server->counters[IG_HTTP_LIMIT_HEADERS]++; break;
	default: server->counters[IG_HTTP_MALFORMED]++; break;
	}
	conn->close_after = true;
	conn->linger = true;
	conn->head_only = false;
	conn_set_state(conn, STATE_PENDING);
	conn_send(conn, refusal->status, REFUSAL_TYPE, NULL, 0, REFUSAL_BODY,
		sizeof(REFUSAL_BODY) - 1);
	if (server->ops.on_malformed)
		server->ops.on_malformed(conn, refusal->status, refusal->why, conn->data);
	return -EBADMSG;
}

/* ---- receiving --------------------------------------------------------------------------- */

static void conn_hand_up(struct ig_http_conn *conn, struct ig_http_head *head, char *buf)
{
	ig_http_head_terminate(head, buf);
	if (head->content_length) {
		head->request.body = buf + conn->head_len;
		head->request.body_len = head->content_length;
	}
	conn->head_only = head->request.method == IG_HTTP_HEAD;
	conn->close_after = head->close;
	conn->scan = (struct ig_http_scan){};
	conn->head_len = conn->need_bytes = 0;
	conn->blank_seen = false;
	conn_set_state(conn, STATE_PENDING);
	conn->server->counters[IG_HTTP_REQUESTS]++;
	conn->server->ops.on_request(conn, &head->request, conn->data);
}

/* Tries to take one request from buf. Returns how many bytes are consumed, 0 when more are needed,
 * or a negative errno when it was refused. The connection may be dead afterwards. */
static ssize_t conn_request(struct ig_http_conn *conn, char *buf, size_t len)
{
	struct ig_http_refusal refusal;
	struct ig_http_head head;
	size_t whole;
	ssize_t r;

	/* RFC 9112 2.2: one empty line before a request is forgiven */
	if (conn->scan.pos == 0 && !conn->blank_seen && buf[0] == '\r') {
		if (len < 2)
			return 0;
		conn->blank_seen = buf[1] == '\n';
		if (conn->blank_seen)
			return 2;
	}
	if (len < conn->need_bytes)
		return 0;
	if (conn->head_len == 0) {
		r = ig_http_scan_head(&conn->scan, buf, len, &refusal);
		if (r == 0)
			return 0;
		if (r < 0)
			return conn_refuse(conn, &refusal);
		conn->head_len = (size_t)r;
	}
	r = ig_http_parse_head(&conn->scan, buf, &head, &refusal);
	if (r < 0)
		return conn_refuse(conn, &refusal);
	whole = conn->head_len + head.content_length;
	if (len < whole) {
		conn->need_bytes = whole;
		return 0;
	}
	conn_hand_up(conn, &head, buf);
	return (ssize_t)whole;
}

/* Reads once. A short read means that the socket is empty, so an end of file that was announced has
 * been reached. 0 or a count, or a negative errno. */
static ssize_t conn_receive(struct ig_http_conn *conn, char *buf, size_t room)
{
	ssize_t n;

	do {
		n = recv(conn->fd, buf, room, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
		return -errno;
	conn->rx_more = n > 0 && (size_t)n == room;
	if (n == 0)
		conn->eof = true;
	return n < 0 ? 0 : n;
}

/* Keeps the bytes that no request has used up yet. */
static int conn_keep(struct ig_http_conn *conn, const char *buf, size_t len)
{
	if (len == 0) {
		conn_drop_input(conn);
		return 0;
	}
	if (len > conn->in_cap) {
		size_t cap = 512;
		char *in;

		while (cap < len)
			cap *= 2;
		if (!conn_take_bytes(conn, cap - conn->in_cap))
			return -EDQUOT;
		in = malloc(cap);
		if (!in) {
			conn_give_bytes(conn, cap - conn->in_cap);
			return -ENOMEM;
		}
		free(conn->in);
		conn->in = in;
		conn->in_cap = cap;
	}
	memcpy(conn->in, buf, len);
	conn->in_len = len;
	return 0;
}

/* One read and one request; others have their turn before the next. */
static void conn_input(struct ig_http_conn *conn)
{
	char *scratch = conn->server->scratch;
	uint64_t requests = conn->server->counters[IG_HTTP_REQUESTS];
	size_t len = conn->in_len, off = 0;
	bool had_turn = false;
	ssize_t n = 0;

	if (len)
		memcpy(scratch, conn->in, len);
	if (conn->rx_more || conn->eof)
		n = conn_receive(conn, scratch + len, SCRATCH_BYTES - len);
	if (n < 0) {
		conn_set_state(conn, STATE_DOOMED);
		return;
	}
	len += (size_t)n;
	while (conn_is_reading(conn) && off < len && !had_turn) {
		n = conn_request(conn, scratch + off, len - off);
		if (n <= 0)
			break;
		off += (size_t)n;
		had_turn = conn->server->counters[IG_HTTP_REQUESTS] != requests;
	}
	if (conn->dead || conn->state == STATE_DOOMED || conn->state == STATE_DRAINING)
		return;
	if (conn_keep(conn, scratch + off, len - off) < 0) {
		conn_set_state(conn, STATE_DOOMED);
		return;
	}
	if (!conn_is_reading(conn))
		return;
	if (conn->state == STATE_IDLE && (conn->in_len || conn->blank_seen))
		conn_set_state(conn, STATE_RECEIVING);
	if (conn->rx_more || (had_turn && conn->in_len))
		conn_kick(conn);
	else if (conn->eof)
		conn_set_state(conn, STATE_DOOMED);
}

static void conn_drain(struct ig_http_conn *conn)
{
	ssize_t n = conn_receive(conn, conn->server->scratch, SCRATCH_BYTES);

	conn->drained_bytes += n > 0 ? (size_t)n : 0;
	if (n < 0 || conn->drained_bytes > DRAIN_BYTES || (conn->eof && !conn->rx_more))
		conn_set_state(conn, STATE_DOOMED);
	else if (conn->rx_more)
		conn_kick(conn);
}

/* The client closed both directions or was reset. One that only finished sending (FIN) may still be
 * waiting for its answer. */
static bool conn_is_hung_up(const struct ig_http_conn *conn)
{
	struct pollfd p = {.fd = conn->fd};

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR)) != 0;
}

static void conn_step(struct ig_http_conn *conn)
{
	if (conn->state == STATE_PENDING && conn_is_hung_up(conn))
		conn_set_state(conn, STATE_DOOMED);
	if (conn->state == STATE_WRITING)
		conn_flush(conn);
	if (conn_is_reading(conn) && conn_has_work(conn))
		conn_input(conn);
	if (conn->state == STATE_DRAINING)
		conn_drain(conn);
	if (conn->state == STATE_DOOMED)
		conn_destroy(conn);
}

/* Whose owner has had too much of the loop's time goes on after everybody else, whose has not (any
 * more) as usual. true: that has changed. */
bool ig_http_conn_rank(struct ig_http_conn *conn)
{
	struct event_base *base = conn->server->base;
	int last = event_base_get_npriorities(base) - 1;
	bool late = conn->share && ig_http_share_is_over(conn->share, conn->server->now_usec);

	/* libevent's own choice for events is the middle */
	if (late == conn->late ||
		event_priority_set(&conn->event, late ? last : (last + 1) / 2) < 0)
		return false;
	conn->late = late;
	return true;
}

/* true: not now, but its turn will come. */
static bool conn_is_put_off(struct ig_http_conn *conn)
{
	if (!ig_http_conn_rank(conn) || !conn->late)
		return false;
	conn_kick(conn);
	return true;
}

void ig_http_conn_on_event(evutil_socket_t fd, short what, void *arg)
{
	struct ig_http_conn *conn = arg;
	struct ig_http_server *server = conn->server;
	struct ig_http_share *share = conn->share;
	uint64_t begin_usec;

	(void)fd;
	ig_http_server_enter(server);
	begin_usec = server->now_usec;
	conn->eof |= (what & EV_CLOSED) != 0;
	conn->rx_more |= (what & EV_READ) != 0;
	if (!conn_is_put_off(conn)) {
		conn->busy = true;
		conn_step(conn);
		conn->busy = false;
		if (conn->dead)
			free(conn);
		if (share) {
			uint64_t now_usec = ig_clock_mono_usec();

			ig_http_share_spend(share, now_usec - begin_usec, now_usec);
		}
	}
	ig_http_server_leave(server);
}

/* ---- for server.c and callers ------------------------------------------------------------ */

void ig_http_conn_expire(struct ig_http_conn *conn)
{
	static const struct ig_http_refusal too_slow = {408, "request took too long"};

	if (conn->state == STATE_RECEIVING) {
		conn->busy = true;
		(void)conn_refuse(conn, &too_slow);
		conn->busy = false;
		if (conn->dead)
			free(conn);
		else if (conn->state == STATE_DOOMED)
			conn_destroy(conn);
		return;
	}
	if (conn->state == STATE_IDLE)
		conn->server->counters[IG_HTTP_TIMEOUTS]++;
	conn_destroy(conn);
}

void ig_http_conn_respond(struct ig_http_conn *conn, unsigned int status, const char *content_type,
	const struct ig_http_header *extra, size_t n_extra, const void *body, size_t body_len)
{
	if (conn->state != STATE_PENDING)
		return;
	conn->server->now_usec = ig_clock_mono_usec();
	/* what the client has sent already it will not send again elsewhere */
	if (conn->server->draining && !conn->in_len && !conn->rx_more)
		conn->close_after = true;
	conn_send(conn, status, content_type, extra, n_extra, body, body_len);
	/* The caller may go on using the connection, and other requests may be using the scratch
	 * buffer: the rest is done from the loop. */
	if (!conn->busy && conn_has_work(conn))
		conn_kick(conn);
}

void ig_http_conn_close(struct ig_http_conn *conn)
{
	struct ig_http_server *server = conn->server;

	if (conn->dead)
		return;
	ig_http_server_enter(server);
	if (conn->state == STATE_WRITING)
		conn_flush(conn);
	conn_destroy(conn);
	ig_http_server_leave(server);
}
