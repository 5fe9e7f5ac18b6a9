/*
 * Client assertions (RFC 7523): a short-lived JWT by which an application proves to Entra ID that
 * it holds the key of a certificate. Private to the sources of user/token.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

struct ig_certificate;

#define IG_ASSERTION_LIFE_SEC 600 /* Entra takes 5 to 10 minutes */

struct ig_assertion_claims {
	const char *audience;  /* the URL that it is posted to */
	const char *client_id; /* who says so, of itself */
	uint64_t now_sec;
};

/* Signs with PS256 and names the certificate by x5t#S256 (SHA-256), or with `rs256` the older way,
 * RS256 and x5t (SHA-1); a P-256 key signs with ES256 either way. Every one has another jti.
 *
 * *ret (empty before) holds the JWT on success; wipe it with ig_buf_wipe(). -EOPNOTSUPP: a key that
 * Entra would not take. */
int ig_assertion_make(const struct ig_certificate *certificate, bool rs256,
	const struct ig_assertion_claims *claims, struct ig_buf *ret, struct ig_err *reterr_err);
