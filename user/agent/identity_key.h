/*
 * From a declared identity to what the token service is asked for.
 */
#pragma once

#include <stdbool.h>

#include <imdsgate/limits.h>

#include "token/service.h"

struct ig_identity;

struct ig_identity_key {
	struct ig_token_key key; /* borrows from the identity, the resource and from below */
	char credential[IG_CREDENTIAL_PATH_BYTES + 1];
};

/* Valid as long as the identity and the resource are; must not be copied or moved. */
void ig_identity_key_init(
	struct ig_identity_key *key, const struct ig_identity *identity, const char *resource);

/* Would that identity, as it is declared now, be asked for with this key? */
bool ig_identity_key_covers(const struct ig_identity *identity, const struct ig_token_key *key);
