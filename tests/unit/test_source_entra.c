/*
 * What is posted to Entra ID and what becomes of its answers: forms taken apart by libevent's
 * decoder, and the table of AADSTS errors row by row.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <sys/queue.h>

#include <event2/http.h>
#include <event2/keyvalq_struct.h>

#include <imdsgate/limits.h>

#include "http/client.h"
#include "token/source.h"
#include "unit/credential_fixture.h"

#define NOW	  1709809597ULL
#define TENANT	  "contoso.example"
#define CLIENT	  "0d46c104-1111-2222-3333-444444444444"
#define RESOURCE  "https://management.azure.com/"
#define AUTHORITY "https://login.microsoftonline.com"
#define TYPE	  "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

/* {"alg":"none"}.{"appid":"…"}.sig, for CLIENT in upper case and for somebody else */
#define JWT_CLIENT                                                                                 \
	"eyJhbGciOiJub25lIn0.eyJhcHBpZCI6IjBENDZDMTA0LTExMTEtMjIyMi0zMzMzLTQ0NDQ0NDQ0NDQ0NCJ9.c2ln"
#define JWT_OTHER                                                                                  \
	"eyJhbGciOiJub25lIn0.eyJhcHBpZCI6Ijk5OTk5OTk5LTExMTEtMjIyMi0zMzMzLTQ0NDQ0NDQ0NDQ0NCJ9.c2ln"
#define JWT_AZP_OTHER                                                                              \
	"eyJhbGciOiJub25lIn0.eyJhenAiOiI5OTk5OTk5OS0xMTExLTIyMjItMzMzMy00NDQ0NDQ0NDQ0NDQifQ.c2ln"

static struct ig_source_places places;

static int set_up(void **state)
{
	(void)state;
	make_secrets_dir();
	return ig_credentials_new(secrets_dir, &places.credentials);
}

static int tear_down(void **state)
{
	(void)state;
	places.credentials = ig_credentials_free(places.credentials);
	remove_tree(secrets_dir);
	return 0;
}

static struct ig_token_key key_of(enum ig_token_source_kind source)
{
	return (struct ig_token_key){
		.source = source,
		.tenant = TENANT,
		.authority = AUTHORITY,
		.credential = source == IG_TOKEN_SOURCE_FEDERATION ? "demo/app/token" : "demo/app",
		.upstream = {IG_SELECTOR_CLIENT_ID, CLIENT},
		.expect_client_id = CLIENT,
		.resource = RESOURCE,
	};
}

/* ---- forms ----------------------------------------------------------------------------------- */

static const char *given_assertion; /* what a provider made */

static int try_prepare(
	const struct ig_token_key *key, struct ig_source_call *ret, struct ig_err *err)
{
	const struct ig_source_request request = {.places = &places,
		.key = key,
		.assertion = given_assertion,
		.now_sec = NOW,
		.bypass_cache = true};

	return ig_source_get(key->source)->prepare(&request, ret, err);
}

static void prepare(const struct ig_token_key *key, struct ig_source_call *ret)
{
	struct ig_err err = {};

	assert_true(ig_source_get(key->source)->is_complete(key));
	if (try_prepare(key, ret, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(ret->form.len, strlen(ret->form.data));
	assert_string_equal(ret->headers[0], "Content-Type: application/x-www-form-urlencoded");
}

static size_t parse_form(const struct ig_source_call *call, struct evkeyvalq *ret)
{
	const struct evkeyval *field;
	size_t n = 0;

	assert_int_equal(evhttp_parse_query_str(call->form.data, ret), 0);
	TAILQ_FOREACH (field, ret, next)
		n++;
	return n;
}

static void assert_field(const struct evkeyvalq *form, const char *name, const char *expected)
{
	const char *value = evhttp_find_header(form, name);

	if (!value)
		fail_msg("no %s", name);
	assert_string_equal(value, expected);
}

static void assert_common(const struct ig_source_call *call, const struct evkeyvalq *form)
{
	assert_string_equal(call->url, AUTHORITY "/" TENANT "/oauth2/token");
	assert_field(form, "grant_type", "client_credentials");
	assert_field(form, "client_id", CLIENT);
	assert_field(form, "resource", RESOURCE);
}

static void assert_secret_posted(const char *secret)
{
	const struct ig_token_key key = key_of(IG_TOKEN_SOURCE_SECRET);
	_cleanup_(ig_source_call_done) struct ig_source_call call = {};
	struct evkeyvalq form;

	put_text("demo/app/clientSecret", secret);
	prepare(&key, &call);
	assert_int_equal(parse_form(&call, &form), 4);
	assert_common(&call, &form);
	assert_field(&form, "client_secret", secret);
	evhttp_clear_headers(&form);
}

static void test_secret(void **state)
{
	char every[256];

	(void)state;
	assert_secret_posted("p");
	assert_secret_posted("p+ss&client_id=x&w rd%41=~;#?/\\\"'<>\x7f");
	assert_secret_posted("\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x91 \xff\xfe");
	/* every byte that a secret can have; it must not end like a line */
	for (int i = 1; i < 256; i++)
		every[255 - i] = (char)i;
	every[255] = '\0';
	assert_secret_posted(every);
}

static void test_longest(void **state)
{
	static char secret[IG_SECRET_BYTES + 1], resource[IG_RESOURCE_BYTES + 1];
	static char token[IG_ASSERTION_BYTES + 1];
	struct ig_token_key key = key_of(IG_TOKEN_SOURCE_SECRET);
	_cleanup_(ig_source_call_done) struct ig_source_call call = {};

	(void)state;
	/* three bytes of the form for each */
	memset(secret, '&', sizeof(secret) - 1);
	memset(resource, '&', sizeof(resource) - 1);
	memset(token, '/', sizeof(token) - 1);
	memset(key.upstream.value, '&', IG_SELECTOR_BYTES);
	key.resource = resource;
	put_text("demo/app/clientSecret", secret);
	put_text("demo/app/token", token);
	prepare(&key, &call);
	assert_true(call.form.len > 3 * (IG_SECRET_BYTES + IG_RESOURCE_BYTES + IG_SELECTOR_BYTES));
	ig_source_call_done(&call);
	key.source = IG_TOKEN_SOURCE_FEDERATION;
	key.credential = "demo/app/token";
	prepare(&key, &call);
}

static void test_federation(void **state)
{
	const struct ig_token_key key = key_of(IG_TOKEN_SOURCE_FEDERATION);
	_cleanup_(ig_source_call_done) struct ig_source_call call = {};
	struct evkeyvalq form;

	(void)state;
	put_text("demo/app/token", "eyJh.eyJz.c2ln\n");
	prepare(&key, &call);
	assert_int_equal(parse_form(&call, &form), 5);
	assert_common(&call, &form);
	assert_field(&form, "client_assertion_type", TYPE);
	assert_field(&form, "client_assertion", "eyJh.eyJz.c2ln");
	evhttp_clear_headers(&form);
	ig_source_call_done(&call);
	/* read again for each call */
	put_text("demo/app/token", "new.new.new");
	prepare(&key, &call);
	assert_non_null(strstr(call.form.data, "client_assertion=new.new.new"));
}

/* Nothing is read from disk for it. */
static void test_service_account(void **state)
{
	struct ig_credentials *before = places.credentials;
	const struct ig_token_key key = key_of(IG_TOKEN_SOURCE_SERVICE_ACCOUNT);
	_cleanup_(ig_source_call_done) struct ig_source_call call = {};
	struct ig_err err = {};
	struct evkeyvalq form;

	(void)state;
	places.credentials = NULL;
	given_assertion = "eyJh.ey-_.c2 &n";
	prepare(&key, &call);
	places.credentials = before;
	assert_int_equal(parse_form(&call, &form), 5);
	assert_common(&call, &form);
	assert_field(&form, "client_assertion_type", TYPE);
	assert_field(&form, "client_assertion", given_assertion);
	evhttp_clear_headers(&form);
	ig_source_call_done(&call);
	/* and without it there is nothing to show */
	given_assertion = NULL;
	assert_int_equal(try_prepare(&key, &call, &err), -EINVAL);
	assert_null(call.form.data);
}

static void test_audience(void **state)
{
	static const struct {
		const char *authority;
		const char *cloud;
	} cases[] = {
		{"https://login.microsoftonline.com", ""},
		{"https://login.microsoftonline.com/", ""},
		{"https://login.microsoftonline.us", "USGov"},
		{"https://login.microsoftonline.us/", "USGov"},
		{"https://LOGIN.MicrosoftOnline.US:443/x", "USGov"},
		{"https://login.chinacloudapi.cn", "China"},
		{"https://login.partner.microsoftonline.cn/", "China"},
		{"https://login.microsoftonline.us.example", ""},
		{"https://x.login.microsoftonline.us", ""},
		{"https://h/login.microsoftonline.us", ""},
		{"http://127.0.0.1:8080", ""},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		struct ig_token_key key = key_of(IG_TOKEN_SOURCE_SERVICE_ACCOUNT);
		char expected[64];

		key.authority = cases[i].authority;
		(void)snprintf(
			expected, sizeof(expected), "api://AzureADTokenExchange%s", cases[i].cloud);
		assert_string_equal(ig_source_get(key.source)->audience(&key), expected);
	}
	for (int kind = 0; kind < _IG_TOKEN_SOURCE_MAX; kind++)
		assert_true((ig_source_get((enum ig_token_source_kind)kind)->audience != NULL) ==
			    (kind == IG_TOKEN_SOURCE_SERVICE_ACCOUNT));
}

/* What the assertion says is checked in test_assertion. */
static void assert_certificate_posted(enum ig_token_source_kind source, const char *header)
{
	const struct ig_token_key key = key_of(source);
	_cleanup_(ig_source_call_done) struct ig_source_call call = {};
	struct evkeyvalq form;
	const char *assertion;

	prepare(&key, &call);
	assert_int_equal(parse_form(&call, &form), 5);
	assert_common(&call, &form);
	assert_field(&form, "client_assertion_type", TYPE);
	assertion = evhttp_find_header(&form, "client_assertion");
	assert_non_null(assertion);
	if (strncmp(assertion, header, strlen(header)) != 0)
		fail_msg("%s", assertion);
	evhttp_clear_headers(&form);
}

static void test_certificate(void **state)
{
	EVP_PKEY *rsa = EVP_RSA_gen(2048);
	X509 *x509 = make_x509(rsa, 1);

	(void)state;
	put_pkcs12("demo/app/certificate", "pa55", rsa, x509, NULL, &modern);
	put_text("demo/app/password", "pa55");
	/* {"alg":"PS256","typ":"JWT","x5t#S256":" */
	assert_certificate_posted(IG_TOKEN_SOURCE_CERTIFICATE,
		"eyJhbGciOiJQUzI1NiIsInR5cCI6IkpXVCIsIng1dCNTMjU2Ijoi");
	/* {"alg":"RS256","typ":"JWT","x5t":" */
	assert_certificate_posted(
		IG_TOKEN_SOURCE_CERTIFICATE_RS256, "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsIng1dCI6I");
	X509_free(x509);
	EVP_PKEY_free(rsa);
}

static void assert_url(const char *authority, const char *tenant, const char *expected)
{
	struct ig_token_key key = key_of(IG_TOKEN_SOURCE_SECRET);
	_cleanup_(ig_source_call_done) struct ig_source_call call = {};

	key.authority = authority;
	key.tenant = tenant;
	prepare(&key, &call);
	assert_string_equal(call.url, expected);
}

static void test_url(void **state)
{
	(void)state;
	put_text("demo/app/clientSecret", "s");
	assert_url("https://login.microsoftonline.us/", "t",
		"https://login.microsoftonline.us/t/oauth2/token");
	assert_url("https://login.chinacloudapi.cn//", "a.b",
		"https://login.chinacloudapi.cn/a.b/oauth2/token");
	assert_url("http://127.0.0.1:8080/adfs", "t", "http://127.0.0.1:8080/adfs/t/oauth2/token");
	assert_url("https://h", "../x?y", "https://h/..%2Fx%3Fy/oauth2/token");
}

static void assert_not_prepared(const struct ig_token_key *key, int code, const char *expected)
{
	struct ig_source_call call = {};
	struct ig_err err = {};

	assert_int_equal(try_prepare(key, &call, &err), code);
	assert_null(call.url);
	assert_null(call.form.data);
	if (!strstr(err.message, expected))
		fail_msg("\"%s\" does not say \"%s\"", err.message, expected);
}

static void test_not_prepared(void **state)
{
	struct ig_token_key key = key_of(IG_TOKEN_SOURCE_SECRET);
	struct ig_credentials *before = places.credentials;
	EVP_PKEY *key_1024 = EVP_RSA_gen(1024);
	X509 *x509 = make_x509(key_1024, 1);

	(void)state;
	assert_not_prepared(&key, -ENOENT, "demo/app/clientSecret: No such file");
	key.authority = "ftp://h";
	assert_not_prepared(&key, -EINVAL, "no URL");
	key = key_of(IG_TOKEN_SOURCE_SECRET);
	places.credentials = NULL;
	assert_not_prepared(&key, -ENOENT, "no directory of credentials");
	places.credentials = before;
	key = key_of(IG_TOKEN_SOURCE_CERTIFICATE);
	assert_not_prepared(&key, -ENOENT, "demo/app/certificate: No such file");
	put_pkcs12("demo/app/certificate", "", key_1024, x509, NULL, &modern);
	assert_not_prepared(&key, -EOPNOTSUPP, "secret demo/app: an RSA key of 1024 bits");
	key = key_of(IG_TOKEN_SOURCE_FEDERATION);
	assert_not_prepared(&key, -ENOENT, "demo/app/token: No such file");
	EVP_PKEY_free(key_1024);
	X509_free(x509);
}

static void test_incomplete_keys(void **state)
{
	const struct ig_source *entra = ig_source_get(IG_TOKEN_SOURCE_SECRET);
	static char longer[IG_CREDENTIAL_PATH_BYTES + 2];
	struct ig_token_key key;

	(void)state;
	memset(longer, 'x', sizeof(longer) - 1);
#define INCOMPLETE(member, value)                                                                  \
	do {                                                                                       \
		key = key_of(IG_TOKEN_SOURCE_SECRET);                                              \
		assert_true(entra->is_complete(&key));                                             \
		key.member = (value);                                                              \
		assert_false(entra->is_complete(&key));                                            \
	} while (0)
	INCOMPLETE(tenant, NULL);
	INCOMPLETE(tenant, "");
	INCOMPLETE(tenant, longer);
	INCOMPLETE(authority, NULL);
	INCOMPLETE(authority, longer);
	INCOMPLETE(credential, "");
	INCOMPLETE(credential, longer);
	INCOMPLETE(upstream.kind, IG_SELECTOR_NONE);
	INCOMPLETE(upstream.kind, IG_SELECTOR_RESOURCE_ID);
	assert_null(ig_source_get(_IG_TOKEN_SOURCE_MAX));
	assert_null(ig_source_get((enum ig_token_source_kind) - 1));
}

/* ---- replies --------------------------------------------------------------------------------- */

static void read_reply(unsigned int status, const char *body, int64_t retry_after_sec,
	struct ig_source_answer *ret)
{
	const struct ig_token_key key = key_of(IG_TOKEN_SOURCE_SECRET);
	const struct ig_http_response response = {
		.status = status,
		.body = body,
		.body_len = strlen(body),
		.retry_after_sec = retry_after_sec,
	};

	ig_source_entra_read(&response, &key, NOW, ret);
}

static void assert_token(const char *body, const char *token, uint64_t expires_on_sec)
{
	_cleanup_(ig_source_answer_done) struct ig_source_answer answer = {};

	read_reply(200, body, -1, &answer);
	if (!answer.token)
		fail_msg("%s", answer.own_text);
	assert_string_equal(answer.token->access_token, token);
	assert_int_equal(answer.token->expires_on_sec, expires_on_sec);
}

#define BODY(token, times)                                                                         \
	"{\"token_type\":\"Bearer\"," times ",\"resource\":\"" RESOURCE                            \
	"\",\"access_token\":\"" token "\"}"

static void test_tokens(void **state)
{
	(void)state;
	/* v1: strings */
	assert_token(
		BODY(JWT_CLIENT, "\"expires_in\":\"3599\",\"ext_expires_in\":\"3599\","
				 "\"expires_on\":\"1709813196\",\"not_before\":\"1709809296\""),
		JWT_CLIENT, 1709813196);
	/* ADFS and v2: numbers, and no time of day */
	assert_token(BODY(JWT_CLIENT, "\"expires_in\":3599"), JWT_CLIENT, NOW + 3599);
	assert_token(BODY("opaque", "\"expires_in\":3599"), "opaque", NOW + 3599);
	assert_token(BODY("a.b.c", "\"expires_in\":3599"), "a.b.c", NOW + 3599);
}

static void assert_broken(unsigned int status, const char *body, const char *expected)
{
	_cleanup_(ig_source_answer_done) struct ig_source_answer answer = {};

	read_reply(status, body, 30, &answer);
	assert_null(answer.token);
	assert_int_equal(answer.kind, IG_TOKEN_BROKEN);
	assert_false(answer.again);
	assert_null(answer.text);
	assert_null(answer.code);
	if (!strstr(answer.own_text, expected))
		fail_msg("\"%s\" does not say \"%s\"", answer.own_text, expected);
}

static void test_no_tokens(void **state)
{
	static const char no_token[] = "Entra ID's reply is not a token for this identity";

	(void)state;
	assert_broken(200, BODY(JWT_OTHER, "\"expires_in\":3599"), no_token);
	assert_broken(200, BODY(JWT_AZP_OTHER, "\"expires_in\":3599"), no_token);
	assert_broken(200, BODY(JWT_CLIENT, "\"expires_in\":0"), no_token);
	assert_broken(200, BODY(JWT_CLIENT, "\"expires_on\":\"1709809597\""), "clock");
	assert_broken(200, BODY(JWT_CLIENT, "\"x\":1"), no_token);
	assert_broken(200, BODY("a b", "\"expires_in\":3599"), no_token);
	assert_broken(200, BODY(JWT_CLIENT, "\"client_id\":\"x\",\"expires_in\":3599"), no_token);
	assert_broken(200, "{\"access_token\":7,\"expires_in\":3599}", no_token);
	assert_broken(200, "{}", no_token);
	assert_broken(200, "[]", "answered 200, and not in JSON as expected");
	assert_broken(200, "", "answered 200, and not in JSON as expected");
	assert_broken(200, "<html>sign in</html>", "answered 200, and not in JSON");
	assert_broken(302, "{\"access_token\":\"t\",\"expires_in\":3599}", "answered 302");
	assert_broken(204, "", "answered 204");
	assert_broken(404, "Not here", "answered 404");
	assert_broken(400, "{\"error_description\":\"AADSTS500011\"}", "answered 400");
	assert_broken(400, "{\"error\":\"invalid_request\"}", "not known here (AADSTS0)");
}

/* ---- errors ---------------------------------------------------------------------------------- */

static const struct row {
	unsigned int status, number;
	const char *error; /* as Entra says it */
	enum ig_token_failure_kind kind;
	const char *code; /* relayed; NULL: nothing is */
	const char *why;  /* in our words */
	bool again;
} rows[] = {
	{400, 500011, "invalid_resource", IG_TOKEN_REJECTED, "invalid_resource", "", false},
	{400, 50001, "invalid_request", IG_TOKEN_REJECTED, "invalid_resource", "", false},
	{400, 70011, "invalid_scope", IG_TOKEN_REJECTED, "invalid_scope", "", false},
	{400, 1002012, "invalid_request", IG_TOKEN_REJECTED, "invalid_scope", "", false},
	{400, 700016, "unauthorized_client", IG_TOKEN_REJECTED, "unauthorized_client", "", false},
	{400, 90002, "invalid_request", IG_TOKEN_REJECTED, "invalid_request", "", false},
	{401, 700211, "invalid_client", IG_TOKEN_REJECTED, "invalid_client", "", false},
	{400, 700212, "invalid_request", IG_TOKEN_REJECTED, "invalid_request", "", false},
	{401, 700213, "invalid_client", IG_TOKEN_REJECTED, "invalid_client", "", false},
	{400, 70021, "invalid_request", IG_TOKEN_UNAVAILABLE, NULL, "no federated", false},
	{401, 700024, "invalid_client", IG_TOKEN_BROKEN, NULL, "not valid now", true},
	{401, 700027, "invalid_client", IG_TOKEN_BROKEN, NULL, "certificate", false},
	{401, 50012, "invalid_client", IG_TOKEN_BROKEN, NULL, "authentication failed", false},
	{400, 50013, "invalid_grant", IG_TOKEN_BROKEN, NULL, "does not hold", false},
	{401, 7000215, "invalid_client", IG_TOKEN_BROKEN, NULL, "secret is wrong", false},
	{401, 7000222, "invalid_client", IG_TOKEN_BROKEN, NULL, "secret has expired", false},
	{400, 50196, "invalid_grant", IG_TOKEN_UNAVAILABLE, NULL, "too many requests", false},
	{400, 90033, "temporarily_unavailable", IG_TOKEN_UNAVAILABLE, NULL, "passing", false},
	/* what nobody wrote down: about the request, or about the credential */
	{400, 7654321, "invalid_request", IG_TOKEN_REJECTED, "invalid_request", "", false},
	{401, 7654321, "invalid_client", IG_TOKEN_BROKEN, NULL, "not known here", false},
	{403, 53003, "access_denied", IG_TOKEN_BROKEN, NULL, "not known here", false},
};

#define SAID "credential=p4ssw0rd\r\nTrace ID: t"

static void check_row(const struct row *row, const struct ig_source_answer *answer)
{
	char number[32], relayed[128];

	(void)snprintf(number, sizeof(number), "AADSTS%u", row->number);
	(void)snprintf(relayed, sizeof(relayed), "%s: " SAID, number);
	assert_null(answer->token);
	assert_int_equal(answer->kind, row->kind);
	assert_int_equal(answer->again, row->again);
	assert_non_null(strstr(answer->own_text, number));
	assert_null(strstr(answer->own_text, "p4ssw0rd"));
	if (row->code) {
		assert_string_equal(answer->code, row->code);
		assert_string_equal(answer->text, relayed);
		return;
	}
	/* what Entra says of a credential stays with the operator */
	assert_null(answer->code);
	assert_null(answer->text);
	assert_non_null(strstr(answer->own_text, row->why));
	assert_non_null(strstr(answer->own_text, CLIENT));
	assert_int_equal(answer->retry_after_sec, row->kind == IG_TOKEN_UNAVAILABLE ? 17 : 0);
}

static void test_errors(void **state)
{
	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		/* by the list of codes, and by the text of those who send none */
		for (int with_codes = 0; with_codes < 2; with_codes++) {
			_cleanup_(ig_source_answer_done) struct ig_source_answer answer = {};
			char codes[64] = "", body[512];

			if (with_codes)
				(void)snprintf(codes, sizeof(codes), ",\"error_codes\":[%u,1]",
					rows[i].number);
			(void)snprintf(body, sizeof(body),
				"{\"error\":\"%s\",\"error_description\":\"AADSTS%u: "
				"credential=p4ssw0rd\\r\\nTrace ID: t\"%s}",
				rows[i].error, rows[i].number, codes);
			read_reply(rows[i].status, body, 17, &answer);
			check_row(&rows[i], &answer);
		}
	}
}

static void assert_unavailable(
	unsigned int status, const char *body, int64_t retry_after_sec, unsigned int expected_sec)
{
	_cleanup_(ig_source_answer_done) struct ig_source_answer answer = {};

	read_reply(status, body, retry_after_sec, &answer);
	assert_null(answer.token);
	assert_int_equal(answer.kind, IG_TOKEN_UNAVAILABLE);
	assert_int_equal(answer.retry_after_sec, expected_sec);
	assert_null(answer.text);
}

static void test_passing(void **state)
{
	static const char token[] = "{\"access_token\":\"t\",\"expires_in\":3599}";

	(void)state;
	assert_unavailable(429, "Too Many Requests", 60, 30);
	assert_unavailable(429, "{\"error\":\"temporarily_unavailable\"}", 5, 5);
	assert_unavailable(429, "", 0, 0);
	assert_unavailable(500, "", -1, 0);
	assert_unavailable(503, token, INT64_MAX, 30);
	assert_unavailable(504, "<html>", -1, 0);
	assert_unavailable(408, "", -1, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_secret),
		TEST(test_longest),
		TEST(test_federation),
		TEST(test_certificate),
		TEST(test_service_account),
		cmocka_unit_test(test_audience),
		TEST(test_url),
		TEST(test_not_prepared),
		cmocka_unit_test(test_incomplete_keys),
		cmocka_unit_test(test_tokens),
		cmocka_unit_test(test_no_tokens),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_passing),
	};
	int failed = cmocka_run_group_tests_name("source_entra", tests, NULL, NULL);

	if (legacy)
		drop_legacy_context();
	return failed;
}
