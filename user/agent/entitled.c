/*
 * Which cached tokens stay; see entitled.h. Called for each of them when the policy changed.
 *
 * It must never keep a token on behalf of a pod that is gone: a new one of the same name is another
 * pod. Whether a workload gets a token that stays is decided anew at each request.
 */
#include "agent/entitled.h"

#include <string.h>

#include "agent/identity_key.h"
#include "objects/store.h"
#include "policy/binding.h"
#include "token/service.h"

static bool is_bound(const struct ig_store *store, const struct ig_identity *identity)
{
	const struct ig_binding *binding;
	size_t iter = 0;

	while ((binding = ig_store_next_binding(store, &iter)) != NULL)
		if (strcmp(binding->namespace, identity->namespace) == 0 &&
			strcmp(binding->azure_identity, identity->name) == 0)
			return true;
	return false;
}

static bool by_binding(const struct ig_entitlement *rules, const struct ig_token_key *key)
{
	const struct ig_identity *identity;
	size_t iter = 0;

	while ((identity = ig_store_next_identity(rules->store, &iter)) != NULL)
		if (ig_identity_key_covers(identity, NULL, rules->defaults, key) &&
			is_bound(rules->store, identity))
			return true;
	return false;
}

/* The uid at the end of the credential says which pod; everything else is compared with what would
 * be asked for it now. */
static bool by_account(const struct ig_entitlement *rules, const struct ig_token_key *key)
{
	const char *slash = strrchr(key->credential, '/');
	const struct ig_pod *pod = slash ? ig_store_pod_by_uid(rules->store, slash + 1) : NULL;
	const struct ig_service_account *account;

	if (!pod || ig_policy_exception(rules->store, pod, rules->policy))
		return false;
	account = ig_policy_service_account(rules->store, pod);
	return account && ig_identity_key_covers(&account->identity, pod, rules->defaults, key);
}

static bool by_exception(const struct ig_entitlement *rules)
{
	const struct ig_pod *pod;
	size_t iter = 0;

	if (ig_store_count(rules->store, IG_OBJECT_EXCEPTION) > 0)
		return true;
	if (rules->policy->no_aks_exception)
		return false;
	while ((pod = ig_store_next_pod(rules->store, &iter)) != NULL)
		if (ig_policy_exception_covers(ig_policy_aks_exception(), pod))
			return true;
	return false;
}

bool ig_entitled_anybody(const struct ig_entitlement *rules, const struct ig_token_key *key)
{
	if (key->source == IG_TOKEN_SOURCE_SERVICE_ACCOUNT)
		return by_account(rules, key);
	/* the latter may go through all pods, for a token that then hardly ever stays */
	return by_binding(rules, key) || (!key->expect_client_id[0] && by_exception(rules));
}
