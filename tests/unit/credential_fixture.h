/*
 * A directory of secrets as the kubelet mounts them, and PKCS#12 files made here: nothing that is a
 * key stands in the repository. Shared by the unit tests of credentials and of the Entra source.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/pkcs12.h>
#include <openssl/provider.h>
#include <openssl/x509.h>

#include "base/cleanup.h"
#include "token/credential.h"

#define DIR_BYTES  64
#define PATH_BYTES 512

static char secrets_dir[DIR_BYTES];

/* ---- files ----------------------------------------------------------------------------------- */

static inline void path_of(const char *name, char path[PATH_BYTES])
{
	(void)snprintf(path, PATH_BYTES, "%s/%s", secrets_dir, name);
}

static inline void make_dir(const char *name)
{
	char path[PATH_BYTES];

	path_of(name, path);
	if (mkdir(path, 0755) < 0)
		assert_int_equal(errno, EEXIST);
}

/* In place of what was there, as a whole: as an atomic writer does it. */
static inline void put_file(const char *name, const void *data, size_t len)
{
	char path[PATH_BYTES], new[PATH_BYTES];
	int fd;

	path_of(name, path);
	path_of(".new", new);
	fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), (ssize_t)len);
	assert_int_equal(close(fd), 0);
	assert_int_equal(rename(new, path), 0);
}

static inline void put_text(const char *name, const char *text)
{
	put_file(name, text, strlen(text));
}

static inline void put_link(const char *name, const char *to)
{
	char path[PATH_BYTES];

	path_of(name, path);
	assert_int_equal(symlink(to, path), 0);
}

static inline void drop_file(const char *name)
{
	char path[PATH_BYTES];

	path_of(name, path);
	assert_int_equal(unlink(path), 0);
}

/* Everything below a directory of ours. */
static inline void remove_tree(const char *dir)
{
	char command[PATH_BYTES + 32];

	(void)snprintf(command, sizeof(command), "rm -rf -- '%s'", dir);
	assert_int_equal(system(command), 0);
}

static inline void make_secrets_dir(void)
{
	(void)snprintf(secrets_dir, sizeof(secrets_dir), "/tmp/imdsgate-test-XXXXXX");
	assert_non_null(mkdtemp(secrets_dir));
	make_dir("demo");
	make_dir("demo/app");
}

/* ---- keys and certificates ------------------------------------------------------------------- */

static inline X509 *make_x509(EVP_PKEY *key, long serial)
{
	X509 *x509 = X509_new();
	X509_NAME *name = X509_get_subject_name(x509);

	assert_int_equal(X509_set_version(x509, 2), 1);
	assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(x509), serial), 1);
	X509_gmtime_adj(X509_getm_notBefore(x509), 0);
	X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
	X509_NAME_add_entry_by_txt(
		name, "CN", MBSTRING_ASC, (const unsigned char *)"imdsgate test", -1, -1, 0);
	assert_int_equal(X509_set_issuer_name(x509, name), 1);
	assert_int_equal(X509_set_pubkey(x509, key), 1);
	assert_true(X509_sign(x509, key, EVP_sha256()) > 0);
	return x509;
}

/* Algorithms of a PKCS#12 file, each as somebody writes it. */
struct pkcs12_style {
	const char *name;
	int key_nid, cert_nid;	    /* -1: not encrypted */
	const EVP_MD *(*mac)(void); /* NULL: none */
};

/* The old algorithms need the legacy provider, which only this context has. */
static OSSL_LIB_CTX *legacy;
static OSSL_PROVIDER *legacy_providers[2];

static inline OSSL_LIB_CTX *legacy_context(void)
{
	static const char *const names[] = {"default", "legacy"};

	if (legacy)
		return legacy;
	legacy = OSSL_LIB_CTX_new();
	for (size_t i = 0; i < IG_ARRAY_SIZE(names); i++) {
		legacy_providers[i] = OSSL_PROVIDER_load(legacy, names[i]);
		assert_non_null(legacy_providers[i]);
	}
	return legacy;
}

static inline void drop_legacy_context(void)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(legacy_providers); i++)
		(void)OSSL_PROVIDER_unload(legacy_providers[i]);
	OSSL_LIB_CTX_free(TAKE_PTR(legacy));
}

/* iterations: of the keys, and of the MAC. */
static inline void put_slow_pkcs12(const char *file, const char *password, EVP_PKEY *key,
	X509 *x509, STACK_OF(X509) * others, const struct pkcs12_style *style, int iterations,
	int mac_iterations)
{
	PKCS12 *p12 = PKCS12_create_ex(password, "name", key, x509, others, style->key_nid,
		style->cert_nid, iterations, style->mac ? 1 : -1, 0, legacy_context(), NULL);
	unsigned char *der = NULL;
	int len;

	assert_non_null(p12);
	if (style->mac)
		assert_int_equal(
			PKCS12_set_mac(p12, password, -1, NULL, 0, mac_iterations, style->mac()),
			1);
	len = i2d_PKCS12(p12, &der);
	assert_true(len > 0);
	put_file(file, der, (size_t)len);
	OPENSSL_free(der);
	PKCS12_free(p12);
}

static inline void put_pkcs12(const char *file, const char *password, EVP_PKEY *key, X509 *x509,
	STACK_OF(X509) * others, const struct pkcs12_style *style)
{
	put_slow_pkcs12(file, password, key, x509, others, style, 1, 1);
}

static const struct pkcs12_style modern __attribute__((unused)) = {
	"AES-256, SHA-256", NID_aes_256_cbc, NID_aes_256_cbc, EVP_sha256};
