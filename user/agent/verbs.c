/*
 * What the command-line tool can ask (ctl/proto.h). Reads state, changes nothing. Result shapes are
 * part of the interface: docs and tests rely on the member names.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/kubernetes.h"
#include "agent/link.h"
#include "agent/workloads.h"
#include "audit/stream.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "datapath/datapath.h"
#include "objects/manifest.h"
#include "policy/binding.h"
#include "token/service.h"
#include "version.h"

#include <imdsgate/limits.h>

/* Every count fits: jansson integers are 64 bit signed. */
static json_t *number(uint64_t value)
{
	return json_integer((json_int_t)(value > INT64_MAX ? INT64_MAX : value));
}

static json_t *decimal(uint64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRIu64, value);
	return json_string(text);
}

/* ---- status ---- */

static json_t *objects_json(const struct ig_store *store)
{
	return json_pack("{s:o, s:o, s:o, s:o}", "identities",
		number(ig_store_count(store, IG_OBJECT_IDENTITY)), "bindings",
		number(ig_store_count(store, IG_OBJECT_BINDING)), "exceptions",
		number(ig_store_count(store, IG_OBJECT_EXCEPTION)), "pods",
		number(ig_store_count(store, IG_OBJECT_POD)));
}

static json_t *tokens_json(const struct ig_agent *agent)
{
	struct ig_token_stats s = ig_token_service_stats(agent->tokens);

	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "cached", number(s.cached), "hits",
		number(s.hits), "misses", number(s.misses), "stale", number(s.stale),
		"upstream_calls", number(s.upstream_calls), "upstream_errors",
		number(s.upstream_errors));
}

static json_t *sink_json(const struct ig_audit_sink_stats *sink)
{
	const struct ig_audit_queue_stats *q = &sink->queue;

	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "name", sink->name, "state",
		q->error ? ig_err_name(q->error) : "ok", "queued", number(q->queued), "delivered",
		number(q->delivered), "lost", number(q->lost), "failures", number(q->failures));
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
		"chain", agent->options->audit.chain, "emitted", number(s.emitted),
		"lost_subscribers", number(s.lost_subscribers), "lost_kernel",
		number(counters[IG_COUNTER_EVENTS_LOST]), "sinks", sinks_json(agent));
}

static json_t *counters_json(const struct ig_agent *agent, const uint64_t *counters)
{
	json_t *all = json_object();

	(void)agent;
	for (unsigned int i = 0; all && i < _IG_COUNTER_MAX; i++)
		(void)json_object_set_new(
			all, ig_counter_name((enum ig_counter)i), number(counters[i]));
	return all;
}

static json_t *status_json(const struct ig_agent *agent, const uint64_t *counters)
{
	const struct ig_options *o = agent->options;
	char started[IG_RFC3339_BYTES], pins[512];

	ig_clock_format_rfc3339(agent->started_usec, started);
	(void)snprintf(pins, sizeof(pins), "%s/imdsgate", o->bpffs);
	return json_pack(
		"{s:s, s:s, s:o, s:o, s:s, s:o, s:s, s:s, s:s, s:s, s:o, s:o, s:{s:s, s:o}, s:o, s:o, s:o, s:o, s:o, s:o}",
		"version", IG_VERSION, "node", o->node, "monitor_pid", number(agent->monitor_pid),
		"server_pid", number((uint64_t)getpid()), "started", started, "uptime_sec",
		number((ig_clock_real_usec() - agent->started_usec) / IG_USEC_PER_SEC),
		"cgroup_root", o->cgroup_root, "pin_dir", pins, "imds_url", o->imds_url,
		"host_verdict", ig_verdict_name((enum ig_verdict)o->host_verdict), "policy_epoch",
		number(ig_store_epoch(agent->store)), "objects", objects_json(agent->store),
		"manifests", "dir", o->manifests, "bad_files",
		number(ig_manifest_dir_bad_files(agent->manifests)), "kubernetes",
		ig_kubernetes_status(agent->kubernetes), "listeners",
		number(ig_gate_listener_count(agent->gate)), "connections",
		number(ig_gate_connection_count(agent->gate)), "tokens", tokens_json(agent),
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

/* ---- workload ---- */

static json_t *identity_names(const struct ig_agent *agent, const struct ig_pod *pod)
{
	const struct ig_identity *found[IG_POD_IDENTITIES_MAX];
	size_t n = ig_policy_candidates(
		agent->store, pod, &agent->options->policy, found, IG_ARRAY_SIZE(found));
	json_t *names = json_array();

	for (size_t i = 0; names && i < n && i < IG_ARRAY_SIZE(found); i++)
		(void)json_array_append_new(
			names, json_sprintf("%s/%s", found[i]->namespace, found[i]->name));
	return names;
}

static json_t *verdicts_json(const struct ig_agent *agent, const struct ig_pod *pod)
{
	struct ig_workload_entry e = ig_workloads_verdicts(agent->store, pod);

	return json_pack("{s:s, s:s, s:s}", "imds",
		ig_verdict_name((enum ig_verdict)e.verdict[IG_ENDPOINT_IMDS]), "wireserver",
		ig_verdict_name((enum ig_verdict)e.verdict[IG_ENDPOINT_WIRESERVER]), "hostgaplugin",
		ig_verdict_name((enum ig_verdict)e.verdict[IG_ENDPOINT_HOSTGAPLUGIN]));
}

static const char *excepted_name(const struct ig_agent *agent, const struct ig_pod *pod)
{
	const struct ig_exception *e =
		ig_policy_exception(agent->store, pod, &agent->options->policy);

	if (!e)
		return "";
	return e->mode == IG_EXCEPTION_DIRECT ? "direct" : "proxy";
}

static json_t *workload_json(const struct ig_agent *agent, const struct ig_pod *pod)
{
	uint64_t id = ig_workloads_cgroup_id(agent->workloads, pod);

	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:b, s:b, s:s, s:o, s:o}", "namespace",
		pod->namespace, "name", pod->name, "uid", pod->uid, "cgroup", pod->cgroup,
		"cgroup_id", decimal(id), "present", id != 0, "host_network", pod->host_network,
		"excepted", excepted_name(agent, pod), "verdicts", verdicts_json(agent, pod),
		"identities", identity_names(agent, pod));
}

static int compare_members(const void *a, const void *b, void *keys)
{
	const json_t *const *ja = a, *const *jb = b;
	int c = 0;

	for (const char *const *key = keys; c == 0 && *key; key++)
		c = strcmp(json_string_value(json_object_get(*ja, *key)),
			json_string_value(json_object_get(*jb, *key)));
	return c;
}

/* The same mappings ordered by these texts (ended by NULL), for the order in the store means
 * nothing. Takes list; NULL when it is NULL or memory is out. */
static json_t *sort_list(json_t *list, const char *const *keys)
{
	size_t n = json_array_size(list);
	_cleanup_free_ json_t **items = calloc(n + 1, sizeof(json_t *));
	json_t *sorted = items && list ? json_array() : NULL;

	for (size_t i = 0; sorted && i < n; i++)
		items[i] = json_array_get(list, i);
	if (sorted)
		qsort_r(items, n, sizeof(json_t *), compare_members, (void *)keys);
	for (size_t i = 0; sorted && i < n; i++)
		(void)json_array_append(sorted, items[i]);
	json_decref(list);
	return sorted;
}

static int workload_list(struct ig_ctl_conn *conn, json_t *args, void *userdata,
	json_t **ret_result, struct ig_err *reterr_err)
{
	static const char *const keys[] = {"namespace", "name", NULL};
	const struct ig_agent *agent = userdata;
	json_t *list = json_array();
	const struct ig_pod *pod;
	size_t iter = 0;

	(void)conn;
	(void)args;
	(void)reterr_err;
	while (list && (pod = ig_store_next_pod(agent->store, &iter)) != NULL)
		(void)json_array_append_new(list, workload_json(agent, pod));
	*ret_result = sort_list(list, keys);
	return *ret_result ? 0 : -ENOMEM;
}

static json_t *labels_json(const struct ig_pod *pod)
{
	json_t *labels = json_object();

	for (size_t i = 0; labels && i < pod->n_labels; i++)
		(void)json_object_set_new(
			labels, pod->labels[i].key, json_string(pod->labels[i].value));
	return labels;
}

/* The bindings that give the pod its candidates. */
static json_t *bindings_json(const struct ig_agent *agent, const struct ig_pod *pod)
{
	static const char *const keys[] = {"binding", NULL};
	const struct ig_identity *found[IG_POD_IDENTITIES_MAX];
	size_t n = ig_policy_candidates(
		agent->store, pod, &agent->options->policy, found, IG_ARRAY_SIZE(found));
	const char *label = ig_label_get(pod->labels, pod->n_labels, "aadpodidbinding");
	json_t *list = json_array();
	const struct ig_binding *b;
	size_t iter = 0;

	while (list && label && (b = ig_store_next_binding(agent->store, &iter)) != NULL) {
		for (size_t i = 0; i < n && i < IG_ARRAY_SIZE(found); i++) {
			if (strcmp(b->selector, label) != 0 ||
				strcmp(b->azure_identity, found[i]->name) != 0 ||
				strcmp(b->namespace, found[i]->namespace) != 0)
				continue;
			(void)json_array_append_new(list,
				json_pack("{s:o, s:o, s:s}", "binding",
					json_sprintf("%s/%s", b->namespace, b->name), "identity",
					json_sprintf("%s/%s", found[i]->namespace, found[i]->name),
					"client_id", found[i]->client_id));
		}
	}
	return sort_list(list, keys);
}

static const struct ig_pod *find_pod(
	const struct ig_agent *agent, json_t *args, struct ig_err *reterr_err)
{
	const char *namespace = json_string_value(json_object_get(args, "namespace"));
	const char *name = json_string_value(json_object_get(args, "name"));
	const struct ig_pod *pod;

	if (!namespace || !name) {
		(void)ig_err_set(reterr_err, -EINVAL, "workload show needs namespace and name");
		return NULL;
	}
	pod = ig_store_pod_by_name(agent->store, namespace, name);
	if (!pod)
		(void)ig_err_set(reterr_err, -ENOENT, "no workload %s/%s is declared on this node",
			namespace, name);
	return pod;
}

static int workload_show(struct ig_ctl_conn *conn, json_t *args, void *userdata,
	json_t **ret_result, struct ig_err *reterr_err)
{
	const struct ig_agent *agent = userdata;
	const struct ig_pod *pod = find_pod(agent, args, reterr_err);
	struct ig_tally_counts counts;
	json_t *result, *more;

	(void)conn;
	if (!pod)
		return json_object_get(args, "name") ? -ENOENT : -EINVAL;
	counts = ig_serve_counts(agent->serve, pod);
	result = workload_json(agent, pod);
	more = json_pack("{s:s, s:o, s:o, s:{s:o, s:o, s:o}}", "service_account",
		pod->service_account, "labels", labels_json(pod), "bindings",
		bindings_json(agent, pod), "requests", "allowed", number(counts.allowed), "denied",
		number(counts.denied), "failed", number(counts.failed));
	if (!result || !more || json_object_update(result, more) < 0) {
		json_decref(result);
		json_decref(more);
		return -ENOMEM;
	}
	json_decref(more);
	*ret_result = result;
	return 0;
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
	{"workload", "list", workload_list},
	{"workload", "show", workload_show},
	{"audit", "tail", audit_tail},
	{},
};
