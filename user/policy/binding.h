/*
 * May this workload use that identity? Pure: reads the store, decides, changes nothing.
 *
 * A pod's candidates are
 * - the AzureIdentities named by the bindings whose selector equals the pod's label
 *   aadpodidbinding, in the binding's namespace; that namespace must be the pod's, unless
 *   allow_cross_namespace is set (and the identity does not ask for namespaced behaviour itself);
 * - the identity of its ServiceAccount (of its own namespace, "default" when it names none), if the
 *   pod has the label azure.workload.identity/use: "true" and the account has a client id. A
 *   binding's identity with the same client id is the same one: the account's is taken then.
 * A pod with neither label has no candidate.
 *
 * An excepted pod uses the node's identities instead: AzurePodIdentityException in its namespace,
 * any one label pair, key and value exact; and, unless no_aks_exception is set, what AKS runs in
 * kube-system (label kubernetes.azure.com/managedby: aks).
 *
 * A pod that has finished gets nothing, whatever the rules say.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "objects/store.h"
#include "policy/options.h"
#include "policy/selector.h"

enum ig_policy_outcome {
	IG_POLICY_GRANT,	   /* identity is set */
	IG_POLICY_GRANT_NODE,	   /* excepted: ask upstream with the caller's own selector */
	IG_POLICY_NOT_BOUND,	   /* the pod has no identity at all */
	IG_POLICY_NOT_FOUND,	   /* none of its identities matches the selector */
	IG_POLICY_AMBIGUOUS,	   /* several, and none was asked for */
	IG_POLICY_NEEDS_OBJECT_ID, /* asked by object id, no candidate has that one, and some
				      candidates' object ids are not known yet: see candidates */
	_IG_POLICY_OUTCOME_MAX
};

/* Pointers are borrowed from the store, or static. */
struct ig_policy_decision {
	enum ig_policy_outcome outcome;
	const char *reason; /* literal: the outcome's name, or "pod_finished" (a NOT_BOUND) */
	const struct ig_identity *identity;
	/* the rule behind the identity: one of the two */
	const struct ig_binding *binding;
	const struct ig_service_account *service_account;
	/* the rule behind GRANT_NODE; IG_POLICY_AKS_RULE is the name of the built-in one */
	const struct ig_exception *exception;
	const char *rule; /* name of whichever of the three it is; NULL: none */
	/* NEEDS_OBJECT_ID: the first candidate whose object id is unknown; learn it, then ask again
	 */
	const struct ig_identity *learn;
};

/* No object can have this name. */
#define IG_POLICY_AKS_RULE "builtin:aks"

/* The object id that is known for an identity (from its annotation or learned from a token). NULL:
 * none yet, and it may be worth learning; "": it was looked for in vain. An account's identity may
 * have the namespace and name of an AzureIdentity: tell them apart by type. */
typedef const char *ig_policy_object_id(const struct ig_identity *identity, void *userdata);

/* The order in which candidates are taken, and in which their object ids are learned. */
int ig_policy_compare_identities(const struct ig_identity *a, const struct ig_identity *b);

struct ig_policy_decision ig_policy_select(const struct ig_store *store, const struct ig_pod *pod,
	const struct ig_selector *selector, const struct ig_policy_options *options,
	ig_policy_object_id *object_id, void *userdata);

/* The pod's first candidates by namespace and name, at most max, without duplicates; returns how
 * many these are, or max + 1 when there are more: to count those would take the square of the
 * number of bindings, which is a tenant's choice. */
size_t ig_policy_candidates(const struct ig_store *store, const struct ig_pod *pod,
	const struct ig_policy_options *options, const struct ig_identity **ret, size_t max);

/* The exception that covers the pod, or NULL. A `direct` one wins over a `proxy` one, an object
 * over the built-in rule. */
const struct ig_exception *ig_policy_exception(const struct ig_store *store,
	const struct ig_pod *pod, const struct ig_policy_options *options);
/* The built-in rule, as an object that no store holds. */
const struct ig_exception *ig_policy_aks_exception(void);
/* Has the exception anything to say about this pod? */
bool ig_policy_exception_covers(const struct ig_exception *exception, const struct ig_pod *pod);

/* What a binding does for a pod. */
enum ig_policy_binding_state {
	IG_POLICY_BINDING_GIVES, /* its identity is a candidate */
	IG_POLICY_BINDING_SELECTOR_DIFFERS,
	IG_POLICY_BINDING_OTHER_NAMESPACE,
	IG_POLICY_BINDING_IDENTITY_MISSING,
	IG_POLICY_BINDING_IDENTITY_NAMESPACED, /* and the pod is in another namespace */
	_IG_POLICY_BINDING_STATE_MAX
};

/* *ret_identity is written with GIVES only. */
enum ig_policy_binding_state ig_policy_binding_check(const struct ig_store *store,
	const struct ig_pod *pod, const struct ig_policy_options *options,
	const struct ig_binding *binding, const struct ig_identity **ret_identity);

/* The value that bindings are compared with; NULL when the pod has none. */
const char *ig_policy_binding_label(const struct ig_pod *pod);

/* The account whose name the pod's processes carry, whether it asks for an identity or not. */
const char *ig_policy_service_account_name(const struct ig_pod *pod);
/* The account that gives the pod an identity, or NULL. */
const struct ig_service_account *ig_policy_service_account(
	const struct ig_store *store, const struct ig_pod *pod);

/* Both have that client id: whoever has the one has the other. */
bool ig_policy_same_client(const struct ig_identity *a, const struct ig_identity *b);

/* "not_bound", …: a closed set, for audit records. */
const char *ig_policy_outcome_name(enum ig_policy_outcome outcome);
