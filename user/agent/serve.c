/*
 * Answers the requests of gate connections: route first, then what the route asks for. Requests
 * without the Metadata header are answered from memory, before anything is looked up about the
 * caller.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/documents.h"
#include "agent/entitled.h"
#include "agent/kubernetes.h"
#include "agent/metrics.h"
#include "agent/object_ids.h"
#include "agent/serve_internal.h"
#include "agent/tally.h"
#include "agent/waiting.h"
#include "audit/stream.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "imds/document.h"
#include "imds/routes.h"
#include "token/service.h"
#include "workload/cgroup.h"

struct ig_serve {
	struct ig_agent *agent;
	struct ig_object_ids *object_ids;
	struct ig_object_ids *account_object_ids; /* of identities of ServiceAccounts */
	uint64_t identities_epoch;		  /* of the store; that object_ids belong to */
	struct ig_tally *tally;
};

IG_DEFINE_CLEANUP(struct ig_serve *, ig_serve_free);

int ig_serve_new(struct ig_agent *agent, struct ig_serve **ret)
{
	_cleanup_(ig_serve_freep) struct ig_serve *serve = calloc(1, sizeof(*serve));
	int r;

	if (!serve)
		return -ENOMEM;
	serve->agent = agent;
	r = ig_object_ids_new(&serve->object_ids);
	if (r == 0)
		r = ig_object_ids_new(&serve->account_object_ids);
	if (r == 0)
		r = ig_tally_new(&serve->tally);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(serve);
	return 0;
}

struct ig_serve *ig_serve_free(struct ig_serve *serve)
{
	if (!serve)
		return NULL;
	serve->object_ids = ig_object_ids_free(serve->object_ids);
	serve->account_object_ids = ig_object_ids_free(serve->account_object_ids);
	serve->tally = ig_tally_free(serve->tally);
	free(serve);
	return NULL;
}

struct ig_tally_counts ig_serve_counts(const struct ig_serve *serve, const struct ig_pod *pod)
{
	return ig_tally_get(serve->tally, pod);
}

/* An account and an AzureIdentity may have the same name. */
static struct ig_object_ids *object_ids_of(const struct ig_serve *serve, enum ig_identity_type type)
{
	return type == IG_IDENTITY_FEDERATED ? serve->account_object_ids : serve->object_ids;
}

const char *ig_serve_object_id(const struct ig_identity *identity, void *userdata)
{
	const struct ig_serve *serve = userdata;

	if (identity->object_id[0])
		return identity->object_id;
	return ig_object_ids_get(
		object_ids_of(serve, identity->type), identity->namespace, identity->name);
}

int ig_serve_learn_object_id(struct ig_serve *serve, enum ig_identity_type type, const char *ns,
	const char *name, const char *object_id)
{
	return ig_object_ids_learn(object_ids_of(serve, type), ns, name, object_id);
}

const struct ig_pod *ig_serve_find_pod(
	const struct ig_store *store, const char *cgroup_path, const struct ig_cgroup_pod *in)
{
	const struct ig_pod *pod = in->uid[0] ? ig_store_pod_by_uid(store, in->uid) : NULL;

	return pod ? pod : ig_store_pod_by_cgroup(store, cgroup_path);
}

/* Asked for several times by each request, so it is looked for again only when something in the
 * store has changed. */
const struct ig_pod *ig_serve_pod_of(struct ig_gate_conn *conn)
{
	const struct ig_store *store = conn->agent->store;
	const struct ig_caller_facts *facts = &conn->facts;

	if (!facts->cgroup_path)
		return NULL;
	if (!conn->pod || conn->pod_epoch != ig_store_epoch(store)) {
		conn->pod = ig_serve_find_pod(store, facts->cgroup_path, &facts->in);
		conn->pod_epoch = ig_store_epoch(store);
	}
	return conn->pod;
}

#define FNV_BASIS 0xcbf29ce484222325ULL

static uint64_t hash_text(uint64_t hash, const char *s)
{
	/* FNV-1a; the NUL ends the text */
	do {
		hash = (hash ^ (unsigned char)*s) * 0x100000001b3ULL;
	} while (*s++);
	return hash;
}

uint64_t ig_serve_workload_number(const struct ig_gate_conn *conn, const struct ig_pod *pod)
{
	if (!pod)
		return conn->flow.caller.cgroup_id;
	/* Who creates a pod chooses its name, and finds one with the number of somebody else's in
	 * seconds; the uid is drawn by the API server. Without one a manifest of the node's
	 * declares it. */
	if (pod->uid[0])
		return hash_text(FNV_BASIS, pod->uid);
	return hash_text(hash_text(FNV_BASIS, pod->namespace), pod->name);
}

uint64_t ig_serve_fairness(struct ig_gate_conn *conn)
{
	return ig_serve_workload_number(conn, ig_serve_pod_of(conn));
}

/* ---- what may not be declared yet ---- */

static enum ig_patience wait_for(struct ig_gate_conn *conn, uint64_t limit_usec)
{
	return ig_waiting_start(conn->agent->waiting, conn, limit_usec) ? IG_PATIENCE_WAITS
									: IG_PATIENCE_OVER;
}

enum ig_patience ig_serve_await_pod(struct ig_gate_conn *conn, bool is_own)
{
	if (!conn->agent->kubernetes)
		return IG_PATIENCE_NONE;
	/* what kubelet did not make is not declared by the API server either */
	if (is_own && !conn->facts.in.uid[0])
		return IG_PATIENCE_NONE;
	return wait_for(conn, IG_WAIT_POD_SEC * IG_USEC_PER_SEC);
}

enum ig_patience ig_serve_await_rule(struct ig_gate_conn *conn, const struct ig_pod *pod)
{
	const struct ig_agent *agent = conn->agent;
	uint64_t now = ig_clock_mono_usec(), age_usec;

	if (!agent->kubernetes)
		return IG_PATIENCE_NONE;
	if (!ig_kubernetes_synced(agent->kubernetes))
		return wait_for(conn, IG_WAIT_POD_SEC * IG_USEC_PER_SEC);
	/* A pod and its binding are often declared together, and arrive in any order. What counts
	 * is the pod's age: the request may have waited for the pod already. */
	age_usec = now - ig_tally_first_seen_usec(agent->serve->tally, pod);
	if (age_usec >= IG_WAIT_RULE_SEC * IG_USEC_PER_SEC)
		return IG_PATIENCE_NONE;
	return wait_for(
		conn, now - conn->request_usec + IG_WAIT_RULE_SEC * IG_USEC_PER_SEC - age_usec);
}

/* ---- what is recorded ---- */

void ig_serve_read_facts(const struct ig_http_request *req, const struct ig_imds_target *target,
	struct ig_request_facts *ret)
{
	size_t n = target->path_len < IG_PATH_SHOWN_BYTES ? target->path_len : IG_PATH_SHOWN_BYTES;

	ret->method = ig_http_method_name(req->method);
	ret->route = ig_imds_route_name(target->route);
	if (n)
		memcpy(ret->path, target->path, n);
	ret->path[n] = '\0';
	ig_imds_client_facts(req, &ret->client);
}

struct ig_audit_request ig_serve_audit_request(
	const struct ig_request_facts *facts, unsigned int status)
{
	return (struct ig_audit_request){
		.method = facts->method,
		.route = facts->route,
		.path = facts->path,
		.user_agent = facts->client.user_agent,
		.request_id = facts->client.request_id,
		.sdk = facts->client.sdk,
		.sdk_version = facts->client.sdk_version,
		.status = status,
	};
}

void ig_serve_emit(struct ig_gate_conn *conn, struct ig_conn_record *r)
{
	const struct ig_pod *pod = ig_serve_pod_of(conn);

	r->record.latency_usec = ig_clock_mono_usec() - conn->request_usec;
	/* who got a token is always told: their rate has a limit of its own */
	if (r->record.kind == IG_AUDIT_TOKEN_ISSUED ||
		ig_record_turn(
			conn->agent, ig_caller_workload(&conn->flow.caller), &r->record.count))
		ig_audit_emit(conn->agent->audit, &r->record);
	if (r->record.policy && r->record.policy->would_deny)
		ig_metrics_add(conn->agent->metrics, IG_M_WOULD_DENY, 0, 0, 1);
	if (pod)
		ig_tally_count(conn->agent->serve->tally, pod, &r->record);
}

/* A request that never became a token request. Its answer did not wait for the facts about the
 * caller; its record does, unless they cannot be had. */
struct rejected {
	struct ig_agent *agent;
	struct ig_flow flow;
	struct sockaddr_in peer;
	struct ig_caller_facts caller;
	struct ig_request_facts facts;
	enum ig_audit_kind kind;
	enum ig_imds_error error;
	const char *message; /* literal; may be NULL */
	unsigned int status;
	uint64_t latency_usec;
	uint64_t count; /* how many it stands for; 0: itself */
};

static void emit_rejected(const struct rejected *rejected)
{
	struct ig_audit_request request =
		ig_serve_audit_request(&rejected->facts, rejected->status);
	struct ig_conn_record r;

	ig_record_flow(rejected->agent, &rejected->flow, &rejected->caller, &rejected->peer, &r);
	r.record.kind = rejected->kind;
	r.record.decision = rejected->error == IG_IMDS_ERROR_NONE ? IG_AUDIT_ALLOW : IG_AUDIT_DENY;
	r.record.reason = ig_imds_error_name(rejected->error);
	r.record.message = rejected->message;
	r.record.request = &request;
	r.record.latency_usec = rejected->latency_usec;
	r.record.count = rejected->count;
	ig_audit_emit(rejected->agent->audit, &r.record);
}

static void on_rejected_facts(void *userdata)
{
	struct rejected *rejected = userdata;

	emit_rejected(rejected);
	ig_caller_facts_done(&rejected->caller);
	free(rejected);
}

static void record_rejected(struct ig_gate_conn *conn, struct rejected *what)
{
	struct rejected *rejected;

	if (!ig_record_turn(conn->agent, ig_caller_workload(&conn->flow.caller), &what->count))
		return;
	rejected = calloc(1, sizeof(*rejected));
	if (!rejected) {
		emit_rejected(what);
		return;
	}
	*rejected = *what;
	if (ig_callers_resolve(conn->agent->callers, &conn->flow.caller, &rejected->caller,
		    on_rejected_facts, rejected) != 0)
		on_rejected_facts(rejected);
}

void ig_serve_record_reply(struct ig_gate_conn *conn, const struct ig_request_facts *facts,
	enum ig_audit_kind kind, const struct ig_imds_reply *reply)
{
	struct rejected what = {
		.agent = conn->agent,
		.flow = conn->flow,
		.peer = conn->peer,
		.facts = *facts,
		.kind = kind,
		.error = reply->error,
		.status = reply->status,
		.latency_usec = ig_clock_mono_usec() - conn->request_usec,
	};

	record_rejected(conn, &what);
}

void ig_serve_malformed(struct ig_gate_conn *conn, unsigned int status, const char *why)
{
	struct rejected what = {
		.agent = conn->agent,
		.flow = conn->flow,
		.peer = conn->peer,
		.kind = IG_AUDIT_REQUEST_REJECTED,
		.error = IG_IMDS_ERROR_MALFORMED,
		.message = why,
		.status = status,
	};

	record_rejected(conn, &what);
}

void ig_serve_send(struct ig_gate_conn *conn, const struct ig_imds_reply *reply)
{
	ig_count_answer(conn->agent->metrics, conn->route, reply->status,
		ig_clock_mono_usec() - conn->request_usec);
	ig_http_conn_respond(conn->http, reply->status, reply->content_type, reply->headers,
		reply->n_headers, reply->body.data, reply->body.len);
}

void ig_serve_respond(struct ig_gate_conn *conn, struct ig_imds_reply *reply)
{
	ig_serve_send(conn, reply);
	ig_imds_reply_done(reply);
}

/* ---- routes ---- */

void ig_serve_facts_known(struct ig_gate_conn *conn)
{
	if (conn->exchange)
		ig_exchange_decide(conn->exchange);
	else if (conn->document)
		ig_document_request_decide(conn->document);
	else if (conn->info)
		ig_info_decide(conn->info);
}

void ig_serve_cancel(struct ig_gate_conn *conn)
{
	ig_waiting_stop(conn);
	(void)ig_exchange_free(conn->exchange);
	(void)ig_document_request_free(conn->document);
	(void)ig_info_free(conn->info);
}

/* Each takes the request over, or leaves the answer in *reterr_reply and returns a negative errno.
 */
static int begin_token(struct ig_gate_conn *conn, const struct ig_http_request *req,
	const struct ig_imds_target *target, const struct ig_request_facts *facts,
	struct ig_imds_reply *reterr_reply)
{
	struct ig_exchange_request request = {};
	struct ig_exchange *x;
	int r = ig_imds_token_request_parse(req, target, &request.token, reterr_reply);

	return r < 0 ? r : ig_exchange_new(conn, facts, &request, &x);
}

static int begin_document(struct ig_gate_conn *conn, const struct ig_http_request *req,
	const struct ig_imds_target *target, const struct ig_request_facts *facts,
	struct ig_imds_reply *reterr_reply)
{
	struct ig_document_request *x;
	struct ig_imds_document document;
	int r = ig_imds_document_parse(req, target, &document, reterr_reply);

	return r < 0 ? r : ig_document_request_new(conn, facts, &document, &x);
}

static int begin_info(struct ig_gate_conn *conn, const struct ig_http_request *req,
	const struct ig_imds_target *target, const struct ig_request_facts *facts,
	struct ig_imds_reply *reterr_reply)
{
	struct ig_info_request *x;
	int r = ig_imds_info_parse(req, target, reterr_reply);

	return r < 0 ? r : ig_info_new(conn, facts, &x);
}

static int begin(struct ig_gate_conn *conn, const struct ig_http_request *req,
	const struct ig_imds_target *target, const struct ig_request_facts *facts,
	struct ig_imds_reply *reterr_reply)
{
	switch (target->route) {
	case IG_IMDS_ROUTE_TOKEN: return begin_token(conn, req, target, facts, reterr_reply);
	case IG_IMDS_ROUTE_INFO: return begin_info(conn, req, target, facts, reterr_reply);
	default: return begin_document(conn, req, target, facts, reterr_reply);
	}
}

/* Requests whose answer depends on who asks. */
static void serve_workload(struct ig_gate_conn *conn, const struct ig_http_request *req,
	const struct ig_imds_target *target, const struct ig_request_facts *facts)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	int r = begin(conn, req, target, facts, &reply);

	if (r == 0) {
		if (conn->facts_known)
			ig_serve_facts_known(conn);
		return;
	}
	if (r == -ENOMEM)
		(void)ig_imds_reply_error(IG_IMDS_ERROR_UNAVAILABLE, NULL, NULL, &reply);
	if (target->route == IG_IMDS_ROUTE_TOKEN)
		ig_count_token_request(
			conn->agent->metrics, IG_AUDIT_REQUEST_REJECTED, reply.error);
	ig_serve_record_reply(conn, facts, IG_AUDIT_REQUEST_REJECTED, &reply);
	ig_serve_respond(conn, &reply);
}

static void serve_anybody(struct ig_gate_conn *conn, const struct ig_http_request *req,
	const struct ig_imds_target *target, const struct ig_request_facts *facts)
{
	enum ig_audit_kind kind = IG_AUDIT_REQUEST_REJECTED;
	struct ig_imds_reply reply = {};

	if (target->route == IG_IMDS_ROUTE_INVALID) {
		(void)ig_imds_reply_error(IG_IMDS_ERROR_MALFORMED, NULL, NULL, &reply);
	} else if (target->route == IG_IMDS_ROUTE_NONE) {
		(void)ig_imds_reply_error(IG_IMDS_ERROR_NOT_FOUND, NULL, NULL, &reply);
	} else if (req->method != IG_HTTP_GET) {
		(void)ig_imds_reply_error(IG_IMDS_ERROR_METHOD, NULL, NULL, &reply);
	} else if (ig_imds_check_headers(req, &reply) == 0) {
		kind = IG_AUDIT_METADATA_FORWARDED;
		(void)ig_imds_reply_versions(&reply);
	}
	ig_serve_record_reply(conn, facts, kind, &reply);
	ig_serve_respond(conn, &reply);
}

void ig_serve_request(struct ig_gate_conn *conn, const struct ig_http_request *req)
{
	struct ig_imds_target target = ig_imds_route(req->target);
	struct ig_request_facts facts;

	conn->request_usec = ig_clock_mono_usec();
	if (conn->entrance == IG_ENTRANCE_HOST) {
		ig_host_token_request(conn, req);
		return;
	}
	conn->route = target.route;
	ig_serve_read_facts(req, &target, &facts);
	switch (target.route) {
	case IG_IMDS_ROUTE_VERSIONS:
	case IG_IMDS_ROUTE_NONE:
	case IG_IMDS_ROUTE_INVALID: serve_anybody(conn, req, &target, &facts); break;
	default: serve_workload(conn, req, &target, &facts);
	}
}

/* ---- policy changes ---- */

static bool keep_token(const struct ig_token_key *key, void *userdata)
{
	return ig_entitled_anybody(userdata, key);
}

void ig_serve_policy_changed(struct ig_serve *serve)
{
	struct ig_entitlement rules = {
		.store = serve->agent->store,
		.policy = &serve->agent->options->policy,
		.defaults = &serve->agent->options->identity_defaults,
	};
	uint64_t identities = ig_store_kind_epoch(serve->agent->store, IG_OBJECT_IDENTITY) +
			      ig_store_kind_epoch(serve->agent->store, IG_OBJECT_SERVICE_ACCOUNT);

	(void)ig_token_service_purge(serve->agent->tokens, keep_token, &rules);
	/* an identity of that name may be another one now */
	if (identities != serve->identities_epoch) {
		ig_object_ids_clear(serve->object_ids);
		ig_object_ids_clear(serve->account_object_ids);
	}
	serve->identities_epoch = identities;
	ig_tally_follow_changed(serve->tally, serve->agent->store);
}
