/*
 * PKCS#12; see certificate.h. Called by credential.c.
 *
 * It must never let the old ciphers into the process's own library context, leave anything in
 * OpenSSL's queue of errors (libcurl's TLS reads the same one), or keep a key longer than its
 * owner: OpenSSL wipes private numbers when it frees them.
 */
#include "token/certificate.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/pkcs12.h>
#include <openssl/provider.h>
#include <openssl/x509.h>

#include "base/cleanup.h"
#include "token/pkcs12.h"

struct ig_crypto {
	OSSL_LIB_CTX *context; /* owned */
	OSSL_PROVIDER *modern; /* owned */
	OSSL_PROVIDER *legacy; /* owned; NULL when it is not installed */
};

IG_DEFINE_CLEANUP(struct ig_crypto *, ig_crypto_free);
IG_DEFINE_CLEANUP(struct ig_certificate *, ig_certificate_free);
IG_DEFINE_CLEANUP(PKCS12 *, PKCS12_free);

/* ---- library --------------------------------------------------------------------------------- */

int ig_crypto_new(struct ig_crypto **ret)
{
	_cleanup_(ig_crypto_freep) struct ig_crypto *crypto = calloc(1, sizeof(*crypto));

	if (!crypto)
		return -ENOMEM;
	crypto->context = OSSL_LIB_CTX_new();
	if (crypto->context)
		crypto->modern = OSSL_PROVIDER_load(crypto->context, "default");
	if (crypto->modern)
		crypto->legacy = OSSL_PROVIDER_load(crypto->context, "legacy");
	ERR_clear_error();
	if (!crypto->modern)
		return -ENOMEM;
	*ret = TAKE_PTR(crypto);
	return 0;
}

struct ig_crypto *ig_crypto_free(struct ig_crypto *crypto)
{
	if (!crypto)
		return NULL;
	if (crypto->legacy)
		(void)OSSL_PROVIDER_unload(crypto->legacy);
	if (crypto->modern)
		(void)OSSL_PROVIDER_unload(crypto->modern);
	OSSL_LIB_CTX_free(crypto->context);
	free(crypto);
	return NULL;
}

/* ---- certificates ---------------------------------------------------------------------------- */

struct ig_certificate *ig_certificate_free(struct ig_certificate *certificate)
{
	if (!certificate)
		return NULL;
	EVP_PKEY_free(certificate->key);
	X509_free(certificate->x509);
	free(certificate);
	return NULL;
}

/* Why OpenSSL did not like it.  Empties its queue. */
static int explain(const struct ig_crypto *crypto, struct ig_err *err)
{
	bool password = false, unsupported = false, no_memory = false;
	unsigned long error;

	while ((error = ERR_get_error()) != 0) {
		int reason = ERR_GET_REASON(error);

		if (reason == ERR_R_MALLOC_FAILURE)
			no_memory = true;
		else if (ERR_GET_LIB(error) == ERR_LIB_PKCS12 &&
			 reason == PKCS12_R_MAC_VERIFY_FAILURE)
			password = true;
		else if (reason == ERR_R_UNSUPPORTED || reason == EVP_R_UNSUPPORTED_ALGORITHM ||
			 reason == EVP_R_UNKNOWN_PBE_ALGORITHM)
			unsupported = true;
	}
	if (no_memory)
		return ig_err_set(err, -ENOMEM, "out of memory");
	if (password)
		return ig_err_set(err, -EINVAL, "the password does not fit");
	if (unsupported)
		return ig_err_set(err, -EINVAL,
			"encrypted in a way that this OpenSSL does not know%s",
			crypto->legacy ? "" : " (its legacy provider is not installed)");
	return ig_err_set(err, -EINVAL, "not a usable PKCS#12 file");
}

static PKCS12 *decode(const struct ig_crypto *crypto, const char *data, size_t len)
{
	_cleanup_(PKCS12_freep) PKCS12 *p12 = PKCS12_init_ex(NID_pkcs7_data, crypto->context, NULL);
	const unsigned char *p = (const unsigned char *)data;

	if (!p12 || len > LONG_MAX)
		return NULL;
	/* frees p12 on failure */
	if (!d2i_PKCS12(&p12, &p, (long)len))
		return NULL;
	return TAKE_PTR(p12);
}

/* In OpenSSL 3.0 keys are decrypted by the context that is the default, whatever the file was read
 * into. The default is the thread's own, and nothing else runs meanwhile. */
static int parse(const struct ig_crypto *crypto, const char *data, size_t len, const char *password,
	struct ig_certificate *ret, const char **reterr_why)
{
	OSSL_LIB_CTX *before = OSSL_LIB_CTX_set0_default(crypto->context);
	PKCS12 *p12 = decode(crypto, data, len);
	int r = p12 ? ig_pkcs12_read(p12, password, &ret->key, &ret->x509, reterr_why) : -EINVAL;

	PKCS12_free(p12);
	(void)OSSL_LIB_CTX_set0_default(before);
	return r;
}

int ig_certificate_parse(const struct ig_crypto *crypto, const char *data, size_t len,
	const char *password, struct ig_certificate **ret, struct ig_err *reterr_err)
{
	_cleanup_(ig_certificate_freep) struct ig_certificate *certificate =
		calloc(1, sizeof(*certificate));
	const char *why = NULL;
	int r;

	if (!certificate)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	ERR_clear_error();
	r = parse(crypto, data, len, password, certificate, &why);
	if (r < 0 && !why)
		return explain(crypto, reterr_err);
	ERR_clear_error();
	if (r < 0)
		return ig_err_set(reterr_err, r, "%s", why);
	if (!certificate->key)
		return ig_err_set(reterr_err, -EINVAL, "there is no private key in it");
	if (!certificate->x509)
		return ig_err_set(
			reterr_err, -EINVAL, "there is no certificate for the private key in it");
	certificate->context = crypto->context;
	*ret = TAKE_PTR(certificate);
	return 0;
}
