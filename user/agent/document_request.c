/*
 * One request for a metadata document: may this workload have it, then the document, the answer and
 * the record. It never outlives its connection.
 */
#include <errno.h>
#include <stdlib.h>

#include "agent/documents.h"
#include "agent/serve_internal.h"
#include "base/cleanup.h"

struct ig_document_request {
	struct ig_gate_conn *conn;
	struct ig_request_facts facts;
	struct ig_imds_document document;
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
	struct ig_conn_record r;

	ig_record_flow(x->conn->agent, &x->conn->flow, &x->conn->facts, &x->conn->peer, &r);
	r.record.kind =
		decision == IG_AUDIT_ALLOW ? IG_AUDIT_METADATA_FORWARDED : IG_AUDIT_METADATA_DENIED;
	r.record.decision = decision;
	r.record.reason = result->reason;
	r.record.message = result->message;
	r.record.request = &request;
	ig_serve_emit(x->conn, &r);
	ig_http_conn_respond(x->conn->http, reply->status, reply->content_type, reply->headers,
		reply->n_headers, reply->body.data, reply->body.len);
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

/* The decision: may this workload have that document? NULL, or why not (literal). The only place
 * that decides it, for every route; rules of single workloads belong here. */
static const char *refusal(const struct ig_gate_conn *conn, const struct ig_imds_document *document)
{
	if (!ig_serve_pod_of(conn))
		return conn->facts.cgroup_path ? "unknown_workload" : "unknown_cgroup";
	if (document->route != IG_IMDS_ROUTE_INSTANCE)
		return "route_denied";
	return NULL;
}

static bool refuse(struct ig_document_request *x)
{
	const char *reason = refusal(x->conn, &x->document);

	if (reason)
		finish_error(x, IG_AUDIT_DENY, IG_IMDS_ERROR_FORBIDDEN, reason);
	return reason != NULL;
}

static void on_document(const struct ig_documents_result *result, void *userdata)
{
	struct ig_document_request *x = userdata;
	bool relayed = result->reply->error == IG_IMDS_ERROR_NONE;

	x->waiter = NULL;
	/* what is declared may have changed while upstream was asked */
	if (!refuse(x))
		finish(x, relayed ? IG_AUDIT_ALLOW : IG_AUDIT_ERROR, result);
}

void ig_document_request_decide(struct ig_document_request *x)
{
	struct ig_documents_waiter *waiter = NULL;
	int r;

	if (refuse(x))
		return;
	r = ig_documents_get(x->conn->agent->documents, &x->document, ig_serve_fairness(x->conn),
		on_document, x, &waiter);
	if (r == -EDQUOT)
		finish_error(x, IG_AUDIT_ERROR, IG_IMDS_ERROR_TOO_MANY, "workload_too_busy");
	else if (r < 0)
		finish_error(x, IG_AUDIT_ERROR, IG_IMDS_ERROR_UNAVAILABLE, "too_busy");
	else if (waiter)
		x->waiter = waiter; /* else the answer was there, and x is gone */
}
