/*
 * Entra ID's public documents: the OpenID configuration and the keys that tokens are signed with.
 * Need no header and no body. Must never name another host than the one that the client called or
 * --entra-url gives: whoever follows the links has to stay on this machine. Called by entra.c.
 */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "lab/entra.h"

static void serve_keys(struct lab *lab, struct lab_reply *reply)
{
	int r = lab_signer_jwks(lab->signer, &reply->body);

	if (r < 0)
		lab_reply_failure(reply, r);
}

static void put_url(struct ig_buf *b, const char *key, const struct lab *lab,
	const struct lab_request *req, const char *path)
{
	_cleanup_(ig_buf_donep) struct ig_buf url = {.limit = LAB_REPLY_BYTES};

	lab_entra_put_url(lab, req, path, &url);
	ig_buf_json_member_str(b, key, url.data ? url.data : "");
}

static void serve_configuration(
	struct lab *lab, const struct lab_request *req, struct lab_reply *reply)
{
	const char *tenant = lab->directory.tenant;
	struct ig_buf *b = &reply->body;
	char path[128];

	(void)snprintf(path, sizeof(path), "/%s/oauth2/token", tenant);
	ig_buf_putc(b, '{');
	put_url(b, "token_endpoint", lab, req, path);
	put_url(b, "jwks_uri", lab, req, "/common/discovery/keys");
	ig_buf_json_key(b, "issuer");
	ig_buf_printf(b, "\"https://sts.windows.net/%s/\"", tenant);
	ig_buf_json_key(b, "token_endpoint_auth_methods_supported");
	ig_buf_puts(b, "[\"client_secret_post\",\"private_key_jwt\"]");
	ig_buf_json_key(b, "id_token_signing_alg_values_supported");
	ig_buf_puts(b, "[\"RS256\"]}");
}

/* "common" stands for every tenant. */
void lab_discovery_serve(struct lab *lab, const struct lab_request *req, const char *tenant,
	enum lab_entra_route route, struct lab_reply *reply)
{
	bool known =
		ig_str_equal_nocase(tenant, lab->directory.tenant) || strcmp(tenant, "common") == 0;

	if (strcmp(req->method, "GET") != 0)
		lab_entra_refuse_method(reply, "GET");
	else if (!known)
		lab_entra_refuse_tenant(reply, tenant);
	else if (route == LAB_ENTRA_KEYS)
		serve_keys(lab, reply);
	else
		serve_configuration(lab, req, reply);
}
