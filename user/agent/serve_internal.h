/*
 * What serve.c and exchange.c share: the facts of a request, and the token request that waits.
 */
#pragma once

#include "agent/agent.h"
#include "imds/document.h"
#include "imds/host_token.h"

#define IG_PATH_SHOWN_BYTES 256

/* What the audit says about a request. */
struct ig_request_facts {
	const char *method; /* literal */
	const char *route;  /* literal */
	char path[IG_PATH_SHOWN_BYTES + 1];
	struct ig_imds_client_facts client;
};

/* A token that is asked for, and for whom. */
struct ig_exchange_request {
	struct ig_imds_token_request token;
	struct ig_imds_pod_name pod; /* whose bindings decide; "", "": the caller's own */
};

/* A token request under way. Takes over the connection's current request: answers it, now or later.
 */
int ig_exchange_new(struct ig_gate_conn *conn, const struct ig_request_facts *facts,
	const struct ig_exchange_request *request, struct ig_exchange **ret);
struct ig_exchange *ig_exchange_free(
	struct ig_exchange *x); /* unanswered; for closing connections */
/* With the caller's facts known: decides, and answers or waits for a token. x may be gone
 * afterwards. */
void ig_exchange_decide(struct ig_exchange *x);
/* The pod that the token is for, or NULL when it is not known (any more). Borrowed from the store.
 */
const struct ig_pod *ig_exchange_subject(const struct ig_exchange *x);

/* The same for a metadata document. */
int ig_document_request_new(struct ig_gate_conn *conn, const struct ig_request_facts *facts,
	const struct ig_imds_document *document, struct ig_document_request **ret);
/* Unanswered; for closing connections. */
struct ig_document_request *ig_document_request_free(struct ig_document_request *x);
/* With the caller's facts known. x may be gone afterwards. */
void ig_document_request_decide(struct ig_document_request *x);

/* The same for the tenant of the workload's identity. */
int ig_info_new(struct ig_gate_conn *conn, const struct ig_request_facts *facts,
	struct ig_info_request **ret);
struct ig_info_request *ig_info_free(struct ig_info_request *x);
void ig_info_decide(struct ig_info_request *x);

/* A request for which something is missing may only be early: pods and rules take a moment from the
 * API server to here. */
enum ig_patience {
	IG_PATIENCE_NONE,  /* there is nothing to wait for: what is missing is missing */
	IG_PATIENCE_WAITS, /* it waits, and is decided again */
	IG_PATIENCE_OVER,  /* it has waited: answer that it may try later */
};

/* There is no such pod. */
enum ig_patience ig_serve_await_pod(struct ig_gate_conn *conn, bool is_own);
/* The pod has nothing of the kind that was asked for. */
enum ig_patience ig_serve_await_rule(struct ig_gate_conn *conn, const struct ig_pod *pod);

/* The pod of a connection whose facts are known, or NULL: as the store has it now. */
const struct ig_pod *ig_serve_pod_of(struct ig_gate_conn *conn);
/* What object id an identity has, as far as is known (userdata: struct ig_serve). */
const char *ig_serve_object_id(const struct ig_identity *identity, void *userdata);
int ig_serve_learn_object_id(struct ig_serve *serve, enum ig_identity_type type, const char *ns,
	const char *name, const char *object_id);

/* What the audit says about a request that goes there. */
void ig_serve_read_facts(const struct ig_http_request *req, const struct ig_imds_target *target,
	struct ig_request_facts *ret);
/* Records a request that was answered at once, when the caller's facts are there. */
void ig_serve_record_reply(struct ig_gate_conn *conn, const struct ig_request_facts *facts,
	enum ig_audit_kind kind, const struct ig_imds_reply *reply);
struct ig_audit_request ig_serve_audit_request(
	const struct ig_request_facts *facts, unsigned int status);
/* Adds the latency, emits, counts. */
void ig_serve_emit(struct ig_gate_conn *conn, struct ig_conn_record *r);
/* Sends the reply. Every answer goes through here, and is counted. */
void ig_serve_send(struct ig_gate_conn *conn, const struct ig_imds_reply *reply);
/* Sends the reply and releases it. */
void ig_serve_respond(struct ig_gate_conn *conn, struct ig_imds_reply *reply);
