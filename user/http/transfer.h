/*
 * One exchange of the HTTP client: what libcurl is told, what it tells us. Private to client.c,
 * which owns calls, the event loop and the order of things.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <curl/curl.h>

#include "base/buf.h"
#include "http/client.h"
#include "http/tls.h"

struct event;

LIST_HEAD(ig_http_call_list, ig_http_call);

/* What all calls of a client have in common; owned by the client. */
struct ig_http_common {
	struct ig_http_client_options options; /* texts: the owned ones below; tls: unused */
	char *user_agent;		       /* owned; may be NULL */
	struct curl_slist *connect_to;	       /* owned; may be NULL */
	struct ig_http_tls tls;
	struct ig_http_call_list arrived; /* streams with pieces that are to be handed on */
};

struct ig_http_call {
	LIST_ENTRY(ig_http_call) link;
	LIST_ENTRY(ig_http_call) arrived_link; /* while `pieces` is not empty */
	struct ig_http_client *client;	       /* NULL once it is out of its list */
	struct ig_http_common *common;	       /* the client's */
	CURL *easy;			       /* owned; NULL once the exchange is over */
	struct curl_slist *headers;	       /* owned */
	struct ig_buf post;
	struct ig_buf body;
	/* libcurl must not be called from its own callbacks, and on_data may do so: what came is
	 * kept here until libcurl has returned */
	struct ig_buf pieces;
	int (*on_data)(const char *data, size_t len, void *userdata);
	struct event *idle; /* owned; NULL without an idle time-out */
	uint64_t idle_timeout_usec;
	bool was_idle; /* the time-out passed */
	bool refused;  /* on_data said no */
	bool lost;     /* its descriptor cannot be watched */
	size_t header_bytes;
	size_t limit_bytes; /* that what came last was held against */
	int64_t retry_after_sec;
	int socket_error; /* what open_socket said last */
	int abort_error;  /* why one of our callbacks ended the transfer */
	char error_text[CURL_ERROR_SIZE];
	ig_http_done *done;
	void *userdata;
};

/* libcurl's global state, with an allocator that wipes what it frees. Goes with
 * curl_global_cleanup(). */
int ig_http_transfer_global_init(void);
/* The parts of `common` that are copied: -ENOMEM, or -EINVAL for what is no text for a header or no
 * place to connect to. `common` is zero before, and _done() is due in any case. */
int ig_http_common_init(
	struct ig_http_common *common, const struct ig_http_client_options *options);
void ig_http_common_done(struct ig_http_common *common);

/* (Re)starts the idle time-out, if there is one. */
void ig_http_transfer_touch(struct ig_http_call *call);

/* Fills call->headers. -EINVAL for a line that is not "Name: value" or has control characters. */
int ig_http_transfer_headers(struct ig_http_call *call, const struct ig_http_call_options *options);
/* Tells call->easy everything; headers and post body stand in the call already. */
int ig_http_transfer_setup(struct ig_http_call *call, const struct ig_http_call_options *options);

/* Our code for how the exchange ended (0: with a reply), and the text for people that goes with it
 * into call->error_text. */
int ig_http_transfer_errno(const struct ig_http_call *call, CURLcode code);
void ig_http_transfer_explain(struct ig_http_call *call, int error, CURLcode code);
