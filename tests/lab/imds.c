/*
 * The Instance Metadata Service: routes, the checks that they share, and the token route. Texts and
 * their lengths are those that were captured from the real one where that is known. Must never be
 * stricter than the real one about paths and headers, or it would hide what a gate lets through.
 * Called by main.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "lab/encode.h"
#include "lab/entra_error.h"
#include "lab/form.h"
#include "lab/instance.h"
#include "lab/lab.h"

#define ROOT	     "/metadata"
#define NONCE_MAX    10
#define NEWEST	     3
#define SHA256_BYTES 32

static const char *const versions[] = {"2017-03-01", "2017-04-02", "2017-08-01", "2017-10-01",
	"2017-12-01", "2018-02-01", "2018-04-02", "2018-10-01", "2019-02-01", "2019-03-11",
	"2019-04-30", "2019-06-01", "2019-06-04", "2019-08-01", "2019-08-15", "2019-11-01",
	"2020-06-01", "2020-07-15", "2020-09-01", "2020-10-01", "2020-12-01", "2021-01-01",
	"2021-02-01", "2021-03-01", "2021-05-01", "2021-08-01", "2021-10-01", "2021-11-01",
	"2021-11-15", "2021-12-13", "2023-07-01", "2023-11-15", "2024-03-15", "2024-07-17",
	"2025-04-07"};

/* Of scheduled events, beside the common ones. */
static const char *const event_versions[] = {
	"2017-11-01", "2019-01-01", "2019-04-01", "2020-07-01", NULL};

struct call;

struct route {
	const char *path;  /* after /metadata */
	const char *since; /* first api-version; NULL: takes none */
	bool subtree;	   /* and everything below */
	bool post;	   /* not only GET */
	bool identity;	   /* errors have a description */
	void (*serve)(const struct call *call);
	const char *const *versions; /* more of them; NULL: none */
};

struct call {
	struct lab *lab;
	const struct lab_request *req;
	const struct route *route;
	const char *rest; /* of the path, below the route's */
	const struct lab_form *query;
	struct lab_reply *reply;
};

static void bad_request(const struct call *call, const char *text)
{
	_cleanup_(ig_buf_donep) struct ig_buf whole = {.limit = LAB_REPLY_BYTES};

	if (call->route->identity) {
		lab_reply_error(call->reply, 400, "invalid_request", text);
		return;
	}
	ig_buf_printf(&whole, "Bad request. %s", text);
	lab_reply_plain_error(call->reply, 400, whole.data ? whole.data : "Bad request");
}

static void put_versions(struct ig_buf *b, size_t n, bool newest_first)
{
	ig_buf_putc(b, '[');
	for (size_t i = 0; i < n; i++) {
		size_t at = newest_first ? IG_ARRAY_SIZE(versions) - 1 - i : i;

		ig_buf_printf(b, "%s\"%s\"", i ? "," : "", versions[at]);
	}
	ig_buf_putc(b, ']');
}

static void bad_version(struct lab_reply *reply)
{
	struct ig_buf *b = &reply->body;

	lab_reply_plain_error(reply, 400,
		"Bad request. api-version is invalid or was not specified in the request. For more information refer to aka.ms/azureimds");
	b->len--; /* the brace; one more member follows */
	ig_buf_json_key(b, "newest-versions");
	put_versions(b, NEWEST, true);
	ig_buf_putc(b, '}');
}

/* ---- the token route ---- */

/* Parameter names and what they select; a request may have one of them. */
static const struct selector {
	const char *name;
	enum lab_select by;
	bool echo; /* under this name in the reply */
} selectors[] = {
	{"client_id", LAB_SELECT_CLIENT_ID, false},
	{"object_id", LAB_SELECT_OBJECT_ID, true},
	{"principal_id", LAB_SELECT_OBJECT_ID, false},
	{"msi_res_id", LAB_SELECT_RESOURCE_ID, true},
	{"mi_res_id", LAB_SELECT_RESOURCE_ID, false},
};

/* *ret_selector is NULL without one. -EINVAL for several. */
static int find_selector(
	const struct call *call, const struct selector **ret_selector, const char **ret_value)
{
	const struct selector *found = NULL;
	const char *found_value = NULL;

	for (size_t i = 0; i < IG_ARRAY_SIZE(selectors); i++) {
		const char *value = lab_form_get(call->query, selectors[i].name);

		if (!value)
			continue;
		if (found)
			return -EINVAL;
		found = &selectors[i];
		found_value = value;
	}
	*ret_selector = found;
	*ret_value = found_value;
	return 0;
}

/* NULL: refused. */
static const struct lab_identity *choose_identity(
	const struct call *call, const struct selector **ret_selector)
{
	const struct lab_identity *id = NULL;
	const char *value = NULL;
	int r = 0;

	if (find_selector(call, ret_selector, &value) < 0) {
		bad_request(
			call, "Only one of client_id, object_id and msi_res_id may be specified");
		return NULL;
	}
	if (*ret_selector)
		id = lab_directory_find(&call->lab->directory, (*ret_selector)->by, value, true);
	else
		r = lab_directory_choose(&call->lab->directory, &id);
	if (r == -E2BIG)
		bad_request(call,
			"Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request");
	else if (!id)
		bad_request(call, "Identity not found");
	return id;
}

static bool has_sha256(const struct lab_token *token, const char *wanted)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char hex[2 * SHA256_BYTES + 1];

	if (EVP_Digest(token->text, strlen(token->text), digest, NULL, EVP_sha256(), NULL) != 1)
		return false;
	for (size_t i = 0; i < SHA256_BYTES; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	return strcmp(hex, wanted) == 0;
}

/* The kept token if it is good for this request. */
static const struct lab_token *kept_token(
	const struct call *call, const struct lab_identity *id, const char *resource, uint64_t now)
{
	const char *replace = lab_form_get(call->query, "token_sha256_to_refresh");
	const struct lab_token *token;

	if (lab_form_get(call->query, "bypass_cache"))
		return NULL;
	token = lab_tokens_get(call->lab->tokens, id, resource, now);
	if (token && replace && has_sha256(token, replace))
		return NULL;
	return token;
}

static int get_token(const struct call *call, const struct lab_identity *id, const char *resource,
	uint64_t now, const struct lab_token **ret)
{
	struct lab *lab = call->lab;
	const struct lab_token *kept = kept_token(call, id, resource, now);
	struct lab_token token = {};
	int r;

	if (kept) {
		*ret = kept;
		return 0;
	}
	r = lab_jwt_mint(lab->signer, lab->directory.tenant, id, resource, "2", now,
		lab->faults.token_life_sec, &token);
	if (r < 0)
		return r;
	lab->stats.tokens++;
	return lab_tokens_put(lab->tokens, id, resource, &token, ret);
}

/* The members in the order of the real reply, which is the alphabet's. */
static void put_token(struct ig_buf *b, const struct lab_token *token,
	const struct lab_identity *id, const char *resource, const struct selector *selector,
	uint64_t now)
{
	const char *echo = selector && selector->echo ? selector->name : "";

	ig_buf_putc(b, '{');
	ig_buf_json_member_str(b, "access_token", token->text);
	ig_buf_json_member_str(b, "client_id", id->client_id);
	lab_reply_member_number(b, "expires_in", token->expires_on_sec - now);
	lab_reply_member_number(b, "expires_on", token->expires_on_sec);
	lab_reply_member_number(b, "ext_expires_in", token->life_sec - 1);
	if (strcmp(echo, "msi_res_id") == 0)
		ig_buf_json_member_str(b, echo, id->resource_id);
	lab_reply_member_number(b, "not_before", token->not_before_sec);
	if (strcmp(echo, "object_id") == 0)
		ig_buf_json_member_str(b, echo, id->object_id);
	ig_buf_json_member_str(b, "resource", resource);
	ig_buf_json_member_str(b, "token_type", "Bearer");
	ig_buf_putc(b, '}');
}

static void relay_unknown_resource(const struct call *call, const char *resource)
{
	_cleanup_(ig_buf_donep) struct ig_buf text = {.limit = LAB_REPLY_BYTES};
	int r = lab_entra_unknown_resource(&text, call->lab->directory.tenant, resource);

	if (r < 0)
		lab_reply_failure(call->reply, r);
	else
		lab_reply_error(call->reply, 400, "invalid_resource", text.data);
}

static void serve_token(const struct call *call)
{
	const char *resource = lab_form_get(call->query, "resource");
	const char *bypass = lab_form_get(call->query, "bypass_cache");
	uint64_t now = ig_clock_real_usec() / IG_USEC_PER_SEC;
	const struct selector *selector = NULL;
	const struct lab_token *token = NULL; /* owned by lab->tokens */
	const struct lab_identity *id;
	int r;

	if (!resource || !*resource) {
		bad_request(call, "Required query variable 'resource' is missing");
		return;
	}
	call->reply->resource = strdup(resource);
	if (bypass && strcmp(bypass, "true") != 0) {
		bad_request(call, "Invalid value of query variable 'bypass_cache'");
		return;
	}
	id = choose_identity(call, &selector);
	if (!id)
		return;
	if (!lab_directory_knows_resource(&call->lab->directory, resource)) {
		relay_unknown_resource(call, resource);
		return;
	}
	r = get_token(call, id, resource, now, &token);
	if (r < 0) {
		lab_reply_failure(call->reply, r);
		return;
	}
	call->reply->client_id = id->client_id;
	put_token(&call->reply->body, token, id, resource, selector, now);
}

/* ---- the other routes ---- */

static void serve_versions(const struct call *call)
{
	struct ig_buf *b = &call->reply->body;

	ig_buf_puts(b, "{\"apiVersions\":");
	put_versions(b, IG_ARRAY_SIZE(versions), false);
	ig_buf_putc(b, '}');
}

static void serve_instance(const struct call *call)
{
	const char *format = lab_form_get(call->query, "format");

	lab_instance_serve(call->lab->instance, call->rest, format ? format : "json", call->reply);
}

static void serve_info(const struct call *call)
{
	struct ig_buf *b = &call->reply->body;

	ig_buf_putc(b, '{');
	ig_buf_json_member_str(b, "tenantId", call->lab->directory.tenant);
	ig_buf_putc(b, '}');
}

static void put_attested(struct ig_buf *b, const struct lab *lab, const char *nonce)
{
	uint64_t now = ig_clock_real_usec() / IG_USEC_PER_SEC;
	char created[LAB_STAMP_BYTES];
	char expires[LAB_STAMP_BYTES];

	ig_buf_putc(b, '{');
	ig_buf_json_member_str(b, "licenseType", "");
	ig_buf_json_member_str(b, "nonce", nonce ? nonce : lab_stamp(now, created));
	ig_buf_json_member_str(b, "sku", lab_instance_text(lab->instance, "/compute/sku"));
	ig_buf_json_member_str(
		b, "subscriptionId", lab_instance_text(lab->instance, "/compute/subscriptionId"));
	ig_buf_json_key(b, "timeStamp");
	ig_buf_putc(b, '{');
	ig_buf_json_member_str(b, "createdOn", lab_stamp(now, created));
	ig_buf_json_member_str(b, "expiresOn", lab_stamp(now + 6 * 3600, expires));
	ig_buf_putc(b, '}');
	ig_buf_json_member_str(b, "vmId", lab_instance_text(lab->instance, "/compute/vmId"));
	ig_buf_putc(b, '}');
}

static void serve_attested(const struct call *call)
{
	const char *nonce = lab_form_get(call->query, "nonce");
	_cleanup_(ig_buf_donep) struct ig_buf document = {.limit = LAB_REPLY_BYTES};
	struct ig_buf *b = &call->reply->body;
	int r;

	if (nonce && strlen(nonce) > NONCE_MAX) {
		bad_request(call, "The nonce is too long");
		return;
	}
	put_attested(&document, call->lab, nonce);
	r = ig_buf_finish(&document);
	if (r == 0) {
		ig_buf_puts(b, "{\"encoding\":\"pkcs7\",\"signature\":\"");
		r = lab_signer_pkcs7(call->lab->signer, document.data, document.len, b);
		ig_buf_puts(b, "\"}");
	}
	if (r < 0)
		lab_reply_failure(call->reply, r);
}

/* POST acknowledges an event, with an empty answer; there never is one. */
static void serve_scheduled_events(const struct call *call)
{
	if (strcmp(call->req->method, "GET") == 0)
		ig_buf_puts(&call->reply->body, "{\"DocumentIncarnation\":1,\"Events\":[]}");
}

static void serve_loadbalancer(const struct call *call)
{
	ig_buf_puts(&call->reply->body,
		"{\"loadbalancer\":{\"publicIpAddresses\":[{\"frontendIpAddress\":\"203.0.113.7\",\"privateIpAddress\":\"10.240.0.4\"}],\"inboundRules\":[],\"outboundRules\":[]}}");
}

static const struct route routes[] = {
	{"/versions", NULL, false, false, false, serve_versions, NULL},
	{"/instance", "2017-04-02", true, false, false, serve_instance, NULL},
	{"/attested/document", "2018-10-01", false, false, false, serve_attested, NULL},
	{"/scheduledevents", "2017-08-01", false, true, false, serve_scheduled_events,
		event_versions},
	{"/loadbalancer", "2020-10-01", false, false, false, serve_loadbalancer, NULL},
	{"/identity/info", "2018-02-01", false, false, true, serve_info, NULL},
	{"/identity/oauth2/token", "2018-02-01", false, false, true, serve_token, NULL},
};

/* ---- the checks that all routes share ---- */

static const struct route *find_route(const char *path, const char **ret_rest)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(routes); i++) {
		size_t n = strlen(routes[i].path);

		if (strncmp(path, routes[i].path, n) != 0)
			continue;
		*ret_rest = path + n;
		/* one slash at the end is nothing */
		if (!path[n] || strcmp(path + n, "/") == 0 || (routes[i].subtree && path[n] == '/'))
			return &routes[i];
	}
	return NULL;
}

static bool version_is_good(const struct call *call)
{
	const char *version = lab_form_get(call->query, "api-version");

	if (!call->route->since)
		return true;
	for (const char *const *own = call->route->versions; version && own && *own; own++)
		if (strcmp(*own, version) == 0)
			return true;
	for (size_t i = 0; version && i < IG_ARRAY_SIZE(versions); i++)
		if (strcmp(versions[i], version) == 0)
			return strcmp(version, call->route->since) >= 0;
	return false;
}

static void not_found(struct lab_reply *reply, const char *path)
{
	if (ig_str_has_prefix(path, "/identity"))
		lab_reply_error(reply, 404, "not_found", "Not found");
	else
		lab_reply_plain_error(reply, 404, "Not found");
}

static void not_allowed(const struct call *call)
{
	if (call->route->identity)
		lab_reply_error(call->reply, 405, "method_not_allowed", "Not allowed");
	else
		lab_reply_plain_error(call->reply, 405, "Not allowed");
	ig_buf_printf(
		&call->reply->headers, "Allow: %s\r\n", call->route->post ? "GET, POST" : "GET");
}

static bool method_is_good(const struct call *call)
{
	return strcmp(call->req->method, "GET") == 0 ||
	       (call->route->post && strcmp(call->req->method, "POST") == 0);
}

/* Route first, then method, then headers: discovery of newer protocols depends on it. */
static void check_and_serve(const struct call *call, int query_error)
{
	const char *metadata = lab_request_header(call->req, "Metadata");

	if (!method_is_good(call))
		not_allowed(call);
	else if (lab_request_header(call->req, "X-Forwarded-For"))
		bad_request(call, "Forwarded requests are not allowed");
	else if (!metadata || !ig_str_equal_nocase(metadata, "true"))
		bad_request(call, "Required metadata header not specified");
	else if (query_error < 0)
		bad_request(call, "The query cannot be read");
	else if (lab_form_has_duplicates(call->query))
		bad_request(call, "A query variable is specified more than once");
	else if (!version_is_good(call))
		bad_version(call->reply);
	else
		call->route->serve(call);
}

/* An error on demand. */
static void serve_fault(const struct lab_service_fault *fault, struct lab_reply *reply)
{
	const struct lab_imds_error *error = fault->imds;

	if (error->versions) {
		bad_version(reply);
	} else if (error->error) {
		lab_reply_error(reply, error->status, error->error, error->text);
	} else {
		reply->status = error->status;
		reply->content_type = LAB_PLAIN;
		ig_buf_puts(&reply->body, error->text);
	}
	reply->server = error->server;
	reply->fault = "imds_error";
	if (fault->retry_after_sec)
		ig_buf_printf(
			&reply->headers, "Retry-After: %" PRIu64 "\r\n", fault->retry_after_sec);
}

bool lab_imds_serve(struct lab *lab, const struct lab_request *req, struct lab_reply *reply)
{
	struct lab_form query;
	struct call call = {.lab = lab, .req = req, .query = &query, .reply = reply};
	const char *path = req->path + strlen(ROOT);
	struct lab_service_fault fault;
	int r;

	/* only this part of the path is compared without regard to letter case */
	if (strncasecmp(req->path, ROOT, strlen(ROOT)) != 0 || (*path && *path != '/'))
		return false;
	if (lab_service_fault_take(&lab->faults.imds, &fault)) {
		serve_fault(&fault, reply);
		return true;
	}
	call.route = find_route(path, &call.rest);
	if (!call.route) {
		not_found(reply, path);
		return true;
	}
	r = lab_form_parse(req->query, strlen(req->query), &query);
	check_and_serve(&call, r);
	lab_form_done(&query);
	return true;
}
