/*
 * Unit tests of the IMDS replies: texts and lengths that clients know, and JSON that stays JSON.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "imds/reply.h"

#define JSON "application/json; charset=utf-8"

static json_t *parse_body(const struct ig_imds_reply *reply)
{
	json_t *root = json_loadb(reply->body.data, reply->body.len, JSON_REJECT_DUPLICATES, NULL);

	assert_non_null(root);
	return root;
}

static const char *text_of(const json_t *root, const char *key)
{
	const char *text = json_string_value(json_object_get(root, key));

	assert_non_null(text);
	return text;
}

static void test_error_bodies(void **state)
{
	static const struct {
		enum ig_imds_error error;
		unsigned int status;
		size_t len; /* 0: any */
		const char *body;
	} cases[] = {
		{IG_IMDS_ERROR_NO_METADATA_HEADER, 400, 0,
			"{\"error\":\"invalid_request\",\"error_description\":\"Required metadata header not specified\"}"},
		{IG_IMDS_ERROR_BAD_API_VERSION, 400, 0,
			"{\"error\":\"Bad request. api-version is invalid or was not specified in the request. For more information refer to aka.ms/azureimds\",\"newest-versions\":[\"2025-04-07\",\"2024-07-17\",\"2024-03-15\"]}"},
		{IG_IMDS_ERROR_NO_RESOURCE, 400, 0,
			"{\"error\":\"invalid_request\",\"error_description\":\"Required query variable 'resource' is missing\"}"},
		{IG_IMDS_ERROR_IDENTITY_NOT_FOUND, 400, 68,
			"{\"error\":\"invalid_request\",\"error_description\":\"Identity not found\"}"},
		{IG_IMDS_ERROR_MULTIPLE_IDENTITIES, 400, 168,
			"{\"error\":\"invalid_request\",\"error_description\":\"Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request\"}"},
		{IG_IMDS_ERROR_BAD_QUERY, 400, 0,
			"{\"error\":\"invalid_request\",\"error_description\":\"Invalid request\"}"},
		{IG_IMDS_ERROR_MALFORMED, 400, 0,
			"{\"error\":\"invalid_request\",\"error_description\":\"Invalid request\"}"},
		{IG_IMDS_ERROR_NOT_FOUND, 404, 0,
			"{\"error\":\"not_found\",\"error_description\":\"Not found\"}"},
		{IG_IMDS_ERROR_METHOD, 405, 0,
			"{\"error\":\"method_not_allowed\",\"error_description\":\"Not allowed\"}"},
		{IG_IMDS_ERROR_TOO_MANY, 429, 0,
			"{\"error\":\"too_many_requests\",\"error_description\":\"Too many requests\"}"},
		{IG_IMDS_ERROR_SERVER, 500, 0,
			"{\"error\":\"server_error\",\"error_description\":\"Server error\"}"},
		{IG_IMDS_ERROR_UNAVAILABLE, 503, 0,
			"{\"error\":\"service_unavailable\",\"error_description\":\"Service unavailable\"}"},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};

		assert_int_equal(ig_imds_reply_error(cases[i].error, NULL, NULL, &reply), 0);
		assert_int_equal(reply.error, cases[i].error);
		assert_int_equal(reply.status, cases[i].status);
		assert_string_equal(reply.content_type, JSON);
		assert_string_equal(reply.body.data, cases[i].body);
		assert_int_equal(reply.body.len, strlen(cases[i].body));
		if (cases[i].len)
			assert_int_equal(reply.body.len, cases[i].len);
	}
}

static const char *header_of(const struct ig_imds_reply *reply, const char *name)
{
	for (size_t i = 0; i < reply->n_headers; i++)
		if (strcmp(reply->headers[i].name, name) == 0)
			return reply->headers[i].value;
	return NULL;
}

/* What must hold for every error: a client caches whatever carries Retry-After, and takes some
 * words for the end of all hope. */
static void test_every_error(void **state)
{
	(void)state;
	for (int i = IG_IMDS_ERROR_NONE; i < _IG_IMDS_ERROR_MAX; i++) {
		_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
		const char *retry_after, *allow;
		json_t *root;

		assert_int_equal(ig_imds_reply_error((enum ig_imds_error)i, NULL, NULL, &reply), 0);
		assert_int_equal(reply.error, i);
		assert_true(reply.status >= 400 && reply.status < 600);
		assert_string_not_equal(ig_http_reason(reply.status), "");
		retry_after = header_of(&reply, "Retry-After");
		allow = header_of(&reply, "Allow");
		if (reply.status == 429 || reply.status == 503)
			assert_string_equal(retry_after, "1");
		else
			assert_null(retry_after);
		if (reply.status == 405)
			assert_string_equal(allow, "GET");
		else
			assert_null(allow);
		assert_null(strstr(reply.body.data, "unreachable"));
		if (i != IG_IMDS_ERROR_IDENTITY_NOT_FOUND)
			assert_null(strstr(reply.body.data, "Identity not found"));
		root = parse_body(&reply);
		assert_true(*text_of(root, "error") != '\0');
		json_decref(root);
		for (int j = 0; j < i; j++)
			assert_string_not_equal(ig_imds_error_name((enum ig_imds_error)i),
				ig_imds_error_name((enum ig_imds_error)j));
	}
}

static void test_out_of_range_is_server_error(void **state)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};

	(void)state;
	assert_int_equal(ig_imds_reply_error(_IG_IMDS_ERROR_MAX, NULL, NULL, &reply), 0);
	assert_int_equal(reply.status, 500);
	assert_string_equal(ig_imds_error_name(_IG_IMDS_ERROR_MAX), "server");
}

static void test_upstream_rejected(void **state)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	const char *text = "AADSTS500011: principal \"x\" \x01\xff.\r\nTrace ID: 1";
	json_t *root;

	(void)state;
	assert_int_equal(ig_imds_reply_error(
				 IG_IMDS_ERROR_UPSTREAM_REJECTED, "invalid_resource", text, &reply),
		0);
	assert_int_equal(reply.status, 400);
	root = parse_body(&reply);
	assert_string_equal(text_of(root, "error"), "invalid_resource");
	assert_string_equal(text_of(root, "error_description"),
		"AADSTS500011: principal \"x\" \x01\xef\xbf\xbd.\r\nTrace ID: 1");
	json_decref(root);
	ig_imds_reply_done(&reply);

	/* nothing from upstream: still the usual form */
	assert_int_equal(ig_imds_reply_error(IG_IMDS_ERROR_UPSTREAM_REJECTED, "", NULL, &reply), 0);
	root = parse_body(&reply);
	assert_string_equal(text_of(root, "error"), "invalid_request");
	assert_string_equal(text_of(root, "error_description"), "Invalid request");
	json_decref(root);
	ig_imds_reply_done(&reply);

	/* details belong to this error only */
	assert_int_equal(ig_imds_reply_error(IG_IMDS_ERROR_SERVER, "secret", "secret", &reply), 0);
	assert_null(strstr(reply.body.data, "secret"));
}

static void test_too_large(void **state)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	_cleanup_free_ char *text = malloc(1024 * 1024 + 1);

	(void)state;
	assert_non_null(text);
	memset(text, 'x', 1024 * 1024);
	text[1024 * 1024] = '\0';
	assert_int_equal(
		ig_imds_reply_error(IG_IMDS_ERROR_UPSTREAM_REJECTED, "x", text, &reply), -E2BIG);
	assert_int_equal(reply.status, 400);
	assert_int_equal(reply.body.len, 0);
	assert_null(reply.body.data);
}

static struct ig_imds_token_view view(const struct ig_selector *selector)
{
	return (struct ig_imds_token_view){
		.access_token = "eyJ0.e30.x",
		.client_id = "0d46c104-0000-0000-0000-000000000000",
		.resource = "https://vault.azure.net",
		.expires_on_sec = 1709895997,
		.not_before_sec = 1709809297,
		.ext_expires_in_sec = 86399,
		.now_sec = 1709809680,
		.selector = selector,
	};
}

static void test_token(void **state)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	struct ig_selector none = {};
	struct ig_imds_token_view v = view(&none);

	(void)state;
	assert_int_equal(ig_imds_reply_token(&v, &reply), 0);
	assert_int_equal(reply.status, 200);
	assert_int_equal(reply.error, IG_IMDS_ERROR_NONE);
	assert_int_equal(reply.n_headers, 0);
	assert_string_equal(reply.content_type, JSON);
	assert_string_equal(reply.body.data,
		"{\"access_token\":\"eyJ0.e30.x\",\"client_id\":\"0d46c104-0000-0000-0000-000000000000\",\"expires_in\":\"86317\",\"expires_on\":\"1709895997\",\"ext_expires_in\":\"86399\",\"not_before\":\"1709809297\",\"resource\":\"https://vault.azure.net\",\"token_type\":\"Bearer\"}");
}

static void test_token_echoes_selector(void **state)
{
	static const struct {
		enum ig_selector_kind kind;
		const char *object_id, *msi_res_id;
	} cases[] = {
		{IG_SELECTOR_NONE, NULL, NULL},
		{IG_SELECTOR_CLIENT_ID, NULL, NULL},
		{IG_SELECTOR_OBJECT_ID, "Value/\"1\"", NULL},
		{IG_SELECTOR_RESOURCE_ID, NULL, "Value/\"1\""},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
		struct ig_selector selector = {.kind = cases[i].kind, .value = "Value/\"1\""};
		struct ig_imds_token_view v = view(&selector);
		const char *object_id, *msi_res_id;
		const char *key;
		json_t *root, *value;

		assert_int_equal(ig_imds_reply_token(&v, &reply), 0);
		root = parse_body(&reply);
		json_object_foreach (root, key, value)
			assert_true(json_is_string(value));
		object_id = json_string_value(json_object_get(root, "object_id"));
		msi_res_id = json_string_value(json_object_get(root, "msi_res_id"));
		assert_true(!object_id == !cases[i].object_id);
		assert_true(!msi_res_id == !cases[i].msi_res_id);
		if (object_id)
			assert_string_equal(object_id, cases[i].object_id);
		if (msi_res_id)
			assert_string_equal(msi_res_id, cases[i].msi_res_id);
		json_decref(root);
	}
}

static void test_token_edges(void **state)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	struct ig_imds_token_view v = view(NULL);
	json_t *root;

	(void)state;
	v.now_sec = v.expires_on_sec + 1; /* clocks differ: never a huge number */
	v.client_id = "";
	v.resource = "a\"b\\c \xe2\x82\xac/";
	assert_int_equal(ig_imds_reply_token(&v, &reply), 0);
	root = parse_body(&reply);
	assert_string_equal(text_of(root, "expires_in"), "0");
	assert_string_equal(text_of(root, "client_id"), "");
	assert_string_equal(text_of(root, "resource"), v.resource);
	json_decref(root);
}

static void test_largest_token(void **state)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	_cleanup_free_ char *token = malloc(IG_TOKEN_BYTES + 1);
	char resource[IG_RESOURCE_BYTES + 1];
	struct ig_selector selector = {.kind = IG_SELECTOR_RESOURCE_ID};
	struct ig_imds_token_view v = view(&selector);

	(void)state;
	assert_non_null(token);
	memset(token, '"', IG_TOKEN_BYTES);
	token[IG_TOKEN_BYTES] = '\0';
	memset(resource, '"', IG_RESOURCE_BYTES);
	resource[IG_RESOURCE_BYTES] = '\0';
	memset(selector.value, '"', IG_SELECTOR_BYTES);
	v.access_token = token;
	v.resource = resource;
	assert_int_equal(ig_imds_reply_token(&v, &reply), 0);
	assert_true(reply.body.len > 2 * (IG_TOKEN_BYTES + IG_RESOURCE_BYTES + IG_SELECTOR_BYTES));
}

static void test_versions(void **state)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	json_t *root, *list, *item;
	const char *before = "";
	size_t i;

	(void)state;
	assert_int_equal(ig_imds_reply_versions(&reply), 0);
	assert_int_equal(reply.status, 200);
	root = parse_body(&reply);
	list = json_object_get(root, "apiVersions");
	assert_int_equal(json_array_size(list), 35);
	json_array_foreach (list, i, item) {
		assert_true(strcmp(before, json_string_value(item)) < 0);
		before = json_string_value(item);
		assert_int_equal(ig_imds_api_version_has_token(before), i >= 5);
	}
	assert_string_equal(json_string_value(json_array_get(list, 0)), "2017-03-01");
	assert_string_equal(before, "2025-04-07");
	json_decref(root);
	assert_false(ig_imds_api_version_has_token(""));
	assert_false(ig_imds_api_version_has_token("2018-02-02"));
	assert_false(ig_imds_api_version_has_token("2018-02-01 "));
	assert_false(ig_imds_api_version_has_token("9999-01-01"));
}

static void test_done_twice(void **state)
{
	struct ig_imds_reply reply = {};

	(void)state;
	assert_int_equal(ig_imds_reply_versions(&reply), 0);
	ig_imds_reply_done(&reply);
	ig_imds_reply_done(&reply);
	assert_int_equal(reply.status, 0);
	assert_null(reply.body.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_error_bodies),
		cmocka_unit_test(test_every_error),
		cmocka_unit_test(test_out_of_range_is_server_error),
		cmocka_unit_test(test_upstream_rejected),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_token),
		cmocka_unit_test(test_token_echoes_selector),
		cmocka_unit_test(test_token_edges),
		cmocka_unit_test(test_largest_token),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_done_twice),
	};

	return cmocka_run_group_tests_name("imds replies", tests, NULL, NULL);
}
