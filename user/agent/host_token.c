/*
 * /host/token: programs of the node that may ask for tokens of pods which they name (the Secrets
 * Store CSI driver's Azure provider). Opens the two ways in while privileged, decides who is let
 * in, and turns a request into a token exchange whose subject is the named pod. Off unless an
 * option asks for it.
 *
 * A token of any bound pod of the node can be had here, so it must never serve anybody who is not
 * attributed: on the port by the flow that the kernel recorded, on the socket by what the kernel
 * says of the peer. That a caller is on this machine is no permission.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <imdsgate/limits.h>

#include "agent/metrics.h"
#include "agent/serve_internal.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "ctl/server.h"
#include "datapath/datapath.h"
#include "imds/host_token.h"
#include "policy/binding.h"
#include "workload/cgroup.h"
#include "workload/peer.h"

#define RESUME_SEC 1 /* after accept() failed, most likely for want of descriptors */

struct ig_host_token {
	struct ig_agent *agent;
	struct evconnlistener *listener; /* owned, and the socket with it */
	struct event *resume;		 /* owned */
};

IG_DEFINE_CLEANUP(struct ig_host_token *, ig_host_token_free);

/* ---- privileged ---- */

int ig_host_token_open_port(uint16_t port, struct ig_datapath *dp, int *ret_fd, struct ig_err *err)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int on = 1;

	/* connections of the process before this one may still linger */
	if (fd < 0 || ig_datapath_port_owner_mark(dp, fd) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
		bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
		listen(fd, IG_LISTENER_BACKLOG) < 0)
		return ig_err_set(err, -errno,
			"cannot listen on 127.0.0.1:%u (--host-token-port): %s", port,
			strerror(errno));
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* "localhost" is ::1 first for many clients, and any user could answer there: bound and not
 * listening, the port refuses, and they go on to 127.0.0.1. */
int ig_host_token_open_guard(uint16_t port, struct ig_datapath *dp, int *ret_fd, struct ig_err *err)
{
	struct sockaddr_in6 address = {.sin6_family = AF_INET6,
		.sin6_port = htons(port),
		.sin6_addr = IN6ADDR_LOOPBACK_INIT};
	_cleanup_close_ int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = 1;

	if (fd < 0 && errno == EAFNOSUPPORT)
		return 0;
	if (fd < 0 || ig_datapath_port_owner_mark(dp, fd) < 0 ||
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return ig_err_set(err, -errno, "cannot make an IPv6 socket: %s", strerror(errno));
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		if (errno == EADDRNOTAVAIL)
			return 0; /* lo has no ::1 */
		return ig_err_set(err, -errno,
			"cannot keep others from [::1]:%u (--host-token-port): %s", port,
			strerror(errno));
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* ---- who is let in ---- */

/* "NAMESPACE/NAME" */
static bool is_account_of(const struct ig_pod *pod, const char *account)
{
	size_t len = strlen(pod->namespace);

	return strncmp(account, pod->namespace, len) == 0 && account[len] == '/' &&
	       strcmp(account + len + 1, ig_policy_service_account_name(pod)) == 0;
}

static bool is_listed(const struct ig_agent *agent, const struct ig_caller_facts *facts)
{
	const struct ig_options *options = agent->options;
	const struct ig_pod *pod = ig_serve_find_pod(agent->store, facts->cgroup_path, &facts->in);

	for (size_t i = 0; options->host_token_cgroups[i]; i++)
		if (ig_cgroup_path_is_below(facts->cgroup_path, options->host_token_cgroups[i]))
			return true;
	for (size_t i = 0; pod && options->host_token_accounts[i]; i++)
		if (is_account_of(pod, options->host_token_accounts[i]))
			return true;
	return false;
}

const char *ig_host_token_refusal(const struct ig_gate_conn *conn)
{
	const struct ig_options *options = conn->agent->options;
	bool is_socket = conn->flow.family == AF_UNIX;

	/* as the kernel translates it: the root of a user namespace of its own is none here */
	if (is_socket && conn->flow.caller.uid != 0)
		return "not_root";
	if (!conn->facts.cgroup_path)
		return "unknown_cgroup";
	if (is_socket && !options->host_token_cgroups[0] && !options->host_token_accounts[0])
		return NULL;
	return is_listed(conn->agent, &conn->facts) ? NULL : "cgroup_not_listed";
}

/* ---- the socket ---- */

static struct ig_arrival arrival_of(const struct ig_peer *peer)
{
	struct ig_arrival arrival = {.entrance = IG_ENTRANCE_HOST,
		.flow = {.family = AF_UNIX, .endpoint = IG_ENDPOINT_HOST_TOKEN}};
	struct ig_caller *caller = &arrival.flow.caller;

	caller->cgroup_id = peer->cgroup_id;
	caller->start_time_ns = peer->start_time_ns;
	caller->tgid = peer->pid;
	caller->uid = peer->uid;
	caller->gid = peer->gid;
	memcpy(caller->comm, peer->comm, sizeof(caller->comm));
	return arrival;
}

static void on_accepted(struct evconnlistener *listener, evutil_socket_t fd,
	struct sockaddr *address, int len, void *userdata)
{
	struct ig_agent *agent = ((struct ig_host_token *)userdata)->agent;
	struct ig_caller_facts facts = {};
	struct ig_arrival arrival;
	struct ig_peer peer;
	int r = ig_peer_read(fd, agent->cgroup_fd, &peer);

	(void)listener;
	(void)address;
	(void)len;
	arrival = arrival_of(&peer);
	if (r == 0) {
		ig_caller_facts_set_cgroup(&facts, peer.cgroup_path);
		ig_gate_arrived(agent->gate, fd, &arrival, &facts);
	} else {
		ig_gate_refuse(agent->gate, fd, &arrival, NULL, "unknown_peer");
	}
}

static void on_accept_error(struct evconnlistener *listener, void *userdata)
{
	static const struct timeval delay = {.tv_sec = RESUME_SEC};
	struct ig_host_token *h = userdata;

	(void)ig_log_errno(-errno, "cannot accept on the socket for /host/token, waiting a little");
	(void)evconnlistener_disable(listener);
	(void)evtimer_add(h->resume, &delay);
}

static void on_resume(evutil_socket_t fd, short what, void *userdata)
{
	struct ig_host_token *h = userdata;

	(void)fd;
	(void)what;
	(void)evconnlistener_enable(h->listener);
}

int ig_host_token_new(struct ig_agent *agent, int socket_fd, struct ig_host_token **ret)
{
	_cleanup_(ig_host_token_freep) struct ig_host_token *h = calloc(1, sizeof(*h));

	if (!h) {
		(void)ig_close(socket_fd);
		return -ENOMEM;
	}
	h->agent = agent;
	h->listener = evconnlistener_new(agent->base, on_accepted, h,
		LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, socket_fd);
	if (!h->listener) {
		(void)ig_close(socket_fd);
		return -ENOMEM;
	}
	evconnlistener_set_error_cb(h->listener, on_accept_error);
	h->resume = evtimer_new(agent->base, on_resume, h);
	if (!h->resume)
		return -ENOMEM;
	*ret = TAKE_PTR(h);
	return 0;
}

struct ig_host_token *ig_host_token_free(struct ig_host_token *h)
{
	if (!h)
		return NULL;
	if (h->listener)
		evconnlistener_free(h->listener);
	if (h->resume)
		event_free(h->resume);
	free(h);
	return NULL;
}

/* ---- requests ---- */

void ig_host_token_request(struct ig_gate_conn *conn, const struct ig_http_request *req)
{
	const struct ig_imds_target target = ig_imds_route_host(req->target);
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	struct ig_exchange_request request = {};
	struct ig_request_facts facts;
	struct ig_exchange *x;
	int r;

	conn->route = target.route;
	ig_serve_read_facts(req, &target, &facts);
	r = ig_imds_host_token_parse(req, &target, &request.token, &request.pod, &reply);
	if (r == 0)
		r = ig_exchange_new(conn, &facts, &request, &x);
	if (r == 0) {
		ig_exchange_decide(x); /* who asks was known before it was let in */
		return;
	}
	if (r == -ENOMEM)
		(void)ig_imds_host_token_error(IG_IMDS_ERROR_UNAVAILABLE, NULL, &reply);
	if (target.route == IG_IMDS_ROUTE_HOST_TOKEN)
		ig_count_token_request(
			conn->agent->metrics, IG_AUDIT_REQUEST_REJECTED, reply.error);
	ig_serve_record_reply(conn, &facts, IG_AUDIT_REQUEST_REJECTED, &reply);
	ig_serve_respond(conn, &reply);
}
