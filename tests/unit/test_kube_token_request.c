/*
 * TokenRequest against an API server on 127.0.0.1 in the same process: what is asked, what each
 * answer means, names that must not get into a URL, calls that are given up; with the token service
 * and Entra ID behind it; every allocation failing once; and that no freed memory holds the token.
 *
 * Linked with --wrap for allocations, free and ig_kube_client_start.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <malloc.h>

#include <jansson.h>

#include "base/json.h"
#include "kube/client.h"
#include "kube/config.h"
#include "kube/token_request.h"
#include "unit/entra_alloc_failure.h"

#define UID	  "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
#define POD	  "demo/builder/builder-0/" UID
#define PATH	  "/api/v1/namespaces/demo/serviceaccounts/builder/token"
#define AUDIENCE  "api://AzureADTokenExchange"
#define SECRET	  "eyJTZWNyZXQ.eyJWZXJ5.c2VjcmV0"
#define TOKEN	  "{\"kind\":\"TokenRequest\",\"status\":{\"token\":\"" SECRET "\"}}"
#define REFUSAL	  "{\"kind\":\"Status\",\"message\":\"said by the server\"}"
#define LONG_USEC (10 * IG_USEC_PER_SEC)

/* ---- freed memory ---------------------------------------------------------------------------- */

void __real_free(void *p);
void __wrap_free(void *p);

static bool watching;
static unsigned int n_freed, n_leaks;

void __wrap_free(void *p)
{
	if (watching && !upstream_works && p) {
		n_freed++;
		n_leaks += memmem(p, malloc_usable_size(p), SECRET, strlen(SECRET)) != NULL;
	}
	__real_free(p);
}

/* ---- a client whose connection fails --------------------------------------------------------- */

int __real_ig_kube_client_start(struct ig_kube_client *client,
	const struct ig_kube_request *request, ig_http_done *done, void *userdata,
	struct ig_kube_call **ret_call);
int __wrap_ig_kube_client_start(struct ig_kube_client *client,
	const struct ig_kube_request *request, ig_http_done *done, void *userdata,
	struct ig_kube_call **ret_call);

static struct {
	int start_error; /* what the start itself comes to */
	int error;	 /* what the call comes to, told by fail_call() */
	ig_http_done *done;
	void *userdata;
	size_t limit_bytes;
	char body[1024]; /* of the last request */
} faked;

int __wrap_ig_kube_client_start(struct ig_kube_client *client,
	const struct ig_kube_request *request, ig_http_done *done, void *userdata,
	struct ig_kube_call **ret_call)
{
	faked.limit_bytes = request->response_limit_bytes;
	(void)snprintf(faked.body, sizeof(faked.body), "%s", request->body);
	if (faked.start_error)
		return faked.start_error;
	if (!faked.error)
		return __real_ig_kube_client_start(client, request, done, userdata, ret_call);
	faked.done = done;
	faked.userdata = userdata;
	*ret_call = NULL;
	return 0;
}

static void fail_call(void)
{
	const struct ig_http_response response = {
		.error = faked.error, .error_text = "no way there", .body = ""};

	faked.error = 0;
	faked.done(&response, faked.userdata);
}

/* ---- the API server -------------------------------------------------------------------------- */

static struct api {
	struct ig_kube_client *client;
	struct ig_assertion_provider provider;
	int n_requests;
	char body[2048];
	char type[64];
	enum evhttp_cmd_type method;
	int status;
	const char *reply;
	bool hold;
	struct evhttp_request *held;
} api;

static void answer(struct evhttp_request *req)
{
	struct evbuffer *out = evbuffer_new();

	evbuffer_add(out, api.reply, strlen(api.reply));
	evhttp_send_reply(req, api.status, "Whatever", out);
	evbuffer_free(out);
}

static void on_api(struct evhttp_request *req, void *arg)
{
	struct evbuffer *in = evhttp_request_get_input_buffer(req);
	const char *type =
		evhttp_find_header(evhttp_request_get_input_headers(req), "Content-Type");
	size_t len = evbuffer_get_length(in);

	(void)arg;
	upstream_works = true;
	api.n_requests++;
	assert_true(len < sizeof(api.body));
	evbuffer_copyout(in, api.body, len);
	api.body[len] = '\0';
	(void)snprintf(api.type, sizeof(api.type), "%s", type ? type : "");
	api.method = evhttp_request_get_command(req);
	if (api.hold)
		api.held = req;
	else
		answer(req);
	upstream_works = false;
}

static int set_up_api(void **state)
{
	char url[64];
	const struct ig_kube_config config = {.server = url};
	struct fixture *f;

	(void)set_up_entra(state);
	f = *state;
	api = (struct api){.status = 201, .reply = TOKEN};
	memset(&faked, 0, sizeof(faked));
	assert_int_equal(evhttp_set_cb(f->imds, PATH, on_api, NULL), 0);
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", f->port);
	assert_int_equal(ig_kube_client_new(f->base, &config, "imdsgate/test", &api.client), 0);
	ig_kube_token_provider(api.client, &api.provider);
	new_entra_service(f, (struct ig_token_service_options){.assertions = &api.provider});
	return 0;
}

static int tear_down_api(void **state)
{
	struct fixture *f = *state;

	f->service = ig_token_service_free(f->service);
	api.client = ig_kube_client_free(api.client);
	if (api.held)
		answer(TAKE_PTR(api.held));
	return tear_down_entra(state);
}

/* ---- asking ---------------------------------------------------------------------------------- */

struct got {
	int n;
	int error;
	char text[1024];
	char assertion[IG_ASSERTION_BYTES + 1];
};

static struct got got;

static void on_assertion(const struct ig_assertion_result *result, void *userdata)
{
	assert_ptr_equal(userdata, &got);
	got.n++;
	got.error = result->error;
	if (result->error)
		(void)snprintf(got.text, sizeof(got.text), "%s", result->text);
	else
		(void)snprintf(got.assertion, sizeof(got.assertion), "%s", result->assertion);
}

static int start_one(const char *credential, uint64_t timeout_usec, void **ret_call)
{
	explicit_bzero(&got, sizeof(got));
	return api.provider.start(api.provider.userdata, credential, AUDIENCE, timeout_usec,
		on_assertion, &got, ret_call);
}

static void ask_one(struct fixture *f, uint64_t timeout_usec)
{
	void *call = NULL;

	assert_int_equal(start_one(POD, timeout_usec, &call), 0);
	assert_non_null(call);
	assert_int_equal(got.n, 0);
	run_until(f->base, &got.n, 1);
	for (int i = 0; i < 5; i++)
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	assert_int_equal(got.n, 1);
}

/* ---- request --------------------------------------------------------------------------------- */

static void test_request(void **state)
{
	struct fixture *f = *state;
	json_t *body, *expected;

	ask_one(f, LONG_USEC);
	assert_int_equal(got.error, 0);
	assert_string_equal(got.assertion, SECRET);
	assert_int_equal(api.method, EVHTTP_REQ_POST);
	assert_string_equal(api.type, "application/json");
	body = json_loads(api.body, JSON_REJECT_DUPLICATES, NULL);
	expected =
		json_loads("{\"apiVersion\":\"authentication.k8s.io/v1\",\"kind\":\"TokenRequest\","
			   "\"spec\":{\"audiences\":[\"" AUDIENCE "\"],\"expirationSeconds\":3600,"
			   "\"boundObjectRef\":{\"apiVersion\":\"v1\",\"kind\":\"Pod\","
			   "\"name\":\"builder-0\",\"uid\":\"" UID "\"}}}",
			0, NULL);
	assert_non_null(expected);
	assert_true(json_equal(body, expected));
	json_decref(body);
	json_decref(expected);
	assert_int_equal(faked.limit_bytes, IG_TOKEN_REQUEST_BYTES);
	assert_int_equal(f->n_elsewhere, 0);
}

/* What is no name never gets as far as a URL. */
static void test_bad_credentials(void **state)
{
	static const char *const credentials[] = {
		"",
		"demo",
		"demo/builder",
		"demo/builder/builder-0",
		"demo/builder/builder-0/",
		"demo/builder/builder-0/x",
		"demo/builder/builder-0/" UID "/",
		"demo/builder/builder-0/" UID "/more",
		"/builder/builder-0/" UID,
		"demo//builder-0/" UID,
		"demo/builder//" UID,
		"../builder/builder-0/" UID,
		"demo/../builder-0/" UID,
		"demo/./builder-0/" UID,
		"demo/builder?x/builder-0/" UID,
		"demo/builder%2f/builder-0/" UID,
		"demo/Builder/builder-0/" UID,
		"de mo/builder/builder-0/" UID,
		"de.mo/builder/builder-0/" UID,
		"demo/builder/builder\"0/" UID,
		"demo/builder\n/builder-0/" UID,
	};
	struct fixture *f = *state;
	char long_one[IG_CREDENTIAL_PATH_BYTES + 64] = POD;
	void *call = NULL;

	for (size_t i = 0; i < IG_ARRAY_SIZE(credentials); i++)
		if (start_one(credentials[i], LONG_USEC, &call) != -EINVAL)
			fail_msg("\"%s\" was taken", credentials[i]);
	memset(long_one + strlen(POD), 'x', sizeof(long_one) - strlen(POD) - 1);
	assert_int_equal(start_one(long_one, LONG_USEC, &call), -EINVAL);
	assert_null(call);
	run_ready(f);
	assert_int_equal(api.n_requests, 0);
	assert_int_equal(got.n, 0);
	/* a static pod's */
	assert_int_equal(start_one("demo/builder/builder-0/0a1b2c3d4e5f60718293a4b5c6d7e8f9",
				 LONG_USEC, &call),
		0);
	run_until(f->base, &got.n, 1);
	assert_int_equal(got.error, 0);
}

/* ---- replies --------------------------------------------------------------------------------- */

static void test_refusals(void **state)
{
	static const struct {
		int status;
		int error;
		const char *text;
	} cases[] = {
		{401, -EACCES, "does not accept the agent's credential"},
		{403, -EACCES, "\"create\" \"serviceaccounts/token\""},
		{404, -ENOENT, "no such pod demo/builder-0"},
		{409, -ENOENT, UID},
		{422, -ENOENT, "service account builder (422)"},
		{408, -EAGAIN, "408"},
		{429, -EAGAIN, "429"},
		{500, -EAGAIN, "500"},
		{503, -EAGAIN, "503"},
		{504, -EAGAIN, "504"},
		{400, -EBADMSG, "400"},
		{405, -EBADMSG, "405"},
		{200, -EBADMSG, "200"},
		{202, -EBADMSG, "202"},
		{302, -EBADMSG, "302"},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		api.status = cases[i].status;
		/* whatever the body holds */
		api.reply = i % 2 ? REFUSAL : TOKEN;
		ask_one(f, LONG_USEC);
		assert_int_equal(got.error, cases[i].error);
		if (!strstr(got.text, cases[i].text))
			fail_msg("\"%s\" does not say \"%s\"", got.text, cases[i].text);
		assert_null(strstr(got.text, SECRET));
		assert_null(strstr(got.text, "said by the server"));
	}
	assert_int_equal(api.n_requests, IG_ARRAY_SIZE(cases));
}

static void test_bad_replies(void **state)
{
	static const char *const replies[] = {
		"",
		"nonsense " SECRET,
		"[]",
		"\"" SECRET "\"",
		"{}",
		"{\"token\":\"" SECRET "\"}",
		"{\"status\":\"" SECRET "\"}",
		"{\"status\":{}}",
		"{\"status\":{\"token\":null}}",
		"{\"status\":{\"token\":17}}",
		"{\"status\":{\"token\":[\"" SECRET "\"]}}",
		"{\"status\":{\"token\":\"\"}}",
		"{\"status\":{\"token\":\"" SECRET " \"}}",
		"{\"status\":{\"token\":\"" SECRET "\\n\"}}",
		"{\"status\":{\"token\":\"" SECRET "\\u0000x\"}}",
		"{\"status\":{\"token\":\"" SECRET "\xc3\xa4\"}}",
		"{\"status\":{\"token\":\"" SECRET "\",\"token\":\"x\"}}",
		TOKEN "{}",
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < IG_ARRAY_SIZE(replies); i++) {
		api.reply = replies[i];
		ask_one(f, LONG_USEC);
		if (got.error != -EBADMSG)
			fail_msg("%s: %d", replies[i], got.error);
		assert_null(strstr(got.text, SECRET));
	}
}

/* Of so many bytes. The caller frees it. */
static char *token_reply(size_t token_len, size_t padding)
{
	char *reply = calloc(1, token_len + padding + 64);
	char *p = stpcpy(reply, "{\"status\":{\"token\":\"");

	memset(p, 't', token_len);
	p = stpcpy(p + token_len, "\"}}");
	memset(p, ' ', padding);
	return reply;
}

static void test_limits(void **state)
{
	static const struct {
		size_t token_len, padding;
		int error;
	} cases[] = {
		{IG_ASSERTION_BYTES, 0, 0},
		{IG_ASSERTION_BYTES + 1, 0, -EBADMSG},
		{10, IG_TOKEN_REQUEST_BYTES - 128, 0},
		{10, IG_TOKEN_REQUEST_BYTES, -E2BIG},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		char *reply = token_reply(cases[i].token_len, cases[i].padding);

		api.reply = reply;
		ask_one(f, LONG_USEC);
		assert_int_equal(got.error, cases[i].error);
		if (!got.error)
			assert_int_equal(strlen(got.assertion), cases[i].token_len);
		free(reply);
	}
}

static void test_no_answer(void **state)
{
	struct fixture *f = *state;

	api.hold = true;
	ask_one(f, 30000);
	assert_int_equal(got.error, -ETIMEDOUT);
	assert_string_not_equal(got.text, "");
}

/* A failing connection says nothing about the pod or our rights. */
static void test_transport_errors(void **state)
{
	static const struct {
		int error, told;
	} cases[] = {
		{-ENOENT, -EIO},
		{-EACCES, -EIO},
		{-ECONNREFUSED, -ECONNREFUSED},
		{-ETIMEDOUT, -ETIMEDOUT},
		{-EIO, -EIO},
	};
	void *call = NULL;

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		faked.error = cases[i].error;
		assert_int_equal(start_one(POD, LONG_USEC, &call), 0);
		fail_call();
		assert_int_equal(got.n, 1);
		assert_int_equal(got.error, cases[i].told);
		assert_non_null(strstr(got.text, "no way there"));
	}
	faked.start_error = -EBUSY;
	call = NULL;
	assert_int_equal(start_one(POD, LONG_USEC, &call), -EBUSY);
	assert_null(call);
}

static void test_cancelled(void **state)
{
	struct fixture *f = *state;
	void *call = NULL;

	/* at once */
	assert_int_equal(start_one(POD, LONG_USEC, &call), 0);
	api.provider.cancel(api.provider.userdata, call);
	/* while the server thinks */
	api.hold = true;
	assert_int_equal(start_one(POD, LONG_USEC, &call), 0);
	run_until(f->base, &api.n_requests, 1);
	api.provider.cancel(api.provider.userdata, call);
	answer(TAKE_PTR(api.held));
	run_ready(f);
	assert_int_equal(got.n, 0);
	api.hold = false;
	ask_one(f, LONG_USEC);
	assert_int_equal(got.error, 0);
}

/* ---- with the token service ------------------------------------------------------------------ */

static struct ig_token_key account_key(const struct fixture *f)
{
	struct ig_token_key key = entra_key(f, "r");

	key.source = IG_TOKEN_SOURCE_SERVICE_ACCOUNT;
	key.credential = POD;
	return key;
}

static void test_exchange(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f);

	assert_string_equal(ask_entra(f, &key, 0).token, "entra-1");
	assert_non_null(strstr(entra.posts[0], "client_assertion=" SECRET));
	assert_int_equal(api.n_requests, 1);
}

static void test_exchange_fails(void **state)
{
	static const struct {
		int status;
		enum ig_token_failure_kind kind;
	} cases[] = {
		{403, IG_TOKEN_BROKEN},
		{409, IG_TOKEN_NOT_FOUND},
		{503, IG_TOKEN_UNAVAILABLE},
		{200, IG_TOKEN_BROKEN},
	};
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f);

	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		struct asked asked;

		api.status = cases[i].status;
		asked = ask_entra(f, &key, 0);
		assert_int_equal(asked.kind, cases[i].kind);
		if (asked.kind == IG_TOKEN_BROKEN && cases[i].status == 403)
			assert_non_null(strstr(asked.text, "\"create\" \"serviceaccounts/token\""));
		pass_sec(IG_TOKEN_NEGATIVE_SEC + 1);
	}
	assert_int_equal(entra.n_posts, 0);
}

static void test_purged(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f);
	struct asked asked = {};

	api.hold = true;
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), 0);
	run_until(f->base, &api.n_requests, 1);
	(void)ig_token_service_purge(f->service, keep_none, NULL);
	run_until(f->base, &asked.n, 1);
	answer(TAKE_PTR(api.held));
	run_ready(f);
	assert_int_equal(asked.n, 1);
	assert_int_equal(asked.kind, IG_TOKEN_UNAVAILABLE);
	assert_int_equal(entra.n_posts, 0);
}

/* From the answer of the API server to the form for Entra ID, nothing that is freed still holds the
 * token. */
static void test_wiped(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f);
	struct asked asked = {};

	n_freed = n_leaks = 0;
	watching = true;
	assert_int_equal(ask_key(f, &key, 0, "", 1, &asked), 0);
	run_until(f->base, &asked.n, 1);
	run_ready(f);
	watching = false;
	assert_true(asked.ok);
	assert_true(n_freed > 20);
	assert_int_equal(n_leaks, 0);
}

/* ---- out of memory --------------------------------------------------------------------------- */

/* A request that lacks a part would ask for another token. */
static void check_body(void)
{
	json_t *body = json_loads(faked.body, 0, NULL);

	assert_string_equal(
		json_string_value(json_array_get(
			json_object_get(json_object_get(body, "spec"), "audiences"), 0)),
		"api://AzureADTokenExchange");
	json_decref(body);
}

static void one_with_failure(struct fixture *f, unsigned int n)
{
	const struct ig_token_key key = account_key(f);
	struct asked asked;

	faked.body[0] = '\0';
	asked = ask_with_failure(f, &key, n);
	if (faked.body[0])
		check_body();
	if (asked.n && !asked.ok)
		assert_true(asked.kind == IG_TOKEN_BROKEN || asked.kind == IG_TOKEN_UNAVAILABLE);
	forget_failure(f);
}

static void test_oom(void **state)
{
	struct fixture *f = *state;
	const struct ig_token_key key = account_key(f);
	unsigned int n = 0;

	do
		one_with_failure(f, ++n);
	while (allocations >= n);
	assert_true(n > 60);
	assert_true(ask_entra(f, &key, 0).ok);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_api, tear_down_api)
	const struct CMUnitTest tests[] = {
		TEST(test_request),
		TEST(test_bad_credentials),
		TEST(test_refusals),
		TEST(test_bad_replies),
		TEST(test_limits),
		TEST(test_no_answer),
		TEST(test_transport_errors),
		TEST(test_cancelled),
		TEST(test_exchange),
		TEST(test_exchange_fails),
		TEST(test_purged),
		TEST(test_wiped),
		TEST(test_oom),
	};

	return cmocka_run_group_tests_name("kube_token_request", tests, NULL, NULL);
}
