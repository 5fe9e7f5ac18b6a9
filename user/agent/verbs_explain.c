/*
 * `explain`: what would happen to a request of a pod or of the host, and because of which rules.
 * Called by the control socket through the table in verbs.c.
 *
 * It asks the functions that answer requests and has no rules of its own, and it must never cause
 * anything: no token is fetched, no rate is used up.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "agent/agent.h"
#include "agent/serve_internal.h"
#include "agent/verbs.h"
#include "agent/workloads.h"
#include "base/cleanup.h"
#include "imds/document.h"
#include "imds/routes.h"
#include "policy/explain.h"
#include "policy/explain_json.h"

#define DEFAULT_RESOURCE "https://management.azure.com/"

/* What is asked; texts are borrowed from the arguments and the store. */
struct question {
	const struct ig_agent *agent;
	struct ig_policy_request request;
	struct ig_selector selector;
	const struct ig_container *container; /* NULL: none was named, and the pod has several */
	char path[IG_DOCUMENT_PATH_BYTES + 1];
	enum ig_verdict datapath;
};

static const char *text_of(const json_t *args, const char *name)
{
	return json_string_value(json_object_get(args, name));
}

/* ---- the question ---- */

static const struct ig_container *find_container(const struct ig_pod *pod, const char *name)
{
	if (!name)
		return pod->n_containers == 1 ? &pod->containers[0] : NULL;
	for (size_t i = 0; i < pod->n_containers; i++)
		if (strcmp(pod->containers[i].name, name) == 0)
			return &pod->containers[i];
	return NULL;
}

static int read_caller(struct question *q, const json_t *args, struct ig_err *reterr_err)
{
	const struct ig_agent *agent = q->agent;
	const char *container = text_of(args, "container");
	int r;

	q->request.exe = text_of(args, "exe");
	if (json_is_true(json_object_get(args, "host"))) {
		q->datapath = (enum ig_verdict)agent->options->host_verdict;
		return container ? ig_err_set(reterr_err, -EINVAL, "the host has no containers")
				 : 0;
	}
	r = ig_verbs_find_pod(agent, args, &q->request.pod, reterr_err);
	if (r < 0)
		return r;
	q->datapath = (enum ig_verdict)ig_workloads_verdicts(agent->store, q->request.pod)
			      .verdict[IG_ENDPOINT_IMDS];
	q->container = find_container(q->request.pod, container);
	if (container && !q->container)
		return ig_err_set(reterr_err, -ENOENT, "%s/%s has no container %s",
			q->request.pod->namespace, q->request.pod->name, container);
	/* a container is recognised by its id; while that is not known, so is no caller's name */
	if (q->container && q->container->id[0])
		q->request.container = q->container->name;
	return 0;
}

static int read_selector(struct question *q, const json_t *args, struct ig_err *reterr_err)
{
	static const struct {
		const char *name;
		enum ig_selector_kind kind;
	} selectors[] = {
		{"client_id", IG_SELECTOR_CLIENT_ID},
		{"object_id", IG_SELECTOR_OBJECT_ID},
		{"resource_id", IG_SELECTOR_RESOURCE_ID},
	};

	for (size_t i = 0; i < IG_ARRAY_SIZE(selectors); i++) {
		const char *value = text_of(args, selectors[i].name);

		if (!value)
			continue;
		if (q->selector.kind != IG_SELECTOR_NONE)
			return ig_err_set(reterr_err, -EINVAL, "an identity is named twice");
		if (!value[0] || strlen(value) > IG_SELECTOR_BYTES)
			return ig_err_set(reterr_err, -EINVAL, "%s: from 1 to %d bytes",
				selectors[i].name, IG_SELECTOR_BYTES);
		q->selector.kind = selectors[i].kind;
		(void)snprintf(q->selector.value, sizeof(q->selector.value), "%s", value);
	}
	return 0;
}

static int read_token(struct question *q, const json_t *args, struct ig_err *reterr_err)
{
	const char *resource = text_of(args, "resource");

	if (resource && (!resource[0] || strlen(resource) > IG_RESOURCE_BYTES))
		return ig_err_set(
			reterr_err, -EINVAL, "resource: from 1 to %d bytes", IG_RESOURCE_BYTES);
	q->request.kind = IG_POLICY_REQUEST_TOKEN;
	q->request.resource = resource ? resource : DEFAULT_RESOURCE;
	return read_selector(q, args, reterr_err);
}

static int read_request(struct question *q, const json_t *args, struct ig_err *reterr_err)
{
	const char *path = text_of(args, "path");
	struct ig_imds_target target;

	if (!path)
		return read_token(q, args, reterr_err);
	target = ig_imds_route(path);
	if (target.route == IG_IMDS_ROUTE_TOKEN)
		return read_token(q, args, reterr_err);
	if (target.route == IG_IMDS_ROUTE_VERSIONS)
		return ig_err_set(reterr_err, -EINVAL, "everybody gets an answer to %s", path);
	if (strchr(path, '?') || ig_imds_document_path(&target, q->path) < 0 ||
		target.route == IG_IMDS_ROUTE_NONE || target.route == IG_IMDS_ROUTE_INVALID)
		return ig_err_set(reterr_err, -ENOENT, "nobody gets anything under that path");
	q->request.kind = IG_POLICY_REQUEST_DOCUMENT;
	q->request.path = q->path;
	q->request.path_default_allowed =
		target.route == IG_IMDS_ROUTE_INSTANCE || target.route == IG_IMDS_ROUTE_INFO;
	return 0;
}

/* ---- the answer ---- */

static json_t *containers_json(const struct ig_pod *pod)
{
	json_t *list = json_array();

	for (size_t i = 0; pod && list && i < pod->n_containers; i++)
		(void)json_array_append_new(
			list, json_pack("{s:s, s:b}", "name", pod->containers[i].name, "known",
				      pod->containers[i].id[0] != '\0'));
	return list;
}

static json_t *rate_json(const struct question *q, const struct ig_explanation *e)
{
	uint32_t gate = q->agent->options->requests_per_second;
	uint32_t gate_burst = gate * IG_REQUESTS_WORKLOAD_BURST_SEC;
	const struct ig_policy_verdict *v = &e->verdict;
	uint32_t burst = v->rate_burst ? v->rate_burst : v->rate_per_sec;
	bool by_policy = v->rate_per_sec && v->rate_per_sec < gate;

	if (q->request.kind != IG_POLICY_REQUEST_TOKEN || !e->has_verdict)
		return json_null();
	if (!v->rate_per_sec || burst > gate_burst)
		burst = gate_burst;
	return json_pack("{s:o, s:o, s:s}", "per_second",
		ig_verbs_number(by_policy ? v->rate_per_sec : gate), "burst",
		ig_verbs_number(burst), "by", by_policy ? "policy" : "gate");
}

/* "allow", "deny", "pass": what it comes to, and why. */
struct conclusion {
	const char *verdict, *reason, *would_deny;
	const struct ig_metadata_policy *policy;
};

static struct conclusion conclude(const struct question *q, const struct ig_explanation *e)
{
	const struct ig_policy_verdict *v = &e->verdict;

	struct conclusion c = {.verdict = "deny", .reason = e->decision.reason};

	/* the kernel comes first */
	if (q->datapath == IG_VERDICT_PASS) {
		c.verdict = "pass";
		c.reason = q->request.pod ? "exception" : "host_verdict";
	} else if (q->datapath == IG_VERDICT_DENY) {
		c.reason = "kernel_verdict";
	} else if (e->has_verdict && v->outcome != IG_POLICY_VERDICT_ALLOW) {
		c.reason = v->reason;
		c.policy = v->policy;
	} else if (e->has_verdict) {
		c.verdict = "allow";
		c.reason = e->has_decision ? e->decision.reason : "allowed";
		c.would_deny = v->would_deny ? v->reason : NULL;
		c.policy = v->policy;
	}
	return c;
}

static json_t *answer(const struct question *q, const struct ig_explanation *e)
{
	const struct conclusion c = conclude(q, e);

	return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:s, s:s, s:o, s:s?}", "caller",
		ig_explain_caller_json(&q->request, containers_json(q->request.pod),
			q->container ? q->container->name : NULL),
		"request", ig_explain_request_json(&q->request, &q->selector), "connection",
		ig_verdict_name(q->datapath), "steps", ig_explain_steps_json(e), "identity",
		ig_explain_identity_json(&q->request, e), "rate", rate_json(q, e), "verdict",
		c.verdict, "reason", c.reason, "policy", ig_explain_policy_json(c.policy),
		"would_deny", c.would_deny);
}

int ig_verbs_explain(struct ig_ctl_conn *conn, json_t *args, void *userdata, json_t **ret_result,
	struct ig_err *reterr_err)
{
	const struct ig_agent *agent = userdata;
	struct question q = {.agent = agent};
	struct ig_explain_request request;
	struct ig_explanation explanation;
	int r;

	(void)conn;
	r = read_caller(&q, args, reterr_err);
	if (r == 0)
		r = read_request(&q, args, reterr_err);
	if (r < 0)
		return r;
	request = (struct ig_explain_request){.request = q.request,
		.selector = &q.selector,
		.object_id = ig_serve_object_id,
		.userdata = agent->serve};
	ig_policy_explain(agent->store, &agent->options->policy, &request, &explanation);
	*ret_result = answer(&q, &explanation);
	return *ret_result ? 0 : -ENOMEM;
}
