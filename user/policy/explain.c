/*
 * Explanations; see explain.h. It must never decide anything itself: an explanation that could
 * differ from what happens is worse than none. Called by the control socket.
 */
#include "policy/explain.h"

#include <string.h>

#include "policy/order.h"

/* What all steps are made from. */
struct context {
	const struct ig_store *store;
	const struct ig_policy_options *options;
	struct ig_policy_request request; /* with the identity that was selected */
	struct ig_explanation *out;
};

/* ---- the list -------------------------------------------------------------------------------- */

static struct ig_explain_step step(
	enum ig_explain_rule rule, const char *ns, const char *name, const char *outcome)
{
	return (struct ig_explain_step){.rule = rule,
		.namespace = ns,
		.name = name,
		.outcome = outcome,
		.detail = "",
		.mode = ""};
}

static void append(struct ig_explanation *out, const struct ig_explain_step *s)
{
	/* the header's count is exact, so this cannot happen */
	if (out->n < IG_EXPLAIN_STEPS_MAX)
		out->steps[out->n++] = *s;
}

static int rank(const struct ig_explain_step *s)
{
	if (s->chosen)
		return 0;
	return s->applies ? 1 : 2;
}

static bool before(const struct ig_explain_step *a, const struct ig_explain_step *b)
{
	if (rank(a) != rank(b))
		return rank(a) < rank(b);
	return ig_policy_compare_names(a->namespace, a->name, b->namespace, b->name) < 0;
}

/* The steps of one rule, which have an order of their own: those from `first` to the end. */
struct section {
	struct ig_explanation *out;
	size_t first;
	size_t n_omitted;
};

static struct section section_begin(struct ig_explanation *out)
{
	return (struct section){.out = out, .first = out->n};
}

/* What is last falls out of a full section. */
static void section_add(struct section *section, const struct ig_explain_step *s)
{
	struct ig_explanation *out = section->out;
	size_t at = out->n;

	while (at > section->first && before(s, &out->steps[at - 1]))
		at--;
	if (out->n - section->first == IG_EXPLAIN_RULE_STEPS_MAX) {
		section->n_omitted++;
		if (at == out->n)
			return;
		out->n--;
	}
	memmove(&out->steps[at + 1], &out->steps[at], (out->n - at) * sizeof(out->steps[0]));
	out->steps[at] = *s;
	out->n++;
}

static void section_end(struct section *section, enum ig_explain_rule rule)
{
	struct ig_explain_step s = step(rule, "", "", "omitted");

	if (section->n_omitted == 0)
		return;
	s.n_omitted = section->n_omitted;
	append(section->out, &s);
}

/* ---- whose identity -------------------------------------------------------------------------- */

static void explain_caller(struct context *c)
{
	const struct ig_pod *pod = c->request.pod;
	struct ig_explain_step s = step(IG_EXPLAIN_CALLER, "", "", "host");

	if (pod)
		s = step(IG_EXPLAIN_CALLER, pod->namespace, pod->name,
			pod->finished ? "pod_finished" : "pod");
	s.applies = s.chosen = true;
	append(c->out, &s);
}

static void explain_exception(
	struct context *c, struct section *section, const struct ig_exception *e)
{
	struct ig_explain_step s =
		step(IG_EXPLAIN_EXCEPTION, e->namespace, e->name, "labels_differ");

	s.mode = e->mode == IG_EXCEPTION_DIRECT ? "direct" : "proxy";
	s.applies = ig_policy_exception_covers(e, c->request.pod);
	s.chosen = c->out->decision.exception == e;
	if (s.applies)
		s.outcome = "covers";
	if (s.applies && e == ig_policy_aks_exception() &&
		(!c->options || c->options->no_aks_exception)) {
		s.outcome = "switched_off";
		s.applies = false;
	}
	section_add(section, &s);
}

static void explain_exceptions(struct context *c)
{
	struct section section = section_begin(c->out);
	const struct ig_exception *e;
	size_t iter = 0;

	while ((e = ig_store_next_exception(c->store, &iter)))
		if (strcmp(e->namespace, c->request.pod->namespace) == 0)
			explain_exception(c, &section, e);
	e = ig_policy_aks_exception();
	if (strcmp(e->namespace, c->request.pod->namespace) == 0)
		explain_exception(c, &section, e);
	section_end(&section, IG_EXPLAIN_EXCEPTION);
}

static void explain_label(struct context *c)
{
	const char *label = ig_policy_binding_label(c->request.pod);
	struct ig_explain_step s = step(IG_EXPLAIN_LABEL, "", "", label ? "set" : "missing");

	s.applies = label;
	s.detail = label ? label : "";
	append(c->out, &s);
}

static void explain_service_account(struct context *c)
{
	const struct ig_pod *pod = c->request.pod;
	const struct ig_service_account *account = ig_policy_service_account(c->store, pod);
	struct ig_explain_step s = step(IG_EXPLAIN_SERVICE_ACCOUNT, pod->namespace,
		ig_policy_service_account_name(pod), "gives_identity");

	if (!ig_pod_uses_workload_identity(pod))
		s.outcome = "label_missing";
	else if (!account)
		s.outcome = "not_annotated";
	else
		s.detail = account->identity.client_id;
	s.applies = account;
	s.chosen = account && c->out->decision.service_account == account;
	append(c->out, &s);
}

static void explain_binding(struct context *c, struct section *section, const struct ig_binding *b)
{
	static const char *const names[_IG_POLICY_BINDING_STATE_MAX] = {
		[IG_POLICY_BINDING_GIVES] = "gives_identity",
		[IG_POLICY_BINDING_SELECTOR_DIFFERS] = "selector_differs",
		[IG_POLICY_BINDING_OTHER_NAMESPACE] = "other_namespace",
		[IG_POLICY_BINDING_IDENTITY_MISSING] = "identity_missing",
		[IG_POLICY_BINDING_IDENTITY_NAMESPACED] = "identity_namespaced",
	};
	const struct ig_service_account *account =
		ig_policy_service_account(c->store, c->request.pod);
	const struct ig_identity *identity = NULL;
	enum ig_policy_binding_state state =
		ig_policy_binding_check(c->store, c->request.pod, c->options, b, &identity);
	struct ig_explain_step s = step(IG_EXPLAIN_BINDING, b->namespace, b->name, names[state]);

	/* how many bindings of other namespaces there are is nobody's business here */
	if (state == IG_POLICY_BINDING_SELECTOR_DIFFERS &&
		strcmp(b->namespace, c->request.pod->namespace) != 0)
		return;
	if (identity && account && ig_policy_same_client(&account->identity, identity))
		s.outcome = "same_client_as_service_account";
	s.detail = b->azure_identity;
	s.applies = state == IG_POLICY_BINDING_GIVES;
	s.chosen = c->out->decision.binding == b;
	section_add(section, &s);
}

static void explain_bindings(struct context *c)
{
	struct section section = section_begin(c->out);
	const struct ig_binding *b;
	size_t iter = 0;

	while ((b = ig_store_next_binding(c->store, &iter)))
		explain_binding(c, &section, b);
	section_end(&section, IG_EXPLAIN_BINDING);
}

static bool granted(const struct ig_policy_decision *d)
{
	return d->outcome == IG_POLICY_GRANT || d->outcome == IG_POLICY_GRANT_NODE;
}

static void explain_selection(struct context *c)
{
	const struct ig_policy_decision *d = &c->out->decision;
	const struct ig_identity *identity = d->identity ? d->identity : d->learn;
	struct ig_explain_step s = step(IG_EXPLAIN_SELECTION, identity ? identity->namespace : "",
		identity ? identity->name : "", d->reason);

	s.detail = d->rule ? d->rule : "";
	s.applies = true;
	s.chosen = granted(d);
	append(c->out, &s);
}

static void explain_identity(struct context *c, const struct ig_explain_request *ask)
{
	struct ig_policy_decision *d = &c->out->decision;

	*d = ig_policy_select(c->store, ask->request.pod, ask->selector, c->options, ask->object_id,
		ask->userdata);
	c->out->has_decision = true;
	c->request.identity = d->identity;
	if (!ask->request.pod->finished) {
		explain_exceptions(c);
		if (d->outcome != IG_POLICY_GRANT_NODE) {
			explain_label(c);
			explain_service_account(c);
			explain_bindings(c);
		}
	}
	explain_selection(c);
}

/* ---- policies -------------------------------------------------------------------------------- */

/* Others cannot count; those that were meant for the host show why they do not. */
static bool policy_matters(const struct context *c, const struct ig_metadata_policy *policy)
{
	if (ig_policy_layer(policy, c->options) == IG_POLICY_LAYER_CLUSTER)
		return true;
	return c->request.pod ? strcmp(policy->namespace, c->request.pod->namespace) == 0
			      : policy->host;
}

static struct ig_explain_step policy_step(const struct context *c, enum ig_explain_rule rule,
	const struct ig_metadata_policy *policy, const struct ig_metadata_policy *deciding)
{
	const char *not_covered = ig_policy_not_covered(policy, c->options, &c->request);
	struct ig_explain_step s = step(rule, policy->namespace, policy->name, "allows");
	const char *denial;

	s.mode = ig_policy_mode_name(policy->mode);
	s.applies = !not_covered;
	s.chosen = policy == deciding;
	if (not_covered) {
		s.outcome = not_covered;
		return s;
	}
	denial = ig_policy_denial_name(ig_policy_objection(policy, c->options, &c->request));
	if (policy->mode == IG_POLICY_MODE_OFF)
		s.outcome = "disabled";
	else if (denial)
		s.outcome = denial;
	return s;
}

static void explain_layer(struct context *c, enum ig_policy_layer layer, enum ig_explain_rule rule)
{
	const struct ig_metadata_policy *deciding =
		ig_policy_deciding(c->store, c->options, &c->request, layer);
	struct section section = section_begin(c->out);
	const struct ig_metadata_policy *p;
	size_t iter = 0;

	while ((p = ig_store_next_metadata_policy(c->store, &iter)))
		if (ig_policy_layer(p, c->options) == layer && policy_matters(c, p)) {
			struct ig_explain_step s = policy_step(c, rule, p, deciding);

			section_add(&section, &s);
		}
	section_end(&section, rule);
}

static void explain_verdict(struct context *c)
{
	struct ig_policy_verdict *v = &c->out->verdict;
	struct ig_explain_step s;

	*v = ig_policy_check(c->store, c->options, &c->request);
	c->out->has_verdict = true;
	s = step(IG_EXPLAIN_VERDICT, v->policy ? v->policy->namespace : "",
		v->policy ? v->policy->name : "",
		v->would_deny ? "would_deny" : ig_policy_verdict_name(v->outcome));
	s.detail = v->reason ? v->reason : "";
	s.mode = v->policy ? ig_policy_mode_name(v->policy->mode) : "";
	s.applies = s.chosen = true;
	append(c->out, &s);
}

void ig_policy_explain(const struct ig_store *store, const struct ig_policy_options *options,
	const struct ig_explain_request *request, struct ig_explanation *ret)
{
	struct context c = {
		.store = store, .options = options, .request = request->request, .out = ret};

	memset(ret, 0, sizeof(*ret));
	c.request.identity = NULL;
	explain_caller(&c);
	if (c.request.kind == IG_POLICY_REQUEST_TOKEN && c.request.pod) {
		explain_identity(&c, request);
		if (!granted(&ret->decision))
			return;
	}
	explain_layer(&c, IG_POLICY_LAYER_CLUSTER, IG_EXPLAIN_CLUSTER_POLICY);
	explain_layer(&c, IG_POLICY_LAYER_NAMESPACE, IG_EXPLAIN_NAMESPACE_POLICY);
	explain_verdict(&c);
}

const char *ig_explain_rule_name(enum ig_explain_rule rule)
{
	static const char *const names[_IG_EXPLAIN_RULE_MAX] = {
		[IG_EXPLAIN_CALLER] = "caller",
		[IG_EXPLAIN_EXCEPTION] = "exception",
		[IG_EXPLAIN_LABEL] = "label",
		[IG_EXPLAIN_SERVICE_ACCOUNT] = "service_account",
		[IG_EXPLAIN_BINDING] = "binding",
		[IG_EXPLAIN_SELECTION] = "selection",
		[IG_EXPLAIN_CLUSTER_POLICY] = "cluster_policy",
		[IG_EXPLAIN_NAMESPACE_POLICY] = "namespace_policy",
		[IG_EXPLAIN_VERDICT] = "verdict",
	};

	return (unsigned int)rule < _IG_EXPLAIN_RULE_MAX ? names[rule] : "unknown";
}
