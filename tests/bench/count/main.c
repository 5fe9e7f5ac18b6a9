/*
 * Does one thing of the agent so many times, for ../test_instructions.py, which counts
 * instructions:
 *
 *	count OPERATION N DIRECTORY
 *
 * After what is done once, and after WARM_UP turns that fill caches and rings, every turn takes the
 * same way through the code. So the difference of two runs with different N is that of the turns
 * alone.
 */
#include <arpa/inet.h>
#include <event2/event.h>
#include <jansson.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "audit/line.h"
#include "audit/otlp_format.h"
#include "audit/syslog_format.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "node.h"
#include "policy/binding.h"

#define WARM_UP	    900 /* more than the audit keeps for subscribers */
#define SMALL_NODE  50	/* pods, with a binding each */
#define LARGE_NODE  1000
#define REPLY_BYTES 8192

static const char request[] =
	"GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net HTTP/1.1\r\n"
	"Host: 169.254.169.254\r\nMetadata: true\r\nUser-Agent: azsdk-go-azidentity/v1.5.1 (go1.21.6; linux)\r\n"
	"Accept: application/json\r\nAccept-Encoding: gzip\r\n\r\n";

struct client {
	struct node *node;
	int fd;		  /* -1: not connected */
	size_t reply_len; /* 0: not known yet */
};

/* ---- requests -------------------------------------------------------------------------------- */

static void client_connect(struct client *c)
{
	const struct sockaddr_in gate = {.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons(c->node->gate_port)};
	int on = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ||
		connect(c->fd, (const struct sockaddr *)&gate, sizeof(gate)) < 0)
		node_die("connect to the gate");
}

static void client_close(struct client *c)
{
	struct ig_gate *gate = c->node->agent.gate;

	c->fd = ig_close(c->fd);
	while (ig_gate_connection_count(gate) > 0)
		(void)event_base_loop(c->node->agent.base, EVLOOP_ONCE);
}

/* How long a reply with this head is. */
static size_t whole_reply(const char *text)
{
	const char *head_end = strstr(text, "\r\n\r\n"), *field = strstr(text, "Content-Length: ");
	char number[16] = "";
	uint64_t len;

	if (strncmp(text, "HTTP/1.1 200 ", 13) != 0 || !head_end || !field) {
		(void)fprintf(stderr, "%s\n", text);
		node_die("a reply without a token");
	}
	field += strlen("Content-Length: ");
	memcpy(number, field, strspn(field, "0123456789"));
	if (ig_parse_u64(number, &len) < 0)
		node_die("a reply of no length");
	return (size_t)(head_end + 4 - text) + len;
}

static void ask(struct client *c)
{
	char reply[REPLY_BYTES + 1] = "";
	size_t len = 0;

	node_next_turn();
	if (send(c->fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != sizeof(request) - 1)
		node_die("send");
	while (len == 0 || len < c->reply_len) {
		ssize_t n;

		(void)event_base_loop(c->node->agent.base, EVLOOP_ONCE);
		n = recv(c->fd, reply + len, REPLY_BYTES - len, MSG_DONTWAIT);
		len += n > 0 ? (size_t)n : 0;
		if (len > 0 && c->reply_len == 0) {
			reply[len] = '\0';
			c->reply_len = whole_reply(reply);
		}
	}
	if (len != c->reply_len || memcmp(reply, "HTTP/1.1 200 ", 13) != 0)
		node_die("another reply");
}

static void ask_again(struct client *c, unsigned int n)
{
	if (c->fd < 0)
		client_connect(c);
	while (n-- > 0)
		ask(c);
}

static void ask_anew(struct client *c, unsigned int n)
{
	while (n-- > 0) {
		client_connect(c);
		ask(c);
		client_close(c);
	}
}

static void run_requests(
	struct node *node, void (*turns)(struct client *c, unsigned int n), unsigned int n)
{
	struct client client = {.node = node, .fd = -1};

	turns(&client, WARM_UP + n);
	if (client.fd >= 0)
		client_close(&client);
}

static void run_request(struct node *node, unsigned int n)
{
	run_requests(node, ask_again, n);
}

static void run_connection(struct node *node, unsigned int n)
{
	run_requests(node, ask_anew, n);
}

/* ---- kernel events --------------------------------------------------------------------------- */

static void take_events(struct node *node, unsigned int n)
{
	struct ig_event event = {.reason = IG_EVENT_DENIED};

	node_fill_flow(&event.flow);
	for (unsigned int i = 0; i < n; i++) {
		event.flow.cookie++;
		node_next_turn();
		ig_record_kernel_event(&node->agent, &event);
		if (i == 0) /* facts about the caller come from the monitor, once */
			(void)event_base_loop(node->agent.base, EVLOOP_NONBLOCK);
	}
}

static void run_event(struct node *node, unsigned int n)
{
	take_events(node, WARM_UP + n);
}

/* ---- parts ----------------------------------------------------------------------------------- */

static void run_policy(struct node *node, unsigned int n)
{
	const struct ig_store *store = node->agent.store;
	const struct ig_pod *pod = ig_store_pod_by_name(store, "shop", NODE_POD);
	const struct ig_selector selector = {};

	for (unsigned int i = 0; i < n; i++)
		if (ig_policy_select(store, pod, &selector, &node->options.policy, NULL, NULL)
				.outcome != IG_POLICY_GRANT)
			node_die("not granted");
}

static struct ig_audit_line *make_line(void)
{
	static const char text[] =
		"{\"v\":1,\"seq\":4711,\"time\":\"2026-01-01T00:00:00.000000Z\",\"boot\":\"aaaaaaaa-1111-4000-8000-000000000500\",\"run\":\"5a5a5a5a5a5a5a5a\",\"node\":\"node-1\",\"kind\":\"token.issued\",\"decision\":\"allow\",\"reason\":\"bound\",\"pod\":{\"namespace\":\"shop\",\"name\":\"app-500\",\"uid\":\"aaaaaaaa-1111-4000-8000-000000000500\",\"service_account\":\"app\",\"host_network\":false},\"process\":{\"pid\":31337,\"uid\":1000,\"gid\":1000,\"comm\":\"app\",\"exe\":\"/usr/bin/app\"},\"request\":{\"method\":\"GET\",\"route\":\"token\",\"resource\":\"https://vault.azure.net\",\"status\":200},\"identity\":{\"namespace\":\"shop\",\"name\":\"id-500\",\"binding\":\"binding-500\"}}\n";
	struct ig_audit_line *line = ig_audit_line_new(text, sizeof(text) - 1);

	if (!line)
		node_die("a line");
	line->seq = 4711;
	line->kind = IG_AUDIT_TOKEN_ISSUED;
	line->decision = IG_AUDIT_ALLOW;
	line->time_usec = 1767225600000000;
	return line;
}

static void run_syslog(struct node *node, unsigned int n)
{
	_cleanup_(ig_audit_line_unrefp) struct ig_audit_line *line = make_line();
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 65536};

	(void)node;
	for (unsigned int i = 0; i < n; i++) {
		ig_buf_reset(&b);
		ig_syslog_format(line, "node-1", "5a5a5a5a5a5a5a5a", 31337, &b);
		if (ig_buf_finish(&b) < 0)
			node_die("a syslog message");
	}
}

static void run_otlp(struct node *node, unsigned int n)
{
	const struct ig_otlp_resource resource = {
		.version = "1", .node = "node-1", .run_id = "5a5a5a5a5a5a5a5a"};
	_cleanup_(ig_audit_line_unrefp) struct ig_audit_line *line = make_line();
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = 65536};

	(void)node;
	for (unsigned int i = 0; i < n; i++) {
		ig_buf_reset(&b);
		ig_otlp_format(&line, 1, &resource, &b);
		if (ig_buf_finish(&b) < 0)
			node_die("a request to a collector");
	}
}

/* ---------------------------------------------------------------------------------------------- */

static const struct operation {
	const char *name;
	void (*run)(struct node *node, unsigned int n);
	unsigned int pods;
	bool chain;
} operations[] = {
	{.name = "request", .run = run_request, .pods = SMALL_NODE},
	{.name = "connection", .run = run_connection, .pods = SMALL_NODE},
	{.name = "event", .run = run_event, .pods = SMALL_NODE},
	{.name = "event-chained", .run = run_event, .pods = SMALL_NODE, .chain = true},
	{.name = "policy", .run = run_policy, .pods = LARGE_NODE},
	{.name = "syslog", .run = run_syslog, .pods = SMALL_NODE},
	{.name = "otlp", .run = run_otlp, .pods = SMALL_NODE},
};

static const struct operation *find(const char *name)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(operations); i++)
		if (strcmp(operations[i].name, name) == 0)
			return &operations[i];
	return NULL;
}

int main(int argc, char **argv)
{
	const struct operation *operation = argc == 4 ? find(argv[1]) : NULL;
	char audit[512];
	struct node node;
	uint32_t n;

	if (!operation || ig_parse_u32(argv[2], &n) < 0) {
		for (size_t i = 0; i < IG_ARRAY_SIZE(operations); i++)
			puts(operations[i].name);
		return argc == 1 ? 0 : 2;
	}
	json_object_seed(1); /* else it is the time's, and memory is laid out anew each time */
	(void)snprintf(audit, sizeof(audit), "%s/audit.jsonl", argv[3]);
	node_init(&node, audit, operation->pods, operation->chain);
	operation->run(&node, n);
	node_done(&node);
	return 0;
}
