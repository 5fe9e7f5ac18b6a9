/*
 * The part of Entra ID that an agent talks to: the v1 token endpoint, the OpenID configuration and
 * the keys. Ways to authenticate are rows of a table; assertions will be further rows. Must never
 * accept a wrong secret, nor put one into a reply or the log. Called by main.c.
 */
#include "lab/entra.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "lab/encode.h"
#include "lab/form.h"
#include "lab/lab.h"

/* applications get shorter tokens than managed identities */
#define LIFE_SEC_MAX 3600

/* What Entra can find wrong, with the parts of the reply that do not depend on the request. */
struct entra_error {
	unsigned int status;
	const char *error;
	unsigned int code;
};

static const struct entra_error no_tenant = {400, "invalid_request", 90002};
static const struct entra_error missing_parameter = {400, "invalid_request", 900144};
static const struct entra_error bad_grant = {400, "unsupported_grant_type", 70003};
static const struct entra_error no_application = {400, "unauthorized_client", 700016};
static const struct entra_error no_credential = {401, "invalid_client", 7000216};
static const struct entra_error bad_secret = {401, "invalid_client", 7000215};
static const struct entra_error no_resource = {400, "invalid_resource", 500011};

struct entra_call {
	struct lab *lab;
	const struct lab_form *form;
	const struct lab_identity *application;
	struct lab_reply *reply;
};

struct ids {
	char trace[LAB_GUID_BYTES];
	char correlation[LAB_GUID_BYTES];
	char stamp[LAB_STAMP_BYTES];
};

static uint64_t now_sec(void)
{
	return ig_clock_real_usec() / IG_USEC_PER_SEC;
}

static int make_ids(struct ids *ret)
{
	if (!lab_guid(ret->trace) || !lab_guid(ret->correlation))
		return -EIO;
	(void)lab_stamp(now_sec(), ret->stamp);
	return 0;
}

/* Replies with the error. The text is the part between the code and the trace id. */
__attribute__((format(printf, 3, 4))) static void refuse(
	struct lab_reply *reply, const struct entra_error *error, const char *fmt, ...)
{
	_cleanup_(ig_buf_donep) struct ig_buf text = {.limit = LAB_REPLY_BYTES};
	_cleanup_free_ char *middle = NULL;
	struct ig_buf *b = &reply->body;
	struct ids ids;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&middle, fmt, ap);
	va_end(ap);
	if (n < 0) {
		middle = NULL; /* vasprintf() leaves it undefined */
		lab_reply_failure(reply, -ENOMEM);
		return;
	}
	if (make_ids(&ids) < 0) {
		lab_reply_failure(reply, -EIO);
		return;
	}
	ig_buf_printf(&text, "AADSTS%u: %s Trace ID: %s Correlation ID: %s Timestamp: %s",
		error->code, middle, ids.trace, ids.correlation, ids.stamp);
	if (ig_buf_finish(&text) < 0) {
		lab_reply_failure(reply, ig_buf_finish(&text));
		return;
	}
	lab_reply_error(reply, error->status, error->error, text.data);
	b->len--; /* the brace; further members follow */
	ig_buf_json_key(b, "error_codes");
	ig_buf_printf(b, "[%u]", error->code);
	ig_buf_json_member_str(b, "timestamp", ids.stamp);
	ig_buf_json_member_str(b, "trace_id", ids.trace);
	ig_buf_json_member_str(b, "correlation_id", ids.correlation);
	ig_buf_json_key(b, "error_uri");
	ig_buf_printf(b, "\"https://login.microsoftonline.com/error?code=%u\"}", error->code);
}

#define UNKNOWN_RESOURCE                                                                           \
	"The resource principal named %s was not found in the tenant named %s. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant."

int lab_entra_unknown_resource(struct ig_buf *out, const char *tenant, const char *resource)
{
	struct ids ids;
	int r = make_ids(&ids);

	if (r < 0)
		return r;
	ig_buf_printf(out,
		"AADSTS%u: " UNKNOWN_RESOURCE
		"\r\nTrace ID: %s\r\nCorrelation ID: %s\r\nTimestamp: %s",
		no_resource.code, resource, tenant, ids.trace, ids.correlation, ids.stamp);
	return ig_buf_finish(out);
}

/* ---- ways to authenticate: true when the application is who it says, else refused ---- */

static bool by_secret(const struct entra_call *call, const char *secret)
{
	const char *right = call->application->secret;

	if (right && strlen(right) == strlen(secret) &&
		CRYPTO_memcmp(right, secret, strlen(right)) == 0)
		return true;
	refuse(call->reply, &bad_secret,
		"Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.",
		call->application->client_id);
	return false;
}

static const struct credential {
	const char *parameter; /* whose presence chooses the row */
	const char *appidacr;  /* how the token says it was done */
	bool (*check)(const struct entra_call *call, const char *value);
} credentials[] = {
	{"client_secret", "1", by_secret},
};

/* The row that let the application in, or NULL and refused. */
static const struct credential *authenticate(const struct entra_call *call)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(credentials); i++) {
		const char *value = lab_form_get(call->form, credentials[i].parameter);

		if (value)
			return credentials[i].check(call, value) ? &credentials[i] : NULL;
	}
	refuse(call->reply, &no_credential,
		"'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type.");
	return NULL;
}

/* ---- the token endpoint ---- */

static const char *required(const struct entra_call *call, const char *name)
{
	const char *value = lab_form_get(call->form, name);

	if (value && *value)
		return value;
	refuse(call->reply, &missing_parameter,
		"The request body must contain the following parameter: '%s'.", name);
	return NULL;
}

static void put_token(
	struct ig_buf *b, const struct lab_token *token, const char *resource, uint64_t now)
{
	uint64_t left = token->expires_on_sec - now;

	ig_buf_putc(b, '{');
	ig_buf_json_member_str(b, "token_type", "Bearer");
	lab_reply_member_number(b, "expires_in", left);
	lab_reply_member_number(b, "ext_expires_in", left);
	lab_reply_member_number(b, "expires_on", token->expires_on_sec);
	lab_reply_member_number(b, "not_before", token->not_before_sec);
	ig_buf_json_member_str(b, "resource", resource);
	ig_buf_json_member_str(b, "access_token", token->text);
	ig_buf_putc(b, '}');
}

static void issue(const struct entra_call *call, const struct credential *by, const char *resource)
{
	struct lab *lab = call->lab;
	struct lab_reply *reply = call->reply;
	uint64_t life = lab->faults.token_life_sec;
	uint64_t now = now_sec();
	struct lab_token token = {};
	int r = lab_jwt_mint(lab->signer, lab->directory.tenant, call->application, resource,
		by->appidacr, now, life < LIFE_SEC_MAX ? life : LIFE_SEC_MAX, &token);

	if (r < 0) {
		lab_reply_failure(reply, r);
		return;
	}
	lab->stats.tokens++;
	reply->client_id = call->application->client_id;
	ig_buf_puts(&reply->headers, "Cache-Control: no-store, no-cache\r\nPragma: no-cache\r\n");
	put_token(&reply->body, &token, resource, now);
	lab_token_done(&token);
}

/* Everything in the order in which it is checked; the first that is wrong is the answer. */
static void serve_client_credentials(struct entra_call *call)
{
	const char *grant = required(call, "grant_type");
	const char *client_id = grant ? required(call, "client_id") : NULL;
	const struct credential *by;
	const char *resource;

	if (!client_id)
		return;
	if (strcmp(grant, "client_credentials") != 0) {
		refuse(call->reply, &bad_grant, "The app requested an unsupported grant type '%s'.",
			grant);
		return;
	}
	call->application =
		lab_directory_find(&call->lab->directory, LAB_SELECT_CLIENT_ID, client_id, false);
	if (!call->application) {
		refuse(call->reply, &no_application,
			"Application with identifier '%s' was not found in the directory '%s'.",
			client_id, call->lab->directory.tenant);
		return;
	}
	by = authenticate(call);
	resource = by ? required(call, "resource") : NULL;
	if (!resource)
		return;
	call->reply->resource = strdup(resource);
	if (lab_directory_knows_resource(&call->lab->directory, resource))
		issue(call, by, resource);
	else
		refuse(call->reply, &no_resource, UNKNOWN_RESOURCE, resource,
			call->lab->directory.tenant);
}

static void refuse_tenant(struct lab_reply *reply, const char *tenant)
{
	refuse(reply, &no_tenant,
		"Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant.",
		tenant);
}

static void refuse_method(struct lab_reply *reply, const char *allow)
{
	lab_reply_error(reply, 405, "method_not_allowed", "Not allowed");
	ig_buf_printf(&reply->headers, "Allow: %s\r\n", allow);
}

static void serve_token(
	struct lab *lab, const struct lab_request *req, const char *tenant, struct lab_reply *reply)
{
	struct lab_form form;
	struct entra_call call = {.lab = lab, .form = &form, .reply = reply};
	int r;

	if (strcmp(req->method, "POST") != 0) {
		refuse_method(reply, "POST");
		return;
	}
	if (!ig_str_equal_nocase(tenant, lab->directory.tenant)) {
		refuse_tenant(reply, tenant);
		return;
	}
	r = lab_form_parse(req->body.data ? req->body.data : "", req->body.len, &form);
	if (r < 0)
		refuse(reply, &missing_parameter, "The request body is not a form.");
	else
		serve_client_credentials(&call);
	lab_form_done(&form);
}

/* ---- discovery ---- */

static void serve_keys(struct lab *lab, struct lab_reply *reply)
{
	int r = lab_signer_jwks(lab->signer, &reply->body);

	if (r < 0)
		lab_reply_failure(reply, r);
}

static void put_url(
	struct ig_buf *b, const char *key, const struct lab_request *req, const char *path)
{
	const char *host = lab_request_header(req, "Host");
	_cleanup_(ig_buf_donep) struct ig_buf url = {.limit = LAB_REPLY_BYTES};

	ig_buf_printf(&url, "http://%s%s", host && *host ? host : req->local, path);
	ig_buf_json_member_str(b, key, url.data ? url.data : "");
}

static void serve_configuration(
	struct lab *lab, const struct lab_request *req, struct lab_reply *reply)
{
	const char *tenant = lab->directory.tenant;
	struct ig_buf *b = &reply->body;
	char path[128];

	(void)snprintf(path, sizeof(path), "/%s/oauth2/token", tenant);
	ig_buf_putc(b, '{');
	put_url(b, "token_endpoint", req, path);
	put_url(b, "jwks_uri", req, "/common/discovery/keys");
	ig_buf_json_key(b, "issuer");
	ig_buf_printf(b, "\"https://sts.windows.net/%s/\"", tenant);
	ig_buf_json_key(b, "token_endpoint_auth_methods_supported");
	ig_buf_puts(b, "[\"client_secret_post\"]");
	ig_buf_json_key(b, "id_token_signing_alg_values_supported");
	ig_buf_puts(b, "[\"RS256\"]}");
}

/* Keys and configuration need no header and no body; "common" stands for every tenant. */
static void serve_discovery(struct lab *lab, const struct lab_request *req, const char *tenant,
	bool keys, struct lab_reply *reply)
{
	bool known =
		ig_str_equal_nocase(tenant, lab->directory.tenant) || strcmp(tenant, "common") == 0;

	if (strcmp(req->method, "GET") != 0)
		refuse_method(reply, "GET");
	else if (!known)
		refuse_tenant(reply, tenant);
	else if (keys)
		serve_keys(lab, reply);
	else
		serve_configuration(lab, req, reply);
}

bool lab_entra_serve(struct lab *lab, const struct lab_request *req, struct lab_reply *reply)
{
	const char *slash = strchr(req->path + 1, '/');
	_cleanup_free_ char *tenant = NULL;

	if (!slash)
		return false;
	tenant = strndup(req->path + 1, (size_t)(slash - req->path - 1));
	if (!tenant) {
		lab_reply_failure(reply, -ENOMEM);
		return true;
	}
	if (strcmp(slash, "/oauth2/token") == 0)
		serve_token(lab, req, tenant, reply);
	else if (strcmp(slash, "/discovery/keys") == 0)
		serve_discovery(lab, req, tenant, true, reply);
	else if (strcmp(slash, "/.well-known/openid-configuration") == 0)
		serve_discovery(lab, req, tenant, false, reply);
	else
		return false;
	return true;
}
