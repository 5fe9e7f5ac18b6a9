/*
 * A key and its certificate, out of a PKCS#12 file. Nothing is kept from one to the next. Private
 * to the sources of user/token.
 */
#pragma once

#include <stddef.h>

#include <openssl/types.h>

#include "base/err.h"

/* OpenSSL with the old ciphers that PKCS#12 files still use (RC2, 3DES) beside the new ones. They
 * stay in a library context of their own: TLS does not get them. */
struct ig_crypto;

/* Loads modules from disk. Without the one with the old ciphers it goes on; such a file is then
 * refused. */
int ig_crypto_new(struct ig_crypto **ret);
struct ig_crypto *ig_crypto_free(struct ig_crypto *crypto);

struct ig_certificate {
	EVP_PKEY *key;
	X509 *x509;	       /* whose key that is */
	OSSL_LIB_CTX *context; /* the crypto's */
};

/* password may be "". -EINVAL: not PKCS#12, another password, no key, no certificate for it,
 * encrypted in a way that is not known here, or such that it would take too long. The certificate
 * must not outlive crypto. */
int ig_certificate_parse(const struct ig_crypto *crypto, const char *data, size_t len,
	const char *password, struct ig_certificate **ret, struct ig_err *reterr_err);
struct ig_certificate *ig_certificate_free(struct ig_certificate *certificate);
