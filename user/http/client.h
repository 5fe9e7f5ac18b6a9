/*
 * HTTP client on libcurl's multi interface inside the libevent loop. No redirects, no proxy from
 * the environment, no cookies, no netrc, HTTP and HTTPS only, TLS 1.2 or later with the server
 * verified, and for every call a deadline and a response limit. Credentials never reach a log.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct ig_http_client;
struct ig_http_call;

struct ig_http_pem {
	const char *data;
	size_t len; /* 0: there is none */
};

/* Copied, and wiped with the client: no file is needed later. */
struct ig_http_tls_options {
	struct ig_http_pem ca;		/* the only authorities; none: the system's */
	struct ig_http_pem certificate; /* the client's, with what leads to its authority */
	struct ig_http_pem key;		/* goes with it, without a passphrase */
};

struct ig_http_client_options {
	/* Called for every new upstream connection to get a socket (the monitor makes it, so that
	 * it passes the gate). NULL: libcurl makes its own. Returns a descriptor, which becomes the
	 * client's, or a negative errno. */
	int (*open_socket)(int family, int type, int protocol, void *userdata);
	void *userdata;
	const char *user_agent; /* copied */
	struct ig_http_tls_options tls;
	/* "HOST:PORT": where every connection goes, whatever the host in the URL is, which remains
	 * the name that the server's certificate has to carry. NULL: to the host in the URL. */
	const char *connect_to; /* copied */
	/* Until there is a connection, with name look-up and TLS; 0: 300 seconds. */
	uint64_t connect_timeout_usec;
	/* For connections that are silent for long: the peer is probed, and one that is dead makes
	 * its calls fail after 30 seconds. */
	bool probe_peer;
	/* HTTP/2 over TLS where the server offers it, all calls over one connection. */
	bool http2;
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
	const char *method;	    /* NULL: GET, or POST with a body (which may be ""). No HEAD. */
	const char *const *headers; /* "Name: value", NULL-terminated; may be NULL. Wiped. */
	const char
		*post_body; /* NULL: none. Sent as it is, content type by header. Copied, wiped. */
	size_t post_body_len;
	uint64_t timeout_usec; /* for the whole exchange; 0: none, if idle_timeout_usec is set */
	uint64_t idle_timeout_usec; /* no byte came for so long: -ETIMEDOUT; 0: none. For streams */
	size_t response_limit_bytes; /* of a body that is collected */
	/* Makes the call a stream: gets each piece of a 2xx body as it comes; bodies of other
	 * statuses are collected all the same. Called from the event loop with the userdata of the
	 * call; may do whatever `done` may. A negative errno ends the call with that error. */
	int (*on_data)(const char *data, size_t len, void *userdata);
};

/* -EINVAL: half a client certificate, control characters in a text. That PEM is what it claims to
 * be shows at the first connection. */
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
