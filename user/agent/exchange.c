/*
 * One token request: who may have what, the token, the answer, the record. It waits at most for the
 * caller's facts and for tokens; whatever it waited for, the decision is made again when the policy
 * changed meanwhile. It never outlives its connection.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/identity_key.h"
#include "agent/rate.h"
#include "agent/serve_internal.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "policy/binding.h"
#include "token/service.h"

/* The identity that a request was granted, by name: pointers into the store do not survive a wait.
 */
struct grant {
	bool node; /* the node's own identities, for excepted workloads */
	char namespace[IG_OBJECT_NAME_BYTES + 1];
	char name[IG_OBJECT_NAME_BYTES + 1];
	char client_id[64];
	char rule[IG_OBJECT_NAME_BYTES + 1]; /* binding or exception */
};

struct ig_exchange {
	struct ig_gate_conn *conn;
	struct ig_request_facts facts;
	struct ig_imds_token_request request;
	struct grant grant;
	bool counted;  /* against the workload's rate; a request that decides twice counts once */
	bool learning; /* the token is fetched for its object id only */
	struct ig_token_waiter *waiter;
	uint64_t epoch;
};

static const char *selector_name(enum ig_selector_kind kind)
{
	switch (kind) {
	case IG_SELECTOR_CLIENT_ID: return "client_id";
	case IG_SELECTOR_OBJECT_ID: return "object_id";
	case IG_SELECTOR_RESOURCE_ID: return "msi_res_id";
	default: return NULL;
	}
}

int ig_exchange_new(struct ig_gate_conn *conn, const struct ig_request_facts *facts,
	const struct ig_imds_token_request *request, struct ig_exchange **ret)
{
	struct ig_exchange *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	x->conn = conn;
	x->facts = *facts;
	x->request = *request;
	conn->exchange = x;
	*ret = x;
	return 0;
}

struct ig_exchange *ig_exchange_free(struct ig_exchange *x)
{
	if (!x)
		return NULL;
	if (x->waiter)
		ig_token_cancel(x->waiter);
	x->conn->exchange = NULL;
	free(x);
	return NULL;
}

struct outcome {
	enum ig_audit_kind kind;
	enum ig_audit_decision decision;
	const char *reason;		      /* literal */
	const char *message;		      /* borrowed; may be NULL */
	const struct ig_token_result *result; /* NULL when it did not come to that */
};

static void record_exchange(struct ig_exchange *x, const struct outcome *o, unsigned int status)
{
	static const char *const cache_names[_IG_TOKEN_CACHE_STATE_MAX] = {
		[IG_TOKEN_HIT] = "hit", [IG_TOKEN_MISS] = "miss", [IG_TOKEN_STALE] = "stale"};
	struct ig_audit_request request = ig_serve_audit_request(&x->facts, status);
	struct ig_audit_identity identity = {
		.namespace = x->grant.namespace,
		.name = x->grant.name,
		.client_id = x->grant.client_id,
		.binding = x->grant.rule,
	};
	struct ig_audit_token token = {};
	struct ig_conn_record r;

	ig_record_flow(x->conn->agent, &x->conn->flow, &x->conn->facts, &x->conn->peer, &r);
	request.resource = x->request.resource;
	request.selector_kind = selector_name(x->request.selector.kind);
	request.selector_value = x->request.selector.value;
	r.record.kind = o->kind;
	r.record.decision = o->decision;
	r.record.reason = o->reason;
	r.record.message = o->message;
	r.record.request = &request;
	if (x->grant.rule[0])
		r.record.identity = &identity;
	if (o->result && o->result->token) {
		token.fingerprint = o->result->token->fingerprint;
		token.expires_on_sec = o->result->token->expires_on_sec;
		token.cache = cache_names[o->result->cache];
		r.record.token = &token;
	}
	ig_serve_emit(x->conn, &r);
}

/* Answers, records, and ends the exchange. */
static void finish(struct ig_exchange *x, struct ig_imds_reply *reply, const struct outcome *o)
{
	record_exchange(x, o, reply->status);
	ig_serve_respond(x->conn, reply);
	(void)ig_exchange_free(x);
}

static void finish_error(struct ig_exchange *x, enum ig_imds_error error, const struct outcome *o,
	const char *code, const char *text)
{
	struct ig_imds_reply reply = {};

	(void)ig_imds_reply_error(error, code, text, &reply);
	finish(x, &reply, o);
}

static void deny(struct ig_exchange *x, enum ig_imds_error error, const char *reason)
{
	struct outcome o = {
		.kind = IG_AUDIT_TOKEN_DENIED, .decision = IG_AUDIT_DENY, .reason = reason};

	finish_error(x, error, &o, NULL, NULL);
}

static void fail(
	struct ig_exchange *x, enum ig_imds_error error, const char *reason, const char *message)
{
	struct outcome o = {.kind = IG_AUDIT_TOKEN_FAILED,
		.decision = IG_AUDIT_ERROR,
		.reason = reason,
		.message = message};

	finish_error(x, error, &o, NULL, NULL);
}

static void issue(struct ig_exchange *x, const struct ig_token_result *result)
{
	const struct ig_token *token = result->token;
	struct ig_imds_token_view view = {
		.access_token = token->access_token,
		.client_id = token->client_id[0] ? token->client_id : x->grant.client_id,
		.resource = x->request.resource,
		.expires_on_sec = token->expires_on_sec,
		.not_before_sec = token->not_before_sec,
		.ext_expires_in_sec = token->ext_expires_in_sec,
		.now_sec = ig_clock_real_usec() / IG_USEC_PER_SEC,
		.selector = &x->request.selector,
	};
	struct outcome o = {.kind = IG_AUDIT_TOKEN_ISSUED,
		.decision = IG_AUDIT_ALLOW,
		.reason = x->grant.node ? "exception" : "bound",
		.result = result};
	struct ig_imds_reply reply = {};

	if (ig_imds_reply_token(&view, &reply) < 0) {
		ig_imds_reply_done(&reply);
		fail(x, IG_IMDS_ERROR_SERVER, "out_of_memory", NULL);
		return;
	}
	finish(x, &reply, &o);
}

static void upstream_failed(struct ig_exchange *x, const struct ig_token_failure *failure)
{
	struct outcome o = {.kind = IG_AUDIT_TOKEN_FAILED,
		.decision = IG_AUDIT_ERROR,
		.message = failure->text};

	switch (failure->kind) {
	case IG_TOKEN_REJECTED:
		o.reason = "upstream_rejected";
		finish_error(x, IG_IMDS_ERROR_UPSTREAM_REJECTED, &o, failure->code, failure->text);
		return;
	case IG_TOKEN_NOT_FOUND:
		/* bound here, but not assigned to this machine */
		o.reason = "upstream_not_found";
		finish_error(x, IG_IMDS_ERROR_IDENTITY_NOT_FOUND, &o, NULL, NULL);
		return;
	case IG_TOKEN_UNAVAILABLE:
		o.reason = "upstream_unavailable";
		finish_error(x, IG_IMDS_ERROR_UNAVAILABLE, &o, NULL, NULL);
		return;
	default:
		o.reason = "upstream_broken";
		finish_error(x, IG_IMDS_ERROR_SERVER, &o, NULL, NULL);
	}
}

/* The token was fetched to see which object id the identity has. */
static void learned(struct ig_exchange *x, const struct ig_token_result *result)
{
	x->learning = false;
	/* one that upstream does not know has no object id either; other failures tell nothing */
	if (result->failure && result->failure->kind != IG_TOKEN_NOT_FOUND)
		upstream_failed(x, result->failure);
	else if (ig_serve_learn_object_id(x->conn->agent->serve, x->grant.namespace, x->grant.name,
			 result->token ? result->token->object_id : "") < 0)
		fail(x, IG_IMDS_ERROR_SERVER, "out_of_memory", NULL);
	else
		ig_exchange_decide(x);
}

static void on_token(const struct ig_token_result *result, void *userdata)
{
	struct ig_exchange *x = userdata;

	x->waiter = NULL;
	if (x->learning) {
		learned(x, result);
		return;
	}
	/* The policy may have changed while upstream was asked: what counts is what holds now. */
	if (x->epoch != ig_store_epoch(x->conn->agent->store)) {
		ig_exchange_decide(x);
		return;
	}
	if (result->failure)
		upstream_failed(x, result->failure);
	else
		issue(x, result);
}

static void copy_name(char *to, size_t size, const char *from)
{
	size_t n = strlen(from);

	/* names were checked against the same limit on load */
	n = n < size ? n : size - 1;
	memcpy(to, from, n);
	to[n] = '\0';
}

static void remember_identity(struct grant *grant, const struct ig_identity *identity)
{
	grant->node = false;
	copy_name(grant->namespace, sizeof(grant->namespace), identity->namespace);
	copy_name(grant->name, sizeof(grant->name), identity->name);
	copy_name(grant->client_id, sizeof(grant->client_id), identity->client_id);
}

static void fetch(struct ig_exchange *x, const struct ig_token_key *key)
{
	unsigned int flags = x->request.bypass_cache ? IG_TOKEN_BYPASS_CACHE : 0;
	struct ig_token_waiter *waiter = NULL;
	struct ig_gate_conn *conn = x->conn;
	uint64_t fairness = ig_serve_fairness(conn);
	int r;

	x->epoch = ig_store_epoch(conn->agent->store);
	r = ig_token_get(conn->agent->tokens, key, flags, x->request.token_sha256, fairness,
		on_token, x, &waiter);
	if (r < 0)
		fail(x, IG_IMDS_ERROR_UNAVAILABLE, "too_busy", NULL);
	else if (waiter)
		x->waiter = waiter; /* else the answer was there, and x may be gone */
}

static void fetch_identity(struct ig_exchange *x, const struct ig_identity *identity)
{
	struct ig_identity_key key;

	ig_identity_key_init(&key, identity, x->request.resource);
	fetch(x, &key.key);
}

static bool within_rate(struct ig_exchange *x)
{
	if (x->counted)
		return true;
	x->counted = true;
	return ig_rate_allow(
		x->conn->agent->rate, ig_serve_fairness(x->conn), ig_clock_mono_usec());
}

/* With the caller known: what may it have? */
void ig_exchange_decide(struct ig_exchange *x)
{
	struct ig_agent *agent = x->conn->agent;
	const struct ig_pod *pod = ig_serve_pod_of(x->conn);
	struct ig_policy_decision d;

	x->grant = (struct grant){};
	if (!within_rate(x)) {
		deny(x, IG_IMDS_ERROR_TOO_MANY, "rate_limited");
		return;
	}
	if (!pod) {
		deny(x, IG_IMDS_ERROR_IDENTITY_NOT_FOUND,
			x->conn->facts.cgroup_path ? "unknown_workload" : "unknown_cgroup");
		return;
	}
	d = ig_policy_select(agent->store, pod, &x->request.selector, &agent->options->policy,
		ig_serve_object_id, agent->serve);
	switch (d.outcome) {
	case IG_POLICY_GRANT:
		remember_identity(&x->grant, d.identity);
		copy_name(x->grant.rule, sizeof(x->grant.rule), d.binding->name);
		fetch_identity(x, d.identity);
		return;
	case IG_POLICY_NEEDS_OBJECT_ID:
		remember_identity(&x->grant, d.learn);
		x->learning = true;
		fetch_identity(x, d.learn);
		return;
	case IG_POLICY_GRANT_NODE:
		x->grant.node = true;
		copy_name(x->grant.rule, sizeof(x->grant.rule), d.exception->name);
		fetch(x, &(struct ig_token_key){.upstream = x->request.selector,
				 .expect_client_id = "",
				 .resource = x->request.resource});
		return;
	case IG_POLICY_AMBIGUOUS:
		deny(x, IG_IMDS_ERROR_MULTIPLE_IDENTITIES, ig_policy_outcome_name(d.outcome));
		return;
	default: deny(x, IG_IMDS_ERROR_IDENTITY_NOT_FOUND, ig_policy_outcome_name(d.outcome));
	}
}
