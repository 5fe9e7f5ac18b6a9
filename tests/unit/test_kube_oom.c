/*
 * Every allocation of user/kube and of the HTTP client fails once, in turn: loading a
 * configuration, making a client, a stream, and a request that goes out twice because of a new
 * token. Who was promised an answer gets one, nothing leaks, and afterwards everything works.
 *
 * Linked with --wrap for allocations.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "kube/bearer.h"
#include "kube/client.h"
#include "kube/config.h"

#include "server_fixture.h"

#define ALLOCATION_IS_SPARED server_works
#include "alloc_failure.h"

#define OK	     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
#define UNAUTHORIZED "HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nwho?"
#define DEADLINE     (100 * IG_USEC_PER_MSEC) /* of a transfer that libcurl cannot watch */
#define NO_DEADLINE  (60 * IG_USEC_PER_SEC)   /* of what has to go well on a slow machine, too */

/* ---- configuration --------------------------------------------------------------------------- */

static char dir[] = "/tmp/imdsgate-oom-XXXXXX";
static char token_path[64], config_path[64], ca_path[64];

static void put_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(close(fd), 0);
}

static int make_files(void **state)
{
	struct identity ca = make_identity("CA", NULL, NULL);

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(token_path, sizeof(token_path), "%s/token", dir);
	(void)snprintf(config_path, sizeof(config_path), "%s/config", dir);
	(void)snprintf(ca_path, sizeof(ca_path), "%s/ca.crt", dir);
	put_file(token_path, "t");
	put_file(ca_path, ca.certificate_pem);
	put_file(config_path,
		"current-context: a\n"
		"contexts: [{name: a, context: {cluster: c, user: u, namespace: n}}]\n"
		"clusters: [{name: c, cluster: {server: 'https://a', certificate-authority: ca.crt, tls-server-name: b}}]\n"
		"users: [{name: u, user: {tokenFile: token}}]\n");
	identity_done(&ca);
	(void)setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
	(void)setenv("KUBERNETES_SERVICE_PORT", "443", 1);
	return 0;
}

static int drop_files(void **state)
{
	(void)state;
	(void)unlink(token_path);
	(void)unlink(config_path);
	(void)unlink(ca_path);
	return rmdir(dir);
}

static int load_file(struct ig_kube_config **ret)
{
	return ig_kube_config_load(config_path, ret, NULL);
}

static int load_in_cluster(struct ig_kube_config **ret)
{
	return ig_kube_config_load_in_cluster(dir, ret, NULL);
}

static void test_configuration(void **state)
{
	static int (*const loads[])(struct ig_kube_config **) = {load_file, load_in_cluster};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(loads); i++) {
		allocations = 0;
		for (failing = 1; failing == 1 || allocations >= failing - 1; failing++) {
			struct ig_kube_config *config = NULL;
			int r;

			allocations = 0;
			armed = true;
			r = loads[i](&config);
			armed = false;
			assert_true((r == 0) == (config != NULL));
			if (allocations >= failing && r < 0)
				assert_int_equal(r, -ENOMEM);
			if (allocations < failing)
				assert_int_equal(r, 0);
			(void)ig_kube_config_free(config);
		}
		assert_true(failing > 8);
	}
}

/* ---- client and calls ------------------------------------------------------------------------ */

struct fixture {
	struct event_base *base;
	struct server server;
	int n_done, n_ok, n_data;
};

static void on_done(const struct ig_http_response *response, void *userdata)
{
	struct fixture *f = userdata;

	f->n_done++;
	f->n_ok += response->error == 0 && response->status == 200;
}

static int on_data(const char *data, size_t len, void *userdata)
{
	struct fixture *f = userdata;

	assert_memory_equal(data, "{}", len);
	f->n_data += (int)len;
	return 0;
}

/* What is started ends once; returns how many were. */
static int run_calls(struct fixture *f, struct ig_kube_client *client, uint64_t timeout_usec)
{
	const struct ig_kube_request post = {
		.method = "POST",
		.path = "/a",
		.body = "{}",
		.body_len = 2,
		.content_type = "application/json",
		.timeout_usec = timeout_usec,
		.response_limit_bytes = 100,
	};
	const struct ig_kube_request stream = {
		.method = "GET",
		.path = "/b",
		.timeout_usec = timeout_usec,
		.idle_timeout_usec = timeout_usec,
		.response_limit_bytes = 100,
		.on_data = on_data,
	};
	int n = 0;

	f->n_done = f->n_ok = f->n_data = 0;
	n += ig_kube_client_start(client, &post, on_done, f, NULL) == 0;
	put_file(token_path, "new");
	run_until(f->base, &f->n_done, n);
	n += ig_kube_client_start(client, &stream, on_done, f, NULL) == 0;
	run_until(f->base, &f->n_done, n);
	run_turns(f->base);
	assert_int_equal(f->n_done, n);
	return n;
}

static void forget(struct server *s)
{
	for (int i = 0; i < s->n_requests; i++)
		free(s->requests[i]);
	for (int i = 0; i < s->n_conns; i++)
		bufferevent_free(s->conns[i]);
	s->n_requests = s->n_conns = 0;
}

/* Returns whether all went well. */
static bool run_once(struct fixture *f)
{
	_cleanup_free_ char *server = NULL;
	struct ig_kube_config config = {};
	struct ig_kube_client *client = NULL;
	int r;

	put_file(token_path, "old");
	config.server = server = calloc(1, 64);
	(void)snprintf(server, 64, "http://127.0.0.1:%u", f->server.port);
	assert_int_equal(ig_kube_bearer_new_file(token_path, &config.bearer, NULL), 0);
	allocations = 0;
	armed = true;
	r = ig_kube_client_new(f->base, &config, "imdsgate/0 (n)", &client);
	if (r == 0)
		(void)run_calls(f, client, DEADLINE);
	armed = false;
	if (r < 0)
		assert_int_equal(r, -ENOMEM);
	/* what failed has left nothing behind that the next call meets */
	if (r == 0) {
		f->server.answers[f->server.n_requests] = OK;
		f->server.answers[f->server.n_requests + 1] = OK;
		assert_int_equal(run_calls(f, client, NO_DEADLINE), 2);
		assert_int_equal(f->n_ok, 2);
		assert_int_equal(f->n_data, 2);
	}
	(void)ig_kube_client_free(client);
	(void)ig_kube_bearer_unref(config.bearer);
	forget(&f->server);
	return allocations < failing;
}

static void test_calls(void **state)
{
	struct fixture f = {.base = event_base_new()};
	bool well = false;

	(void)state;
	server_init(&f.server, f.base);
	for (failing = 1; !well; failing++) {
		f.server.answers[0] = UNAUTHORIZED;
		f.server.answers[1] = f.server.answers[2] = OK;
		well = run_once(&f);
	}
	assert_true(failing > 20);
	server_done(&f.server);
	event_base_free(f.base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_configuration),
		cmocka_unit_test(test_calls),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests_name("kube_oom", tests, make_files, drop_files);
}
