/*
 * JSON Web Signatures in compact form (RFC 7515) that clients present: taken apart, and verified.
 */
#pragma once

#include <jansson.h>
#include <openssl/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum lab_jws_alg { LAB_JWS_OTHER, LAB_JWS_RS256, LAB_JWS_PS256, _LAB_JWS_MAX };

struct lab_jws {
	json_t *header;		 /* owned; an object */
	json_t *claims;		 /* owned; an object */
	const char *text;	 /* the caller's; what is signed */
	size_t text_len;	 /* … without the signature */
	struct ig_buf signature; /* owned; may be empty */
};

/* Three parts of strict base64url, two JSON objects without duplicate members. Says nothing about
 * the signature. -EBADMSG, -ENOMEM. *ret has to be handed to lab_jws_done() whatever comes back,
 * and must not outlive text. */
int lab_jws_parse(const char *text, struct lab_jws *ret);
void lab_jws_done(struct lab_jws *jws);

static inline void lab_jws_donep(struct lab_jws *jws)
{
	lab_jws_done(jws);
}

/* "" unless the member is a string. Owned by jws. */
const char *lab_jws_header(const struct lab_jws *jws, const char *name);
const char *lab_jws_claim(const struct lab_jws *jws, const char *name);
/* False, and *ret untouched, unless the claim is a whole number and not negative. */
bool lab_jws_time(const struct lab_jws *jws, const char *name, uint64_t *ret);

enum lab_jws_alg lab_jws_alg(const struct lab_jws *jws);
/* By the algorithm that the header names; never with LAB_JWS_OTHER. key has to be RSA. */
bool lab_jws_verify(const struct lab_jws *jws, EVP_PKEY *key);

/* Appends {"header":…,"claims":…,"lifetime":exp-nbf} for the log: never the signature. */
void lab_jws_describe(const struct lab_jws *jws, struct ig_buf *out);
