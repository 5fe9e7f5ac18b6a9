/*
 * One exchange of the HTTP client: what libcurl is told, what it tells us. Private to client.c,
 * which owns calls, the event loop and the order of things.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <curl/curl.h>

#include "base/buf.h"
#include "http/client.h"

struct ig_http_call {
	LIST_ENTRY(ig_http_call) link;
	struct ig_http_client *client;			     /* NULL once it is out of its list */
	const struct ig_http_client_options *client_options; /* owned by client */
	CURL *easy;		    /* owned; NULL once the exchange is over */
	struct curl_slist *headers; /* owned */
	struct ig_buf post;
	struct ig_buf body;
	size_t header_bytes;
	int64_t retry_after_sec;
	int socket_error; /* what open_socket said last */
	int abort_error;  /* why one of our callbacks ended the transfer */
	char error_text[CURL_ERROR_SIZE];
	ig_http_done *done;
	void *userdata;
};

/* Fills call->headers. -EINVAL for a line that is not "Name: value" or has control characters. */
int ig_http_transfer_headers(struct ig_http_call *call, const struct ig_http_call_options *options);
/* Tells call->easy everything; headers and post body stand in the call already. */
int ig_http_transfer_setup(struct ig_http_call *call, const struct ig_http_call_options *options);

/* Our code for how the exchange ended (0: with a reply), and the text for people that goes with it
 * into call->error_text. */
int ig_http_transfer_errno(const struct ig_http_call *call, CURLcode code);
void ig_http_transfer_explain(struct ig_http_call *call, int error, CURLcode code);
