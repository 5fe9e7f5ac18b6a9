/*
 * What a caller may ask the metadata service for: MetadataPolicy. Pure: reads the store, decides,
 * changes nothing. Bindings say whose token a pod may have (binding.h); this says for what, from
 * where and how often, and which documents.
 *
 * Two layers. The cluster's policies are those in the policy namespace; they reach pods of every
 * namespace, or of those they list. All others are their namespace's own and reach its pods only. A
 * request must pass both layers: a namespace can narrow what the cluster allows, never widen it.
 *
 * In each layer one policy decides alone: the most specific of those that cover the caller and the
 * request. Two are compared by these points, and the first difference decides:
 *   1. `namespaces` is given       3. `serviceAccounts` is given
 *   2. `identities` is given       4. it has more labels
 *   5. it is the first by namespace and name
 * (What a tenant cannot choose comes before what it can: a pod does not get out of the rule for its
 * namespace by putting on a label.) Given lists must contain the caller's, so an empty one covers
 * nobody. A policy with `identities` covers requests for their tokens and nothing else.
 *
 * What the deciding policy's mode means:
 *   enforce  what one of its lists does not allow is denied. An absent list says nothing.
 *   audit    nothing is denied because of it; the verdict says what `enforce` would have denied.
 *   off      (`mode: Disabled`) as if there were no policy in this layer.
 * Without a policy tokens are not restricted, and of the documents those are open that the caller
 * of this module says are (path_default_allowed). `paths` of a cluster policy is the whole list
 * instead, and may open others; `paths` of a namespace's policy can only take away from that.
 * `resources` says nothing about documents and `paths` nothing about tokens.
 *
 * Processes of the host that are in no workload are the business of policies with `subject: Host`
 * in the policy namespace, and of no others. Without one (or with one that is off) they get
 * nothing; with one in mode audit they get what a pod gets without a policy.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "objects/store.h"
#include "policy/options.h"

enum ig_policy_request_kind { IG_POLICY_REQUEST_TOKEN, IG_POLICY_REQUEST_DOCUMENT };

/* Everything is borrowed. */
struct ig_policy_request {
	enum ig_policy_request_kind kind;
	const struct ig_pod *pod; /* NULL: a process of the host */
	const char *container;	  /* name; NULL: not known (yet) */
	const char *exe;	  /* absolute path; NULL: not known */
	bool exe_deleted;	  /* what runs is not what the path names now */
	const char *resource;	  /* TOKEN: as asked for */
	/* TOKEN: whose; NULL: one of the node's, under which no policy with `identities` falls */
	const struct ig_identity *identity;
	const char *path;	   /* DOCUMENT: canonical, without query */
	bool path_default_allowed; /* DOCUMENT: open where no policy says anything */
};

/* Why a request is denied: a closed set. */
enum ig_policy_denial {
	IG_POLICY_ALLOWED,
	IG_POLICY_DENIES_HOST,
	IG_POLICY_DENIES_HOST_NETWORK,
	IG_POLICY_DENIES_RESOURCE,
	IG_POLICY_DENIES_PATH,
	IG_POLICY_DENIES_EXECUTABLE,
	IG_POLICY_DENIES_CONTAINER,
	IG_POLICY_CONTAINER_NOT_KNOWN, /* all else is allowed; the container decides */
	_IG_POLICY_DENIAL_MAX
};

/* "host_not_allowed", "host_network_not_allowed", "resource_not_allowed", "path_not_allowed",
 * "executable_not_allowed", "container_not_allowed", "container_not_known"; NULL for ALLOWED. */
const char *ig_policy_denial_name(enum ig_policy_denial denial);

enum ig_policy_verdict_outcome {
	IG_POLICY_VERDICT_ALLOW,
	IG_POLICY_VERDICT_DENY,
	IG_POLICY_VERDICT_NEEDS_CONTAINER, /* find out which container it is, then ask again */
	_IG_POLICY_VERDICT_MAX
};

struct ig_policy_verdict {
	enum ig_policy_verdict_outcome outcome;
	bool would_deny; /* ALLOW: a policy in mode audit has something against it */
	const char
		*reason; /* literal: what ig_policy_denial_name() gives; NULL: nothing against it */
	/* the one behind the reason (NULL: the defaults are); without a reason the deciding one,
	 * the namespace's before the cluster's, or NULL. Borrowed from the store. */
	const struct ig_metadata_policy *policy;
	/* of the deciding policies in mode enforce, the smaller of each; 0: not limited by policy
	 */
	uint32_t rate_per_sec, rate_burst;
};

/* Audit mode never makes the caller wait: a container that is not known then is reported as
 * "container_not_known". */
struct ig_policy_verdict ig_policy_check(const struct ig_store *store,
	const struct ig_policy_options *options, const struct ig_policy_request *request);

/* "allow", "deny", "needs_container": a closed set. */
const char *ig_policy_verdict_name(enum ig_policy_verdict_outcome outcome);

/* "enforce", "audit", "disabled": a closed set. */
const char *ig_policy_mode_name(enum ig_policy_mode mode);

/* ---- the parts, for those who explain a verdict ---- */

enum ig_policy_layer { IG_POLICY_LAYER_CLUSTER, IG_POLICY_LAYER_NAMESPACE, _IG_POLICY_LAYER_MAX };

enum ig_policy_layer ig_policy_layer(
	const struct ig_metadata_policy *policy, const struct ig_policy_options *options);

/* NULL when the policy covers caller and request, else why not, a literal: "other_subject",
 * "not_policy_namespace", "other_namespace", "identity_not_listed", "service_account_not_listed",
 * "labels_differ". */
const char *ig_policy_not_covered(const struct ig_metadata_policy *policy,
	const struct ig_policy_options *options, const struct ig_policy_request *request);

/* What the lists of a policy that covers the request have against it, whatever its mode. */
enum ig_policy_denial ig_policy_objection(const struct ig_metadata_policy *policy,
	const struct ig_policy_options *options, const struct ig_policy_request *request);

/* The most specific policy of a layer, or NULL. */
const struct ig_metadata_policy *ig_policy_deciding(const struct ig_store *store,
	const struct ig_policy_options *options, const struct ig_policy_request *request,
	enum ig_policy_layer layer);
