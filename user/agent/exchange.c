/*
 * One token request: who may have what, the token, the answer, the record. It waits at most for the
 * caller's facts and for tokens; whatever it waited for, the decision is made again when the policy
 * changed meanwhile. It never outlives its connection.
 *
 * There are two parties: the caller, whose connection and process it is (limits and the record),
 * and the subject, the pod whose bindings decide. They are the same unless the request names a pod.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/identity_key.h"
#include "agent/metrics.h"
#include "agent/permit.h"
#include "agent/rate.h"
#include "agent/serve_internal.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "policy/binding.h"
#include "token/service.h"
#include "token/source.h"

/* The identity that a request was granted, by name: pointers into the store do not survive a wait.
 */
struct grant {
	bool node; /* the node's own identities, for excepted workloads */
	enum ig_identity_type type;
	char namespace[IG_OBJECT_NAME_BYTES + 1];
	char name[IG_OBJECT_NAME_BYTES + 1];
	char client_id[64];
	char rule[IG_OBJECT_NAME_BYTES + 1]; /* binding, service account or exception */
};

#define PARTS_MAX (1 + IG_AUXILIARY_TENANTS_MAX)

/* One of the tokens that the answer consists of. */
struct part {
	struct ig_exchange *exchange;
	struct ig_token_waiter *waiter; /* until the token is there */
	struct ig_token *token;		/* reference; NULL before */
	enum ig_token_cache_state cache;
};

struct ig_exchange {
	struct ig_gate_conn *conn; /* the caller's; lent */
	struct ig_request_facts facts;
	struct ig_exchange_request request;
	struct grant grant;
	struct ig_policy_note policy;
	bool counted; /* against the workload's rate; a request that decides twice counts once */
	bool policy_counted; /* the same for the rate that a policy sets */
	bool learning;	     /* the token is fetched for its object id only */
	/* The last identity whose object id was looked for in vain; they are learned in order, so
	 * that of none before it will be found either, until something is declared. */
	struct {
		uint64_t epoch; /* 0: there was none */
		enum ig_identity_type type;
		char namespace[IG_OBJECT_NAME_BYTES + 1];
		char name[IG_OBJECT_NAME_BYTES + 1];
		/* the first failure that tells nothing of the object id: the identity may be the
		 * one that was asked for */
		bool failed;
		const char *denied; /* literal: why the policy forbade to look; NULL: the rest */
		struct ig_policy_note denied_by;
		unsigned int n_denied;
		enum ig_token_failure_kind kind;
		char *code, *text; /* owned; NULL: none */
	} in_vain;
	bool deciding, again; /* what was learned meanwhile changes the decision */
	struct part parts[PARTS_MAX];
	size_t n_parts, n_missing;
	unsigned int busy; /* our functions on the stack that go on using it */
	bool ended;	   /* freed when no longer busy */
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
	const struct ig_exchange_request *request, struct ig_exchange **ret)
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

/* Calls that are under way are given up, tokens that are there forgotten. */
static void drop_parts(struct ig_exchange *x)
{
	for (size_t i = 0; i < x->n_parts; i++) {
		struct part *part = &x->parts[i];

		if (part->waiter)
			ig_token_cancel(part->waiter);
		(void)ig_token_unref(part->token);
		*part = (struct part){};
	}
	x->n_parts = x->n_missing = 0;
}

static void forget_in_vain(struct ig_exchange *x)
{
	free(x->in_vain.code);
	free(x->in_vain.text);
	memset(&x->in_vain, 0, sizeof(x->in_vain));
}

struct ig_exchange *ig_exchange_free(struct ig_exchange *x)
{
	if (!x)
		return NULL;
	if (!x->ended) {
		drop_parts(x);
		forget_in_vain(x);
		x->conn->exchange = NULL;
		x->ended = true;
	}
	if (x->busy == 0)
		free(x);
	return NULL;
}

static bool is_on_behalf(const struct ig_exchange *x)
{
	return x->request.pod.name[0] != '\0';
}

const struct ig_pod *ig_exchange_subject(const struct ig_exchange *x)
{
	const struct ig_imds_pod_name *pod = &x->request.pod;

	return is_on_behalf(x)
		       ? ig_store_pod_by_name(x->conn->agent->store, pod->namespace, pod->name)
		       : ig_serve_pod_of(x->conn);
}

struct outcome {
	enum ig_audit_kind kind;
	enum ig_audit_decision decision;
	const char *reason;  /* literal */
	const char *message; /* borrowed; may be NULL */
};

/* What the record says of the tokens that are handed out. */
static struct ig_audit_token audit_token(const struct ig_exchange *x)
{
	static const char *const cache_names[_IG_TOKEN_CACHE_STATE_MAX] = {
		[IG_TOKEN_HIT] = "hit", [IG_TOKEN_MISS] = "miss", [IG_TOKEN_STALE] = "stale"};
	const struct part *part = &x->parts[0];
	struct ig_audit_token token = {
		.fingerprint = part->token->fingerprint,
		.expires_on_sec = part->token->expires_on_sec,
		.cache = cache_names[part->cache],
	};

	for (size_t i = 1; i < x->n_parts; i++)
		token.auxiliary[i - 1] = x->parts[i].token->fingerprint;
	return token;
}

static struct ig_audit_subject audit_subject(const struct ig_exchange *x)
{
	const struct ig_pod *pod = ig_exchange_subject(x);

	return (struct ig_audit_subject){
		.pod_namespace = x->request.pod.namespace,
		.pod_name = x->request.pod.name,
		.pod_uid = pod ? pod->uid : NULL,
		.service_account = pod ? pod->service_account : NULL,
	};
}

static void record_exchange(struct ig_exchange *x, const struct outcome *o, unsigned int status)
{
	const struct ig_imds_token_request *asked = &x->request.token;
	struct ig_audit_request request = ig_serve_audit_request(&x->facts, status);
	struct ig_audit_identity identity = {
		.namespace = x->grant.namespace,
		.name = x->grant.name,
		.client_id = x->grant.client_id,
		.binding = x->grant.rule,
	};
	struct ig_audit_subject subject;
	struct ig_audit_token token = {};
	struct ig_audit_policy policy;
	struct ig_conn_record r;

	ig_record_conn(x->conn, &r);
	request.resource = asked->resource;
	request.selector_kind = selector_name(asked->selector.kind);
	request.selector_value = asked->selector.value;
	r.record.kind = o->kind;
	r.record.decision = o->decision;
	r.record.reason = o->reason;
	r.record.message = o->message;
	r.record.request = &request;
	if (is_on_behalf(x)) {
		subject = audit_subject(x);
		r.record.subject = &subject;
	}
	if (x->grant.rule[0])
		r.record.identity = &identity;
	r.record.policy = ig_permit_record(&x->policy, &policy);
	if (o->kind == IG_AUDIT_TOKEN_ISSUED) {
		token = audit_token(x);
		r.record.token = &token;
	}
	ig_serve_emit(x->conn, &r);
}

/* Answers, records, and ends the exchange. */
static void finish(struct ig_exchange *x, struct ig_imds_reply *reply, const struct outcome *o)
{
	ig_count_token_request(x->conn->agent->metrics, o->kind, reply->error);
	record_exchange(x, o, reply->status);
	ig_serve_respond(x->conn, reply);
	(void)ig_exchange_free(x);
}

static void finish_error(struct ig_exchange *x, enum ig_imds_error error, const struct outcome *o,
	const char *code, const char *text)
{
	struct ig_imds_reply reply = {};

	if (is_on_behalf(x))
		(void)ig_imds_host_token_error(error, text, &reply);
	else
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

static struct ig_imds_token_view view_of(const struct ig_exchange *x, const struct ig_token *token)
{
	return (struct ig_imds_token_view){
		.access_token = token->access_token,
		.client_id = token->client_id[0] ? token->client_id : x->grant.client_id,
		.resource = x->request.token.resource,
		.expires_on_sec = token->expires_on_sec,
		.not_before_sec = token->not_before_sec,
		.ext_expires_in_sec = token->ext_expires_in_sec,
		.now_sec = ig_clock_real_usec() / IG_USEC_PER_SEC,
		.selector = &x->request.token.selector,
	};
}

static int write_reply(struct ig_exchange *x, struct ig_imds_reply *reply)
{
	struct ig_imds_token_view views[PARTS_MAX];

	for (size_t i = 0; i < x->n_parts; i++)
		views[i] = view_of(x, x->parts[i].token);
	if (is_on_behalf(x))
		return ig_imds_host_token_reply(&views[0],
			x->grant.client_id[0] ? x->grant.client_id : views[0].client_id, reply);
	if (x->n_parts > 1)
		return ig_imds_reply_token_array(views, x->n_parts, reply);
	return ig_imds_reply_token(&views[0], reply);
}

/* Every token is there. */
static void issue(struct ig_exchange *x)
{
	struct outcome o = {.kind = IG_AUDIT_TOKEN_ISSUED,
		.decision = IG_AUDIT_ALLOW,
		.reason = x->grant.node ? "exception" : "bound"};
	struct ig_imds_reply reply = {};

	if (write_reply(x, &reply) < 0) {
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

static void copy_name(char *to, size_t size, const char *from)
{
	size_t n = strlen(from);

	/* names were checked against the same limit on load */
	n = n < size ? n : size - 1;
	memcpy(to, from, n);
	to[n] = '\0';
}

/* Not remembered beyond this request: the next token may tell, and upstream may come to know the
 * identity. */
static void note_last_in_vain(struct ig_exchange *x)
{
	uint64_t epoch = ig_store_epoch(x->conn->agent->store);

	if (x->in_vain.epoch != epoch)
		forget_in_vain(x);
	x->in_vain.epoch = epoch;
	x->in_vain.type = x->grant.type;
	copy_name(x->in_vain.namespace, sizeof(x->in_vain.namespace), x->grant.namespace);
	copy_name(x->in_vain.name, sizeof(x->in_vain.name), x->grant.name);
}

static void note_in_vain(struct ig_exchange *x, const struct ig_token_failure *failure)
{
	note_last_in_vain(x);
	/* one that upstream does not know has no object id */
	if (!failure || failure->kind == IG_TOKEN_NOT_FOUND || x->in_vain.failed)
		return;
	x->in_vain.failed = true;
	x->in_vain.kind = failure->kind;
	/* without memory the answer says less */
	x->in_vain.code = strdup(failure->code);
	x->in_vain.text = strdup(failure->text);
}

static void note_denied(struct ig_exchange *x, const struct ig_policy_verdict *verdict)
{
	note_last_in_vain(x);
	x->in_vain.n_denied++;
	if (x->in_vain.failed)
		return;
	x->in_vain.failed = true;
	x->in_vain.denied = verdict->reason;
	ig_permit_note(verdict, &x->in_vain.denied_by);
}

/* No identity has the object id, as far as was to be learned. false: that is the whole truth. */
static bool fail_in_vain(struct ig_exchange *x)
{
	const struct ig_token_failure failure = {.kind = x->in_vain.kind,
		.code = x->in_vain.code ? x->in_vain.code : "",
		.text = x->in_vain.text ? x->in_vain.text : ""};

	if (!x->in_vain.failed || x->in_vain.epoch != ig_store_epoch(x->conn->agent->store))
		return false;
	if (x->in_vain.denied) {
		x->policy = x->in_vain.denied_by;
		deny(x, IG_IMDS_ERROR_FORBIDDEN, x->in_vain.denied);
	} else {
		upstream_failed(x, &failure);
	}
	return true;
}

/* As ig_policy_object_id; userdata: the exchange. */
static const char *object_id(const struct ig_identity *identity, void *userdata)
{
	struct ig_exchange *x = userdata;
	const struct ig_identity last = {.type = x->in_vain.type,
		.namespace = x->in_vain.namespace,
		.name = x->in_vain.name};
	const char *id = ig_serve_object_id(identity, x->conn->agent->serve);

	if (id || x->in_vain.epoch != ig_store_epoch(x->conn->agent->store))
		return id;
	return ig_policy_compare_identities(identity, &last) <= 0 ? "" : NULL;
}

/* The token was fetched to see which object id the identity has. */
static void learned(struct ig_exchange *x, const struct ig_token_result *result)
{
	const char *id = result->token ? result->token->object_id : "";

	x->learning = false;
	/* it passes, and the client asks again */
	if (result->failure && result->failure->kind == IG_TOKEN_UNAVAILABLE) {
		upstream_failed(x, result->failure);
		return;
	}
	if (!id[0])
		note_in_vain(x, result->failure);
	if (id[0] && ig_serve_learn_object_id(x->conn->agent->serve, x->grant.type,
			     x->grant.namespace, x->grant.name, id) < 0)
		fail(x, IG_IMDS_ERROR_SERVER, "out_of_memory", NULL);
	else
		ig_exchange_decide(x);
}

static void on_token(const struct ig_token_result *result, void *userdata)
{
	struct part *part = userdata;
	struct ig_exchange *x = part->exchange;

	part->waiter = NULL;
	/* The policy may have changed while upstream was asked: what counts is what holds now. An
	 * identity of that name may be another one, so nothing is learned from it either. */
	if (x->epoch != ig_store_epoch(x->conn->agent->store)) {
		x->learning = false;
		ig_exchange_decide(x);
		return;
	}
	if (x->learning) {
		learned(x, result);
		return;
	}
	/* one that cannot be had is enough: half an answer would be taken for a whole one */
	if (result->failure) {
		upstream_failed(x, result->failure);
		return;
	}
	part->token = ig_token_ref(result->token);
	part->cache = result->cache;
	if (--x->n_missing == 0)
		issue(x);
}

static void remember_identity(struct grant *grant, const struct ig_identity *identity)
{
	grant->node = false;
	grant->type = identity->type;
	copy_name(grant->namespace, sizeof(grant->namespace), identity->namespace);
	copy_name(grant->name, sizeof(grant->name), identity->name);
	copy_name(grant->client_id, sizeof(grant->client_id), identity->client_id);
}

/* Asks for all of them at once. x may be gone afterwards. */
static void fetch(struct ig_exchange *x, const struct ig_token_key *const *keys, size_t n)
{
	const struct ig_imds_token_request *asked = &x->request.token;
	unsigned int flags = asked->bypass_cache ? IG_TOKEN_BYPASS_CACHE : 0;
	struct ig_agent *agent = x->conn->agent;
	uint64_t fairness = ig_serve_fairness(x->conn);

	x->epoch = ig_store_epoch(agent->store);
	x->n_parts = x->n_missing = n;
	x->busy++; /* a token that is in the cache is there at once, and may end the exchange */
	for (size_t i = 0; i < n && !x->ended; i++) {
		struct ig_token_waiter *waiter = NULL;
		int r;

		x->parts[i].exchange = x;
		r = ig_token_get(agent->tokens, keys[i], flags, asked->token_sha256, fairness,
			on_token, &x->parts[i], &waiter);
		if (r == -EINVAL)
			fail(x, IG_IMDS_ERROR_SERVER, "identity_incomplete",
				"the identity lacks what it takes to ask for a token: a tenant, perhaps, and there is no --tenant-id");
		else if (r < 0)
			fail(x, IG_IMDS_ERROR_UNAVAILABLE, "too_busy", NULL);
		else if (waiter)
			x->parts[i].waiter = waiter;
	}
	x->busy--;
	if (x->ended)
		(void)ig_exchange_free(x);
}

/* Its token, and those of its other tenants if all are wanted. */
static void fetch_identity(struct ig_exchange *x, const struct ig_identity *identity)
{
	bool all =
		x->conn->agent->options->auxiliary_tenant_array && !is_on_behalf(x) && !x->learning;
	size_t n = 1 + (all ? ig_identity_key_n_auxiliary(identity) : 0);
	const struct ig_identity_defaults *defaults = &x->conn->agent->options->identity_defaults;
	const char *resource = x->request.token.resource;
	const struct ig_token_key *keys[PARTS_MAX];
	struct ig_identity_key made[PARTS_MAX];

	assert(n <= PARTS_MAX); /* the manifest was checked on load */
	ig_identity_key_init(&made[0], identity, ig_exchange_subject(x), defaults, resource);
	for (size_t i = 1; i < n; i++)
		ig_identity_key_init_auxiliary(&made[i], identity, defaults, i - 1, resource);
	for (size_t i = 0; i < n; i++)
		keys[i] = &made[i].key;
	fetch(x, keys, n);
}

/* The caller is excepted: upstream hears the caller's own selector. */
static void fetch_node(struct ig_exchange *x)
{
	const struct ig_token_key key = {.upstream = x->request.token.selector,
		.expect_client_id = "",
		.resource = x->request.token.resource};
	const struct ig_token_key *keys[] = {&key};

	fetch(x, keys, IG_ARRAY_SIZE(keys));
}

static bool within_rate(struct ig_exchange *x)
{
	if (x->counted)
		return true;
	x->counted = true;
	return ig_rate_allow(
		x->conn->agent->rate, ig_serve_fairness(x->conn), ig_clock_mono_usec());
}

/* Which container it is decides, and the pod's status does not say it (yet). */
static void decide_without_container(struct ig_exchange *x)
{
	static const char reason[] = "container_not_known";

	/* of a pod that is asked for by another no container will ever be known */
	switch (is_on_behalf(x) ? IG_PATIENCE_NONE : ig_serve_await_pod(x->conn, true)) {
	case IG_PATIENCE_WAITS: return;
	case IG_PATIENCE_OVER: fail(x, IG_IMDS_ERROR_UNAVAILABLE, reason, NULL); return;
	case IG_PATIENCE_NONE: deny(x, IG_IMDS_ERROR_FORBIDDEN, reason);
	}
}

static bool within_policy_rate(
	struct ig_exchange *x, const struct ig_pod *pod, const struct ig_policy_verdict *verdict)
{
	if (x->policy_counted)
		return true;
	x->policy_counted = true;
	return ig_permit_within_rate(x->conn, pod, verdict);
}

/* What policies say. false: the exchange has ended, or waits. identity NULL: one of the node's. */
static bool is_permitted(
	struct ig_exchange *x, const struct ig_pod *pod, const struct ig_identity *identity)
{
	struct ig_policy_verdict verdict =
		ig_permit_token(x->conn, pod, is_on_behalf(x), identity, x->request.token.resource);

	ig_permit_note(&verdict, &x->policy);
	switch (verdict.outcome) {
	case IG_POLICY_VERDICT_NEEDS_CONTAINER: decide_without_container(x); return false;
	case IG_POLICY_VERDICT_ALLOW: break;
	default: deny(x, IG_IMDS_ERROR_FORBIDDEN, verdict.reason); return false;
	}
	if (within_policy_rate(x, pod, &verdict))
		return true;
	deny(x, IG_IMDS_ERROR_TOO_MANY, "rate_limited_by_policy");
	return false;
}

/* Fetches a token of the identity to see its object id. That is a token like any other: what the
 * policy does not let the caller have is not asked for, and the identity may still be none that is
 * meant. So many times; each costs a look at all of the pod's bindings. */
static void learn(
	struct ig_exchange *x, const struct ig_pod *pod, const struct ig_identity *identity)
{
	struct ig_policy_verdict verdict =
		ig_permit_token(x->conn, pod, is_on_behalf(x), identity, x->request.token.resource);

	remember_identity(&x->grant, identity);
	if (verdict.outcome == IG_POLICY_VERDICT_DENY) {
		note_denied(x, &verdict);
		if (x->in_vain.n_denied < IG_POD_IDENTITIES_MAX) {
			ig_exchange_decide(x);
			return;
		}
	}
	if (!is_permitted(x, pod, identity))
		return;
	x->learning = true;
	fetch_identity(x, identity);
}

/* A process of the host has no identities of its own; a policy may let it use the node's. */
static void decide_for_host(struct ig_exchange *x)
{
	struct ig_policy_verdict verdict =
		ig_permit_token(x->conn, NULL, false, NULL, x->request.token.resource);

	if (!verdict.policy) {
		deny(x, IG_IMDS_ERROR_IDENTITY_NOT_FOUND, "unknown_workload");
		return;
	}
	x->grant.node = true;
	copy_name(x->grant.rule, sizeof(x->grant.rule), verdict.policy->name);
	if (is_permitted(x, NULL, NULL))
		fetch_node(x);
}

static void decide_without_pod(struct ig_exchange *x)
{
	if (!is_on_behalf(x) && ig_permit_is_host(x->conn, NULL)) {
		decide_for_host(x);
		return;
	}
	switch (ig_serve_await_pod(x->conn, !is_on_behalf(x))) {
	case IG_PATIENCE_WAITS: return;
	case IG_PATIENCE_OVER:
		fail(x, IG_IMDS_ERROR_UNAVAILABLE, "pod_not_declared_yet", NULL);
		return;
	case IG_PATIENCE_NONE: break;
	}
	if (is_on_behalf(x))
		deny(x, IG_IMDS_ERROR_POD_NOT_FOUND, "unknown_pod");
	else
		deny(x, IG_IMDS_ERROR_IDENTITY_NOT_FOUND,
			x->conn->facts.cgroup_path ? "unknown_workload" : "unknown_cgroup");
}

static void decide_without_identity(
	struct ig_exchange *x, const struct ig_pod *pod, const char *reason)
{
	switch (ig_serve_await_rule(x->conn, pod)) {
	case IG_PATIENCE_WAITS: return;
	case IG_PATIENCE_OVER:
		fail(x, IG_IMDS_ERROR_UNAVAILABLE, "rules_not_declared_yet", NULL);
		return;
	case IG_PATIENCE_NONE: deny(x, IG_IMDS_ERROR_IDENTITY_NOT_FOUND, reason);
	}
}

/* What may it have? */
static void decide(struct ig_exchange *x)
{
	struct ig_agent *agent = x->conn->agent;
	struct ig_policy_options options = agent->options->policy;
	const struct ig_pod *pod = ig_exchange_subject(x);
	struct ig_policy_decision d;

	drop_parts(x);
	x->grant = (struct grant){};
	x->policy = (struct ig_policy_note){};
	if (!within_rate(x)) {
		deny(x, IG_IMDS_ERROR_TOO_MANY, "rate_limited");
		return;
	}
	if (!pod) {
		decide_without_pod(x);
		return;
	}
	if (!is_on_behalf(x))
		ig_gate_saw_pod(x->conn, pod);
	/* an exception lets a pod be what the node is, not whoever names it */
	options.no_exceptions = is_on_behalf(x);
	d = ig_policy_select(agent->store, pod, &x->request.token.selector, &options, object_id, x);
	switch (d.outcome) {
	case IG_POLICY_GRANT:
		remember_identity(&x->grant, d.identity);
		copy_name(x->grant.rule, sizeof(x->grant.rule), d.rule);
		if (is_permitted(x, pod, d.identity))
			fetch_identity(x, d.identity);
		return;
	case IG_POLICY_NEEDS_OBJECT_ID: learn(x, pod, d.learn); return;
	case IG_POLICY_GRANT_NODE:
		x->grant.node = true;
		copy_name(x->grant.rule, sizeof(x->grant.rule), d.rule);
		if (is_permitted(x, pod, NULL))
			fetch_node(x);
		return;
	case IG_POLICY_AMBIGUOUS: deny(x, IG_IMDS_ERROR_MULTIPLE_IDENTITIES, d.reason); return;
	case IG_POLICY_NOT_FOUND:
		if (fail_in_vain(x))
			return;
		/* fall through */
	default: decide_without_identity(x, pod, d.reason);
	}
}

/* Tokens that are in the cache are there at once: what they tell is not to be decided upon from
 * inside the decision that asked for them, or there would be one in the other for each identity. */
void ig_exchange_decide(struct ig_exchange *x)
{
	if (x->deciding) {
		x->again = true;
		return;
	}
	x->deciding = true;
	x->busy++;
	do {
		x->again = false;
		decide(x);
	} while (x->again && !x->ended);
	x->busy--;
	x->deciding = false;
	if (x->ended)
		(void)ig_exchange_free(x);
}
