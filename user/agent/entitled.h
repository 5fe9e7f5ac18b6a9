/*
 * Which cached tokens somebody may still have, after the policy changed. Pure.
 */
#pragma once

#include <stdbool.h>

struct ig_identity_defaults;
struct ig_policy_options;
struct ig_store;
struct ig_token_key;

/* All borrowed. */
struct ig_entitlement {
	const struct ig_store *store;
	const struct ig_policy_options *policy;
	const struct ig_identity_defaults *defaults;
};

/* Is there anybody for whom the token of that key may be cached: a binding that names the identity
 * as it is declared now, an exception for the node's own, and for a ServiceAccount's the very pod,
 * by its uid, that still has the account's identity? */
bool ig_entitled_anybody(const struct ig_entitlement *rules, const struct ig_token_key *key);
