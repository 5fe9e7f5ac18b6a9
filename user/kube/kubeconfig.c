/*
 * kubeconfig files; see config.h. The context that current-context names says which cluster and
 * which user; everything else in the file is ignored.
 *
 * What would run a program, skip verification, use a proxy or make us somebody else is refused and
 * not ignored: whoever wrote it relies on it. No value is ever shown. The text and the tree are
 * wiped; what libyaml copied while it scanned is not, which is why this runs once, at start, in a
 * process that writes no core dumps.
 */
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "kube/bearer.h"
#include "kube/config.h"
#include "kube/config_internal.h"
#include "kube/files.h"
#include "objects/yaml.h"

struct reader {
	const char *path;
	char *directory; /* owned; what relative paths are relative to */
	const struct ig_yaml_document *doc;
	struct ig_kube_config *config; /* being filled; owned by the caller */
	unsigned int n_documents;
	struct ig_err *err;
};

static void reader_done(struct reader *r)
{
	free(r->directory);
}

static int out_of_memory(struct reader *r)
{
	return ig_err_at(r->err, -ENOMEM, r->path, 0, 0, "out of memory");
}

static int fail(struct reader *r, const json_t *node, const char *key, const char *why)
{
	unsigned int line, column;

	ig_yaml_locate(r->doc, node, key, &line, &column);
	return ig_err_at(r->err, -EINVAL, r->path, line, column, "%s%s%s", key ? key : "",
		key ? ": " : "", why);
}

/* Errors of others get the place of the key, unless they have one. */
static int wrap(struct reader *r, int code, const json_t *node, const char *key)
{
	struct ig_err inner = {};
	unsigned int line, column;

	if (!r->err)
		return code;
	inner = *r->err;
	ig_yaml_locate(r->doc, node, key, &line, &column);
	return ig_err_at(r->err, code, r->path, line, column, "%s: %s", key, inner.message);
}

/* ---- the tree -------------------------------------------------------------------------------- */

/* *ret is NULL for what is not there or empty, which kubectl does not tell apart either. */
static int get_text(struct reader *r, const json_t *node, const char *key, const char **ret)
{
	const json_t *value = json_object_get(node, key);

	*ret = NULL;
	if (!value || json_is_null(value))
		return 0;
	if (!json_is_string(value))
		return fail(r, node, key, "has to be a string");
	if (strlen(json_string_value(value)) != json_string_length(value))
		return fail(r, node, key, "has a NUL character");
	if (*json_string_value(value))
		*ret = json_string_value(value);
	return 0;
}

/* The mapping `kind` of the entry of this name in the list `kinds`. */
static int find_entry(
	struct reader *r, const char *kinds, const char *kind, const char *name, const json_t **ret)
{
	const json_t *root = ig_yaml_root(r->doc);
	const json_t *list = json_object_get(root, kinds);
	const json_t *found = NULL, *entry;
	size_t i;

	if (list && !json_is_array(list) && !json_is_null(list))
		return fail(r, root, kinds, "has to be a list");
	json_array_foreach (list, i, entry) {
		const char *entry_name;
		int code = get_text(r, entry, "name", &entry_name);

		if (code < 0)
			return code;
		if (!entry_name || strcmp(entry_name, name) != 0)
			continue;
		if (found)
			return fail(r, entry, "name", "there is another entry of this name");
		found = entry;
	}
	if (!found)
		return fail(r, root, json_object_get(root, kinds) ? kinds : NULL,
			"has no entry of the name that is asked for");
	*ret = json_object_get(found, kind);
	return json_is_object(*ret) ? 0 : fail(r, found, kind, "has to be a mapping");
}

static bool is_set(const json_t *value)
{
	if (json_is_string(value))
		return json_string_length(value) > 0;
	if (json_is_array(value) || json_is_object(value))
		return json_array_size(value) + json_object_size(value) > 0;
	return value && !json_is_null(value) && !json_is_false(value);
}

struct refusal {
	const char *key, *why;
};

static int refuse(struct reader *r, const json_t *node, const struct refusal *refusals, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (is_set(json_object_get(node, refusals[i].key)))
			return fail(r, node, refusals[i].key, refusals[i].why);
	return 0;
}

/* Strings of a tree that is about to be freed. */
static void wipe_tree(json_t *node)
{
	const char *key;
	json_t *value;
	size_t i;

	if (json_is_string(node))
		explicit_bzero((char *)json_string_value(node), json_string_length(node));
	json_array_foreach (node, i, value)
		wipe_tree(value);
	json_object_foreach (node, key, value)
		wipe_tree(value);
}

/* ---- data and files -------------------------------------------------------------------------- */

/* Whole groups of four, '=' at the end only. */
static int check_base64(const struct ig_buf *text)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t n = text->len ? strspn(text->data, digits) : 0;
	size_t padding = text->len - n;

	if (n == 0 || text->len % 4 || padding > 2)
		return -EINVAL;
	return strspn(text->data + n, "=") == padding ? (int)padding : -EINVAL;
}

/* Standard base64; line ends are allowed, as in what kubectl reads. */
static int decode(const char *base64, struct ig_buf *ret)
{
	_cleanup_(ig_buf_wipe) struct ig_buf text = {.limit = ret->limit / 3 * 4 + 4};
	_cleanup_(ig_buf_wipe) struct ig_buf bytes = {.limit = text.limit};
	int padding, n;

	for (; *base64; base64++)
		if (*base64 != '\r' && *base64 != '\n')
			ig_buf_putc(&text, *base64);
	if (ig_buf_finish(&text) < 0)
		return ig_buf_finish(&text);
	padding = check_base64(&text);
	if (padding < 0)
		return padding;
	/* memory of that size; what is decoded is shorter */
	ig_buf_append(&bytes, text.data, text.len);
	if (ig_buf_finish(&bytes) < 0)
		return ig_buf_finish(&bytes);
	n = EVP_DecodeBlock(
		(unsigned char *)bytes.data, (const unsigned char *)text.data, (int)text.len);
	if (n < padding)
		return -EINVAL;
	ig_buf_append(ret, bytes.data, (size_t)(n - padding));
	return ig_buf_finish(ret);
}

/* `key`-data in base64, or else the file that `key` names. Neither: *ret stays empty. */
static int get_pem(struct reader *r, const json_t *node, const char *key, const char *data_key,
	struct ig_buf *ret)
{
	_cleanup_free_ char *path = NULL;
	const char *data, *file;
	int code = get_text(r, node, data_key, &data);

	if (code == 0)
		code = get_text(r, node, key, &file);
	if (code < 0)
		return code;
	if (data) {
		code = decode(data, ret);
		if (code == -ENOMEM)
			return out_of_memory(r);
		return code < 0 ? fail(r, node, data_key,
					  code == -E2BIG ? "is too large" : "is not base64")
				: 0;
	}
	if (!file)
		return 0;
	path = ig_kube_path_join(r->directory, file);
	if (!path)
		return out_of_memory(r);
	code = ig_kube_config_read(path, IG_KUBE_PEM_BYTES, ret, r->err);
	return code < 0 ? wrap(r, code, node, key) : 0;
}

/* ---- cluster and user ------------------------------------------------------------------------ */

static int read_server_name(struct reader *r, const json_t *cluster)
{
	const char *name;
	int code = get_text(r, cluster, "tls-server-name", &name);

	if (code < 0 || !name)
		return code;
	if (name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.")])
		return fail(r, cluster, "tls-server-name", "is not a host name");
	r->config->server_name = strdup(name);
	return r->config->server_name ? 0 : out_of_memory(r);
}

static int read_cluster(struct reader *r, const json_t *cluster)
{
	static const struct refusal refusals[] = {
		{"insecure-skip-tls-verify",
			"is not supported; name the server's certificate-authority, and its tls-server-name if that is another than in the URL"},
		{"proxy-url", "is not supported; name a server that can be reached directly"},
	};
	const char *server;
	int code = refuse(r, cluster, refusals, IG_ARRAY_SIZE(refusals));

	if (code == 0)
		code = get_text(r, cluster, "server", &server);
	if (code < 0)
		return code;
	if (!server)
		return fail(r, cluster, NULL, "the cluster has no server");
	code = ig_kube_config_set_server(r->config, server, r->err);
	if (code < 0)
		return wrap(r, code, cluster, "server");
	code = get_pem(
		r, cluster, "certificate-authority", "certificate-authority-data", &r->config->ca);
	return code < 0 ? code : read_server_name(r, cluster);
}

/* The file wins, as it does for kubectl. */
static int read_token(struct reader *r, const json_t *user)
{
	_cleanup_free_ char *path = NULL;
	const char *token, *file;
	int code = get_text(r, user, "token", &token);

	if (code == 0)
		code = get_text(r, user, "tokenFile", &file);
	if (code < 0)
		return code;
	if (file) {
		path = ig_kube_path_join(r->directory, file);
		if (!path)
			return out_of_memory(r);
		code = ig_kube_bearer_new_file(path, &r->config->bearer, r->err);
		return code < 0 ? wrap(r, code, user, "tokenFile") : 0;
	}
	if (!token)
		return 0;
	code = ig_kube_bearer_new_static(token, &r->config->bearer, r->err);
	return code < 0 ? wrap(r, code, user, "token") : 0;
}

static int read_user(struct reader *r, const json_t *user)
{
#define INSTEAD	    "use token, tokenFile, or client-certificate and client-key"
#define NOBODY_ELSE "is not supported; give the user itself the rights"
	static const struct refusal refusals[] = {
		{"exec", "is not supported, because it runs a program; " INSTEAD},
		{"auth-provider", "is not supported; " INSTEAD},
		{"username", "is not supported; " INSTEAD},
		{"password", "is not supported; " INSTEAD},
		{"as", NOBODY_ELSE},
		{"as-uid", NOBODY_ELSE},
		{"as-groups", NOBODY_ELSE},
		{"as-user-extra", NOBODY_ELSE},
	};
#undef INSTEAD
#undef NOBODY_ELSE
	int code = refuse(r, user, refusals, IG_ARRAY_SIZE(refusals));

	if (code == 0)
		code = read_token(r, user);
	if (code == 0)
		code = get_pem(r, user, "client-certificate", "client-certificate-data",
			&r->config->certificate);
	if (code == 0)
		code = get_pem(r, user, "client-key", "client-key-data", &r->config->key);
	return code;
}

/* ---- the file -------------------------------------------------------------------------------- */

static int read_context(struct reader *r, const json_t *context)
{
	const char *cluster_name, *user_name, *ns;
	const json_t *cluster, *user;
	int code = get_text(r, context, "cluster", &cluster_name);

	if (code == 0)
		code = get_text(r, context, "user", &user_name);
	if (code == 0)
		code = get_text(r, context, "namespace", &ns);
	if (code < 0)
		return code;
	if (!cluster_name)
		return fail(r, context, NULL, "the context names no cluster");
	if (ns) {
		r->config->ns = strdup(ns);
		if (!r->config->ns)
			return out_of_memory(r);
	}
	code = find_entry(r, "clusters", "cluster", cluster_name, &cluster);
	if (code == 0)
		code = read_cluster(r, cluster);
	if (code < 0 || !user_name)
		return code;
	code = find_entry(r, "users", "user", user_name, &user);
	return code < 0 ? code : read_user(r, user);
}

static int read_root(struct reader *r)
{
	const json_t *root = ig_yaml_root(r->doc), *context;
	const char *name;
	int code;

	if (!json_is_object(root))
		return ig_err_at(r->err, -EINVAL, r->path, 0, 0, "not a kubeconfig: no mapping");
	code = get_text(r, root, "current-context", &name);
	if (code < 0)
		return code;
	if (!name)
		return fail(r, root, NULL, "current-context is not set");
	code = find_entry(r, "contexts", "context", name, &context);
	if (code == 0)
		code = read_context(r, context);
	return code;
}

static int on_document(
	const struct ig_yaml_document *doc, void *userdata, struct ig_err *reterr_err)
{
	struct reader *r = userdata;
	int code;

	(void)reterr_err; /* is r->err */
	r->doc = doc;
	if (r->n_documents++ > 0)
		code = fail(r, ig_yaml_root(doc), NULL, "a second document; only one is read");
	else
		code = read_root(r);
	/* ours to spoil: it goes when this returns */
	wipe_tree((json_t *)ig_yaml_root(doc));
	r->doc = NULL;
	return code;
}

IG_DEFINE_CLEANUP(struct ig_kube_config *, ig_kube_config_free);

int ig_kube_config_load_file(
	const char *path, struct ig_kube_config **ret, struct ig_err *reterr_err)
{
	_cleanup_(ig_kube_config_freep) struct ig_kube_config *config = ig_kube_config_new();
	_cleanup_(reader_done) struct reader r = {
		.path = path,
		.directory = ig_kube_path_dir(path),
		.config = config,
		.err = reterr_err,
	};
	_cleanup_(ig_buf_wipe) struct ig_buf text = {};
	int code;

	if (!config || !r.directory)
		return out_of_memory(&r);
	code = ig_kube_config_read(path, IG_KUBE_CONFIG_BYTES, &text, reterr_err);
	if (code == 0)
		code = ig_yaml_parse(path, text.data, text.len, on_document, &r, reterr_err);
	if (code < 0)
		return code;
	if (r.n_documents == 0)
		return ig_err_at(reterr_err, -EINVAL, path, 0, 0, "not a kubeconfig: empty");
	code = ig_kube_config_check(config, reterr_err);
	if (code < 0)
		return ig_err_wrap(reterr_err, code, "%s", path);
	*ret = TAKE_PTR(config);
	return 0;
}
