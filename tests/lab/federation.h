/*
 * The federated credentials of an identity: whose tokens it accepts in place of a secret.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"
#include "lab/jwks.h"

#define LAB_FEDERATED_MAX 20 /* as many as Entra ID allows for an identity */

/* All three have to be what the token says, byte for byte. */
struct lab_federated {
	char *issuer;	/* owned */
	char *subject;	/* owned */
	char *audience; /* owned */
	struct lab_jwks jwks;
};

struct lab_federation {
	struct lab_federated *list[LAB_FEDERATED_MAX]; /* owned */
	size_t n;
};

/* [{"issuer":…,"subject":…,"audience":…,"jwks":…}]; the audience may be left out. *federation is
 * zeroed by the caller, and has to be handed to _done() also after a failure. */
int lab_federation_load(struct lab_federation *federation, json_t *list, struct ig_err *reterr_err);
void lab_federation_done(struct lab_federation *federation);

/* Which part of a token no credential has, looked at in this order. */
enum lab_federation_match {
	LAB_FEDERATION_MATCH,
	LAB_FEDERATION_NONE, /* there are no credentials */
	LAB_FEDERATION_ISSUER,
	LAB_FEDERATION_AUDIENCE,
	LAB_FEDERATION_SUBJECT,
	_LAB_FEDERATION_MAX
};

enum lab_federation_match lab_federation_find(const struct lab_federation *federation,
	const char *issuer, const char *audience, const char *subject,
	const struct lab_federated **ret);
