/*
 * Collects metrics from the agent's parts; see metrics_collect.h. Called by metrics.c for a scrape,
 * a bounded number of times a second.
 */
#include "agent/metrics_collect.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "agent/agent.h"
#include "agent/documents.h"
#include "agent/kubernetes.h"
#include "agent/link.h"
#include "agent/waiting.h"
#include "audit/stream.h"
#include "base/clock.h"
#include "kube/feeder.h"
#include "objects/manifest.h"
#include "token/service.h"

static void set(const struct ig_agent *agent, size_t metric, unsigned int label, uint64_t value)
{
	ig_metrics_set(agent->metrics, metric, label, 0, value);
}

/* false: the monitor does not answer, and what it would say is left out. */
static bool collect_kernel(struct ig_collect *collect)
{
	uint64_t counters[_IG_COUNTER_MAX], now_usec = ig_clock_mono_usec();
	const struct ig_agent *agent = collect->agent;
	bool answers = now_usec >= collect->ask_monitor_usec;

	if (answers && ig_link_counters(agent->link, counters) < 0) {
		answers = false;
		collect->ask_monitor_usec =
			ig_clock_mono_usec() + IG_METRICS_MONITOR_RETRY_SEC * IG_USEC_PER_SEC;
	}
	for (unsigned int i = 0; i < _IG_COUNTER_MAX; i++)
		set(agent, IG_M_KERNEL, i, answers ? counters[i] : IG_METRIC_ABSENT);
	set(agent, IG_M_AUDIT_LOST, IG_LOST_KERNEL,
		answers ? counters[IG_COUNTER_EVENTS_LOST] : IG_METRIC_ABSENT);
	return answers;
}

static void collect_sink(
	const struct ig_agent *agent, unsigned int sink, const struct ig_audit_sink_stats *s)
{
	set(agent, IG_M_AUDIT_LOST, sink, s->queue.lost);
	set(agent, IG_M_AUDIT_WORKING, sink, s->queue.error == 0);
	set(agent, IG_M_AUDIT_QUEUE, sink, s->queue.queued);
	set(agent, IG_M_AUDIT_FAILURES, sink, s->queue.failures);
}

/* Returns whether records find a sink that works, if there is any sink at all. */
static bool collect_sinks(const struct ig_agent *agent)
{
	const struct ig_metric_label *names = ig_metrics_table[IG_M_AUDIT_WORKING].labels[0];
	struct ig_audit_sink_stats sinks[IG_AUDIT_SINKS_MAX];
	size_t n = ig_audit_sinks(agent->audit, sinks);
	bool works = n == 0;

	for (unsigned int sink = 0; sink < _IG_METRIC_SINK_MAX; sink++)
		set(agent, IG_M_AUDIT_WORKING, sink, IG_METRIC_ABSENT);
	for (size_t i = 0; i < n && i < IG_AUDIT_SINKS_MAX; i++) {
		works |= sinks[i].queue.error == 0;
		for (unsigned int sink = 0; sink < _IG_METRIC_SINK_MAX; sink++)
			if (strcmp(names->value(sink), sinks[i].name) == 0)
				collect_sink(agent, sink, &sinks[i]);
	}
	return works;
}

static bool collect_audit(const struct ig_agent *agent)
{
	struct ig_audit_stats s = ig_audit_stats(agent->audit);

	for (unsigned int i = 0; i < _IG_AUDIT_KIND_MAX; i++)
		set(agent, IG_M_AUDIT, i, s.by_kind[i]);
	set(agent, IG_M_AUDIT_LOST, IG_LOST_SUBSCRIBER, s.lost_subscribers);
	return collect_sinks(agent);
}

static void collect_http(const struct ig_agent *agent)
{
	uint64_t n[_IG_HTTP_COUNTER_MAX];

	ig_gate_http_counters(agent->gate, n);
	set(agent, IG_M_HTTP_REFUSED, IG_REFUSED_MALFORMED, n[IG_HTTP_MALFORMED]);
	set(agent, IG_M_HTTP_REFUSED, IG_REFUSED_TARGET, n[IG_HTTP_LIMIT_TARGET]);
	set(agent, IG_M_HTTP_REFUSED, IG_REFUSED_HEADERS, n[IG_HTTP_LIMIT_HEADERS]);
	set(agent, IG_M_HTTP_REFUSED, IG_REFUSED_BODY, n[IG_HTTP_LIMIT_BODY]);
	set(agent, IG_M_HTTP_REFUSED, IG_REFUSED_CONNECTIONS, n[IG_HTTP_LIMIT_CONNECTIONS]);
	set(agent, IG_M_HTTP_REFUSED, IG_REFUSED_BUFFERED, n[IG_HTTP_LIMIT_BUFFERED]);
	set(agent, IG_M_HTTP_REFUSED, IG_REFUSED_TIMEOUT, n[IG_HTTP_TIMEOUTS]);
	set(agent, IG_M_LOOKUPS_REFUSED, 0, ig_callers_too_many(agent->callers));
	set(agent, IG_M_HTTP_ACCEPTED, 0, n[IG_HTTP_CONNECTIONS]);
	set(agent, IG_M_CONNECTIONS, 0, ig_gate_connection_count(agent->gate));
	set(agent, IG_M_LISTENERS, 0, ig_gate_listener_count(agent->gate));
	set(agent, IG_M_WAITING, 0, ig_waiting_count(agent->waiting));
}

static void collect_upstream(const struct ig_agent *agent)
{
	struct ig_token_stats t = ig_token_service_stats(agent->tokens);
	struct ig_documents_stats d = ig_documents_stats(agent->documents);

	set(agent, IG_M_TOKEN_CACHE, IG_TOKEN_HIT, t.hits);
	set(agent, IG_M_TOKEN_CACHE, IG_TOKEN_MISS, t.misses);
	set(agent, IG_M_TOKEN_CACHE, IG_TOKEN_STALE, t.stale);
	set(agent, IG_M_TOKENS, 0, t.cached);
	set(agent, IG_M_TOKEN_WAITERS, 0, t.waiters);
	for (unsigned int i = 0; i < _IG_SOURCE_LANE_MAX; i++)
		set(agent, IG_M_UPSTREAM_QUEUE, i, t.queued_in[i]);
	set(agent, IG_M_UPSTREAM_QUEUE, IG_QUEUE_DOCUMENTS, d.queued);
	set(agent, IG_M_DOCUMENT_CACHE, IG_DOCUMENT_HIT, d.hits);
	set(agent, IG_M_DOCUMENT_CACHE, IG_DOCUMENT_MISS, d.misses);
	set(agent, IG_M_DOCUMENTS, 0, d.cached);
}

static void collect_watch(
	const struct ig_agent *agent, unsigned int kind, const struct ig_kube_feeder_stats *s)
{
	const struct ig_kube_watch_stats *w = &s->watch;

	for (unsigned int state = 0; state < _IG_KUBE_WATCH_STATE_MAX; state++)
		ig_metrics_set(agent->metrics, IG_M_KUBE_STATE, kind, state, w->state == state);
	set(agent, IG_M_KUBE_SILENCE, kind,
		w->heard_mono_usec ? ig_clock_mono_usec() - w->heard_mono_usec : IG_METRIC_ABSENT);
	set(agent, IG_M_KUBE_EVENTS, kind, w->events);
	set(agent, IG_M_KUBE_LISTS, kind, w->lists);
	set(agent, IG_M_KUBE_WATCHES, kind, w->watches);
	set(agent, IG_M_KUBE_ERRORS, kind, w->errors);
	set(agent, IG_M_KUBE_BYTES, kind, w->bytes);
	set(agent, IG_M_KUBE_UNUSABLE, kind, w->unusable);
	set(agent, IG_M_KUBE_REJECTED, kind, s->rejected);
}

static void no_watch(const struct ig_agent *agent, unsigned int kind)
{
	for (unsigned int state = 0; state < _IG_KUBE_WATCH_STATE_MAX; state++)
		ig_metrics_set(agent->metrics, IG_M_KUBE_STATE, kind, state, IG_METRIC_ABSENT);
	for (size_t metric = IG_M_KUBE_SILENCE; metric <= IG_M_KUBE_REJECTED; metric++)
		set(agent, metric, kind, IG_METRIC_ABSENT);
}

static void collect_declared(const struct ig_agent *agent)
{
	for (unsigned int kind = 0; kind < _IG_OBJECT_KIND_MAX; kind++) {
		struct ig_kube_feeder_stats s;

		set(agent, IG_M_OBJECTS, kind,
			ig_store_count(agent->store, (enum ig_object_kind)kind));
		if (ig_kubernetes_stats(agent->kubernetes, (enum ig_object_kind)kind, &s))
			collect_watch(agent, kind, &s);
		else
			no_watch(agent, kind);
	}
	set(agent, IG_M_BAD_FILES, 0, ig_manifest_dir_bad_files(agent->manifests));
	set(agent, IG_M_EPOCH, 0, ig_store_epoch(agent->store));
}

/* Second number of /proc/self/statm, in pages. */
static uint64_t resident_bytes(int statm_fd)
{
	char text[128];
	uint64_t pages;
	ssize_t n = pread(statm_fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return IG_METRIC_ABSENT;
	text[n] = '\0';
	if (sscanf(text, "%*u %" SCNu64, &pages) != 1)
		return IG_METRIC_ABSENT;
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void collect_process(const struct ig_collect *collect)
{
	set(collect->agent, IG_M_BUILD, 0, 1);
	set(collect->agent, IG_M_START, 0, collect->agent->started_usec);
	set(collect->agent, IG_M_HUNG, 0, collect->agent->hung_servers);
	set(collect->agent, IG_M_RSS, 0, resident_bytes(collect->statm_fd));
}

void ig_collect(struct ig_collect *collect)
{
	const struct ig_agent *agent = collect->agent;

	ig_metrics_add(agent->metrics, IG_M_COLLECTIONS, 0, 0, 1);
	/* that the monitor has attached its programs is what it acknowledged before `ready` */
	collect->ok[IG_HEALTH_ENFORCING] = collect_kernel(collect) && agent->ready;
	collect->ok[IG_HEALTH_SYNCED] = ig_kubernetes_synced(agent->kubernetes);
	collect->ok[IG_HEALTH_AUDIT] = collect_audit(agent);
	collect_http(agent);
	collect_upstream(agent);
	collect_declared(agent);
	collect_process(collect);
	for (unsigned int i = 0; i < _IG_HEALTH_MAX; i++)
		set(agent, IG_M_HEALTH, i, collect->ok[i]);
	set(agent, IG_M_READY, 0, ig_collect_is_healthy(collect));
}

bool ig_collect_is_healthy(const struct ig_collect *collect)
{
	for (unsigned int i = 0; i < _IG_HEALTH_MAX; i++)
		if (!collect->ok[i])
			return false;
	return true;
}
