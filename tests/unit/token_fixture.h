/*
 * A token service, a clock that stands still until the test moves it, and an IMDS on 127.0.0.1 in
 * the same process that counts what it is asked and answers as the test says. Shared by the unit
 * tests of the token service.
 */
#pragma once

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "http/client.h"
#include "token/service_internal.h"
#include "token/source.h"
#include "unit/loop_fixture.h"

#define CLIENT	  "0d46c104-1111-2222-3333-444444444444"
#define OTHER	  "99999999-1111-2222-3333-444444444444"
#define DAY_SEC	  86400U
#define CALLS_MAX 1024

static uint64_t fake_mono_usec, fake_real_usec;
static bool upstream_works __attribute__((unused)); /* inside the server, not the code under test */

struct fixture {
	struct event_base *base;
	struct evhttp *imds;
	struct ig_http_client *client;
	struct ig_token_service *service;
	uint16_t port;

	/* what upstream saw */
	int n_calls;
	int n_elsewhere;	    /* requests for another path */
	char *resources[CALLS_MAX]; /* in the order of the calls */
	bool bypass;		    /* of the last call */
	bool metadata_header;

	/* what it does */
	bool hold; /* does not answer until release() */
	struct evhttp_request *held[CALLS_MAX];
	int n_held;
	unsigned int status;
	const char *body; /* NULL: a token */
	size_t padding;	  /* bytes of blanks after the body */
	unsigned int life_sec;
	const char *client_id;
	const char *retry_after;
};

/* Everything that one request for a token came to. */
struct asked {
	struct fixture *fixture;
	struct ig_token_waiter *waiter;
	int n;
	bool ok;
	char token[128];
	char sha256[65];
	enum ig_token_cache_state cache;
	enum ig_token_failure_kind kind;
	char code[64];
	char text[256];
	void (*inside)(struct asked *asked); /* called in the callback */
	struct asked *other;		     /* for `inside` */
};

/* ---- clock ----------------------------------------------------------------------------------- */

static inline uint64_t mono_now(void)
{
	return fake_mono_usec;
}

static inline uint64_t real_now(void)
{
	return fake_real_usec;
}

static inline void pass_sec(uint64_t sec)
{
	fake_mono_usec += sec * IG_USEC_PER_SEC;
	fake_real_usec += sec * IG_USEC_PER_SEC;
}

/* ---- upstream -------------------------------------------------------------------------------- */

static inline void reply(struct fixture *f, struct evhttp_request *req, const char *resource, int n)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(req);
	struct evbuffer *out = evbuffer_new();

	if (f->body)
		evbuffer_add_printf(out, "%s", f->body);
	else
		evbuffer_add_printf(out,
			"{\"access_token\":\"%d-%s\",\"client_id\":\"%s\",\"expires_on\":\"%llu\",\"token_type\":\"Bearer\"}",
			n, resource, f->client_id,
			(unsigned long long)(fake_real_usec / IG_USEC_PER_SEC) + f->life_sec);
	for (size_t i = 0; i < f->padding; i++)
		evbuffer_add(out, " ", 1);
	if (f->retry_after)
		evhttp_add_header(headers, "Retry-After", f->retry_after);
	if (f->status / 100 == 3)
		evhttp_add_header(headers, "Location", "/elsewhere");
	evhttp_send_reply(req, (int)f->status, "Whatever", out);
	evbuffer_free(out);
}

static inline void on_call(struct evhttp_request *req, void *arg)
{
	struct fixture *f = arg;
	struct evkeyvalq query = {};
	const char *header = evhttp_find_header(evhttp_request_get_input_headers(req), "Metadata");
	const char *bypass, *resource;

	upstream_works = true;
	assert_true(f->n_calls < CALLS_MAX);
	assert_int_equal(evhttp_parse_query_str(
				 evhttp_uri_get_query(evhttp_request_get_evhttp_uri(req)), &query),
		0);
	resource = evhttp_find_header(&query, "resource");
	bypass = evhttp_find_header(&query, "bypass_cache");
	f->resources[f->n_calls++] = strdup(resource ? resource : "");
	f->bypass = bypass && strcmp(bypass, "true") == 0;
	f->metadata_header = header && strcmp(header, "true") == 0;
	evhttp_clear_headers(&query);
	if (f->hold)
		f->held[f->n_held++] = req;
	else
		reply(f, req, f->resources[f->n_calls - 1], f->n_calls);
	upstream_works = false;
}

static inline void on_elsewhere(struct evhttp_request *req, void *arg)
{
	struct fixture *f = arg;

	f->n_elsewhere++;
	evhttp_send_reply(req, 200, "OK", NULL);
}

/* Answers what is held (also what the client gave up meanwhile) and holds no more. */
static inline void release(struct fixture *f)
{
	f->hold = false;
	for (int i = 0; i < f->n_held; i++)
		reply(f, f->held[i], "held", f->n_calls - f->n_held + 1 + i);
	f->n_held = 0;
}

/* Calls under way, to whatever upstream. */
static inline size_t n_running(const struct ig_token_service *service)
{
	size_t n = 0;

	for (int i = 0; i < _IG_SOURCE_LANE_MAX; i++)
		n += service->lanes[i].running.n;
	return n;
}

static inline uint16_t port_of(evutil_socket_t fd)
{
	struct sockaddr_in addr = {};
	socklen_t len = sizeof(addr);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	return ntohs(addr.sin_port);
}

/* ---- set up ---------------------------------------------------------------------------------- */

static inline void new_service(struct fixture *f, uint16_t port)
{
	char url[64];
	const struct ig_token_service_options options = {.imds_url = url};

	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", port);
	f->service = ig_token_service_free(f->service);
	assert_int_equal(ig_token_service_new(f->base, f->client, &options, &f->service), 0);
	f->service->clock = (struct ig_token_clock){mono_now, real_now};
}

static inline int set_up(void **state)
{
	const struct ig_http_client_options options = {.user_agent = "imdsgate/test"};
	struct fixture *f = calloc(1, sizeof(*f));
	struct evhttp_bound_socket *bound;

	(void)signal(SIGPIPE, SIG_IGN);
	fake_mono_usec = 1000 * IG_USEC_PER_SEC;
	fake_real_usec = 1709809597ULL * IG_USEC_PER_SEC;
	f->status = 200;
	f->life_sec = DAY_SEC;
	f->client_id = CLIENT;
	f->base = event_base_new();
	f->imds = evhttp_new(f->base);
	bound = evhttp_bind_socket_with_handle(f->imds, "127.0.0.1", 0);
	assert_non_null(bound);
	f->port = port_of(evhttp_bound_socket_get_fd(bound));
	evhttp_set_cb(f->imds, "/metadata/identity/oauth2/token", on_call, f);
	evhttp_set_gencb(f->imds, on_elsewhere, f);
	assert_int_equal(ig_http_client_new(f->base, &options, &f->client), 0);
	new_service(f, f->port);
	*state = f;
	return 0;
}

static inline int tear_down(void **state)
{
	struct fixture *f = *state;

	ig_token_service_free(f->service);
	ig_http_client_free(f->client);
	release(f);
	evhttp_free(f->imds);
	event_base_free(f->base);
	for (int i = 0; i < f->n_calls; i++)
		free(f->resources[i]);
	free(f);
	return 0;
}

/* ---- asking ---------------------------------------------------------------------------------- */

static inline void on_done(const struct ig_token_result *result, void *userdata)
{
	struct asked *asked = userdata;

	asked->n++;
	asked->waiter = NULL;
	asked->cache = result->cache;
	asked->ok = result->token != NULL;
	assert_true((result->token == NULL) != (result->failure == NULL));
	if (result->token) {
		(void)snprintf(
			asked->token, sizeof(asked->token), "%s", result->token->access_token);
		memcpy(asked->sha256, result->token->sha256, sizeof(asked->sha256));
	} else {
		asked->kind = result->failure->kind;
		(void)snprintf(asked->code, sizeof(asked->code), "%s", result->failure->code);
		(void)snprintf(asked->text, sizeof(asked->text), "%s", result->failure->text);
	}
	if (asked->inside)
		asked->inside(asked);
	/* still there, whatever was done inside */
	if (result->token)
		assert_string_equal(result->token->sha256, asked->sha256);
}

static inline struct ig_token_key key_for(const char *resource)
{
	return (struct ig_token_key){
		.upstream = {IG_SELECTOR_CLIENT_ID, CLIENT},
		.expect_client_id = CLIENT,
		.resource = resource,
	};
}

static inline int ask_key(struct fixture *f, const struct ig_token_key *key, unsigned int flags,
	const char *refresh_sha256, uint64_t fairness, struct asked *asked)
{
	struct ig_token_waiter *waiter = (struct ig_token_waiter *)-1;
	int before = asked->n;
	int r;

	asked->fixture = f;
	r = ig_token_get(f->service, key, flags, refresh_sha256, fairness, on_done, asked, &waiter);
	if (r < 0) {
		assert_int_equal(asked->n, before);
		return r;
	}
	/* called at once, or a waiter */
	assert_true((waiter == NULL) == (asked->n == before + 1));
	if (waiter)
		asked->waiter = waiter;
	return 0;
}

static inline void ask(struct fixture *f, const char *resource, struct asked *asked)
{
	const struct ig_token_key key = key_for(resource);

	assert_int_equal(ask_key(f, &key, 0, "", 1, asked), 0);
}

static inline bool has_work(const void *userdata)
{
	const struct fixture *f = userdata;

	return f->service &&
	       (n_running(f->service) > (size_t)f->n_held || !TAILQ_EMPTY(&f->service->ready));
}

/* Lets everything happen that can happen: calls that upstream does not hold come to their end,
 * answers are delivered. */
static inline void run_ready(struct fixture *f)
{
	run_while(f->base, has_work, f);
	run_turns(f->base);
}

static inline struct asked ask_and_wait(
	struct fixture *f, const char *resource, unsigned int flags, const char *refresh_sha256)
{
	const struct ig_token_key key = key_for(resource);
	struct asked asked = {};

	assert_int_equal(ask_key(f, &key, flags, refresh_sha256, 1, &asked), 0);
	run_until(f->base, &asked.n, 1);
	run_ready(f);
	assert_int_equal(asked.n, 1);
	return asked;
}

static inline struct asked get_token(struct fixture *f, const char *resource)
{
	return ask_and_wait(f, resource, 0, "");
}

static inline bool keep_none(const struct ig_token_key *key, void *userdata)
{
	(void)key;
	(void)userdata;
	return false;
}

static inline bool keep_all_but(const struct ig_token_key *key, void *userdata)
{
	return strcmp(key->resource, userdata) != 0;
}
