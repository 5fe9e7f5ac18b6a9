/*
 * May this workload use that identity? See binding.h. Everything is decided in one pass over the
 * bindings with a constant amount of memory, because a tenant may create any number of them. What
 * comes out does not depend on the order in which objects were declared: of several that would do,
 * the first by namespace and name is taken.
 *
 * Never looks at a pod's name, address or namespace to wave it through, and never falls back to
 * another identity than the one asked for. Called by the request handler and by the control socket.
 */
#include "policy/binding.h"

#include <stdint.h>
#include <string.h>

#include "base/parse.h"

#define BINDING_LABEL "aadpodidbinding"

/* A binding that covers the pod, with the identity it names. */
struct candidate {
	const struct ig_identity *identity; /* NULL: none */
	const struct ig_binding *binding;
};

/* Whose candidates are looked for. */
struct query {
	const struct ig_store *store;
	const struct ig_pod *pod;
	const char *label; /* NULL: the pod has no identity */
	const struct ig_policy_options *options;
};

static struct query query_init(const struct ig_store *store, const struct ig_pod *pod,
	const struct ig_policy_options *options)
{
	const char *label = ig_label_get(pod->labels, pod->n_labels, BINDING_LABEL);

	/* an empty label must not meet an empty selector, even if one slipped into the store */
	return (struct query){.store = store,
		.pod = pod,
		.label = label && label[0] ? label : NULL,
		.options = options};
}

/* Does the binding cover the pod? Fills *ret only then. */
static bool covers(const struct query *q, const struct ig_binding *b, struct candidate *ret)
{
	const struct ig_identity *identity;
	bool same_namespace = strcmp(b->namespace, q->pod->namespace) == 0;

	if (!q->label || strcmp(b->selector, q->label) != 0)
		return false;
	if (!same_namespace && !(q->options && q->options->allow_cross_namespace))
		return false;
	identity = ig_store_identity_by_name(q->store, b->namespace, b->azure_identity);
	if (!identity || (!same_namespace && identity->behavior_namespaced))
		return false;
	*ret = (struct candidate){.identity = identity, .binding = b};
	return true;
}

static bool next_candidate(const struct query *q, size_t *iter, struct candidate *ret)
{
	const struct ig_binding *b;

	while ((b = ig_store_next_binding(q->store, iter)))
		if (covers(q, b, ret))
			return true;
	return false;
}

static int compare_names(const char *ns_a, const char *name_a, const char *ns_b, const char *name_b)
{
	int c = strcmp(ns_a, ns_b);

	return c ? c : strcmp(name_a, name_b);
}

static int compare_identities(const struct ig_identity *a, const struct ig_identity *b)
{
	return compare_names(a->namespace, a->name, b->namespace, b->name);
}

/* Keeps the first of two by identity, then by binding. */
static void keep_first(struct candidate *best, const struct candidate *c)
{
	int order = best->identity ? compare_identities(c->identity, best->identity) : -1;

	if (order == 0)
		order = compare_names(c->binding->namespace, c->binding->name,
			best->binding->namespace, best->binding->name);
	if (order < 0)
		*best = *c;
}

static const char *known_object_id(
	const struct ig_identity *identity, ig_policy_object_id *object_id, void *userdata)
{
	const char *id = object_id ? object_id(identity, userdata) : identity->object_id;

	return id && id[0] ? id : NULL;
}

static bool text_matches(const char *have, const char *want)
{
	return have[0] && ig_str_equal_nocase(have, want);
}

/* What one pass over the candidates found out. */
struct tally {
	struct candidate first;	  /* of all */
	struct candidate match;	  /* the first that fits the selector */
	struct candidate unknown; /* the first without a known object id */
	bool several;		  /* more than one identity */
};

static void count(struct tally *t, const struct candidate *c, const struct ig_selector *selector,
	ig_policy_object_id *object_id, void *userdata)
{
	bool match = false;

	if (t->first.identity && compare_identities(t->first.identity, c->identity) != 0)
		t->several = true;
	keep_first(&t->first, c);
	switch (selector->kind) {
	case IG_SELECTOR_CLIENT_ID:
		match = text_matches(c->identity->client_id, selector->value);
		break;
	case IG_SELECTOR_RESOURCE_ID:
		match = text_matches(c->identity->resource_id, selector->value);
		break;
	case IG_SELECTOR_OBJECT_ID: {
		const char *id = known_object_id(c->identity, object_id, userdata);

		if (!id)
			keep_first(&t->unknown, c);
		match = id && text_matches(id, selector->value);
		break;
	}
	case IG_SELECTOR_NONE:
	case _IG_SELECTOR_KIND_MAX: break;
	}
	if (match)
		keep_first(&t->match, c);
}

static struct ig_policy_decision grant(const struct candidate *c)
{
	return (struct ig_policy_decision){
		.outcome = IG_POLICY_GRANT, .identity = c->identity, .binding = c->binding};
}

static struct ig_policy_decision decide(const struct tally *t, const struct ig_selector *selector)
{
	if (!t->first.identity)
		return (struct ig_policy_decision){.outcome = IG_POLICY_NOT_BOUND};
	if (selector->kind == IG_SELECTOR_NONE) {
		if (t->several)
			return (struct ig_policy_decision){.outcome = IG_POLICY_AMBIGUOUS};
		return grant(&t->first);
	}
	if (t->match.identity)
		return grant(&t->match);
	if (t->unknown.identity)
		return (struct ig_policy_decision){
			.outcome = IG_POLICY_NEEDS_OBJECT_ID, .learn = t->unknown.identity};
	return (struct ig_policy_decision){.outcome = IG_POLICY_NOT_FOUND};
}

struct ig_policy_decision ig_policy_select(const struct ig_store *store, const struct ig_pod *pod,
	const struct ig_selector *selector, const struct ig_policy_options *options,
	ig_policy_object_id *object_id, void *userdata)
{
	const struct ig_exception *exception = ig_policy_exception(store, pod);
	const struct query q = query_init(store, pod, options);
	struct tally tally = {};
	struct candidate c;
	size_t iter = 0;

	if (exception)
		return (struct ig_policy_decision){
			.outcome = IG_POLICY_GRANT_NODE, .exception = exception};
	while (next_candidate(&q, &iter, &c))
		count(&tally, &c, selector, object_id, userdata);
	return decide(&tally, selector);
}

/* Was the same identity a candidate through a binding that the iteration has passed already? end is
 * the iterator's value after c. */
static bool counted_before(const struct query *q, const struct candidate *c, size_t end)
{
	const struct ig_binding *b;
	size_t iter = 0;

	while (iter < end && (b = ig_store_next_binding(q->store, &iter))) {
		if (b == c->binding)
			return false;
		/* same namespace, name and selector: what covers() says of c holds for b too */
		if (strcmp(b->selector, c->binding->selector) == 0 &&
			compare_names(b->namespace, b->azure_identity, c->binding->namespace,
				c->binding->azure_identity) == 0)
			return true;
	}
	return false;
}

/* Inserts into an ordered array of *n of at most max; what is last falls out of a full one. */
static void insert(
	const struct ig_identity **array, size_t *n, size_t max, const struct ig_identity *identity)
{
	size_t at = *n;

	while (at > 0 && compare_identities(identity, array[at - 1]) < 0)
		at--;
	if (at == max)
		return;
	if (*n < max)
		(*n)++;
	memmove(&array[at + 1], &array[at], (*n - at - 1) * sizeof(*array));
	array[at] = identity;
}

size_t ig_policy_candidates(const struct ig_store *store, const struct ig_pod *pod,
	const struct ig_policy_options *options, const struct ig_identity **ret, size_t max)
{
	const struct query q = query_init(store, pod, options);
	struct candidate c;
	size_t iter = 0, n = 0, total = 0;

	while (next_candidate(&q, &iter, &c)) {
		if (counted_before(&q, &c, iter))
			continue;
		total++;
		insert(ret, &n, max, c.identity);
	}
	return total;
}

/* One pair is enough; key and value are exact (the old system folded the value's case). */
static bool excepts(const struct ig_exception *e, const struct ig_pod *pod)
{
	if (strcmp(e->namespace, pod->namespace) != 0)
		return false;
	for (size_t i = 0; i < e->n_labels; i++) {
		const char *value = ig_label_get(pod->labels, pod->n_labels, e->labels[i].key);

		if (value && strcmp(value, e->labels[i].value) == 0)
			return true;
	}
	return false;
}

const struct ig_exception *ig_policy_exception(
	const struct ig_store *store, const struct ig_pod *pod)
{
	const struct ig_exception *best = NULL, *e;
	size_t iter = 0;

	while ((e = ig_store_next_exception(store, &iter))) {
		bool better;

		if (!excepts(e, pod))
			continue;
		if (!best || e->mode != best->mode)
			better = !best || e->mode == IG_EXCEPTION_DIRECT;
		else
			better = strcmp(e->name, best->name) < 0;
		if (better)
			best = e;
	}
	return best;
}

const char *ig_policy_outcome_name(enum ig_policy_outcome outcome)
{
	static const char *const names[_IG_POLICY_OUTCOME_MAX] = {
		[IG_POLICY_GRANT] = "grant",
		[IG_POLICY_GRANT_NODE] = "grant_node",
		[IG_POLICY_NOT_BOUND] = "not_bound",
		[IG_POLICY_NOT_FOUND] = "not_found",
		[IG_POLICY_AMBIGUOUS] = "ambiguous",
		[IG_POLICY_NEEDS_OBJECT_ID] = "needs_object_id",
	};

	return (unsigned int)outcome < _IG_POLICY_OUTCOME_MAX ? names[outcome] : "unknown";
}
