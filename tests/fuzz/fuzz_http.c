/*
 * A connection of the HTTP server, from bytes to replies: what a pod can send, cut into pieces,
 * through parser, routes and validation to a reply. Cutting must change nothing: the same bytes in
 * one piece end in the same requests, refusals and replies.
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "base/parse.h"
#include "http/server.h"
#include "imds/document.h"
#include "imds/host_token.h"
#include "imds/reply.h"
#include "imds/request.h"
#include "imds/routes.h"

struct run {
	uint64_t heard;	   /* hash of what the layer above was told */
	uint64_t received; /* hash of what the client got, without dates */
	size_t n_requests;
	bool closed;
};

static struct event_base *base;

static void check_text(const char *text)
{
	FUZZ_CHECK(text);
	FUZZ_CHECK(!strpbrk(text, "\r\n"));
}

static void hear_request(struct run *run, const struct ig_http_request *req)
{
	check_text(req->target);
	FUZZ_CHECK(req->method < _IG_HTTP_METHOD_MAX);
	FUZZ_CHECK(req->n_headers <= IG_HTTP_HEADERS_MAX);
	FUZZ_CHECK(req->body_len <= IG_HTTP_BODY_BYTES);
	FUZZ_CHECK(strlen(req->target) <= IG_HTTP_TARGET_BYTES);
	FUZZ_CHECK(!req->body == !req->body_len);
	run->heard = fuzz_hash(run->heard, &req->method, sizeof(req->method));
	run->heard = fuzz_hash_text(run->heard, req->target);
	for (size_t i = 0; i < req->n_headers; i++) {
		check_text(req->headers[i].name);
		check_text(req->headers[i].value);
		run->heard = fuzz_hash_text(run->heard, req->headers[i].name);
		run->heard = fuzz_hash_text(run->heard, req->headers[i].value);
	}
	if (req->body_len)
		run->heard = fuzz_hash(run->heard, req->body, req->body_len);
}

/* As the agent does it, up to where a workload is looked up. */
static int answer(const struct ig_http_request *req, struct ig_imds_reply *reply)
{
	struct ig_imds_target target = ig_imds_route(req->target);
	struct ig_imds_token_request token;
	struct ig_imds_document document;

	switch (target.route) {
	case IG_IMDS_ROUTE_TOKEN: return ig_imds_token_request_parse(req, &target, &token, reply);
	case IG_IMDS_ROUTE_INFO: return ig_imds_info_parse(req, &target, reply);
	case IG_IMDS_ROUTE_INSTANCE:
	case IG_IMDS_ROUTE_ATTESTED:
	case IG_IMDS_ROUTE_LOADBALANCER:
	case IG_IMDS_ROUTE_SCHEDULEDEVENTS:
		return ig_imds_document_parse(req, &target, &document, reply);
	case IG_IMDS_ROUTE_VERSIONS: return ig_imds_check_headers(req, reply);
	default: return ig_imds_reply_error(IG_IMDS_ERROR_NOT_FOUND, NULL, NULL, reply);
	}
}

static void on_request(struct ig_http_conn *conn, const struct ig_http_request *req, void *data)
{
	struct ig_imds_reply reply = {};
	struct ig_imds_client_facts facts;
	struct run *run = data;

	run->n_requests++;
	hear_request(run, req);
	ig_imds_client_facts(req, &facts);
	if (answer(req, &reply) < 0 || reply.status)
		ig_http_conn_respond(conn, reply.status, reply.content_type, reply.headers,
			reply.n_headers, reply.body.data, reply.body.len);
	else
		ig_http_conn_respond(conn, 200, "application/json", NULL, 0, "{}", 2);
	ig_imds_reply_done(&reply);
}

static void on_malformed(
	struct ig_http_conn *conn, unsigned int status, const char *why, void *data)
{
	struct run *run = data;

	(void)conn;
	FUZZ_CHECK(status >= 400 && status < 500);
	run->heard = fuzz_hash(run->heard, &status, sizeof(status));
	run->heard = fuzz_hash_text(run->heard, why);
}

static void on_close(struct ig_http_conn *conn, void *data)
{
	struct run *run = data;

	(void)conn;
	FUZZ_CHECK(!run->closed);
	run->closed = true;
}

static void turn(void)
{
	for (int i = 0; i < 3; i++)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
}

static size_t number_at(const char *digits)
{
	char text[21] = "";
	uint64_t number;

	memcpy(text, digits, strnlen(digits, sizeof(text) - 1));
	text[strspn(text, "0123456789")] = '\0';
	FUZZ_CHECK(ig_parse_u64(text, &number) == 0);
	return number;
}

/* What came back: complete responses only, each with its own length. The date is another one in
 * each second. */
static void check_received(struct run *run, char *text, size_t len)
{
	size_t at = 0;

	while (at < len) {
		char *head = text + at, *date, *field;
		char *end = memmem(head, len - at, "\r\n\r\n", 4);
		size_t body;

		FUZZ_CHECK(strncmp(head, "HTTP/1.1 ", 9) == 0);
		FUZZ_CHECK(end);
		field = memmem(head, (size_t)(end - head) + 2, "\r\nContent-Length: ", 18);
		FUZZ_CHECK(field);
		body = number_at(field + 18);
		date = memmem(head, (size_t)(end - head), "\r\nDate: ", 8);
		FUZZ_CHECK(date && date + 8 + 29 <= end);
		memset(date + 8, '0', 29);
		/* HEAD has a length and no body */
		if (at + (size_t)(end + 4 - head) + body > len ||
			strncmp(end + 4, "HTTP/1.1 ", 9) == 0)
			body = 0;
		at += (size_t)(end + 4 - head) + body;
	}
	FUZZ_CHECK(at == len);
	run->received = fuzz_hash(run->received, text, len);
}

static size_t receive(int fd, char *to, size_t room)
{
	size_t len = 0;
	ssize_t n;

	for (;;) {
		FUZZ_CHECK(len < room);
		n = recv(fd, to + len, room - len, MSG_DONTWAIT);
		if (n > 0)
			len += (size_t)n;
		else if (n == 0 || errno != ECONNRESET) /* said once, before what is still there */
			return len;
	}
}

#define RECEIVED_BYTES (4 * 1024 * 1024)

static void run_through(const uint8_t *data, size_t size, struct fuzz_cuts *cuts, struct run *run)
{
	static const struct ig_http_server_ops ops = {
		.on_request = on_request, .on_malformed = on_malformed, .on_close = on_close};
	static char received[RECEIVED_BYTES + 1];
	struct ig_http_server *server = NULL;
	struct ig_http_conn *conn = NULL;
	size_t len = 0;
	int fds[2];

	*run = (struct run){.heard = FUZZ_HASH_INIT, .received = FUZZ_HASH_INIT};
	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	FUZZ_CHECK(ig_http_server_new(base, &ops, &server) == 0);
	FUZZ_CHECK(ig_http_server_add(server, fds[0], NULL, run, &conn) == 0);
	while (size > 0 && !run->closed) {
		size_t piece = cuts ? fuzz_cut(cuts, size) : size;
		ssize_t n = send(fds[1], data, piece, MSG_NOSIGNAL | MSG_DONTWAIT);

		turn();
		len += receive(fds[1], received + len, RECEIVED_BYTES - len);
		if (n < 0 && errno != EAGAIN)
			break;
		if (n > 0) {
			data += n;
			size -= (size_t)n;
		}
	}
	(void)shutdown(fds[1], SHUT_WR);
	turn();
	len += receive(fds[1], received + len, RECEIVED_BYTES - len);
	(void)ig_http_server_free(server);
	FUZZ_CHECK(run->closed);
	received[len] = '\0';
	check_received(run, received, len);
	(void)close(fds[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {.data = data, .left = size};
	struct fuzz_cuts cuts = {.state = fuzz_byte(&in)};
	struct run whole, cut;

	if (!base)
		base = event_base_new();
	FUZZ_CHECK(base);
	run_through(in.data, in.left, NULL, &whole);
	run_through(in.data, in.left, &cuts, &cut);
	FUZZ_CHECK(whole.n_requests == cut.n_requests);
	FUZZ_CHECK(whole.heard == cut.heard);
	FUZZ_CHECK(whole.received == cut.received);
	return 0;
}
