/*
 * Certificates made for one run of a unit test: nothing that is a key stands in the repository.
 * Included after cmocka's headers.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

struct identity {
	EVP_PKEY *key;
	X509 *certificate;
	char *key_pem;
	char *certificate_pem;
};

static inline char *pem_of(BIO *bio)
{
	char *data = NULL;
	long len = BIO_get_mem_data(bio, &data);
	char *copy = calloc(1, (size_t)len + 1);

	assert_non_null(copy);
	memcpy(copy, data, (size_t)len);
	BIO_free(bio);
	return copy;
}

static inline void add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *extension;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(extension);
	assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

/* names: of the subject ("DNS:a,IP:127.0.0.1"), or NULL; issuer NULL: an authority of its own. */
static inline struct identity make_identity(
	const char *common_name, const char *names, const struct identity *issuer)
{
	struct identity id = {.key = EVP_EC_gen("P-256"), .certificate = X509_new()};
	X509 *issuer_certificate = issuer ? issuer->certificate : id.certificate;
	X509_NAME *name;
	BIO *bio;

	assert_non_null(id.key);
	assert_int_equal(X509_set_version(id.certificate, 2), 1);
	ASN1_INTEGER_set(X509_get_serialNumber(id.certificate), (long)(random() & 0x7fffffff));
	X509_gmtime_adj(X509_getm_notBefore(id.certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(id.certificate), 3600);
	name = X509_get_subject_name(id.certificate);
	X509_NAME_add_entry_by_txt(
		name, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1, -1, 0);
	X509_set_issuer_name(id.certificate, X509_get_subject_name(issuer_certificate));
	X509_set_pubkey(id.certificate, id.key);
	add_extension(id.certificate, issuer_certificate, NID_basic_constraints,
		issuer ? "CA:FALSE" : "critical,CA:TRUE");
	if (names)
		add_extension(id.certificate, issuer_certificate, NID_subject_alt_name, names);
	assert_true(X509_sign(id.certificate, issuer ? issuer->key : id.key, EVP_sha256()) > 0);

	bio = BIO_new(BIO_s_mem());
	assert_int_equal(PEM_write_bio_X509(bio, id.certificate), 1);
	id.certificate_pem = pem_of(bio);
	bio = BIO_new(BIO_s_mem());
	assert_int_equal(PEM_write_bio_PrivateKey(bio, id.key, NULL, NULL, 0, NULL, NULL), 1);
	id.key_pem = pem_of(bio);
	return id;
}

static inline void identity_done(struct identity *id)
{
	EVP_PKEY_free(id->key);
	X509_free(id->certificate);
	free(id->key_pem);
	free(id->certificate_pem);
	*id = (struct identity){};
}
