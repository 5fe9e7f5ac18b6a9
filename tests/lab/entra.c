/*
 * The part of Entra ID that an agent talks to: the token endpoints of v1 and v2, and the way to the
 * rest. Ways to authenticate are rows of a table; a request has to use exactly one. Must never
 * accept a wrong secret, nor put one into a reply or the log. Called by main.c.
 */
#include "lab/entra.h"

#include <errno.h>
#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "http/message.h"
#include "lab/assertion.h"
#include "lab/entra_error.h"
#include "lab/form.h"

/* applications get shorter tokens than managed identities, also when these come by federation */
#define APPLICATION_LIFE_SEC 3600
#define MANAGED_LIFE_SEC     86400

#define FORM_TYPE      "application/x-www-form-urlencoded"
#define ASSERTION_TYPE "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#define DEFAULT_SCOPE  "/.default"

struct entra_call {
	struct lab *lab;
	const struct lab_request *req;
	const struct lab_form *form;
	const char *tenant; /* asked for, and known */
	const struct lab_identity *application;
	struct lab_reply *reply;
	uint64_t now_sec;
	bool v2;
};

/* How the application has shown who it is. */
struct proof {
	const char *name;     /* literal; for the log */
	const char *appidacr; /* how the token says it */
	bool federated;
};

static const struct proof by_secret = {"secret", "1", false};
static const struct proof by_certificate = {"certificate", "2", false};
static const struct proof by_federation = {"federation", "2", true};

/* ---- what entra_log.c and discovery.c need, too ---- */

int lab_entra_route(const char *path, enum lab_entra_route *ret_route, char **ret_tenant)
{
	static const struct {
		const char *path;
		enum lab_entra_route route;
	} routes[] = {
		{"/oauth2/token", LAB_ENTRA_TOKEN_V1},
		{"/oauth2/v2.0/token", LAB_ENTRA_TOKEN_V2},
		{"/discovery/keys", LAB_ENTRA_KEYS},
		{"/.well-known/openid-configuration", LAB_ENTRA_CONFIGURATION},
	};
	const char *slash = strchr(path + 1, '/');

	*ret_route = LAB_ENTRA_NONE;
	for (size_t i = 0; slash && i < IG_ARRAY_SIZE(routes); i++) {
		if (strcmp(slash, routes[i].path) != 0)
			continue;
		*ret_tenant = strndup(path + 1, (size_t)(slash - path - 1));
		if (!*ret_tenant)
			return -ENOMEM;
		*ret_route = routes[i].route;
		break;
	}
	return 0;
}

void lab_entra_put_url(
	const struct lab *lab, const struct lab_request *req, const char *path, struct ig_buf *out)
{
	const char *host = lab_request_header(req, "Host");

	if (lab->entra_url)
		ig_buf_puts(out, lab->entra_url);
	else
		ig_buf_printf(out, "http://%s", host && *host ? host : req->local);
	ig_buf_puts(out, path);
}

static bool is_form(const struct lab_request *req)
{
	const char *type = lab_request_header(req, "Content-Type");
	size_t n = strlen(FORM_TYPE);

	return type && strncasecmp(type, FORM_TYPE, n) == 0 && strchr("; ", type[n]);
}

int lab_entra_form(const struct lab_request *req, struct lab_form *ret)
{
	bool there = req->body.data && is_form(req);

	return lab_form_parse(there ? req->body.data : "", there ? req->body.len : 0, ret);
}

void lab_entra_refuse_tenant(struct lab_reply *reply, const char *tenant)
{
	lab_entra_refuse(reply, 90002,
		"Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant.",
		tenant);
}

void lab_entra_refuse_method(struct lab_reply *reply, const char *allow)
{
	lab_reply_error(reply, 405, "method_not_allowed", "Not allowed");
	ig_buf_printf(&reply->headers, "Allow: %s\r\n", allow);
}

static const char *required(const struct entra_call *call, const char *name)
{
	const char *value = lab_form_get(call->form, name);

	if (value && *value)
		return value;
	lab_entra_refuse(call->reply, 900144,
		"The request body must contain the following parameter: '%s'.", name);
	return NULL;
}

/* ---- ways to authenticate: what the application has shown, or NULL and refused ---- */

static const struct proof *check_secret(const struct entra_call *call, const char *secret)
{
	const char *right = call->application->secret;

	if (!right || strlen(right) != strlen(secret) ||
		CRYPTO_memcmp(right, secret, strlen(right)) != 0)
		lab_entra_refuse(call->reply, 7000215,
			"Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.",
			call->application->client_id);
	else if (call->application->secret_expired)
		lab_entra_refuse(call->reply, 7000222,
			"The provided client secret keys for app '%s' are expired.",
			call->application->client_id);
	else
		return &by_secret;
	return NULL;
}

static const struct proof *check_assertion(const struct entra_call *call, const char *text)
{
	static const struct proof *const proofs[_LAB_ASSERTION_MAX] = {
		[LAB_ASSERTION_CERTIFICATE] = &by_certificate,
		[LAB_ASSERTION_FEDERATION] = &by_federation,
	};
	const char *type = required(call, "client_assertion_type");
	_cleanup_(ig_buf_donep) struct ig_buf url = {.limit = LAB_REPLY_BYTES};
	struct lab_assertion assertion = {.text = text,
		.identity = call->application,
		.replay = &call->lab->replay,
		.now_sec = call->now_sec};

	if (!type)
		return NULL;
	if (strcmp(type, ASSERTION_TYPE) != 0) {
		lab_entra_refuse(call->reply, 90023,
			"The 'client_assertion_type' has to be '" ASSERTION_TYPE "'.");
		return NULL;
	}
	lab_entra_put_url(call->lab, call->req, call->req->path, &url);
	if (ig_buf_finish(&url) < 0) {
		lab_reply_failure(call->reply, ig_buf_finish(&url));
		return NULL;
	}
	assertion.url = url.data;
	return proofs[lab_assertion_check(&assertion, call->reply)];
}

static const struct proof *authenticate(const struct entra_call *call)
{
	const char *secret = lab_form_get(call->form, "client_secret");
	const char *assertion = lab_form_get(call->form, "client_assertion");

	if (secret && assertion)
		lab_entra_refuse(call->reply, 90023,
			"Only one of 'client_secret' and 'client_assertion' may be there.");
	else if (secret)
		return check_secret(call, secret);
	else if (assertion)
		return check_assertion(call, assertion);
	else
		lab_entra_refuse(call->reply, 7000216,
			"'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type.");
	return NULL;
}

/* ---- what the token is for: owned by the caller, or NULL and refused ---- */

/* Everything before "/.default", so that a slash at the end of the resource makes two of them. */
static char *resource_of_scope(const struct entra_call *call)
{
	const char *scope = required(call, "scope");
	size_t len = scope ? strlen(scope) : 0;
	size_t suffix = strlen(DEFAULT_SCOPE);
	char *resource;

	if (!scope)
		return NULL;
	if (strchr(scope, ' ')) {
		lab_entra_refuse(call->reply, 70011,
			"The provided value for the input parameter 'scope' is not valid. It has to be exactly one scope.");
		return NULL;
	}
	if (len <= suffix || strcmp(scope + len - suffix, DEFAULT_SCOPE) != 0) {
		lab_entra_refuse(call->reply, 1002012,
			"The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).",
			scope);
		return NULL;
	}
	resource = strndup(scope, len - suffix);
	if (!resource)
		lab_reply_failure(call->reply, -ENOMEM);
	return resource;
}

static char *resource_of_parameter(const struct entra_call *call)
{
	const char *value = required(call, "resource");
	char *resource = value ? strdup(value) : NULL;

	if (value && !resource)
		lab_reply_failure(call->reply, -ENOMEM);
	return resource;
}

static char *find_resource(const struct entra_call *call)
{
	const struct lab_directory *directory = &call->lab->directory;
	_cleanup_free_ char *resource = NULL;

	if (call->v2 && lab_form_get(call->form, "resource")) {
		lab_entra_refuse(
			call->reply, 901002, "The 'resource' request parameter is not supported.");
		return NULL;
	}
	resource = call->v2 ? resource_of_scope(call) : resource_of_parameter(call);
	if (!resource || lab_directory_knows_resource(directory, resource))
		return TAKE_PTR(resource);
	lab_entra_refuse(
		call->reply, 500011, LAB_ENTRA_UNKNOWN_RESOURCE, resource, directory->tenant);
	return NULL;
}

/* ---- tokens ---- */

/* v1 writes numbers as texts, v2 as numbers. */
static void put_token(const struct entra_call *call, const struct lab_token *token,
	const char *resource, struct ig_buf *b)
{
	uint64_t left = token->expires_on_sec - call->now_sec;

	ig_buf_putc(b, '{');
	ig_buf_json_member_str(b, "token_type", "Bearer");
	if (call->v2) {
		ig_buf_json_member_u64(b, "expires_in", left);
		ig_buf_json_member_u64(b, "ext_expires_in", left);
	} else {
		lab_reply_member_number(b, "expires_in", left);
		lab_reply_member_number(b, "ext_expires_in", left);
		lab_reply_member_number(b, "expires_on", token->expires_on_sec);
		lab_reply_member_number(b, "not_before", token->not_before_sec);
		ig_buf_json_member_str(b, "resource", resource);
	}
	ig_buf_json_member_str(b, "access_token", token->text);
	ig_buf_putc(b, '}');
}

static uint64_t life_of(const struct entra_call *call, const struct proof *proof)
{
	bool managed = proof->federated && *call->application->resource_id;
	uint64_t most = managed ? MANAGED_LIFE_SEC : APPLICATION_LIFE_SEC;
	uint64_t asked = call->lab->faults.token_life_sec;

	return asked < most ? asked : most;
}

static void issue(const struct entra_call *call, const struct proof *proof, const char *resource)
{
	struct lab *lab = call->lab;
	struct lab_token token = {};
	int r = lab_jwt_mint(lab->signer, call->tenant, call->application, resource,
		proof->appidacr, call->now_sec, life_of(call, proof), &token);

	if (r < 0) {
		lab_reply_failure(call->reply, r);
		return;
	}
	lab->stats.tokens++;
	call->reply->client_id = call->application->client_id;
	put_token(call, &token, resource, &call->reply->body);
	lab_token_done(&token);
}

/* ---- the token endpoint ---- */

/* True, or refused. */
static bool find_application(struct entra_call *call)
{
	const char *grant = required(call, "grant_type");
	const char *client_id = grant ? required(call, "client_id") : NULL;

	if (!client_id)
		return false;
	if (strcmp(grant, "client_credentials") != 0) {
		lab_entra_refuse(call->reply, 70003,
			"The app requested an unsupported grant type '%s'.", grant);
		return false;
	}
	call->application =
		lab_directory_find(&call->lab->directory, LAB_SELECT_CLIENT_ID, client_id, false);
	if (!call->application)
		lab_entra_refuse(call->reply, 700016,
			"Application with identifier '%s' was not found in the directory '%s'.",
			client_id, call->lab->directory.tenant);
	return call->application != NULL;
}

/* Everything in the order in which it is checked; the first that is wrong is the answer. */
static void serve_client_credentials(struct entra_call *call)
{
	const struct proof *proof;

	if (lab_form_has_duplicates(call->form)) {
		lab_entra_refuse(call->reply, 9000411,
			"The request is not properly formatted. A parameter is duplicated.");
		return;
	}
	if (!find_application(call))
		return;
	proof = authenticate(call);
	if (!proof)
		return;
	call->reply->credential = proof->name;
	call->reply->resource = find_resource(call);
	if (call->reply->resource)
		issue(call, proof, call->reply->resource);
}

/* An error on demand. */
static void serve_fault(const struct lab_service_fault *fault, struct lab_reply *reply)
{
	const struct lab_entra_error error = {fault->code, fault->status, fault->error};

	if (fault->plain) {
		reply->status = fault->status;
		reply->content_type = LAB_PLAIN;
		ig_buf_puts(&reply->body, ig_http_reason(fault->status));
	} else {
		lab_entra_refuse_as(reply, &error, "The lab was told to answer this.");
	}
	reply->fault = "entra_error";
	if (fault->retry_after_sec)
		ig_buf_printf(
			&reply->headers, "Retry-After: %" PRIu64 "\r\n", fault->retry_after_sec);
}

static void serve_token(struct lab *lab, const struct lab_request *req, const char *tenant,
	enum lab_entra_route route, struct lab_reply *reply)
{
	struct lab_form form;
	struct entra_call call = {.lab = lab,
		.req = req,
		.form = &form,
		.tenant = tenant,
		.reply = reply,
		.now_sec = ig_clock_real_usec() / IG_USEC_PER_SEC,
		.v2 = route == LAB_ENTRA_TOKEN_V2};
	struct lab_service_fault fault;

	if (strcmp(req->method, "POST") != 0) {
		lab_entra_refuse_method(reply, "POST");
		return;
	}
	if (lab_service_fault_take(&lab->faults.entra, &fault)) {
		serve_fault(&fault, reply);
		return;
	}
	if (!lab_directory_has_tenant(&lab->directory, tenant)) {
		lab_entra_refuse_tenant(reply, tenant);
		return;
	}
	if (lab_entra_form(req, &form) < 0)
		lab_entra_refuse(reply, 900144, "The request body is not a form.");
	else
		serve_client_credentials(&call);
	lab_form_done(&form);
}

bool lab_entra_serve(struct lab *lab, const struct lab_request *req, struct lab_reply *reply)
{
	enum lab_entra_route route = LAB_ENTRA_NONE;
	_cleanup_free_ char *tenant = NULL;
	int r = lab_entra_route(req->path, &route, &tenant);

	if (r < 0) {
		lab_reply_failure(reply, r);
		return true;
	}
	switch (route) {
	case LAB_ENTRA_NONE:
	case _LAB_ENTRA_MAX: return false;
	case LAB_ENTRA_TOKEN_V1:
	case LAB_ENTRA_TOKEN_V2: serve_token(lab, req, tenant, route, reply); break;
	case LAB_ENTRA_KEYS:
	case LAB_ENTRA_CONFIGURATION: lab_discovery_serve(lab, req, tenant, route, reply); break;
	}
	return true;
}
