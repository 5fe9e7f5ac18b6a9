/*
 * Credentials on disk: which file is read, that nothing outside the directory ever is, what is
 * said when it does not work, and every kind of PKCS#12 file that a certificate may come in.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <imdsgate/limits.h>

#include <openssl/err.h>

#include "token/certificate.h"
#include "unit/credential_fixture.h"

IG_DEFINE_CLEANUP(struct ig_certificate *, ig_certificate_free);
IG_DEFINE_CLEANUP(struct ig_credentials *, ig_credentials_free);

static struct ig_credentials *credentials;
static EVP_PKEY *rsa, *ec;
static X509 *rsa_cert, *ec_cert;

static int group_set_up(void **state)
{
	(void)state;
	rsa = EVP_RSA_gen(2048);
	ec = EVP_EC_gen("P-256");
	assert_non_null(rsa);
	assert_non_null(ec);
	rsa_cert = make_x509(rsa, 1);
	ec_cert = make_x509(ec, 2);
	return 0;
}

static int group_tear_down(void **state)
{
	(void)state;
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(ec);
	X509_free(rsa_cert);
	X509_free(ec_cert);
	drop_legacy_context();
	return 0;
}

static int set_up(void **state)
{
	(void)state;
	make_secrets_dir();
	return ig_credentials_new(secrets_dir, &credentials);
}

static int tear_down(void **state)
{
	(void)state;
	credentials = ig_credentials_free(credentials);
	remove_tree(secrets_dir);
	/* libcurl's TLS reads the same queue */
	assert_int_equal(ERR_peek_error(), 0);
	return 0;
}

static void assert_says(const struct ig_err *err, const char *expected)
{
	if (!strstr(err->message, expected))
		fail_msg("\"%s\" does not say \"%s\"", err->message, expected);
}

static void assert_secret(const char *expected)
{
	_cleanup_(ig_buf_wipe) struct ig_buf secret = {};
	struct ig_err err = {};

	if (ig_credentials_read_secret(credentials, "demo/app", &secret, &err) < 0)
		fail_msg("%s", err.message);
	assert_string_equal(secret.data, expected);
	assert_int_equal(secret.len, strlen(expected));
}

static void assert_no_secret(int code, const char *expected)
{
	struct ig_buf secret = {};
	struct ig_err err = {};

	assert_int_equal(ig_credentials_read_secret(credentials, "demo/app", &secret, &err), code);
	assert_null(secret.data);
	assert_says(&err, expected);
	assert_says(&err, secrets_dir);
}

/* ---- client secrets -------------------------------------------------------------------------- */

static void test_secret(void **state)
{
	(void)state;
	put_text("demo/app/clientSecret", "s3cr&t+%= \xc3\xa9");
	put_text("demo/app/other", "not this one");
	assert_secret("s3cr&t+%= \xc3\xa9");
	put_text("demo/app/clientSecret", "rotated\n");
	assert_secret("rotated");
	put_text("demo/app/clientSecret", "rotated\r\n");
	assert_secret("rotated");
	put_text("demo/app/clientSecret", " blanks stay \n\n");
	assert_secret(" blanks stay \n");
}

static void test_only_key(void **state)
{
	(void)state;
	make_dir("demo/app/..2026_01_02");
	put_text("demo/app/..2026_01_02/password", "the only one");
	put_link("demo/app/..data", "..2026_01_02");
	put_link("demo/app/password", "..data/password");
	assert_secret("the only one");
	put_text("demo/app/second", "x");
	assert_no_secret(-EINVAL, "neither a key clientSecret nor just one key");
	put_text("demo/app/clientSecret", "named");
	assert_secret("named");
}

/* The kubelet changes a secret by putting another directory behind ..data. */
static void test_mounted(void **state)
{
	char from[PATH_BYTES], to[PATH_BYTES];

	(void)state;
	make_dir("demo/app/..one");
	make_dir("demo/app/..two");
	put_text("demo/app/..one/clientSecret", "one");
	put_text("demo/app/..two/clientSecret", "two");
	put_link("demo/app/..data", "..one");
	put_link("demo/app/clientSecret", "..data/clientSecret");
	assert_secret("one");
	put_link("demo/app/..tmp", "..two");
	path_of("demo/app/..tmp", from);
	path_of("demo/app/..data", to);
	assert_int_equal(rename(from, to), 0);
	assert_secret("two");
}

static void test_bad_secrets(void **state)
{
	static char large[IG_SECRET_BYTES + 3];

	(void)state;
	assert_no_secret(-ENOENT, "demo/app/clientSecret: No such file or directory");
	put_text("demo/app/clientSecret", "");
	assert_no_secret(-EINVAL, "demo/app/clientSecret: it is empty");
	put_text("demo/app/clientSecret", "\n");
	assert_no_secret(-EINVAL, "it is empty");
	put_text("demo/app/clientSecret", "\r\n");
	assert_no_secret(-EINVAL, "it is empty");
	put_file("demo/app/clientSecret", "a\0b", 3);
	assert_no_secret(-EINVAL, "not text");
	memset(large, 'x', sizeof(large));
	put_file("demo/app/clientSecret", large, IG_SECRET_BYTES + 3);
	assert_no_secret(-E2BIG, "larger than any credential");
	put_file("demo/app/clientSecret", large, IG_SECRET_BYTES + 1);
	assert_no_secret(-E2BIG, "larger than any credential");
	large[IG_SECRET_BYTES] = '\n';
	put_file("demo/app/clientSecret", large, IG_SECRET_BYTES + 1);
	large[IG_SECRET_BYTES] = '\0';
	assert_secret(large);
	drop_file("demo/app/clientSecret");
	make_dir("demo/app/clientSecret");
	assert_no_secret(-EINVAL, "not a regular file");
}

static void test_no_way_out(void **state)
{
	_cleanup_(ig_buf_wipe) struct ig_buf secret = {};
	struct ig_err err = {};

	(void)state;
	make_dir("other");
	put_text("other/clientSecret", "stolen");
	put_link("demo/app/clientSecret", "/etc/hostname");
	assert_no_secret(-EINVAL, "it leads out of the directory");
	drop_file("demo/app/clientSecret");
	put_link("demo/app/clientSecret", "../../../../../../../../../etc/hostname");
	assert_no_secret(-EINVAL, "it leads out of the directory");
	drop_file("demo/app/clientSecret");
	put_link("demo/app/clientSecret", "/proc/self/environ");
	assert_no_secret(-EINVAL, "it leads out of the directory");
	drop_file("demo/app/clientSecret");
	put_link("demo/app/clientSecret", "clientSecret");
	assert_no_secret(-ELOOP, "cannot read");
	assert_int_equal(ig_credentials_read_secret(credentials, "../etc", &secret, &err), -EINVAL);
	assert_int_equal(ig_credentials_read_secret(credentials, "/etc", &secret, &err), -EINVAL);
	assert_int_equal(
		ig_credentials_read_token(credentials, "/etc/hostname", &secret, &err), -EINVAL);
	assert_null(secret.data);
}

/* A fifo would hold up the whole process for ever. */
static void test_fifo(void **state)
{
	char path[PATH_BYTES];

	(void)state;
	path_of("demo/app/clientSecret", path);
	assert_int_equal(mkfifo(path, 0644), 0);
	assert_no_secret(-EINVAL, "not a regular file");
}

static void test_late_directory(void **state)
{
	_cleanup_(ig_credentials_freep) struct ig_credentials *late = NULL;
	_cleanup_(ig_buf_wipe) struct ig_buf secret = {};
	struct ig_err err = {};
	char path[PATH_BYTES];

	(void)state;
	path_of("later", path);
	assert_int_equal(ig_credentials_new(path, &late), 0);
	assert_int_equal(ig_credentials_read_secret(late, "demo/app", &secret, &err), -ENOENT);
	assert_says(&err, "later/demo/app/clientSecret: No such file or directory");
	make_dir("later");
	make_dir("later/demo");
	make_dir("later/demo/app");
	put_text("later/demo/app/clientSecret", "there");
	assert_int_equal(ig_credentials_read_secret(late, "demo/app", &secret, &err), 0);
	assert_string_equal(secret.data, "there");
	ig_buf_wipe(&secret);
	/* replaced as a whole */
	remove_tree(path);
	assert_int_equal(ig_credentials_read_secret(late, "demo/app", &secret, &err), -ENOENT);
	make_dir("later");
	make_dir("later/demo");
	make_dir("later/demo/app");
	put_text("later/demo/app/clientSecret", "again");
	assert_int_equal(ig_credentials_read_secret(late, "demo/app", &secret, &err), 0);
	assert_string_equal(secret.data, "again");
}

/* ---- federated tokens ------------------------------------------------------------------------ */

static void test_token(void **state)
{
	_cleanup_(ig_buf_wipe) struct ig_buf token = {};
	struct ig_err err = {};

	(void)state;
	put_text("demo/app/token", "eyJh.eyJz.c2ln\n");
	assert_int_equal(ig_credentials_read_token(credentials, "demo/app/token", &token, &err), 0);
	assert_string_equal(token.data, "eyJh.eyJz.c2ln");
	ig_buf_wipe(&token);
	put_text("demo/app/token", "eyJh.eyJz.c2ln eyJ");
	assert_int_equal(
		ig_credentials_read_token(credentials, "demo/app/token", &token, &err), -EINVAL);
	assert_says(&err, "demo/app/token does not hold a token");
	assert_null(strstr(err.message, "eyJ"));
	put_text("demo/app/token", "\xff\xfe");
	assert_int_equal(
		ig_credentials_read_token(credentials, "demo/app/token", &token, &err), -EINVAL);
	assert_int_equal(
		ig_credentials_read_token(credentials, "demo/app/none", &token, &err), -ENOENT);
	assert_null(token.data);
}

/* ---- certificates ---------------------------------------------------------------------------- */

static int read_certificate(struct ig_certificate **ret, struct ig_err *err)
{
	return ig_credentials_read_certificate(credentials, "demo/app", ret, err);
}

static void assert_certificate(EVP_PKEY *key, X509 *x509)
{
	_cleanup_(ig_certificate_freep) struct ig_certificate *certificate = NULL;
	struct ig_err err = {};

	if (read_certificate(&certificate, &err) < 0)
		fail_msg("%s", err.message);
	assert_int_equal(EVP_PKEY_eq(certificate->key, key), 1);
	assert_int_equal(X509_cmp(certificate->x509, x509), 0);
}

static void assert_no_certificate(int code, const char *expected)
{
	struct ig_certificate *certificate = NULL;
	struct ig_err err = {};

	assert_int_equal(read_certificate(&certificate, &err), code);
	assert_null(certificate);
	assert_says(&err, expected);
	assert_null(strstr(err.message, "pa55"));
}

#define CERTIFICATE "demo/app/certificate"

/* As OpenSSL 3, Windows and Key Vault, OpenSSL 1, and the browsers of old write them. */
static const struct pkcs12_style styles[] = {
	{"AES-256, SHA-256", NID_aes_256_cbc, NID_aes_256_cbc, EVP_sha256},
	{"AES-128, SHA-512", NID_aes_128_cbc, NID_aes_128_cbc, EVP_sha512},
	{"3DES, SHA-1", NID_pbe_WithSHA1And3_Key_TripleDES_CBC,
		NID_pbe_WithSHA1And3_Key_TripleDES_CBC, EVP_sha1},
	{"3DES and RC2-40, SHA-1", NID_pbe_WithSHA1And3_Key_TripleDES_CBC,
		NID_pbe_WithSHA1And40BitRC2_CBC, EVP_sha1},
	{"RC4-128, SHA-1", NID_pbe_WithSHA1And128BitRC4, NID_pbe_WithSHA1And128BitRC4, EVP_sha1},
	{"RC2-40, SHA-1", NID_pbe_WithSHA1And40BitRC2_CBC, NID_pbe_WithSHA1And40BitRC2_CBC,
		EVP_sha1},
	{"certificate in the clear", NID_aes_256_cbc, -1, EVP_sha256},
};

static void test_styles(void **state)
{
	(void)state;
	put_text("demo/app/password", "pa55 w\xc3\xb6rd\n");
	for (size_t i = 0; i < IG_ARRAY_SIZE(styles); i++) {
		print_message("# %s\n", styles[i].name);
		put_pkcs12(CERTIFICATE, "pa55 w\xc3\xb6rd", rsa, rsa_cert, NULL, &styles[i]);
		assert_certificate(rsa, rsa_cert);
		put_pkcs12(CERTIFICATE, "pa55 w\xc3\xb6rd", ec, ec_cert, NULL, &styles[i]);
		assert_certificate(ec, ec_cert);
	}
}

static void test_no_password(void **state)
{
	static const struct pkcs12_style open = {"nothing encrypted", -1, -1, EVP_sha256};

	(void)state;
	put_pkcs12(CERTIFICATE, "", rsa, rsa_cert, NULL, &modern);
	assert_certificate(rsa, rsa_cert);
	put_pkcs12(CERTIFICATE, NULL, rsa, rsa_cert, NULL, &styles[2]);
	assert_certificate(rsa, rsa_cert);
	put_pkcs12(CERTIFICATE, "", rsa, rsa_cert, NULL, &open);
	assert_certificate(rsa, rsa_cert);
	/* an empty file is no password, but not an accident to pass over either */
	put_text("demo/app/password", "");
	assert_no_certificate(-EINVAL, "demo/app/password: it is empty");
}

static void test_wrong_password(void **state)
{
	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(styles); i++) {
		put_text("demo/app/password", "pa55");
		put_pkcs12(CERTIFICATE, "other", rsa, rsa_cert, NULL, &styles[i]);
		assert_no_certificate(-EINVAL, "the password does not fit");
		drop_file("demo/app/password");
		assert_no_certificate(-EINVAL, "the password does not fit");
	}
}

/* Of several, the one that goes with the key: roots and intermediates are often in there. */
static void test_several(void **state)
{
	STACK_OF(X509) *others = sk_X509_new_null();
	_cleanup_(ig_certificate_freep) struct ig_certificate *certificate = NULL;
	struct ig_err err = {};

	(void)state;
	sk_X509_push(others, ec_cert);
	put_pkcs12(CERTIFICATE, "", rsa, rsa_cert, others, &modern);
	assert_certificate(rsa, rsa_cert);
	sk_X509_push(others, rsa_cert);
	put_pkcs12(CERTIFICATE, "", ec, NULL, others, &modern);
	assert_int_equal(read_certificate(&certificate, &err), 0);
	assert_int_equal(X509_cmp(certificate->x509, ec_cert), 0);
	sk_X509_free(others);
}

static void test_incomplete(void **state)
{
	STACK_OF(X509) *others = sk_X509_new_null();

	(void)state;
	assert_no_certificate(-ENOENT, "demo/app/certificate: No such file or directory");
	put_pkcs12(CERTIFICATE, "", NULL, rsa_cert, NULL, &modern);
	assert_no_certificate(-EINVAL, "there is no private key in it");
	put_pkcs12(CERTIFICATE, "", rsa, NULL, NULL, &modern);
	assert_no_certificate(-EINVAL, "there is no certificate for the private key");
	sk_X509_push(others, ec_cert);
	put_pkcs12(CERTIFICATE, "", rsa, NULL, others, &modern);
	assert_no_certificate(-EINVAL, "there is no certificate for the private key");
	sk_X509_free(others);
}

static void test_nonsense(void **state)
{
	static const struct pkcs12_style unchecked = {"", NID_aes_256_cbc, NID_aes_256_cbc, NULL};
	static const char pem[] = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
	static char large[IG_CERTIFICATE_BYTES + 1];

	(void)state;
	put_pkcs12(CERTIFICATE, "", rsa, rsa_cert, NULL, &unchecked);
	assert_no_certificate(-EINVAL, "it carries no MAC");
	put_pkcs12(CERTIFICATE, "pa55", rsa, rsa_cert, NULL, &unchecked);
	put_text("demo/app/password", "pa55");
	assert_no_certificate(-EINVAL, "it carries no MAC");
	drop_file("demo/app/password");
	put_text(CERTIFICATE, pem);
	assert_no_certificate(-EINVAL, "not a usable PKCS#12 file");
	put_file(CERTIFICATE, "\x30\x82\xff\xff", 4);
	assert_no_certificate(-EINVAL, "not a usable PKCS#12 file");
	put_text(CERTIFICATE, "");
	assert_no_certificate(-EINVAL, "it is empty");
	put_file(CERTIFICATE, large, sizeof(large));
	assert_no_certificate(-E2BIG, "larger than any credential");
}

/* Whoever may write a credential does not choose how long the agent is busy. */
static void test_long_derivations(void **state)
{
	static const struct {
		struct pkcs12_style style;
		int iterations, mac_iterations;
	} slow[] = {
		/* without a password it may be made in two ways, and both are tried */
		{{"MAC", -1, -1, EVP_sha256}, 1, IG_CERTIFICATE_ITERATIONS / 2 + 1},
		{{"key", NID_aes_256_cbc, -1, EVP_sha256}, IG_CERTIFICATE_ITERATIONS + 1, 1},
		{{"certificates", -1, NID_pbe_WithSHA1And3_Key_TripleDES_CBC, EVP_sha256},
			IG_CERTIFICATE_ITERATIONS + 1, 1},
	};
	_cleanup_free_ unsigned char *der = malloc(IG_CERTIFICATE_BYTES);
	char path[PATH_BYTES];
	ssize_t len;
	int fd;

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(slow); i++) {
		put_slow_pkcs12(CERTIFICATE, "", ec, ec_cert, NULL, &slow[i].style,
			slow[i].iterations, slow[i].mac_iterations);
		assert_no_certificate(-EINVAL, "write it with fewer iterations");
	}
	put_slow_pkcs12(CERTIFICATE, "", ec, ec_cert, NULL, &modern, 2048, 2048);
	assert_certificate(ec, ec_cert);
	path_of(CERTIFICATE, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	len = read(fd, der, IG_CERTIFICATE_BYTES);
	(void)close(fd);
	assert_memory_equal(der + len - 4, "\x02\x02\x08\x00", 4); /* 2048 */
	der[len - 2] = 0xff;					   /* less than none */
	put_file(CERTIFICATE, der, (size_t)len);
	assert_no_certificate(-EINVAL, "write it with fewer iterations");
}

/* Every beginning of a good file, and every file with one byte changed, is good or refused. */
static void test_damaged(void **state)
{
	_cleanup_free_ unsigned char *der = malloc(IG_CERTIFICATE_BYTES);
	char path[PATH_BYTES];
	ssize_t len;
	int fd;

	(void)state;
	put_pkcs12(CERTIFICATE, "", ec, ec_cert, NULL, &modern);
	path_of(CERTIFICATE, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	len = read(fd, der, IG_CERTIFICATE_BYTES);
	assert_true(len > 500);
	(void)close(fd);
	for (ssize_t i = 1; i < len; i += 7) {
		struct ig_certificate *certificate = NULL;
		struct ig_err err = {};

		put_file(CERTIFICATE, der, (size_t)i);
		assert_int_equal(read_certificate(&certificate, &err), -EINVAL);
		der[i] ^= 0x21;
		put_file(CERTIFICATE, der, (size_t)len);
		der[i] ^= 0x21;
		if (read_certificate(&certificate, &err) < 0)
			assert_true(err.message[0]);
		ig_certificate_free(certificate);
	}
}

/* The old ciphers are for such files only. */
static void test_process_stays_modern(void **state)
{
	EVP_CIPHER *cipher;

	(void)state;
	cipher = EVP_CIPHER_fetch(NULL, "RC2-40-CBC", NULL);
	ERR_clear_error();
	assert_null(cipher);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_secret),
		TEST(test_only_key),
		TEST(test_mounted),
		TEST(test_bad_secrets),
		TEST(test_no_way_out),
		TEST(test_fifo),
		TEST(test_late_directory),
		TEST(test_token),
		TEST(test_styles),
		TEST(test_no_password),
		TEST(test_wrong_password),
		TEST(test_several),
		TEST(test_incomplete),
		TEST(test_nonsense),
		TEST(test_long_derivations),
		TEST(test_damaged),
		TEST(test_process_stays_modern),
	};

	return cmocka_run_group_tests_name("credential", tests, group_set_up, group_tear_down);
}
