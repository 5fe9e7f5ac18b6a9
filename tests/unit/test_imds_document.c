/*
 * Unit tests of metadata documents: which requests are one, what goes upstream for them, which
 * answers come back. The numbers are those of the conformance list.
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

#include "base/cleanup.h"
#include "imds/document.h"

#define PARSED struct ig_imds_document
#define PARSE  ig_imds_document_parse
#include "unit/imds_fixture.h"

#define I   "/metadata/instance"
#define V   "api-version=2021-02-01"
#define LOC I "/compute/location"

static void expect_url(int line, const char *target, const char *url)
{
	struct ig_imds_document document = expect_ok(line, target, metadata, 1);
	_cleanup_free_ char *got = NULL;

	assert_int_equal(ig_imds_document_url("http://127.0.0.1:1", &document, &got), 0);
	if (strcmp(got, url) != 0)
		fail_msg("line %d: '%s' became '%s'", line, target, got);
}

#define EXPECT_URL(target, rest) expect_url(__LINE__, (target), "http://127.0.0.1:1" rest)

/* ---- requests -------------------------------------------------------------------------------- */

static void test_rebuilt(void **state)
{
	(void)state;
	EXPECT_URL(I "?" V, I "?" V "&format=json");
	EXPECT_URL(I "?" V "&format=json", I "?" V "&format=json");
	EXPECT_URL(I "?format=text&" V, I "?" V "&format=text");
	EXPECT_URL(I "?" V "&format=", I "?" V "&format=json");
	EXPECT_URL(I "/compute/vmSize?" V "&format=text", I "/compute/vmSize?" V "&format=text");
	EXPECT_URL(
		I "/network/interface/0/ipv4?" V, I "/network/interface/0/ipv4?" V "&format=json");
	/* one canonical path, whatever it was called */
	EXPECT_URL("/Metadata/instance?" V, I "?" V "&format=json");
	EXPECT_URL("//metadata/instance?" V, I "?" V "&format=json");
	EXPECT_URL("http://169.254.169.254/METADATA/instance?" V, I "?" V "&format=json");
	EXPECT_URL(I "?api%2Dversion=2021%2d02-01", I "?" V "&format=json");
	/* nothing else of the query is sent on */
	EXPECT_URL(I "?" V "&nonce=1&recursive=true&x=%26a%3Db", I "?" V "&format=json");
}

static void test_url(void **state)
{
	struct ig_imds_document document = EXPECT_OK(I "?" V);
	char huge[8192] = "http://";
	char *url = NULL;

	(void)state;
	assert_int_equal(ig_imds_document_url("http://h///", &document, &url), 0);
	assert_string_equal(url, "http://h" I "?" V "&format=json");
	free(url);
	url = NULL;
	assert_int_equal(ig_imds_document_url("file:///etc", &document, &url), -EINVAL);
	assert_int_equal(ig_imds_document_url("", &document, &url), -EINVAL);
	memset(huge + 7, 'h', sizeof(huge) - 8);
	assert_int_equal(ig_imds_document_url(huge, &document, &url), -E2BIG);
	/* what has a flaw does not go upstream, whoever forgot to look */
	document = EXPECT_OK("/metadata/attested/document");
	assert_int_equal(ig_imds_document_url("http://h", &document, &url), -EINVAL);
	document.route = IG_IMDS_ROUTE_TOKEN;
	document.flaw = IG_IMDS_ERROR_NONE;
	assert_int_equal(ig_imds_document_url("http://h", &document, &url), -EINVAL);
	assert_null(url);
}

static void test_versions(void **state)
{
	/* 87 */
	static const char *const good[] = {"2017-04-02", "2017-08-01", "2017-10-01", "2017-12-01",
		"2018-02-01", "2019-03-11", "2021-01-01", "2021-10-01", "2025-04-07"};
	static const char *const bad[] = {"", "2017-03-01", "2017-04-01", "2017-04-021",
		"2018-02-01%20", "1999-01-01", "2026-01-01", "abc", "latest"};
	char target[128];

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(good); i++) {
		(void)snprintf(target, sizeof(target), I "?api-version=%s", good[i]);
		assert_string_equal(EXPECT_OK(target).api_version, good[i]);
	}
	for (size_t i = 0; i < IG_ARRAY_SIZE(bad); i++) {
		(void)snprintf(target, sizeof(target), I "/compute?api-version=%s", bad[i]);
		EXPECT_ERROR(target, BAD_API_VERSION);
	}
	EXPECT_ERROR(I, BAD_API_VERSION);
	EXPECT_ERROR(I "?format=json", BAD_API_VERSION);
	EXPECT_ERROR(I "?Api-Version=2021-02-01", BAD_API_VERSION);
}

static void test_queries(void **state)
{
	(void)state;
	assert_int_equal(EXPECT_OK(I "?" V).format, IG_IMDS_FORMAT_JSON);
	assert_int_equal(EXPECT_OK(I "?" V "&format=text").format, IG_IMDS_FORMAT_TEXT);
	EXPECT_ERROR(I "?" V "&format=xml", BAD_QUERY);
	EXPECT_ERROR(I "?" V "&format=JSON", BAD_QUERY);
	EXPECT_ERROR(I "?" V "&format=json%26x", BAD_QUERY);
	EXPECT_ERROR(I "?" V "&" V, BAD_QUERY);
	EXPECT_ERROR(I "?" V "&format=text&format=text", BAD_QUERY);
	EXPECT_ERROR(I "?" V "&x&x", BAD_QUERY);
	EXPECT_ERROR(I "?" V "&x=%zz", BAD_QUERY);
	EXPECT_ERROR(I "?" V "&x=%0d%0a", BAD_QUERY);
}

static void test_paths(void **state)
{
	static const char *const bad[] = {"/metadata/instance/", "/metadata/instance//compute",
		"/metadata/instance/./compute", "/metadata/instance/../identity/oauth2/token",
		"/metadata/instance/..", "/metadata/instance%2Fcompute",
		"/metadata/instance/%2e%2e", "/metadata/instance\\compute", "/metadata/instance;x",
		"/metadata/instance/a;b", "/metadata/instance/a@b", "/metadata/instance/a:80",
		"/metadata/instance/a b", "/metadata/instance/a\"", "/metadata/instance/<a>",
		"/metadata/instance/a{0}", "/metadata/instance/[0]", "/metadata/instance/a|b",
		"/metadata/instance/a&b", "/metadata/instance/a=b", "/metadata/instance/a+b",
		"/metadata/instance/a#b", "/metadata/instance/a~b", "/metadata/instance/*",
		"/metadata/instance/\xc3\xa9", "/metadata/Instance", "/metadata/instances",
		"/metadata/identity/oauth2/token", "/metadata/identity/info", "/metadata/versions",
		"/metadata/identity", "/metadata", "/", "/latest/meta-data/"};
	char path[IG_DOCUMENT_PATH_BYTES + 64];

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(bad); i++) {
		(void)snprintf(path, sizeof(path), "%s?" V, bad[i]);
		EXPECT_ERROR(path, NOT_FOUND);
	}
	memset(path, 'x', sizeof(path));
	memcpy(path, I "/", strlen(I "/"));
	memcpy(path + IG_DOCUMENT_PATH_BYTES, "?" V, sizeof("?" V));
	assert_int_equal(strlen(EXPECT_OK(path).path), IG_DOCUMENT_PATH_BYTES);
	memcpy(path + IG_DOCUMENT_PATH_BYTES, "x?" V, sizeof("x?" V));
	EXPECT_ERROR(path, NOT_FOUND);
}

static void test_order(void **state)
{
	static const struct ig_http_header forwarded[] = {
		{"Metadata", "true"}, {"X-Forwarded-For", ""}};

	(void)state;
	/* route, method, headers, query */
	expect_error(__LINE__, IG_HTTP_POST, I "/a@b", NULL, 0, IG_IMDS_ERROR_NOT_FOUND);
	expect_error(__LINE__, IG_HTTP_POST, I, NULL, 0, IG_IMDS_ERROR_METHOD);
	expect_error(__LINE__, IG_HTTP_HEAD, I "?" V, metadata, 1, IG_IMDS_ERROR_METHOD);
	expect_error(__LINE__, IG_HTTP_GET, I, NULL, 0, IG_IMDS_ERROR_NO_METADATA_HEADER);
	expect_error(__LINE__, IG_HTTP_GET, I "?" V, forwarded, 2, IG_IMDS_ERROR_FORWARDED);
	/* 92: a POST that acknowledges an event */
	expect_error(__LINE__, IG_HTTP_POST, "/metadata/scheduledevents?" V, metadata, 1,
		IG_IMDS_ERROR_METHOD);
}

static void test_other_routes(void **state)
{
	static const struct {
		const char *path;
		enum ig_imds_route route;
	} routes[] = {{"/metadata/attested/document", IG_IMDS_ROUTE_ATTESTED},
		{"/metadata/attested", IG_IMDS_ROUTE_ATTESTED},
		{"/metadata/loadbalancer", IG_IMDS_ROUTE_LOADBALANCER},
		{"/metadata/scheduledevents", IG_IMDS_ROUTE_SCHEDULEDEVENTS}};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(routes); i++) {
		struct ig_imds_document document = EXPECT_OK(routes[i].path);

		assert_int_equal(document.route, routes[i].route);
		assert_string_equal(document.path, routes[i].path);
		assert_string_equal(document.api_version, "");
		assert_int_not_equal(document.flaw, IG_IMDS_ERROR_NONE);
		expect_error(__LINE__, IG_HTTP_GET, routes[i].path, NULL, 0,
			IG_IMDS_ERROR_NO_METADATA_HEADER);
	}
}

#define ATTESTED "/metadata/attested/document"
#define EVENTS	 "/metadata/scheduledevents"
#define BALANCER "/metadata/loadbalancer"

/* Those that are closed by default: each asked for as it is documented. */
static void test_closed_rebuilt(void **state)
{
	(void)state;
	EXPECT_URL(ATTESTED "?api-version=2018-10-01", ATTESTED "?api-version=2018-10-01");
	EXPECT_URL(ATTESTED "?nonce=1234567890&x=1&api-version=2020-09-01&format=json",
		ATTESTED "?api-version=2020-09-01&nonce=1234567890");
	EXPECT_URL("/METADATA/attested/document?" V "&nonce=%61Z09", ATTESTED "?" V "&nonce=aZ09");
	EXPECT_URL(ATTESTED "?" V "&nonce=", ATTESTED "?" V);
	EXPECT_URL(EVENTS "?api-version=2020-07-01&nonce=1", EVENTS "?api-version=2020-07-01");
	EXPECT_URL(EVENTS "?" V "&format=json", EVENTS "?" V);
	EXPECT_URL(
		BALANCER "?api-version=2020-10-01", BALANCER "?api-version=2020-10-01&format=json");
}

static void test_flaws(void **state)
{
	static const struct {
		const char *target;
		enum ig_imds_error flaw;
	} rows[] = {
		{ATTESTED, IG_IMDS_ERROR_BAD_API_VERSION},
		{ATTESTED "?api-version=2018-04-02", IG_IMDS_ERROR_BAD_API_VERSION},
		{ATTESTED "?api-version=2020-07-01", IG_IMDS_ERROR_BAD_API_VERSION},
		{ATTESTED "?" V "&nonce=12345678901", IG_IMDS_ERROR_BAD_QUERY},
		{ATTESTED "?" V "&nonce=1%26x", IG_IMDS_ERROR_BAD_QUERY},
		{ATTESTED "?" V "&nonce=1+2", IG_IMDS_ERROR_BAD_QUERY},
		{ATTESTED "?" V "&nonce=%c3%a9", IG_IMDS_ERROR_BAD_QUERY},
		{ATTESTED "?" V "&nonce=1&nonce=1", IG_IMDS_ERROR_BAD_QUERY},
		{ATTESTED "?" V "&nonce=%zz", IG_IMDS_ERROR_BAD_QUERY},
		{ATTESTED "?" V "&format=text", IG_IMDS_ERROR_BAD_QUERY},
		{"/metadata/attested?" V, IG_IMDS_ERROR_NOT_FOUND},
		{"/metadata/attested/Document?" V, IG_IMDS_ERROR_NOT_FOUND},
		{ATTESTED "/x?" V, IG_IMDS_ERROR_NOT_FOUND},
		{EVENTS "?api-version=2017-04-02", IG_IMDS_ERROR_BAD_API_VERSION},
		{EVENTS "?api-version=2020-07-02", IG_IMDS_ERROR_BAD_API_VERSION},
		{EVENTS "?" V "&format=text", IG_IMDS_ERROR_BAD_QUERY},
		{EVENTS "/x?" V, IG_IMDS_ERROR_NOT_FOUND},
		{BALANCER "?api-version=2020-09-01", IG_IMDS_ERROR_BAD_API_VERSION},
		{BALANCER "?" V "&format=text", IG_IMDS_ERROR_BAD_QUERY},
		{BALANCER "/publicIpAddresses?" V, IG_IMDS_ERROR_NOT_FOUND},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		struct ig_imds_document document = EXPECT_OK(rows[i].target);
		char *url = NULL;

		if (document.flaw != rows[i].flaw)
			fail_msg("%s: %s", rows[i].target, ig_imds_error_name(document.flaw));
		assert_int_equal(ig_imds_document_url("http://h", &document, &url), -EINVAL);
	}
}

static void test_shared(void **state)
{
	struct ig_imds_document a = EXPECT_OK(ATTESTED "?" V "&nonce=1"), b;

	(void)state;
	b = EXPECT_OK(ATTESTED "?" V "&nonce=2");
	assert_false(ig_imds_document_equal(&a, &b));
	assert_int_equal(ig_imds_document_shared_sec(&a), 0);
	a = EXPECT_OK(EVENTS "?" V);
	assert_int_equal(ig_imds_document_shared_sec(&a), IG_DOCUMENT_EVENTS_CACHE_SEC);
	a = EXPECT_OK(BALANCER "?" V);
	b = EXPECT_OK(I "?" V);
	assert_int_equal(ig_imds_document_shared_sec(&a), IG_DOCUMENT_CACHE_SEC);
	assert_int_equal(ig_imds_document_shared_sec(&b), IG_DOCUMENT_CACHE_SEC);
	a.route = IG_IMDS_ROUTE_TOKEN;
	assert_int_equal(ig_imds_document_shared_sec(&a), 0);
}

static void test_equal(void **state)
{
	struct ig_imds_document a = EXPECT_OK(I "?" V), b;

	(void)state;
	b = EXPECT_OK("/METADATA/instance?" V "&format=json&x=1");
	assert_true(ig_imds_document_equal(&a, &b));
	b = EXPECT_OK(I "?" V "&format=text");
	assert_false(ig_imds_document_equal(&a, &b));
	b = EXPECT_OK(I "?api-version=2021-01-01");
	assert_false(ig_imds_document_equal(&a, &b));
	b = EXPECT_OK(I "/compute?" V);
	assert_false(ig_imds_document_equal(&a, &b));
	b = a;
	b.route = IG_IMDS_ROUTE_ATTESTED;
	assert_false(ig_imds_document_equal(&a, &b));
}

/* ---- replies --------------------------------------------------------------------------------- */

static void expect_relayed(int line, const char *target, unsigned int status, const char *body,
	const char *content_type)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	struct ig_imds_document document = expect_ok(line, target, metadata, 1);

	assert_int_equal(ig_imds_document_reply(&document, status, body, strlen(body), &reply), 0);
	if (reply.error != IG_IMDS_ERROR_NONE || reply.status != status)
		fail_msg("line %d: %s %u", line, ig_imds_error_name(reply.error), reply.status);
	assert_string_equal(reply.content_type, content_type);
	assert_int_equal(reply.n_headers, 0);
	assert_int_equal(reply.body.len, strlen(body));
	assert_memory_equal(reply.body.data, body, reply.body.len);
}

#define JSON "application/json; charset=utf-8"
#define TEXT "text/plain; charset=utf-8"
#define EXPECT_RELAYED(query, status, body, type)                                                  \
	expect_relayed(__LINE__, I "/compute?" V query, (status), (body), (type))

static void test_relayed(void **state)
{
	(void)state;
	EXPECT_RELAYED("", 200, "{\"a\":\"b\"}", JSON);
	EXPECT_RELAYED("", 200, "[{\"a\":\"b\"}]", JSON);
	EXPECT_RELAYED("&format=text", 200, "westus2", TEXT);
	EXPECT_RELAYED("&format=text", 200, "", TEXT);
	EXPECT_RELAYED("&format=text", 200, "a/\r\nb/\n\xc3\xa9\tc", TEXT);
	/* 90: errors are JSON in either format */
	EXPECT_RELAYED("", 400, "{\"error\":\"Bad request\"}", JSON);
	EXPECT_RELAYED("&format=text", 404, "{\"error\":\"Not found\"}", JSON);
}

static void expect_replaced(int line, const char *query, unsigned int status, const char *body,
	size_t len, enum ig_imds_error error)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply expected = {};
	struct ig_imds_document document;
	char target[128];

	(void)snprintf(target, sizeof(target), I "/compute?" V "%s", query);
	document = expect_ok(line, target, metadata, 1);
	assert_int_equal(ig_imds_document_reply(&document, status, body, len, &reply), 0);
	if (reply.error != error)
		fail_msg("line %d: %u %.40s: %s", line, status, body,
			ig_imds_error_name(reply.error));
	assert_int_equal(ig_imds_reply_error(error, NULL, NULL, &expected), 0);
	assert_int_equal(reply.status, expected.status);
	assert_int_equal(reply.n_headers, expected.n_headers);
	assert_string_equal(reply.body.data, expected.body.data);
}

#define EXPECT_REPLACED(query, status, body, error)                                                \
	expect_replaced(__LINE__, (query), (status), (body), strlen(body), IG_IMDS_ERROR_##error)

static void test_replaced(void **state)
{
	static const unsigned int later[] = {408, 410, 429, 500, 502, 503, 504, 599};
	static const unsigned int never[] = {0, 100, 201, 204, 206, 301, 302, 304, 401, 403, 405};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(later); i++)
		EXPECT_REPLACED("", later[i], "{\"error\":\"secret\"}", UNAVAILABLE);
	for (size_t i = 0; i < IG_ARRAY_SIZE(never); i++)
		EXPECT_REPLACED("", never[i], "{\"a\":\"b\"}", SERVER);
}

static void test_not_its_format(void **state)
{
	static const char *const no_json[] = {"", "westus2", "\"westus2\"", "{", "{} {}", "{}x",
		"{\"a\":\"\x80\"}", "{\"a\":\"\n\"}", "<html></html>"};
	static const char *const no_text[] = {"\x01", "a\x7f", "\x1b[0m", "\xff\xfe", "\xc2\x85"};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(no_json); i++) {
		EXPECT_REPLACED("", 200, no_json[i], SERVER);
		EXPECT_REPLACED("&format=text", 400, no_json[i], SERVER);
		EXPECT_REPLACED("", 404, no_json[i], SERVER);
	}
	for (size_t i = 0; i < IG_ARRAY_SIZE(no_text); i++)
		EXPECT_REPLACED("&format=text", 200, no_text[i], SERVER);
	expect_replaced(__LINE__, "", 200, "{}\0", 3, IG_IMDS_ERROR_SERVER);
	expect_replaced(__LINE__, "&format=text", 200, "a\0b", 3, IG_IMDS_ERROR_SERVER);
	/* what upstream takes the path for does not matter */
	EXPECT_REPLACED("", 200, "{\"access_token\":\"eyJ\",\"resource\":\"r\"}", SERVER);
	EXPECT_REPLACED("", 200, "[{\"a\":1},{\"access_token\":\"eyJ\"}]", SERVER);
	EXPECT_REPLACED(
		"&format=text", 200, "{\"access_token\":\"eyJ\",\"resource\":\"r\"}", SERVER);
	EXPECT_REPLACED("&format=text", 200, "[{\"access_token\":\"eyJ\"}]", SERVER);
}

static void test_size(void **state)
{
	char *body = malloc(IG_DOCUMENT_BYTES + 2);

	(void)state;
	assert_non_null(body);
	memset(body, 'x', IG_DOCUMENT_BYTES + 1);
	body[IG_DOCUMENT_BYTES + 1] = '\0';
	EXPECT_REPLACED("&format=text", 200, body, SERVER);
	body[IG_DOCUMENT_BYTES] = '\0';
	EXPECT_RELAYED("&format=text", 200, body, TEXT);
	free(body);
}

static void test_location(void **state)
{
	static const char *const targets[] = {
		LOC "?" V "&format=text", I "/Compute/LOCATION?" V, LOC "?" V};

	(void)state;
	/* 89 */
	for (size_t i = 0; i < IG_ARRAY_SIZE(targets); i++) {
		_cleanup_(ig_imds_reply_donep) struct ig_imds_reply denied = {};
		_cleanup_(ig_imds_reply_donep) struct ig_imds_reply failed = {};
		struct ig_imds_document document = EXPECT_OK(targets[i]);

		assert_int_equal(
			ig_imds_document_error(&document, IG_IMDS_ERROR_FORBIDDEN, &denied), 0);
		assert_int_equal(denied.status, 403);
		assert_int_equal(denied.body.len, 0);
		assert_null(denied.body.data);
		assert_int_equal(ig_imds_document_reply(&document, 503, "later", 5, &failed), 0);
		assert_int_equal(failed.status, 503);
		assert_int_equal(failed.n_headers, 1);
		assert_int_equal(failed.body.len, 0);
	}
	expect_relayed(__LINE__, LOC "?" V "&format=text", 200, "westus2", TEXT);
}

static void test_denied(void **state)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	struct ig_imds_document document = EXPECT_OK(I "/compute/locations?" V);

	(void)state;
	assert_int_equal(ig_imds_document_error(&document, IG_IMDS_ERROR_FORBIDDEN, &reply), 0);
	assert_int_equal(reply.status, 403);
	assert_true(reply.body.len > 0);
	assert_null(strstr(reply.body.data, "unreachable"));
}

/* ---- info ------------------------------------------------------------------------------------ */

static enum ig_imds_error info(enum ig_http_method method, const char *target, size_t n_headers)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	struct ig_http_request req = {
		.method = method, .target = target, .headers = metadata, .n_headers = n_headers};
	struct ig_imds_target t = ig_imds_route(target);
	int r = ig_imds_info_parse(&req, &t, &reply);

	assert_int_equal(r, reply.error == IG_IMDS_ERROR_NONE ? 0 : -EBADMSG);
	assert_true(r == 0 || reply.body.len > 0);
	return reply.error;
}

#define INFO "/metadata/identity/info"

static void test_info(void **state)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};

	(void)state;
	/* 91 */
	assert_int_equal(info(IG_HTTP_GET, INFO "?api-version=2018-02-01", 1), IG_IMDS_ERROR_NONE);
	assert_int_equal(info(IG_HTTP_GET, INFO "?" V "&x=y", 1), IG_IMDS_ERROR_NONE);
	assert_int_equal(info(IG_HTTP_GET, INFO, 1), IG_IMDS_ERROR_BAD_API_VERSION);
	assert_int_equal(info(IG_HTTP_GET, INFO "?api-version=2017-12-01", 1),
		IG_IMDS_ERROR_BAD_API_VERSION);
	assert_int_equal(info(IG_HTTP_GET, INFO "?" V "&" V, 1), IG_IMDS_ERROR_BAD_QUERY);
	assert_int_equal(info(IG_HTTP_GET, INFO "?" V, 0), IG_IMDS_ERROR_NO_METADATA_HEADER);
	assert_int_equal(info(IG_HTTP_POST, INFO "?" V, 0), IG_IMDS_ERROR_METHOD);
	assert_int_equal(info(IG_HTTP_GET, INFO "/x?" V, 1), IG_IMDS_ERROR_NOT_FOUND);
	assert_int_equal(info(IG_HTTP_GET, I "?" V, 1), IG_IMDS_ERROR_NOT_FOUND);
	assert_int_equal(ig_imds_info_reply("0d46c104-1111-2222-3333-444455556666", &reply), 0);
	assert_int_equal(reply.status, 200);
	assert_string_equal(
		reply.body.data, "{\"tenantId\":\"0d46c104-1111-2222-3333-444455556666\"}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rebuilt),
		cmocka_unit_test(test_url),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_queries),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_other_routes),
		cmocka_unit_test(test_closed_rebuilt),
		cmocka_unit_test(test_flaws),
		cmocka_unit_test(test_shared),
		cmocka_unit_test(test_equal),
		cmocka_unit_test(test_relayed),
		cmocka_unit_test(test_replaced),
		cmocka_unit_test(test_not_its_format),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_location),
		cmocka_unit_test(test_denied),
		cmocka_unit_test(test_info),
	};

	return cmocka_run_group_tests_name("imds document", tests, NULL, NULL);
}
