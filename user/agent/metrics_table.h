/*
 * Which metrics the agent has. Adding one is a row here; what counts it uses its id.
 * docs/metrics.md has the same rows, and a test compares table, page and what the agent serves.
 */
#pragma once

#include <stddef.h>

#include "metrics/metrics.h"

/* X(id, type, unit, name, first label, second label, help). Labels are those of metrics_table.c. */
#define IG_METRICS(X)                                                                              \
	X(BUILD, GAUGE, NUMBER, "imdsgate_build_info", VERSION, NONE,                              \
		"Always 1; the label says which version runs.")                                    \
	X(READY, GAUGE, NUMBER, "imdsgate_ready", NONE, NONE,                                      \
		"1 if every part is well: what /healthz says.")                                    \
	X(HEALTH, GAUGE, NUMBER, "imdsgate_health", CHECK, NONE,                                   \
		"1 if that part of the agent is well.")                                            \
	X(START, GAUGE, USEC, "process_start_time_seconds", NONE, NONE,                            \
		"Unix time at which the server process began.")                                    \
	X(RSS, GAUGE, NUMBER, "process_resident_memory_bytes", NONE, NONE,                         \
		"Memory of the server process that is in RAM.")                                    \
	X(HUNG, COUNTER, NUMBER, "imdsgate_server_hung_total", NONE, NONE,                         \
		"Server processes that did not answer, and were killed and replaced.")             \
	X(COLLECTIONS, COUNTER, NUMBER, "imdsgate_metrics_collections_total", NONE, NONE,          \
		"Collections of these numbers; scrapes close together share one.")                 \
	X(KERNEL, COUNTER, NUMBER, "imdsgate_kernel_events_total", EVENT, NONE,                    \
		"What the programs in the kernel did.")                                            \
	X(AUDIT, COUNTER, NUMBER, "imdsgate_audit_events_total", AUDIT_KIND, NONE,                 \
		"Audit records by kind.")                                                          \
	X(AUDIT_LOST, COUNTER, NUMBER, "imdsgate_audit_lost_total", LOSER, NONE,                   \
		"Audit records that were not taken.")                                              \
	X(AUDIT_SUPPRESSED, COUNTER, NUMBER, "imdsgate_audit_suppressed_total", NONE, NONE,        \
		"Records left out: a workload or namespace had too many. The next says how many.") \
	X(AUDIT_WORKING, GAUGE, NUMBER, "imdsgate_audit_sink_working", SINK, NONE,                 \
		"1 if the sink takes records; none for a sink that is not used.")                  \
	X(AUDIT_QUEUE, GAUGE, NUMBER, "imdsgate_audit_queue_length", SINK, NONE,                   \
		"Audit records that wait for the sink.")                                           \
	X(AUDIT_FAILURES, COUNTER, NUMBER, "imdsgate_audit_sink_failures_total", SINK, NONE,       \
		"Times that the sink stopped working.")                                            \
	X(HTTP_REQUESTS, COUNTER, NUMBER, "imdsgate_http_requests_total", ROUTE, CLASS,            \
		"Answered requests by route and class of status.")                                 \
	X(HTTP_DURATION, HISTOGRAM, USEC, "imdsgate_http_request_duration_seconds", ROUTE, NONE,   \
		"From the complete request to its answer.")                                        \
	X(HTTP_REFUSED, COUNTER, NUMBER, "imdsgate_http_refused_total", HTTP_REASON, NONE,         \
		"Input that is no request, and connections closed, idle ones too.")                \
	X(LOOKUPS_REFUSED, COUNTER, NUMBER, "imdsgate_caller_lookups_refused_total", NONE, NONE,   \
		"Callers that were not looked up: too many were under way already.")               \
	X(HTTP_ACCEPTED, COUNTER, NUMBER, "imdsgate_http_connections_total", NONE, NONE,           \
		"Connections of workloads that were let in.")                                      \
	X(CONNECTIONS, GAUGE, NUMBER, "imdsgate_http_connections", NONE, NONE,                     \
		"Connections of workloads that are open.")                                         \
	X(LISTENERS, GAUGE, NUMBER, "imdsgate_gate_listeners", NONE, NONE,                         \
		"Network namespaces that are served.")                                             \
	X(WAITING, GAUGE, NUMBER, "imdsgate_waiting_requests", NONE, NONE,                         \
		"Requests that wait for a pod or a rule to be declared.")                          \
	X(TOKEN_REQUESTS, COUNTER, NUMBER, "imdsgate_token_requests_total", OUTCOME, NONE,         \
		"Token requests by outcome.")                                                      \
	X(TOKEN_CACHE, COUNTER, NUMBER, "imdsgate_token_cache_requests_total", CACHE, NONE,        \
		"Lookups in the token cache; stale ones are misses, too.")                         \
	X(TOKENS, GAUGE, NUMBER, "imdsgate_tokens_cached", NONE, NONE, "Tokens in the cache.")     \
	X(TOKEN_WAITERS, GAUGE, NUMBER, "imdsgate_token_waiters", NONE, NONE,                      \
		"Requests that wait for a token from upstream.")                                   \
	X(TOKEN_REFRESHES, COUNTER, NUMBER, "imdsgate_token_refreshes_total", RESULT, NONE,        \
		"Refreshes of cached tokens ahead of their time.")                                 \
	X(DOCUMENT_CACHE, COUNTER, NUMBER, "imdsgate_document_cache_requests_total",               \
		DOCUMENT_CACHE, NONE, "Lookups in the cache of metadata documents.")               \
	X(DOCUMENTS, GAUGE, NUMBER, "imdsgate_documents_cached", NONE, NONE,                       \
		"Metadata documents in the cache.")                                                \
	X(UPSTREAM, COUNTER, NUMBER, "imdsgate_upstream_calls_total", SOURCE, UPSTREAM_RESULT,     \
		"Calls to IMDS and Entra ID that are over, sent or not.")                          \
	X(UPSTREAM_DURATION, HISTOGRAM, USEC, "imdsgate_upstream_duration_seconds", SOURCE, NONE,  \
		"Of calls that were sent, without the time in the queue.")                         \
	X(UPSTREAM_QUEUE, GAUGE, NUMBER, "imdsgate_upstream_queue_length", QUEUE, NONE,            \
		"Calls that wait for their turn.")                                                 \
	X(OBJECTS, GAUGE, NUMBER, "imdsgate_objects", OBJECT, NONE,                                \
		"Declared objects that are in force.")                                             \
	X(BAD_FILES, GAUGE, NUMBER, "imdsgate_manifest_files_rejected", NONE, NONE,                \
		"Manifest files whose last version was not taken.")                                \
	X(EPOCH, GAUGE, NUMBER, "imdsgate_policy_epoch", NONE, NONE,                               \
		"Goes up with every change of what is declared.")                                  \
	X(WOULD_DENY, COUNTER, NUMBER, "imdsgate_policy_would_deny_total", NONE, NONE,             \
		"Requests that a policy in mode Audit would have denied.")                         \
	X(KUBE_STATE, GAUGE, NUMBER, "imdsgate_kube_watch_state", OBJECT, KUBE_STATE,              \
		"1 for the state that the watch is in; none without Kubernetes.")                  \
	/* from here to KUBE_REJECTED: labelled by kind alone, and absent together */              \
	X(KUBE_SILENCE, GAUGE, USEC, "imdsgate_kube_watch_silence_seconds", OBJECT, NONE,          \
		"Since the API server was heard last.")                                            \
	X(KUBE_EVENTS, COUNTER, NUMBER, "imdsgate_kube_watch_events_total", OBJECT, NONE,          \
		"Events, bookmarks included.")                                                     \
	X(KUBE_LISTS, COUNTER, NUMBER, "imdsgate_kube_lists_total", OBJECT, NONE,                  \
		"Whole lists; more than one is a relist.")                                         \
	X(KUBE_WATCHES, COUNTER, NUMBER, "imdsgate_kube_watches_total", OBJECT, NONE,              \
		"Watches that were started.")                                                      \
	X(KUBE_ERRORS, COUNTER, NUMBER, "imdsgate_kube_errors_total", OBJECT, NONE,                \
		"Calls that failed, and errors inside of watches.")                                \
	X(KUBE_BYTES, COUNTER, NUMBER, "imdsgate_kube_received_bytes_total", OBJECT, NONE,         \
		"Bodies of lists and watches.")                                                    \
	X(KUBE_UNUSABLE, COUNTER, NUMBER, "imdsgate_kube_unusable_total", OBJECT, NONE,            \
		"Objects, as often as they came, that cannot be held.")                            \
	X(KUBE_REJECTED, GAUGE, NUMBER, "imdsgate_kube_objects_rejected", OBJECT, NONE,            \
		"Objects that are not in force: they are wrong, or clash.")

enum ig_metric_id {
#define X(id, ...) IG_M_##id,
	IG_METRICS(X)
#undef X
		_IG_M_MAX
};

/* What the health checks are about. */
#define IG_HEALTH_CHECKS(X)                                                                        \
	X(ENFORCING, "enforcing")                                                                  \
	X(SYNCED, "synced")                                                                        \
	X(AUDIT, "audit")

enum ig_health_check {
#define X(id, text) IG_HEALTH_##id,
	IG_HEALTH_CHECKS(X)
#undef X
		_IG_HEALTH_MAX
};

/* The names that the sinks have themselves. */
#define IG_METRIC_SINKS(X)                                                                         \
	X(FILE, "file")                                                                            \
	X(STDOUT, "stdout")                                                                        \
	X(SYSLOG, "syslog")                                                                        \
	X(OTLP, "otlp")

enum ig_metric_sink {
#define X(id, text) IG_METRIC_SINK_##id,
	IG_METRIC_SINKS(X)
#undef X
		_IG_METRIC_SINK_MAX
};

/* Who else loses records, as labels behind the sinks. */
#define IG_LOST_SUBSCRIBER _IG_METRIC_SINK_MAX
#define IG_LOST_KERNEL	   (_IG_METRIC_SINK_MAX + 1)

/* What became of a token request. */
#define IG_TOKEN_OUTCOMES(X)                                                                       \
	X(ISSUED, "issued")                                                                        \
	X(DENIED_NO_IDENTITY, "denied_no_identity") /* not bound, or nobody that is declared */    \
	X(DENIED_AMBIGUOUS, "denied_ambiguous")	    /* several identities, none named */           \
	X(DENIED_UNKNOWN_POD, "denied_unknown_pod") /* /host/token */                              \
	X(DENIED_POLICY, "denied_policy")                                                          \
	X(DENIED_RATE, "denied_rate")                                                              \
	X(FAILED_REJECTED, "failed_rejected")	/* upstream says no */                             \
	X(FAILED_NOT_FOUND, "failed_not_found") /* upstream does not know the identity */          \
	X(FAILED_UNAVAILABLE, "failed_unavailable")                                                \
	X(FAILED_BROKEN, "failed_broken") /* nonsense from upstream, or trouble here */            \
	X(BAD_REQUEST, "bad_request")

enum ig_token_outcome_kind {
#define X(id, text) IG_OUTCOME_##id,
	IG_TOKEN_OUTCOMES(X)
#undef X
		_IG_OUTCOME_MAX
};

enum ig_status_class { IG_CLASS_2XX, IG_CLASS_4XX, IG_CLASS_5XX };

enum ig_http_refused {
	IG_REFUSED_MALFORMED,
	IG_REFUSED_TARGET,
	IG_REFUSED_HEADERS,
	IG_REFUSED_BODY,
	IG_REFUSED_CONNECTIONS,
	IG_REFUSED_BUFFERED,
	IG_REFUSED_TIMEOUT,
};

enum ig_document_cache { IG_DOCUMENT_HIT, IG_DOCUMENT_MISS };

enum ig_refresh_result { IG_REFRESH_OK, IG_REFRESH_FAILED };

/* The token service's sources, then documents. */
#define IG_SOURCE_DOCUMENTS _IG_TOKEN_SOURCE_MAX
/* The token service's lanes, then documents. */
#define IG_QUEUE_DOCUMENTS _IG_SOURCE_LANE_MAX

/* How a call to upstream ended: well, or IG_UPSTREAM_FAILED + enum ig_token_failure_kind. */
#define IG_UPSTREAM_OK	   0
#define IG_UPSTREAM_FAILED 1

extern const struct ig_metric ig_metrics_table[_IG_M_MAX];
