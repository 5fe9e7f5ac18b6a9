/*
 * What the command-line tool can ask (ctl/proto.h). Reads state, changes nothing. Result shapes are
 * part of the interface: docs and tests rely on the member names.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "agent/agent.h"
#include "agent/kubernetes.h"
#include "agent/link.h"
#include "agent/verbs.h"
#include "agent/waiting.h"
#include "audit/stream.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "datapath/datapath.h"
#include "objects/manifest.h"
#include "token/service.h"
#include "version.h"

json_t *ig_verbs_number(uint64_t value)
{
	return json_integer((json_int_t)(value > INT64_MAX ? INT64_MAX : value));
}

json_t *ig_verbs_text(const char *text)
{
	size_t len = strlen(text);

	for (size_t cut = 0; cut <= 3 && cut <= len; cut++) {
		json_t *string = json_stringn(text, len - cut);

		if (string)
			return string;
	}
	return json_string("");
}

/* ---- status ---- */

static json_t *objects_json(const struct ig_store *store)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "identities",
		ig_verbs_number(ig_store_count(store, IG_OBJECT_IDENTITY)), "bindings",
		ig_verbs_number(ig_store_count(store, IG_OBJECT_BINDING)), "exceptions",
		ig_verbs_number(ig_store_count(store, IG_OBJECT_EXCEPTION)), "pods",
		ig_verbs_number(ig_store_count(store, IG_OBJECT_POD)), "service_accounts",
		ig_verbs_number(ig_store_count(store, IG_OBJECT_SERVICE_ACCOUNT)),
		"metadata_policies",
		ig_verbs_number(ig_store_count(store, IG_OBJECT_METADATA_POLICY)));
}

static json_t *tokens_json(const struct ig_agent *agent)
{
	struct ig_token_stats s = ig_token_service_stats(agent->tokens);

	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "cached", ig_verbs_number(s.cached),
		"hits", ig_verbs_number(s.hits), "misses", ig_verbs_number(s.misses), "stale",
		ig_verbs_number(s.stale), "upstream_calls", ig_verbs_number(s.upstream_calls),
		"upstream_errors", ig_verbs_number(s.upstream_errors));
}

static json_t *sink_json(const struct ig_audit_sink_stats *sink)
{
	const struct ig_audit_queue_stats *q = &sink->queue;

	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "name", sink->name, "state",
		q->error ? ig_err_name(q->error) : "ok", "queued", ig_verbs_number(q->queued),
		"delivered", ig_verbs_number(q->delivered), "lost", ig_verbs_number(q->lost),
		"failures", ig_verbs_number(q->failures));
}

static json_t *sinks_json(const struct ig_agent *agent)
{
	struct ig_audit_sink_stats sinks[IG_AUDIT_SINKS_MAX];
	size_t n = ig_audit_sinks(agent->audit, sinks);
	json_t *list = json_array();

	for (size_t i = 0; list && i < n; i++)
		(void)json_array_append_new(list, sink_json(&sinks[i]));
	return list;
}

static json_t *audit_json(const struct ig_agent *agent, const uint64_t *counters)
{
	struct ig_audit_stats s = ig_audit_stats(agent->audit);

	return json_pack("{s:s, s:b, s:o, s:o, s:o, s:o}", "run", ig_audit_run_id(agent->audit),
		"chain", agent->options->audit.chain, "emitted", ig_verbs_number(s.emitted),
		"lost_subscribers", ig_verbs_number(s.lost_subscribers), "lost_kernel",
		ig_verbs_number(counters[IG_COUNTER_EVENTS_LOST]), "sinks", sinks_json(agent));
}

static json_t *counters_json(const struct ig_agent *agent, const uint64_t *counters)
{
	json_t *all = json_object();

	(void)agent;
	for (unsigned int i = 0; all && i < _IG_COUNTER_MAX; i++)
		(void)json_object_set_new(
			all, ig_counter_name((enum ig_counter)i), ig_verbs_number(counters[i]));
	return all;
}

static json_t *status_json(const struct ig_agent *agent, const uint64_t *counters)
{
	const struct ig_options *o = agent->options;
	char started[IG_RFC3339_BYTES], pins[512];

	ig_clock_format_rfc3339(agent->started_usec, started);
	(void)snprintf(pins, sizeof(pins), "%s/imdsgate", o->bpffs);
	return json_pack(
		"{s:s, s:s, s:b, s:o, s:o, s:s, s:o, s:s, s:s, s:s, s:s, s:o, s:o, s:{s:s, s:o}, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
		"version", IG_VERSION, "node", o->node, "ready", agent->ready, "monitor_pid",
		ig_verbs_number(agent->monitor_pid), "server_pid",
		ig_verbs_number((uint64_t)getpid()), "started", started, "uptime_sec",
		ig_verbs_number((ig_clock_real_usec() - agent->started_usec) / IG_USEC_PER_SEC),
		"cgroup_root", o->cgroup_root, "pin_dir", pins, "imds_url", o->imds_url,
		"host_verdict", ig_verdict_name((enum ig_verdict)o->host_verdict), "policy_epoch",
		ig_verbs_number(ig_store_epoch(agent->store)), "objects",
		objects_json(agent->store), "manifests", "dir", o->manifests, "bad_files",
		ig_verbs_number(ig_manifest_dir_bad_files(agent->manifests)), "kubernetes",
		ig_kubernetes_status(agent->kubernetes), "listeners",
		ig_verbs_number(ig_gate_listener_count(agent->gate)), "connections",
		ig_verbs_number(ig_gate_connection_count(agent->gate)), "waiting",
		ig_verbs_number(ig_waiting_count(agent->waiting)), "tokens", tokens_json(agent),
		"audit", audit_json(agent, counters), "counters", counters_json(agent, counters));
}

static int status(struct ig_ctl_conn *conn, json_t *args, void *userdata, json_t **ret_result,
	struct ig_err *reterr_err)
{
	struct ig_agent *agent = userdata;
	uint64_t counters[_IG_COUNTER_MAX];
	int r;

	(void)conn;
	(void)args;
	r = ig_link_counters(agent->link, counters);
	if (r < 0)
		return ig_err_set(reterr_err, r,
			"the monitor does not tell the kernel's counters: %s", strerror(-r));
	*ret_result = status_json(agent, counters);
	return *ret_result ? 0 : -ENOMEM;
}

/* ---- audit tail ---- */

struct tail {
	struct ig_ctl_conn *conn;
	struct ig_audit_subscriber *subscriber;
};

static void on_line(const char *line, size_t len, void *userdata)
{
	struct tail *tail = userdata;

	if (ig_ctl_conn_send(tail->conn, line, len) < 0)
		ig_audit_subscriber_lost(tail->subscriber, 1);
}

static void on_tail_closed(void *userdata)
{
	struct tail *tail = userdata;

	ig_audit_unsubscribe(tail->subscriber);
	free(tail);
}

/* Arguments `since` (a number of the stream) and `run` (the run that it is of). */
static int tail_since(
	json_t *args, struct ig_audit_subscription *subscription, struct ig_err *reterr_err)
{
	const json_t *since = json_object_get(args, "since");

	if (!since)
		return 0;
	if (!json_is_integer(since) || json_integer_value(since) < 0)
		return ig_err_set(reterr_err, -EINVAL, "since is not a sequence number");
	subscription->resume = true;
	subscription->since = (uint64_t)json_integer_value(since);
	subscription->run = json_string_value(json_object_get(args, "run"));
	return 0;
}

static int audit_tail(struct ig_ctl_conn *conn, json_t *args, void *userdata, json_t **ret_result,
	struct ig_err *reterr_err)
{
	const struct ig_agent *agent = userdata;
	_cleanup_free_ struct tail *tail = calloc(1, sizeof(*tail));
	struct ig_audit_subscription subscription;
	int r;

	(void)ret_result;
	if (!tail)
		return -ENOMEM;
	tail->conn = conn;
	subscription = (struct ig_audit_subscription){.line = on_line, .userdata = tail};
	r = tail_since(args, &subscription, reterr_err);
	if (r < 0)
		return r;
	r = ig_audit_subscribe(agent->audit, &subscription, &tail->subscriber);
	if (r < 0)
		return ig_err_set(reterr_err, r, "too many follow the audit already (%d)",
			IG_AUDIT_SUBSCRIBERS_MAX);
	ig_ctl_conn_on_close(conn, on_tail_closed, tail);
	(void)TAKE_PTR(tail);
	return 0;
}

const struct ig_ctl_verb ig_agent_verbs[] = {
	{"status", NULL, status},
	{"workload", "list", ig_verbs_workload_list},
	{"workload", "show", ig_verbs_workload_show},
	{"explain", NULL, ig_verbs_explain},
	{"doctor", NULL, ig_verbs_doctor},
	{"audit", "tail", audit_tail},
	{},
};
