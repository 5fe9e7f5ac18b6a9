/*
 * Entra ID behind the token service: its own queue beside that of IMDS, credentials that change on
 * disk, the one repetition with a younger assertion, pauses that hit nobody else, keys that must
 * not be mixed up; and every allocation failing once, OpenSSL's included.
 *
 * Linked with --wrap for allocations.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <openssl/crypto.h>
#include <openssl/err.h>

#include "unit/credential_fixture.h"
#include "unit/entra_alloc_failure.h"

/* ---- allocations ----------------------------------------------------------------------------- */

static bool crypto_too; /* OpenSSL's count as well */

/* OpenSSL is told to use these. */
static void *crypto_malloc(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return crypto_too && fails() ? NULL : __real_malloc(size);
}

static void *crypto_realloc(void *p, size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return crypto_too && fails() ? NULL : realloc(p, size);
}

static void crypto_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	free(p);
}

/* ---- credentials ----------------------------------------------------------------------------- */

static void test_cached_and_rotated(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = entra_key(f, "r");

	assert_string_equal(ask_entra(f, &key, 0).token, "entra-1");
	assert_non_null(strstr(entra.posts[0], "client_secret=first"));
	put_text("demo/app/clientSecret", "second");
	assert_int_equal(ask_entra(f, &key, 0).cache, IG_TOKEN_HIT);
	assert_int_equal(entra.n_posts, 1);
	assert_string_equal(ask_entra(f, &key, IG_TOKEN_BYPASS_CACHE).token, "entra-2");
	assert_non_null(strstr(entra.posts[1], "client_secret=second"));
	assert_int_equal(f->n_calls, 0);
}

static void test_missing_then_there(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = entra_key(f, "r");
	struct asked asked;

	drop_file("demo/app/clientSecret");
	asked = ask_entra(f, &key, 0);
	assert_false(asked.ok);
	assert_int_equal(asked.kind, IG_TOKEN_BROKEN);
	assert_non_null(strstr(asked.text, "demo/app/clientSecret: No such file or directory"));
	assert_int_equal(entra.n_posts, 0);
	put_text("demo/app/clientSecret", "there");
	pass_sec(IG_TOKEN_NEGATIVE_SEC + 1);
	assert_true(ask_entra(f, &key, 0).ok);
}

/* Everything that tells one credential from another also tells their tokens apart. */
static void test_keys(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key base = entra_key(f, "r");
	struct ig_token_key others[5] = {base, base, base, base, base};
	char slash[80];

	(void)snprintf(slash, sizeof(slash), "%s/", base.authority);
	make_dir("demo/other");
	put_text("demo/other/clientSecret", "x");
	put_text("demo/app/token", "a.b.c");
	others[0].credential = "demo/other";
	others[1].source = IG_TOKEN_SOURCE_FEDERATION;
	others[1].credential = "demo/app/token";
	others[2].authority = slash;
	others[3].resource = "s";
	others[4].tenant = "T.example";
	assert_int_equal(evhttp_set_cb(f->imds, "/T.example/oauth2/token", on_post, NULL), 0);
	assert_string_equal(ask_entra(f, &base, 0).token, "entra-1");
	for (size_t i = 0; i < IG_ARRAY_SIZE(others); i++) {
		assert_int_equal(ask_entra(f, &others[i], 0).cache, IG_TOKEN_MISS);
		assert_int_equal(entra.n_posts, (int)i + 2);
		assert_int_equal(ask_entra(f, &others[i], 0).cache, IG_TOKEN_HIT);
	}
	/* IMDS asked for the same client and resource is somebody else again */
	assert_string_equal(get_token(f, "r").token, "1-r");
	assert_string_equal(ask_entra(f, &base, 0).token, "entra-1");
	assert_int_equal(f->n_calls, 1);
}

static void test_incomplete_key(void **state)
{
	struct fixture *f = *state;
	struct ig_token_key key = entra_key(f, "r");
	struct asked asked = {};

	key.tenant = NULL;
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), -EINVAL);
	key = entra_key(f, "r");
	key.source = _IG_TOKEN_SOURCE_MAX;
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), -EINVAL);
}

static void test_without_directory(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = entra_key(f, "r");
	struct asked asked;

	new_service(f, f->port);
	asked = ask_entra(f, &key, 0);
	assert_int_equal(asked.kind, IG_TOKEN_BROKEN);
	assert_non_null(strstr(asked.text, "no directory of credentials"));
}

static bool keep_demo(const struct ig_token_key *key, void *userdata)
{
	(void)userdata;
	return strcmp(key->credential, "demo/app") != 0;
}

static void test_purge(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = entra_key(f, "r");

	assert_true(ask_entra(f, &key, 0).ok);
	assert_int_equal(ig_token_service_purge(f->service, keep_demo, NULL), 1);
	assert_string_equal(ask_entra(f, &key, 0).token, "entra-2");
}

/* ---- trouble --------------------------------------------------------------------------------- */

/* The kubelet renews a federated token under our hands. */
static void test_old_assertion(void **state)
{
	struct fixture *f = *state;
	struct ig_token_key key = entra_key(f, "r");
	struct asked asked = {};

	key.source = IG_TOKEN_SOURCE_FEDERATION;
	key.credential = "demo/app/token";
	put_text("demo/app/token", "old.old.old");
	entra.errors[0] = "AADSTS700024";
	entra.hold = true;
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), 0);
	run_until(f->base, &entra.n_posts, 1);
	put_text("demo/app/token", "new.new.new");
	entra.hold = false;
	answer_post(TAKE_PTR(entra.held), 0);
	run_until(f->base, &asked.n, 1);
	assert_true(asked.ok);
	assert_string_equal(asked.token, "entra-2");
	assert_non_null(strstr(entra.posts[0], "client_assertion=old.old.old"));
	assert_non_null(strstr(entra.posts[1], "client_assertion=new.new.new"));
	assert_int_equal(n_running(f->service), 0);
}

static void test_too_old_twice(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = entra_key(f, "r");
	struct asked asked;

	for (int i = 0; i < POSTS_MAX; i++)
		entra.errors[i] = "AADSTS700024";
	asked = ask_entra(f, &key, 0);
	assert_int_equal(asked.kind, IG_TOKEN_BROKEN);
	assert_non_null(strstr(asked.text, "AADSTS700024"));
	assert_int_equal(entra.n_posts, 2);
	assert_int_equal(n_running(f->service), 0);
	/* other refusals are not repeated */
	forget_posts();
	entra.errors[0] = "AADSTS7000215";
	asked = ask_entra(f,
		&(struct ig_token_key){.source = key.source,
			.tenant = key.tenant,
			.authority = key.authority,
			.credential = key.credential,
			.upstream = key.upstream,
			.expect_client_id = CLIENT,
			.resource = "s"},
		0);
	assert_int_equal(asked.kind, IG_TOKEN_BROKEN);
	assert_int_equal(entra.n_posts, 1);
}

static void test_cancelled_in_between(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = entra_key(f, "r");
	struct asked asked = {};

	entra.errors[0] = "AADSTS700024";
	entra.hold = true;
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), 0);
	run_until(f->base, &entra.n_posts, 1);
	answer_post(TAKE_PTR(entra.held), 0);
	run_until(f->base, &entra.n_posts, 2);
	/* the second call is under way */
	assert_int_equal(n_running(f->service), 1);
	assert_int_equal(ig_token_service_purge(f->service, keep_none, NULL), 0);
	run_until(f->base, &asked.n, 1);
	assert_int_equal(asked.kind, IG_TOKEN_UNAVAILABLE);
	assert_int_equal(n_running(f->service), 0);
}

static void test_pause(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = entra_key(f, "r");
	const struct ig_token_key other = entra_key(f, "s");
	struct asked asked;

	entra.errors[0] = "AADSTS50196";
	entra.status = 429;
	entra.retry_after = "25";
	asked = ask_entra(f, &key, 0);
	assert_int_equal(asked.kind, IG_TOKEN_UNAVAILABLE);
	/* another resource is another quota, and IMDS is none of it */
	assert_true(ask_entra(f, &other, 0).ok);
	assert_true(get_token(f, "r").ok);
	pass_sec(20);
	assert_false(ask_entra(f, &key, 0).ok);
	assert_int_equal(entra.n_posts, 2);
	pass_sec(6);
	assert_true(ask_entra(f, &key, 0).ok);
}

/* A token that lives outlasts an Entra that does not. */
static void test_survives(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = entra_key(f, "r");
	struct asked asked;

	assert_true(ask_entra(f, &key, 0).ok);
	entra.errors[1] = entra.errors[2] = "AADSTS90033";
	entra.status = 503;
	pass_sec(3599 - IG_TOKEN_MIN_LIFE_SEC + 10);
	asked = ask_entra(f, &key, 0);
	assert_true(asked.ok);
	assert_int_equal(asked.cache, IG_TOKEN_STALE);
	assert_string_equal(asked.token, "entra-1");
	pass_sec(IG_TOKEN_MIN_LIFE_SEC);
	asked = ask_entra(f, &key, 0);
	assert_int_equal(asked.kind, IG_TOKEN_UNAVAILABLE);
}

/* ---- lanes ----------------------------------------------------------------------------------- */

/* IMDS that answers nobody, with all slots and the queue behind them full. */
static void test_entra_beside_stuck_imds(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = entra_key(f, "r");
	struct asked asked[2 * IG_UPSTREAM_CONCURRENCY] = {};

	f->hold = true;
	for (size_t i = 0; i < IG_ARRAY_SIZE(asked); i++) {
		char resource[16];

		(void)snprintf(resource, sizeof(resource), "r%zu", i);
		ask(f, resource, &asked[i]);
	}
	run_until(f->base, &f->n_calls, IG_UPSTREAM_CONCURRENCY);
	assert_int_equal(ig_token_service_stats(f->service).queued, IG_UPSTREAM_CONCURRENCY);
	assert_true(ask_entra(f, &key, 0).ok);
	assert_int_equal(n_running(f->service), IG_UPSTREAM_CONCURRENCY);
	for (size_t i = 0; i < IG_ARRAY_SIZE(asked); i++)
		assert_int_equal(asked[i].n, 0);
	f->service = ig_token_service_free(f->service);
}

static void test_imds_beside_stuck_entra(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = entra_key(f, "r");
	struct asked asked = {};

	entra.hold = true;
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), 0);
	f->service->lanes[IG_SOURCE_LANE_ENTRA].paused_until_usec = UINT64_MAX;
	run_until(f->base, &entra.n_posts, 1);
	for (int i = 0; i < 2 * IG_UPSTREAM_CONCURRENCY; i++) {
		char resource[16];
		struct asked imds = {};

		(void)snprintf(resource, sizeof(resource), "r%d", i);
		ask(f, resource, &imds);
		run_until(f->base, &imds.n, 1);
		assert_true(imds.ok);
	}
	assert_int_equal(asked.n, 0);
}

static int listen_and_say_nothing(uint16_t *ret_port)
{
	const struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 2 * IG_ENTRA_CONCURRENCY), 0);
	*ret_port = port_of(fd);
	return fd;
}

/* Identities name their own authority. One workload wants more tokens of one that never answers
 * than there are slots; another one's authority is well. */
static void test_entra_beside_stuck_authority(void **state)
{
	enum { MANY = 2 * IG_ENTRA_CONCURRENCY };
	struct fixture *f = *state;
	struct ig_token_key stuck = entra_key(f, ""), key;
	struct asked *asked = calloc(MANY, sizeof(*asked)), other = {};
	char authority[64], resource[16];
	struct timeval due, now;
	uint16_t port;
	int fd = listen_and_say_nothing(&port);

	(void)snprintf(authority, sizeof(authority), "http://127.0.0.1:%u", port);
	stuck.authority = authority;
	stuck.resource = resource;
	for (int i = 0; i < MANY; i++) {
		(void)snprintf(resource, sizeof(resource), "r%d", i);
		assert_int_equal(ask_key(f, &stuck, 0, "", 1, &asked[i]), 0);
	}
	for (int i = 0; i < 5; i++) {
		pass_sec(1);
		ig_token_upstream_pump(f->service);
	}
	key = entra_key(f, "r");
	assert_int_equal(ask_key(f, &key, 0, "", 2, &other), 0);
	run_until(f->base, &other.n, 1);
	assert_true(other.ok);
	assert_int_equal(n_running(f->service), IG_ENTRA_WORKLOAD_CONCURRENCY);
	assert_int_equal(
		ig_token_service_stats(f->service).queued, MANY - IG_ENTRA_WORKLOAD_CONCURRENCY);
	/* nothing happens until one of them is over */
	assert_true(event_pending(
		f->service->lanes[IG_SOURCE_LANE_ENTRA].pump_timer, EV_TIMEOUT, &due));
	assert_int_equal(evutil_gettimeofday(&now, NULL), 0);
	assert_true(due.tv_sec > now.tv_sec + 5);
	f->service = ig_token_service_free(f->service);
	(void)ig_close(fd);
	free(asked);
}

/* ---- out of memory --------------------------------------------------------------------------- */

static void one_with_failure(struct fixture *f, const struct ig_token_key *key, unsigned int n)
{
	struct asked asked = ask_with_failure(f, key, n);

	if (asked.n && !asked.ok)
		assert_true(asked.kind == IG_TOKEN_BROKEN || asked.kind == IG_TOKEN_UNAVAILABLE ||
			    asked.kind == IG_TOKEN_REJECTED);
	assert_int_equal(ERR_peek_error(), 0);
	forget_failure(f);
}

/* Every step-th. Returns how many there are. */
static unsigned int run_out_of_memory(
	struct fixture *f, const struct ig_token_key *key, unsigned int step)
{
	unsigned int n = 1;

	for (;; n += step) {
		one_with_failure(f, key, n);
		if (allocations < n)
			break;
	}
	assert_true(ask_entra(f, key, 0).ok);
	return n;
}

static void test_oom_secret(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = entra_key(f, "r");

	assert_true(run_out_of_memory(f, &key, 1) > 30);
}

static void test_oom_federation(void **state)
{
	struct fixture *f = *state;
	struct ig_token_key key = entra_key(f, "r");

	key.source = IG_TOKEN_SOURCE_FEDERATION;
	key.credential = "demo/app/token";
	put_text("demo/app/token", "a.b.c");
	assert_true(run_out_of_memory(f, &key, 1) > 30);
}

/* With the answer that makes the call repeat itself. Not "invalid_client": where the buffer of
 * jansson 2.14 cannot grow at a string's closing quote, it reads on behind it. */
static void test_oom_refused(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = entra_key(f, "r");
	unsigned int n = 0;

	for (int i = 0; i < POSTS_MAX; i++)
		entra.errors[i] = i % 2 ? "AADSTS500011" : "AADSTS700024";
	do
		one_with_failure(f, &key, ++n);
	while (allocations >= n);
	assert_true(n > 60);
}

static void test_oom_certificate(void **state)
{
	struct fixture *f = *state;
	struct ig_token_key key = entra_key(f, "r");
	EVP_PKEY *ec = EVP_EC_gen("P-256");
	X509 *x509 = make_x509(ec, 1);

	put_pkcs12("demo/app/certificate", "", ec, x509, NULL, &modern);
	key.source = IG_TOKEN_SOURCE_CERTIFICATE;
	assert_true(run_out_of_memory(f, &key, 1) > 50);
	/* OpenSSL's are many, and much alike */
	crypto_too = true;
	assert_true(run_out_of_memory(f, &key, 23) > 500);
	crypto_too = false;
	X509_free(x509);
	EVP_PKEY_free(ec);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_entra, tear_down_entra)
	const struct CMUnitTest tests[] = {
		TEST(test_cached_and_rotated),
		TEST(test_missing_then_there),
		TEST(test_keys),
		TEST(test_incomplete_key),
		TEST(test_without_directory),
		TEST(test_purge),
		TEST(test_old_assertion),
		TEST(test_too_old_twice),
		TEST(test_cancelled_in_between),
		TEST(test_pause),
		TEST(test_survives),
		TEST(test_entra_beside_stuck_imds),
		TEST(test_imds_beside_stuck_entra),
		TEST(test_entra_beside_stuck_authority),
		TEST(test_oom_secret),
		TEST(test_oom_federation),
		TEST(test_oom_refused),
		TEST(test_oom_certificate),
	};
	int failed;

	if (CRYPTO_set_mem_functions(crypto_malloc, crypto_realloc, crypto_free) != 1)
		return 1;
	failed = cmocka_run_group_tests_name("token_entra", tests, NULL, NULL);

	if (legacy)
		drop_legacy_context();
	return failed;
}
