/*
 * The bodies and statuses that IMDS clients know (docs/conformance.md): one compact JSON line,
 * numbers as strings, expires_in before expires_on.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "http/message.h"
#include "policy/selector.h"

/* What goes wrong, as a closed list; it also is the reason code of the audit record. */
enum ig_imds_error {
	IG_IMDS_ERROR_NONE,
	IG_IMDS_ERROR_NO_METADATA_HEADER,   /* 400 */
	IG_IMDS_ERROR_FORWARDED,	    /* 400: X-Forwarded-For */
	IG_IMDS_ERROR_BAD_QUERY,	    /* 400: encoding, duplicates, values */
	IG_IMDS_ERROR_BAD_API_VERSION,	    /* 400 with newest-versions */
	IG_IMDS_ERROR_NO_RESOURCE,	    /* 400 */
	IG_IMDS_ERROR_CONFLICTING_SELECTOR, /* 400 */
	IG_IMDS_ERROR_IDENTITY_NOT_FOUND,   /* 400, 68 bytes; also the answer to a policy denial */
	IG_IMDS_ERROR_MULTIPLE_IDENTITIES,  /* 400, 168 bytes */
	IG_IMDS_ERROR_UPSTREAM_REJECTED,    /* 400 relayed code and text (AADSTS…) */
	IG_IMDS_ERROR_NOT_FOUND,	    /* 404 */
	IG_IMDS_ERROR_METHOD,		    /* 405, Allow: GET */
	IG_IMDS_ERROR_TOO_MANY,		    /* 429, Retry-After 1 */
	IG_IMDS_ERROR_SERVER,		    /* 500 */
	IG_IMDS_ERROR_UNAVAILABLE,	    /* 503, Retry-After 1 */
	IG_IMDS_ERROR_FORBIDDEN,	    /* 403, without the word "unreachable" */
	IG_IMDS_ERROR_NO_POD_NAME,	    /* 400: /host/token without podns and podname */
	IG_IMDS_ERROR_BAD_POD_NAME,	    /* 400: they are no names */
	IG_IMDS_ERROR_POD_NOT_FOUND,	    /* 404: /host/token for a pod that is not known */
	IG_IMDS_ERROR_MALFORMED,	    /* 400, answered by the HTTP layer */
	_IG_IMDS_ERROR_MAX
};

#define IG_IMDS_REPLY_HEADERS 2

struct ig_imds_reply {
	enum ig_imds_error error;
	unsigned int status;
	const char *content_type;			      /* literal */
	struct ig_http_header headers[IG_IMDS_REPLY_HEADERS]; /* literals: Allow, Retry-After */
	size_t n_headers;
	struct ig_buf body; /* owned; wiped by _done, since it may hold a token */
};

void ig_imds_reply_done(struct ig_imds_reply *reply);

/* "identity_not_found" … : a closed set for audit records and metric labels. */
const char *ig_imds_error_name(enum ig_imds_error error);

/* For people; a literal. */
const char *ig_imds_error_text(enum ig_imds_error error);

/* Fills *ret (which must be zeroed or done). detail_code and detail_text are used by
 * UPSTREAM_REJECTED only ("invalid_resource", "AADSTS500011: …"). -ENOMEM leaves status and headers
 * valid and the body empty. */
int ig_imds_reply_error(enum ig_imds_error error, const char *detail_code, const char *detail_text,
	struct ig_imds_reply *ret);

/* Everything in a token reply; strings are borrowed. */
struct ig_imds_token_view {
	const char *access_token;
	const char *client_id;	 /* "" when unknown */
	const char *resource;	 /* echoed byte for byte from the request */
	uint64_t expires_on_sec; /* Unix time */
	uint64_t not_before_sec; /* Unix time */
	uint64_t ext_expires_in_sec;
	uint64_t now_sec;		    /* expires_in is counted from here */
	const struct ig_selector *selector; /* object_id and msi_res_id are echoed when asked by */
};

int ig_imds_reply_token(const struct ig_imds_token_view *view, struct ig_imds_reply *ret);

/* The older form for an identity with auxiliary tenants: an array of such objects, the primary
 * tenant's first. */
int ig_imds_reply_token_array(
	const struct ig_imds_token_view *views, size_t n, struct ig_imds_reply *ret);

/* The object that both consist of. */
void ig_imds_write_token(struct ig_buf *b, const struct ig_imds_token_view *view);

/* Room for the body of a reply with one token. JSON escapes make one byte six at most. */
#define IG_IMDS_TOKEN_BODY_BYTES                                                                   \
	(6 * (IG_TOKEN_BYTES + IG_RESOURCE_BYTES + IG_SELECTOR_BYTES + 1024))

/* Whether the token path exists in that api-version: one of the list below, 2018-02-01 or later. */
bool ig_imds_api_version_has_token(const char *version);

/* {"apiVersions":[…]} of /metadata/versions. */
int ig_imds_reply_versions(struct ig_imds_reply *ret);

static inline void ig_imds_reply_donep(struct ig_imds_reply *reply)
{
	ig_imds_reply_done(reply);
}
