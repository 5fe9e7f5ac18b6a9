/*
 * A connection of the HTTP server and the server itself, as server.c (who there is, deadlines, the
 * public functions) and server_conn.c (what happens on one connection) see them. Nobody else
 * includes this.
 *
 * A connection is one small struct with one edge-triggered event: being told once about each change
 * means that waiting for an answer, for room to write or for a client to go away costs no system
 * call, so a request on a kept connection is one recv() and one sendmsg(). What is edge-triggered
 * must be remembered: rx_more says that bytes may be waiting, eof that the client has finished
 * sending. Received bytes live in one buffer of the server; a connection owns memory only for what
 * is left over between two events.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <event2/event_struct.h>

#include "http/server_internal.h"

/* Room for the largest request and what came in behind it. */
#define SCRATCH_BYTES 32768
_Static_assert(SCRATCH_BYTES > IG_HTTP_REQUEST_BYTES, "a whole request fits, with room to read");

/* Every state has a list whose members are in the order in which they entered it, so that only its
 * first ones can be due. */
enum conn_state {
	STATE_IDLE,	 /* between requests */
	STATE_RECEIVING, /* a part of a request is there */
	STATE_PENDING,	 /* the request was handed up; no deadline of ours */
	STATE_WRITING,	 /* a part of the response is sent */
	STATE_DRAINING,	 /* refused: our side is shut down, reading until the client closes */
	STATE_DOOMED,	 /* closed by whoever comes by next in the event loop */
	_STATE_MAX
};

TAILQ_HEAD(conn_list, ig_http_conn);

struct ig_http_conn {
	struct event event;
	TAILQ_ENTRY(ig_http_conn) link;
	struct ig_http_server *server;
	void *data;		     /* the caller's */
	struct ig_http_share *share; /* its owner's; may be NULL */
	int fd;
	enum conn_state state;
	uint64_t since_usec; /* when it entered its state */

	char *in; /* owned; received and not yet consumed */
	size_t in_len;
	size_t in_cap;
	struct ig_http_scan scan;
	size_t head_len;   /* of the request being received, once its head is complete */
	size_t need_bytes; /* then: head and body */

	char *out; /* owned, wiped; the unsent end of a response */
	size_t out_len;
	size_t out_off;
	size_t drained_bytes;

	bool late;    /* waits until others have had their turn */
	bool busy;    /* the event loop is inside one of our functions for it */
	bool dead;    /* on_close was called; freed when no longer busy */
	bool eof;     /* the client has shut down its side */
	bool rx_more; /* the socket may hold bytes (edge-triggered) */
	bool blank_seen;
	bool head_only;	  /* HEAD */
	bool close_after; /* the response that is under way is the last one */
	bool linger;	  /* … and the client may still be sending */
};

struct ig_http_server {
	struct event_base *base;
	struct event tick;
	struct ig_http_server_ops ops;
	uint64_t timeout_usec[_STATE_MAX]; /* 0: none */
	uint64_t tick_usec;
	uint64_t now_usec; /* as of the last entry */
	size_t connections_max;
	size_t n_conns;
	size_t buffered_bytes; /* in and out, of all connections */
	struct conn_list lists[_STATE_MAX];
	uint64_t counters[_IG_HTTP_COUNTER_MAX];
	struct ig_http_date date;
	unsigned int depth; /* our functions on the stack that go on using the server */
	bool dying;
	bool draining; /* every answer is the last one of its connection */
	char scratch[SCRATCH_BYTES];
};

/* Around everything that may call up: the server outlives it even if a callback frees it. */
void ig_http_server_enter(struct ig_http_server *server);
void ig_http_server_leave(struct ig_http_server *server);

/* Gives its event the priority that its owner has earned. true: it is another one than before. */
bool ig_http_conn_rank(struct ig_http_conn *conn);
/* The callback of the connection's event. */
void ig_http_conn_on_event(evutil_socket_t fd, short what, void *arg);
/* Its deadline passed: 408 for half a request, else the end. */
void ig_http_conn_expire(struct ig_http_conn *conn);
