/*
 * Where the API server is and who we are; see config.h. The service account of a pod is read here,
 * kubeconfig files in kubeconfig.c; both end in the same checks.
 *
 * It must never print a key or a token, ask a terminal for a passphrase, or accept a server that
 * could not be verified.
 */
#include "kube/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <curl/curl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/parse.h"
#include "kube/bearer.h"
#include "kube/config_internal.h"
#include "kube/files.h"

/* ---- life ------------------------------------------------------------------------------------ */

struct ig_kube_config *ig_kube_config_free(struct ig_kube_config *config)
{
	if (!config)
		return NULL;
	free(config->server);
	free(config->server_name);
	free(config->ns);
	/* all three: somebody may have named the wrong file */
	ig_buf_wipe(&config->ca);
	ig_buf_wipe(&config->certificate);
	ig_buf_wipe(&config->key);
	(void)ig_kube_bearer_unref(config->bearer);
	free(config);
	return NULL;
}
IG_DEFINE_CLEANUP(struct ig_kube_config *, ig_kube_config_free);

struct ig_kube_config *ig_kube_config_new(void)
{
	struct ig_kube_config *config = calloc(1, sizeof(*config));

	if (!config)
		return NULL;
	ig_buf_init(&config->ca, IG_KUBE_PEM_BYTES);
	ig_buf_init(&config->certificate, IG_KUBE_PEM_BYTES);
	ig_buf_init(&config->key, IG_KUBE_PEM_BYTES);
	return config;
}

/* ---- files ----------------------------------------------------------------------------------- */

static int read_regular(const char *path, struct ig_buf *b)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	return fd < 0 ? -errno : ig_file_read(fd, b);
}

int ig_kube_config_read(
	const char *path, size_t limit_bytes, struct ig_buf *ret, struct ig_err *reterr_err)
{
	_cleanup_(ig_buf_wipe) struct ig_buf b = {.limit = limit_bytes};
	int r = read_regular(path, &b);

	if (r == 0 && b.len == 0)
		return ig_err_set(reterr_err, -EINVAL, "cannot read %s: it is empty", path);
	if (r == -EINVAL)
		return ig_err_set(reterr_err, r, "cannot read %s: not a regular file", path);
	if (r == -E2BIG)
		return ig_err_set(
			reterr_err, r, "cannot read %s: larger than %zu bytes", path, limit_bytes);
	if (r < 0)
		return ig_err_set(reterr_err, r, "cannot read %s: %s", path, strerror(-r));
	*ret = b;
	b = (struct ig_buf){};
	return 0;
}

/* ---- the server ------------------------------------------------------------------------------ */

static void curl_urlp(CURLU **url)
{
	curl_url_cleanup(*url);
}

static void curl_textp(char **text)
{
	curl_free(*text);
}

static bool is_loopback(const char *host)
{
	return strcmp(host, "[::1]") == 0 || strcasecmp(host, "localhost") == 0 ||
	       (strncmp(host, "127.", 4) == 0 && host[strspn(host, "0123456789.")] == '\0');
}

static bool has_part(CURLU *url, CURLUPart part)
{
	_cleanup_(curl_textp) char *text = NULL;

	return curl_url_get(url, part, &text, 0) == CURLUE_OK;
}

/* Our own spelling of what was understood. */
static int write_server(CURLU *url, const char *scheme, const char *host, char **ret)
{
	_cleanup_(curl_textp) char *port = NULL;
	_cleanup_(curl_textp) char *path = NULL;
	size_t path_len;
	uint16_t number;

	if (curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK ||
		ig_parse_u16(port, &number) < 0 || number == 0 ||
		curl_url_get(url, CURLUPART_PATH, &path, 0) != CURLUE_OK)
		return -EINVAL;
	path_len = strlen(path);
	while (path_len && path[path_len - 1] == '/')
		path_len--;
	if (asprintf(ret, "%s://%s:%u%.*s", scheme, host, number, (int)path_len, path) < 0) {
		*ret = NULL;
		return -ENOMEM;
	}
	return 0;
}

int ig_kube_config_set_server(
	struct ig_kube_config *config, const char *text, struct ig_err *reterr_err)
{
	_cleanup_(curl_urlp) CURLU *url = curl_url();
	_cleanup_(curl_textp) char *scheme = NULL;
	_cleanup_(curl_textp) char *host = NULL;
	_cleanup_free_ char *server = NULL;
	int r;

	if (!url)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	/* the text is not shown: somebody may have put a password into it */
	if (curl_url_set(url, CURLUPART_URL, text, CURLU_DISALLOW_USER) != CURLUE_OK ||
		curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
		curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK)
		return ig_err_set(
			reterr_err, -EINVAL, "not a URL like https://host:port, without a user");
	if (strcmp(scheme, "https") != 0 && (strcmp(scheme, "http") != 0 || !is_loopback(host)))
		return ig_err_set(reterr_err, -EINVAL,
			"has to begin with https:// (http:// only to this machine)");
	if (has_part(url, CURLUPART_QUERY) || has_part(url, CURLUPART_FRAGMENT))
		return ig_err_set(reterr_err, -EINVAL, "a query or fragment has no place here");
	r = write_server(url, scheme, host, &server);
	if (r < 0)
		return ig_err_set(reterr_err, r, r == -ENOMEM ? "out of memory" : "no usable port");
	free(config->server);
	config->server = TAKE_PTR(server);
	return 0;
}

/* ---- certificates ---------------------------------------------------------------------------- */

static void biop(BIO **bio)
{
	BIO_free(*bio);
}

static void x509p(X509 **x509)
{
	X509_free(*x509);
}

static void pkeyp(EVP_PKEY **key)
{
	EVP_PKEY_free(*key);
}

/* Instead of OpenSSL's own, which asks the terminal. */
static int no_passphrase(char *buf, int size, int writing, void *userdata)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)userdata;
	return -1;
}

/* The first certificate in it, or NULL. */
static X509 *first_certificate(const struct ig_buf *pem)
{
	_cleanup_(biop) BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->len);
	X509 *x509 = bio ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;

	ERR_clear_error();
	return x509;
}

static EVP_PKEY *private_key(const struct ig_buf *pem)
{
	_cleanup_(biop) BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->len);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;

	ERR_clear_error();
	return key;
}

static int check_pair(const struct ig_kube_config *config, struct ig_err *reterr_err)
{
	_cleanup_(x509p) X509 *certificate = first_certificate(&config->certificate);
	_cleanup_(pkeyp) EVP_PKEY *key = private_key(&config->key);
	int fits;

	if (!certificate)
		return ig_err_set(
			reterr_err, -EINVAL, "the client certificate is not a PEM certificate");
	if (!key)
		return ig_err_set(reterr_err, -EINVAL,
			"the client key is not a PEM key without a passphrase");
	fits = X509_check_private_key(certificate, key);
	ERR_clear_error();
	if (fits != 1)
		return ig_err_set(reterr_err, -EINVAL,
			"the client key does not belong to the client certificate");
	return 0;
}

int ig_kube_config_check(const struct ig_kube_config *config, struct ig_err *reterr_err)
{
	_cleanup_(x509p) X509 *ca = config->ca.len ? first_certificate(&config->ca) : NULL;

	if (config->ca.len && !ca)
		return ig_err_set(
			reterr_err, -EINVAL, "the certificate authority is not a PEM certificate");
	if (!config->certificate.len != !config->key.len)
		return ig_err_set(reterr_err, -EINVAL, "the client %s is missing",
			config->key.len ? "certificate" : "key");
	return config->key.len ? check_pair(config, reterr_err) : 0;
}

/* ---- the service account of a pod ------------------------------------------------------------ */

static int set_server_of_environment(struct ig_kube_config *config, struct ig_err *reterr_err)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST");
	const char *port = getenv("KUBERNETES_SERVICE_PORT");
	_cleanup_free_ char *url = NULL;
	bool bare_v6;
	int r;

	if (!host || !*host || !port || !*port)
		return ig_err_set(reterr_err, -ENOENT,
			"not in a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; name a kubeconfig file");
	if (host[strcspn(host, "/?#@\\%")] || port[strspn(port, "0123456789")])
		return ig_err_set(reterr_err, -EINVAL,
			"KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not a host and a port");
	bare_v6 = strchr(host, ':') && host[0] != '[';
	if (asprintf(&url, "https://%s%s%s:%s", bare_v6 ? "[" : "", host, bare_v6 ? "]" : "",
		    port) < 0) {
		url = NULL;
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	}
	r = ig_kube_config_set_server(config, url, reterr_err);
	return r < 0 ? ig_err_wrap(reterr_err, r, "KUBERNETES_SERVICE_HOST") : 0;
}

/* For people and paths; nothing depends on it, so a missing one is no error. */
static int read_namespace(struct ig_kube_config *config, const char *path)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OBJECT_NAME_BYTES + 1};

	if (read_regular(path, &b) < 0 || b.len == 0)
		return 0;
	b.data[strcspn(b.data, "\r\n")] = '\0';
	config->ns = strdup(b.data);
	return config->ns ? 0 : -ENOMEM;
}

static int read_service_account(
	struct ig_kube_config *config, const char *dir, struct ig_err *reterr_err)
{
	_cleanup_free_ char *ca = ig_kube_path_join(dir, "ca.crt");
	_cleanup_free_ char *token = ig_kube_path_join(dir, "token");
	_cleanup_free_ char *ns = ig_kube_path_join(dir, "namespace");
	int r;

	if (!ca || !token || !ns)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	r = ig_kube_config_read(ca, IG_KUBE_PEM_BYTES, &config->ca, reterr_err);
	if (r == 0)
		r = ig_kube_bearer_new_file(token, &config->bearer, reterr_err);
	if (r < 0)
		return r;
	if (read_namespace(config, ns) < 0)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	r = ig_kube_config_check(config, reterr_err);
	return r < 0 ? ig_err_wrap(reterr_err, r, "%s", ca) : 0;
}

int ig_kube_config_load_in_cluster(
	const char *dir, struct ig_kube_config **ret, struct ig_err *reterr_err)
{
	_cleanup_(ig_kube_config_freep) struct ig_kube_config *config = ig_kube_config_new();
	int r;

	if (!config)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	r = set_server_of_environment(config, reterr_err);
	if (r == 0)
		r = read_service_account(config, dir, reterr_err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(config);
	return 0;
}

int ig_kube_config_load(
	const char *kubeconfig, struct ig_kube_config **ret, struct ig_err *reterr_err)
{
	if (kubeconfig)
		return ig_kube_config_load_file(kubeconfig, ret, reterr_err);
	return ig_kube_config_load_in_cluster(IG_KUBE_SERVICE_ACCOUNT_DIR, ret, reterr_err);
}
