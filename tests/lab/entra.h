/*
 * The parts that play Entra ID, and what they have in common.
 */
#pragma once

#include "lab/lab.h"

enum lab_entra_route {
	LAB_ENTRA_NONE, /* not one of Entra's paths */
	LAB_ENTRA_TOKEN_V1,
	LAB_ENTRA_TOKEN_V2,
	LAB_ENTRA_KEYS,
	LAB_ENTRA_CONFIGURATION,
	_LAB_ENTRA_MAX
};

/* *ret_tenant is written, and owned by the caller, when there is a route. -ENOMEM. */
int lab_entra_route(const char *path, enum lab_entra_route *ret_route, char **ret_tenant);

/* URL of a path of ours, as the client knows us. */
void lab_entra_put_url(
	const struct lab *lab, const struct lab_request *req, const char *path, struct ig_buf *out);

/* The form in the body of a token request; empty when the body is of another type. -EBADMSG,
 * -E2BIG, -ENOMEM. *ret has to be handed to lab_form_done() whatever the result is. */
struct lab_form;
int lab_entra_form(const struct lab_request *req, struct lab_form *ret);

void lab_entra_refuse_tenant(struct lab_reply *reply, const char *tenant);
void lab_entra_refuse_method(struct lab_reply *reply, const char *allow);

/* discovery.c: keys and configuration. */
void lab_discovery_serve(struct lab *lab, const struct lab_request *req, const char *tenant,
	enum lab_entra_route route, struct lab_reply *reply);

/* entra_log.c: appends "token_request":{…} when it is one, never a secret or a signature. */
void lab_entra_describe(const struct lab_request *req, struct ig_buf *line);
