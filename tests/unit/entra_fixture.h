/*
 * A token service with credentials on disk, and beside its IMDS an Entra ID that keeps what is
 * posted and answers as the test says. Shared by the unit tests of the sources behind Entra.
 */
#pragma once

#include "unit/credential_fixture.h"
#include "unit/token_fixture.h"

#define TENANT	  "t.example"
#define POSTS_MAX 64

struct entra {
	struct fixture *fixture;
	struct ig_credentials *credentials;
	int n_posts;
	char *posts[POSTS_MAX];	       /* owned */
	const char *errors[POSTS_MAX]; /* what post n is answered with; NULL: a token */
	unsigned int status;
	const char *retry_after;
	bool hold;
	struct evhttp_request *held;
};

static struct entra entra;

static inline void answer_post(struct evhttp_request *req, int n)
{
	struct evbuffer *out = evbuffer_new();

	if (entra.retry_after)
		evhttp_add_header(
			evhttp_request_get_output_headers(req), "Retry-After", entra.retry_after);
	if (entra.errors[n])
		evbuffer_add_printf(out,
			"{\"error\":\"invalid_request\",\"error_description\":\"%s: x\"}",
			entra.errors[n]);
	else
		evbuffer_add_printf(
			out, "{\"access_token\":\"entra-%d\",\"expires_in\":\"3599\"}", n + 1);
	evhttp_send_reply(req, entra.errors[n] ? (int)entra.status : 200, "Whatever", out);
	evbuffer_free(out);
}

static inline void on_post(struct evhttp_request *req, void *arg)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(req);
	size_t len = evbuffer_get_length(in);

	(void)arg;
	upstream_works = true;
	assert_true(entra.n_posts < POSTS_MAX);
	assert_int_equal(evhttp_request_get_command(req), EVHTTP_REQ_POST);
	entra.posts[entra.n_posts] = calloc(1, len + 1);
	evbuffer_copyout(in, entra.posts[entra.n_posts], len);
	entra.n_posts++;
	if (entra.hold)
		entra.held = req;
	else
		answer_post(req, entra.n_posts - 1);
	upstream_works = false;
}

static inline void forget_posts(void)
{
	for (int i = 0; i < entra.n_posts; i++)
		free(TAKE_PTR(entra.posts[i]));
	entra.n_posts = 0;
}

/* Where IMDS is stands in the fixture. */
static inline void new_entra_service(struct fixture *f, struct ig_token_service_options options)
{
	char url[64];

	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", f->port);
	options.imds_url = url;
	f->service = ig_token_service_free(f->service);
	assert_int_equal(ig_token_service_new(f->base, f->client, &options, &f->service), 0);
	f->service->clock = (struct ig_token_clock){mono_now, real_now};
}

static inline int set_up_entra(void **state)
{
	struct fixture *f;

	(void)set_up(state);
	f = *state;
	make_secrets_dir();
	put_text("demo/app/clientSecret", "first");
	entra = (struct entra){.fixture = f, .status = 401};
	assert_int_equal(ig_credentials_new(secrets_dir, &entra.credentials), 0);
	assert_int_equal(evhttp_set_cb(f->imds, "/" TENANT "/oauth2/token", on_post, NULL), 0);
	new_entra_service(f, (struct ig_token_service_options){.credentials = entra.credentials});
	return 0;
}

static inline int tear_down_entra(void **state)
{
	if (entra.held)
		answer_post(TAKE_PTR(entra.held), entra.n_posts - 1);
	(void)tear_down(state);
	forget_posts();
	entra.credentials = ig_credentials_free(entra.credentials);
	remove_tree(secrets_dir);
	return 0;
}

/* authority is valid until the next call */
static inline struct ig_token_key entra_key(const struct fixture *f, const char *resource)
{
	static char authority[64];

	(void)snprintf(authority, sizeof(authority), "http://127.0.0.1:%u", f->port);
	return (struct ig_token_key){
		.source = IG_TOKEN_SOURCE_SECRET,
		.tenant = TENANT,
		.authority = authority,
		.credential = "demo/app",
		.upstream = {IG_SELECTOR_CLIENT_ID, CLIENT},
		.expect_client_id = CLIENT,
		.resource = resource,
	};
}

static inline struct asked ask_entra(
	struct fixture *f, const struct ig_token_key *key, unsigned int flags)
{
	struct asked asked = {};

	assert_int_equal(ask_key(f, key, flags, "", 1, &asked), 0);
	run_until(f->base, &asked.n, 1);
	run_ready(f);
	assert_int_equal(asked.n, 1);
	return asked;
}
