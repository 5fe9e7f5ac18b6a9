/*
 * The agent's end of the control socket; see server.h and proto.h for the protocol. Runs in the
 * agent's one event loop.
 *
 * It must never serve a peer that is neither root nor the agent's own user, never keep more than a
 * bounded amount of anybody's input or output, never wait for a peer without a deadline (streams
 * excepted: their queue is bounded and a full one loses lines, which the caller counts), and never
 * close a connection from within ig_ctl_conn_send(), because its callers stand in the middle of a
 * list of subscribers.
 */
#include "ctl/server.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "ctl/proto.h"

#define REQUEST_SEC 10 /* to send the request */
#define REPLY_SEC   30 /* to take the reply */
#define RESUME_SEC  1  /* after accept() failed, most likely for want of descriptors */
#define ERROR_BYTES 8192
#define WORD_BYTES  64 /* of a peer's word, in messages */

enum conn_state {
	CONN_READING,	/* the request is not complete, or is being worked on */
	CONN_REPLYING,	/* ends when the reply is written */
	CONN_STREAMING, /* ends when the peer hangs up */
};

struct ig_ctl_conn {
	TAILQ_ENTRY(ig_ctl_conn) entry;
	struct ig_ctl_server *server; /* its owner */
	struct bufferevent *bev;      /* owned, and the socket with it */
	struct event *deadline;	      /* owned */
	enum conn_state state;
	void (*closed)(void *userdata);
	void *closed_userdata;
};

struct ig_ctl_server {
	TAILQ_HEAD(, ig_ctl_conn) conns; /* owned */
	size_t n_conns;
	struct event_base *base;	 /* borrowed */
	struct evconnlistener *listener; /* owned, and the socket with it */
	struct event *resume;		 /* owned */
	const struct ig_ctl_verb *verbs; /* borrowed */
	void *userdata;
};

static struct ig_ctl_conn *conn_free(struct ig_ctl_conn *conn)
{
	TAILQ_REMOVE(&conn->server->conns, conn, entry);
	conn->server->n_conns--;
	if (conn->closed)
		conn->closed(conn->closed_userdata);
	if (conn->bev)
		bufferevent_free(conn->bev);
	if (conn->deadline)
		event_free(conn->deadline);
	free(conn);
	return NULL;
}
IG_DEFINE_CLEANUP(struct ig_ctl_conn *, conn_free);

static int set_deadline(struct ig_ctl_conn *conn, long sec)
{
	const struct timeval delay = {.tv_sec = sec};

	return evtimer_add(conn->deadline, &delay) < 0 ? -ENOMEM : 0;
}

static void free_text(const void *data, size_t len, void *arg)
{
	(void)data;
	(void)len;
	free(arg);
}

/* Queues the reply, whose memory becomes the connection's. The connection may be gone afterwards.
 */
static void reply(struct ig_ctl_conn *conn, struct ig_buf *b)
{
	struct evbuffer *out = bufferevent_get_output(conn->bev);

	conn->state = CONN_REPLYING;
	if (ig_buf_finish(b) < 0 || set_deadline(conn, REPLY_SEC) < 0 ||
		evbuffer_add_reference(out, b->data, b->len, free_text, b->data) < 0) {
		(void)conn_free(conn);
		return;
	}
	(void)TAKE_PTR(b->data);
}

static void put_error(struct ig_buf *b, int code, const char *message)
{
	ig_buf_puts(b, "{\"ok\":false,\"error\":{");
	ig_buf_json_member_str(b, "code", ig_err_name(code));
	ig_buf_json_member_str(b, "message", message[0] ? message : strerror(-code));
	ig_buf_puts(b, "}}\n");
}

static void reply_error(struct ig_ctl_conn *conn, int code, const struct ig_err *err)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = ERROR_BYTES};
	char message[IG_ERR_FILE_BYTES + IG_ERR_MESSAGE_BYTES + 32];

	put_error(&b, code, ig_err_format(err, message, sizeof(message)));
	reply(conn, &b);
}

static void reply_result(struct ig_ctl_conn *conn, const json_t *result)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_CTL_REPLY_BYTES};
	struct ig_err err = {};

	ig_buf_puts(&b, "{\"ok\":true,\"result\":");
	ig_json_dump(&b, result, JSON_COMPACT | JSON_ENCODE_ANY);
	ig_buf_puts(&b, "}\n");
	if (ig_buf_finish(&b) == -E2BIG)
		ig_err_set(&err, -E2BIG, "the answer is larger than %d bytes", IG_CTL_REPLY_BYTES);
	else if (ig_buf_finish(&b) < 0)
		ig_err_set(&err, -ENOMEM, "out of memory while answering");
	if (err.message[0])
		reply_error(conn, ig_buf_finish(&b) == -E2BIG ? -E2BIG : -ENOMEM, &err);
	else
		reply(conn, &b);
}

static int start_stream(struct ig_ctl_conn *conn)
{
	static const char head[] = "{\"ok\":true,\"result\":\"streaming\"}\n";

	if (bufferevent_write(conn->bev, head, sizeof(head) - 1) < 0)
		return -ENOMEM;
	conn->state = CONN_STREAMING;
	(void)evtimer_del(conn->deadline);
	return 0;
}

int ig_ctl_conn_send(struct ig_ctl_conn *conn, const char *line, size_t len)
{
	struct evbuffer *out = bufferevent_get_output(conn->bev);
	size_t queued = evbuffer_get_length(out);
	bool ended = len && line[len - 1] == '\n';
	int r;

	if (conn->state == CONN_REPLYING)
		return -EINVAL;
	if (len >= IG_AUDIT_SUBSCRIBER_BYTES || queued + len + !ended > IG_AUDIT_SUBSCRIBER_BYTES)
		return -EAGAIN;
	if (conn->state == CONN_READING) { /* the verb sends before it returns */
		r = start_stream(conn);
		if (r < 0)
			return r;
	}
	/* one piece or nothing: half a line would spoil the next */
	if (evbuffer_expand(out, len + 1) < 0 || evbuffer_add(out, line, len) < 0)
		return -ENOMEM;
	if (!ended)
		(void)evbuffer_add(out, "\n", 1);
	return 0;
}

void ig_ctl_conn_on_close(struct ig_ctl_conn *conn, void (*closed)(void *userdata), void *userdata)
{
	conn->closed = closed;
	conn->closed_userdata = userdata;
}

static int parse_request(const char *line, size_t len, json_t **ret, struct ig_err *reterr_err)
{
	_cleanup_(json_decrefp) json_t *request = NULL;
	json_error_t where;
	json_t *v;

	request = ig_json_load(line, len, JSON_REJECT_DUPLICATES, &where);
	if (!request)
		return ig_err_set(reterr_err, -EBADMSG, "the request is not JSON: %s", where.text);
	if (!json_is_object(request))
		return ig_err_set(reterr_err, -EBADMSG, "the request is not a JSON object");
	v = json_object_get(request, "v");
	if (!json_is_integer(v))
		return ig_err_set(reterr_err, -EBADMSG, "the request has no version");
	if (json_integer_value(v) != IG_CTL_VERSION)
		return ig_err_set(reterr_err, -EOPNOTSUPP,
			"the agent speaks version %d of the control protocol, the request has version %lld",
			IG_CTL_VERSION, (long long)json_integer_value(v));
	*ret = TAKE_PTR(request);
	return 0;
}

static bool same_verb(const struct ig_ctl_verb *entry, const char *verb)
{
	return strcmp(entry->verb ? entry->verb : "", verb) == 0;
}

static int find_verb(const struct ig_ctl_verb *verbs, const char *noun, const char *verb,
	const struct ig_ctl_verb **ret, struct ig_err *reterr_err)
{
	bool known_noun = false;

	for (; verbs->noun; verbs++) {
		if (strcmp(verbs->noun, noun) != 0)
			continue;
		known_noun = true;
		if (same_verb(verbs, verb)) {
			*ret = verbs;
			return 0;
		}
	}
	if (!known_noun)
		return ig_err_set(reterr_err, -ENOENT, "unknown noun \"%.*s\"", WORD_BYTES, noun);
	return ig_err_set(reterr_err, -ENOENT, "\"%.*s\" has no verb \"%.*s\"", WORD_BYTES, noun,
		WORD_BYTES, verb);
}

/* The string in `object`, "" when there is no such member; NULL when it is not a string. */
static const char *optional_string(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return value ? json_string_value(value) : "";
}

static int run_request(struct ig_ctl_conn *conn, const json_t *request, json_t **ret_result,
	struct ig_err *reterr_err)
{
	const char *noun = optional_string(request, "noun");
	const char *verb = optional_string(request, "verb");
	json_t *given = json_object_get(request, "args");
	_cleanup_(json_decrefp) json_t *args = given ? json_incref(given) : json_object();
	const struct ig_ctl_verb *found = NULL;
	int r;

	if (!args)
		return -ENOMEM;
	if (!noun || !noun[0] || !verb || !json_is_object(args))
		return ig_err_set(reterr_err, -EBADMSG,
			"the request needs a noun, and its verb and args are a string and an object");
	r = find_verb(conn->server->verbs, noun, verb, &found, reterr_err);
	if (r < 0)
		return r;
	return found->run(conn, args, conn->server->userdata, ret_result, reterr_err);
}

/* The connection may be gone afterwards. */
static void handle_request(struct ig_ctl_conn *conn, const char *line, size_t len)
{
	_cleanup_(json_decrefp) json_t *request = NULL, *result = NULL;
	struct ig_err err = {};
	int r;

	r = parse_request(line, len, &request, &err);
	if (r == 0)
		r = run_request(conn, request, &result, &err);
	if (r == 0 && !result && conn->state == CONN_READING)
		r = start_stream(conn);
	if (conn->state == CONN_STREAMING) {
		if (r < 0 || result) /* too late for another answer */
			(void)conn_free(conn);
	} else if (r < 0) {
		reply_error(conn, r, &err);
	} else {
		reply_result(conn, result);
	}
}

static void on_readable(struct bufferevent *bev, void *arg)
{
	struct ig_ctl_conn *conn = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	_cleanup_free_ char *line = NULL;
	struct ig_err err = {};
	size_t len = 0;

	if (conn->state != CONN_READING) { /* one request; the rest is of no interest */
		(void)evbuffer_drain(in, evbuffer_get_length(in));
		return;
	}
	line = evbuffer_readln(in, &len, EVBUFFER_EOL_LF);
	if (line) {
		handle_request(conn, line, len);
	} else if (evbuffer_get_length(in) > IG_CTL_REQUEST_BYTES) {
		ig_err_set(
			&err, -E2BIG, "the request is larger than %d bytes", IG_CTL_REQUEST_BYTES);
		(void)evbuffer_drain(in, evbuffer_get_length(in));
		reply_error(conn, -E2BIG, &err);
	}
}

static void on_written(struct bufferevent *bev, void *arg)
{
	struct ig_ctl_conn *conn = arg;

	(void)bev;
	if (conn->state == CONN_REPLYING)
		(void)conn_free(conn);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct ig_ctl_conn *conn = arg;

	(void)bev;
	/* a peer that has said all it has to say may still wait for the reply */
	if ((what & BEV_EVENT_EOF) && conn->state == CONN_REPLYING)
		return;
	(void)conn_free(conn);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)conn_free(arg);
}

/* fd becomes the connection's, or is closed on failure. */
static int conn_new(struct ig_ctl_server *server, int fd)
{
	_cleanup_close_ int owned = fd;
	_cleanup_(conn_freep) struct ig_ctl_conn *conn = calloc(1, sizeof(*conn));

	if (!conn)
		return -ENOMEM;
	conn->server = server;
	TAILQ_INSERT_TAIL(&server->conns, conn, entry);
	server->n_conns++;
	conn->deadline = evtimer_new(server->base, on_deadline, conn);
	if (!conn->deadline || set_deadline(conn, REQUEST_SEC) < 0)
		return -ENOMEM;
	conn->bev = bufferevent_socket_new(server->base, owned, BEV_OPT_CLOSE_ON_FREE);
	if (!conn->bev)
		return -ENOMEM;
	(void)TAKE_FD(owned);
	bufferevent_setcb(conn->bev, on_readable, on_written, on_event, conn);
	/* the longest request and its newline */
	bufferevent_setwatermark(conn->bev, EV_READ, 0, IG_CTL_REQUEST_BYTES + 1);
	if (bufferevent_enable(conn->bev, EV_READ | EV_WRITE) < 0)
		return -ENOMEM;
	(void)TAKE_PTR(conn); /* the list has it */
	return 0;
}

static int check_peer(int fd)
{
	struct ucred peer = {};
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return -errno;
	return peer.uid == 0 || peer.uid == geteuid() ? 0 : -EACCES;
}

/* Says why, if the socket takes it at once. Does not close. */
static void refuse(int fd, int code, const char *message)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = ERROR_BYTES};

	put_error(&b, code, message);
	if (ig_buf_finish(&b) == 0)
		(void)send(fd, b.data, b.len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *addr,
	int addr_len, void *arg)
{
	struct ig_ctl_server *server = arg;
	_cleanup_close_ int owned = fd;
	int r;

	(void)listener;
	(void)addr;
	(void)addr_len;
	if (check_peer(owned) < 0) {
		refuse(owned, -EACCES, "only root and the agent's own user may ask");
		return;
	}
	if (server->n_conns >= IG_CTL_CONNECTIONS_MAX) {
		refuse(owned, -EBUSY, "too many control connections");
		return;
	}
	r = conn_new(server, TAKE_FD(owned));
	if (r < 0)
		ig_log_warning_errno(r, "cannot serve a control connection, ignoring");
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct ig_ctl_server *server = arg;

	(void)fd;
	(void)what;
	(void)evconnlistener_enable(server->listener);
}

/* The listener stays readable when accept() fails, so going on at once would spin. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
	const struct timeval delay = {.tv_sec = RESUME_SEC};
	struct ig_ctl_server *server = arg;
	int error = EVUTIL_SOCKET_ERROR();

	ig_log_warning_errno(-error, "cannot accept control connections, pausing");
	if (evtimer_add(server->resume, &delay) == 0)
		(void)evconnlistener_disable(listener);
}

struct ig_ctl_server *ig_ctl_server_free(struct ig_ctl_server *server)
{
	if (!server)
		return NULL;
	while (!TAILQ_EMPTY(&server->conns))
		(void)conn_free(TAILQ_FIRST(&server->conns));
	if (server->listener)
		evconnlistener_free(server->listener);
	if (server->resume)
		event_free(server->resume);
	free(server);
	return NULL;
}
IG_DEFINE_CLEANUP(struct ig_ctl_server *, ig_ctl_server_free);

int ig_ctl_server_new(struct event_base *base, int listen_fd, const struct ig_ctl_verb *verbs,
	void *userdata, struct ig_ctl_server **ret)
{
	_cleanup_(ig_ctl_server_freep) struct ig_ctl_server *server = calloc(1, sizeof(*server));

	if (!server)
		return -ENOMEM;
	TAILQ_INIT(&server->conns);
	server->base = base;
	server->verbs = verbs;
	server->userdata = userdata;
	server->resume = evtimer_new(base, on_resume, server);
	if (!server->resume || evutil_make_socket_nonblocking(listen_fd) < 0)
		return -ENOMEM;
	/* backlog 0: the socket listens already */
	server->listener = evconnlistener_new(base, on_accept, server,
		LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, listen_fd);
	if (!server->listener)
		return -ENOMEM;
	evconnlistener_set_error_cb(server->listener, on_accept_error);
	*ret = TAKE_PTR(server);
	return 0;
}
