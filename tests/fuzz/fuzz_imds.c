/*
 * The metadata protocol without HTTP around it: a request target in the first line, headers in the
 * next ones up to an empty line, then what upstream answered. What is let through is checked
 * against the rules in plain words: canonical paths only, and no byte of a request in an upstream
 * URL that is not in a closed set.
 */
#include "fuzz/fuzz.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "base/parse.h"
#include "imds/document.h"
#include "imds/host_token.h"
#include "imds/query.h"
#include "imds/request.h"

#define HEADERS_MAX 16

struct message {
	struct ig_http_request request;
	struct ig_http_header headers[HEADERS_MAX];
	char *lines[HEADERS_MAX + 1];
	size_t n_lines;
};

/* Could a careless server take it for another path? */
static bool is_canonical(const char *path, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool dot = path[i] == '.' && (i == 0 || path[i - 1] == '/');
		bool dots = dot && path[i + 1] == '.';

		if ((unsigned char)path[i] <= 0x20 || (unsigned char)path[i] >= 0x7f)
			return false;
		if (strchr("%\\;#?", path[i]))
			return false;
		if (path[i] == '/' && i + 1 < len && path[i + 1] == '/')
			return false;
		if (dot && (i + 1 == len || path[i + 1] == '/'))
			return false;
		if (dots && (i + 2 == len || path[i + 2] == '/'))
			return false;
	}
	return len > 0 && path[0] == '/';
}

static bool is_forwarded(enum ig_imds_route route)
{
	return route == IG_IMDS_ROUTE_INSTANCE || route == IG_IMDS_ROUTE_ATTESTED ||
	       route == IG_IMDS_ROUTE_LOADBALANCER || route == IG_IMDS_ROUTE_SCHEDULEDEVENTS;
}

static void check_target(const char *text, const struct ig_imds_target *target)
{
	FUZZ_CHECK(target->route < _IG_IMDS_ROUTE_MAX);
	FUZZ_CHECK(ig_imds_route_name(target->route)[0]);
	FUZZ_CHECK(target->path >= text && target->path + target->path_len <= text + strlen(text));
	FUZZ_CHECK(target->query);
	if (target->route == IG_IMDS_ROUTE_NONE || target->route == IG_IMDS_ROUTE_INVALID)
		return;
	FUZZ_CHECK(is_canonical(target->path, target->path_len));
	FUZZ_CHECK(target->route == IG_IMDS_ROUTE_HOST_TOKEN ||
		   (target->path_len > 10 && strncasecmp(target->path, "/metadata/", 10) == 0));
}

static void check_reply(const struct ig_imds_reply *reply)
{
	FUZZ_CHECK(reply->status >= 200 && reply->status < 600);
	FUZZ_CHECK(reply->error < _IG_IMDS_ERROR_MAX);
	FUZZ_CHECK(reply->n_headers <= IG_IMDS_REPLY_HEADERS);
	for (size_t i = 0; i < reply->n_headers; i++)
		FUZZ_CHECK(!strpbrk(reply->headers[i].value, "\r\n"));
}

static void check_query(const char *text)
{
	static struct ig_imds_query q;

	if (ig_imds_query_parse(text, &q) < 0)
		return;
	FUZZ_CHECK(q.n_params <= IG_QUERY_PARAMS_MAX);
	for (size_t i = 0; i < q.n_params; i++) {
		FUZZ_CHECK(strlen(q.params[i].value) == q.params[i].value_len);
		for (const char *p = q.params[i].value; *p; p++)
			FUZZ_CHECK((unsigned char)*p >= 0x20 && *p != 0x7f);
		for (size_t j = 0; j < i; j++)
			FUZZ_CHECK(strcmp(q.params[i].name, q.params[j].name) != 0);
	}
}

/* What a client would take for a reply of the token path. */
static bool is_token(const char *answer)
{
	json_t *tree = json_loads(answer, 0, NULL);
	bool token = json_object_get(tree, "access_token") ||
		     json_object_get(json_array_get(tree, 0), "access_token");

	json_decref(tree);
	return token;
}

static void check_document(const struct ig_imds_document *document, const char *answer)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./:?=&";
	static const unsigned int statuses[] = {200, 400, 404, 410, 503, 302};
	char *url = NULL;
	int r = ig_imds_document_url("http://127.0.0.1:9", document, &url);

	FUZZ_CHECK(is_canonical(document->path, strlen(document->path)));
	FUZZ_CHECK(strncmp(document->path, "/metadata/", 10) == 0);
	FUZZ_CHECK(r == 0 || document->flaw != IG_IMDS_ERROR_NONE || r == -E2BIG);
	if (r == 0) {
		FUZZ_CHECK(strncmp(url, "http://127.0.0.1:9/metadata/", 28) == 0);
		FUZZ_CHECK(url[strspn(url, allowed)] == '\0');
	}
	free(url);
	for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
		struct ig_imds_reply reply = {};

		FUZZ_CHECK(ig_imds_document_reply(
				   document, statuses[i], answer, strlen(answer), &reply) == 0);
		check_reply(&reply);
		FUZZ_CHECK(reply.error != IG_IMDS_ERROR_NONE || !is_token(answer));
		ig_imds_reply_done(&reply);
	}
}

static void check_token(const struct ig_imds_token_request *token)
{
	const struct ig_imds_token_view view = {.access_token = "x.y.z",
		.client_id = "0d46c104-1111-2222-3333-444444444444",
		.resource = token->resource,
		.expires_on_sec = 2000,
		.not_before_sec = 1000,
		.ext_expires_in_sec = 1000,
		.now_sec = 1000,
		.selector = &token->selector};
	struct ig_imds_reply reply = {};
	json_t *body;

	FUZZ_CHECK(token->resource[0]);
	FUZZ_CHECK(strlen(token->resource) <= IG_RESOURCE_BYTES);
	FUZZ_CHECK(ig_imds_reply_token(&view, &reply) == 0);
	check_reply(&reply);
	/* what the client sent is echoed byte for byte, and nothing else came of it */
	body = json_loadb(reply.body.data, reply.body.len, JSON_REJECT_DUPLICATES, NULL);
	FUZZ_CHECK(body);
	FUZZ_CHECK(
		strcmp(json_string_value(json_object_get(body, "resource")), token->resource) == 0);
	FUZZ_CHECK(!memchr(reply.body.data, '\n', reply.body.len));
	json_decref(body);
	ig_imds_reply_done(&reply);
}

static void ask(
	const struct ig_http_request *req, const struct ig_imds_target *target, const char *answer)
{
	struct ig_imds_reply reply = {};
	struct ig_imds_token_request token;
	struct ig_imds_document document;
	int r;

	if (target->route == IG_IMDS_ROUTE_TOKEN) {
		r = ig_imds_token_request_parse(req, target, &token, &reply);
		if (r == 0)
			check_token(&token);
	} else if (target->route == IG_IMDS_ROUTE_INFO) {
		r = ig_imds_info_parse(req, target, &reply);
	} else if (is_forwarded(target->route)) {
		r = ig_imds_document_parse(req, target, &document, &reply);
		if (r == 0)
			check_document(&document, answer);
	} else {
		r = ig_imds_check_headers(req, &reply);
	}
	FUZZ_CHECK(r == 0 || r == -EBADMSG);
	if (r < 0)
		check_reply(&reply);
	ig_imds_reply_done(&reply);
}

static void ask_as_host(const struct ig_http_request *req)
{
	struct ig_imds_target target = ig_imds_route_host(req->target);
	struct ig_imds_token_request token;
	struct ig_imds_pod_name pod;
	struct ig_imds_reply reply = {};
	int r;

	check_target(req->target, &target);
	FUZZ_CHECK(!is_forwarded(target.route) && target.route != IG_IMDS_ROUTE_TOKEN);
	r = ig_imds_host_token_parse(req, &target, &token, &pod, &reply);
	FUZZ_CHECK(r == 0 || r == -EBADMSG);
	if (r == 0) {
		FUZZ_CHECK(target.route == IG_IMDS_ROUTE_HOST_TOKEN);
		for (const char *p = pod.name; *p; p++)
			FUZZ_CHECK(islower((unsigned char)*p) || isdigit((unsigned char)*p) ||
				   *p == '-' || *p == '.');
		FUZZ_CHECK(pod.namespace[0] && !strchr(pod.namespace, '/'));
		check_token(&token);
	} else {
		check_reply(&reply);
	}
	ig_imds_reply_done(&reply);
}

static void read_message(struct fuzz_input *in, struct message *m)
{
	size_t n = 0;

	m->lines[m->n_lines++] = fuzz_line(in);
	m->request.target = m->lines[0];
	while (n < HEADERS_MAX) {
		char *line = fuzz_line(in), *colon = strchr(line, ':');

		m->lines[m->n_lines++] = line;
		if (!colon)
			break;
		*colon = '\0';
		m->headers[n++] = (struct ig_http_header){line, colon + 1};
	}
	m->request.headers = m->headers;
	m->request.n_headers = n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {.data = data, .left = size};
	struct message m = {.request = {.minor_version = 1}};
	struct ig_imds_client_facts facts;
	struct ig_imds_target target;
	char *answer;

	m.request.method = fuzz_byte(&in) % _IG_HTTP_METHOD_MAX;
	read_message(&in, &m);
	answer = fuzz_text(&in);
	target = ig_imds_route(m.request.target);
	check_target(m.request.target, &target);
	FUZZ_CHECK(target.route != IG_IMDS_ROUTE_HOST_TOKEN);
	check_query(target.query);
	ig_imds_client_facts(&m.request, &facts);
	ask(&m.request, &target, answer);
	ask_as_host(&m.request);
	free(answer);
	for (size_t i = 0; i < m.n_lines; i++)
		free(m.lines[i]);
	return 0;
}
