/*
 * An answer as JSON; see question.h. The members and their words are those of the agent's verb
 * `explain` (user/agent/verbs_explain.c), so that one formatter prints both.
 */
#include <string.h>

#include <imdsgate/limits.h>

#include "review/question.h"

static json_t *caller_json(const struct ig_policy_request *r)
{
	const struct ig_pod *pod = r->pod;
	json_t *containers = json_array();

	if (!pod) {
		json_decref(containers);
		return json_pack("{s:s, s:s?}", "kind", "host", "exe", r->exe);
	}
	for (size_t i = 0; i < pod->n_containers; i++)
		(void)json_array_append_new(containers,
			json_pack("{s:s, s:b}", "name", pod->containers[i].name, "known", true));
	return json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:o, s:s?, s:s?}", "kind", "pod",
		"namespace", pod->namespace, "name", pod->name, "service_account",
		ig_policy_service_account_name(pod), "host_network", pod->host_network, "finished",
		pod->finished, "containers", containers, "container", r->container, "exe", r->exe);
}

static json_t *request_json(const struct ig_answer *a)
{
	static const char *const kinds[_IG_SELECTOR_KIND_MAX] = {
		[IG_SELECTOR_CLIENT_ID] = "client_id",
		[IG_SELECTOR_OBJECT_ID] = "object_id",
		[IG_SELECTOR_RESOURCE_ID] = "resource_id",
	};
	const char *kind = kinds[a->selector.kind];

	if (a->request.kind == IG_POLICY_REQUEST_DOCUMENT)
		return json_pack("{s:s, s:s, s:b}", "kind", "document", "path", a->path,
			"open_by_default", a->request.path_default_allowed);
	return json_pack("{s:s, s:s, s:s?, s:s?}", "kind", "token", "resource", a->request.resource,
		"selector_kind", kind, "selector_value", kind ? a->selector.value : NULL);
}

static json_t *steps_json(const struct ig_explanation *e)
{
	json_t *list = json_array();

	for (size_t i = 0; list && i < e->n; i++) {
		const struct ig_explain_step *s = &e->steps[i];

		(void)json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:I}", "rule",
				      ig_explain_rule_name(s->rule), "namespace", s->namespace,
				      "name", s->name, "outcome", s->outcome, "detail", s->detail,
				      "mode", s->mode, "applies", s->applies, "chosen", s->chosen,
				      "omitted", (json_int_t)s->n_omitted));
	}
	return list;
}

static const char *source_name(const struct ig_identity *identity)
{
	switch (identity->type) {
	case IG_IDENTITY_SECRET: return "entra_secret";
	case IG_IDENTITY_CERTIFICATE: return "entra_certificate";
	case IG_IDENTITY_FEDERATED: return "service_account";
	case IG_IDENTITY_USER_ASSIGNED: break;
	}
	return identity->federated_token_file[0] ? "entra_federation" : "imds";
}

static json_t *identity_json(const struct ig_answer *a)
{
	const struct ig_policy_decision *d = &a->explanation.decision;
	const struct ig_identity *identity = d->identity ? d->identity : d->learn;

	if (a->request.kind != IG_POLICY_REQUEST_TOKEN)
		return json_null();
	if (!a->request.pod || d->outcome == IG_POLICY_GRANT_NODE)
		return json_pack("{s:s, s:s}", "source", "node", "rule", d->rule ? d->rule : "");
	if (!identity)
		return json_null();
	return json_pack("{s:s, s:s, s:s, s:s, s:s}", "source", source_name(identity), "namespace",
		identity->namespace, "name", identity->name, "client_id", identity->client_id,
		"rule", d->rule ? d->rule : "");
}

static json_t *rate_json(const struct ig_answer *a)
{
	const struct ig_policy_verdict *v = &a->explanation.verdict;
	uint32_t burst = v->rate_burst ? v->rate_burst : v->rate_per_sec;

	/* the gate's own limits are the agent's affair */
	if (a->request.kind != IG_POLICY_REQUEST_TOKEN || !a->explanation.has_verdict ||
		!v->rate_per_sec)
		return json_null();
	return json_pack("{s:I, s:I, s:s}", "per_second", (json_int_t)v->rate_per_sec, "burst",
		(json_int_t)burst, "by", "policy");
}

json_t *ig_answer_json(const struct ig_answer *a)
{
	bool passes = strcmp(a->reason, "exception_direct") == 0;
	bool would_deny = a->outcome == IG_ANSWER_WOULD_DENY;
	const char *verdict = passes	   ? "pass"
			      : would_deny ? "allow"
					   : ig_answer_outcome_name(a->outcome);
	json_t *policy = a->policy ? json_pack("{s:s, s:s}", "namespace", a->policy->namespace,
					     "name", a->policy->name)
				   : json_null();

	return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:s, s:s, s:o, s:s?}", "caller",
		caller_json(&a->request), "request", request_json(a), "connection",
		passes ? "pass" : "redirect", "steps", steps_json(&a->explanation), "identity",
		identity_json(a), "rate", rate_json(a), "verdict", verdict, "reason",
		passes ? "exception"
		: would_deny
			? (a->explanation.has_decision ? a->explanation.decision.reason : "allowed")
			: a->reason,
		"policy", policy, "would_deny", would_deny ? a->reason : NULL);
}
