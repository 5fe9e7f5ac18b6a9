/*
 * Requests to an API server that is a script: what goes out, what comes back, tokens that change,
 * calls that end in every state, and that no secret is shown or left in freed memory.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "kube/bearer.h"
#include "kube/client.h"
#include "kube/config.h"

#include "kube_fixture.h"
#include "server_fixture.h"

#define LIMIT_BYTES 100
#define SHORT_USEC  30000
#define LONG_USEC   (1000 * IG_USEC_PER_SEC)
#define AGENT	    "imdsgate/0 (node-1)"

#define ANSWER(status, body) "HTTP/1.1 " status "\r\nContent-Length: " body
#define OK		     ANSWER("200 OK", "2\r\n\r\n{}")
#define CREATED		     ANSWER("201 Created", "2\r\n\r\n{}")
#define UNAUTHORIZED	     ANSWER("401 Unauthorized", "4\r\n\r\nwho?")
#define NOT_FOUND	     ANSWER("404 Not Found", "4\r\n\r\ngone")
#define ENDLESS		     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n3\r\n{1}\r\n"
#define REDIRECTION	     "HTTP/1.1 307 Elsewhere\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"

struct fixture {
	struct event_base *base;
	struct server server;
	struct ig_kube_client *client;
	struct identity ca, id, client_id;
};

enum reaction { GO_ON, REFUSE, CANCEL_SELF, CANCEL_OTHER, START_ANOTHER, FREE_CLIENT };

struct outcome {
	struct fixture *fixture;
	struct ig_kube_call *call;
	enum reaction on_data, on_done;
	struct outcome *other;
	struct ig_buf data;
	int n_pieces, n_done;
	int error;
	unsigned int status;
	char body[LIMIT_BYTES + 1];
	char text[300];
};

/* ---- the clock ------------------------------------------------------------------------------- */

static uint64_t clock_ahead_usec; /* of the real one */

uint64_t __real_ig_clock_mono_usec(void);
uint64_t __wrap_ig_clock_mono_usec(void);

uint64_t __wrap_ig_clock_mono_usec(void)
{
	return __real_ig_clock_mono_usec() + clock_ahead_usec;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	n_secrets_freed = 0;
	other_secret = NULL;
	clock_ahead_usec = 0;
	make_dir();
	f->base = event_base_new();
	server_init(&f->server, f->base);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	ig_kube_client_free(f->client);
	/* what the server has seen and the test's keys are none of our code's business */
	assert_int_equal(n_secrets_freed, 0);
	server_done(&f->server);
	identity_done(&f->ca);
	identity_done(&f->id);
	identity_done(&f->client_id);
	event_base_free(f->base);
	remove_file("token");
	assert_int_equal(rmdir(dir), 0);
	free(f);
	return 0;
}

/* ---- configurations -------------------------------------------------------------------------- */

static struct ig_kube_config *config_of(struct fixture *f, const char *scheme, const char *prefix)
{
	struct ig_kube_config *config = calloc(1, sizeof(*config));

	assert_non_null(config);
	assert_true(asprintf(&config->server, "%s://127.0.0.1:%u%s", scheme, f->server.port,
			    prefix) > 0);
	return config;
}

static void put_pem(struct ig_buf *to, const char *pem)
{
	ig_buf_wipe(to);
	ig_buf_init(to, strlen(pem));
	ig_buf_puts(to, pem);
}

/* The client's own from here on: the configuration is freed. */
static void use_config(struct fixture *f, struct ig_kube_config *config)
{
	f->client = ig_kube_client_free(f->client);
	assert_int_equal(ig_kube_client_new(f->base, config, AGENT, &f->client), 0);
	(void)ig_kube_config_free(config);
}

static void use_plain(struct fixture *f)
{
	use_config(f, config_of(f, "http", ""));
}

static void use_token_file(struct fixture *f, const char *token)
{
	struct ig_kube_config *config = config_of(f, "http", "");

	put_file("token", token);
	assert_int_equal(ig_kube_bearer_new_file(path_of("token"), &config->bearer, NULL), 0);
	use_config(f, config);
}

/* ---- calls ----------------------------------------------------------------------------------- */

static struct ig_kube_request get(const char *path)
{
	return (struct ig_kube_request){
		.method = "GET",
		.path = path,
		.timeout_usec = LONG_USEC,
		.response_limit_bytes = LIMIT_BYTES,
	};
}

static int on_data(const char *data, size_t len, void *userdata);
static void on_done(const struct ig_http_response *response, void *userdata);

static struct ig_kube_request watch(void)
{
	struct ig_kube_request request = get("/api/v1/pods?watch=1");

	request.on_data = on_data;
	return request;
}

static void start(struct fixture *f, const struct ig_kube_request *request, struct outcome *outcome)
{
	outcome->fixture = f;
	ig_buf_done(&outcome->data);
	ig_buf_init(&outcome->data, 1000);
	assert_int_equal(
		ig_kube_client_start(f->client, request, on_done, outcome, &outcome->call), 0);
	assert_int_equal(outcome->n_done + outcome->n_pieces, 0);
}

static void outcome_done(struct outcome *outcome)
{
	ig_buf_done(&outcome->data);
}

static void react(struct outcome *outcome, enum reaction reaction)
{
	struct fixture *f = outcome->fixture;
	struct ig_kube_request request = get("/again");

	switch (reaction) {
	case GO_ON:
	case REFUSE: break;
	case CANCEL_SELF: ig_kube_call_cancel(outcome->call); break;
	case CANCEL_OTHER: ig_kube_call_cancel(outcome->other->call); break;
	case START_ANOTHER: start(f, &request, outcome->other); break;
	case FREE_CLIENT: f->client = ig_kube_client_free(f->client); break;
	}
}

static int on_data(const char *data, size_t len, void *userdata)
{
	struct outcome *outcome = userdata;

	assert_int_equal(outcome->n_done, 0);
	ig_buf_append(&outcome->data, data, len);
	if (outcome->n_pieces++ > 0)
		return 0;
	react(outcome, outcome->on_data);
	return outcome->on_data == REFUSE ? -EBADMSG : 0;
}

static void on_done(const struct ig_http_response *response, void *userdata)
{
	struct outcome *outcome = userdata;

	outcome->n_done++;
	outcome->error = response->error;
	outcome->status = response->status;
	(void)snprintf(outcome->body, sizeof(outcome->body), "%s", response->body);
	if (response->error) {
		(void)snprintf(outcome->text, sizeof(outcome->text), "%s", response->error_text);
		assert_string_not_equal(outcome->text, "");
		assert_null(strstr(outcome->text, SECRET));
	}
	react(outcome, outcome->on_done);
}

static void fetch(struct fixture *f, const struct ig_kube_request *request, struct outcome *outcome)
{
	start(f, request, outcome);
	run_until(f->base, &outcome->n_done, 1);
	outcome->call = NULL;
}

static struct outcome fetch_path(struct fixture *f, const char *path)
{
	struct ig_kube_request request = get(path);
	struct outcome got = {};

	fetch(f, &request, &got);
	ig_buf_done(&got.data);
	return got;
}

static bool asked(struct fixture *f, int n, const char *text)
{
	assert_true(n < f->server.n_requests);
	return strstr(f->server.requests[n], text) != NULL;
}

/* ---- requests -------------------------------------------------------------------------------- */

static void test_get(void **state)
{
	struct fixture *f = *state;
	struct ig_kube_request request = get("/apis/a/v1/b?limit=5&continue=%3D");
	_cleanup_(outcome_done) struct outcome got = {};
	char host[64];

	use_token_file(f, SECRET "-one\n");
	f->server.answers[0] = f->server.answers[1] = OK;
	request.accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
	fetch(f, &request, &got);
	assert_int_equal(got.status, 200);
	assert_string_equal(got.body, "{}");
	assert_true(asked(f, 0, "GET /apis/a/v1/b?limit=5&continue=%3D HTTP/1.1\r\n"));
	assert_true(asked(f, 0,
		"\r\nAccept: application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1\r\n"));
	assert_true(asked(f, 0, "\r\nAuthorization: Bearer " SECRET "-one\r\n"));
	assert_true(asked(f, 0, "\r\nUser-Agent: " AGENT "\r\n"));
	(void)snprintf(host, sizeof(host), "\r\nHost: 127.0.0.1:%u\r\n", f->server.port);
	assert_true(asked(f, 0, host));
	assert_null(strcasestr(f->server.requests[0], "Accept-Encoding"));
	assert_null(strcasestr(f->server.requests[0], "Content-"));

	assert_int_equal(fetch_path(f, "/x").status, 200);
	assert_true(asked(f, 1, "\r\nAccept: application/json\r\n"));
	assert_int_equal(f->server.n_conns, 1);
}

static void test_bodies(void **state)
{
	static const char *const methods[] = {"POST", "PATCH", "PUT"};
	struct fixture *f = *state;

	use_config(f, config_of(f, "http", "/k8s/clusters/c1"));
	for (int i = 0; i < 3; i++) {
		struct ig_kube_request request = get("/api/v1/x/status");
		_cleanup_(outcome_done) struct outcome got = {};
		char body[] = "{\"token\":\"" SECRET "\"}", line[64], type[] = "application/a";

		f->server.answers[i] = CREATED;
		request.method = methods[i];
		request.body = body;
		request.body_len = strlen(body);
		request.content_type = type;
		start(f, &request, &got);
		/* copied */
		memset(body, 'x', sizeof(body));
		memset(type, 'x', sizeof(type));
		run_until(f->base, &got.n_done, 1);
		assert_int_equal(got.status, 201);
		(void)snprintf(line, sizeof(line),
			"%s /k8s/clusters/c1/api/v1/x/status HTTP/1.1\r\n", methods[i]);
		assert_ptr_equal(strstr(f->server.requests[i], line), f->server.requests[i]);
		assert_true(asked(f, i, "\r\nContent-Type: application/a\r\n"));
		assert_true(asked(f, i, "\r\n\r\n{\"token\":\"" SECRET "\"}"));
	}
	/* nobody to be was configured */
	assert_null(strcasestr(f->server.requests[0], "Authorization"));
}

static int try_start(struct fixture *f, const struct ig_kube_request *request)
{
	struct outcome never = {.fixture = f};
	struct ig_kube_call *call = NULL;
	int r = ig_kube_client_start(f->client, request, on_done, &never, &call);

	if (r == 0)
		ig_kube_call_cancel(call);
	else
		assert_null(call);
	assert_int_equal(never.n_done, 0);
	return r;
}

static void test_bad_paths(void **state)
{
	static const char *const bad[] = {NULL, "", "api", "/a b", "/a\r\nX: y", "/a\x7f", "/a#b",
		"/\xc3\xa4", "@evil.example/"};
	struct fixture *f = *state;
	struct ig_kube_request request = get("/");
	char *path = calloc(1, IG_KUBE_PATH_BYTES + 2);

	use_plain(f);
	for (size_t i = 0; i < IG_ARRAY_SIZE(bad); i++) {
		request.path = bad[i];
		assert_int_equal(try_start(f, &request), -EINVAL);
	}
	memset(path, '/', IG_KUBE_PATH_BYTES);
	request.path = path;
	assert_int_equal(try_start(f, &request), 0);
	path[IG_KUBE_PATH_BYTES] = 'x';
	assert_int_equal(try_start(f, &request), -EINVAL);
	free(path);
}

static void test_bad_requests(void **state)
{
	struct fixture *f = *state;
	struct ig_kube_request bad[8];
	char long_type[300] = "";

	use_plain(f);
	memset(long_type, 'a', sizeof(long_type) - 1);
	for (size_t i = 0; i < IG_ARRAY_SIZE(bad); i++)
		bad[i] = get("/x");
	bad[0].method = NULL;
	bad[1].method = "HEAD";
	bad[2].method = "GET\r\n";
	bad[3].accept = "a\r\nB: c";
	bad[4].content_type = "a\x01";
	bad[5].accept = long_type;
	bad[6].timeout_usec = 0;
	bad[7].response_limit_bytes = 0;
	for (size_t i = 0; i < IG_ARRAY_SIZE(bad); i++)
		assert_int_equal(try_start(f, &bad[i]), -EINVAL);
	run_turns(f->base);
	assert_int_equal(f->server.n_conns, 0);
}

static void test_bad_user_agent(void **state)
{
	struct fixture *f = *state;
	struct ig_kube_config *config = config_of(f, "http", "");
	struct ig_kube_client *client = NULL;

	assert_int_equal(ig_kube_client_new(f->base, config, "a (b\nc)", &client), -EINVAL);
	assert_null(client);
	(void)ig_kube_config_free(config);
}

static void test_calls_at_once(void **state)
{
	struct fixture *f = *state;
	struct ig_kube_request request = get("/x");
	struct outcome *never = calloc(IG_KUBE_CALLS_MAX, sizeof(*never));

	use_plain(f);
	for (int i = 0; i < IG_KUBE_CALLS_MAX; i++)
		start(f, &request, &never[i]);
	assert_int_equal(try_start(f, &request), -EBUSY);
	ig_kube_call_cancel(never[0].call);
	assert_int_equal(try_start(f, &request), 0);
	f->client = ig_kube_client_free(f->client);
	free(never);
}

static void test_redirection(void **state)
{
	struct fixture *f = *state;

	use_token_file(f, SECRET);
	f->server.answers[0] = f->server.answers[1] = REDIRECTION;
	assert_int_equal(fetch_path(f, "/x").status, 307);
	run_turns(f->base);
	assert_int_equal(f->server.n_requests, 1);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void test_watch(void **state)
{
	struct fixture *f = *state;
	struct ig_kube_request request = watch();

	use_plain(f);
	for (int i = 0; i < 2; i++) {
		_cleanup_(outcome_done) struct outcome got = {};

		f->server.answers[i] = ENDLESS "0\r\n\r\n";
		f->server.dribble = i;
		request.response_limit_bytes = 1;
		fetch(f, &request, &got);
		assert_int_equal(got.status, 200);
		assert_string_equal(got.data.data, "{}{1}");
		assert_string_equal(got.body, "");
		if (f->server.dribble)
			assert_int_equal(got.n_pieces, 5);
	}
}

static void test_watch_of_nothing(void **state)
{
	struct fixture *f = *state;
	struct ig_kube_request request = watch();
	_cleanup_(outcome_done) struct outcome got = {};

	use_plain(f);
	f->server.answers[0] = NOT_FOUND;
	fetch(f, &request, &got);
	assert_int_equal(got.status, 404);
	assert_string_equal(got.body, "gone");
	assert_int_equal(got.n_pieces, 0);
}

static void test_failures(void **state)
{
	struct fixture *f = *state;
	struct ig_kube_request request = watch();
	_cleanup_(outcome_done) struct outcome refused = {.on_data = REFUSE};
	_cleanup_(outcome_done) struct outcome idle = {}, late = {}, large = {};

	use_token_file(f, SECRET);
	f->server.answers[0] = f->server.answers[1] = f->server.answers[2] = ENDLESS;
	fetch(f, &request, &refused);
	assert_int_equal(refused.error, -EBADMSG);

	request.idle_timeout_usec = SHORT_USEC;
	fetch(f, &request, &idle);
	assert_int_equal(idle.error, -ETIMEDOUT);
	assert_string_equal(idle.data.data, "{}{1}");

	request = watch();
	request.timeout_usec = SHORT_USEC;
	fetch(f, &request, &late);
	assert_int_equal(late.error, -ETIMEDOUT);

	f->server.answers[3] = OK;
	request = get("/x");
	request.response_limit_bytes = 1;
	fetch(f, &request, &large);
	assert_int_equal(large.error, -E2BIG);
}

static void test_no_server(void **state)
{
	struct fixture *f = *state;
	struct outcome got;

	use_token_file(f, SECRET);
	evconnlistener_disable(f->server.listener);
	(void)shutdown(evconnlistener_get_fd(f->server.listener), SHUT_RDWR);
	got = fetch_path(f, "/x");
	assert_int_equal(got.error, -ECONNREFUSED);
}

/* ---- calls that end early -------------------------------------------------------------------- */

enum phase { JUST_STARTED, CONNECTED, ASKED, IN_THE_MIDDLE, SENT_AGAIN, _PHASE_MAX };

static void reach(struct fixture *f, enum phase phase, struct outcome *outcome)
{
	struct ig_kube_request request = watch();

	f->server.n_requests = 0;
	f->server.answers[0] = phase == SENT_AGAIN ? UNAUTHORIZED : NULL;
	if (phase == IN_THE_MIDDLE)
		f->server.answers[0] = ENDLESS;
	use_token_file(f, SECRET "-old");
	start(f, &request, outcome);
	put_file("token", SECRET "-new");
	if (phase == CONNECTED)
		run_until(f->base, &f->server.n_conns, 1);
	else if (phase == ASKED)
		run_until(f->base, &f->server.n_requests, 1);
	else if (phase == IN_THE_MIDDLE)
		run_until(f->base, &outcome->n_pieces, 1);
	else if (phase == SENT_AGAIN)
		run_until(f->base, &f->server.n_requests, 2);
}

static void forget(struct server *s)
{
	for (int i = 0; i < s->n_requests; i++)
		__real_free(s->requests[i]);
	for (int i = 0; i < s->n_conns; i++)
		bufferevent_free(s->conns[i]);
	s->n_requests = 0;
	s->n_conns = 0;
	s->n_closed = 0;
}

static void test_cancel_in_every_phase(void **state)
{
	struct fixture *f = *state;

	for (enum phase phase = 0; phase < _PHASE_MAX; phase++) {
		_cleanup_(outcome_done) struct outcome never = {};

		reach(f, phase, &never);
		ig_kube_call_cancel(never.call);
		if (f->server.n_conns > 0)
			run_until(f->base, &f->server.n_closed, 1);
		run_turns(f->base);
		assert_int_equal(never.n_done, 0);
		forget(&f->server);
	}
	ig_kube_call_cancel(NULL);
}

static void test_free_in_every_phase(void **state)
{
	struct fixture *f = *state;

	for (enum phase phase = 0; phase < _PHASE_MAX; phase++) {
		_cleanup_(outcome_done) struct outcome never = {};

		reach(f, phase, &never);
		f->client = ig_kube_client_free(f->client);
		run_turns(f->base);
		assert_int_equal(never.n_done, 0);
		forget(&f->server);
	}
	assert_null(ig_kube_client_free(NULL));
}

static void test_from_inside_data(void **state)
{
	static const enum reaction reactions[] = {
		CANCEL_SELF, CANCEL_OTHER, START_ANOTHER, FREE_CLIENT};
	struct fixture *f = *state;
	struct ig_kube_request request = watch();

	for (size_t i = 0; i < IG_ARRAY_SIZE(reactions); i++) {
		_cleanup_(outcome_done) struct outcome got = {.on_data = reactions[i]};
		_cleanup_(outcome_done) struct outcome other = {};
		bool starts = reactions[i] == START_ANOTHER;

		use_plain(f);
		got.other = &other;
		f->server.answers[0] = f->server.answers[1] = ENDLESS;
		if (!starts) {
			start(f, &request, &other);
			run_until(f->base, &other.n_pieces, 1);
		}
		f->server.answers[f->server.n_requests + 1] = OK;
		start(f, &request, &got);
		run_until(f->base, &got.n_pieces, 1);
		if (starts)
			run_until(f->base, &other.n_done, 1);
		run_turns(f->base);
		assert_int_equal(got.n_done, 0);
		assert_int_equal(other.n_done, starts);
		forget(&f->server);
	}
}

static void test_from_inside_done(void **state)
{
	static const enum reaction reactions[] = {CANCEL_OTHER, START_ANOTHER, FREE_CLIENT};
	struct fixture *f = *state;
	struct ig_kube_request request = watch();

	for (size_t i = 0; i < IG_ARRAY_SIZE(reactions); i++) {
		_cleanup_(outcome_done) struct outcome got = {.on_done = reactions[i]};
		_cleanup_(outcome_done) struct outcome other = {};
		bool starts = reactions[i] == START_ANOTHER;

		use_plain(f);
		got.other = &other;
		f->server.answers[0] = starts ? OK : ENDLESS;
		f->server.answers[1] = OK;
		if (!starts) {
			start(f, &request, &other);
			run_until(f->base, &other.n_pieces, 1);
		}
		start(f, &request, &got);
		run_until(f->base, &got.n_done, 1);
		if (starts)
			run_until(f->base, &other.n_done, 1);
		run_turns(f->base);
		assert_int_equal(got.n_done, 1);
		assert_int_equal(other.n_done, starts);
		forget(&f->server);
	}
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static void test_token_that_was_replaced(void **state)
{
	struct fixture *f = *state;
	struct ig_kube_request request = get("/x");
	_cleanup_(outcome_done) struct outcome got = {};

	f->server.answers[0] = UNAUTHORIZED;
	f->server.answers[1] = CREATED;
	use_token_file(f, SECRET "-old");
	request.method = "POST";
	request.body = "{}";
	request.body_len = 2;
	start(f, &request, &got);
	put_file("token", SECRET "-new\n");
	run_until(f->base, &got.n_done, 1);
	assert_int_equal(got.status, 201);
	assert_int_equal(f->server.n_requests, 2);
	assert_true(asked(f, 0, "Bearer " SECRET "-old\r\n"));
	assert_true(asked(f, 1, "Bearer " SECRET "-new\r\n"));
	assert_string_equal(strstr(f->server.requests[1], "\r\n\r\n"), "\r\n\r\n{}");
	assert_int_equal(got.n_done, 1);
}

/* The first refusal has the file read again, and finds another token. Those that were on their way
 * with the old one have to find it as well. */
static void test_token_that_was_replaced_for_another(void **state)
{
	struct fixture *f = *state;
	struct ig_kube_request request = get("/x");
	struct outcome got[3] = {};

	for (int i = 0; i < 3; i++)
		f->server.answers[3 + i] = OK;
	use_token_file(f, SECRET "-old");
	for (int i = 0; i < 3; i++)
		start(f, &request, &got[i]);
	run_until(f->base, &f->server.n_requests, 3);
	put_file("token", SECRET "-new");
	for (int i = 0; i < 3; i++) {
		server_say(&f->server, f->server.conns[i], UNAUTHORIZED);
		run_until(f->base, &got[i].n_done, 1);
		assert_int_equal(got[i].status, 200);
		assert_true(asked(f, 3 + i, "Bearer " SECRET "-new\r\n"));
		outcome_done(&got[i]);
	}
	assert_int_equal(f->server.n_requests, 6);
}

static void test_token_that_stays_refused(void **state)
{
	struct fixture *f = *state;
	struct ig_kube_request request = watch();
	_cleanup_(outcome_done) struct outcome got = {};

	for (int i = 0; i < 4; i++)
		f->server.answers[i] = UNAUTHORIZED;
	use_token_file(f, SECRET "-old");
	start(f, &request, &got);
	put_file("token", SECRET "-new");
	run_until(f->base, &got.n_done, 1);
	/* once more, and not for ever */
	assert_int_equal(got.status, 401);
	assert_string_equal(got.body, "who?");
	assert_int_equal(f->server.n_requests, 2);
	/* the same token is not tried again */
	assert_int_equal(fetch_path(f, "/x").status, 401);
	assert_int_equal(f->server.n_requests, 3);
	/* what is no token does not replace one */
	put_file("token", "two words");
	assert_int_equal(fetch_path(f, "/x").status, 401);
	assert_int_equal(f->server.n_requests, 4);
	assert_true(asked(f, 3, "Bearer " SECRET "-new\r\n"));
}

static void test_token_of_the_configuration(void **state)
{
	struct fixture *f = *state;
	struct ig_kube_config *config = config_of(f, "http", "");

	assert_int_equal(ig_kube_bearer_new_static(SECRET, &config->bearer, NULL), 0);
	assert_null(ig_kube_bearer_directory(config->bearer));
	use_config(f, config);
	f->server.answers[0] = UNAUTHORIZED;
	assert_int_equal(fetch_path(f, "/x").status, 401);
	assert_int_equal(f->server.n_requests, 1);
	assert_true(asked(f, 0, "Bearer " SECRET "\r\n"));
}

/* However often the file changes meanwhile. */
static void test_request_is_sent_twice_at_most(void **state)
{
	struct fixture *f = *state;
	struct ig_kube_request request = get("/x");
	_cleanup_(outcome_done) struct outcome got = {};

	f->server.answers[0] = UNAUTHORIZED;
	use_token_file(f, SECRET "-1");
	start(f, &request, &got);
	put_file("token", SECRET "-2");
	run_until(f->base, &f->server.n_requests, 2);
	put_file("token", SECRET "-3");
	server_say(&f->server, f->server.conns[0], UNAUTHORIZED);
	run_until(f->base, &got.n_done, 1);
	assert_int_equal(got.status, 401);
	assert_int_equal(f->server.n_requests, 2);
}

/* The deadline is for both attempts together. */
static void test_deadline_after_a_401(void **state)
{
	struct fixture *f = *state;
	struct ig_kube_request request = get("/x");

	for (int i = 0; i < 2; i++) {
		_cleanup_(outcome_done) struct outcome got = {};

		use_token_file(f, SECRET "-old");
		start(f, &request, &got);
		run_until(f->base, &f->server.n_requests, 1);
		put_file("token", SECRET "-new");
		/* next to nothing is left of the time, then nothing */
		clock_ahead_usec += i == 0 ? LONG_USEC - IG_USEC_PER_SEC : LONG_USEC;
		server_say(&f->server, f->server.conns[0], UNAUTHORIZED);
		run_until(f->base, &got.n_done, 1);
		assert_int_equal(got.error, i == 0 ? -ETIMEDOUT : 0);
		assert_int_equal(got.status, i == 0 ? 0 : 401);
		assert_int_equal(f->server.n_requests, i == 0 ? 2 : 1);
		f->client = ig_kube_client_free(f->client);
		forget(&f->server);
	}
}

static void test_token_file_is_looked_at(void **state)
{
	const uint64_t period = IG_KUBE_TOKEN_CHECK_SEC * IG_USEC_PER_SEC;
	struct ig_kube_bearer *bearer = NULL;
	uint64_t now;

	(void)state;
	put_file("token", SECRET "-1");
	assert_int_equal(ig_kube_bearer_new_file(path_of("token"), &bearer, NULL), 0);
	now = ig_clock_mono_usec();
	assert_string_equal(ig_kube_bearer_directory(bearer), dir);
	put_file("token", SECRET "-2");
	assert_string_equal(ig_kube_bearer_token(bearer, now), SECRET "-1");
	now += period + IG_USEC_PER_SEC;
	assert_string_equal(ig_kube_bearer_token(bearer, now), SECRET "-2");
	put_file("token", SECRET "-3");
	assert_string_equal(ig_kube_bearer_token(bearer, now + period - 1), SECRET "-2");
	assert_string_equal(ig_kube_bearer_token(bearer, now + period), SECRET "-3");
	/* gone for a moment, then empty: the last one goes on */
	remove_file("token");
	assert_string_equal(ig_kube_bearer_token(bearer, now + 2 * period), SECRET "-3");
	assert_int_equal(ig_kube_bearer_refresh(bearer, now), 0);
	put_file("token", "\n");
	assert_string_equal(ig_kube_bearer_token(bearer, now + 3 * period), SECRET "-3");
	put_file("token", SECRET "-4");
	assert_int_equal(ig_kube_bearer_refresh(bearer, now), 1);
	assert_int_equal(ig_kube_bearer_refresh(bearer, now), 0);
	assert_string_equal(ig_kube_bearer_token(bearer, now), SECRET "-4");
	assert_null(ig_kube_bearer_unref(bearer));
}

/* ---- TLS ------------------------------------------------------------------------------------- */

static struct ig_kube_config *use_tls(struct fixture *f, const char *names)
{
	f->ca = make_identity("CA", NULL, NULL);
	f->id = make_identity("server", names, &f->ca);
	f->client_id = make_identity("node-agent", NULL, &f->ca);
	server_use_tls(&f->server, &f->id, &f->ca);
	for (int i = 0; i < SERVER_REQUESTS; i++)
		f->server.answers[i] = OK;
	return config_of(f, "https", "");
}

static void test_tls(void **state)
{
	struct fixture *f = *state;
	struct ig_kube_config *config = use_tls(f, "IP:127.0.0.1");
	struct identity stranger = make_identity("another CA", NULL, NULL);
	char key_line[65] = "";

	/* the first line of the key */
	memcpy(key_line, strchr(f->client_id.key_pem, '\n') + 1, sizeof(key_line) - 1);
	other_secret = key_line;
	put_pem(&config->ca, f->ca.certificate_pem);
	put_pem(&config->certificate, f->client_id.certificate_pem);
	put_pem(&config->key, f->client_id.key_pem);
	assert_int_equal(ig_kube_bearer_new_static(SECRET, &config->bearer, NULL), 0);
	use_config(f, config);
	assert_int_equal(fetch_path(f, "/x").status, 200);
	assert_string_equal(f->server.client_names, "node-agent ");

	/* the token is not shown to a stranger */
	config = config_of(f, "https", "");
	put_pem(&config->ca, stranger.certificate_pem);
	assert_int_equal(ig_kube_bearer_new_static(SECRET, &config->bearer, NULL), 0);
	use_config(f, config);
	assert_int_equal(fetch_path(f, "/x").error, -EIO);
	assert_int_equal(f->server.n_requests, 1);
	assert_int_equal(n_secrets_freed, 0);
	other_secret = NULL;
	identity_done(&stranger);
}

static void test_tls_server_name(void **state)
{
	struct fixture *f = *state;
	struct ig_kube_config *config = use_tls(f, "DNS:kubernetes");
	char host[64];

	for (int i = 0; i < 2; i++) {
		if (i > 0)
			config = config_of(f, "https", "/prefix");
		put_pem(&config->ca, f->ca.certificate_pem);
		put_pem(&config->certificate, f->client_id.certificate_pem);
		put_pem(&config->key, f->client_id.key_pem);
		config->server_name = i > 0 ? strdup("kubernetes") : NULL;
		use_config(f, config);
		if (i == 0)
			assert_int_equal(fetch_path(f, "/x").error, -EIO);
		else
			assert_int_equal(fetch_path(f, "/x").status, 200);
	}
	assert_non_null(strstr(f->server.names_asked, "kubernetes "));
	assert_true(asked(f, 0, "GET /prefix/x HTTP/1.1\r\n"));
	(void)snprintf(host, sizeof(host), "\r\nHost: 127.0.0.1:%u\r\n", f->server.port);
	assert_true(asked(f, 0, host));
	assert_int_equal(f->server.n_requests, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_get),
		TEST(test_bodies),
		TEST(test_bad_paths),
		TEST(test_bad_requests),
		TEST(test_bad_user_agent),
		TEST(test_calls_at_once),
		TEST(test_redirection),
		TEST(test_watch),
		TEST(test_watch_of_nothing),
		TEST(test_failures),
		TEST(test_no_server),
		TEST(test_cancel_in_every_phase),
		TEST(test_free_in_every_phase),
		TEST(test_from_inside_data),
		TEST(test_from_inside_done),
		TEST(test_token_that_was_replaced),
		TEST(test_token_that_was_replaced_for_another),
		TEST(test_token_that_stays_refused),
		TEST(test_token_of_the_configuration),
		TEST(test_request_is_sent_twice_at_most),
		TEST(test_deadline_after_a_401),
		TEST(test_token_file_is_looked_at),
		TEST(test_tls),
		TEST(test_tls_server_name),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("kube_client", tests, NULL, NULL);
}
