/*
 * What is in a PKCS#12 file: a private key and its certificate. As OpenSSL's PKCS12_parse(), except
 * that the file does not choose how long that takes: whoever may write a credential could otherwise
 * have the process derive keys for hours. Private to certificate.c.
 */
#pragma once

#include <openssl/pkcs12.h>

/* Derives keys IG_CERTIFICATE_ITERATIONS times at most. 0; *ret_key and *ret_x509 are the caller's,
 * NULL for what is not in it. -EINVAL: *reterr_why (a literal) says why, or if it is NULL OpenSSL's
 * queue of errors. Works in the library context that is the default. */
int ig_pkcs12_read(PKCS12 *p12, const char *password, EVP_PKEY **ret_key, X509 **ret_x509,
	const char **reterr_why);
