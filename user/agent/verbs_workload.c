/*
 * `workload list` and `show`: who is known, what each may use, and which policies cover it. Reads
 * state, changes nothing. Called by the control socket through the table in verbs.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "agent/verbs.h"
#include "agent/workloads.h"
#include "base/cleanup.h"
#include "policy/binding.h"
#include "policy/metadata.h"

static json_t *decimal(uint64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRIu64, value);
	return json_string(text);
}

/* An account and an AzureIdentity may have the same name. */
static json_t *identity_name(const struct ig_identity *identity)
{
	return json_sprintf("%s%s/%s",
		identity->type == IG_IDENTITY_FEDERATED ? "serviceaccount:" : "",
		identity->namespace, identity->name);
}

static json_t *identity_names(const struct ig_agent *agent, const struct ig_pod *pod)
{
	const struct ig_identity *found[IG_POD_IDENTITIES_MAX];
	size_t n = ig_policy_candidates(
		agent->store, pod, &agent->options->policy, found, IG_ARRAY_SIZE(found));
	json_t *names = json_array();

	for (size_t i = 0; names && i < n && i < IG_ARRAY_SIZE(found); i++)
		(void)json_array_append_new(names, identity_name(found[i]));
	return names;
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

/* Does the policy cover any request of the pod? One with `identities` does so with their tokens
 * only. */
static bool covers(const struct ig_agent *agent, const struct ig_metadata_policy *policy,
	const struct ig_pod *pod, const struct ig_identity *const *candidates, size_t n)
{
	struct ig_policy_request request = {.kind = IG_POLICY_REQUEST_TOKEN, .pod = pod};

	if (!ig_policy_not_covered(policy, &agent->options->policy, &request))
		return true;
	for (size_t i = 0; i < n; i++) {
		request.identity = candidates[i];
		if (!ig_policy_not_covered(policy, &agent->options->policy, &request))
			return true;
	}
	return false;
}

/* All policies that have something to say about the pod. */
static json_t *policies_json(const struct ig_agent *agent, const struct ig_pod *pod)
{
	static const char *const keys[] = {"namespace", "name", NULL};
	const struct ig_identity *found[IG_POD_IDENTITIES_MAX];
	size_t n = ig_policy_candidates(
		agent->store, pod, &agent->options->policy, found, IG_ARRAY_SIZE(found));
	const struct ig_metadata_policy *p;
	json_t *list = json_array();
	size_t iter = 0;

	if (n > IG_ARRAY_SIZE(found))
		n = IG_ARRAY_SIZE(found);
	while (list && (p = ig_store_next_metadata_policy(agent->store, &iter)) != NULL)
		if (covers(agent, p, pod, found, n))
			(void)json_array_append_new(list,
				json_pack("{s:s, s:s, s:s}", "namespace", p->namespace, "name",
					p->name, "mode", ig_policy_mode_name(p->mode)));
	return sort_list(list, keys);
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

static json_t *requests_json(const struct ig_agent *agent, const struct ig_pod *pod)
{
	struct ig_tally_counts counts = ig_serve_counts(agent->serve, pod);

	return json_pack("{s:o, s:o, s:o, s:o, s:o}", "allowed", ig_verbs_number(counts.allowed),
		"denied", ig_verbs_number(counts.denied), "failed", ig_verbs_number(counts.failed),
		"latency_usec", ig_verbs_number(counts.latency_usec), "last_resource",
		ig_verbs_text(counts.last_resource));
}

static json_t *workload_json(const struct ig_agent *agent, const struct ig_pod *pod)
{
	uint64_t id = ig_workloads_cgroup_id(agent->workloads, pod);

	return json_pack("{s:s, s:s, s:s, s:s, s:o, s:b, s:b, s:s, s:o, s:o, s:o, s:o}",
		"namespace", pod->namespace, "name", pod->name, "uid", pod->uid, "cgroup",
		pod->cgroup, "cgroup_id", decimal(id), "present", id != 0, "host_network",
		pod->host_network, "excepted", excepted_name(agent, pod), "verdicts",
		verdicts_json(agent, pod), "identities", identity_names(agent, pod), "policies",
		policies_json(agent, pod), "requests", requests_json(agent, pod));
}

int ig_verbs_workload_list(struct ig_ctl_conn *conn, json_t *args, void *userdata,
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

/* The bindings whose identities the pod may use. */
static json_t *bindings_json(const struct ig_agent *agent, const struct ig_pod *pod)
{
	static const char *const keys[] = {"binding", NULL};
	json_t *list = json_array();
	const struct ig_binding *b;
	size_t iter = 0;

	while (list && (b = ig_store_next_binding(agent->store, &iter)) != NULL) {
		const struct ig_identity *identity = NULL;

		if (ig_policy_binding_check(agent->store, pod, &agent->options->policy, b,
			    &identity) == IG_POLICY_BINDING_GIVES)
			(void)json_array_append_new(list,
				json_pack("{s:o, s:o, s:s}", "binding",
					json_sprintf("%s/%s", b->namespace, b->name), "identity",
					identity_name(identity), "client_id", identity->client_id));
	}
	return sort_list(list, keys);
}

int ig_verbs_find_pod(const struct ig_agent *agent, const json_t *args, const struct ig_pod **ret,
	struct ig_err *reterr_err)
{
	const char *namespace = json_string_value(json_object_get(args, "namespace"));
	const char *name = json_string_value(json_object_get(args, "name"));
	const struct ig_pod *pod;

	if (!namespace || !name)
		return ig_err_set(reterr_err, -EINVAL, "namespace and name are needed");
	pod = ig_store_pod_by_name(agent->store, namespace, name);
	if (!pod)
		return ig_err_set(reterr_err, -ENOENT, "no workload %s/%s is declared on this node",
			namespace, name);
	*ret = pod;
	return 0;
}

int ig_verbs_workload_show(struct ig_ctl_conn *conn, json_t *args, void *userdata,
	json_t **ret_result, struct ig_err *reterr_err)
{
	const struct ig_agent *agent = userdata;
	const struct ig_pod *pod = NULL;
	json_t *result, *more;
	int r = ig_verbs_find_pod(agent, args, &pod, reterr_err);

	(void)conn;
	if (r < 0)
		return r;
	result = workload_json(agent, pod);
	more = json_pack("{s:s, s:o, s:o}", "service_account", pod->service_account, "labels",
		labels_json(pod), "bindings", bindings_json(agent, pod));
	if (!result || !more || json_object_update(result, more) < 0) {
		json_decref(result);
		json_decref(more);
		return -ENOMEM;
	}
	json_decref(more);
	*ret_result = result;
	return 0;
}
