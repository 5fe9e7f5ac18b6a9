/*
 * Unit tests of /host/token: which requests are taken, in which words the others are refused, and
 * what a reply looks like to the programs that ask there.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "imds/host_token.h"

#define RESOURCE "resource=https://vault.azure.net"
#define TARGET	 "/host/token/?" RESOURCE

static const struct ig_http_header both[] = {{"podns", "shop"}, {"podname", "cart-0"}};

struct asked {
	struct ig_imds_token_request token;
	struct ig_imds_pod_name pod;
};

static int parse(const struct ig_http_request *req, struct asked *ret, struct ig_imds_reply *reply)
{
	struct ig_imds_target target = ig_imds_route_host(req->target);

	return ig_imds_host_token_parse(req, &target, &ret->token, &ret->pod, reply);
}

static struct ig_http_request get(const char *target)
{
	return (struct ig_http_request){.method = IG_HTTP_GET,
		.target = target,
		.headers = both,
		.n_headers = IG_ARRAY_SIZE(both),
		.minor_version = 1};
}

static struct asked expect_ok(const char *target)
{
	struct ig_http_request req = get(target);
	struct ig_imds_reply reply = {};
	struct asked asked = {};

	assert_int_equal(parse(&req, &asked, &reply), 0);
	assert_null(reply.body.data);
	return asked;
}

static void expect_error(int line, const struct ig_http_request *req, enum ig_imds_error error,
	unsigned int status, const char *text)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	struct asked asked, untouched;

	memset(&asked, 0x5a, sizeof(asked));
	memset(&untouched, 0x5a, sizeof(untouched));
	if (parse(req, &asked, &reply) != -EBADMSG || reply.error != error)
		fail_msg("line %d: %s", line, ig_imds_error_name(reply.error));
	assert_memory_equal(&asked, &untouched, sizeof(asked));
	assert_int_equal(reply.status, status);
	if (text)
		assert_string_equal(reply.body.data, text);
	assert_string_equal(reply.content_type, "text/plain; charset=utf-8");
	assert_string_equal(reply.headers[reply.n_headers - 1].name, "X-Content-Type-Options");
}

#define EXPECT_ERROR(req, error, status, text)                                                     \
	do {                                                                                       \
		struct ig_http_request r_ = (req);                                                 \
		expect_error(__LINE__, &r_, IG_IMDS_ERROR_##error, status, text);                  \
	} while (0)

static void test_accepted(void **state)
{
	static const char *const targets[] = {TARGET, "/host/token?" RESOURCE,
		"//host/token?" RESOURCE, "http://localhost:2579/host/token/?" RESOURCE};
	struct asked asked;

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(targets); i++) {
		asked = expect_ok(targets[i]);
		assert_string_equal(asked.token.resource, "https://vault.azure.net");
		assert_int_equal(asked.token.selector.kind, IG_SELECTOR_NONE);
		assert_string_equal(asked.pod.namespace, "shop");
		assert_string_equal(asked.pod.name, "cart-0");
	}
	asked = expect_ok(TARGET "&client_id=BBBB&bypass_cache=true");
	assert_int_equal(asked.token.selector.kind, IG_SELECTOR_CLIENT_ID);
	assert_string_equal(asked.token.selector.value, "BBBB");
	assert_true(asked.token.bypass_cache);
	assert_int_equal(
		expect_ok(TARGET "&msi_res_id=x").token.selector.kind, IG_SELECTOR_RESOURCE_ID);
}

static void test_other_paths(void **state)
{
	static const char *const unknown[] = {"/", "/host", "/host/tokenfoo", "/host/token/x",
		"/host/token//", "/Host/token", "/host/%74oken", "/x/host/token", "/host/./token",
		"/metadata/identity/oauth2/token", "/metadata/instance"};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(unknown); i++) {
		struct ig_http_request req = get(unknown[i]);

		EXPECT_ERROR(req, NOT_FOUND, 404, NULL);
	}
	EXPECT_ERROR(get("*"), MALFORMED, 400, NULL);
	/* and the other way round: workloads have no such path */
	assert_int_equal(ig_imds_route(TARGET).route, IG_IMDS_ROUTE_NONE);
	assert_string_equal(ig_imds_route_name(ig_imds_route_host(TARGET).route), "host_token");
}

static void test_headers(void **state)
{
	static const char missing[] = "missing 'podname' and 'podns' from request header\n";
	char longest[IG_OBJECT_NAME_BYTES + 2];
	const struct ig_http_header rows[][3] = {
		{{"podname", "cart-0"}, {"podname", "cart-0"}, {"x", "y"}},
		{{"podns", "shop"}, {"x", "y"}, {"x", "y"}},
		{{"podns", ""}, {"podname", "cart-0"}, {"x", "y"}},
		{{"podns", "shop"}, {"podname", ""}, {"x", "y"}},
		{{"podns", "shop"}, {"podname", "cart-0"}, {"PodName", "cart-1"}},
		{{"podns", "shop"}, {"podname", "Cart"}, {"x", "y"}},
		{{"podns", "../shop"}, {"podname", "cart-0"}, {"x", "y"}},
		{{"podns", "shop"}, {"podname", "c\xc3\xa4rt"}, {"x", "y"}},
		{{"podns", "shop"}, {"podname", longest}, {"x", "y"}},
		{{"podns", "shop"}, {"podname", "cart-0"}, {"X-Forwarded-For", "10.0.0.1"}},
	};
	struct ig_http_request req = get(TARGET);
	struct asked asked;

	(void)state;
	memset(longest, 'a', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	req.n_headers = 3;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		req.headers = rows[i];
		if (i < 4)
			EXPECT_ERROR(req, NO_POD_NAME, 400, missing);
		else if (i < 9)
			EXPECT_ERROR(req, BAD_POD_NAME, 400, NULL);
		else
			EXPECT_ERROR(req, FORWARDED, 400, NULL);
	}
	longest[IG_OBJECT_NAME_BYTES] = '\0';
	req.headers = rows[8];
	assert_int_equal(parse(&req, &asked, NULL), 0);
	assert_string_equal(asked.pod.name, longest);
}

static void test_query(void **state)
{
	struct ig_http_request post = get(TARGET);

	(void)state;
	EXPECT_ERROR(get("/host/token/"), NO_RESOURCE, 400, "parameter resource cannot be empty\n");
	EXPECT_ERROR(get("/host/token/?resource="), NO_RESOURCE, 400, NULL);
	EXPECT_ERROR(get(TARGET "&" RESOURCE), BAD_QUERY, 400, NULL);
	EXPECT_ERROR(get(TARGET "&client_id=%zz"), BAD_QUERY, 400, NULL);
	EXPECT_ERROR(get(TARGET "&client_id=a&object_id=b"), CONFLICTING_SELECTOR, 400, NULL);
	post.method = IG_HTTP_POST;
	EXPECT_ERROR(post, METHOD, 405, NULL);
}

static void test_reply(void **state)
{
	const struct ig_imds_token_view view = {.access_token = "eyJ",
		.client_id = "BBBB",
		.resource = "https://vault.azure.net",
		.expires_on_sec = 1700086400,
		.not_before_sec = 1700000000,
		.now_sec = 1700000001};
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {}, alone = {};
	_cleanup_(json_decrefp) json_t *json = NULL, *token = NULL;

	(void)state;
	assert_int_equal(ig_imds_host_token_reply(&view, "bbbb", &reply), 0);
	assert_int_equal(reply.status, 200);
	json = json_loads(reply.body.data, JSON_REJECT_DUPLICATES, NULL);
	assert_int_equal(json_object_size(json), 2);
	assert_string_equal(json_string_value(json_object_get(json, "clientid")), "bbbb");
	/* the object is the one of the token path */
	assert_int_equal(ig_imds_reply_token(&view, &alone), 0);
	token = json_loads(alone.body.data, JSON_REJECT_DUPLICATES, NULL);
	assert_true(json_equal(json_object_get(json, "token"), token));
}

static void test_error_texts(void **state)
{
	(void)state;
	for (int i = IG_IMDS_ERROR_NONE; i < _IG_IMDS_ERROR_MAX; i++) {
		_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};

		assert_int_equal(
			ig_imds_host_token_error((enum ig_imds_error)i, "AADSTS7", &reply), 0);
		assert_true(reply.status >= 400);
		assert_true(reply.body.len > 1);
		assert_int_equal(reply.body.data[reply.body.len - 1], '\n');
		assert_int_equal(strstr(reply.body.data, "AADSTS7") != NULL,
			i == IG_IMDS_ERROR_UPSTREAM_REJECTED);
		if (i == IG_IMDS_ERROR_IDENTITY_NOT_FOUND || i == IG_IMDS_ERROR_POD_NOT_FOUND)
			assert_int_equal(reply.status, 404);
		if (i == IG_IMDS_ERROR_UNAVAILABLE)
			assert_string_equal(reply.headers[0].name, "Retry-After");
	}
}

/* An array of one is still an array; of two, the objects stand in order. */
static void test_array(void **state)
{
	const struct ig_imds_token_view views[] = {
		{.access_token = "one", .client_id = "c", .resource = "r"},
		{.access_token = "two", .client_id = "c", .resource = "r"},
	};
	static const char *const tokens[] = {"one", "two"};

	(void)state;
	for (size_t n = 1; n <= IG_ARRAY_SIZE(views); n++) {
		_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
		_cleanup_(json_decrefp) json_t *json = NULL;

		assert_int_equal(ig_imds_reply_token_array(views, n, &reply), 0);
		json = json_loads(reply.body.data, JSON_REJECT_DUPLICATES, NULL);
		assert_int_equal(json_array_size(json), n);
		for (size_t i = 0; i < n; i++)
			assert_string_equal(json_string_value(json_object_get(
						    json_array_get(json, i), "access_token")),
				tokens[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted),
		cmocka_unit_test(test_other_paths),
		cmocka_unit_test(test_headers),
		cmocka_unit_test(test_query),
		cmocka_unit_test(test_reply),
		cmocka_unit_test(test_error_texts),
		cmocka_unit_test(test_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
