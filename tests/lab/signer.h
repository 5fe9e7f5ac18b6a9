/*
 * The lab's signing key and the self-signed certificate that goes with it.
 */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"

struct lab_signer;

/* pem_path == NULL: a new RSA key of 2048 bits. Else an RSA private key, at least as long; the same
 * key gives the same certificate and key id in every run. */
int lab_signer_new(const char *pem_path, struct lab_signer **ret, struct ig_err *reterr_err);
struct lab_signer *lab_signer_free(struct lab_signer *signer);
IG_DEFINE_CLEANUP(struct lab_signer *, lab_signer_free);

/* kid and x5t: base64url of the certificate's SHA-1. Owned by the signer. */
const char *lab_signer_kid(const struct lab_signer *signer);

/* Appends the base64url RS256 signature of data. */
int lab_signer_rs256(
	const struct lab_signer *signer, const void *data, size_t len, struct ig_buf *out);

/* Appends the base64 of a PKCS#7 SignedData with data inside (the attested document). */
int lab_signer_pkcs7(
	const struct lab_signer *signer, const void *data, size_t len, struct ig_buf *out);

/* Appends {"keys":[…]} (RFC 7517). */
int lab_signer_jwks(const struct lab_signer *signer, struct ig_buf *out);
