/*
 * The request line to IMDS and the reply from it: what is accepted, and above all what is not.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "http/client.h"
#include "token/source.h"
#include "token/token.h"

#define CLIENT	 "0d46c104-1111-2222-3333-444444444444"
#define CLIENT_U "0D46C104-1111-2222-3333-444444444444"
#define OTHER	 "99999999-1111-2222-3333-444444444444"
#define OBJECT	 "b2a1c0de-aaaa-bbbb-cccc-ddddeeeeffff"
#define NOW	 1709809597ULL
#define TIMES	 "\"expires_in\":\"86317\",\"expires_on\":\"1709895997\""

/* {"alg":"none"}.{"aud":"x","oid":"b2a1c0de-aaaa-bbbb-cccc-ddddeeeeffff"}.sig */
#define JWT                                                                                        \
	"eyJhbGciOiJub25lIn0.eyJhdWQiOiJ4Iiwib2lkIjoiYjJhMWMwZGUtYWFhYS1iYmJiLWNjY2MtZGRkZGVlZWVmZmZmIn0.c2ln"

IG_DEFINE_CLEANUP(struct ig_token *, ig_token_unref);

static const struct ig_token_key by_client = {
	.upstream = {IG_SELECTOR_CLIENT_ID, CLIENT},
	.expect_client_id = CLIENT,
	.resource = "https://vault.azure.net",
};
static const struct ig_token_key by_resource_id = {
	.upstream = {IG_SELECTOR_RESOURCE_ID, "/subscriptions/s/userAssignedIdentities/a"},
	.expect_client_id = CLIENT,
	.resource = "https://vault.azure.net",
};
static const struct ig_token_key anything = {
	.upstream = {IG_SELECTOR_NONE, ""},
	.expect_client_id = "",
	.resource = "https://vault.azure.net",
};

static int reply(unsigned int status, const char *body, const struct ig_token_key *key,
	struct ig_token **ret)
{
	_cleanup_free_ char *code = NULL;
	_cleanup_free_ char *text = NULL;

	return ig_source_imds_reply(status, body, strlen(body), key, NOW, ret, &code, &text);
}

/* To the client it is nonsense like any other; whoever reads the record has a clock to set. */
static void test_expired_names_the_clock(void **state)
{
	static const char *const bodies[] = {
		"{\"access_token\":\"t\",\"expires_on\":\"1709809597\"}",
		"{\"access_token\":\"t\",\"expires_on\":\"1\",\"expires_in\":\"86317\"}"};

	(void)state;
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
		_cleanup_(ig_source_answer_done) struct ig_source_answer answer = {};
		const struct ig_http_response response = {
			.status = 200, .body = bodies[i], .body_len = strlen(bodies[i])};

		ig_source_imds_read(&response, &anything, NOW, &answer);
		assert_null(answer.token);
		assert_int_equal(answer.kind, IG_TOKEN_BROKEN);
		assert_null(answer.text);
		assert_non_null(strstr(answer.own_text, "clock"));
	}
}

static void assert_bad(const char *body, const struct ig_token_key *key)
{
	_cleanup_(ig_token_unrefp) struct ig_token *token = NULL;

	assert_int_equal(reply(200, body, key, &token), -EBADMSG);
	assert_null(token);
}

/* ---- URL ------------------------------------------------------------------------------------- */

static void assert_url(
	const char *base, const struct ig_token_key *key, bool bypass, const char *expected)
{
	_cleanup_free_ char *url = NULL;

	assert_int_equal(ig_source_imds_url(base, key, bypass, &url), 0);
	assert_string_equal(url, expected);
}

static void test_url(void **state)
{
	const struct ig_token_key by_object = {
		.upstream = {IG_SELECTOR_OBJECT_ID, "o&client_id=x"},
		.expect_client_id = "",
		.resource = "a b+c&resource=d#\r\n\xc3\xa9%41",
	};

	(void)state;
	assert_url("http://127.0.0.1:1", &by_client, false,
		"http://127.0.0.1:1/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net&client_id=" CLIENT);
	assert_url("http://127.0.0.1:1/", &anything, true,
		"http://127.0.0.1:1/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net&bypass_cache=true");
	assert_url("https://h", &by_resource_id, false,
		"https://h/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net&msi_res_id=%2Fsubscriptions%2Fs%2FuserAssignedIdentities%2Fa");
	assert_url("http://h", &by_object, false,
		"http://h/metadata/identity/oauth2/token?api-version=2018-02-01&resource=a%20b%2Bc%26resource%3Dd%23%0D%0A%C3%A9%2541&object_id=o%26client_id%3Dx");
}

static void test_url_refused(void **state)
{
	struct ig_token_key key = by_client;
	char *url = NULL;
	char *huge = calloc(1, 20001);

	(void)state;
	assert_int_equal(ig_source_imds_url("ftp://h", &key, false, &url), -EINVAL);
	assert_int_equal(ig_source_imds_url("", &key, false, &url), -EINVAL);
	key.upstream.value[0] = '\0';
	assert_int_equal(ig_source_imds_url("http://h", &key, false, &url), -EINVAL);
	key.upstream.kind = _IG_SELECTOR_KIND_MAX;
	assert_int_equal(ig_source_imds_url("http://h", &key, false, &url), -EINVAL);
	key = anything;
	memset(huge, 'x', 20000);
	key.resource = huge;
	assert_int_equal(ig_source_imds_url("http://h", &key, false, &url), -E2BIG);
	assert_null(url);
	free(huge);
}

/* The longest request that the front end lets through has to fit, encoded byte by byte. */
static void test_url_longest(void **state)
{
	_cleanup_free_ char *resource = calloc(1, IG_RESOURCE_BYTES + 1);
	_cleanup_free_ char *url = NULL;
	struct ig_token_key key = {
		.upstream.kind = IG_SELECTOR_RESOURCE_ID, .expect_client_id = ""};

	(void)state;
	memset(resource, '/', IG_RESOURCE_BYTES);
	memset(key.upstream.value, '/', IG_SELECTOR_BYTES);
	key.resource = resource;
	assert_int_equal(ig_source_imds_url("http://h", &key, true, &url), 0);
	assert_true(strlen(url) > 3 * (IG_RESOURCE_BYTES + IG_SELECTOR_BYTES));
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static void test_real_reply(void **state)
{
	_cleanup_(ig_token_unrefp) struct ig_token *token = NULL;

	(void)state;
	assert_int_equal(
		reply(200,
			"{\"access_token\":\"" JWT "\",\"client_id\":\"" CLIENT "\"," TIMES
			",\"ext_expires_in\":\"86399\",\"not_before\":\"1709809297\",\"resource\":\"https://vault.azure.net\",\"token_type\":\"Bearer\"}",
			&by_client, &token),
		0);
	assert_string_equal(token->access_token, JWT);
	assert_string_equal(token->client_id, CLIENT);
	assert_int_equal(token->expires_on_sec, 1709895997);
	assert_int_equal(token->not_before_sec, 1709809297);
	assert_int_equal(token->ext_expires_in_sec, 86399);
	assert_string_equal(token->object_id, OBJECT);
}

static void test_numbers_and_defaults(void **state)
{
	_cleanup_(ig_token_unrefp) struct ig_token *in = NULL;
	_cleanup_(ig_token_unrefp) struct ig_token *on = NULL;
	_cleanup_(ig_token_unrefp) struct ig_token *empty = NULL;

	(void)state;
	assert_int_equal(
		reply(200, "{\"access_token\":\"t\",\"expires_in\":100,\"token_type\":\"bearer\"}",
			&anything, &in),
		0);
	assert_int_equal(in->expires_on_sec, NOW + 100);
	assert_int_equal(in->not_before_sec, NOW);
	assert_int_equal(in->ext_expires_in_sec, 100);
	assert_string_equal(in->client_id, "");
	assert_string_equal(in->object_id, "");

	assert_int_equal(
		reply(200,
			"{\"access_token\":\"t\",\"expires_on\":1709809600,\"expires_in\":\"9999\"}",
			&anything, &on),
		0);
	assert_int_equal(on->expires_on_sec, 1709809600);
	assert_int_equal(on->ext_expires_in_sec, 3);

	assert_int_equal(
		reply(200,
			"{\"access_token\":\"t\",\"expires_on\":\"\",\"expires_in\":\"5\",\"not_before\":\"\",\"ext_expires_in\":\"\"}",
			&anything, &empty),
		0);
	assert_int_equal(empty->expires_on_sec, NOW + 5);
	assert_int_equal(empty->not_before_sec, NOW);
}

static void test_hashes(void **state)
{
	_cleanup_(ig_token_unrefp) struct ig_token *token = NULL;

	(void)state;
	assert_int_equal(
		reply(200, "{\"access_token\":\"abc\",\"expires_in\":\"5\"}", &anything, &token),
		0);
	assert_string_equal(
		token->sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	assert_string_equal(token->fingerprint, "ba7816bf8f01cfea");
}

static void test_whose_token(void **state)
{
	_cleanup_(ig_token_unrefp) struct ig_token *upper = NULL;
	_cleanup_(ig_token_unrefp) struct ig_token *unnamed = NULL;
	_cleanup_(ig_token_unrefp) struct ig_token *any = NULL;
	struct ig_token_key crossed = by_client;

	(void)state;
	assert_int_equal(
		reply(200, "{\"access_token\":\"t\",\"client_id\":\"" CLIENT_U "\"," TIMES "}",
			&by_client, &upper),
		0);
	assert_int_equal(reply(200, "{\"access_token\":\"t\"," TIMES "}", &by_client, &unnamed), 0);
	assert_int_equal(
		reply(200, "{\"access_token\":\"t\",\"client_id\":\"" OTHER "\"," TIMES "}",
			&anything, &any),
		0);
	assert_string_equal(any->client_id, OTHER);

	assert_bad("{\"access_token\":\"t\",\"client_id\":\"" OTHER "\"," TIMES "}", &by_client);
	assert_bad(
		"{\"access_token\":\"t\",\"client_id\":\"" OTHER "\"," TIMES "}", &by_resource_id);
	/* asked by resource id, only the name in the reply says whose it is */
	assert_bad("{\"access_token\":\"t\"," TIMES "}", &by_resource_id);
	assert_bad("{\"access_token\":\"t\",\"client_id\":\"\"," TIMES "}", &by_resource_id);
	assert_bad("{\"access_token\":\"t\",\"client_id\":7," TIMES "}", &by_client);
	assert_bad("{\"access_token\":\"t\",\"client_id\":null," TIMES "}", &by_client);
	/* the question named somebody else than is expected */
	crossed.expect_client_id = OTHER;
	assert_bad("{\"access_token\":\"t\"," TIMES "}", &crossed);
}

static void test_nonsense(void **state)
{
	static const char *const bodies[] = {
		"",
		"{",
		"null",
		"[]",
		"\"x\"",
		"<html>",
		"{}",
		"{" TIMES "}",
		"{\"access_token\":\"\"," TIMES "}",
		"{\"access_token\":7," TIMES "}",
		"{\"access_token\":\"a b\"," TIMES "}",
		"{\"access_token\":\"a\\n\"," TIMES "}",
		"{\"access_token\":\"a\\u0000b\"," TIMES "}",
		"{\"access_token\":\"\\u00e9\"," TIMES "}",
		"{\"access_token\":\"t\\u007f\"," TIMES "}",
		"{\"access_token\":\"t\"}",
		"{\"access_token\":\"t\",\"token_type\":\"Basic\"," TIMES "}",
		"{\"access_token\":\"t\",\"token_type\":1," TIMES "}",
		"{\"access_token\":\"t\",\"access_token\":\"u\"," TIMES "}",
		"{\"access_token\":\"t\",\"expires_on\":-1}",
		"{\"access_token\":\"t\",\"expires_on\":\"+1709895997\"}",
		"{\"access_token\":\"t\",\"expires_on\":\" 1709895997\"}",
		"{\"access_token\":\"t\",\"expires_on\":1709895997.5}",
		"{\"access_token\":\"t\",\"expires_on\":\"2024-03-07T11:07:59Z\"}",
		"{\"access_token\":\"t\",\"expires_on\":\"18446744073709551615\"}",
		"{\"access_token\":\"t\",\"expires_on\":true}",
		"{\"access_token\":\"t\",\"expires_in\":0}",
		"{\"access_token\":\"t\",\"expires_in\":\"253402300799\"}",
		"{\"access_token\":\"t\",\"expires_in\":\"18446744073709551615\"}",
		"{\"access_token\":\"t\",\"not_before\":\"x\"," TIMES "}",
		"{\"access_token\":\"t\",\"ext_expires_in\":{}," TIMES "}",
		"{\"access_token\":\"t\"," TIMES "} trailing",
		"{\"access_token\":\"\xff\"," TIMES "}",
		"{\"error\":\"invalid_request\",\"error_description\":\"with 200\"}",
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(bodies); i++)
		assert_bad(bodies[i], &anything);
}

static void test_token_size(void **state)
{
	_cleanup_(ig_token_unrefp) struct ig_token *token = NULL;
	_cleanup_free_ char *body = calloc(1, IG_TOKEN_BYTES + 200);
	static const char head[] = "{\"expires_in\":\"5\",\"access_token\":\"";
	size_t len = sizeof(head) - 1;

	(void)state;
	memcpy(body, head, len);
	memset(body + len, 'x', IG_TOKEN_BYTES);
	memcpy(body + len + IG_TOKEN_BYTES, "\"}", 3);
	assert_int_equal(reply(200, body, &anything, &token), 0);
	assert_int_equal(strlen(token->access_token), IG_TOKEN_BYTES);
	memcpy(body + len + IG_TOKEN_BYTES, "x\"}", 4);
	assert_bad(body, &anything);
}

/* A token need not be a JWT, and one that looks like one may lie: then there is no oid. */
static void test_object_id(void **state)
{
	static const char *const tokens[] = {
		"opaque",
		"a.b",
		"..",
		"a..c",
		"a.!!!!.c",
		"a.eyJ9.c",
		"a.e30.c",			    /* {} */
		"a.W10.c",			    /* [] */
		"a.eyJvaWQiOiJub3QtYS1ndWlkIn0.c",  /* {"oid":"not-a-guid"} */
		"a.eyJvaWQiOjd9.c",		    /* {"oid":7} */
		"a.eyJvaWQiOiJhIiwib2lkIjoiYiJ9.c", /* twice */
		"a.eyJvaW.c",
		"a.eyJvaWQi=.c",
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(tokens); i++) {
		_cleanup_(ig_token_unrefp) struct ig_token *token = NULL;
		const struct ig_token_fields fields = {
			.access_token = tokens[i], .client_id = "", .expires_on_sec = 1};

		assert_int_equal(ig_token_new(&fields, &token), 0);
		assert_string_equal(token->object_id, "");
	}
}

static void test_references(void **state)
{
	const struct ig_token_fields fields = {.access_token = JWT, .client_id = CLIENT};
	struct ig_token *token = NULL;
	struct ig_token *again;

	(void)state;
	assert_int_equal(ig_token_new(&fields, &token), 0);
	again = ig_token_ref(token);
	assert_ptr_equal(again, token);
	assert_null(ig_token_unref(token));
	/* still there */
	assert_string_equal(again->access_token, JWT);
	assert_null(ig_token_unref(again));
	assert_null(ig_token_unref(NULL));
	assert_null(ig_token_ref(NULL));
}

/* ---- errors ---------------------------------------------------------------------------------- */

static void test_error_reply(void **state)
{
	static const char body[] =
		"{\"error\":\"invalid_resource\",\"error_description\":\"AADSTS500011: no\\r\\nTrace ID: 1\"}";
	_cleanup_free_ char *code = NULL;
	_cleanup_free_ char *text = NULL;
	struct ig_token *token = NULL;

	(void)state;
	assert_int_equal(ig_source_imds_reply(
				 400, body, sizeof(body) - 1, &anything, NOW, &token, &code, &text),
		-EACCES);
	assert_null(token);
	assert_string_equal(code, "invalid_resource");
	assert_string_equal(text, "AADSTS500011: no\r\nTrace ID: 1");
}

static void test_error_without_text(void **state)
{
	static const char body[] = "{\"error\":\"forbidden\"}";
	_cleanup_free_ char *code = NULL;
	_cleanup_free_ char *text = NULL;
	struct ig_token *token = NULL;

	(void)state;
	assert_int_equal(ig_source_imds_reply(
				 403, body, sizeof(body) - 1, &anything, NOW, &token, &code, &text),
		-EACCES);
	assert_string_equal(code, "forbidden");
	assert_string_equal(text, "");
}

static void test_error_nonsense(void **state)
{
	struct ig_token *token = NULL;

	(void)state;
	assert_int_equal(reply(400, "", &anything, &token), -EBADMSG);
	assert_int_equal(reply(500, "<html>", &anything, &token), -EBADMSG);
	assert_int_equal(reply(400, "{\"error\":{\"code\":\"x\"}}", &anything, &token), -EBADMSG);
	assert_int_equal(reply(400, "{\"error\":\"\"}", &anything, &token), -EBADMSG);
	/* a token with another status than 200 is none */
	assert_int_equal(
		reply(201, "{\"access_token\":\"t\"," TIMES "}", &anything, &token), -EBADMSG);
	assert_null(token);
}

/* Cut, but not in the middle of a character. */
static void test_error_long(void **state)
{
	_cleanup_(ig_buf_donep) struct ig_buf body = {};
	_cleanup_free_ char *code = NULL;
	_cleanup_free_ char *text = NULL;
	struct ig_token *token = NULL;

	(void)state;
	ig_buf_init(&body, 65536);
	ig_buf_puts(&body, "{\"error\":\"");
	for (int i = 0; i < 1000; i++)
		ig_buf_putc(&body, 'e');
	ig_buf_puts(&body, "\",\"error_description\":\"x");
	for (int i = 0; i < 5000; i++)
		ig_buf_puts(&body, "\xe2\x82\xac");
	ig_buf_puts(&body, "\"}");
	assert_int_equal(ig_buf_finish(&body), 0);
	assert_int_equal(ig_source_imds_reply(
				 400, body.data, body.len, &anything, NOW, &token, &code, &text),
		-EACCES);
	assert_int_equal(strlen(code), 128);
	/* 1 + 3 n <= 4096 */
	assert_int_equal(strlen(text), 4096);
	assert_memory_equal(text + 4093, "\xe2\x82\xac", 3);

	free(TAKE_PTR(code));
	free(TAKE_PTR(text));
	/* one byte later the last one does not fit */
	ig_buf_reset(&body);
	ig_buf_puts(&body, "{\"error\":\"e\",\"error_description\":\"xx");
	for (int i = 0; i < 5000; i++)
		ig_buf_puts(&body, "\xe2\x82\xac");
	ig_buf_puts(&body, "\"}");
	assert_int_equal(ig_source_imds_reply(
				 400, body.data, body.len, &anything, NOW, &token, &code, &text),
		-EACCES);
	assert_int_equal(strlen(text), 4094);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_url),
		cmocka_unit_test(test_url_refused),
		cmocka_unit_test(test_url_longest),
		cmocka_unit_test(test_real_reply),
		cmocka_unit_test(test_expired_names_the_clock),
		cmocka_unit_test(test_numbers_and_defaults),
		cmocka_unit_test(test_hashes),
		cmocka_unit_test(test_whose_token),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_token_size),
		cmocka_unit_test(test_object_id),
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_error_reply),
		cmocka_unit_test(test_error_without_text),
		cmocka_unit_test(test_error_nonsense),
		cmocka_unit_test(test_error_long),
	};

	return cmocka_run_group_tests_name("source_imds", tests, NULL, NULL);
}
