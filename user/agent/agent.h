/*
 * The server process as one structure, and what its files offer each other. Only user/agent
 * includes this.
 *
 *	server.c   builds and takes down everything, in order
 *	duty.c     says when this agent serves, and when another one does
 *	gate.c     counts connections, lets them in or refuses them
 *	gate_listeners.c accepts and attributes them
 *	serve.c    answers the requests of one connection
 *	exchange.c answers its token requests
 *	host_token.c lets programs of the node in and answers their requests for tokens of pods
 *	documents.c answers its requests for metadata documents
 *	records.c  turns connections, requests and kernel events into audit records
 *	services.c the listening sockets beside the gate's
 *	verbs*.c   answer the command-line tool
 *	metrics.c  answers Prometheus and probes; metrics_collect.c asks everybody for it
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <imdsgate/abi.h>

#include "agent/callers.h"
#include "agent/listener_pod.h"
#include "agent/options.h"
#include "agent/tally.h"
#include "audit/record.h"
#include "ctl/server.h"
#include "http/server.h"
#include "imds/reply.h"
#include "imds/request.h"
#include "imds/routes.h"
#include "objects/store.h"

struct ig_datapath;

struct ig_agent {
	const struct ig_options *options;
	struct event_base *base;
	struct ig_audit *audit;
	struct ig_store *store;
	struct ig_manifest_dir *manifests;
	struct ig_link *link;
	struct ig_callers *callers;
	struct ig_workloads *workloads;
	struct ig_http_client *client;
	struct ig_credentials *credentials;
	struct ig_kubernetes *kubernetes; /* NULL: not used */
	struct ig_waiting *waiting;
	struct ig_token_service *tokens;
	struct ig_documents *documents;
	struct ig_gate *gate;
	struct ig_host_token *host_token;	  /* NULL without its socket */
	struct ig_metrics_server *metrics_server; /* NULL: nobody can see them */
	struct ig_serve *serve;
	struct ig_metrics *metrics;  /* what is counted */
	struct ig_rate *rate;	     /* of token requests, by workload */
	struct ig_rate *policy_rate; /* the same, as far as a policy sets one */
	struct ig_rate *record_rate; /* of audit records, by workload; records.c */
	struct ig_ctl_server *ctl;
	struct ig_ring *events;
	LIST_HEAD(, ig_source_lookup) source_lookups; /* records.c */
	struct event *wants_ready; /* owned by duty.c: looks whether all is known */
	uint64_t started_usec;	   /* real clock */
	uint64_t host_netns_cookie;
	uint32_t monitor_pid;
	uint64_t rules_epoch;  /* of the store when rules were recorded as changed last */
	uint64_t hung_servers; /* before this one: killed because they hung */
	int flows_fd;
	int cgroup_fd;
	bool ready;
	bool draining; /* another agent serves; what has begun is brought to an end */
};

/* Where a connection came in, which decides what it can ask for. */
enum ig_entrance {
	IG_ENTRANCE_GATE, /* redirected by the kernel: metadata paths, for the caller itself */
	IG_ENTRANCE_HOST, /* --host-token-port and -socket: /host/token, for pods that it names */
};

/* An accepted connection and who opened it. */
struct ig_arrival {
	enum ig_entrance entrance;
	bool is_host;		 /* came from the agent's own namespace */
	struct sockaddr_in peer; /* family 0 without */
	struct ig_flow flow;
};

/* One accepted and attributed connection. Owned by gate.c, lent to the others. */
struct ig_gate_conn {
	struct ig_agent *agent;
	struct ig_http_conn *http; /* NULL before it is let in */
	enum ig_entrance entrance;
	struct ig_flow flow; /* who opened it; without a socket's facts if it is no TCP one */
	struct sockaddr_in peer;
	bool is_host;
	int fd; /* owned while it waits to be let in; -1 */
	LIST_ENTRY(ig_gate_conn) waiting;
	struct ig_caller_facts facts; /* complete once facts_known */
	bool facts_known, facts_pending;
	bool had_pod;		  /* a pod was found for it once */
	const struct ig_pod *pod; /* the store's at pod_epoch; only for ig_serve_pod_of() */
	uint64_t pod_epoch;
	LIST_ENTRY(ig_gate_conn) link;
	/* The request that waits for something, at most one of them; owned by serve.c */
	struct ig_exchange *exchange;
	struct ig_document_request *document;
	struct ig_info_request *info;
	struct ig_wait *wait;	  /* while it waits for something to be declared; see waiting.h */
	uint64_t request_usec;	  /* monotonic; when the current request was complete */
	enum ig_imds_route route; /* of the current request */
};

/* ---- gate.c ---- */

int ig_gate_new(struct ig_agent *agent, struct ig_gate **ret);
struct ig_gate *ig_gate_free(struct ig_gate *gate);
/* Accepts nothing any more; a connection ends with the answer to its next request. */
void ig_gate_drain(struct ig_gate *gate);
/* Somebody who was attributed elsewhere: counts, lets in or refuses. Takes fd and what *facts
 * holds.
 */
void ig_gate_arrived(struct ig_gate *gate, int fd, const struct ig_arrival *arrival,
	struct ig_caller_facts *facts);
/* Closes with a reset and says why (literal). facts may be NULL. Takes fd. */
void ig_gate_refuse(struct ig_gate *gate, int fd, const struct ig_arrival *arrival,
	const struct ig_caller_facts *facts, const char *reason);
size_t ig_gate_connection_count(const struct ig_gate *gate);
void ig_gate_http_counters(const struct ig_gate *gate, uint64_t ret[_IG_HTTP_COUNTER_MAX]);
/* Connections of pods that are not declared any more are closed. */
void ig_gate_declared(struct ig_gate *gate);

/* ---- gate_listeners.c ---- */

/* Takes the socket. */
int ig_gate_listener_opened(struct ig_gate *gate, uint64_t netns_cookie, bool is_host,
	uint16_t port, const char *name, int sock);
void ig_gate_listener_closed(struct ig_gate *gate, uint64_t netns_cookie);
/* Takes the socket, which listens on this port of 127.0.0.1 for callers of /host/token. */
int ig_gate_serve_host_port(struct ig_gate *gate, uint16_t port, int sock);
/* The caller's own pod, found for the connection. */
void ig_gate_saw_pod(struct ig_gate_conn *conn, const struct ig_pod *pod);
size_t ig_gate_listener_count(const struct ig_gate *gate);

/* ---- serve.c ---- */

int ig_serve_new(struct ig_agent *agent, struct ig_serve **ret);
struct ig_serve *ig_serve_free(struct ig_serve *serve);
void ig_serve_request(struct ig_gate_conn *conn, const struct ig_http_request *req);
/* The parser refused the input and answered by itself. */
void ig_serve_malformed(struct ig_gate_conn *conn, unsigned int status, const char *why);
/* The caller's facts arrived: go on with a request that waits for them. */
void ig_serve_facts_known(struct ig_gate_conn *conn);
/* The connection is closing: whatever runs for it stops. */
void ig_serve_cancel(struct ig_gate_conn *conn);
/* The store changed: tokens of identities that nobody is bound to any more are forgotten. */
void ig_serve_policy_changed(struct ig_serve *serve);
/* The pod that a cgroup belongs to, or NULL. in: what the path says, uid "" when it is in no pod.
 */
const struct ig_pod *ig_serve_find_pod(
	const struct ig_store *store, const char *cgroup_path, const struct ig_cgroup_pod *in);
/* An opaque number of the calling workload, for queues that serve workloads in turn. Not the cgroup
 * that the kernel found for it: one entry may stand for many pods. */
uint64_t ig_serve_fairness(struct ig_gate_conn *conn);
/* The same for a pod; NULL: for the caller that is in none. */
uint64_t ig_serve_workload_number(const struct ig_gate_conn *conn, const struct ig_pod *pod);
struct ig_tally_counts ig_serve_counts(const struct ig_serve *serve, const struct ig_pod *pod);

/* ---- host_token.c ---- */

/* Privileged. Listens on 127.0.0.1; keeps others from the same port of ::1, which clients may try
 * first. */
int ig_host_token_open_port(
	uint16_t port, struct ig_datapath *dp, int *ret_fd, struct ig_err *reterr_err);
int ig_host_token_open_guard(
	uint16_t port, struct ig_datapath *dp, int *ret_fd, struct ig_err *reterr_err);
/* Serves the socket, which it takes. */
int ig_host_token_new(struct ig_agent *agent, int socket_fd, struct ig_host_token **ret);
struct ig_host_token *ig_host_token_free(struct ig_host_token *host_token);
/* Why this caller, whose facts are known as far as they ever will be, may not ask (literal); NULL:
 * it may. */
const char *ig_host_token_refusal(const struct ig_gate_conn *conn);
void ig_host_token_request(struct ig_gate_conn *conn, const struct ig_http_request *req);

/* ---- records.c ---- */

/* An audit record of a connection, with room for the texts that it points to. */
struct ig_conn_record {
	struct ig_audit_record record;
	struct ig_audit_caller caller;
	struct ig_audit_connection connection;
	char destination[32], source[32];
};

/* Fills everything that is known about the connection; the caller adds the request and emits. The
 * result borrows from the flow, the facts (may be NULL), the store and the record itself. */
void ig_record_flow(const struct ig_agent *agent, const struct ig_flow *flow,
	const struct ig_caller_facts *facts, const struct sockaddr_in *peer,
	struct ig_conn_record *ret);
/* The same of a connection whose facts are known. */
void ig_record_conn(struct ig_gate_conn *conn, struct ig_conn_record *ret);
/* May this caller (ig_caller_workload()) have one more record of what it can repeat without end?
 * false: not now, and it is counted. *ret_count: for the record, how many it stands for; 0: itself.
 */
bool ig_record_turn(struct ig_agent *agent, uint64_t workload, uint64_t *ret_count);
/* A connection that no flow belongs to: somebody dialled the listener without having been
 * redirected there (gone false), or a caller that was closed again before it could be accepted
 * (gone true). */
void ig_record_unattributed(
	struct ig_agent *agent, uint64_t netns_cookie, const struct sockaddr_in *peer, bool gone);
/* A gate listener came or went; name: file name of its namespace, "" without. */
void ig_record_listener(struct ig_agent *agent, enum ig_audit_kind kind, uint64_t netns_cookie,
	bool is_host, const char *name, const struct ig_listener_pod *pod);
/* About the agent or its rules. Texts may be NULL; count 0: none. */
void ig_record_agent(struct ig_agent *agent, enum ig_audit_kind kind, const char *reason,
	const char *message, uint64_t count);
/* A record of ring `events`. */
void ig_record_kernel_event(struct ig_agent *agent, const struct ig_event *event);
/* Records what waits for an answer of the monitor, without it. */
void ig_records_finish(struct ig_agent *agent);

/* ---- verbs.c ---- */

extern const struct ig_ctl_verb ig_agent_verbs[];
