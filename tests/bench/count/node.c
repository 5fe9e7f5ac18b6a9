/*
 * The agent for counting; see node.h.
 */
#include "node.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/link.h"
#include "agent/metrics.h"
#include "agent/rate.h"
#include "agent/waiting.h"
#include "audit/sink_file.h"
#include "audit/stream.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdutil.h"
#include "datapath/datapath.h"
#include "http/client.h"
#include "metrics/metrics.h"
#include "objects/manifest.h"
#include "token/service.h"

#define NETNS_COOKIE 4711
#define TURN_USEC    (10 * IG_USEC_PER_MSEC)
#define START_USEC   (4102444800 * IG_USEC_PER_SEC) /* 2100-01-01: pthread_timedjoin_np() waits */
#define TOKEN_BYTES  1500			    /* of a real one, more or less */
#define CLIENT_ID    "aaaaaaaa-0000-4000-8000-000000000025"
#define CGROUP                                                                                     \
	"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podaaaaaaaa_1111_4000_8000_000000000025.slice/cri-containerd-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope"

/* each thread has its own, so that none depends on what the others do meanwhile */
static _Thread_local uint64_t now_usec = IG_USEC_PER_SEC;

void node_die(const char *what)
{
	(void)fprintf(stderr, "count: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void must(int r, const char *what)
{
	if (r >= 0)
		return;
	errno = -r;
	node_die(what);
}

/* ---- what stands in front of the machine ----------------------------------------------------- */

uint64_t __wrap_ig_clock_mono_usec(void);
uint64_t __wrap_ig_clock_real_usec(void);
ssize_t __wrap_getrandom(void *buf, size_t len, unsigned int flags);
int __wrap_ig_flow_take(int flows_fd, const struct ig_flow_key *key, struct ig_flow *ret);

uint64_t __wrap_ig_clock_mono_usec(void)
{
	return now_usec++;
}

uint64_t __wrap_ig_clock_real_usec(void)
{
	return START_USEC + now_usec;
}

ssize_t __wrap_getrandom(void *buf, size_t len, unsigned int flags)
{
	(void)flags;
	memset(buf, 0x5a, len);
	return (ssize_t)len;
}

int __wrap_ig_flow_take(int flows_fd, const struct ig_flow_key *key, struct ig_flow *ret)
{
	(void)flows_fd;
	(void)key;
	node_fill_flow(ret);
	return 0;
}

void node_next_turn(void)
{
	now_usec += TURN_USEC;
}

void node_fill_flow(struct ig_flow *ret)
{
	*ret = (struct ig_flow){
		.caller = {.netns_cookie = NETNS_COOKIE,
			.cgroup_id = 123456,
			.workload_cgroup_id = 123450,
			.start_time_ns = 9876543210123,
			.exe_inode = 7654321,
			.exe_device = 8 << 20 | 1,
			.tgid = 31337,
			.tid = 31338,
			.uid = 1000,
			.gid = 1000,
			.comm = "app"},
		.cookie = 123456789,
		.daddr_be = htonl(0xa9fea9fe),
		.dport_be = htons(80),
		.family = AF_INET,
		.protocol = IPPROTO_TCP,
		.endpoint = IG_ENDPOINT_IMDS,
	};
}

/* ---- the monitor ----------------------------------------------------------------------------- */

static void on_monitor_request(evutil_socket_t fd, short what, void *arg)
{
	struct ig_monitor_request request;
	struct ig_monitor_message reply = {.kind = IG_MONITOR_REPLY};

	(void)what;
	(void)arg;
	if (recv(fd, &request, sizeof(request), 0) != (ssize_t)sizeof(request))
		node_die("the server's request");
	reply.seq = request.seq;
	reply.request = request.kind;
	if (request.kind == IG_MONITOR_CGROUP_PATH)
		(void)snprintf(reply.cgroup_path, sizeof(reply.cgroup_path), CGROUP);
	else if (request.kind == IG_MONITOR_PROCESS)
		(void)snprintf(reply.process.path, sizeof(reply.process.path), "/usr/bin/app");
	else
		reply.result = -EINVAL;
	must(ig_fd_send(fd, &reply, sizeof(reply), NULL, 0), "the monitor's reply");
}

static void on_broken(int error, void *userdata)
{
	(void)userdata;
	must(error, "the link to the monitor");
}

static void start_monitor(struct node *node)
{
	static const struct ig_link_ops ops = {.broken = on_broken};
	int async[2], sync[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, async) < 0 ||
		socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sync) < 0)
		node_die("socketpair");
	(void)close(sync[1]);
	node->monitor_fd = async[1];
	node->monitor = event_new(
		node->agent.base, async[1], EV_READ | EV_PERSIST, on_monitor_request, NULL);
	if (!node->monitor || event_add(node->monitor, NULL) < 0)
		node_die("an event");
	must(ig_link_new(node->agent.base, async[0], sync[0], &ops, NULL, &node->agent.link),
		"the link");
}

/* ---- upstream -------------------------------------------------------------------------------- */

static int listen_anywhere(uint16_t *ret_port)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len) < 0 || listen(fd, 16) < 0 ||
		getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		node_die("a listening socket");
	*ret_port = ntohs(addr.sin_port);
	return fd;
}

static void on_token_request(
	struct ig_http_conn *conn, const struct ig_http_request *request, void *userdata)
{
	char token[TOKEN_BYTES + 1], body[TOKEN_BYTES + 512];
	int n;

	(void)request;
	(void)userdata;
	memset(token, 'e', TOKEN_BYTES);
	token[TOKEN_BYTES] = '\0';
	n = snprintf(body, sizeof(body),
		"{\"access_token\":\"%s\",\"client_id\":\"" CLIENT_ID
		"\",\"expires_in\":\"86400\",\"expires_on\":\"%llu\",\"not_before\":\"%llu\",\"resource\":\"https://vault.azure.net\",\"token_type\":\"Bearer\"}",
		token, (unsigned long long)(START_USEC / IG_USEC_PER_SEC + 86400),
		(unsigned long long)(START_USEC / IG_USEC_PER_SEC));
	ig_http_conn_respond(conn, 200, "application/json", NULL, 0, body, (size_t)n);
}

static void on_closed(struct ig_http_conn *conn, void *userdata)
{
	(void)conn;
	(void)userdata;
}

static void on_upstream(evutil_socket_t sock, short what, void *arg)
{
	struct node *node = arg;
	struct ig_http_conn *conn;
	int fd = accept4(sock, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (fd < 0)
		node_die("accept");
	must(ig_http_server_add(node->tokens, fd, NULL, node, &conn), "a connection");
}

static void start_upstream(struct node *node)
{
	static const struct ig_http_server_ops ops = {
		.on_request = on_token_request, .on_close = on_closed};
	const struct ig_http_client_options client = {.user_agent = "count"};
	const struct ig_token_service_options tokens = {.imds_url = node->imds_url,
		.call_ended = ig_count_token_call,
		.userdata = node->agent.metrics};
	struct ig_agent *agent = &node->agent;

	node->upstream_fd = listen_anywhere(&node->upstream_port);
	(void)snprintf(
		node->imds_url, sizeof(node->imds_url), "http://127.0.0.1:%u", node->upstream_port);
	must(ig_http_server_new(agent->base, &ops, &node->tokens), "upstream's server");
	node->upstream =
		event_new(agent->base, node->upstream_fd, EV_READ | EV_PERSIST, on_upstream, node);
	if (!node->upstream || event_add(node->upstream, NULL) < 0)
		node_die("an event");
	must(ig_http_client_new(agent->base, &client, &agent->client), "the HTTP client");
	must(ig_token_service_new(agent->base, agent->client, &tokens, &agent->tokens),
		"the token service");
}

/* ---- what is declared ------------------------------------------------------------------------ */

static void declare(struct ig_store *store, unsigned int i)
{
	static const char form[] =
		"apiVersion: aadpodidentity.k8s.io/v1\n"
		"kind: AzureIdentity\n"
		"metadata: {namespace: shop, name: id-%1$03u}\n"
		"spec: {type: 0, clientID: aaaaaaaa-0000-4000-8000-000000000%1$03u, resourceID: /subscriptions/s/resourcegroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-%1$03u}\n"
		"---\n"
		"apiVersion: aadpodidentity.k8s.io/v1\n"
		"kind: AzureIdentityBinding\n"
		"metadata: {namespace: shop, name: binding-%1$03u}\n"
		"spec: {azureIdentity: id-%1$03u, selector: app-%1$03u}\n"
		"---\n"
		"apiVersion: v1\n"
		"kind: Pod\n"
		"metadata: {namespace: shop, name: app-%1$03u, uid: aaaaaaaa-1111-4000-8000-000000000%1$03u, labels: {aadpodidbinding: app-%1$03u}}\n"
		"spec: {serviceAccountName: app}\n";
	struct ig_object_set *set = NULL;
	struct ig_err err = {};
	char text[2048], source[32];
	int n = snprintf(text, sizeof(text), form, i);

	(void)snprintf(source, sizeof(source), "file-%03u", i);
	must(ig_manifest_parse(source, text, (size_t)n, NULL, &set, &err), err.message);
	must(ig_store_replace(store, source, set, &err), err.message);
}

/* ---- the audit ------------------------------------------------------------------------------- */

static void start_audit(struct node *node, const char *path, bool chain)
{
	const struct ig_audit_options options = {.node = "node-1", .chain = chain};
	struct ig_audit_file_options file = {.dir_fd = -1, .name = "audit"};
	struct ig_audit_sink *sink = NULL;

	file.fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	node->audit_lock_fd = open(path, O_RDONLY | O_CLOEXEC);
	/* until node_done() */
	if (file.fd < 0 || node->audit_lock_fd < 0 || flock(node->audit_lock_fd, LOCK_EX) < 0)
		node_die(path);
	must(ig_audit_new(node->agent.base, &options, &node->agent.audit), "the audit");
	must(ig_audit_sink_file_new(&file, &sink), "the audit file");
	must(ig_audit_add_sink(node->agent.audit, sink), "the audit file");
}

/* ---- start and end --------------------------------------------------------------------------- */

static void start_gate(struct node *node)
{
	static const struct ig_rate_options rate = {.per_sec = IG_REQUESTS_WORKLOAD_PER_SEC,
		.burst = IG_REQUESTS_WORKLOAD_PER_SEC * IG_REQUESTS_WORKLOAD_BURST_SEC,
		.entries = IG_RATE_ENTRIES_MAX};
	static const struct ig_rate_options records = {.per_sec = IG_RECORDS_WORKLOAD_PER_SEC,
		.burst = IG_RECORDS_WORKLOAD_BURST,
		.entries = IG_RATE_ENTRIES_MAX};
	struct ig_agent *agent = &node->agent;
	int sock = listen_anywhere(&node->gate_port);

	must(ig_callers_new(agent->link, &agent->callers), "callers");
	must(ig_serve_new(agent, &agent->serve), "serve");
	must(ig_waiting_new(agent->base, ig_serve_facts_known, &agent->waiting), "waiting");
	must(ig_rate_new(&rate, &agent->rate), "rate");
	must(ig_rate_new(&rate, &agent->policy_rate), "rate");
	must(ig_rate_new(&records, &agent->record_rate), "rate of records");
	must(ig_gate_new(agent, &agent->gate), "the gate");
	must(ig_gate_listener_opened(
		     agent->gate, NETNS_COOKIE, false, node->gate_port, "count", sock),
		"the gate's listener");
}

void node_init(struct node *node, const char *audit_path, unsigned int pods, bool chain)
{
	struct ig_agent *agent = &node->agent;

	*node = (struct node){};
	agent->options = &node->options;
	agent->flows_fd = agent->cgroup_fd = -1;
	agent->base = event_base_new();
	if (!agent->base || event_base_priority_init(agent->base, 3) < 0)
		node_die("the event loop");
	start_audit(node, audit_path, chain);
	must(ig_store_new(&agent->store), "the store");
	for (unsigned int i = 0; i < pods; i++)
		declare(agent->store, i);
	must(ig_metrics_new(ig_metrics_table, _IG_M_MAX, &agent->metrics), "metrics");
	start_monitor(node);
	start_upstream(node);
	start_gate(node);
}

void node_done(struct node *node)
{
	struct ig_agent *agent = &node->agent;

	agent->gate = ig_gate_free(agent->gate);
	agent->tokens = ig_token_service_free(agent->tokens);
	agent->client = ig_http_client_free(agent->client);
	agent->callers = ig_callers_free(agent->callers);
	agent->serve = ig_serve_free(agent->serve);
	agent->rate = ig_rate_free(agent->rate);
	agent->policy_rate = ig_rate_free(agent->policy_rate);
	agent->record_rate = ig_rate_free(agent->record_rate);
	agent->waiting = ig_waiting_free(agent->waiting);
	agent->link = ig_link_free(agent->link);
	(void)ig_close(node->audit_lock_fd); /* lets the file's thread go on */
	agent->audit = ig_audit_free(agent->audit);
	agent->store = ig_store_free(agent->store);
	agent->metrics = ig_metrics_free(agent->metrics);
	node->tokens = ig_http_server_free(node->tokens);
	event_free(node->upstream);
	event_free(node->monitor);
	(void)ig_close(node->upstream_fd);
	(void)ig_close(node->monitor_fd);
	event_base_free(agent->base);
}
