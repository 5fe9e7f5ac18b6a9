/*
 * Unit tests of the token request: docs/conformance.md as far as a request alone decides it. The
 * numbers are those of its rows.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "imds/request.h"

#define PARSED struct ig_imds_token_request
#define PARSE  ig_imds_token_request_parse
#include "unit/imds_fixture.h"

#define B    "/metadata/identity/oauth2/token"
#define V    "api-version=2018-02-01"
#define R    "resource=https%3A%2F%2Fvault.azure.net"
#define BVR  B "?" V "&" R
#define GUID "0d46c104-1111-2222-3333-444455556666"
#define ARM                                                                                        \
	"/subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
#define SHA "0123456789ABCDEFabcdef0123456789ABCDEFabcdef0123456789ABCDEFabcd"

static void test_probes(void **state)
{
	/* 1, 2, 3, 6 */
	static const char *const targets[] = {
		B, B "?" V, BVR, BVR "&msi-res-id=" ARM, B "?resource=%zz", B "?x&x"};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(targets); i++)
		expect_error(__LINE__, IG_HTTP_GET, targets[i], NULL, 0,
			IG_IMDS_ERROR_NO_METADATA_HEADER);
}

static void test_routes_come_first(void **state)
{
	(void)state;
	/* 8, 9: 404 with and without the header, 10, 11: whatever the method */
	expect_error(__LINE__, IG_HTTP_GET,
		"/metadata/identity/getplatformmetadata?cred-api-version=2.0", NULL, 0,
		IG_IMDS_ERROR_NOT_FOUND);
	EXPECT_ERROR("/metadata/identity/getplatformmetadata?cred-api-version=2.0", NOT_FOUND);
	expect_error(__LINE__, IG_HTTP_POST, "/metadata/identity/issuecredential", NULL, 0,
		IG_IMDS_ERROR_NOT_FOUND);
	expect_error(__LINE__, IG_HTTP_POST, "/metadata/identity/credential", NULL, 0,
		IG_IMDS_ERROR_NOT_FOUND);
	EXPECT_ERROR("/metadata/instance?" V "&" R, NOT_FOUND);
	EXPECT_ERROR(B ";x?" V "&" R, NOT_FOUND);
	EXPECT_ERROR("*", MALFORMED);
}

static void test_methods(void **state)
{
	/* 65; before the headers, so that the answer does not depend on them */
	static const enum ig_http_method methods[] = {IG_HTTP_HEAD, IG_HTTP_POST, IG_HTTP_PUT,
		IG_HTTP_DELETE, IG_HTTP_PATCH, IG_HTTP_OPTIONS, IG_HTTP_OTHER};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(methods); i++) {
		expect_error(__LINE__, methods[i], BVR, metadata, 1, IG_IMDS_ERROR_METHOD);
		expect_error(__LINE__, methods[i], BVR, NULL, 0, IG_IMDS_ERROR_METHOD);
	}
}

static void test_metadata_header(void **state)
{
	/* 35, 36 */
	static const struct ig_http_header good[] = {{"metadata", "true"}, {"METADATA", "True"},
		{"Metadata", "TRUE"}, {"MetaData", "tRuE"}};
	/* 58 */
	static const char *const bad[] = {
		"false", "1", "", "true, true", "true,true", "yes", "truee", "tru", " true"};
	static const struct ig_http_header twice[] = {
		{"Metadata", "true"}, {"User-Agent", "x"}, {"metadata", "true"}};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(good); i++)
		(void)expect_ok(__LINE__, BVR, &good[i], 1);
	for (size_t i = 0; i < IG_ARRAY_SIZE(bad); i++) {
		struct ig_http_header header = {"Metadata", bad[i]};

		expect_error(
			__LINE__, IG_HTTP_GET, BVR, &header, 1, IG_IMDS_ERROR_NO_METADATA_HEADER);
	}
	expect_error(__LINE__, IG_HTTP_GET, BVR, twice, 3, IG_IMDS_ERROR_NO_METADATA_HEADER);
	/* 61: as a parameter it does not count */
	expect_error(__LINE__, IG_HTTP_GET, BVR "&Metadata=true", NULL, 0,
		IG_IMDS_ERROR_NO_METADATA_HEADER);
}

static void test_forwarded(void **state)
{
	/* 59, 60 */
	static const struct ig_http_header full[] = {
		{"Metadata", "true"}, {"x-forwarded-FOR", "1.2.3.4"}};
	static const struct ig_http_header empty[] = {
		{"X-Forwarded-For", ""}, {"Metadata", "true"}};
	static const struct ig_http_header others[] = {{"Metadata", "true"}, {"Via", "1.1 x"},
		{"Forwarded", "for=1"}, {"X-Real-IP", "1.2.3.4"}};

	(void)state;
	expect_error(__LINE__, IG_HTTP_GET, BVR, full, 2, IG_IMDS_ERROR_FORWARDED);
	expect_error(__LINE__, IG_HTTP_GET, BVR, empty, 2, IG_IMDS_ERROR_FORWARDED);
	/* a probe is a probe */
	expect_error(__LINE__, IG_HTTP_GET, BVR, &full[1], 1, IG_IMDS_ERROR_NO_METADATA_HEADER);
	(void)expect_ok(__LINE__, BVR, others, 4);
}

static void test_check_headers(void **state)
{
	static const struct ig_http_header both[] = {
		{"Metadata", "true"}, {"X-Forwarded-For", "1.2.3.4"}};
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	struct ig_http_request req = {.headers = both, .n_headers = 1, .target = "/"};

	(void)state;
	assert_int_equal(ig_imds_check_headers(&req, &reply), 0);
	assert_null(reply.body.data);
	req.n_headers = 2;
	assert_int_equal(ig_imds_check_headers(&req, &reply), -EBADMSG);
	assert_int_equal(reply.error, IG_IMDS_ERROR_FORWARDED);
	ig_imds_reply_done(&reply);
	req.n_headers = 0;
	assert_int_equal(ig_imds_check_headers(&req, &reply), -EBADMSG);
	assert_int_equal(reply.error, IG_IMDS_ERROR_NO_METADATA_HEADER);
}

static void test_success(void **state)
{
	struct ig_imds_token_request r = EXPECT_OK(BVR);

	(void)state;
	assert_string_equal(r.resource, "https://vault.azure.net");
	assert_int_equal(r.selector.kind, IG_SELECTOR_NONE);
	assert_string_equal(r.selector.value, "");
	assert_false(r.bypass_cache);
	assert_string_equal(r.token_sha256, "");
	/* 26 to 29, 16 */
	assert_string_equal(EXPECT_OK(B "?" V "&resource=" GUID).resource, GUID);
	assert_string_equal(EXPECT_OK(B "?" V "&resource=https://vault.azure.net").resource,
		"https://vault.azure.net");
	assert_string_equal(EXPECT_OK(B "?resource=https://management.azure.com/&" V).resource,
		"https://management.azure.com/");
	/* 31 to 34 */
	(void)EXPECT_OK("/Metadata/identity/oauth2/token?" V "&" R);
	(void)EXPECT_OK(B "/?" V "&" R);
	(void)EXPECT_OK("/" BVR);
	(void)EXPECT_OK("http://169.254.169.254" BVR);
	/* 39; empty pieces do no harm */
	(void)EXPECT_OK(BVR "&xms_cc=cp1%2Ccp2&authority=x&nothing&a=b=c&d=e;f=g");
	(void)EXPECT_OK(B "?&" V "&&" R "&");
}

static void test_decoding(void **state)
{
	(void)state;
	assert_string_equal(EXPECT_OK(B "?" V "&resource=a+b%2Bc%2bd%20e").resource, "a b+c+d e");
	assert_string_equal(EXPECT_OK(B "?" V "&resource=a;b=c?d").resource, "a;b=c?d");
	assert_string_equal(EXPECT_OK(B "?" V "&resource=%C3%A9%e2%82%AC%F0%9F%98%80").resource,
		"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
	assert_string_equal(EXPECT_OK(B "?" V "&resource=%2526").resource, "%26");
	assert_string_equal(
		EXPECT_OK(B "?" V "&resource=a%26client_id%3Db").resource, "a&client_id=b");
	/* names are decoded, too */
	assert_string_equal(EXPECT_OK(B "?" V "&re%73ource=x").resource, "x");
}

static void test_api_versions(void **state)
{
	/* 30 */
	static const char *const good[] = {"2018-02-01", "2019-08-01", "2020-06-01", "2021-02-01",
		"2021-12-13", "2023-07-01", "2025-04-07"};
	/* 56 */
	static const char *const bad[] = {"2017-08-01", "2017-12-01", "1999-01-01", "abc", "",
		"2018-02-01%20", "2019-07-01-preview", "2025-04-08", "2018-02-1"};
	char target[256];

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(good); i++) {
		(void)snprintf(target, sizeof(target), "%s%s", B "?" R "&api-version=", good[i]);
		(void)EXPECT_OK(target);
	}
	for (size_t i = 0; i < IG_ARRAY_SIZE(bad); i++) {
		(void)snprintf(target, sizeof(target), "%s%s", B "?" R "&api-version=", bad[i]);
		EXPECT_ERROR(target, BAD_API_VERSION);
	}
	/* 55; the version comes before the resource */
	EXPECT_ERROR(B, BAD_API_VERSION);
	EXPECT_ERROR(B "?" R, BAD_API_VERSION);
	EXPECT_ERROR(B "?api-version", BAD_API_VERSION);
}

static void test_selectors(void **state)
{
	/* 19 to 25, 50 */
	static const struct {
		const char *query;
		enum ig_selector_kind kind;
		const char *value;
	} cases[] = {
		{"&client_id=" GUID, IG_SELECTOR_CLIENT_ID, GUID},
		{"&client_id=NOT-A-GUID", IG_SELECTOR_CLIENT_ID, "NOT-A-GUID"},
		{"&object_id=" GUID, IG_SELECTOR_OBJECT_ID, GUID},
		{"&principal_id=" GUID, IG_SELECTOR_OBJECT_ID, GUID},
		{"&msi_res_id=%2Fsubscriptions%2Fs", IG_SELECTOR_RESOURCE_ID, "/subscriptions/s"},
		{"&msi_res_id=" ARM, IG_SELECTOR_RESOURCE_ID, ARM},
		{"&mi_res_id=" ARM, IG_SELECTOR_RESOURCE_ID, ARM},
		/* 51 */
		{"&client_id=", IG_SELECTOR_NONE, ""},
		{"&client_id", IG_SELECTOR_NONE, ""},
		{"&client_id=&object_id=" GUID, IG_SELECTOR_OBJECT_ID, GUID},
		{"&msi_res_id=&mi_res_id=x", IG_SELECTOR_RESOURCE_ID, "x"},
		/* one selector under two names */
		{"&msi_res_id=/A/b&mi_res_id=/a/B", IG_SELECTOR_RESOURCE_ID, "/A/b"},
		{"&object_id=X&principal_id=x", IG_SELECTOR_OBJECT_ID, "X"},
		{"&msi-res-id=" ARM, IG_SELECTOR_NONE, ""},
		{"&Client_Id=" GUID, IG_SELECTOR_NONE, ""},
	};
	char target[512];

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		struct ig_imds_token_request r;

		(void)snprintf(target, sizeof(target), "%s%s", BVR, cases[i].query);
		r = EXPECT_OK(target);
		assert_int_equal(r.selector.kind, cases[i].kind);
		assert_string_equal(r.selector.value, cases[i].value);
	}
}

static void test_conflicting_selectors(void **state)
{
	(void)state;
	/* 49 */
	EXPECT_ERROR(BVR "&client_id=" GUID "&object_id=" GUID, CONFLICTING_SELECTOR);
	EXPECT_ERROR(BVR "&client_id=a&msi_res_id=b", CONFLICTING_SELECTOR);
	EXPECT_ERROR(BVR "&object_id=a&mi_res_id=b", CONFLICTING_SELECTOR);
	EXPECT_ERROR(BVR "&msi_res_id=a&mi_res_id=b", CONFLICTING_SELECTOR);
	EXPECT_ERROR(BVR "&object_id=a&principal_id=b", CONFLICTING_SELECTOR);
}

static void test_resource_missing(void **state)
{
	(void)state;
	/* 53, 54; the resource comes before the selectors */
	EXPECT_ERROR(B "?" V, NO_RESOURCE);
	EXPECT_ERROR(B "?" V "&resource=", NO_RESOURCE);
	EXPECT_ERROR(B "?" V "&resource", NO_RESOURCE);
	EXPECT_ERROR(B "?" V "&client_id=a&object_id=b", NO_RESOURCE);
}

static void test_cache_control(void **state)
{
	struct ig_imds_token_request r;

	(void)state;
	/* 40 */
	assert_true(EXPECT_OK(BVR "&bypass_cache=true").bypass_cache);
	EXPECT_ERROR(BVR "&bypass_cache=false", BAD_QUERY);
	EXPECT_ERROR(BVR "&bypass_cache=", BAD_QUERY);
	EXPECT_ERROR(BVR "&bypass_cache", BAD_QUERY);
	EXPECT_ERROR(BVR "&bypass_cache=TRUE", BAD_QUERY);
	/* 41 */
	r = EXPECT_OK(BVR "&token_sha256_to_refresh=" SHA);
	assert_string_equal(
		r.token_sha256, "0123456789abcdefabcdef0123456789abcdefabcdef0123456789abcdefabcd");
	assert_false(r.bypass_cache);
	assert_string_equal(EXPECT_OK(BVR "&token_sha256_to_refresh=" SHA "0").token_sha256, "");
	assert_string_equal(EXPECT_OK(BVR "&token_sha256_to_refresh=abcd").token_sha256, "");
	assert_string_equal(EXPECT_OK(BVR "&token_sha256_to_refresh=").token_sha256, "");
	r = EXPECT_OK(BVR
		"&token_sha256_to_refresh=x123456789ABCDEFabcdef0123456789ABCDEFabcdef0123456789ABCDEFabcd");
	assert_string_equal(r.token_sha256, "");
}

static void test_bad_queries(void **state)
{
	/* 57, 62, 63 */
	static const char *const queries[] = {
		V "&" R "&" R,
		V "&" R "&" V,
		V "&" R "&client_id=a&client_id=a",
		V "&" R "&client_id=&client_id=",
		V "&" R "&client_id&client_id=a",
		V "&" R "&client%5fid=a&client_id=a",
		V "&" R "&unknown=1&unknown=2",
		V "&resource=%zz",
		V "&resource=%",
		V "&resource=%2",
		V "&resource=a%2&x=y",
		V "&resource=%%41",
		V "&resource=% 41",
		V "&resource=%+1",
		V "&resource=%00",
		V "&resource=a%00b",
		V "&resource=%0d%0aX-Header:%20x",
		V "&resource=%09",
		V "&resource=%1b%5b2J",
		V "&resource=%7f",
		V "&resource=%c2%9b",
		V "&resource=%ff",
		V "&resource=%80",
		V "&resource=%c3",
		V "&resource=%c0%af",
		V "&resource=%e0%80%af",
		V "&resource=%ed%a0%80",
		V "&resource=%f0%80%80%80",
		V "&resource=%f4%90%80%80",
		V "&resource=%f5%80%80%80",
		V "&resource=\xff",
		V "&" R "&unknown=%00",
		V "&" R "&unknown=%",
		V "&" R "&unk%0anown=1",
		V "&" R "&=1&=2",
		"api-version=%zz",
	};
	char target[512];

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(queries); i++) {
		(void)snprintf(target, sizeof(target), "%s%s", B "?", queries[i]);
		EXPECT_ERROR(target, BAD_QUERY);
	}
}

static void append_n(char *target, char c, size_t n)
{
	char *end = strchr(target, '\0');

	memset(end, c, n);
	end[n] = '\0';
}

static void test_limits(void **state)
{
	static char target[2 * IG_HTTP_TARGET_BYTES];
	struct ig_imds_token_request r;

	(void)state;
	(void)snprintf(target, sizeof(target), "%s", B "?" V "&resource=");
	append_n(target, 'a', IG_RESOURCE_BYTES);
	assert_int_equal(strlen(EXPECT_OK(target).resource), IG_RESOURCE_BYTES);
	append_n(target, 'a', 1);
	EXPECT_ERROR(target, BAD_QUERY);
	/* 52 */
	(void)snprintf(target, sizeof(target), "%s", BVR "&msi_res_id=");
	append_n(target, 'a', IG_SELECTOR_BYTES);
	r = EXPECT_OK(target);
	assert_int_equal(strlen(r.selector.value), IG_SELECTOR_BYTES);
	append_n(target, 'a', 1);
	EXPECT_ERROR(target, BAD_QUERY);
	/* longer than any target that the HTTP layer lets through */
	(void)snprintf(target, sizeof(target), "%s", BVR "&x=");
	append_n(target, 'a', IG_HTTP_TARGET_BYTES + 100);
	EXPECT_ERROR(target, BAD_QUERY);
}

static void test_param_count(void **state)
{
	char target[1024] = BVR;

	(void)state;
	for (int i = 2; i < IG_QUERY_PARAMS_MAX; i++) {
		size_t len = strlen(target);

		(void)snprintf(target + len, sizeof(target) - len, "&x%d", i);
	}
	(void)EXPECT_OK(target);
	append_n(target, '&', 1);
	append_n(target, 'y', 1);
	EXPECT_ERROR(target, BAD_QUERY);
}

static void test_client_facts(void **state)
{
	char longer[IG_CLIENT_FACT_BYTES + 20];
	struct ig_http_header headers[] = {{"user-agent", longer}, {"X-Client-sku", "MSAL.Go"},
		{"x-ms-client-request-id", "id\xff"}, {"x-client-VER", ""},
		{"x-client-SKU", "second"}};
	struct ig_http_request req = {.headers = headers, .n_headers = IG_ARRAY_SIZE(headers)};
	struct ig_imds_client_facts facts;

	(void)state;
	memset(longer, 'u', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	memset(&facts, 0x5a, sizeof(facts));
	ig_imds_client_facts(&req, &facts);
	assert_int_equal(strlen(facts.user_agent), IG_CLIENT_FACT_BYTES);
	assert_string_equal(facts.sdk, "MSAL.Go");
	assert_string_equal(facts.request_id, "id\xff");
	assert_string_equal(facts.sdk_version, "");
	req.n_headers = 0;
	ig_imds_client_facts(&req, &facts);
	assert_string_equal(facts.user_agent, "");
	assert_string_equal(facts.sdk, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_probes),
		cmocka_unit_test(test_routes_come_first),
		cmocka_unit_test(test_methods),
		cmocka_unit_test(test_metadata_header),
		cmocka_unit_test(test_forwarded),
		cmocka_unit_test(test_check_headers),
		cmocka_unit_test(test_success),
		cmocka_unit_test(test_decoding),
		cmocka_unit_test(test_api_versions),
		cmocka_unit_test(test_selectors),
		cmocka_unit_test(test_conflicting_selectors),
		cmocka_unit_test(test_resource_missing),
		cmocka_unit_test(test_cache_control),
		cmocka_unit_test(test_bad_queries),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_param_count),
		cmocka_unit_test(test_client_facts),
	};

	return cmocka_run_group_tests_name("imds requests", tests, NULL, NULL);
}
