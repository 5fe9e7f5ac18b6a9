/*
 * May this workload use that identity? See binding.h. Everything is decided in one pass over the
 * bindings with a constant amount of memory, because a tenant may create any number of them. What
 * comes out does not depend on the order in which objects were declared: of several that would do,
 * the first by namespace and name is taken.
 *
 * Never looks at a pod's name or address to wave it through, and never falls back to another
 * identity than the one asked for. Called by the request handler and by the control socket.
 */
#include "policy/binding.h"

#include <stdint.h>
#include <string.h>

#include "base/parse.h"
#include "policy/order.h"

#define BINDING_LABEL	"aadpodidbinding"
#define DEFAULT_ACCOUNT "default"

/* An identity that the pod may have, with the rule that gives it. */
struct candidate {
	const struct ig_identity *identity;	  /* NULL: none */
	const struct ig_binding *binding;	  /* NULL: the account gives it */
	const struct ig_service_account *account; /* NULL: the binding gives it */
};

/* Whose candidates are looked for. */
struct query {
	const struct ig_store *store;
	const struct ig_pod *pod;
	const struct ig_policy_options *options;
	struct candidate own; /* what the pod's account gives, or none */
};

const char *ig_policy_binding_label(const struct ig_pod *pod)
{
	const char *label = ig_label_get(pod->labels, pod->n_labels, BINDING_LABEL);

	/* an empty label must not meet an empty selector, even if one slipped into the store */
	return label && label[0] ? label : NULL;
}

const char *ig_policy_service_account_name(const struct ig_pod *pod)
{
	return pod->service_account[0] ? pod->service_account : DEFAULT_ACCOUNT;
}

const struct ig_service_account *ig_policy_service_account(
	const struct ig_store *store, const struct ig_pod *pod)
{
	const struct ig_service_account *account;

	if (pod->finished || !ig_pod_uses_workload_identity(pod))
		return NULL;
	account = ig_store_service_account_by_name(
		store, pod->namespace, ig_policy_service_account_name(pod));
	return account && account->identity.client_id[0] ? account : NULL;
}

bool ig_policy_same_client(const struct ig_identity *a, const struct ig_identity *b)
{
	return a->client_id[0] && ig_str_equal_nocase(a->client_id, b->client_id);
}

static struct query query_init(const struct ig_store *store, const struct ig_pod *pod,
	const struct ig_policy_options *options)
{
	const struct ig_service_account *account = ig_policy_service_account(store, pod);
	struct query q = {.store = store, .pod = pod, .options = options};

	if (account)
		q.own = (struct candidate){.identity = &account->identity, .account = account};
	return q;
}

/* label: the pod's, or NULL. */
static enum ig_policy_binding_state check(const struct ig_store *store, const struct ig_pod *pod,
	const char *label, const struct ig_policy_options *options,
	const struct ig_binding *binding, const struct ig_identity **ret_identity)
{
	const struct ig_identity *identity;
	bool same_namespace;

	/* most bindings are other pods' */
	if (!label || strcmp(binding->selector, label) != 0)
		return IG_POLICY_BINDING_SELECTOR_DIFFERS;
	same_namespace = strcmp(binding->namespace, pod->namespace) == 0;
	if (!same_namespace && !(options && options->allow_cross_namespace))
		return IG_POLICY_BINDING_OTHER_NAMESPACE;
	identity = ig_store_identity_by_name(store, binding->namespace, binding->azure_identity);
	if (!identity)
		return IG_POLICY_BINDING_IDENTITY_MISSING;
	if (!same_namespace && identity->behavior_namespaced)
		return IG_POLICY_BINDING_IDENTITY_NAMESPACED;
	*ret_identity = identity;
	return IG_POLICY_BINDING_GIVES;
}

enum ig_policy_binding_state ig_policy_binding_check(const struct ig_store *store,
	const struct ig_pod *pod, const struct ig_policy_options *options,
	const struct ig_binding *binding, const struct ig_identity **ret_identity)
{
	return check(store, pod, ig_policy_binding_label(pod), options, binding, ret_identity);
}

/* The next one that a binding gives. */
static bool next_candidate(const struct query *q, size_t *iter, struct candidate *ret)
{
	const char *label = ig_policy_binding_label(q->pod);
	const struct ig_identity *identity;
	const struct ig_binding *b;

	if (q->pod->finished || !label)
		return false;
	while ((b = ig_store_next_binding(q->store, iter)))
		if (check(q->store, q->pod, label, q->options, b, &identity) ==
			IG_POLICY_BINDING_GIVES) {
			*ret = (struct candidate){.identity = identity, .binding = b};
			return true;
		}
	return false;
}

/* An account may be called like an AzureIdentity; they are two all the same. */
int ig_policy_compare_identities(const struct ig_identity *a, const struct ig_identity *b)
{
	int order = ig_policy_compare_names(a->namespace, a->name, b->namespace, b->name);

	if (order)
		return order;
	return (b->type == IG_IDENTITY_FEDERATED) - (a->type == IG_IDENTITY_FEDERATED);
}

/* Keeps the first of two by identity, then by binding. */
static void keep_first(struct candidate *best, const struct candidate *c)
{
	int order = best->identity ? ig_policy_compare_identities(c->identity, best->identity) : -1;

	if (order == 0 && c->binding)
		order = ig_policy_compare_names(c->binding->namespace, c->binding->name,
			best->binding->namespace, best->binding->name);
	if (order < 0)
		*best = *c;
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

/* What is asked for. */
struct question {
	const struct ig_selector *selector;
	ig_policy_object_id *object_id;
	void *userdata;
};

/* NULL: it may have the one that is asked for. */
static const char *known_object_id(const struct question *ask, const struct ig_identity *identity)
{
	if (ask->object_id)
		return ask->object_id(identity, ask->userdata);
	return identity->object_id[0] ? identity->object_id : NULL;
}

static bool fits(const struct question *ask, const struct ig_identity *identity, bool *ret_unknown)
{
	const char *id;

	*ret_unknown = false;
	switch (ask->selector->kind) {
	case IG_SELECTOR_CLIENT_ID: return text_matches(identity->client_id, ask->selector->value);
	case IG_SELECTOR_RESOURCE_ID:
		return text_matches(identity->resource_id, ask->selector->value);
	case IG_SELECTOR_OBJECT_ID:
		id = known_object_id(ask, identity);
		*ret_unknown = !id;
		return id && text_matches(id, ask->selector->value);
	case IG_SELECTOR_NONE:
	case _IG_SELECTOR_KIND_MAX: break;
	}
	return false;
}

/* own: what the account gives, or none. A binding's identity that is the same one may be asked for
 * by all that is known of it, but it is the account's that is taken. */
static void count(struct tally *t, const struct candidate *c, const struct candidate *own,
	const struct question *ask)
{
	bool merged = own->identity && ig_policy_same_client(own->identity, c->identity);
	const struct candidate *as = merged ? own : c;
	bool unknown, match = fits(ask, c->identity, &unknown);

	if (t->first.identity && ig_policy_compare_identities(t->first.identity, as->identity) != 0)
		t->several = true;
	keep_first(&t->first, as);
	if (match)
		keep_first(&t->match, as);
	/* of a merged one, the account's own object id is what is missing, or it is not */
	if (unknown && as->identity == c->identity)
		keep_first(&t->unknown, as);
}

static struct ig_policy_decision outcome(enum ig_policy_outcome outcome)
{
	return (struct ig_policy_decision){
		.outcome = outcome, .reason = ig_policy_outcome_name(outcome)};
}

static struct ig_policy_decision grant(const struct candidate *c)
{
	struct ig_policy_decision d = outcome(IG_POLICY_GRANT);

	d.identity = c->identity;
	d.binding = c->binding;
	d.service_account = c->account;
	d.rule = c->binding ? c->binding->name : c->account->name;
	return d;
}

static struct ig_policy_decision grant_node(const struct ig_exception *exception)
{
	struct ig_policy_decision d = outcome(IG_POLICY_GRANT_NODE);

	d.exception = exception;
	d.rule = exception->name;
	return d;
}

static struct ig_policy_decision decide(const struct tally *t, const struct ig_selector *selector)
{
	if (!t->first.identity)
		return outcome(IG_POLICY_NOT_BOUND);
	if (selector->kind == IG_SELECTOR_NONE)
		return t->several ? outcome(IG_POLICY_AMBIGUOUS) : grant(&t->first);
	if (t->match.identity)
		return grant(&t->match);
	if (t->unknown.identity) {
		struct ig_policy_decision d = outcome(IG_POLICY_NEEDS_OBJECT_ID);

		d.learn = t->unknown.identity;
		return d;
	}
	return outcome(IG_POLICY_NOT_FOUND);
}

struct ig_policy_decision ig_policy_select(const struct ig_store *store, const struct ig_pod *pod,
	const struct ig_selector *selector, const struct ig_policy_options *options,
	ig_policy_object_id *object_id, void *userdata)
{
	const struct question ask = {
		.selector = selector, .object_id = object_id, .userdata = userdata};
	const struct ig_exception *exception =
		options && options->no_exceptions ? NULL : ig_policy_exception(store, pod, options);
	const struct query q = query_init(store, pod, options);
	struct tally tally = {};
	struct candidate c;
	size_t iter = 0;

	if (pod->finished) {
		struct ig_policy_decision d = outcome(IG_POLICY_NOT_BOUND);

		d.reason = "pod_finished";
		return d;
	}
	if (exception)
		return grant_node(exception);
	if (q.own.identity)
		count(&tally, &q.own, &q.own, &ask);
	while (next_candidate(&q, &iter, &c))
		count(&tally, &c, &q.own, &ask);
	return decide(&tally, selector);
}

/* Inserts into an ordered array of *n of at most max, unless it stands there; what is last falls
 * out of a full one. True: one has no room. */
static bool insert(
	const struct ig_identity **array, size_t *n, size_t max, const struct ig_identity *identity)
{
	bool full = *n == max;
	size_t at = *n;

	while (at > 0 && ig_policy_compare_identities(identity, array[at - 1]) < 0)
		at--;
	if (at > 0 && ig_policy_compare_identities(identity, array[at - 1]) == 0)
		return false;
	if (at == max)
		return true;
	if (!full)
		(*n)++;
	memmove(&array[at + 1], &array[at], (*n - at - 1) * sizeof(*array));
	array[at] = identity;
	return full;
}

size_t ig_policy_candidates(const struct ig_store *store, const struct ig_pod *pod,
	const struct ig_policy_options *options, const struct ig_identity **ret, size_t max)
{
	const struct query q = query_init(store, pod, options);
	struct candidate c;
	size_t iter = 0, n = 0;
	bool more = false;

	if (q.own.identity)
		more = insert(ret, &n, max, q.own.identity);
	while (next_candidate(&q, &iter, &c))
		if (!q.own.identity || !ig_policy_same_client(q.own.identity, c.identity))
			more |= insert(ret, &n, max, c.identity);
	return n + more;
}

/* What AKS runs in kube-system expects the node's identities; the old system was delivered with an
 * object that says so. Who may create pods in kube-system has the node anyway. */
const struct ig_exception *ig_policy_aks_exception(void)
{
	static char namespace[] = "kube-system", name[] = IG_POLICY_AKS_RULE;
	static char key[] = "kubernetes.azure.com/managedby", value[] = "aks";
	static struct ig_label label = {.key = key, .value = value};
	static const struct ig_exception rule = {.namespace = namespace,
		.name = name,
		.mode = IG_EXCEPTION_PROXY,
		.labels = &label,
		.n_labels = 1};

	return &rule;
}

/* One pair is enough; key and value are exact (the old system folded the value's case). */
bool ig_policy_exception_covers(const struct ig_exception *exception, const struct ig_pod *pod)
{
	if (pod->finished || strcmp(exception->namespace, pod->namespace) != 0)
		return false;
	for (size_t i = 0; i < exception->n_labels; i++) {
		const struct ig_label *want = &exception->labels[i];
		const char *value = ig_label_get(pod->labels, pod->n_labels, want->key);

		if (value && strcmp(value, want->value) == 0)
			return true;
	}
	return false;
}

/* Is a before b? Both are of the pod's namespace. */
static bool exception_before(const struct ig_exception *a, const struct ig_exception *b)
{
	if (a->mode != b->mode)
		return a->mode == IG_EXCEPTION_DIRECT;
	return strcmp(a->name, b->name) < 0;
}

const struct ig_exception *ig_policy_exception(const struct ig_store *store,
	const struct ig_pod *pod, const struct ig_policy_options *options)
{
	const struct ig_exception *best = NULL, *e;
	size_t iter = 0;

	while ((e = ig_store_next_exception(store, &iter)))
		if (ig_policy_exception_covers(e, pod) && (!best || exception_before(e, best)))
			best = e;
	if (best || !options || options->no_aks_exception)
		return best;
	e = ig_policy_aks_exception();
	return ig_policy_exception_covers(e, pod) ? e : NULL;
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
