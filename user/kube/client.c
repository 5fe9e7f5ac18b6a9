/*
 * Requests to the API server; see client.h. Called by everything in user/kube that talks to it.
 *
 * It must never follow a redirect, send a token anywhere but to the configured server, or show one
 * in a text. What is sent is kept until the answer is there, because after a 401 it may have to go
 * out once more with another token.
 */
#include "kube/client.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "kube/bearer.h"
#include "kube/config.h"

#define MEDIA_TYPE_BYTES 256
#define HEADERS_MAX	 4 /* and the NULL */
#define UNAUTHORIZED	 401

struct ig_kube_client {
	struct ig_http_client *http;   /* owned */
	struct ig_kube_bearer *bearer; /* a reference; NULL: no token */
	char *base_url;		       /* owned; path and query come behind it */
	char *host_header;	       /* owned; NULL: as the URL says */
	unsigned int n_calls;
	LIST_HEAD(, ig_kube_call) calls;
};

struct ig_kube_call {
	LIST_ENTRY(ig_kube_call) link;
	struct ig_kube_client *client;
	struct ig_http_call *http;	/* NULL when none is under way */
	struct ig_kube_request request; /* its texts are the ones below; method is a literal */
	char *url;			/* owned */
	char *accept;			/* owned; a header line */
	char *content_type;		/* owned; a header line, may be NULL */
	struct ig_buf body;
	uint64_t deadline_usec;
	uint64_t token_generation; /* of the one it was sent with */
	bool sent_twice;
	ig_http_done *done;
	void *userdata;
};

/* ---- a call ---------------------------------------------------------------------------------- */

static struct ig_kube_call *call_free(struct ig_kube_call *call)
{
	if (!call)
		return NULL;
	if (call->http)
		ig_http_call_cancel(call->http);
	if (call->client) {
		LIST_REMOVE(call, link);
		call->client->n_calls--;
	}
	ig_buf_wipe(&call->body);
	free(call->url);
	free(call->accept);
	free(call->content_type);
	free(call);
	return NULL;
}
IG_DEFINE_CLEANUP(struct ig_kube_call *, call_free);

static int on_data(const char *data, size_t len, void *userdata)
{
	const struct ig_kube_call *call = userdata;

	/* the call may be gone when this returns */
	return call->request.on_data(data, len, call->userdata);
}

static void on_done(const struct ig_http_response *response, void *userdata);

static int write_authorization(struct ig_kube_call *call, struct ig_buf *line, uint64_t now)
{
	struct ig_kube_bearer *bearer = call->client->bearer;
	const char *token;

	if (!bearer)
		return 0;
	token = ig_kube_bearer_token(bearer, now);
	call->token_generation = ig_kube_bearer_generation(bearer);
	ig_buf_init(line, IG_KUBE_TOKEN_BYTES + sizeof("Authorization: Bearer "));
	ig_buf_puts(line, "Authorization: Bearer ");
	ig_buf_puts(line, token);
	return ig_buf_finish(line);
}

/* Hands the call to HTTP with what is left of its time. */
static int send_call(struct ig_kube_call *call)
{
	_cleanup_(ig_buf_wipe) struct ig_buf authorization = {};
	const char *headers[HEADERS_MAX + 1];
	uint64_t now = ig_clock_mono_usec();
	struct ig_http_call_options options = {
		.url = call->url,
		.method = call->request.method,
		.headers = headers,
		.post_body = call->request.body ? call->body.data : NULL,
		.post_body_len = call->body.len,
		.idle_timeout_usec = call->request.idle_timeout_usec,
		.response_limit_bytes = call->request.response_limit_bytes,
		.on_data = call->request.on_data ? on_data : NULL,
	};
	size_t n = 0;
	int r;

	if (now >= call->deadline_usec)
		return -ETIMEDOUT;
	options.timeout_usec = call->deadline_usec - now;
	r = write_authorization(call, &authorization, now);
	if (r < 0)
		return r;
	headers[n++] = call->accept;
	if (call->content_type)
		headers[n++] = call->content_type;
	if (call->client->host_header)
		headers[n++] = call->client->host_header;
	if (authorization.data)
		headers[n++] = authorization.data;
	headers[n] = NULL;
	return ig_http_client_start(call->client->http, &options, on_done, call, &call->http);
}

/* Is there another token than the one that was refused? Others may have been refused before. */
static bool has_another_token(const struct ig_kube_call *call)
{
	struct ig_kube_bearer *bearer = call->client->bearer;

	return bearer && (ig_kube_bearer_generation(bearer) != call->token_generation ||
				 ig_kube_bearer_refresh(bearer, ig_clock_mono_usec()) > 0);
}

/* After a 401: true if the call is under way again, with another token. */
static bool send_again(struct ig_kube_call *call)
{
	if (call->sent_twice || !has_another_token(call))
		return false;
	call->sent_twice = true;
	return send_call(call) == 0;
}

static void on_done(const struct ig_http_response *response, void *userdata)
{
	_cleanup_(call_freep) struct ig_kube_call *call = userdata;

	call->http = NULL;
	if (response->error == 0 && response->status == UNAUTHORIZED && send_again(call)) {
		(void)TAKE_PTR(call); /* the client's list owns it */
		return;
	}
	/* first, because `done` may free the client */
	LIST_REMOVE(call, link);
	call->client->n_calls--;
	call->client = NULL;
	call->done(response, call->userdata);
}

/* ---- start ----------------------------------------------------------------------------------- */

/* A path as it may stand in a request line; the fragment would not be sent. */
static bool is_path(const char *path)
{
	if (!path || path[0] != '/' || strlen(path) > IG_KUBE_PATH_BYTES)
		return false;
	for (const char *p = path; *p; p++)
		if (*p < 0x21 || *p > 0x7e || *p == '#')
			return false;
	return true;
}

static const char *known_method(const char *method)
{
	static const char *const known[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};

	for (size_t i = 0; method && i < IG_ARRAY_SIZE(known); i++)
		if (strcmp(method, known[i]) == 0)
			return known[i];
	return NULL;
}

static char *header_line(const char *name, const char *value)
{
	char *line = NULL;

	return asprintf(&line, "%s: %s", name, value) < 0 ? NULL : line;
}

static int copy_request(struct ig_kube_call *call, const struct ig_kube_request *request)
{
	const char *base = call->client->base_url;

	call->request = *request;
	call->request.method = known_method(request->method);
	if (asprintf(&call->url, "%s%s", base, request->path) < 0) {
		call->url = NULL;
		return -ENOMEM;
	}
	call->accept =
		header_line("Accept", request->accept ? request->accept : "application/json");
	if (!call->accept)
		return -ENOMEM;
	if (request->content_type) {
		call->content_type = header_line("Content-Type", request->content_type);
		if (!call->content_type)
			return -ENOMEM;
	}
	ig_buf_init(&call->body, request->body_len);
	if (request->body)
		ig_buf_append(&call->body, request->body, request->body_len);
	return ig_buf_finish(&call->body);
}

static bool is_sound(const struct ig_kube_request *request)
{
	return is_path(request->path) && known_method(request->method) && request->timeout_usec &&
	       (!request->accept || strlen(request->accept) <= MEDIA_TYPE_BYTES) &&
	       (!request->content_type || strlen(request->content_type) <= MEDIA_TYPE_BYTES);
}

int ig_kube_client_start(struct ig_kube_client *client, const struct ig_kube_request *request,
	ig_http_done *done, void *userdata, struct ig_kube_call **ret_call)
{
	_cleanup_(call_freep) struct ig_kube_call *call = NULL;
	int r;

	if (!is_sound(request))
		return -EINVAL;
	if (client->n_calls >= IG_KUBE_CALLS_MAX)
		return -EBUSY;
	call = calloc(1, sizeof(*call));
	if (!call)
		return -ENOMEM;
	LIST_INSERT_HEAD(&client->calls, call, link);
	client->n_calls++;
	call->client = client;
	call->done = done;
	call->userdata = userdata;
	if (__builtin_add_overflow(
		    ig_clock_mono_usec(), request->timeout_usec, &call->deadline_usec))
		call->deadline_usec = UINT64_MAX;
	r = copy_request(call, request);
	if (r == 0)
		r = send_call(call);
	if (r < 0)
		return r;
	if (ret_call)
		*ret_call = call;
	(void)TAKE_PTR(call); /* the client's list owns it */
	return 0;
}

void ig_kube_call_cancel(struct ig_kube_call *call)
{
	(void)call_free(call);
}

/* ---- the client ------------------------------------------------------------------------------ */

struct ig_kube_client *ig_kube_client_free(struct ig_kube_client *client)
{
	if (!client)
		return NULL;
	while (!LIST_EMPTY(&client->calls))
		(void)call_free(LIST_FIRST(&client->calls));
	(void)ig_http_client_free(client->http);
	(void)ig_kube_bearer_unref(client->bearer);
	free(client->base_url);
	free(client->host_header);
	free(client);
	return NULL;
}
IG_DEFINE_CLEANUP(struct ig_kube_client *, ig_kube_client_free);

/* With a server_name the URL carries that name, so that TLS asks for it and checks it, while
 * connections and the Host header go by the server's address. */
static int set_place(
	struct ig_kube_client *client, const struct ig_kube_config *config, char **ret_connect_to)
{
	const char *host = strstr(config->server, "://") + 3;
	size_t host_len = strcspn(host, "/");
	const char *port = memrchr(host, ':', host_len);

	if (!config->server_name) {
		client->base_url = strdup(config->server);
		return client->base_url ? 0 : -ENOMEM;
	}
	*ret_connect_to = strndup(host, host_len);
	if (!*ret_connect_to)
		return -ENOMEM;
	client->host_header = header_line("Host", *ret_connect_to);
	if (asprintf(&client->base_url, "%.*s%s%s", (int)(host - config->server), config->server,
		    config->server_name, port) < 0)
		client->base_url = NULL;
	return client->base_url && client->host_header ? 0 : -ENOMEM;
}

static struct ig_http_pem pem(const struct ig_buf *b)
{
	return (struct ig_http_pem){.data = b->data, .len = b->len};
}

int ig_kube_client_new(struct event_base *base, const struct ig_kube_config *config,
	const char *user_agent, struct ig_kube_client **ret)
{
	_cleanup_(ig_kube_client_freep) struct ig_kube_client *client = calloc(1, sizeof(*client));
	_cleanup_free_ char *connect_to = NULL;
	struct ig_http_client_options options = {
		.user_agent = user_agent,
		.tls = {.ca = pem(&config->ca),
			.certificate = pem(&config->certificate),
			.key = pem(&config->key)},
		.connect_timeout_usec = IG_KUBE_CONNECT_TIMEOUT_SEC * IG_USEC_PER_SEC,
		.probe_peer = true,
	};
	int r;

	if (!client)
		return -ENOMEM;
	client->bearer = ig_kube_bearer_ref(config->bearer);
	r = set_place(client, config, &connect_to);
	if (r < 0)
		return r;
	options.connect_to = connect_to;
	r = ig_http_client_new(base, &options, &client->http);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(client);
	return 0;
}
