/*
 * TokenRequest; see token_request.h. Called by the token service, through the provider.
 *
 * It must never put into a URL what is not a name, ask for a token that is not bound to a pod, take
 * for a token what is none, or keep one: what is ours of it is overwritten when the callback
 * returns, as is what jansson and the HTTP client free. What the API server says is not repeated in
 * texts: only its status is.
 */
#include "kube/token_request.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "kube/client.h"
#include "objects/names.h"

#define EXPIRATION_SEC 3600 /* the API server gives no less than 600 */
#define PATH_BYTES     (2 * IG_OBJECT_NAME_BYTES + 64)
#define TEXT_BYTES     1024
#define BODY_BYTES     4096

/* The parts of a credential. */
struct subject {
	char text[IG_CREDENTIAL_PATH_BYTES + 1]; /* the rest points into it */
	const char *namespace;
	const char *account;
	const char *pod;
	const char *uid;
};

struct token_call {
	struct ig_kube_call *call;
	struct subject subject;
	ig_assertion_done *done;
	void *userdata;
};

static void free_json(json_t **p)
{
	json_decref(*p);
}

/* ---- request --------------------------------------------------------------------------------- */

/* Cuts at the next slash. */
static const char *next_part(char **rest)
{
	const char *part = strsep(rest, "/");

	return part ? part : "";
}

/* Only what is a name: it goes into a URL. */
static int read_subject(const char *credential, struct subject *ret)
{
	char *rest = ret->text;

	if (strlen(credential) >= sizeof(ret->text))
		return -EINVAL;
	(void)stpcpy(ret->text, credential);
	ret->namespace = next_part(&rest);
	ret->account = next_part(&rest);
	ret->pod = next_part(&rest);
	ret->uid = next_part(&rest);
	if (rest || !ig_name_is_dns_label(ret->namespace) ||
		!ig_name_is_dns_subdomain(ret->account) || !ig_name_is_dns_subdomain(ret->pod) ||
		!ig_name_is_pod_uid(ret->uid))
		return -EINVAL;
	return 0;
}

/* The caller frees *ret. */
static int make_body(const struct subject *subject, const char *audience, char **ret)
{
	_cleanup_(free_json) json_t *body = json_pack(
		"{s:s, s:s, s:{s:[s], s:i, s:{s:s, s:s, s:s, s:s}}}", "apiVersion",
		"authentication.k8s.io/v1", "kind", "TokenRequest", "spec", "audiences", audience,
		"expirationSeconds", EXPIRATION_SEC, "boundObjectRef", "apiVersion", "v1", "kind",
		"Pod", "name", subject->pod, "uid", subject->uid);
	_cleanup_(ig_buf_donep) struct ig_buf text = {.limit = BODY_BYTES};
	int r;

	if (!body)
		return -ENOMEM;
	ig_json_dump(&text, body, JSON_COMPACT);
	r = ig_buf_finish(&text);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(text.data);
	return 0;
}

/* ---- reply ----------------------------------------------------------------------------------- */

static bool is_token(const char *s, size_t len)
{
	if (len == 0 || len > IG_ASSERTION_BYTES)
		return false;
	for (size_t i = 0; i < len; i++)
		if (s[i] < 0x21 || s[i] > 0x7e)
			return false;
	return true;
}

static void tell(const struct token_call *call, int error, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void tell(const struct token_call *call, int error, const char *fmt, ...)
{
	char text[TEXT_BYTES];
	const struct ig_assertion_result result = {.error = error, .text = text};
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	call->done(&result, call->userdata);
}

static void tell_token(const struct token_call *call, const struct ig_http_response *response)
{
	_cleanup_(free_json) json_t *reply = NULL;
	const json_t *token;
	json_error_t error;

	reply = ig_json_load(response->body, response->body_len, JSON_REJECT_DUPLICATES, &error);
	if (!reply && json_error_code(&error) == json_error_out_of_memory) {
		tell(call, -ENOMEM, "out of memory");
		return;
	}
	token = json_object_get(json_object_get(reply, "status"), "token");
	if (!is_token(json_string_value(token), json_string_length(token))) {
		tell(call, -EBADMSG, "the API server's reply holds no token");
		return;
	}
	call->done(&(struct ig_assertion_result){.assertion = json_string_value(token)},
		call->userdata);
}

/* Statuses that are errors, and what the server's handler of this request means by them. */
static void tell_refusal(const struct token_call *call, unsigned int status)
{
	const struct subject *s = &call->subject;

	switch (status) {
	case 401:
		tell(call, -EACCES, "the API server does not accept the agent's credential (401)");
		return;
	case 403:
		tell(call, -EACCES,
			"the API server forbids a token for service account %s/%s (403): the agent lacks the right to \"create\" \"serviceaccounts/token\", or an admission rule is against it",
			s->namespace, s->account);
		return;
	case 404:
	case 409: /* another uid */
	case 422:
		tell(call, -ENOENT,
			"the API server knows no such pod %s/%s (%s) with service account %s (%u)",
			s->namespace, s->pod, s->uid, s->account, status);
		return;
	case 408:
	case 429: break;
	default:
		if (status >= 500)
			break;
		tell(call, -EBADMSG, "the API server answered %u to a request for a token", status);
		return;
	}
	tell(call, -EAGAIN, "the API server answered %u", status);
}

/* There was no answer. Errors that mean something else to those who ask for assertions (the pod is
 * gone; we may not) must not come from a connection that failed. */
static int transport_error(int error)
{
	return error == -ENOENT || error == -EACCES ? -EIO : error;
}

static void on_done(const struct ig_http_response *response, void *userdata)
{
	_cleanup_free_ struct token_call *call = userdata;

	if (response->error < 0)
		tell(call, transport_error(response->error), "the API server cannot be asked: %s",
			response->error_text);
	else if (response->status == 201)
		tell_token(call, response);
	else
		tell_refusal(call, response->status);
}

/* ---- provider -------------------------------------------------------------------------------- */

static int send_request(struct token_call *call, struct ig_kube_client *client,
	const char *audience, uint64_t timeout_usec)
{
	_cleanup_free_ char *body = NULL;
	char path[PATH_BYTES];
	struct ig_kube_request request = {
		.method = "POST",
		.path = path,
		.content_type = "application/json",
		.timeout_usec = timeout_usec,
		.response_limit_bytes = IG_TOKEN_REQUEST_BYTES,
	};
	int r;

	(void)snprintf(path, sizeof(path), "/api/v1/namespaces/%s/serviceaccounts/%s/token",
		call->subject.namespace, call->subject.account);
	r = make_body(&call->subject, audience, &body);
	if (r < 0)
		return r;
	request.body = body;
	request.body_len = strlen(body);
	return ig_kube_client_start(client, &request, on_done, call, &call->call);
}

static int start(void *userdata, const char *credential, const char *audience,
	uint64_t timeout_usec, ig_assertion_done *done, void *done_userdata, void **ret_call)
{
	_cleanup_free_ struct token_call *call = calloc(1, sizeof(*call));
	int r;

	if (!call)
		return -ENOMEM;
	call->done = done;
	call->userdata = done_userdata;
	r = read_subject(credential, &call->subject);
	if (r == 0)
		r = send_request(call, userdata, audience, timeout_usec);
	if (r < 0)
		return r;
	*ret_call = TAKE_PTR(call);
	return 0;
}

static void cancel(void *userdata, void *started)
{
	_cleanup_free_ struct token_call *call = started;

	(void)userdata;
	ig_kube_call_cancel(call->call);
}

void ig_kube_token_provider(struct ig_kube_client *client, struct ig_assertion_provider *ret)
{
	ig_json_wipe_memory();
	*ret = (struct ig_assertion_provider){.start = start, .cancel = cancel, .userdata = client};
}
