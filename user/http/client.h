/*
 * HTTP client on libcurl's multi interface inside the libevent loop. No redirects, no proxy from
 * the environment, no cookies, no netrc, HTTP and HTTPS only, with a deadline and a response limit
 * for every call. Credentials never reach a log.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct event_base;
struct ig_http_client;
struct ig_http_call;

struct ig_http_client_options {
	/* Called for every new upstream connection to get a socket (the monitor makes it, so that
	 * it passes the gate). NULL: libcurl makes its own. Returns a descriptor, which becomes the
	 * client's, or a negative errno. */
	int (*open_socket)(int family, int type, int protocol, void *userdata);
	void *userdata;
	const char *user_agent; /* copied */
};

struct ig_http_response {
	int error; /* 0, or -ETIMEDOUT, -ECONNREFUSED, -E2BIG, -EIO, … : status is then 0 */
	unsigned int status;
	const char *
		error_text; /* for people, when error != 0; no secrets; valid during the callback */
	const char *body;   /* NUL-terminated, valid during the callback; never NULL */
	size_t body_len;
	int64_t retry_after_sec; /* -1 when absent or not a number of seconds */
};

typedef void ig_http_done(const struct ig_http_response *response, void *userdata);

struct ig_http_call_options {
	const char *url;
	const char *const *headers; /* "Name: value", NULL-terminated; may be NULL */
	const char
		*post_body; /* NULL: GET. Sent as it is, content type by header. Copied, wiped. */
	size_t post_body_len;
	uint64_t timeout_usec; /* for the whole exchange */
	size_t response_limit_bytes;
};

int ig_http_client_new(struct event_base *base, const struct ig_http_client_options *options,
	struct ig_http_client **ret);
/* Calls that are under way end without their callback. */
struct ig_http_client *ig_http_client_free(struct ig_http_client *client);

/* Starts a call; `done` is called once from the event loop, never from inside this function. All
 * strings are copied. *ret_call (optional) stays valid until `done` was entered. */
int ig_http_client_start(struct ig_http_client *client, const struct ig_http_call_options *options,
	ig_http_done *done, void *userdata, struct ig_http_call **ret_call);
/* Ends a call without its callback. */
void ig_http_call_cancel(struct ig_http_call *call);
