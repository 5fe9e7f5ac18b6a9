/*
 * Validation of a request on the token path (docs/conformance.md, 1 to 72), giving either a token
 * request or the finished error reply. Pure: knows no workload, touches nothing.
 *
 * Order of checks (the real order is unknown; ours makes headerless probes cheapest and never lets
 * an attribute of the caller decide before them): route → method → Metadata header →
 * X-Forwarded-For → query syntax and duplicates → api-version → resource → selectors.
 */
#pragma once

#include <stdbool.h>

#include <imdsgate/limits.h>

#include "http/message.h"
#include "imds/reply.h"
#include "imds/routes.h"
#include "policy/selector.h"

struct ig_imds_token_request {
	char resource[IG_RESOURCE_BYTES + 1]; /* decoded, valid UTF-8, no control characters */
	struct ig_selector selector;
	bool bypass_cache;
	char token_sha256[65]; /* lower-case hex of token_sha256_to_refresh, or "" */
};

/* Facts for the audit that the caller sent: length-capped, else unchanged (the writer escapes
 * them). */
struct ig_imds_client_facts {
	char user_agent[IG_CLIENT_FACT_BYTES + 1];
	char request_id[IG_CLIENT_FACT_BYTES + 1];  /* x-ms-client-request-id */
	char sdk[IG_CLIENT_FACT_BYTES + 1];	    /* x-client-SKU */
	char sdk_version[IG_CLIENT_FACT_BYTES + 1]; /* x-client-Ver */
};

void ig_imds_client_facts(const struct ig_http_request *req, struct ig_imds_client_facts *ret);

/* Checks that apply to every route under /metadata once the route is known to exist: 0, or -EBADMSG
 * with the answer in *reterr_reply (missing or wrong Metadata header, X-Forwarded-For). */
int ig_imds_check_headers(const struct ig_http_request *req, struct ig_imds_reply *reterr_reply);

struct ig_imds_query;

/* What of a query every token request has, whoever makes it: resource, selector, cache control. */
enum ig_imds_error ig_imds_token_query(
	const struct ig_imds_query *q, struct ig_imds_token_request *ret);

/* 0, or -EBADMSG with the answer in *reterr_reply. `target` is ig_imds_route(req->target). */
int ig_imds_token_request_parse(const struct ig_http_request *req,
	const struct ig_imds_target *target, struct ig_imds_token_request *ret,
	struct ig_imds_reply *reterr_reply);
