/*
 * The source, the selector and the credential of an identity; see identity_key.h. Called for each
 * token request. Pure.
 *
 * It must never name a credential of another namespace than the identity's: kinds.c refused such
 * references on load, and the namespace in the path comes from the identity itself.
 */
#include "agent/identity_key.h"

#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "objects/object.h"

#define PUBLIC_AUTHORITY "https://login.microsoftonline.com"

_Static_assert(sizeof(((struct ig_identity_key *)0)->credential) > 2 * IG_OBJECT_NAME_BYTES + 1,
	"namespace, slash and name fit");
_Static_assert(sizeof(((struct ig_identity_key *)0)->credential) > 4 * IG_OBJECT_NAME_BYTES + 3,
	"namespace, account, pod and uid fit");

static void select_by(struct ig_token_key *key, enum ig_selector_kind kind, const char *value)
{
	key->upstream.kind = kind;
	/* fields of manifests were checked against the same limit on load */
	(void)snprintf(key->upstream.value, sizeof(key->upstream.value), "%s", value);
}

static const char *first_given(const char *a, const char *b, const char *otherwise)
{
	return a[0] ? a : b && b[0] ? b : otherwise;
}

const char *ig_identity_tenant(
	const struct ig_identity *identity, const struct ig_identity_defaults *defaults)
{
	/* a managed identity's tenant is the machine's, whatever the default is */
	return identity->type == IG_IDENTITY_FEDERATED
		       ? first_given(identity->tenant_id, defaults->tenant_id, "")
		       : identity->tenant_id;
}

static void ask_entra(struct ig_token_key *key, enum ig_token_source_kind source,
	const struct ig_identity *identity, const struct ig_identity_defaults *defaults)
{
	key->source = source;
	key->tenant = ig_identity_tenant(identity, defaults);
	key->authority = first_given(identity->ad_endpoint, defaults->authority, PUBLIC_AUTHORITY);
}

/* The account whose name the pod carries is the identity's: the policy saw to that. */
static void name_pod(
	struct ig_identity_key *key, const struct ig_identity *identity, const struct ig_pod *pod)
{
	(void)snprintf(key->credential, sizeof(key->credential), "%s/%s/%s/%s", identity->namespace,
		identity->name, pod->name, pod->uid);
	key->key.credential = key->credential;
}

void ig_identity_key_init(struct ig_identity_key *key, const struct ig_identity *identity,
	const struct ig_pod *pod, const struct ig_identity_defaults *defaults, const char *resource)
{
	*key = (struct ig_identity_key){
		.key = {.expect_client_id = identity->client_id, .resource = resource}};
	if (identity->client_id[0])
		select_by(&key->key, IG_SELECTOR_CLIENT_ID, identity->client_id);
	else
		select_by(&key->key, IG_SELECTOR_RESOURCE_ID, identity->resource_id);
	switch (identity->type) {
	case IG_IDENTITY_SECRET:
		ask_entra(&key->key, IG_TOKEN_SOURCE_SECRET, identity, defaults);
		break;
	case IG_IDENTITY_CERTIFICATE:
		ask_entra(&key->key,
			identity->assertion_rs256 ? IG_TOKEN_SOURCE_CERTIFICATE_RS256
						  : IG_TOKEN_SOURCE_CERTIFICATE,
			identity, defaults);
		break;
	case IG_IDENTITY_FEDERATED:
		ask_entra(&key->key, IG_TOKEN_SOURCE_SERVICE_ACCOUNT, identity, defaults);
		if (pod)
			name_pod(key, identity, pod);
		return;
	case IG_IDENTITY_USER_ASSIGNED:
		if (!identity->federated_token_file[0])
			return;
		ask_entra(&key->key, IG_TOKEN_SOURCE_FEDERATION, identity, defaults);
		key->key.credential = identity->federated_token_file;
		return;
	}
	(void)snprintf(key->credential, sizeof(key->credential), "%s/%s", identity->namespace,
		identity->secret_name);
	key->key.credential = key->credential;
}

static bool same_text(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

size_t ig_identity_key_n_auxiliary(const struct ig_identity *identity)
{
	size_t n = 1;

	if (identity->type != IG_IDENTITY_SECRET || !identity->auxiliary_tenants[0])
		return 0;
	for (const char *p = identity->auxiliary_tenants; (p = strchr(p, ',')); p++)
		n++;
	return n;
}

void ig_identity_key_init_auxiliary(struct ig_identity_key *key, const struct ig_identity *identity,
	const struct ig_identity_defaults *defaults, size_t i, const char *resource)
{
	const char *tenant = identity->auxiliary_tenants;

	ig_identity_key_init(key, identity, NULL, defaults, resource);
	for (; i > 0; i--)
		tenant = strchr(tenant, ',') + 1;
	/* tenants were checked against the limit of names on load */
	(void)snprintf(key->tenant, sizeof(key->tenant), "%.*s", (int)strcspn(tenant, ","), tenant);
	key->key.tenant = key->tenant;
}

static bool same_key(const struct ig_token_key *own, const struct ig_token_key *key)
{
	return own->source == key->source && own->upstream.kind == key->upstream.kind &&
	       ig_str_equal_nocase(own->upstream.value, key->upstream.value) &&
	       same_text(own->tenant, key->tenant) && same_text(own->authority, key->authority) &&
	       same_text(own->credential, key->credential);
}

bool ig_identity_key_covers(const struct ig_identity *identity, const struct ig_pod *pod,
	const struct ig_identity_defaults *defaults, const struct ig_token_key *key)
{
	size_t n = ig_identity_key_n_auxiliary(identity);
	struct ig_identity_key own;

	ig_identity_key_init(&own, identity, pod, defaults, key->resource);
	if (same_key(&own.key, key))
		return true;
	for (size_t i = 0; i < n; i++) {
		ig_identity_key_init_auxiliary(&own, identity, defaults, i, key->resource);
		if (same_key(&own.key, key))
			return true;
	}
	return false;
}
