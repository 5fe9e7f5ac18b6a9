/*
 * What the log says of a token request, so that tests can tell what the agent sent. Only members
 * that are listed here are taken over, and of an assertion only what is no use to anyone else: a
 * secret or a signature must never get into the log. Called by conn.c before a request is answered,
 * so that it is there whatever goes wrong afterwards.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "lab/entra.h"
#include "lab/form.h"
#include "lab/jws.h"

/* "assertion":null for what is no JWT. */
static void put_assertion(const char *text, struct ig_buf *line)
{
	_cleanup_(lab_jws_donep) struct lab_jws jws = {};

	ig_buf_json_key(line, "assertion");
	if (lab_jws_parse(text, &jws) == 0)
		lab_jws_describe(&jws, line);
	else
		ig_buf_puts(line, "null");
}

static void put_form(const struct lab_form *form, struct ig_buf *line)
{
	static const char *const shown[] = {
		"grant_type", "client_id", "resource", "scope", "client_assertion_type"};
	const char *assertion = lab_form_get(form, "client_assertion");

	for (size_t i = 0; i < IG_ARRAY_SIZE(shown); i++) {
		const char *value = lab_form_get(form, shown[i]);

		if (value)
			ig_buf_json_member_str(line, shown[i], value);
	}
	ig_buf_json_member_bool(line, "has_secret", lab_form_get(form, "client_secret") != NULL);
	if (assertion)
		put_assertion(assertion, line);
}

void lab_entra_describe(const struct lab_request *req, struct ig_buf *line)
{
	enum lab_entra_route route = LAB_ENTRA_NONE;
	_cleanup_free_ char *tenant = NULL;
	struct lab_form form;

	if (lab_entra_route(req->path, &route, &tenant) < 0 ||
		(route != LAB_ENTRA_TOKEN_V1 && route != LAB_ENTRA_TOKEN_V2) ||
		strcmp(req->method, "POST") != 0)
		return;
	ig_buf_json_key(line, "token_request");
	ig_buf_putc(line, '{');
	ig_buf_json_member_str(line, "endpoint", route == LAB_ENTRA_TOKEN_V1 ? "v1" : "v2");
	ig_buf_json_member_str(line, "tenant", tenant);
	if (lab_entra_form(req, &form) == 0)
		put_form(&form, line);
	lab_form_done(&form);
	ig_buf_putc(line, '}');
}
