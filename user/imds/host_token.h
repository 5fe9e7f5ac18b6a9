/*
 * /host/token: a program on the node (the Secrets Store CSI driver's Azure provider) asks for a
 * token of a pod that it names. Request and replies as aad-pod-identity had them: no Metadata
 * header, the pod in the headers podns and podname, errors as plain text. Pure: who may ask is
 * decided elsewhere.
 *
 * Order of checks: route → method → X-Forwarded-For → podns, podname → query → resource →
 * selectors.
 */
#pragma once

#include <imdsgate/limits.h>

#include "http/message.h"
#include "imds/reply.h"
#include "imds/request.h"
#include "imds/routes.h"

/* Checked: at most what Kubernetes allows in names (lower-case letters, digits, '-', '.'). */
struct ig_imds_pod_name {
	char namespace[IG_OBJECT_NAME_BYTES + 1];
	char name[IG_OBJECT_NAME_BYTES + 1];
};

/* 0, or -EBADMSG with the answer in *reterr_reply. `target` is ig_imds_route_host(req->target). */
int ig_imds_host_token_parse(const struct ig_http_request *req, const struct ig_imds_target *target,
	struct ig_imds_token_request *ret, struct ig_imds_pod_name *ret_pod,
	struct ig_imds_reply *reterr_reply);

/* {"token":{…},"clientid":"…"}, where the object is the one of the token path. */
int ig_imds_host_token_reply(
	const struct ig_imds_token_view *view, const char *client_id, struct ig_imds_reply *ret);

/* detail (may be NULL) is used by UPSTREAM_REJECTED only. -ENOMEM leaves status and headers valid
 * and the body empty. */
int ig_imds_host_token_error(
	enum ig_imds_error error, const char *detail, struct ig_imds_reply *ret);
