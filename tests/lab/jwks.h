/*
 * The public keys of an issuer whose tokens an identity trusts (RFC 7517).
 */
#pragma once

#include <jansson.h>
#include <openssl/types.h>
#include <stddef.h>

#include "base/err.h"

#define LAB_JWKS_KEYS_MAX 16

struct lab_jwks {
	struct {
		char *kid;     /* owned */
		EVP_PKEY *key; /* owned; RSA of at least 2048 bits */
	} keys[LAB_JWKS_KEYS_MAX];
	size_t n;
};

/* {"keys":[…]}, or the path of a file of it as a string: nothing is fetched. Keys that are not for
 * RS256 signatures are passed over, as Entra does; one has to be left. *jwks is zeroed by the
 * caller, and has to be handed to _done() also after a failure. */
int lab_jwks_load(struct lab_jwks *jwks, json_t *value, struct ig_err *reterr_err);
void lab_jwks_done(struct lab_jwks *jwks);

/* NULL when there is none. Owned by jwks. */
EVP_PKEY *lab_jwks_find(const struct lab_jwks *jwks, const char *kid);
