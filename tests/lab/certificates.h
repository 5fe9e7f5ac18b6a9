/*
 * The certificates that an application of the lab's tenant may sign its assertions with.
 */
#pragma once

#include <openssl/types.h>
#include <stddef.h>

#include "base/err.h"

#define LAB_CERTIFICATES_MAX 8

struct lab_certificate {
	X509 *x509;	/* owned; its key is RSA of at least 2048 bits */
	char *x5t;	/* owned; base64url of the SHA-1 of the DER */
	char *x5t_s256; /* owned; … of its SHA-256 */
};

struct lab_certificates {
	struct lab_certificate list[LAB_CERTIFICATES_MAX];
	size_t n;
};

/* PEM text, or the path of a file of it; other things than certificates in it are passed over.
 * *certificates is zeroed by the caller, and has to be handed to _done() also after a failure. */
int lab_certificates_load(
	struct lab_certificates *certificates, const char *pem_or_path, struct ig_err *reterr_err);
void lab_certificates_done(struct lab_certificates *certificates);

/* The one with both thumbprints, of which "" stands for any, but one has to be given. NULL when
 * there is none. */
const struct lab_certificate *lab_certificates_find(
	const struct lab_certificates *certificates, const char *x5t, const char *x5t_s256);
