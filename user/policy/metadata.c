/*
 * MetadataPolicy; see metadata.h, which has the rules. Two passes over the policies, one for each
 * layer, without memory: a tenant may create any number of them.
 *
 * What comes out depends neither on the order in which policies were declared nor on how many do
 * not matter. It must never let a namespace's policy open what the cluster's layer has closed.
 * Called by the request handlers and by explain.c.
 */
#include "policy/metadata.h"

#include <string.h>

#include "base/parse.h"
#include "policy/binding.h"
#include "policy/order.h"

/* ---- which policies count ---- */

static bool in_policy_namespace(
	const struct ig_metadata_policy *policy, const struct ig_policy_options *options)
{
	const char *ns = options && options->policy_namespace ? options->policy_namespace
							      : IG_POLICY_NAMESPACE;

	return strcmp(policy->namespace, ns) == 0;
}

enum ig_policy_layer ig_policy_layer(
	const struct ig_metadata_policy *policy, const struct ig_policy_options *options)
{
	return in_policy_namespace(policy, options) ? IG_POLICY_LAYER_CLUSTER
						    : IG_POLICY_LAYER_NAMESPACE;
}

static bool list_has(const struct ig_text_list *list, const char *text)
{
	for (size_t i = 0; i < list->n; i++)
		if (strcmp(list->items[i], text) == 0)
			return true;
	return false;
}

/* An absent list is no condition. */
static bool meets(const struct ig_text_list *list, const char *text)
{
	return !list->given || (text && list_has(list, text));
}

static bool labels_meet(const struct ig_metadata_policy *policy, const struct ig_pod *pod)
{
	for (size_t i = 0; i < policy->n_labels; i++) {
		const struct ig_label *want = &policy->labels[i];
		const char *value = ig_label_get(pod->labels, pod->n_labels, want->key);

		if (!value || strcmp(value, want->value) != 0)
			return false;
	}
	return true;
}

const char *ig_policy_not_covered(const struct ig_metadata_policy *policy,
	const struct ig_policy_options *options, const struct ig_policy_request *request)
{
	const struct ig_pod *pod = request->pod;
	bool cluster = in_policy_namespace(policy, options);

	if (policy->host != !pod)
		return "other_subject";
	if (policy->host && !cluster)
		return "not_policy_namespace";
	if (!cluster && strcmp(policy->namespace, pod->namespace) != 0)
		return "other_namespace";
	/* the host has no namespace, account or labels to be found by */
	if (!meets(&policy->namespaces, pod ? pod->namespace : NULL))
		return "other_namespace";
	if (!meets(&policy->identities, request->identity ? request->identity->name : NULL))
		return "identity_not_listed";
	if (!meets(&policy->service_accounts, pod ? ig_policy_service_account_name(pod) : NULL))
		return "service_account_not_listed";
	if (policy->n_labels && !(pod && labels_meet(policy, pod)))
		return "labels_differ";
	return NULL;
}

static bool more_specific(const struct ig_metadata_policy *a, const struct ig_metadata_policy *b)
{
	if (a->namespaces.given != b->namespaces.given)
		return a->namespaces.given;
	if (a->identities.given != b->identities.given)
		return a->identities.given;
	if (a->service_accounts.given != b->service_accounts.given)
		return a->service_accounts.given;
	if (a->n_labels != b->n_labels)
		return a->n_labels > b->n_labels;
	return ig_policy_compare_names(a->namespace, a->name, b->namespace, b->name) < 0;
}

const struct ig_metadata_policy *ig_policy_deciding(const struct ig_store *store,
	const struct ig_policy_options *options, const struct ig_policy_request *request,
	enum ig_policy_layer layer)
{
	const struct ig_metadata_policy *best = NULL, *p;
	size_t iter = 0;

	while ((p = ig_store_next_metadata_policy(store, &iter)))
		if (ig_policy_layer(p, options) == layer &&
			!ig_policy_not_covered(p, options, request) &&
			(!best || more_specific(p, best)))
			best = p;
	return best;
}

/* ---- what the lists say ---- */

static size_t length_without_slashes(const char *s)
{
	size_t len = strlen(s);

	while (len > 0 && s[len - 1] == '/')
		len--;
	return len;
}

/* Clients write one audience with and without slashes at its end, in any letter case. */
static bool resource_listed(const struct ig_text_list *list, const char *resource)
{
	size_t len = resource ? length_without_slashes(resource) : 0;

	for (size_t i = 0; i < list->n; i++) {
		const char *item = list->items[i];

		if (strcmp(item, "*") == 0)
			return true;
		if (len > 0 && length_without_slashes(item) == len &&
			ig_str_equal_nocase_n(item, resource, len))
			return true;
	}
	return false;
}

/* The path itself and what is below it. The real service does not look at letter case. */
static bool path_listed(const struct ig_text_list *list, const char *path)
{
	for (size_t i = 0; path && i < list->n; i++) {
		size_t len = length_without_slashes(list->items[i]);

		if (len > 0 && strlen(path) >= len &&
			ig_str_equal_nocase_n(list->items[i], path, len) &&
			(path[len] == '\0' || path[len] == '/'))
			return true;
	}
	return false;
}

/* Is the document open where the layer's policy says nothing about paths? In the namespace's layer
 * everything is that the cluster's has let through. */
static bool open_by_default(enum ig_policy_layer layer, const struct ig_policy_request *request)
{
	return request->kind != IG_POLICY_REQUEST_DOCUMENT || layer == IG_POLICY_LAYER_NAMESPACE ||
	       request->path_default_allowed;
}

static bool path_allowed(const struct ig_metadata_policy *policy, enum ig_policy_layer layer,
	const struct ig_policy_request *request)
{
	if (policy->paths.given)
		return path_listed(&policy->paths, request->path);
	return open_by_default(layer, request);
}

static bool executable_listed(
	const struct ig_text_list *list, const struct ig_policy_request *request)
{
	return request->exe && !request->exe_deleted && list_has(list, request->exe);
}

/* Waiting for the name is worth it only where some name would do, and where there will be one. */
static enum ig_policy_denial container_objection(
	const struct ig_text_list *list, const struct ig_policy_request *request)
{
	if (!list->given)
		return IG_POLICY_ALLOWED;
	if (list->n == 0 || !request->pod)
		return IG_POLICY_DENIES_CONTAINER;
	if (!request->container)
		return IG_POLICY_CONTAINER_NOT_KNOWN;
	return list_has(list, request->container) ? IG_POLICY_ALLOWED : IG_POLICY_DENIES_CONTAINER;
}

enum ig_policy_denial ig_policy_objection(const struct ig_metadata_policy *policy,
	const struct ig_policy_options *options, const struct ig_policy_request *request)
{
	/* the host's own processes are in the host's network */
	if (policy->host_network == IG_POLICY_HOST_NETWORK_DENY &&
		(!request->pod || request->pod->host_network))
		return IG_POLICY_DENIES_HOST_NETWORK;
	switch (request->kind) {
	case IG_POLICY_REQUEST_TOKEN:
		if (policy->resources.given &&
			!resource_listed(&policy->resources, request->resource))
			return IG_POLICY_DENIES_RESOURCE;
		break;
	case IG_POLICY_REQUEST_DOCUMENT:
		if (!path_allowed(policy, ig_policy_layer(policy, options), request))
			return IG_POLICY_DENIES_PATH;
		break;
	}
	if (policy->executables.given && !executable_listed(&policy->executables, request))
		return IG_POLICY_DENIES_EXECUTABLE;
	/* last: whoever waits for the container's name does so because of that alone */
	return container_objection(&policy->containers, request);
}

/* ---- a layer, and both ---- */

struct layer {
	const struct ig_metadata_policy *policy; /* the deciding one, or NULL */
	enum ig_policy_denial denial;
	bool by_default;		  /* the denial is not the policy's */
	enum ig_policy_denial would_deny; /* in mode audit */
};

/* What is denied where no policy restricts anything. A policy admits the host's processes; in the
 * namespace's layer they have no policy, and need none. */
static enum ig_policy_denial default_denial(
	enum ig_policy_layer layer, const struct ig_policy_request *request, bool admitted)
{
	if (!request->pod && layer == IG_POLICY_LAYER_CLUSTER && !admitted)
		return IG_POLICY_DENIES_HOST;
	return open_by_default(layer, request) ? IG_POLICY_ALLOWED : IG_POLICY_DENIES_PATH;
}

static struct layer layer_decide(const struct ig_store *store,
	const struct ig_policy_options *options, const struct ig_policy_request *request,
	enum ig_policy_layer layer)
{
	struct layer l = {.policy = ig_policy_deciding(store, options, request, layer)};
	enum ig_policy_denial objection;

	if (!l.policy || l.policy->mode == IG_POLICY_MODE_OFF) {
		l.denial = default_denial(layer, request, false);
		l.by_default = true;
		return l;
	}
	objection = ig_policy_objection(l.policy, options, request);
	if (objection == IG_POLICY_ALLOWED || l.policy->mode != IG_POLICY_MODE_AUDIT) {
		l.denial = objection;
		l.by_default = objection == IG_POLICY_DENIES_PATH && !l.policy->paths.given;
		return l;
	}
	l.would_deny = objection;
	/* watching opens nothing that would be closed without it */
	l.denial = default_denial(layer, request, true);
	l.by_default = true;
	return l;
}

static uint32_t smaller_given(uint32_t a, uint32_t b)
{
	if (!a || !b)
		return a ? a : b;
	return a < b ? a : b;
}

static void limit_rate(struct ig_policy_verdict *v, const struct ig_metadata_policy *policy)
{
	if (!policy || policy->mode != IG_POLICY_MODE_ENFORCE)
		return;
	v->rate_per_sec = smaller_given(v->rate_per_sec, policy->rate_per_sec);
	v->rate_burst = smaller_given(v->rate_burst, policy->rate_burst);
}

static struct ig_policy_verdict verdict(enum ig_policy_verdict_outcome outcome,
	enum ig_policy_denial denial, const struct ig_metadata_policy *policy)
{
	return (struct ig_policy_verdict){.outcome = outcome,
		.would_deny = outcome == IG_POLICY_VERDICT_ALLOW && denial != IG_POLICY_ALLOWED,
		.reason = ig_policy_denial_name(denial),
		.policy = policy};
}

/* The cluster's reason before the namespace's; a denial before a question, that before a remark. */
static struct ig_policy_verdict combine(const struct layer *layers)
{
	const struct ig_metadata_policy *deciding = NULL;

	for (int i = 0; i < _IG_POLICY_LAYER_MAX; i++)
		if (layers[i].denial != IG_POLICY_ALLOWED &&
			layers[i].denial != IG_POLICY_CONTAINER_NOT_KNOWN)
			return verdict(IG_POLICY_VERDICT_DENY, layers[i].denial,
				layers[i].by_default ? NULL : layers[i].policy);
	for (int i = 0; i < _IG_POLICY_LAYER_MAX; i++)
		if (layers[i].denial == IG_POLICY_CONTAINER_NOT_KNOWN)
			return verdict(IG_POLICY_VERDICT_NEEDS_CONTAINER, layers[i].denial,
				layers[i].policy);
	for (int i = 0; i < _IG_POLICY_LAYER_MAX; i++) {
		if (layers[i].would_deny != IG_POLICY_ALLOWED)
			return verdict(
				IG_POLICY_VERDICT_ALLOW, layers[i].would_deny, layers[i].policy);
		if (layers[i].policy)
			deciding = layers[i].policy;
	}
	return verdict(IG_POLICY_VERDICT_ALLOW, IG_POLICY_ALLOWED, deciding);
}

struct ig_policy_verdict ig_policy_check(const struct ig_store *store,
	const struct ig_policy_options *options, const struct ig_policy_request *request)
{
	struct layer layers[_IG_POLICY_LAYER_MAX];
	struct ig_policy_verdict v;

	for (int i = 0; i < _IG_POLICY_LAYER_MAX; i++)
		layers[i] = layer_decide(store, options, request, (enum ig_policy_layer)i);
	v = combine(layers);
	for (int i = 0; i < _IG_POLICY_LAYER_MAX; i++)
		limit_rate(&v, layers[i].policy);
	return v;
}

const char *ig_policy_denial_name(enum ig_policy_denial denial)
{
	static const char *const names[_IG_POLICY_DENIAL_MAX] = {
		[IG_POLICY_DENIES_HOST] = "host_not_allowed",
		[IG_POLICY_DENIES_HOST_NETWORK] = "host_network_not_allowed",
		[IG_POLICY_DENIES_RESOURCE] = "resource_not_allowed",
		[IG_POLICY_DENIES_PATH] = "path_not_allowed",
		[IG_POLICY_DENIES_EXECUTABLE] = "executable_not_allowed",
		[IG_POLICY_DENIES_CONTAINER] = "container_not_allowed",
		[IG_POLICY_CONTAINER_NOT_KNOWN] = "container_not_known",
	};

	return (unsigned int)denial < _IG_POLICY_DENIAL_MAX ? names[denial] : NULL;
}

const char *ig_policy_verdict_name(enum ig_policy_verdict_outcome outcome)
{
	static const char *const names[_IG_POLICY_VERDICT_MAX] = {
		[IG_POLICY_VERDICT_ALLOW] = "allow",
		[IG_POLICY_VERDICT_DENY] = "deny",
		[IG_POLICY_VERDICT_NEEDS_CONTAINER] = "needs_container",
	};

	return (unsigned int)outcome < _IG_POLICY_VERDICT_MAX ? names[outcome] : "unknown";
}

const char *ig_policy_mode_name(enum ig_policy_mode mode)
{
	switch (mode) {
	case IG_POLICY_MODE_AUDIT: return "audit";
	case IG_POLICY_MODE_OFF: return "disabled";
	case IG_POLICY_MODE_ENFORCE: break;
	}
	return "enforce";
}
