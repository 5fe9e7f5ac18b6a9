/*
 * Connections and their faults; see conn.h. A connection goes READING -> THINKING (a delay) ->
 * ANSWERING -> READING …, or ends in HUNG or CLOSING. While a request is in progress what follows
 * it stays in the input buffer, so that pipelined requests are answered in order. Must log a
 * request before it answers. Functions that may end the connection say so: nobody touches it after
 * them. Called by http.c.
 */
#include "lab/conn.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lab/parser.h"

#define HUGE_BYTES     (100ULL * 1024 * 1024)
#define HUGE_STEP      65536
#define HUGE_HEAD      "{\"access_token\":\""
#define HUGE_TAIL      "\"}"
#define TRUNCATED_MORE 100 /* bytes that Content-Length promises and nobody sends */
#define GARBAGE	       "\x16\x03\x01 this is no HTTP\r\n\r\n\xff\xfe"

enum conn_state { READING, THINKING, ANSWERING, HUNG, CLOSING };

struct lab_conn {
	LIST_ENTRY(lab_conn) link;
	struct lab_conns *conns; /* owns us */
	struct bufferevent *bev; /* owned, with the socket */
	struct event *timer;	 /* owned; ends THINKING */
	struct lab_parser parser;
	struct lab_plan plan; /* for the request in progress */
	enum conn_state state;
	bool counted; /* in stats.in_progress */
	bool eof;     /* the peer sends no more */
	bool close;   /* after the answer */
	char peer[LAB_ADDRESS_BYTES];
	char local[LAB_ADDRESS_BYTES];
};

/* ---- the log ---- */

static void log_begin(const struct lab_conn *c, struct ig_buf *line, const char *event)
{
	lab_log_begin(line, event);
	ig_buf_json_member_str(line, "local", c->local);
	ig_buf_json_member_str(line, "peer", c->peer);
}

static void log_request(const struct lab_conn *c)
{
	const struct lab_request *req = &c->parser.req;
	struct ig_buf line;

	log_begin(c, &line, "request");
	ig_buf_json_member_str(&line, "method", req->method);
	ig_buf_json_member_str(&line, "target", req->target.data ? req->target.data : "");
	ig_buf_json_key(&line, "headers");
	ig_buf_putc(&line, '{');
	for (size_t i = 0; i < req->n_headers; i++) {
		const struct lab_header *h = &req->headers[i];

		if (i)
			ig_buf_putc(&line, ',');
		ig_buf_json_string(&line, h->name, strlen(h->name));
		ig_buf_putc(&line, ':');
		ig_buf_json_string(&line, h->value, strlen(h->value));
	}
	ig_buf_putc(&line, '}');
	if (req->path)
		c->conns->options->describe(req, &line);
	lab_log_end(c->conns->options->log, &line);
}

static void log_reply(const struct lab_conn *c, const struct lab_reply *reply)
{
	struct ig_buf line;

	log_begin(c, &line, "reply");
	ig_buf_json_member_u64(&line, "status", reply->status);
	if (reply->client_id)
		ig_buf_json_member_str(&line, "client_id", reply->client_id);
	if (reply->resource)
		ig_buf_json_member_str(&line, "resource", reply->resource);
	if (reply->credential)
		ig_buf_json_member_str(&line, "credential", reply->credential);
	if (reply->error_code)
		ig_buf_json_member_u64(&line, "error_code", reply->error_code);
	if (c->plan.fault != LAB_FAULT_NONE)
		ig_buf_json_member_str(&line, "fault", lab_fault_name(c->plan.fault));
	else if (reply->fault)
		ig_buf_json_member_str(&line, "fault", reply->fault);
	lab_log_end(c->conns->options->log, &line);
}

/* For what is no reply: a fault that replaces it, a request that was none. */
static void log_kind(const struct lab_conn *c, const char *event, const char *kind)
{
	struct ig_buf line;

	log_begin(c, &line, event);
	ig_buf_json_member_str(&line, "kind", kind);
	lab_log_end(c->conns->options->log, &line);
}

/* ---- ends ---- */

static void request_over(struct lab_conn *c)
{
	if (c->counted)
		c->conns->options->stats->in_progress--;
	c->counted = false;
}

static struct lab_conn *conn_free(struct lab_conn *c)
{
	if (!c)
		return NULL;
	request_over(c);
	if (c->timer)
		event_free(c->timer);
	if (c->bev)
		bufferevent_free(c->bev);
	lab_parser_done(&c->parser);
	free(c);
	return NULL;
}
IG_DEFINE_CLEANUP(struct lab_conn *, conn_free);

static void conn_end(struct lab_conn *c)
{
	struct lab_conns *conns = c->conns;

	LIST_REMOVE(c, link);
	(void)conn_free(c);
	conns->on_gone(conns->userdata);
}

/* RST instead of FIN. Ends the connection. */
static void conn_reset(struct lab_conn *c)
{
	struct linger at_once = {.l_onoff = 1};

	(void)setsockopt(
		bufferevent_getfd(c->bev), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	conn_end(c);
}

/* Our half of the stream is over; waits for the peer's, since closing with unread input would be an
 * RST, which can overtake the answer. May end the connection. */
static void conn_close(struct lab_conn *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);

	if (c->eof) {
		conn_end(c);
		return;
	}
	c->state = CLOSING;
	(void)shutdown(bufferevent_getfd(c->bev), SHUT_WR);
	(void)evbuffer_drain(in, evbuffer_get_length(in));
}

/* ---- answers; each may end the connection ---- */

static bool is_head(const struct lab_conn *c)
{
	return c->parser.req.method && strcmp(c->parser.req.method, "HEAD") == 0;
}

static int add_head(struct lab_conn *c, const struct lab_reply *reply, uint64_t content_length)
{
	_cleanup_(ig_buf_donep) struct ig_buf head = {.limit = LAB_REPLY_BYTES};
	int r = lab_reply_head(reply, content_length, !c->close, &head);

	if (r < 0)
		return r;
	return bufferevent_write(c->bev, head.data, head.len) < 0 ? -ENOMEM : 0;
}

/* extra: how much more than the body the head announces. */
static void send_reply(struct lab_conn *c, const struct lab_reply *reply, uint64_t extra)
{
	const struct ig_buf *body = &reply->body;
	int r;

	c->state = ANSWERING;
	r = add_head(c, reply, body->len + extra);
	if (r == 0 && body->len && !is_head(c) &&
		bufferevent_write(c->bev, body->data, body->len) < 0)
		r = -ENOMEM;
	if (r < 0)
		conn_reset(c);
}

static void answer(struct lab_conn *c)
{
	const struct lab_http_options *o = c->conns->options;
	struct lab_reply reply;

	lab_reply_init(&reply);
	if (!c->parser.req.path)
		lab_reply_plain_error(&reply, 400, "Bad request");
	else
		o->handler(&c->parser.req, &reply, o->userdata);
	if (ig_buf_finish(&reply.body) < 0)
		lab_reply_failure(&reply, ig_buf_finish(&reply.body));
	if (c->plan.fault == LAB_FAULT_TRUNCATE)
		c->close = true;
	log_reply(c, &reply);
	send_reply(c, &reply, c->plan.fault == LAB_FAULT_TRUNCATE ? TRUNCATED_MORE : 0);
	lab_reply_done(&reply);
}

static void answer_failure(struct lab_conn *c)
{
	struct lab_reply reply;

	lab_reply_init(&reply);
	lab_reply_error(&reply, c->plan.fail_status, "lab_fault", "the test asked for this");
	if (c->plan.fail_retry_after_sec)
		ig_buf_printf(&reply.headers, "Retry-After: %" PRIu64 "\r\n",
			c->plan.fail_retry_after_sec);
	log_reply(c, &reply);
	send_reply(c, &reply, 0);
	lab_reply_done(&reply);
}

static void answer_garbage_body(struct lab_conn *c)
{
	struct lab_reply reply;

	lab_reply_init(&reply);
	ig_buf_puts(&reply.body, "{\"access_token\":\"eyJ0\",\"expires_");
	log_reply(c, &reply);
	send_reply(c, &reply, 0);
	lab_reply_done(&reply);
}

static int add_huge_body(struct evbuffer *out)
{
	static char filler[HUGE_STEP];
	size_t left = HUGE_BYTES - strlen(HUGE_HEAD) - strlen(HUGE_TAIL);

	memset(filler, 'A', sizeof(filler));
	if (evbuffer_add(out, HUGE_HEAD, strlen(HUGE_HEAD)) < 0)
		return -ENOMEM;
	while (left) {
		size_t n = left < HUGE_STEP ? left : HUGE_STEP;

		if (evbuffer_add_reference(out, filler, n, NULL, NULL) < 0)
			return -ENOMEM;
		left -= n;
	}
	return evbuffer_add(out, HUGE_TAIL, strlen(HUGE_TAIL)) < 0 ? -ENOMEM : 0;
}

/* A body that would be right if somebody swallowed it whole. */
static void answer_huge(struct lab_conn *c)
{
	struct lab_reply reply;
	int r;

	c->state = ANSWERING;
	lab_reply_init(&reply);
	log_reply(c, &reply);
	r = add_head(c, &reply, HUGE_BYTES);
	lab_reply_done(&reply);
	if (r == 0 && !is_head(c))
		r = add_huge_body(bufferevent_get_output(c->bev));
	if (r < 0)
		conn_reset(c);
}

static void answer_garbage(struct lab_conn *c)
{
	c->state = ANSWERING;
	c->close = true;
	log_kind(c, "fault", lab_fault_name(c->plan.fault));
	if (bufferevent_write(c->bev, GARBAGE, sizeof(GARBAGE) - 1) < 0)
		conn_reset(c);
}

static void act(struct lab_conn *c)
{
	switch (c->plan.fault) {
	case LAB_FAULT_HANG:
		log_kind(c, "fault", lab_fault_name(c->plan.fault));
		c->state = HUNG;
		if (c->eof)
			conn_end(c);
		return;
	case LAB_FAULT_RESET:
		log_kind(c, "fault", lab_fault_name(c->plan.fault));
		conn_reset(c);
		return;
	case LAB_FAULT_GARBAGE: answer_garbage(c); return;
	case LAB_FAULT_GARBAGE_BODY: answer_garbage_body(c); return;
	case LAB_FAULT_FAIL: answer_failure(c); return;
	case LAB_FAULT_HUGE: answer_huge(c); return;
	case LAB_FAULT_TRUNCATE:
	case LAB_FAULT_NONE:
	case _LAB_FAULT_MAX: answer(c); return;
	}
}

/* ---- requests ---- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	act(arg);
}

/* A whole request is there. May end the connection. */
static void begin_request(struct lab_conn *c)
{
	const struct lab_http_options *o = c->conns->options;
	struct timeval tv;

	(void)lab_request_split(&c->parser.req); /* on failure there is no path */
	log_request(c);
	o->stats->requests++;
	o->stats->in_progress++;
	if (o->stats->in_progress > o->stats->max_in_progress)
		o->stats->max_in_progress = o->stats->in_progress;
	c->counted = true;
	c->close = !c->parser.req.keep_alive;
	c->parser.req.local = c->local;
	lab_faults_next(o->faults, &c->plan);
	if (c->plan.delay_msec == 0) {
		act(c);
		return;
	}
	c->state = THINKING;
	tv = (struct timeval){.tv_sec = (time_t)(c->plan.delay_msec / 1000),
		.tv_usec = (suseconds_t)(c->plan.delay_msec % 1000) * 1000};
	if (event_add(c->timer, &tv) < 0)
		conn_reset(c);
}

/* What came is no request. May end the connection. */
static void refuse(struct lab_conn *c, int error)
{
	struct lab_reply reply;

	c->plan = (struct lab_plan){};
	c->close = true;
	lab_reply_init(&reply);
	lab_reply_plain_error(&reply, error == -E2BIG ? 413 : 400, "Bad request");
	log_kind(c, "malformed", ig_err_name(error));
	log_reply(c, &reply);
	send_reply(c, &reply, 0);
	lab_reply_done(&reply);
}

/* Reads the next request out of the input. May end the connection. */
static void feed(struct lab_conn *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);
	size_t len;

	while ((len = evbuffer_get_length(in)) > 0) {
		const char *data = (const char *)evbuffer_pullup(in, -1);
		size_t used = 0;
		int r = data ? lab_parser_feed(&c->parser, data, len, &used) : -ENOMEM;

		if (r < 0) {
			refuse(c, r);
			return;
		}
		(void)evbuffer_drain(in, used);
		if (r > 0) {
			begin_request(c);
			return;
		}
	}
	if (c->eof)
		conn_end(c);
}

/* ---- events ---- */

static void on_readable(struct bufferevent *bev, void *arg)
{
	struct evbuffer *in = bufferevent_get_input(bev);
	struct lab_conn *c = arg;

	if (c->state == READING)
		feed(c);
	else if (c->state == CLOSING)
		(void)evbuffer_drain(in, evbuffer_get_length(in));
}

/* Everything that was to be sent is with the kernel. */
static void on_written(struct bufferevent *bev, void *arg)
{
	struct lab_conn *c = arg;

	(void)bev;
	if (c->state != ANSWERING)
		return;
	request_over(c);
	if (c->close) {
		conn_close(c);
		return;
	}
	lab_parser_next(&c->parser);
	c->state = READING;
	feed(c);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct lab_conn *c = arg;

	(void)bev;
	c->eof = true;
	/* a client that has only shut down its half still gets its answer */
	if (!(what & BEV_EVENT_ERROR) && (c->state == THINKING || c->state == ANSWERING))
		return;
	conn_end(c);
}

int lab_conn_new(struct lab_conns *conns, int fd, const char *local, const char *peer)
{
	_cleanup_close_ int owned = fd;
	_cleanup_(conn_freep) struct lab_conn *c = calloc(1, sizeof(*c));
	struct event_base *base = conns->options->base;

	if (!c)
		return -ENOMEM;
	c->conns = conns;
	lab_parser_init(&c->parser);
	(void)snprintf(c->local, sizeof(c->local), "%s", local);
	(void)snprintf(c->peer, sizeof(c->peer), "%s", peer);
	c->timer = evtimer_new(base, on_timer, c);
	if (!c->timer)
		return -ENOMEM;
	c->bev = bufferevent_socket_new(base, owned, BEV_OPT_CLOSE_ON_FREE);
	if (!c->bev)
		return -ENOMEM;
	(void)TAKE_FD(owned);
	bufferevent_setcb(c->bev, on_readable, on_written, on_event, c);
	bufferevent_setwatermark(c->bev, EV_READ, 0, LAB_REQUEST_BYTES);
	if (bufferevent_enable(c->bev, EV_READ | EV_WRITE) < 0)
		return -ENOMEM;
	LIST_INSERT_HEAD(&conns->list, c, link);
	(void)TAKE_PTR(c);
	return 0;
}

void lab_conns_free_all(struct lab_conns *conns)
{
	struct lab_conn *c;

	while ((c = LIST_FIRST(&conns->list))) {
		LIST_REMOVE(c, link);
		(void)conn_free(c);
	}
}
