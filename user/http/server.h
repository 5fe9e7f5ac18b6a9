/*
 * HTTP/1.1 server side of one accepted connection, on libevent and llhttp in its strictest mode.
 * Everything that comes in is hostile. It parses whole requests, hands them up one at a time (a
 * pipelined one waits until the one before is answered), and writes whole responses with
 * Content-Length. It knows nothing of IMDS, workloads or policy.
 *
 * Limits are those of <imdsgate/limits.h>: request target, header bytes and count, body, time to
 * the end of the headers, idle time between requests, connections in all. One that is exceeded is
 * answered (414, 431, 413, 408) where the connection still allows it, counted, and the connection
 * closed. A malformed request (smuggling forms, bare CR or LF, obs-fold, control characters in
 * headers, two or no Host in HTTP/1.1, invalid Content-Length, any Transfer-Encoding,
 * CONNECT) is answered 400 and closed.
 *
 * A client that is reset or gone while its request waits ends the connection at once. One that only
 * finished sending (FIN) still gets its answer: close() and shutdown() look the same from here.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "http/message.h"

struct event_base;
struct ig_http_server;
struct ig_http_conn;
struct ig_http_share;

enum ig_http_counter {
	IG_HTTP_CONNECTIONS,	   /* accepted so far */
	IG_HTTP_REQUESTS,	   /* handed up */
	IG_HTTP_MALFORMED,	   /* answered 400 here (or 417: a body behind Expect) */
	IG_HTTP_LIMIT_TARGET,	   /* 414 */
	IG_HTTP_LIMIT_HEADERS,	   /* 431 */
	IG_HTTP_LIMIT_BODY,	   /* 413 */
	IG_HTTP_LIMIT_CONNECTIONS, /* closed at once */
	IG_HTTP_LIMIT_BUFFERED,	   /* closed: too much is unfinished, of the owner or of all */
	IG_HTTP_TIMEOUTS,	   /* closed by the header or idle timer */
	_IG_HTTP_COUNTER_MAX
};

struct ig_http_server_ops {
	/* A whole request. Exactly one ig_http_conn_respond() must follow, now or later, unless
	 * on_close comes first. */
	void (*on_request)(
		struct ig_http_conn *conn, const struct ig_http_request *req, void *conn_data);
	/* The parser refused the input and answered `status` itself. `why` is a literal. Optional.
	 */
	void (*on_malformed)(
		struct ig_http_conn *conn, unsigned int status, const char *why, void *conn_data);
	/* The connection is gone and `conn` becomes invalid after this returns: release conn_data,
	 * cancel what still runs for it. Called exactly once for each connection that was added. */
	void (*on_close)(struct ig_http_conn *conn, void *conn_data);
};

int ig_http_server_new(
	struct event_base *base, const struct ig_http_server_ops *ops, struct ig_http_server **ret);
/* Another limit of connections than IG_HTTP_CONNECTIONS_MAX. */
void ig_http_server_limit(struct ig_http_server *server, size_t connections_max);
/* Closes every connection (on_close is called for each). */
struct ig_http_server *ig_http_server_free(struct ig_http_server *server);

/* From now on every answer is the last one on its connection. Connections without a request under
 * way stay open for one more: closing them could cross with a request. */
void ig_http_server_drain(struct ig_http_server *server);

/* For a listening socket whose connections are going to be added: they inherit what is set here
 * once, that an answer is sent without waiting for the acknowledgement of the one before. */
void ig_http_server_prepare(int listening_fd);

/* Takes a connected, non-blocking stream socket. share: of its owner, outlives the connection; what
 * the owner has too much of waits in the last of the event base's priorities. NULL: nobody counts.
 * On failure (-ENOMEM, -EBUSY at the connection
 * limit) the descriptor stays the caller's and on_close is not called. */
int ig_http_server_add(struct ig_http_server *server, int fd, struct ig_http_share *share,
	void *conn_data, struct ig_http_conn **ret);

/* Answers the request that is under way. Writes the status line, Content-Type (unless NULL),
 * Content-Length, Date, Server ("IMDS/…", see server.c), the extra headers, and the body, which is
 * copied (and its copy wiped after sending: it may be a token). HEAD gets no body. HTTP/1.0 and
 * "Connection: close" requests close afterwards. Does nothing if no request is under way. Never
 * calls on_close or on_request before it returns: what follows comes from the event loop. */
void ig_http_conn_respond(struct ig_http_conn *conn, unsigned int status, const char *content_type,
	const struct ig_http_header *extra, size_t n_extra, const void *body, size_t body_len);

/* Closes now (after what is buffered was tried once); on_close is called before this returns. */
void ig_http_conn_close(struct ig_http_conn *conn);

void ig_http_server_counters(
	const struct ig_http_server *server, uint64_t ret[_IG_HTTP_COUNTER_MAX]);
