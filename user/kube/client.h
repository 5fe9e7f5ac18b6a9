/*
 * Requests to the Kubernetes API server: an HTTP client that knows where the server is, whom to
 * trust and who we are. Nothing here knows a kind of object.
 *
 * A token that is read from a file is read again when it was replaced; a 401 does so at once, and
 * when the token is another one the request is sent once more. Redirects are not followed, bodies
 * are not compressed. HTTP/1.1 on purpose: each watch has a connection of its own, which the
 * kernel probes, and the token stays in buffers that are wiped.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "http/client.h"

struct event_base;
struct ig_kube_call;
struct ig_kube_client;
struct ig_kube_config;

struct ig_kube_request {
	const char *method;	  /* "GET", "POST", "PATCH" */
	const char *path;	  /* "/api/v1/pods?watch=1…": path and query, escaped */
	const char *accept;	  /* NULL: application/json */
	const char *content_type; /* of body */
	const char *body;	  /* copied, wiped */
	size_t body_len;
	uint64_t timeout_usec;	     /* whole exchange; required */
	uint64_t idle_timeout_usec;  /* streams: no byte for so long; 0: none */
	size_t response_limit_bytes; /* of a body that is collected */
	/* Each piece of a 2xx body as it comes, with the userdata of the call; a negative errno
	 * ends the call with it. NULL: the body is collected. Bodies of other statuses are always
	 * collected. May start, cancel and free whatever it likes. */
	int (*on_data)(const char *data, size_t len, void *userdata);
};

/* user_agent: "imdsgate/VERSION (node)", copied. Takes what it needs of the configuration, which
 * may be freed afterwards. */
int ig_kube_client_new(struct event_base *base, const struct ig_kube_config *config,
	const char *user_agent, struct ig_kube_client **ret);
/* Calls that are under way end without their callback. */
struct ig_kube_client *ig_kube_client_free(struct ig_kube_client *client);

/* `done` gets what http/client.h promises, once, from the event loop and never from inside this
 * function. Everything may be called from it. All strings are copied. *ret_call (optional) stays
 * valid until `done` was entered. -EBUSY: IG_KUBE_CALLS_MAX are under way. -EINVAL: a path that is
 * not one, control characters, no deadline. */
int ig_kube_client_start(struct ig_kube_client *client, const struct ig_kube_request *request,
	ig_http_done *done, void *userdata, struct ig_kube_call **ret_call);
/* Ends a call without its callback. NULL is none. */
void ig_kube_call_cancel(struct ig_kube_call *call);
