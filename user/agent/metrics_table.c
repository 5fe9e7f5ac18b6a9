/*
 * The table of metrics and the values of their labels; see metrics_table.h. Data only.
 *
 * The value of a label must never be anything but the name of an enum's value: what comes from a
 * workload, a manifest or the network never becomes a series.
 */
#include "agent/metrics_table.h"

#include <imdsgate/abi.h>

#include "audit/record.h"
#include "base/cleanup.h"
#include "datapath/datapath.h"
#include "http/server.h"
#include "imds/routes.h"
#include "kube/watch.h"
#include "objects/object.h"
#include "token/service.h"
#include "token/source.h"
#include "version.h"

/* A label from a list of words: TEXTS(name of the list, name of the label, words…) */
#define TEXTS(id, label, ...)                                                                      \
	static const char *const id##_texts[] = {__VA_ARGS__};                                     \
	static const char *id##_value(unsigned int index)                                          \
	{                                                                                          \
		return id##_texts[index];                                                          \
	}                                                                                          \
	static const struct ig_metric_label label_##id = {                                         \
		label, IG_ARRAY_SIZE(id##_texts), id##_value}

/* A label from an enum whose names somebody else has */
#define NAMED(id, label, max, type, name)                                                          \
	static const char *id##_value(unsigned int index)                                          \
	{                                                                                          \
		return name((enum type)index);                                                     \
	}                                                                                          \
	static const struct ig_metric_label label_##id = {label, max, id##_value}

#define X(id, text) text,
TEXTS(VERSION, "version", IG_VERSION);
TEXTS(CHECK, "check", IG_HEALTH_CHECKS(X));
TEXTS(SINK, "sink", IG_METRIC_SINKS(X));
TEXTS(LOSER, "sink",
	IG_METRIC_SINKS(X)[IG_LOST_SUBSCRIBER] = "subscriber", [IG_LOST_KERNEL] = "kernel");
TEXTS(OUTCOME, "outcome", IG_TOKEN_OUTCOMES(X));
#undef X
NAMED(EVENT, "event", _IG_COUNTER_MAX, ig_counter, ig_counter_name);
NAMED(AUDIT_KIND, "kind", _IG_AUDIT_KIND_MAX, ig_audit_kind, ig_audit_kind_name);
NAMED(ROUTE, "route", _IG_IMDS_ROUTE_MAX, ig_imds_route, ig_imds_route_name);
NAMED(OBJECT, "object", _IG_OBJECT_KIND_MAX, ig_object_kind, ig_object_kind_name);
NAMED(KUBE_STATE, "state", _IG_KUBE_WATCH_STATE_MAX, ig_kube_watch_state, ig_kube_watch_state_name);

TEXTS(CLASS, "class", [IG_CLASS_2XX] = "2xx", [IG_CLASS_4XX] = "4xx", [IG_CLASS_5XX] = "5xx");
TEXTS(HTTP_REASON, "reason", [IG_REFUSED_MALFORMED] = "malformed",
	[IG_REFUSED_TARGET] = "target_too_long", [IG_REFUSED_HEADERS] = "headers_too_large",
	[IG_REFUSED_BODY] = "body_too_large", [IG_REFUSED_CONNECTIONS] = "too_many_connections",
	[IG_REFUSED_BUFFERED] = "too_much_buffered", [IG_REFUSED_TIMEOUT] = "timeout");
TEXTS(CACHE,
	"result", [IG_TOKEN_HIT] = "hit", [IG_TOKEN_MISS] = "miss", [IG_TOKEN_STALE] = "stale");
TEXTS(DOCUMENT_CACHE, "result", [IG_DOCUMENT_HIT] = "hit", [IG_DOCUMENT_MISS] = "miss");
TEXTS(RESULT, "result", [IG_REFRESH_OK] = "ok", [IG_REFRESH_FAILED] = "failed");
TEXTS(SOURCE, "source", [IG_TOKEN_SOURCE_IMDS] = "imds", [IG_TOKEN_SOURCE_SECRET] = "entra_secret",
	[IG_TOKEN_SOURCE_CERTIFICATE] = "entra_certificate",
	[IG_TOKEN_SOURCE_CERTIFICATE_RS256] = "entra_certificate_rs256",
	[IG_TOKEN_SOURCE_FEDERATION] = "entra_federation",
	[IG_TOKEN_SOURCE_SERVICE_ACCOUNT] = "entra_service_account",
	[IG_SOURCE_DOCUMENTS] = "imds_documents");
TEXTS(UPSTREAM_RESULT, "result", [IG_UPSTREAM_OK] = "ok",
	[IG_UPSTREAM_FAILED + IG_TOKEN_REJECTED] = "rejected",
	[IG_UPSTREAM_FAILED + IG_TOKEN_NOT_FOUND] = "not_found",
	[IG_UPSTREAM_FAILED + IG_TOKEN_UNAVAILABLE] = "unavailable",
	[IG_UPSTREAM_FAILED + IG_TOKEN_BROKEN] = "broken");
TEXTS(QUEUE, "queue", [IG_SOURCE_LANE_IMDS] = "imds", [IG_SOURCE_LANE_ENTRA] = "entra",
	[IG_SOURCE_LANE_SERVICE_ACCOUNT] = "service_account",
	[IG_QUEUE_DOCUMENTS] = "imds_documents");

static const struct ig_metric_label label_NONE;

const struct ig_metric ig_metrics_table[_IG_M_MAX] = {
#define X(id, type, unit, name, label0, label1, help)                                              \
	[IG_M_##id] = {name, help, IG_METRIC_##type, IG_METRIC_##unit,                             \
		{&label_##label0, &label_##label1}},
	IG_METRICS(X)
#undef X
};
