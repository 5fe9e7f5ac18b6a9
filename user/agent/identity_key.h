/*
 * From a declared identity to what the token service is asked for.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <imdsgate/limits.h>

#include "token/service.h"

struct ig_identity;
struct ig_pod;

/* For identities that name none of their own. Borrowed. */
struct ig_identity_defaults {
	const char *tenant_id; /* NULL: none; Entra ID is not asked then */
	const char *authority; /* NULL: that of the public cloud */
};

struct ig_identity_key {
	struct ig_token_key key; /* borrows from the identity, the resource and from below */
	char credential[IG_CREDENTIAL_PATH_BYTES + 1];
	char tenant[IG_OBJECT_NAME_BYTES + 1]; /* an auxiliary one */
};

/* Valid as long as the identity, the defaults and the resource are; must not be copied or moved.
 * The pod is whose token it becomes: part of the key where the ServiceAccount's own token is
 * exchanged, as that one is bound to the pod; else it may be NULL. */
void ig_identity_key_init(struct ig_identity_key *key, const struct ig_identity *identity,
	const struct ig_pod *pod, const struct ig_identity_defaults *defaults,
	const char *resource);

/* How many tenants an identity of a secret has beside its own; 0 for every other identity. */
size_t ig_identity_key_n_auxiliary(const struct ig_identity *identity);
/* The same for the token of its auxiliary tenant number i, counted from 0. */
void ig_identity_key_init_auxiliary(struct ig_identity_key *key, const struct ig_identity *identity,
	const struct ig_identity_defaults *defaults, size_t i, const char *resource);

/* Would that identity, as it is declared now, be asked for with this key (for that pod),
 * be it for an auxiliary tenant? */
bool ig_identity_key_covers(const struct ig_identity *identity, const struct ig_pod *pod,
	const struct ig_identity_defaults *defaults, const struct ig_token_key *key);

/* The tenant as declared, or what the defaults say of it; "": neither does, or it is a matter of
 * the machine. */
const char *ig_identity_tenant(
	const struct ig_identity *identity, const struct ig_identity_defaults *defaults);
