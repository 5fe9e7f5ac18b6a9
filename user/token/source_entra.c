/*
 * Tokens from Entra ID, by its v1 endpoint: the form with one of four credentials, and the reply;
 * see source.h. Called by the token service.
 *
 * v1 because it takes the resource as it is: in v2 it becomes a scope, and `aud` loses its slash.
 *
 * A secret, an assertion or a token must never get into a text, and what Entra says about a
 * credential is never relayed: that is the operator's business, not the workload's.
 */
#include "token/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "http/client.h"
#include "token/assertion.h"
#include "token/certificate.h"
#include "token/credential.h"
#include "token/oauth.h"
#include "token/token.h"

#define URL_BYTES	    2048
#define RETRY_AFTER_SEC_MAX 30

IG_DEFINE_CLEANUP(struct ig_certificate *, ig_certificate_free);

static void free_json(json_t **p)
{
	json_decref(*p);
}

/* ---- request --------------------------------------------------------------------------------- */

static bool is_given(const char *s, size_t limit_bytes)
{
	return s && *s && strlen(s) <= limit_bytes;
}

bool ig_source_entra_is_complete(const struct ig_token_key *key)
{
	return is_given(key->tenant, IG_OBJECT_NAME_BYTES) &&
	       is_given(key->authority, IG_SELECTOR_BYTES) &&
	       is_given(key->credential, IG_CREDENTIAL_PATH_BYTES) &&
	       key->upstream.kind == IG_SELECTOR_CLIENT_ID;
}

/* By the host of the authority: each cloud's Entra ID takes tokens for itself only. */
const char *ig_source_entra_audience(const struct ig_token_key *key)
{
	static const struct {
		const char *host;
		const char *audience;
	} clouds[] = {
		{"login.microsoftonline.us", "api://AzureADTokenExchangeUSGov"},
		{"login.chinacloudapi.cn", "api://AzureADTokenExchangeChina"},
		{"login.partner.microsoftonline.cn", "api://AzureADTokenExchangeChina"},
	};
	const char *host = strstr(key->authority, "://");
	size_t len = host ? strcspn(host + 3, ":/") : 0;

	for (size_t i = 0; i < IG_ARRAY_SIZE(clouds); i++)
		if (len == strlen(clouds[i].host) &&
			strncasecmp(host + 3, clouds[i].host, len) == 0)
			return clouds[i].audience;
	return "api://AzureADTokenExchange";
}

static int make_url(const struct ig_token_key *key, char **ret)
{
	_cleanup_(ig_buf_donep) struct ig_buf url = {.limit = URL_BYTES};
	size_t len = strlen(key->authority);
	int r;

	if (!ig_str_has_prefix(key->authority, "https://") &&
		!ig_str_has_prefix(key->authority, "http://"))
		return -EINVAL;
	while (len && key->authority[len - 1] == '/')
		len--;
	ig_buf_append(&url, key->authority, len);
	ig_buf_putc(&url, '/');
	ig_oauth_put_encoded(&url, key->tenant);
	ig_buf_puts(&url, "/oauth2/token");
	r = ig_buf_finish(&url);
	if (r == 0)
		*ret = TAKE_PTR(url.data);
	return r;
}

static void put_field(struct ig_buf *form, const char *name, const char *value)
{
	if (form->len)
		ig_buf_putc(form, '&');
	ig_buf_puts(form, name);
	ig_buf_putc(form, '=');
	ig_oauth_put_encoded(form, value);
}

static void put_assertion(struct ig_buf *form, const char *assertion)
{
	put_field(form, "client_assertion_type",
		"urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
	put_field(form, "client_assertion", assertion);
}

static int put_secret(struct ig_credentials *credentials, const struct ig_token_key *key,
	struct ig_buf *form, struct ig_err *err)
{
	_cleanup_(ig_buf_wipe) struct ig_buf secret = {};
	int r = ig_credentials_read_secret(credentials, key->credential, &secret, err);

	if (r == 0)
		put_field(form, "client_secret", secret.data);
	return r;
}

static int put_federated(struct ig_credentials *credentials, const struct ig_token_key *key,
	struct ig_buf *form, struct ig_err *err)
{
	_cleanup_(ig_buf_wipe) struct ig_buf assertion = {};
	int r = ig_credentials_read_token(credentials, key->credential, &assertion, err);

	if (r == 0)
		put_assertion(form, assertion.data);
	return r;
}

static int put_certificate(struct ig_credentials *credentials, const struct ig_token_key *key,
	const struct ig_assertion_claims *claims, struct ig_buf *form, struct ig_err *err)
{
	_cleanup_(ig_certificate_freep) struct ig_certificate *certificate = NULL;
	_cleanup_(ig_buf_wipe) struct ig_buf assertion = {};
	bool rs256 = key->source == IG_TOKEN_SOURCE_CERTIFICATE_RS256;
	int r;

	r = ig_credentials_read_certificate(credentials, key->credential, &certificate, err);
	if (r < 0)
		return r;
	r = ig_assertion_make(certificate, rs256, claims, &assertion, err);
	if (r < 0)
		return ig_err_wrap(err, r, "secret %s", key->credential);
	put_assertion(form, assertion.data);
	return 0;
}

static int put_credential(const struct ig_source_request *request, const char *url,
	struct ig_buf *form, struct ig_err *err)
{
	struct ig_credentials *credentials = request->places->credentials;
	const struct ig_token_key *key = request->key;
	const struct ig_assertion_claims claims = {
		.audience = url, .client_id = key->upstream.value, .now_sec = request->now_sec};

	if (request->assertion) {
		put_assertion(form, request->assertion);
		return 0;
	}
	if (!credentials)
		return ig_err_set(err, -ENOENT, "there is no directory of credentials");
	switch (key->source) {
	case IG_TOKEN_SOURCE_SECRET: return put_secret(credentials, key, form, err);
	case IG_TOKEN_SOURCE_CERTIFICATE:
	case IG_TOKEN_SOURCE_CERTIFICATE_RS256:
		return put_certificate(credentials, key, &claims, form, err);
	case IG_TOKEN_SOURCE_FEDERATION: return put_federated(credentials, key, form, err);
	case IG_TOKEN_SOURCE_SERVICE_ACCOUNT: /* without its assertion */
	case IG_TOKEN_SOURCE_IMDS:
	case _IG_TOKEN_SOURCE_MAX: break;
	}
	return ig_err_set(err, -EINVAL, "nothing to show to Entra ID");
}

int ig_source_entra_prepare(const struct ig_source_request *request,
	struct ig_source_call *ret_call, struct ig_err *reterr_err)
{
	static const char *const headers[] = {"Content-Type: application/x-www-form-urlencoded",
		"Accept: application/json", NULL};
	_cleanup_(ig_buf_wipe) struct ig_buf form = {.limit = IG_UPSTREAM_REQUEST_BYTES};
	const struct ig_token_key *key = request->key;
	_cleanup_free_ char *url = NULL;
	int r;

	/* Entra keeps no cache to get past */
	r = make_url(key, &url);
	if (r < 0)
		return ig_err_set(reterr_err, r, "no URL of Entra ID can be made");
	put_field(&form, "grant_type", "client_credentials");
	put_field(&form, "client_id", key->upstream.value);
	put_field(&form, "resource", key->resource);
	r = put_credential(request, url, &form, reterr_err);
	if (r < 0)
		return r;
	r = ig_buf_finish(&form);
	if (r < 0)
		return ig_err_set(reterr_err, r, "the request to Entra ID cannot be made");
	*ret_call = (struct ig_source_call){.url = TAKE_PTR(url), .headers = headers, .form = form};
	form = (struct ig_buf){};
	return 0;
}

/* ---- errors ---------------------------------------------------------------------------------- */

/* What the numbers of AADSTS errors mean for the workload. */
static const struct verdict {
	unsigned int number;
	enum ig_token_failure_kind kind;
	const char *code; /* what is relayed instead of Entra's own; NULL: that one */
	const char *why;  /* not relayed: in our words */
	bool again;
} verdicts[] = {
	/* what was asked for; Entra's text is relayed, as the real IMDS does */
	{50001, IG_TOKEN_REJECTED, "invalid_resource", NULL, false},
	{500011, IG_TOKEN_REJECTED, "invalid_resource", NULL, false},
	{70011, IG_TOKEN_REJECTED, "invalid_scope", NULL, false},
	{1002012, IG_TOKEN_REJECTED, "invalid_scope", NULL, false},
	/* the identity as it is declared */
	{700016, IG_TOKEN_REJECTED, NULL, NULL, false},
	{90002, IG_TOKEN_REJECTED, NULL, NULL, false},
	{700211, IG_TOKEN_REJECTED, NULL, NULL, false},
	{700212, IG_TOKEN_REJECTED, NULL, NULL, false},
	{700213, IG_TOKEN_REJECTED, NULL, NULL, false},
	/* its credential: not the workload's business */
	{7000215, IG_TOKEN_BROKEN, NULL, "the client secret is wrong", false},
	{7000222, IG_TOKEN_BROKEN, NULL, "the client secret has expired", false},
	{7000216, IG_TOKEN_BROKEN, NULL, "no credential arrived", false},
	{700024, IG_TOKEN_BROKEN, NULL, "the assertion is not valid now", true},
	{700027, IG_TOKEN_BROKEN, NULL, "the certificate is not the application's", false},
	{50012, IG_TOKEN_BROKEN, NULL, "authentication failed", false},
	{50013, IG_TOKEN_BROKEN, NULL, "the assertion does not hold", false},
	{700021, IG_TOKEN_BROKEN, NULL, "the assertion is not for this application", false},
	/* it passes */
	{70021, IG_TOKEN_UNAVAILABLE, NULL, "no federated credential matches yet", false},
	{50196, IG_TOKEN_UNAVAILABLE, NULL, "too many requests", false},
	{90033, IG_TOKEN_UNAVAILABLE, NULL, "a passing error", false},
};

static const struct verdict *find_verdict(unsigned int number)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(verdicts); i++)
		if (verdicts[i].number == number)
			return &verdicts[i];
	return NULL;
}

/* The number of "AADSTS700016: …", or 0. */
static unsigned int number_in_text(const char *text)
{
	static const char prefix[] = "AADSTS";
	size_t digits;
	uint32_t number = 0;
	char copy[11];

	if (!text || !ig_str_has_prefix(text, prefix))
		return 0;
	text += strlen(prefix);
	digits = strspn(text, "0123456789");
	if (digits >= sizeof(copy))
		return 0;
	memcpy(copy, text, digits);
	copy[digits] = '\0';
	return ig_parse_u32(copy, &number) == 0 ? number : 0;
}

static unsigned int error_number(const json_t *reply, const char *text)
{
	json_int_t first =
		json_integer_value(json_array_get(json_object_get(reply, "error_codes"), 0));

	return first > 0 && first <= UINT32_MAX ? (unsigned int)first : number_in_text(text);
}

/* In our own words, and nothing that Entra said. */
static void fail(struct ig_source_answer *answer, const struct ig_token_key *key,
	enum ig_token_failure_kind kind, const char *why, unsigned int number)
{
	answer->code = (free(answer->code), NULL);
	answer->text = (free(answer->text), NULL);
	ig_source_answer_fail(answer, kind,
		"Entra ID refuses client %s of tenant %s: %s (AADSTS%u)", key->upstream.value,
		key->tenant, why, number);
}

/* A known number is handled as the table says. Of the others, those that are about the credential
 * (401) stay here, and the rest is about what was asked for. */
static void classify(unsigned int status, unsigned int number, const struct ig_token_key *key,
	struct ig_source_answer *answer)
{
	const struct verdict *verdict = find_verdict(number);

	if (!verdict && (status != 400 || !number)) {
		fail(answer, key, IG_TOKEN_BROKEN, "an error that is not known here", number);
		return;
	}
	if (verdict)
		answer->again = verdict->again;
	if (verdict && verdict->kind != IG_TOKEN_REJECTED) {
		fail(answer, key, verdict->kind, verdict->why, number);
		return;
	}
	ig_source_answer_fail(answer, IG_TOKEN_REJECTED, "AADSTS%u", number);
	if (verdict && verdict->code) {
		free(answer->code);
		answer->code = strdup(verdict->code);
	}
}

static void read_error(unsigned int status, const json_t *reply, const struct ig_token_key *key,
	struct ig_source_answer *answer)
{
	int r = ig_oauth_read_error(reply, &answer->code, &answer->text);

	if (r == -ENOMEM)
		ig_source_answer_fail(answer, IG_TOKEN_UNAVAILABLE, "out of memory");
	else if (r != -EACCES)
		ig_source_answer_fail(answer, IG_TOKEN_BROKEN, "Entra ID answered %u", status);
	else
		classify(status, error_number(reply, answer->text), key, answer);
}

/* ---- reply ----------------------------------------------------------------------------------- */

static int read_token(const json_t *reply, const struct ig_token_key *key, uint64_t now_sec,
	struct ig_source_answer *answer)
{
	int r = ig_oauth_read_token(reply, key, now_sec, &answer->token);

	if (r == 0)
		r = ig_token_check_app(answer->token, key->expect_client_id);
	if (r < 0)
		answer->token = ig_token_unref(answer->token);
	return r;
}

static void read_success(const json_t *reply, const struct ig_token_key *key, uint64_t now_sec,
	struct ig_source_answer *answer)
{
	int r = read_token(reply, key, now_sec, answer);

	if (r < 0)
		ig_source_answer_fail(answer, r == -ENOMEM ? IG_TOKEN_UNAVAILABLE : IG_TOKEN_BROKEN,
			"%s",
			r == -ENOMEM  ? "out of memory"
			: r == -ETIME ? IG_OAUTH_EXPIRED_TEXT
				      : "Entra ID's reply is not a token for this identity");
}

static unsigned int retry_after(const struct ig_http_response *response)
{
	int64_t sec = response->retry_after_sec;

	return sec <= 0 ? 0 : sec > RETRY_AFTER_SEC_MAX ? RETRY_AFTER_SEC_MAX : (unsigned int)sec;
}

/* Busy or in trouble, whatever the body says: it may be plain text. */
static bool is_passing(unsigned int status)
{
	return status == 408 || status == 429 || status >= 500;
}

void ig_source_entra_read(const struct ig_http_response *response, const struct ig_token_key *key,
	uint64_t now_sec, struct ig_source_answer *ret_answer)
{
	_cleanup_(free_json) json_t *reply = NULL;
	int r;

	if (is_passing(response->status)) {
		ig_source_answer_fail(
			ret_answer, IG_TOKEN_UNAVAILABLE, "Entra ID answered %u", response->status);
		ret_answer->retry_after_sec = retry_after(response);
		return;
	}
	r = ig_oauth_parse(response->body, response->body_len, &reply);
	if (r == -ENOMEM)
		ig_source_answer_fail(ret_answer, IG_TOKEN_UNAVAILABLE, "out of memory");
	else if (r < 0 || (response->status != 200 && response->status < 400))
		ig_source_answer_fail(ret_answer, IG_TOKEN_BROKEN,
			"Entra ID answered %u, and not in JSON as expected", response->status);
	else if (response->status == 200)
		read_success(reply, key, now_sec, ret_answer);
	else
		read_error(response->status, reply, key, ret_answer);
	if (ret_answer->kind == IG_TOKEN_UNAVAILABLE)
		ret_answer->retry_after_sec = retry_after(response);
}
