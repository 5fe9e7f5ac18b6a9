/*
 * One request for a metadata document: may this workload have it, then the document, the answer and
 * the record. It never outlives its connection.
 */
#include <errno.h>
#include <stdlib.h>

#include "agent/documents.h"
#include "agent/permit.h"
#include "agent/serve_internal.h"
#include "base/cleanup.h"

struct ig_document_request {
	struct ig_gate_conn *conn;
	struct ig_request_facts facts;
	struct ig_imds_document document;
	struct ig_policy_note policy;
	struct ig_documents_waiter *waiter;
};

int ig_document_request_new(struct ig_gate_conn *conn, const struct ig_request_facts *facts,
	const struct ig_imds_document *document, struct ig_document_request **ret)
{
	struct ig_document_request *x = calloc(1, sizeof(*x));

	if (!x)
		return -ENOMEM;
	x->conn = conn;
	x->facts = *facts;
	x->document = *document;
	conn->document = x;
	*ret = x;
	return 0;
}

struct ig_document_request *ig_document_request_free(struct ig_document_request *x)
{
	if (!x)
		return NULL;
	if (x->waiter)
		ig_documents_cancel(x->waiter);
	x->conn->document = NULL;
	free(x);
	return NULL;
}

/* Records, answers, and ends the request. */
static void finish(struct ig_document_request *x, enum ig_audit_decision decision,
	const struct ig_documents_result *result)
{
	const struct ig_imds_reply *reply = result->reply;
	struct ig_audit_request request = ig_serve_audit_request(&x->facts, reply->status);
	struct ig_audit_policy policy;
	struct ig_conn_record r;

	ig_record_conn(x->conn, &r);
	r.record.kind =
		decision == IG_AUDIT_ALLOW ? IG_AUDIT_METADATA_FORWARDED : IG_AUDIT_METADATA_DENIED;
	r.record.decision = decision;
	r.record.reason = result->reason;
	r.record.message = result->message;
	r.record.request = &request;
	r.record.policy = ig_permit_record(&x->policy, &policy);
	ig_serve_emit(x->conn, &r);
	ig_serve_send(x->conn, reply);
	(void)ig_document_request_free(x);
}

static void finish_error(struct ig_document_request *x, enum ig_audit_decision decision,
	enum ig_imds_error error, const char *reason)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	struct ig_documents_result result = {.reply = &reply, .reason = reason};

	(void)ig_imds_document_error(&x->document, error, &reply);
	finish(x, decision, &result);
}

/* There is no pod to be found for the caller, or not which of its containers it is. */
static void await_or_refuse(struct ig_document_request *x, const char *reason)
{
	switch (ig_serve_await_pod(x->conn, true)) {
	case IG_PATIENCE_WAITS: return;
	case IG_PATIENCE_OVER:
		finish_error(x, IG_AUDIT_ERROR, IG_IMDS_ERROR_UNAVAILABLE, reason);
		return;
	case IG_PATIENCE_NONE: finish_error(x, IG_AUDIT_DENY, IG_IMDS_ERROR_FORBIDDEN, reason);
	}
}

static const char *why_unknown(const struct ig_gate_conn *conn)
{
	return conn->facts.cgroup_path ? "unknown_workload" : "unknown_cgroup";
}

/* Without a policy it is the gate itself that keeps the host out or the route shut. */
static const char *why_denied(
	const struct ig_gate_conn *conn, const struct ig_policy_verdict *verdict)
{
	if (verdict->policy)
		return verdict->reason;
	return verdict->reason == ig_policy_denial_name(IG_POLICY_DENIES_HOST) ? why_unknown(conn)
									       : "route_denied";
}

/* The decision: may this workload have that document? The only place that decides it, for every
 * route. false: the request has ended, or waits. */
static bool is_permitted(struct ig_document_request *x)
{
	const struct ig_pod *pod = ig_serve_pod_of(x->conn);
	struct ig_policy_verdict verdict;

	if (!pod && !ig_permit_is_host(x->conn, pod)) {
		await_or_refuse(x, why_unknown(x->conn));
		return false;
	}
	if (pod)
		ig_gate_saw_pod(x->conn, pod);
	verdict = ig_permit_document(
		x->conn, pod, x->document.path, x->document.route == IG_IMDS_ROUTE_INSTANCE);
	ig_permit_note(&verdict, &x->policy);
	if (verdict.outcome == IG_POLICY_VERDICT_NEEDS_CONTAINER)
		await_or_refuse(x, "container_not_known");
	else if (verdict.outcome != IG_POLICY_VERDICT_ALLOW)
		finish_error(
			x, IG_AUDIT_DENY, IG_IMDS_ERROR_FORBIDDEN, why_denied(x->conn, &verdict));
	else
		return true;
	return false;
}

static void on_document(const struct ig_documents_result *result, void *userdata)
{
	struct ig_document_request *x = userdata;
	bool relayed = result->reply->error == IG_IMDS_ERROR_NONE;

	x->waiter = NULL;
	/* what is declared may have changed while upstream was asked */
	if (is_permitted(x))
		finish(x, relayed ? IG_AUDIT_ALLOW : IG_AUDIT_ERROR, result);
}

/* Of somebody who may have the document: recorded as other requests that are wrong. */
static void reject(struct ig_document_request *x)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};

	(void)ig_imds_document_error(&x->document, x->document.flaw, &reply);
	ig_serve_record_reply(x->conn, &x->facts, IG_AUDIT_REQUEST_REJECTED, &reply);
	ig_serve_respond(x->conn, &reply);
	(void)ig_document_request_free(x);
}

void ig_document_request_decide(struct ig_document_request *x)
{
	struct ig_documents_waiter *waiter = NULL;
	int r;

	if (!is_permitted(x))
		return;
	if (x->document.flaw != IG_IMDS_ERROR_NONE) {
		reject(x);
		return;
	}
	r = ig_documents_get(x->conn->agent->documents, &x->document, ig_serve_fairness(x->conn),
		on_document, x, &waiter);
	if (r == -EDQUOT)
		finish_error(x, IG_AUDIT_ERROR, IG_IMDS_ERROR_TOO_MANY, "workload_too_busy");
	else if (r < 0)
		finish_error(x, IG_AUDIT_ERROR, IG_IMDS_ERROR_UNAVAILABLE, "too_busy");
	else if (waiter)
		x->waiter = waiter; /* else the answer was there, and x is gone */
}
