/*
 * What the Kubernetes client needs of the HTTP client: streams, TLS with authorities and
 * certificates of its own, methods, places to connect to, connections that are probed.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "http/client.h"
#include "http/transfer.h"

#include "server_fixture.h"

#define LIMIT_BYTES 100
#define SHORT_USEC  30000
#define LONG_USEC   (1000 * IG_USEC_PER_SEC)

#define OK_CHUNKED                                                                                 \
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n"
#define OK_LENGTH  "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello, world"
#define OK_ENDLESS "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
#define OK_CUT	   "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"
#define OK_EMPTY   "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define NOT_FOUND  "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone"

struct fixture {
	struct event_base *base;
	struct server server;
	struct ig_http_client *client;
	struct identity ca, other_ca, id, client_id;
	int last_fd; /* a copy of what open_socket made; -1: none */
};

enum reaction {
	GO_ON,
	REFUSE,
	CANCEL_SELF,
	CANCEL_SELF_AND_REFUSE,
	CANCEL_OTHER,
	START_ANOTHER,
	FREE_CLIENT
};

/* What the callbacks of one call saw. */
struct outcome {
	struct fixture *fixture;
	struct ig_http_call *call;
	enum reaction reaction; /* to the first piece */
	struct outcome *other;
	struct ig_buf data;
	int n_pieces;
	int n_done;
	int error;
	unsigned int status;
	char body[LIMIT_BYTES + 1];
	char text[300];
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct event_config *config = event_config_new();

	assert_non_null(f);
	/* else time-outs are put off in steps of 4 ms */
	assert_int_equal(event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER), 0);
	f->base = event_base_new_with_config(config);
	event_config_free(config);
	f->last_fd = -1;
	server_init(&f->server, f->base);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	ig_http_client_free(f->client);
	server_done(&f->server);
	identity_done(&f->ca);
	identity_done(&f->other_ca);
	identity_done(&f->id);
	identity_done(&f->client_id);
	event_base_free(f->base);
	(void)ig_close(f->last_fd);
	free(f);
	return 0;
}

static void use_client(struct fixture *f, const struct ig_http_client_options *options)
{
	f->client = ig_http_client_free(f->client);
	assert_int_equal(ig_http_client_new(f->base, options, &f->client), 0);
}

static const char *url_of(struct fixture *f, const char *scheme, const char *host)
{
	static char text[200];

	(void)snprintf(text, sizeof(text), "%s://%s:%u/a", scheme, host, f->server.port);
	return text;
}

/* ---- calls ----------------------------------------------------------------------------------- */

static int on_data(const char *data, size_t len, void *userdata);
static void on_done(const struct ig_http_response *response, void *userdata);

static struct ig_http_call_options stream(struct fixture *f)
{
	return (struct ig_http_call_options){
		.url = url_of(f, "http", "127.0.0.1"),
		.idle_timeout_usec = LONG_USEC,
		.response_limit_bytes = LIMIT_BYTES,
		.on_data = on_data,
	};
}

static void start(
	struct fixture *f, const struct ig_http_call_options *options, struct outcome *outcome)
{
	outcome->fixture = f;
	ig_buf_done(&outcome->data);
	ig_buf_init(&outcome->data, 1000);
	assert_int_equal(
		ig_http_client_start(f->client, options, on_done, outcome, &outcome->call), 0);
	assert_int_equal(outcome->n_done + outcome->n_pieces, 0);
}

static void outcome_done(struct outcome *outcome)
{
	ig_buf_done(&outcome->data);
}

static int on_data(const char *data, size_t len, void *userdata)
{
	struct outcome *outcome = userdata;
	struct fixture *f = outcome->fixture;
	struct ig_http_call_options options = stream(f);

	assert_int_equal(outcome->n_done, 0);
	assert_true(len > 0);
	ig_buf_append(&outcome->data, data, len);
	if (outcome->n_pieces++ > 0)
		return 0;
	switch (outcome->reaction) {
	case GO_ON: break;
	case REFUSE: return -EBADMSG;
	case CANCEL_SELF: ig_http_call_cancel(outcome->call); break;
	case CANCEL_SELF_AND_REFUSE: ig_http_call_cancel(outcome->call); return -EBADMSG;
	case CANCEL_OTHER: ig_http_call_cancel(outcome->other->call); break;
	case START_ANOTHER: start(f, &options, outcome->other); break;
	case FREE_CLIENT: f->client = ig_http_client_free(f->client); break;
	}
	/* the piece must have survived that */
	assert_memory_equal(outcome->data.data, data, len);
	return 0;
}

static void on_done(const struct ig_http_response *response, void *userdata)
{
	struct outcome *outcome = userdata;

	outcome->n_done++;
	outcome->error = response->error;
	outcome->status = response->status;
	(void)snprintf(outcome->body, sizeof(outcome->body), "%s", response->body);
	if (response->error) {
		assert_int_equal(response->status, 0);
		(void)snprintf(outcome->text, sizeof(outcome->text), "%s", response->error_text);
		assert_string_not_equal(outcome->text, "");
	}
}

static void fetch(
	struct fixture *f, const struct ig_http_call_options *options, struct outcome *outcome)
{
	start(f, options, outcome);
	run_until(f->base, &outcome->n_done, 1);
	outcome->call = NULL;
}

/* ---- streams --------------------------------------------------------------------------------- */

static void test_stream(void **state)
{
	static const char *const answers[] = {OK_CHUNKED, OK_LENGTH};
	static const struct ig_http_client_options plain = {};
	struct fixture *f = *state;

	use_client(f, &plain);
	for (int i = 0; i < 4; i++) {
		_cleanup_(outcome_done) struct outcome got = {};
		struct ig_http_call_options options = stream(f);

		f->server.dribble = i >= 2;
		f->server.answers[i] = answers[i % 2];
		options.response_limit_bytes = 3; /* is not for what is streamed */
		fetch(f, &options, &got);
		assert_int_equal(got.error, 0);
		assert_int_equal(got.status, 200);
		assert_string_equal(got.body, "");
		assert_string_equal(got.data.data, "hello, world");
		if (f->server.dribble)
			assert_int_equal(got.n_pieces, 12);
	}
	/* streams that ended leave their connection to the next */
	assert_int_equal(f->server.n_conns, 1);
}

static void test_other_status_is_collected(void **state)
{
	static const struct ig_http_client_options plain = {};
	struct fixture *f = *state;
	struct ig_http_call_options options = stream(f);
	_cleanup_(outcome_done) struct outcome got = {}, large = {};

	use_client(f, &plain);
	f->server.answers[0] = f->server.answers[1] = NOT_FOUND;
	fetch(f, &options, &got);
	assert_int_equal(got.status, 404);
	assert_string_equal(got.body, "gone");
	assert_int_equal(got.n_pieces, 0);

	options.response_limit_bytes = 3;
	fetch(f, &options, &large);
	assert_int_equal(large.error, -E2BIG);
	assert_string_equal(large.text, "the reply is larger than 3 bytes");
}

static void test_data_comes_before_the_end(void **state)
{
	static const struct ig_http_client_options plain = {};
	struct fixture *f = *state;
	struct ig_http_call_options options = stream(f);
	_cleanup_(outcome_done) struct outcome got = {};

	use_client(f, &plain);
	f->server.answers[0] = OK_CUT;
	f->server.close_after = true;
	fetch(f, &options, &got);
	assert_int_equal(got.error, -ECONNRESET);
	assert_string_equal(got.data.data, "hello");
}

static void test_refused_data(void **state)
{
	static const struct ig_http_client_options plain = {};
	struct fixture *f = *state;
	struct ig_http_call_options options = stream(f);
	_cleanup_(outcome_done) struct outcome got = {.reaction = REFUSE};

	use_client(f, &plain);
	f->server.answers[0] = OK_ENDLESS;
	fetch(f, &options, &got);
	assert_int_equal(got.error, -EBADMSG);
	assert_non_null(strstr(got.text, "refused"));
	assert_int_equal(got.n_pieces, 1);
	/* nobody reads the rest */
	run_until(f->base, &f->server.n_closed, 1);
	assert_int_equal(got.n_done, 1);
}

static void test_stream_limit(void **state)
{
	static const struct ig_http_client_options plain = {};
	struct fixture *f = *state;
	struct ig_http_call_options options = stream(f);
	_cleanup_(outcome_done) struct outcome got = {};

	use_client(f, &plain);
	f->server.answers[0] = OK_LENGTH;
	start(f, &options, &got);
	assert_int_equal(got.call->pieces.limit, IG_HTTP_STREAM_BYTES);
	got.call->pieces.limit = 5;
	run_until(f->base, &got.n_done, 1);
	assert_int_equal(got.error, -E2BIG);
	assert_string_equal(got.text, "the reply is larger than 5 bytes");
}

static void test_idle_time_out(void **state)
{
	static const struct ig_http_client_options plain = {};
	/* before there is an answer, and in the middle of one */
	static const char *const answers[] = {NULL, OK_ENDLESS};
	struct fixture *f = *state;

	use_client(f, &plain);
	for (int i = 0; i < 2; i++) {
		struct ig_http_call_options options = stream(f);
		_cleanup_(outcome_done) struct outcome got = {};

		f->server.answers[i] = answers[i];
		options.idle_timeout_usec = SHORT_USEC;
		fetch(f, &options, &got);
		assert_int_equal(got.error, -ETIMEDOUT);
		assert_string_equal(got.text, "nothing came for 30 ms");
		assert_int_equal(got.n_pieces, i);
		run_until(f->base, &f->server.n_closed, i + 1);
	}
}

/* Every byte puts the time-out off. */
static void test_idle_time_out_is_put_off(void **state)
{
	static const struct ig_http_client_options plain = {};
	struct fixture *f = *state;
	struct ig_http_call_options options = stream(f);
	_cleanup_(outcome_done) struct outcome got = {};
	struct timeval first = {}, last = {};

	use_client(f, &plain);
	f->server.dribble = true;
	f->server.answers[0] = OK_ENDLESS;
	start(f, &options, &got);
	assert_true(event_pending(got.call->idle, EV_TIMEOUT, &first));
	run_until(f->base, &got.n_pieces, 1);
	assert_true(event_pending(got.call->idle, EV_TIMEOUT, &last));
	assert_true(timercmp(&last, &first, >)); /* by the header */
	first = last;
	run_until(f->base, &got.n_pieces, 5);
	assert_true(event_pending(got.call->idle, EV_TIMEOUT, &last));
	assert_true(timercmp(&last, &first, >)); /* by the body */
	ig_http_call_cancel(got.call);
}

static void test_deadline_of_a_stream(void **state)
{
	static const struct ig_http_client_options plain = {};
	struct fixture *f = *state;
	struct ig_http_call_options options = stream(f);
	_cleanup_(outcome_done) struct outcome got = {};

	use_client(f, &plain);
	f->server.answers[0] = OK_ENDLESS;
	options.timeout_usec = SHORT_USEC;
	fetch(f, &options, &got);
	assert_int_equal(got.error, -ETIMEDOUT);
	assert_null(strstr(got.text, "nothing came"));
}

static void test_unbounded_calls_are_refused(void **state)
{
	static const struct ig_http_client_options plain = {};
	struct fixture *f = *state;
	struct ig_http_call_options options = stream(f);
	struct outcome got = {.fixture = f};

	use_client(f, &plain);
	options.idle_timeout_usec = 0;
	assert_int_equal(ig_http_client_start(f->client, &options, on_done, &got, NULL), -EINVAL);
	options = stream(f);
	options.on_data = NULL;
	assert_int_equal(ig_http_client_start(f->client, &options, on_done, &got, NULL), -EINVAL);
}

/* ---- from inside on_data --------------------------------------------------------------------- */

static void test_cancel_from_data(void **state)
{
	static const struct ig_http_client_options plain = {};
	static const enum reaction reactions[] = {CANCEL_SELF, CANCEL_SELF_AND_REFUSE};
	struct fixture *f = *state;

	use_client(f, &plain);
	for (int i = 0; i < 2; i++) {
		struct ig_http_call_options options = stream(f);
		_cleanup_(outcome_done) struct outcome got = {.reaction = reactions[i]};

		f->server.answers[i] = OK_ENDLESS;
		start(f, &options, &got);
		run_until(f->base, &got.n_pieces, 1);
		run_until(f->base, &f->server.n_closed, i + 1);
		assert_int_equal(got.n_done, 0);
		assert_int_equal(got.n_pieces, 1);
	}
}

static void test_cancel_other_from_data(void **state)
{
	static const struct ig_http_client_options plain = {};
	struct fixture *f = *state;
	struct ig_http_call_options options = stream(f);
	_cleanup_(outcome_done) struct outcome got = {.reaction = CANCEL_OTHER}, other = {};

	use_client(f, &plain);
	f->server.answers[0] = OK_ENDLESS;
	start(f, &options, &other);
	run_until(f->base, &other.n_pieces, 1);
	f->server.answers[1] = OK_CHUNKED;
	got.other = &other;
	start(f, &options, &got);
	run_until(f->base, &got.n_done, 1);
	run_until(f->base, &f->server.n_closed, 1);
	assert_int_equal(got.status, 200);
	assert_int_equal(other.n_done, 0);
}

static void test_start_from_data(void **state)
{
	static const struct ig_http_client_options plain = {};
	struct fixture *f = *state;
	struct ig_http_call_options options = stream(f);
	_cleanup_(outcome_done) struct outcome got = {.reaction = START_ANOTHER}, other = {};

	use_client(f, &plain);
	f->server.answers[0] = OK_ENDLESS;
	f->server.answers[1] = OK_LENGTH;
	got.other = &other;
	start(f, &options, &got);
	run_until(f->base, &other.n_done, 1);
	assert_string_equal(other.data.data, "hello, world");
	assert_int_equal(got.n_done, 0);
	ig_http_call_cancel(got.call);
}

static void test_free_from_data(void **state)
{
	static const struct ig_http_client_options plain = {};
	struct fixture *f = *state;
	struct ig_http_call_options options = stream(f);
	_cleanup_(outcome_done) struct outcome got = {.reaction = FREE_CLIENT}, other = {};

	use_client(f, &plain);
	f->server.answers[0] = OK_ENDLESS;
	start(f, &options, &other);
	run_until(f->base, &other.n_pieces, 1);
	f->server.answers[1] = OK_CHUNKED;
	start(f, &options, &got);
	run_until(f->base, &got.n_pieces, 1);
	run_until(f->base, &f->server.n_closed, 2);
	assert_null(f->client);
	assert_int_equal(got.n_done + other.n_done, 0);
}

/* ---- requests -------------------------------------------------------------------------------- */

static void test_methods(void **state)
{
	static const struct ig_http_client_options plain = {};
	static const char *const bad[] = {
		"", "HEAD", "CONNECT", "get", "GET /", "PATCH\r\nA: b", "ABCDEFGHIJKLMNOPQ"};
	struct fixture *f = *state;
	struct ig_http_call_options options = stream(f);
	_cleanup_(outcome_done) struct outcome patch = {}, delete = {};

	use_client(f, &plain);
	f->server.answers[0] = f->server.answers[1] = OK_EMPTY;
	options.method = "PATCH";
	options.post_body = "{}";
	options.post_body_len = 2;
	fetch(f, &options, &patch);
	assert_int_equal(patch.status, 200);
	assert_ptr_equal(
		strstr(f->server.requests[0], "PATCH /a HTTP/1.1\r\n"), f->server.requests[0]);
	assert_string_equal(strstr(f->server.requests[0], "\r\n\r\n"), "\r\n\r\n{}");

	options = stream(f);
	options.method = "DELETE";
	fetch(f, &options, &delete);
	assert_ptr_equal(
		strstr(f->server.requests[1], "DELETE /a HTTP/1.1\r\n"), f->server.requests[1]);
	assert_null(strcasestr(f->server.requests[1], "Content-Length"));

	for (size_t i = 0; i < IG_ARRAY_SIZE(bad); i++) {
		struct outcome got = {.fixture = f};

		options.method = bad[i];
		assert_int_equal(
			ig_http_client_start(f->client, &options, on_done, &got, NULL), -EINVAL);
	}
}

static void test_bad_clients(void **state)
{
	const struct ig_http_client_options bad[] = {
		{.user_agent = "a\r\nB: c"},
		{.user_agent = "a\x7f"},
		{.connect_to = ""},
		{.connect_to = "a\n:1"},
		{.tls = {.certificate = {"x", 1}}},
		{.tls = {.key = {"x", 1}}},
	};
	struct fixture *f = *state;
	struct ig_http_client *client = NULL;

	for (size_t i = 0; i < IG_ARRAY_SIZE(bad); i++)
		assert_int_equal(ig_http_client_new(f->base, &bad[i], &client), -EINVAL);
	assert_null(client);
}

static int open_socket(int family, int type, int protocol, void *userdata)
{
	struct fixture *f = userdata;
	int fd = socket(family, type | SOCK_CLOEXEC, protocol);

	f->last_fd = ig_close(f->last_fd);
	f->last_fd = dup(fd);
	return fd;
}

static int socket_option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static void test_probed_connections(void **state)
{
	struct fixture *f = *state;
	struct ig_http_client_options client = {.open_socket = open_socket, .userdata = f};
	struct ig_http_call_options options = stream(f);
	_cleanup_(outcome_done) struct outcome without = {}, with = {};

	f->server.answers[0] = f->server.answers[1] = OK_EMPTY;
	use_client(f, &client);
	fetch(f, &options, &without);
	assert_int_equal(without.status, 200);
	assert_int_equal(socket_option(f->last_fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);

	client.probe_peer = true;
	use_client(f, &client);
	fetch(f, &options, &with);
	assert_int_equal(with.status, 200);
	assert_int_equal(socket_option(f->last_fd, SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_int_equal(socket_option(f->last_fd, IPPROTO_TCP, TCP_KEEPIDLE), 15);
	assert_int_equal(socket_option(f->last_fd, IPPROTO_TCP, TCP_KEEPINTVL), 5);
	assert_int_equal(socket_option(f->last_fd, IPPROTO_TCP, TCP_KEEPCNT), 3);
	assert_int_equal(socket_option(f->last_fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 30000);
}

/* ---- TLS ------------------------------------------------------------------------------------- */

/* Stand in front of what libcurl calls: which authorities were taken from the disk? */
static int n_loaded_from_disk;

int X509_STORE_load_file(X509_STORE *store, const char *file)
{
	(void)store;
	(void)file;
	n_loaded_from_disk++;
	return 1;
}

int X509_STORE_load_path(X509_STORE *store, const char *path)
{
	(void)store;
	(void)path;
	n_loaded_from_disk++;
	return 1;
}

static struct ig_http_pem pem(const char *text)
{
	return (struct ig_http_pem){.data = text, .len = strlen(text)};
}

/* A server called "kubernetes" at 127.0.0.1, and the options of a client that trusts it. */
static struct ig_http_client_options use_tls(struct fixture *f, bool asks_clients)
{
	f->ca = make_identity("CA", NULL, NULL);
	f->other_ca = make_identity("another CA", NULL, NULL);
	f->id = make_identity("server", "DNS:kubernetes,IP:127.0.0.1", &f->ca);
	f->client_id = make_identity("node-agent", NULL, &f->ca);
	server_use_tls(&f->server, &f->id, asks_clients ? &f->ca : NULL);
	for (int i = 0; i < SERVER_REQUESTS; i++)
		f->server.answers[i] = OK_LENGTH;
	n_loaded_from_disk = 0;
	return (struct ig_http_client_options){.tls.ca = pem(f->ca.certificate_pem)};
}

static struct outcome fetch_tls(
	struct fixture *f, const struct ig_http_client_options *client, const char *host)
{
	struct ig_http_call_options options = stream(f);
	struct outcome got = {};

	options.url = url_of(f, "https", host);
	use_client(f, client);
	fetch(f, &options, &got);
	ig_buf_done(&got.data);
	return got;
}

static void test_tls(void **state)
{
	struct fixture *f = *state;
	struct ig_http_client_options client = use_tls(f, false);

	f->server.dribble = true;
	assert_int_equal(fetch_tls(f, &client, "127.0.0.1").status, 200);
	/* the given authorities are the only ones */
	assert_int_equal(n_loaded_from_disk, 0);
	assert_string_equal(f->server.client_names, "none ");
}

static void test_tls_wrong_authority(void **state)
{
	struct fixture *f = *state;
	struct ig_http_client_options client = use_tls(f, false);
	struct outcome got;

	client.tls.ca = pem(f->other_ca.certificate_pem);
	got = fetch_tls(f, &client, "127.0.0.1");
	assert_int_equal(got.error, -EIO);
	assert_non_null(strstr(got.text, "certificate"));
	/* the machine's do not know it either */
	client.tls.ca = (struct ig_http_pem){};
	assert_int_equal(fetch_tls(f, &client, "127.0.0.1").error, -EIO);
	assert_true(n_loaded_from_disk > 0);
	/* what is no certificate is not taken for "no authority given" */
	client.tls.ca = pem("nonsense");
	assert_int_equal(fetch_tls(f, &client, "127.0.0.1").error, -EIO);
	assert_int_equal(f->server.n_requests, 0);
}

static void test_tls_names(void **state)
{
	struct fixture *f = *state;
	struct ig_http_client_options client = use_tls(f, false);
	char place[32];

	(void)snprintf(place, sizeof(place), "127.0.0.1:%u", f->server.port);
	client.connect_to = place;
	assert_int_equal(fetch_tls(f, &client, "kubernetes").status, 200);
	assert_int_equal(fetch_tls(f, &client, "127.0.0.2").error, -EIO);
	assert_int_equal(fetch_tls(f, &client, "other.example").error, -EIO);
	assert_int_equal(f->server.n_requests, 1);
	assert_non_null(strstr(f->server.names_asked, "kubernetes "));
	assert_non_null(strstr(f->server.names_asked, "other.example "));
}

static void test_tls_client_certificate(void **state)
{
	struct fixture *f = *state;
	struct ig_http_client_options client = use_tls(f, true);
	struct identity stranger = make_identity("stranger", NULL, &f->other_ca);
	struct outcome got;

	got = fetch_tls(f, &client, "127.0.0.1");
	assert_true(got.error < 0);
	client.tls.certificate = pem(stranger.certificate_pem);
	client.tls.key = pem(stranger.key_pem);
	assert_true(fetch_tls(f, &client, "127.0.0.1").error < 0);
	assert_int_equal(f->server.n_requests, 0);

	client.tls.certificate = pem(f->client_id.certificate_pem);
	client.tls.key = pem(f->client_id.key_pem);
	assert_int_equal(fetch_tls(f, &client, "127.0.0.1").status, 200);
	assert_string_equal(f->server.client_names, "node-agent ");
	/* a key that does not fit, and what is no key: the text does not show it */
	client.tls.key = pem(stranger.key_pem);
	assert_true(fetch_tls(f, &client, "127.0.0.1").error < 0);
	client.tls.key = pem("s3cr3t");
	got = fetch_tls(f, &client, "127.0.0.1");
	assert_true(got.error < 0);
	assert_null(strstr(got.text, "s3cr3t"));
	identity_done(&stranger);
}

static void test_tls_old_version(void **state)
{
	struct fixture *f = *state;
	struct ig_http_client_options client = use_tls(f, false);

	SSL_CTX_set_security_level(f->server.tls, 0);
	assert_int_equal(SSL_CTX_set_max_proto_version(f->server.tls, TLS1_1_VERSION), 1);
	assert_int_equal(SSL_CTX_set_min_proto_version(f->server.tls, TLS1_VERSION), 1);
	assert_int_equal(fetch_tls(f, &client, "127.0.0.1").error, -EIO);
	assert_int_equal(SSL_CTX_set_max_proto_version(f->server.tls, TLS1_2_VERSION), 1);
	assert_int_equal(fetch_tls(f, &client, "127.0.0.1").status, 200);
}

static void test_connect_time_out(void **state)
{
	struct fixture *f = *state;
	struct ig_http_client_options client = use_tls(f, false);
	struct outcome got;

	f->server.silent = true;
	client.connect_timeout_usec = SHORT_USEC;
	got = fetch_tls(f, &client, "127.0.0.1");
	assert_int_equal(got.error, -ETIMEDOUT);
}

/* Offered, and not taken by a server that knows none of it. */
static void test_http2_is_only_offered(void **state)
{
	struct fixture *f = *state;
	struct ig_http_client_options client = use_tls(f, false);

	client.http2 = true;
	assert_int_equal(fetch_tls(f, &client, "127.0.0.1").status, 200);
	assert_non_null(strstr(f->server.requests[0], " HTTP/1.1\r\n"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_stream),
		TEST(test_other_status_is_collected),
		TEST(test_data_comes_before_the_end),
		TEST(test_refused_data),
		TEST(test_stream_limit),
		TEST(test_idle_time_out),
		TEST(test_idle_time_out_is_put_off),
		TEST(test_deadline_of_a_stream),
		TEST(test_unbounded_calls_are_refused),
		TEST(test_cancel_from_data),
		TEST(test_cancel_other_from_data),
		TEST(test_start_from_data),
		TEST(test_free_from_data),
		TEST(test_methods),
		TEST(test_bad_clients),
		TEST(test_probed_connections),
		TEST(test_tls),
		TEST(test_tls_wrong_authority),
		TEST(test_tls_names),
		TEST(test_tls_client_certificate),
		TEST(test_tls_old_version),
		TEST(test_connect_time_out),
		TEST(test_http2_is_only_offered),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("http_stream", tests, NULL, NULL);
}
