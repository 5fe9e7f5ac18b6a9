/*
 * An explanation as JSON; see explain_json.h.
 */
#include "policy/explain_json.h"

json_t *ig_explain_caller_json(
	const struct ig_policy_request *request, json_t *containers, const char *container)
{
	const struct ig_pod *pod = request->pod;

	if (!pod) {
		json_decref(containers);
		return json_pack("{s:s, s:s?}", "kind", "host", "exe", request->exe);
	}
	return json_pack("{s:s, s:s, s:s, s:s, s:b, s:b, s:o, s:s?, s:s?}", "kind", "pod",
		"namespace", pod->namespace, "name", pod->name, "service_account",
		ig_policy_service_account_name(pod), "host_network", pod->host_network, "finished",
		pod->finished, "containers", containers, "container", container, "exe",
		request->exe);
}

json_t *ig_explain_request_json(
	const struct ig_policy_request *request, const struct ig_selector *selector)
{
	static const char *const kinds[_IG_SELECTOR_KIND_MAX] = {
		[IG_SELECTOR_CLIENT_ID] = "client_id",
		[IG_SELECTOR_OBJECT_ID] = "object_id",
		[IG_SELECTOR_RESOURCE_ID] = "resource_id",
	};
	const char *kind = kinds[selector->kind];

	if (request->kind == IG_POLICY_REQUEST_DOCUMENT)
		return json_pack("{s:s, s:s, s:b}", "kind", "document", "path", request->path,
			"open_by_default", request->path_default_allowed);
	return json_pack("{s:s, s:s, s:s?, s:s?}", "kind", "token", "resource", request->resource,
		"selector_kind", kind, "selector_value", kind ? selector->value : NULL);
}

json_t *ig_explain_steps_json(const struct ig_explanation *e)
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

json_t *ig_explain_identity_json(
	const struct ig_policy_request *request, const struct ig_explanation *e)
{
	const struct ig_policy_decision *d = &e->decision;
	const struct ig_identity *identity = d->identity ? d->identity : d->learn;

	if (request->kind != IG_POLICY_REQUEST_TOKEN)
		return json_null();
	if (!request->pod || d->outcome == IG_POLICY_GRANT_NODE)
		return json_pack("{s:s, s:s}", "source", "node", "rule", d->rule ? d->rule : "");
	if (!identity)
		return json_null();
	return json_pack("{s:s, s:s, s:s, s:s, s:s}", "source", source_name(identity), "namespace",
		identity->namespace, "name", identity->name, "client_id", identity->client_id,
		"rule", d->rule ? d->rule : "");
}

json_t *ig_explain_policy_json(const struct ig_metadata_policy *policy)
{
	if (!policy)
		return json_null();
	return json_pack("{s:s, s:s}", "namespace", policy->namespace, "name", policy->name);
}
