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
struct ig_metrics_choices;
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

/* Privileged. Leaves *ret_fd alone when somebody else has the port. */
int ig_metrics_open_port(
	const struct ig_metrics_choices *choices, int *ret_fd, struct ig_err *reterr_err);
/* Everything else of the agent is there. statm_fd: of this process; taken. */
int ig_metrics_server_new(struct ig_agent *agent, int statm_fd, struct ig_metrics_server **ret);
/* Each once; takes the listening socket. */
int ig_metrics_serve_port(struct ig_metrics_server *server, int fd);
int ig_metrics_serve_socket(struct ig_metrics_server *server, int fd);
struct ig_metrics_server *ig_metrics_server_free(struct ig_metrics_server *server);
