/*
 * Metadata documents (docs/conformance.md, 86 to 92): what a request for one means, how it is asked
 * for upstream, and which answers of upstream are handed on. Pure; knows no workload and no
 * network. Used by the server process for every route below /metadata but the token path.
 *
 * Nothing of a request goes upstream as it came. What does is built anew from the canonical path,
 * one of the known api-versions and one of two formats; everything else that the client sent ends
 * here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <imdsgate/limits.h>

#include "http/message.h"
#include "imds/reply.h"
#include "imds/routes.h"

enum ig_imds_format { IG_IMDS_FORMAT_JSON, IG_IMDS_FORMAT_TEXT, _IG_IMDS_FORMAT_MAX };

/* Two requests with equal contents share one answer, if it is one that is shared. */
struct ig_imds_document {
	enum ig_imds_route route; /* INSTANCE, ATTESTED, LOADBALANCER or SCHEDULEDEVENTS */
	/* What is wrong with a request for a document that is closed by default. Told to nobody but
	 * those who may have the document, so that "closed" comes first; such a request is never
	 * asked upstream. NONE on INSTANCE. */
	enum ig_imds_error flaw;
	enum ig_imds_format format;
	char api_version[sizeof("2025-04-07")];
	char nonce[IG_NONCE_BYTES + 1]; /* ATTESTED: letters and digits; "" without */
	/* begins with "/metadata/"; segments of letters, digits, '-', '_' and '.' */
	char path[IG_DOCUMENT_PATH_BYTES + 1];
};

/* 0, or -EBADMSG with the answer in *reterr_reply. `target` is ig_imds_route(req->target). Order of
 * checks: route → method → headers → query. Only of INSTANCE the last is answered here; see flaw.
 */
int ig_imds_document_parse(const struct ig_http_request *req, const struct ig_imds_target *target,
	struct ig_imds_document *ret, struct ig_imds_reply *reterr_reply);

/* The canonical path of a target that a route was found for: the first segment in lower case, the
 * rest as it is. -EBADMSG when no document has such a name. */
int ig_imds_document_path(
	const struct ig_imds_target *target, char ret[static IG_DOCUMENT_PATH_BYTES + 1]);

bool ig_imds_document_equal(const struct ig_imds_document *a, const struct ig_imds_document *b);

/* How long one answer is everybody's; 0: it is made for whoever asked (an attested document proves
 * that somebody asked just now). */
unsigned int ig_imds_document_shared_sec(const struct ig_imds_document *document);

/* The URL that asks for it. imds_url has no path. -EINVAL with a flaw, -E2BIG, -ENOMEM. *ret is the
 * caller's to free. */
int ig_imds_document_url(const char *imds_url, const struct ig_imds_document *document, char **ret);

/* What the client gets for upstream's answer: 200, 400 and 404 as they are, if the body is what its
 * format promises; all that says "later" becomes UNAVAILABLE, the rest SERVER. What is handed on
 * has error NONE. -ENOMEM leaves a valid reply without a body. */
int ig_imds_document_reply(const struct ig_imds_document *document, unsigned int status,
	const char *body, size_t body_len, struct ig_imds_reply *ret);

/* The answer when there is no document. compute/location gets an empty body: some clients take
 * whatever it holds for the name of a region, without a look at the status. */
int ig_imds_document_error(const struct ig_imds_document *document, enum ig_imds_error error,
	struct ig_imds_reply *ret);

/* /metadata/identity/info: 0, or -EBADMSG with the answer in *reterr_reply. */
int ig_imds_info_parse(const struct ig_http_request *req, const struct ig_imds_target *target,
	struct ig_imds_reply *reterr_reply);
/* {"tenantId":"…"} */
int ig_imds_info_reply(const char *tenant_id, struct ig_imds_reply *ret);
