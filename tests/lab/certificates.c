/*
 * Certificates and their thumbprints; see certificates.h. Only the public half ever comes here.
 * Must never load less than it was given: a test would believe that it has tried a roll-over.
 * Called by identities.c and assertion.c.
 */
#include "lab/certificates.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "base/parse.h"
#include "lab/encode.h"

#define FILE_BYTES	 (1024 * 1024)
#define THUMBPRINT_BYTES 64
#define KEY_BITS_MIN	 2048

IG_DEFINE_CLEANUP(X509 *, X509_free);
IG_DEFINE_CLEANUP(BIO *, BIO_free);

static int make_thumbprint(const X509 *x509, const EVP_MD *md, char **ret)
{
	_cleanup_(ig_buf_donep) struct ig_buf text = {.limit = THUMBPRINT_BYTES};
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned int len = 0;
	int r;

	if (X509_digest(x509, md, digest, &len) != 1)
		return -ENOMEM;
	lab_base64url(&text, digest, len);
	r = ig_buf_finish(&text);
	if (r == 0)
		*ret = TAKE_PTR(text.data);
	return r;
}

/* Takes x509 over on success only. */
static int add(struct lab_certificates *certificates, X509 *x509, struct ig_err *reterr_err)
{
	const EVP_PKEY *key = X509_get0_pubkey(x509);
	_cleanup_free_ char *x5t = NULL;
	_cleanup_free_ char *x5t_s256 = NULL;
	int r;

	if (!key || !EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_get_bits(key) < KEY_BITS_MIN)
		return ig_err_set(reterr_err, -EINVAL,
			"the key of a certificate is not RSA of at least %d bits", KEY_BITS_MIN);
	if (certificates->n == LAB_CERTIFICATES_MAX)
		return ig_err_set(
			reterr_err, -E2BIG, "more than %d certificates", LAB_CERTIFICATES_MAX);
	r = make_thumbprint(x509, EVP_sha1(), &x5t);
	if (r == 0)
		r = make_thumbprint(x509, EVP_sha256(), &x5t_s256);
	if (r < 0)
		return ig_err_set(reterr_err, r, "out of memory");
	certificates->list[certificates->n++] = (struct lab_certificate){
		.x509 = x509, .x5t = TAKE_PTR(x5t), .x5t_s256 = TAKE_PTR(x5t_s256)};
	return 0;
}

/* PEM_read_bio_X509() says "no start line" also at the end of the text. */
static bool at_end(void)
{
	unsigned long error = ERR_peek_last_error();

	ERR_clear_error();
	return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

static int load_text(struct lab_certificates *certificates, const char *pem, size_t len,
	struct ig_err *reterr_err)
{
	_cleanup_(BIO_freep) BIO *bio = len <= INT_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;

	if (!bio)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	for (;;) {
		_cleanup_(X509_freep) X509 *x509 = PEM_read_bio_X509(bio, NULL, NULL, NULL);
		int r;

		if (!x509)
			break;
		r = add(certificates, x509, reterr_err);
		if (r < 0)
			return r;
		(void)TAKE_PTR(x509);
	}
	if (!at_end() || certificates->n == 0)
		return ig_err_set(reterr_err, -EINVAL, "not a certificate in PEM");
	return 0;
}

int lab_certificates_load(
	struct lab_certificates *certificates, const char *pem_or_path, struct ig_err *reterr_err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r;

	if (ig_str_has_prefix(pem_or_path, "-----BEGIN "))
		return load_text(certificates, pem_or_path, strlen(pem_or_path), reterr_err);
	r = ig_fd_read_file(AT_FDCWD, pem_or_path, FILE_BYTES, &text, &len);
	if (r < 0)
		return ig_err_set(reterr_err, r, "%s: %s", pem_or_path, strerror(-r));
	r = load_text(certificates, text, len, reterr_err);
	return r < 0 ? ig_err_wrap(reterr_err, r, "%s", pem_or_path) : 0;
}

void lab_certificates_done(struct lab_certificates *certificates)
{
	for (size_t i = 0; i < certificates->n; i++) {
		X509_free(certificates->list[i].x509);
		free(certificates->list[i].x5t);
		free(certificates->list[i].x5t_s256);
	}
	*certificates = (struct lab_certificates){};
}

const struct lab_certificate *lab_certificates_find(
	const struct lab_certificates *certificates, const char *x5t, const char *x5t_s256)
{
	if (!*x5t && !*x5t_s256)
		return NULL;
	for (size_t i = 0; i < certificates->n; i++) {
		const struct lab_certificate *c = &certificates->list[i];

		if ((!*x5t || strcmp(c->x5t, x5t) == 0) &&
			(!*x5t_s256 || strcmp(c->x5t_s256, x5t_s256) == 0))
			return c;
	}
	return NULL;
}
