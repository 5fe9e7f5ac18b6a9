/*
 * May this workload use that identity? Pure: reads the store, decides, changes nothing.
 *
 * Rules: candidates are the AzureIdentities named by the bindings whose selector equals the pod's
 * label aadpodidbinding, in the binding's namespace; that namespace must be the pod's, unless
 * allow_cross_namespace is set (and the identity does not ask for namespaced behaviour itself). A
 * pod without the label has no candidate. An excepted pod (AzurePodIdentityException in its
 * namespace, any one label pair, key and value exact) uses the node's identities instead.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "objects/store.h"
#include "policy/selector.h"

struct ig_policy_options {
	bool allow_cross_namespace;
};

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

struct ig_policy_decision {
	enum ig_policy_outcome outcome;
	const struct ig_identity *identity;   /* borrowed from the store */
	const struct ig_binding *binding;     /* the rule behind the identity; borrowed */
	const struct ig_exception *exception; /* the rule behind GRANT_NODE; borrowed */
	/* NEEDS_OBJECT_ID: the first candidate whose object id is unknown; learn it, then ask again
	 */
	const struct ig_identity *learn;
};

/* The object id that is known for an identity (from its annotation or learned from a token), or
 * NULL. */
typedef const char *ig_policy_object_id(const struct ig_identity *identity, void *userdata);

struct ig_policy_decision ig_policy_select(const struct ig_store *store, const struct ig_pod *pod,
	const struct ig_selector *selector, const struct ig_policy_options *options,
	ig_policy_object_id *object_id, void *userdata);

/* The pod's candidates, at most max, without duplicates; returns how many there are in all. */
size_t ig_policy_candidates(const struct ig_store *store, const struct ig_pod *pod,
	const struct ig_policy_options *options, const struct ig_identity **ret, size_t max);

/* The exception that covers the pod, or NULL. A `direct` one wins over a `proxy` one. */
const struct ig_exception *ig_policy_exception(
	const struct ig_store *store, const struct ig_pod *pod);

/* "not_bound", …: a closed set, for audit records. */
const char *ig_policy_outcome_name(enum ig_policy_outcome outcome);
