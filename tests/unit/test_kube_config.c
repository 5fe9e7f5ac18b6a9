/*
 * Where the API server is and who we are: service accounts and kubeconfig files, good and bad. No
 * secret is in a message or left in memory that our code freed.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "kube/bearer.h"
#include "kube/config.h"

#include "kube_fixture.h"
#include "pki_fixture.h"

#define HOST "KUBERNETES_SERVICE_HOST"
#define PORT "KUBERNETES_SERVICE_PORT"

static struct identity ca, client, other;

static int make_identities(void **state)
{
	(void)state;
	ca = make_identity("CA", NULL, NULL);
	client = make_identity("node-agent", NULL, &ca);
	other = make_identity("other", NULL, &ca);
	return 0;
}

static int drop_identities(void **state)
{
	(void)state;
	identity_done(&ca);
	identity_done(&client);
	identity_done(&other);
	return 0;
}

static const char *const files[] = {"ca.crt", "token", "namespace", "client.crt", "client.key",
	"config", "sub/token", "..data", "one/token", "two/token", "link"};
static const char *const directories[] = {"sub", "one", "two", "empty"};

static int set_up(void **state)
{
	static char key_line[65];

	(void)state;
	n_secrets_freed = 0;
	memcpy(key_line, strchr(client.key_pem, '\n') + 1, sizeof(key_line) - 1);
	other_secret = key_line;
	make_dir();
	for (size_t i = 0; i < IG_ARRAY_SIZE(directories); i++)
		assert_int_equal(mkdir(path_of(directories[i]), 0700), 0);
	put_file("ca.crt", ca.certificate_pem);
	put_file("token", SECRET "-file\n");
	put_file("namespace", "gate\n");
	put_file("client.crt", client.certificate_pem);
	put_file("client.key", client.key_pem);
	(void)setenv(HOST, "10.0.0.1", 1);
	(void)setenv(PORT, "443", 1);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(files); i++)
		remove_file(files[i]);
	for (size_t i = 0; i < IG_ARRAY_SIZE(directories); i++)
		assert_int_equal(rmdir(path_of(directories[i])), 0);
	assert_int_equal(rmdir(dir), 0);
	(void)unsetenv(HOST);
	(void)unsetenv(PORT);
	assert_int_equal(n_secrets_freed, 0);
	return 0;
}

IG_DEFINE_CLEANUP(struct ig_kube_config *, ig_kube_config_free);

/* ---- service accounts ------------------------------------------------------------------------ */

static void test_service_account(void **state)
{
	static const struct {
		const char *host, *port, *server;
	} cases[] = {
		{"10.0.0.1", "443", "https://10.0.0.1:443"},
		{"fd00::1", "6443", "https://[fd00::1]:6443"},
		{"[fd00::1]", "6443", "https://[fd00::1]:6443"},
		{"api.example.com", "443", "https://api.example.com:443"},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		_cleanup_(ig_kube_config_freep) struct ig_kube_config *config = NULL;

		(void)setenv(HOST, cases[i].host, 1);
		(void)setenv(PORT, cases[i].port, 1);
		assert_int_equal(ig_kube_config_load_in_cluster(dir, &config, NULL), 0);
		assert_string_equal(config->server, cases[i].server);
		assert_null(config->server_name);
		assert_string_equal(config->ns, "gate");
		assert_string_equal(config->ca.data, ca.certificate_pem);
		assert_int_equal(config->key.len, 0);
		assert_string_equal(
			ig_kube_bearer_token(config->bearer, ig_clock_mono_usec()), SECRET "-file");
		assert_string_equal(ig_kube_bearer_directory(config->bearer), dir);
	}
}

static void fail_in_cluster(int expected, const char *part)
{
	struct ig_kube_config *config = NULL;
	struct ig_err err = {};

	assert_int_equal(ig_kube_config_load_in_cluster(dir, &config, &err), expected);
	assert_null(config);
	if (!strstr(err.message, part))
		fail_msg("'%s' is not in '%s'", part, err.message);
	assert_null(strstr(err.message, SECRET));
	/* nobody needs to want the message */
	assert_int_equal(ig_kube_config_load_in_cluster(dir, &config, NULL), expected);
}

static void test_bad_environment(void **state)
{
	static const struct {
		const char *host, *port;
		int expected;
	} cases[] = {
		{"", "443", -ENOENT},
		{"10.0.0.1", "", -ENOENT},
		{"10.0.0.1", "0", -EINVAL},
		{"10.0.0.1", "65536", -EINVAL},
		{"10.0.0.1", "443/x", -EINVAL},
		{"10.0.0.1", "+443", -EINVAL},
		{"evil.example/", "443", -EINVAL},
		{"user@evil.example", "443", -EINVAL},
		{"a b", "443", -EINVAL},
		{"fe80::1%eth0", "443", -EINVAL},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		(void)setenv(HOST, cases[i].host, 1);
		(void)setenv(PORT, cases[i].port, 1);
		fail_in_cluster(cases[i].expected, "KUBERNETES_SERVICE_HOST");
	}
	(void)unsetenv(HOST);
	fail_in_cluster(-ENOENT, "kubeconfig");
}

static void test_bad_service_account_files(void **state)
{
	(void)state;
	put_file("ca.crt", "no certificate " SECRET);
	fail_in_cluster(-EINVAL, "not a PEM certificate");
	put_file("ca.crt", "");
	fail_in_cluster(-EINVAL, "empty");
	remove_file("ca.crt");
	fail_in_cluster(-ENOENT, "ca.crt");
	put_file("ca.crt", ca.certificate_pem);
	put_file("token", "\n");
	fail_in_cluster(-EINVAL, "does not hold a token");
	put_file("token", SECRET " " SECRET);
	fail_in_cluster(-EINVAL, "does not hold a token");
	put_file("token", SECRET "\x80");
	fail_in_cluster(-EINVAL, "does not hold a token");
	remove_file("token");
	fail_in_cluster(-ENOENT, "/token");
}

static void test_limits(void **state)
{
	char *large = calloc(1, IG_KUBE_PEM_BYTES + 2);
	struct ig_kube_config *config = NULL;

	(void)state;
	memset(large, 't', IG_KUBE_TOKEN_BYTES);
	put_file("token", large);
	assert_int_equal(ig_kube_config_load_in_cluster(dir, &config, NULL), 0);
	(void)ig_kube_config_free(config);
	large[IG_KUBE_TOKEN_BYTES] = 't';
	put_file("token", large);
	fail_in_cluster(-E2BIG, "larger than any token");
	put_file("token", "t");

	/* text before a certificate is allowed */
	memset(large, '\n', IG_KUBE_PEM_BYTES - strlen(ca.certificate_pem));
	memcpy(large + IG_KUBE_PEM_BYTES - strlen(ca.certificate_pem), ca.certificate_pem,
		strlen(ca.certificate_pem));
	put_file("ca.crt", large);
	assert_int_equal(ig_kube_config_load_in_cluster(dir, &config, NULL), 0);
	(void)ig_kube_config_free(config);
	large[IG_KUBE_PEM_BYTES] = '\n';
	put_file("ca.crt", large);
	fail_in_cluster(-E2BIG, "larger than");
	free(large);
}

static void test_namespace_is_optional(void **state)
{
	_cleanup_(ig_kube_config_freep) struct ig_kube_config *config = NULL;

	(void)state;
	remove_file("namespace");
	assert_int_equal(ig_kube_config_load_in_cluster(dir, &config, NULL), 0);
	assert_null(config->ns);
}

/* As the kubelet does it: a link to a directory that is exchanged. */
static void test_mounted_token(void **state)
{
	const uint64_t now = ig_clock_mono_usec() + 3600 * IG_USEC_PER_SEC;
	struct ig_kube_bearer *bearer = NULL;

	(void)state;
	put_file("one/token", SECRET "-1");
	put_file("two/token", SECRET "-2");
	remove_file("token");
	assert_int_equal(symlink("..data/token", path_of("token")), 0);
	assert_int_equal(symlink("one", path_of("..data")), 0);
	assert_int_equal(ig_kube_bearer_new_file(path_of("token"), &bearer, NULL), 0);
	assert_int_equal(symlink("two", path_of("link")), 0);
	assert_int_equal(rename(path_of("link"), path_of("..data")), 0);
	assert_string_equal(ig_kube_bearer_token(bearer, now), SECRET "-2");
	(void)ig_kube_bearer_unref(bearer);
}

/* A directory that was removed and made anew is found again. */
static void test_directory_of_token_is_replaced(void **state)
{
	const uint64_t now = ig_clock_mono_usec() + 3600 * IG_USEC_PER_SEC;
	struct ig_kube_bearer *bearer = NULL;

	(void)state;
	put_file("sub/token", SECRET "-1");
	assert_int_equal(ig_kube_bearer_new_file(path_of("sub/token"), &bearer, NULL), 0);
	remove_file("sub/token");
	assert_int_equal(rmdir(path_of("sub")), 0);
	assert_string_equal(ig_kube_bearer_token(bearer, now), SECRET "-1");
	assert_int_equal(mkdir(path_of("sub"), 0700), 0);
	put_file("sub/token", SECRET "-2");
	assert_int_equal(ig_kube_bearer_refresh(bearer, now), 1);
	assert_string_equal(ig_kube_bearer_token(bearer, now), SECRET "-2");
	(void)ig_kube_bearer_unref(bearer);
}

/* ---- kubeconfig files ------------------------------------------------------------------------ */

#define FRAME(cluster, user)                                                                       \
	"apiVersion: v1\nkind: Config\npreferences: {}\ncurrent-context: here\ncontexts:\n"        \
	"- name: elsewhere\n  context: {cluster: far, user: somebody}\n"                           \
	"- name: here\n  context: {cluster: near, user: me, namespace: work}\n"                    \
	"clusters:\n- name: far\n  cluster: {server: 'ftp://x', insecure-skip-tls-verify: true}\n" \
	"- name: near\n  cluster:\n" cluster "users:\n"                                            \
	"- name: somebody\n  user: {exec: {command: x}, token: " SECRET "}\n"                      \
	"- name: me\n  user:\n" user

#define SERVER	  "    server: https://api.example.com:6443\n"
#define WITH_CA	  SERVER "    certificate-authority-data: @CA@\n"
#define TOKEN	  "    token: " SECRET "-yaml\n"
#define CERT_DATA "    client-certificate-data: @CERT@\n    client-key-data: @KEY@\n"

/* One marker and what takes its place. */
static const char *value_of(const char *text, size_t *ret_len)
{
	static char base64[8192];
	const struct {
		const char *marker, *pem;
	} markers[] = {
		{"@CA@", ca.certificate_pem},
		{"@CERT@", client.certificate_pem},
		{"@KEY@", client.key_pem},
		{"@OTHERKEY@", other.key_pem},
	};

	*ret_len = 5;
	if (strncmp(text, "@DIR@", 5) == 0)
		return dir;
	for (size_t i = 0; i < IG_ARRAY_SIZE(markers); i++) {
		*ret_len = strlen(markers[i].marker);
		if (strncmp(text, markers[i].marker, *ret_len) != 0)
			continue;
		assert_true(strlen(markers[i].pem) * 4 / 3 + 8 < sizeof(base64));
		EVP_EncodeBlock((unsigned char *)base64, (const unsigned char *)markers[i].pem,
			(int)strlen(markers[i].pem));
		return base64;
	}
	return NULL;
}

static void put_config(const char *text)
{
	_cleanup_(ig_buf_wipe) struct ig_buf out = {.limit = 2 * IG_KUBE_CONFIG_BYTES};

	while (*text) {
		size_t len = 0;
		const char *value = *text == '@' ? value_of(text, &len) : NULL;

		if (value)
			ig_buf_puts(&out, value);
		else
			ig_buf_putc(&out, *text);
		text += value ? len : 1;
	}
	assert_int_equal(ig_buf_finish(&out), 0);
	put_file("config", out.data);
}

static struct ig_kube_config *load(const char *text)
{
	struct ig_kube_config *config = NULL;
	struct ig_err err = {};

	put_config(text);
	if (ig_kube_config_load(path_of("config"), &config, &err) < 0)
		fail_msg("%u: %s", err.line, err.message);
	assert_string_equal(config->ns, "work");
	return config;
}

static void test_servers(void **state)
{
	static const struct {
		const char *text, *server;
	} cases[] = {
		{FRAME("    server: https://a\n", TOKEN), "https://a:443"},
		{FRAME("    server: https://A.b:6443/\n", TOKEN), "https://A.b:6443"},
		{FRAME("    server: 'https://[fd00::1]:6443'\n", TOKEN), "https://[fd00::1]:6443"},
		{FRAME("    server: https://a/k8s/c1/\n", TOKEN), "https://a:443/k8s/c1"},
		{FRAME("    server: http://127.0.0.1:8001\n", "    {}\n"), "http://127.0.0.1:8001"},
		{FRAME("    server: http://localhost:8001\n", "    {}\n"), "http://localhost:8001"},
		{FRAME("    server: 'http://[::1]'\n", "    {}\n"), "http://[::1]:80"},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		_cleanup_(ig_kube_config_freep) struct ig_kube_config *config = load(cases[i].text);

		assert_string_equal(config->server, cases[i].server);
		assert_int_equal(config->ca.len, 0);
		assert_null(config->server_name);
	}
}

static void test_data(void **state)
{
	_cleanup_(ig_kube_config_freep) struct ig_kube_config *config = load(FRAME(WITH_CA
		"    certificate-authority: not-there\n    tls-server-name: kubernetes.default\n    insecure-skip-tls-verify: false\n    proxy-url: ''\n",
		CERT_DATA "    client-key: not-there\n    exec: null\n"));

	(void)state;
	assert_string_equal(config->ca.data, ca.certificate_pem);
	assert_string_equal(config->certificate.data, client.certificate_pem);
	assert_string_equal(config->key.data, client.key_pem);
	assert_string_equal(config->server_name, "kubernetes.default");
	assert_null(config->bearer);
}

static void test_files(void **state)
{
	/* relative to the file, and absolute */
	static const char *const texts[] = {
		FRAME(SERVER "    certificate-authority: ca.crt\n",
			"    client-certificate: client.crt\n    client-key: ./client.key\n    tokenFile: token\n"),
		FRAME(SERVER "    certificate-authority: '@DIR@/ca.crt'\n",
			"    client-certificate: '@DIR@/client.crt'\n    client-key: '@DIR@/client.key'\n    tokenFile: '@DIR@/token'\n"),
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(texts); i++) {
		_cleanup_(ig_kube_config_freep) struct ig_kube_config *config = load(texts[i]);

		assert_string_equal(config->ca.data, ca.certificate_pem);
		assert_string_equal(config->certificate.data, client.certificate_pem);
		assert_string_equal(config->key.data, client.key_pem);
		assert_string_equal(
			ig_kube_bearer_token(config->bearer, ig_clock_mono_usec()), SECRET "-file");
	}
}

static void test_tokens(void **state)
{
	static const struct {
		const char *text, *token;
	} cases[] = {
		{FRAME(WITH_CA, TOKEN), SECRET "-yaml"},
		{FRAME(WITH_CA, TOKEN "    tokenFile: token\n"), SECRET "-file"},
		{FRAME(WITH_CA, TOKEN "    tokenFile: ''\n"), SECRET "-yaml"},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		_cleanup_(ig_kube_config_freep) struct ig_kube_config *config = load(cases[i].text);

		assert_string_equal(
			ig_kube_bearer_token(config->bearer, ig_clock_mono_usec()), cases[i].token);
	}
}

/* kubectl wraps nothing, others do */
static void test_wrapped_base64(void **state)
{
	static const char head[] = "    certificate-authority-data: |\n";
	_cleanup_(ig_kube_config_freep) struct ig_kube_config *config = NULL;
	_cleanup_(ig_buf_donep) struct ig_buf cluster = {.limit = 65536};
	_cleanup_(ig_buf_wipe) struct ig_buf text = {.limit = 65536};
	size_t len;
	const char *base64 = value_of("@CA@", &len);

	(void)state;
	ig_buf_printf(&cluster, "%s%s", SERVER, head);
	for (len = strlen(base64); len > 0;) {
		size_t n = len < 64 ? len : 64;

		ig_buf_printf(&cluster, "      %.*s\n", (int)n, base64);
		base64 += n;
		len -= n;
	}
	ig_buf_printf(&text, FRAME("%s", "    {}\n"), cluster.data);
	config = load(text.data);
	assert_string_equal(config->ca.data, ca.certificate_pem);
}

struct bad {
	const char *text, *part;
	unsigned int line;
};

static void check_bad(const struct bad *cases, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct ig_kube_config *config = NULL;
		struct ig_err err = {};
		char text[2048];

		put_config(cases[i].text);
		assert_true(ig_kube_config_load_file(path_of("config"), &config, &err) < 0);
		assert_null(config);
		(void)ig_err_format(&err, text, sizeof(text));
		if (!strstr(text, cases[i].part) || err.line != cases[i].line)
			fail_msg("case %zu: '%s' and line %u are not in '%s'", i, cases[i].part,
				cases[i].line, text);
		assert_non_null(strstr(text, "/config"));
		assert_null(strstr(text, SECRET));
		assert_true(ig_kube_config_load_file(path_of("config"), &config, NULL) < 0);
	}
}

static void test_bad_clusters(void **state)
{
#define BAD(cluster, part, line)                                                                   \
	{                                                                                          \
		FRAME(cluster, TOKEN), part, line                                                  \
	}
	static const struct bad cases[] = {
		BAD("    {}\n", "the cluster has no server", 15),
		BAD("    server: ''\n", "the cluster has no server", 15),
		BAD("    server: 443\n", "server: has to be a string", 15),
		BAD("    server: http://10.0.0.1:8080\n", "begin with https://", 15),
		BAD("    server: http://127.0.0.1.example.com\n", "begin with https://", 15),
		BAD("    server: http://localhost.example.com\n", "begin with https://", 15),
		BAD("    server: ftp://127.0.0.1\n", "server: ", 15),
		BAD("    server: api.example.com\n", "server: not a URL", 15),
		BAD("    server: https://u:" SECRET "@a\n", "server: not a URL", 15),
		BAD("    server: https://a?x=" SECRET "\n", "server: a query", 15),
		BAD("    server: 'https://a#b'\n", "server: a query or fragment", 15),
		BAD("    server: https://a:0\n", "server: ", 15),
		BAD("    server: https://a:65536\n", "server: ", 15),
		BAD(SERVER "    insecure-skip-tls-verify: true\n",
			"name the server's certificate-authority", 16),
		BAD(SERVER "    insecure-skip-tls-verify: 'true'\n",
			"insecure-skip-tls-verify: is not supported", 16),
		BAD(SERVER "    proxy-url: http://p\n", "can be reached directly", 16),
		BAD(SERVER "    tls-server-name: 'a/b'\n", "is not a host name", 16),
		BAD(SERVER "    certificate-authority-data: '!'\n", "is not base64", 16),
		BAD(SERVER "    certificate-authority-data: 'QUJ'\n", "is not base64", 16),
		BAD(SERVER "    certificate-authority-data: 'Q=JD'\n", "is not base64", 16),
		BAD(SERVER "    certificate-authority-data: 'Q==='\n", "is not base64", 16),
		BAD(SERVER "    certificate-authority-data: 'QUJDQ=='\n", "is not base64", 16),
		BAD(SERVER "    certificate-authority-data: '='\n", "is not base64", 16),
		BAD(SERVER "    certificate-authority-data: \"\\n\"\n", "is not base64", 16),
		BAD(SERVER "    certificate-authority-data: QUJD\n",
			"the certificate authority is not a PEM certificate", 0),
		BAD(SERVER "    certificate-authority: nowhere\n", "/nowhere: No such file", 16),
		BAD(SERVER "    certificate-authority: empty\n", "not a regular file", 16),
	};
#undef BAD

	(void)state;
	check_bad(cases, IG_ARRAY_SIZE(cases));
}

static void test_bad_users(void **state)
{
#define BAD(user, part, line)                                                                      \
	{                                                                                          \
		FRAME(WITH_CA, user), part, line                                                   \
	}
	static const struct bad cases[] = {
		BAD("    exec: {command: aws}\n", "exec: is not supported, because it runs", 22),
		BAD("    auth-provider: {name: x}\n", "auth-provider: is not supported; use", 22),
		BAD("    username: a\n", "username: is not supported; use token", 22),
		BAD("    password: " SECRET "\n", "password: is not supported; use token", 22),
		BAD(TOKEN "    as: admin\n", "as: is not supported", 23),
		BAD(TOKEN "    as-uid: '1'\n", "as-uid: is not supported", 23),
		BAD(TOKEN "    as-groups: [a]\n", "as-groups: is not supported", 23),
		BAD(TOKEN "    as-user-extra: {a: [b]}\n", "as-user-extra: is not", 23),
		BAD("    token: 'a " SECRET "'\n", "token: it does not hold a token", 22),
		BAD("    token: \"" SECRET "\\r\\nX: y\"\n", "token: it does not hold", 22),
		BAD("    token: \"" SECRET "\\0\"\n", "token: has a NUL", 22),
		BAD("    token: [" SECRET "]\n", "token: has to be a string", 22),
		BAD("    tokenFile: nowhere\n", "tokenFile: cannot read the token in", 22),
		BAD("    client-certificate: client.crt\n", "the client key is missing", 0),
		BAD("    client-key: client.key\n", "the client certificate is missing", 0),
		BAD("    client-key-data: '" SECRET "!'\n", "client-key-data: is not base64", 22),
		BAD("    client-certificate-data: @CERT@\n    client-key-data: @OTHERKEY@\n",
			"does not belong to", 0),
		BAD("    client-certificate-data: @CERT@\n    client-key-data: QUJD\n",
			"the client key is not a PEM key", 0),
		BAD("    client-certificate-data: QUJD\n    client-key-data: @KEY@\n",
			"the client certificate is not a PEM", 0),
	};
#undef BAD

	(void)state;
	check_bad(cases, IG_ARRAY_SIZE(cases));
}

static void test_bad_documents(void **state)
{
#define CLUSTERS "clusters: [{name: c, cluster: {server: 'https://a'}}]\n"
	static const struct bad cases[] = {
		{"# nothing\n", "empty", 0},
		{"- a\n", "no mapping", 0},
		{"a: b\n", "current-context is not set", 1},
		{"current-context: x\n", "has no entry", 1},
		{"current-context: x\ncontexts: {}\n", "contexts: has to be a list", 2},
		{"current-context: x\ncontexts: [{name: y, context: {}}]\n",
			"contexts: has no entry", 2},
		{"current-context: x\ncontexts: [{name: x}]\n", "context: has to be a mapping", 0},
		{"current-context: x\ncontexts: [{name: x, context: {user: u}}]\n",
			"the context names no cluster", 2},
		{"current-context: x\ncontexts:\n- {name: x, context: {cluster: c}}\n- {name: x, context: {}}\n",
			"another entry of this name", 4},
		{"current-context: x\ncontexts: [{name: x, context: {cluster: d}}]\n" CLUSTERS,
			"clusters: has no entry", 3},
		{"current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n" CLUSTERS,
			"has no entry", 1},
		{FRAME(WITH_CA, TOKEN) "---\na: b\n", "a second document", 24},
		{"a: &x b\n", "anchors", 1},
		{"a: [\n", "not valid YAML", 2},
	};
#undef CLUSTERS

	(void)state;
	check_bad(cases, IG_ARRAY_SIZE(cases));
}

static void test_bad_files(void **state)
{
	struct ig_kube_config *config = NULL;
	struct ig_err err = {};
	char *large = calloc(1, IG_KUBE_CONFIG_BYTES + 2);

	(void)state;
	assert_int_equal(ig_kube_config_load_file(path_of("config"), &config, &err), -ENOENT);
	assert_non_null(strstr(err.message, "/config: No such file"));
	assert_int_equal(ig_kube_config_load_file(dir, &config, &err), -EINVAL);
	put_file("config", "");
	assert_int_equal(ig_kube_config_load_file(path_of("config"), &config, &err), -EINVAL);
	memset(large, '#', IG_KUBE_CONFIG_BYTES);
	put_file("config", large);
	assert_int_equal(ig_kube_config_load_file(path_of("config"), &config, &err), -EINVAL);
	large[IG_KUBE_CONFIG_BYTES] = '#';
	put_file("config", large);
	assert_int_equal(ig_kube_config_load_file(path_of("config"), &config, &err), -E2BIG);
	free(large);
	assert_null(config);
	assert_null(ig_kube_config_free(NULL));
}

static void test_large_data(void **state)
{
	static const char head[] = SERVER "    certificate-authority-data: ";
	_cleanup_(ig_buf_donep) struct ig_buf cluster = {.limit = 4 * IG_KUBE_PEM_BYTES};
	_cleanup_(ig_buf_donep) struct ig_buf text = {.limit = 4 * IG_KUBE_PEM_BYTES};
	struct bad bad = {.part = "is too large", .line = 7};

	(void)state;
	ig_buf_puts(&cluster, head);
	for (size_t i = 0; i < IG_KUBE_PEM_BYTES / 3 + 1; i++)
		ig_buf_puts(&cluster, "QUJD");
	ig_buf_puts(&cluster, "\n");
	ig_buf_puts(&text, "current-context: a\ncontexts: [{name: a, context: {cluster: c}}]\n");
	ig_buf_printf(&text, "clusters:\n- name: c\n  cluster:\n%s", cluster.data);
	assert_int_equal(ig_buf_finish(&text), 0);
	bad.text = text.data;
	check_bad(&bad, 1);
}

/* An encrypted key must not make anybody ask a terminal. */
static void test_key_with_passphrase(void **state)
{
	BIO *bio = BIO_new(BIO_s_mem());
	_cleanup_free_ char *pem = NULL;
	struct bad bad = {
		FRAME(WITH_CA, "    client-certificate-data: @CERT@\n    client-key: client.key\n"),
		"without a passphrase", 0};

	(void)state;
	assert_int_equal(PEM_write_bio_PKCS8PrivateKey(
				 bio, client.key, EVP_aes_256_cbc(), "x", 1, NULL, NULL),
		1);
	pem = pem_of(bio);
	put_file("client.key", pem);
	check_bad(&bad, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(test_service_account),
		TEST(test_bad_environment),
		TEST(test_bad_service_account_files),
		TEST(test_limits),
		TEST(test_namespace_is_optional),
		TEST(test_mounted_token),
		TEST(test_directory_of_token_is_replaced),
		TEST(test_servers),
		TEST(test_data),
		TEST(test_files),
		TEST(test_tokens),
		TEST(test_wrapped_base64),
		TEST(test_bad_clusters),
		TEST(test_bad_users),
		TEST(test_bad_documents),
		TEST(test_bad_files),
		TEST(test_large_data),
		TEST(test_key_with_passphrase),
	};

	return cmocka_run_group_tests_name("kube_config", tests, make_identities, drop_identities);
}
