/*
 * PKCS#12 files, which whoever may write a Secret has made. The first byte says which password is
 * tried. A key that comes out belongs to the certificate, nothing is left in OpenSSL's queue of
 * errors, and no file keeps the process busy.
 */
#include "fuzz/fuzz.h"

#include <errno.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include <imdsgate/limits.h>

#include "token/certificate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const passwords[] = {"", "secret", "pass phrase", "\xc3\xa9"};
	static struct ig_crypto *crypto;
	struct fuzz_input in = {.data = data, .left = size};
	const char *password = passwords[fuzz_byte(&in) & 3];
	struct ig_certificate *certificate = NULL;
	struct ig_err err = {};
	char *file;
	int r;

	if (in.left > IG_CERTIFICATE_BYTES)
		return 0;
	if (!crypto)
		FUZZ_CHECK(ig_crypto_new(&crypto) == 0);
	file = fuzz_copy(in.data, in.left);
	r = ig_certificate_parse(crypto, file, in.left, password, &certificate, &err);
	FUZZ_CHECK(ERR_peek_error() == 0);
	if (r == 0)
		FUZZ_CHECK(X509_check_private_key(certificate->x509, certificate->key) == 1);
	else
		FUZZ_CHECK(r == -EINVAL && err.message[0]);
	(void)ig_certificate_free(certificate);
	free(file);
	return 0;
}
