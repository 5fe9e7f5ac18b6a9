/*
 * Unit tests of the route table: which spellings of a path mean something, and that all others
 * mean nothing.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "imds/routes.h"

#define TOKEN "/metadata/identity/oauth2/token"

struct expectation {
	const char *target;
	enum ig_imds_route route;
	const char *path; /* NULL: not looked at */
	const char *query;
};

static void check(const struct expectation *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct expectation *e = &cases[i];
		struct ig_imds_target t = ig_imds_route(e->target);

		if (t.route != e->route)
			fail_msg("'%s': %s instead of %s", e->target, ig_imds_route_name(t.route),
				ig_imds_route_name(e->route));
		if (e->query)
			assert_string_equal(t.query, e->query);
		if (e->path) {
			assert_int_equal(t.path_len, strlen(e->path));
			assert_memory_equal(t.path, e->path, t.path_len);
		}
		/* what is borrowed lies inside the target */
		assert_true(t.path >= e->target && t.path + t.path_len <= strchr(e->target, '\0'));
	}
}

static void test_known(void **state)
{
	static const struct expectation cases[] = {
		{TOKEN, IG_IMDS_ROUTE_TOKEN, TOKEN, ""},
		{TOKEN "?api-version=2018-02-01", IG_IMDS_ROUTE_TOKEN, TOKEN,
			"api-version=2018-02-01"},
		{TOKEN "?", IG_IMDS_ROUTE_TOKEN, TOKEN, ""},
		{TOKEN "?a=b?c/../%2F", IG_IMDS_ROUTE_TOKEN, TOKEN, "a=b?c/../%2F"},
		/* 31 to 34 of the conformance list */
		{"/Metadata/identity/oauth2/token?x=1", IG_IMDS_ROUTE_TOKEN,
			"/Metadata/identity/oauth2/token", "x=1"},
		{"/METADATA/identity/oauth2/token", IG_IMDS_ROUTE_TOKEN, NULL, ""},
		{TOKEN "/", IG_IMDS_ROUTE_TOKEN, TOKEN, ""},
		{TOKEN "/?x=1", IG_IMDS_ROUTE_TOKEN, TOKEN, "x=1"},
		{"/" TOKEN "?x=1", IG_IMDS_ROUTE_TOKEN, TOKEN, "x=1"},
		{"/" TOKEN "/", IG_IMDS_ROUTE_TOKEN, TOKEN, ""},
		{"http://169.254.169.254" TOKEN "?x=1", IG_IMDS_ROUTE_TOKEN, TOKEN, "x=1"},
		{"HTTP://imds.example:80/" TOKEN, IG_IMDS_ROUTE_TOKEN, TOKEN, ""},
		{"/metadata/identity/info?x", IG_IMDS_ROUTE_INFO, "/metadata/identity/info", "x"},
		{"/metadata/versions", IG_IMDS_ROUTE_VERSIONS, NULL, ""},
		{"/metadata/instance", IG_IMDS_ROUTE_INSTANCE, NULL, ""},
		{"/metadata/instance/compute/location?format=text", IG_IMDS_ROUTE_INSTANCE,
			"/metadata/instance/compute/location", "format=text"},
		{"/metadata/instance/a.b/...", IG_IMDS_ROUTE_INSTANCE, NULL, ""},
		{"/metadata/attested/document?nonce=1", IG_IMDS_ROUTE_ATTESTED, NULL, "nonce=1"},
		{"/metadata/loadbalancer", IG_IMDS_ROUTE_LOADBALANCER, NULL, ""},
		{"/metadata/scheduledevents", IG_IMDS_ROUTE_SCHEDULEDEVENTS, NULL, ""},
	};

	(void)state;
	check(cases, IG_ARRAY_SIZE(cases));
}

static void test_unknown(void **state)
{
	static const struct expectation cases[] = {
		/* 8 to 11: has to be 404 for a client that looks for a newer protocol */
		{"/metadata/identity/getplatformmetadata?cred-api-version=2.0", IG_IMDS_ROUTE_NONE,
			NULL, "cred-api-version=2.0"},
		{"/metadata/identity/issuecredential", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/identity/credential", IG_IMDS_ROUTE_NONE, NULL, NULL},
		/* 69: only the first segment ignores case */
		{"/metadata/Identity/oauth2/token", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/identity/OAuth2/token", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/identity/oauth2/Token", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/Instance", IG_IMDS_ROUTE_NONE, NULL, NULL},
		/* 70: whatever someone behind us could decode or normalise */
		{"/metadata/identity\\oauth2\\token", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"\\metadata\\identity\\oauth2\\token", IG_IMDS_ROUTE_INVALID, NULL, NULL},
		{"/metadata/identity/oauth2%2Ftoken", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/identity/oauth2%252Ftoken", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/identity/oauth2/%74oken", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{TOKEN "%3Fresource=x", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{TOKEN "%00", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{TOKEN ";x", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{TOKEN ";x=1?resource=y", IG_IMDS_ROUTE_NONE, NULL, "resource=y"},
		{TOKEN "#x", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/./identity/oauth2/token", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/./metadata/identity/oauth2/token", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/identity/../identity/oauth2/token", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/instance/../identity/oauth2/token", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/instance/..", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/instance/.", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/instance//x", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/instance/", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/instance/\x01", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/instance/\xc3\xa9", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/instance/%2e%2e/identity", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata//identity/oauth2/token", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"//" TOKEN, IG_IMDS_ROUTE_NONE, NULL, NULL},
		{TOKEN "//", IG_IMDS_ROUTE_NONE, NULL, NULL},
		/* 71, 72 */
		{TOKEN "X", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{TOKEN "/extra", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/versionsX", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/versions/x", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/instanceX", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadataX/instance", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/identity", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/metadata/identity/oauth2", IG_IMDS_ROUTE_NONE, NULL, NULL},
		/* 73 */
		{"/latest/meta-data/", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/computeMetadata/v1/", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/", IG_IMDS_ROUTE_NONE, NULL, ""},
		{"//", IG_IMDS_ROUTE_NONE, NULL, NULL},
		{"/?x", IG_IMDS_ROUTE_NONE, NULL, "x"},
		{"http://169.254.169.254", IG_IMDS_ROUTE_NONE, NULL, ""},
		{"http://169.254.169.254?x", IG_IMDS_ROUTE_NONE, NULL, "x"},
	};

	(void)state;
	check(cases, IG_ARRAY_SIZE(cases));
}

static void test_invalid(void **state)
{
	static const struct expectation cases[] = {
		{"*", IG_IMDS_ROUTE_INVALID, NULL, ""},
		{"", IG_IMDS_ROUTE_INVALID, NULL, ""},
		{"169.254.169.254:80", IG_IMDS_ROUTE_INVALID, NULL, ""},
		{"metadata/identity/oauth2/token", IG_IMDS_ROUTE_INVALID, NULL, ""},
		{"?api-version=2018-02-01", IG_IMDS_ROUTE_INVALID, NULL, ""},
		{"http://", IG_IMDS_ROUTE_INVALID, NULL, ""},
		{"http://" TOKEN, IG_IMDS_ROUTE_INVALID, NULL, ""},
		{"http:" TOKEN, IG_IMDS_ROUTE_INVALID, NULL, ""},
		{"http://user@host" TOKEN, IG_IMDS_ROUTE_INVALID, NULL, ""},
		{"https://host" TOKEN, IG_IMDS_ROUTE_INVALID, NULL, ""},
		{"ftp://host" TOKEN, IG_IMDS_ROUTE_INVALID, NULL, ""},
		{"h", IG_IMDS_ROUTE_INVALID, NULL, ""},
	};

	(void)state;
	check(cases, IG_ARRAY_SIZE(cases));
}

static void test_names(void **state)
{
	(void)state;
	for (int i = 0; i < _IG_IMDS_ROUTE_MAX; i++) {
		assert_non_null(ig_imds_route_name((enum ig_imds_route)i));
		for (int j = 0; j < i; j++)
			assert_string_not_equal(ig_imds_route_name((enum ig_imds_route)i),
				ig_imds_route_name((enum ig_imds_route)j));
	}
	assert_string_equal(ig_imds_route_name(_IG_IMDS_ROUTE_MAX), "invalid");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_invalid),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("imds routes", tests, NULL, NULL);
}
