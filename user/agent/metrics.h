/*
 * What the agent counts, and how Prometheus and probes get to it: GET /metrics and GET /healthz on
 * a unix socket and on a port of 127.0.0.1, each off unless an option asks for it.
 *
 * Whoever can connect may read: on the port that is every process of the host's network namespace,
 * pods with hostNetwork included. So nothing here may name a workload, an identity or a resource.
 */
#pragma once

#include <stdint.h>

#include "agent/metrics_table.h"
#include "audit/record.h"
#include "imds/reply.h"
#include "imds/routes.h"
#include "token/service.h"

struct ig_agent;
struct ig_err;
struct ig_metrics_server;
struct ig_options;

/* ---- counting: metrics_count.c ---- */

void ig_count_answer(
	struct ig_metrics *metrics, enum ig_imds_route route, unsigned int status, uint64_t usec);
/* kind: how it is recorded; error: what the reply says. */
void ig_count_token_request(
	struct ig_metrics *metrics, enum ig_audit_kind kind, enum ig_imds_error error);
/* For the token service and for documents; userdata is the struct ig_metrics. */
void ig_count_token_call(const struct ig_token_call *call, void *userdata);
void ig_count_document_call(enum ig_imds_error error, uint64_t usec, void *userdata);

/* ---- serving: metrics.c ---- */

/* What is opened while privileged; -1 or owned. */
struct ig_metrics_fds {
	int port;   /* listens on 127.0.0.1 */
	int socket; /* listens */
	int statm;  /* of this process */
};

/* Opens what the options ask for. */
int ig_metrics_open(
	const struct ig_options *options, struct ig_metrics_fds *ret, struct ig_err *reterr_err);
void ig_metrics_close(struct ig_metrics_fds *fds);
/* Starts to serve; takes the descriptors on success. Everything else of the agent is there. */
int ig_metrics_server_new(
	struct ig_agent *agent, struct ig_metrics_fds *fds, struct ig_metrics_server **ret);
struct ig_metrics_server *ig_metrics_server_free(struct ig_metrics_server *server);
