/*
 * /metadata/identity/info: which tenant a workload's identity belongs to. Answered here, never
 * forwarded; a token that was fetched to learn it stays here. Never outlives its connection.
 */
#include <errno.h>
#include <stdlib.h>

#include "agent/identity_key.h"
#include "agent/permit.h"
#include "agent/serve_internal.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "policy/binding.h"
#include "token/service.h"

/* Every identity can get a token for it; the token is only read, never handed out. */
#define INFO_PATH	"/metadata/identity/info"
#define TENANT_RESOURCE "https://management.azure.com/"

/* A caller that wants to know its tenant: declared with its identity, else named by a token of that
 * identity, which stays here. */
struct ig_info_request {
	struct ig_gate_conn *conn;
	struct ig_request_facts facts;
	struct ig_policy_note policy;
	struct ig_token_waiter *waiter;
	uint64_t epoch;
};

struct ig_info_request *ig_info_free(struct ig_info_request *x)
{
	if (!x)
		return NULL;
	if (x->waiter)
		ig_token_cancel(x->waiter);
	x->conn->info = NULL;
	free(x);
	return NULL;
}

/* Records, answers, and ends the request. */
static void info_finish(struct ig_info_request *x, enum ig_audit_decision decision,
	const char *reason, struct ig_imds_reply *reply)
{
	struct ig_audit_request request = ig_serve_audit_request(&x->facts, reply->status);
	struct ig_audit_policy policy;
	struct ig_conn_record r;

	ig_record_conn(x->conn, &r);
	r.record.kind =
		decision == IG_AUDIT_ALLOW ? IG_AUDIT_METADATA_FORWARDED : IG_AUDIT_METADATA_DENIED;
	r.record.decision = decision;
	r.record.reason = reason;
	r.record.request = &request;
	r.record.policy = ig_permit_record(&x->policy, &policy);
	ig_serve_emit(x->conn, &r);
	ig_serve_respond(x->conn, reply);
	(void)ig_info_free(x);
}

static void info_fail(struct ig_info_request *x, enum ig_audit_decision decision,
	const char *reason, enum ig_imds_error error)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};

	(void)ig_imds_reply_error(error, NULL, NULL, &reply);
	info_finish(x, decision, reason, &reply);
}

static void info_answer(struct ig_info_request *x, const char *reason, const char *tenant_id)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};

	if (ig_imds_info_reply(tenant_id, &reply) < 0)
		info_fail(x, IG_AUDIT_ERROR, "out_of_memory", IG_IMDS_ERROR_SERVER);
	else
		info_finish(x, IG_AUDIT_ALLOW, reason, &reply);
}

static void on_info_token(const struct ig_token_result *result, void *userdata)
{
	struct ig_info_request *x = userdata;
	const struct ig_token_failure *failure = result->failure;

	x->waiter = NULL;
	if (x->epoch != ig_store_epoch(x->conn->agent->store))
		ig_info_decide(x);
	else if (result->token && result->token->tenant_id[0])
		info_answer(x, "learned", result->token->tenant_id);
	else if (failure && failure->kind == IG_TOKEN_UNAVAILABLE)
		info_fail(x, IG_AUDIT_ERROR, "upstream_unavailable", IG_IMDS_ERROR_UNAVAILABLE);
	else if (failure && failure->kind == IG_TOKEN_NOT_FOUND)
		info_fail(
			x, IG_AUDIT_ERROR, "upstream_not_found", IG_IMDS_ERROR_IDENTITY_NOT_FOUND);
	else
		info_fail(x, IG_AUDIT_ERROR, "tenant_unknown", IG_IMDS_ERROR_NOT_FOUND);
}

/* identity NULL: the node's own. */
static void info_learn(
	struct ig_info_request *x, const struct ig_identity *identity, const struct ig_pod *pod)
{
	struct ig_identity_key of_identity;
	struct ig_token_key key = {.expect_client_id = "", .resource = TENANT_RESOURCE};
	struct ig_token_waiter *waiter = NULL;
	int r;

	if (identity)
		ig_identity_key_init(&of_identity, identity, pod,
			&x->conn->agent->options->identity_defaults, TENANT_RESOURCE);
	x->epoch = ig_store_epoch(x->conn->agent->store);
	r = ig_token_get(x->conn->agent->tokens, identity ? &of_identity.key : &key, 0, "",
		ig_serve_fairness(x->conn), on_info_token, x, &waiter);
	if (r == -EINVAL)
		info_fail(x, IG_AUDIT_ERROR, "identity_incomplete", IG_IMDS_ERROR_SERVER);
	else if (r < 0)
		info_fail(x, IG_AUDIT_ERROR, "too_busy", IG_IMDS_ERROR_UNAVAILABLE);
	else if (waiter)
		x->waiter = waiter; /* else the answer was there, and x is gone */
}

static void info_without_pod(struct ig_info_request *x)
{
	switch (ig_serve_await_pod(x->conn, true)) {
	case IG_PATIENCE_WAITS: return;
	case IG_PATIENCE_OVER:
		info_fail(x, IG_AUDIT_ERROR, "pod_not_declared_yet", IG_IMDS_ERROR_UNAVAILABLE);
		return;
	case IG_PATIENCE_NONE:
		info_fail(x, IG_AUDIT_DENY,
			x->conn->facts.cgroup_path ? "unknown_workload" : "unknown_cgroup",
			IG_IMDS_ERROR_IDENTITY_NOT_FOUND);
	}
}

/* Which container it is decides, and the pod's status does not say it (yet). */
static void info_without_container(struct ig_info_request *x)
{
	static const char reason[] = "container_not_known";

	switch (ig_serve_await_pod(x->conn, true)) {
	case IG_PATIENCE_WAITS: return;
	case IG_PATIENCE_OVER:
		info_fail(x, IG_AUDIT_ERROR, reason, IG_IMDS_ERROR_UNAVAILABLE);
		return;
	case IG_PATIENCE_NONE: info_fail(x, IG_AUDIT_DENY, reason, IG_IMDS_ERROR_FORBIDDEN);
	}
}

/* pod NULL: a process of the host. false: the request has ended, or waits. */
static bool info_is_permitted(struct ig_info_request *x, const struct ig_pod *pod)
{
	struct ig_policy_verdict verdict = ig_permit_document(x->conn, pod, INFO_PATH, true);

	ig_permit_note(&verdict, &x->policy);
	if (!pod && !verdict.policy)
		info_fail(x, IG_AUDIT_DENY, "unknown_workload", IG_IMDS_ERROR_IDENTITY_NOT_FOUND);
	else if (verdict.outcome == IG_POLICY_VERDICT_ALLOW)
		return true;
	else if (verdict.outcome == IG_POLICY_VERDICT_NEEDS_CONTAINER)
		info_without_container(x);
	else
		info_fail(x, IG_AUDIT_DENY, verdict.reason, IG_IMDS_ERROR_FORBIDDEN);
	return false;
}

static void info_without_identity(struct ig_info_request *x, const struct ig_pod *pod)
{
	switch (ig_serve_await_rule(x->conn, pod)) {
	case IG_PATIENCE_WAITS: return;
	case IG_PATIENCE_OVER:
		info_fail(x, IG_AUDIT_ERROR, "rules_not_declared_yet", IG_IMDS_ERROR_UNAVAILABLE);
		return;
	case IG_PATIENCE_NONE:
		info_fail(x, IG_AUDIT_DENY, ig_policy_outcome_name(IG_POLICY_NOT_BOUND),
			IG_IMDS_ERROR_IDENTITY_NOT_FOUND);
	}
}

/* With the caller known. Identities of one machine have one tenant, so the first will do. */
void ig_info_decide(struct ig_info_request *x)
{
	struct ig_agent *agent = x->conn->agent;
	const struct ig_pod *pod = ig_serve_pod_of(x->conn);
	const struct ig_identity_defaults *defaults = &agent->options->identity_defaults;
	const struct ig_identity *identity = NULL;

	if (!pod && !ig_permit_is_host(x->conn, pod)) {
		info_without_pod(x);
		return;
	}
	if (pod)
		ig_gate_saw_pod(x->conn, pod);
	if (!info_is_permitted(x, pod))
		return;
	if (!pod || ig_policy_exception(agent->store, pod, &agent->options->policy))
		info_learn(x, NULL, NULL);
	else if (ig_policy_candidates(agent->store, pod, &agent->options->policy, &identity, 1) ==
		 0)
		info_without_identity(x, pod);
	else if (ig_parse_is_guid(ig_identity_tenant(identity, defaults)))
		info_answer(x, "declared", ig_identity_tenant(identity, defaults));
	else
		info_learn(x, identity, pod);
}

int ig_info_new(struct ig_gate_conn *conn, const struct ig_request_facts *facts,
	struct ig_info_request **ret)
{
	struct ig_info_request *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	x->conn = conn;
	x->facts = *facts;
	conn->info = x;
	*ret = x;
	return 0;
}
