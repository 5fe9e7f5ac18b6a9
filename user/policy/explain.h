/*
 * Why a request is answered as it is: the rules that were looked at, in the order in which they
 * count, each with what it said. Pure, and without rules of its own: everything is asked of the
 * functions that decide, and the decision and verdict are theirs.
 *
 * Rules that could not matter (bindings and policies of other namespaces that have nothing to do
 * with the pod) are left out; of the rest those that matter most come first, and beyond
 * IG_EXPLAIN_RULE_STEPS_MAX of a kind only their number is told. What was not reached is not
 * explained: an excepted pod's bindings, or the policies when no identity was found.
 *
 * Literals and names only; the caller makes text of it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <imdsgate/limits.h>

#include "policy/binding.h"
#include "policy/metadata.h"

enum ig_explain_rule {
	IG_EXPLAIN_CALLER,	     /* "pod", "pod_finished", "host" */
	IG_EXPLAIN_EXCEPTION,	     /* "covers", "labels_differ", "switched_off" (built-in) */
	IG_EXPLAIN_LABEL,	     /* "set" (detail: its value), "missing" */
	IG_EXPLAIN_SERVICE_ACCOUNT,  /* "gives_identity" (detail: client id), "label_missing",
					"not_annotated" */
	IG_EXPLAIN_BINDING,	     /* "gives_identity", "same_client_as_service_account",
					"selector_differs", "other_namespace", "identity_missing",
					"identity_namespaced" (detail: the identity's name) */
	IG_EXPLAIN_SELECTION,	     /* reason of the decision; name: the identity; detail: rule */
	IG_EXPLAIN_CLUSTER_POLICY,   /* "allows", "disabled", a denial, or why it does not cover */
	IG_EXPLAIN_NAMESPACE_POLICY, /* the same */
	IG_EXPLAIN_VERDICT,	     /* "allow", "deny", "needs_container", "would_deny"; name: the
					policy; detail: the reason */
	_IG_EXPLAIN_RULE_MAX
};

/* Texts are literals or borrowed from the store and the request; "" where there is none. */
struct ig_explain_step {
	enum ig_explain_rule rule;
	const char *namespace; /* of the object that was looked at */
	const char *name;
	const char *outcome; /* literal, see above; or "omitted" for what did not fit */
	const char *detail;
	const char *mode; /* "enforce", "audit", "disabled"; of exceptions "proxy", "direct" */
	bool applies;	  /* it has something to say about this request */
	bool chosen;	  /* and that counted */
	size_t n_omitted; /* "omitted": how many */
};

/* four kinds of which there may be many, five of which there is one */
#define IG_EXPLAIN_STEPS_MAX (4 * (IG_EXPLAIN_RULE_STEPS_MAX + 1) + 5)

struct ig_explain_request {
	/* identity is not looked at: the one that is selected is taken */
	struct ig_policy_request request;
	const struct ig_selector *selector; /* a pod's TOKEN request; else NULL will do */
	ig_policy_object_id *object_id;	    /* as for ig_policy_select() */
	void *userdata;
};

struct ig_explanation {
	struct ig_explain_step steps[IG_EXPLAIN_STEPS_MAX];
	size_t n;
	bool has_decision; /* a pod's TOKEN request */
	struct ig_policy_decision decision;
	bool has_verdict; /* it came to that */
	struct ig_policy_verdict verdict;
};

/* *ret is large; it is valid until the store changes next. */
void ig_policy_explain(const struct ig_store *store, const struct ig_policy_options *options,
	const struct ig_explain_request *request, struct ig_explanation *ret);

/* "caller", "exception", "label", …: a closed set. */
const char *ig_explain_rule_name(enum ig_explain_rule rule);
