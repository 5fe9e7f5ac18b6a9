/*
 * Tokens for identities: one cache with one upstream call at a time per key, behind a bounded
 * upstream (concurrency and rate) that serves workloads in turn. IMDS, Entra, and Entra behind a
 * provider of assertions have a queue each: trouble with one does not hold up the others. Knows
 * nothing of pods, HTTP servers or policy: who may have what was decided before.
 *
 * A cached token is handed out while at least IG_TOKEN_MIN_LIFE_SEC remain; it is refreshed in the
 * background from half of its life (with jitter) on, and survives upstream errors until it expires.
 * A token with less than IG_TOKEN_MIN_LIFE_SEC left is handed out only if upstream cannot give a
 * better one. Failures are remembered for IG_TOKEN_NEGATIVE_SEC. Token memory is wiped and kept out
 * of core dumps (the process is not dumpable).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/selector.h"

struct event_base;
struct ig_assertion_provider;
struct ig_credentials;
struct ig_http_client;
struct ig_token_service;
struct ig_token_waiter;

/* Who is asked, and by which credential. */
enum ig_token_source_kind {
	IG_TOKEN_SOURCE_IMDS,
	IG_TOKEN_SOURCE_SECRET,		   /* Entra: client secret */
	IG_TOKEN_SOURCE_CERTIFICATE,	   /* Entra: assertion signed with PS256, or ES256 by EC */
	IG_TOKEN_SOURCE_CERTIFICATE_RS256, /* … with RS256 and the older thumbprint */
	IG_TOKEN_SOURCE_FEDERATION,	   /* Entra: somebody else's assertion, from a file */
	IG_TOKEN_SOURCE_SERVICE_ACCOUNT,   /* … from the provider of assertions */
	_IG_TOKEN_SOURCE_MAX
};

/* Upstreams that have to be waited for separately. */
enum ig_source_lane {
	IG_SOURCE_LANE_IMDS,
	IG_SOURCE_LANE_ENTRA,
	IG_SOURCE_LANE_SERVICE_ACCOUNT, /* the provider of assertions, then Entra */
	_IG_SOURCE_LANE_MAX
};

/* What is asked for. Strings are copied. Two requests with equal keys share one token; identity ids
 * compare without regard to letter case, everything else byte for byte. */
struct ig_token_key {
	enum ig_token_source_kind source;
	/* Only for Entra, NULL or "" for IMDS. */
	const char *tenant;
	const char *authority;	/* "https://login.microsoftonline.com" */
	const char *credential; /* see token/credential.h; federation: the file; service account:
				   see token/assertion_provider.h */
	/* How upstream is asked: by client id where the identity has one, else by resource id, or
	 * with the caller's own selector for excepted workloads. NONE: the node's default identity.
	 * Entra is asked by client id.
	 */
	struct ig_selector upstream;
	/* The client id that the answer must name; "" for excepted workloads. A reply with another
	 * client_id is refused: it would be somebody else's token. */
	const char *expect_client_id;
	const char *resource;
};

#define IG_TOKEN_FINGERPRINT_BYTES 16 /* hex digits */

/* A token. Reference-counted; valid while a reference is held, so a callback that keeps it takes
 * one. */
struct ig_token {
	char *access_token; /* owned, wiped */
	char *client_id;    /* from the reply; "" when it named none */
	uint64_t expires_on_sec;
	uint64_t not_before_sec;
	uint64_t ext_expires_in_sec;
	char object_id[37]; /* claim oid of the JWT, if it is one; "" otherwise. Not verified:
			       display and selection among one's own identities only */
	char tenant_id[37]; /* claim tid, likewise */
	char fingerprint[IG_TOKEN_FINGERPRINT_BYTES +
			 1]; /* first hex digits of SHA-256(access_token) */
	char sha256[65];     /* lower-case hex of SHA-256(access_token) */
};

enum ig_token_failure_kind {
	IG_TOKEN_REJECTED,    /* upstream said no: code and text are relayed (400) */
	IG_TOKEN_NOT_FOUND,   /* upstream does not know the identity */
	IG_TOKEN_UNAVAILABLE, /* unreachable, 5xx, 410, 429, time-out, queue full, out of memory */
	IG_TOKEN_BROKEN,      /* nonsense in the reply, another identity's token */
	_IG_TOKEN_FAILURE_MAX
};

struct ig_token_failure {
	enum ig_token_failure_kind kind;
	const char *code;	      /* upstream's error code, "" if none */
	const char *text;	      /* upstream's description, or ours; no secret in it */
	unsigned int retry_after_sec; /* upstream asked to be left alone so long; 0: it did not */
};

enum ig_token_cache_state {
	IG_TOKEN_HIT,
	IG_TOKEN_MISS,
	IG_TOKEN_STALE,
	_IG_TOKEN_CACHE_STATE_MAX
};

struct ig_token_result {
	const struct ig_token *token;		/* NULL on failure; borrowed during the callback */
	const struct ig_token_failure *failure; /* NULL on success; borrowed */
	enum ig_token_cache_state cache;
};

typedef void ig_token_done(const struct ig_token_result *result, void *userdata);

/* A call to upstream that is over, for those who count. */
struct ig_token_call {
	enum ig_token_source_kind source;
	bool failed;
	enum ig_token_failure_kind kind; /* if failed */
	bool is_refresh;		 /* of a token that is still good */
	bool was_sent;			 /* false: no turn in time, no credential, … */
	uint64_t usec;			 /* since its turn came; if sent */
};
/* Must not call the service. */
typedef void ig_token_call_ended(const struct ig_token_call *call, void *userdata);

struct ig_token_service_options {
	const char *imds_url;		    /* "http://169.254.169.254"; no path. Copied */
	struct ig_credentials *credentials; /* the caller's; NULL: nothing is read from files */
	/* the caller's, and outlives the service; NULL: none for service accounts */
	const struct ig_assertion_provider *assertions;
	ig_token_call_ended *call_ended; /* may be NULL */
	void *userdata;
};

enum ig_token_upstream {
	IG_TOKEN_UPSTREAM_IMDS,
	IG_TOKEN_UPSTREAM_ENTRA,
	IG_TOKEN_UPSTREAM_SERVICE_ACCOUNT, /* Entra behind the provider of assertions */
	_IG_TOKEN_UPSTREAM_MAX
};

/* How an upstream did of late: real clock, 0 for never. A refusal is an answer. */
struct ig_token_upstream_times {
	uint64_t answered_usec;
	uint64_t failed_usec; /* no answer, one that made no sense, or no turn in time */
};

struct ig_token_stats {
	uint64_t hits, misses, stale, upstream_calls, upstream_errors, cached, waiters, queued;
	uint64_t queued_in[_IG_SOURCE_LANE_MAX]; /* queued, by lane */
};

int ig_token_service_new(struct event_base *base, struct ig_http_client *client,
	const struct ig_token_service_options *options, struct ig_token_service **ret);
/* Waiters are dropped without their callback. */
struct ig_token_service *ig_token_service_free(struct ig_token_service *service);

enum {
	IG_TOKEN_BYPASS_CACHE = 1 << 0, /* a fresh one, please; joins a call that is under way */
};

/* Looks up or fetches. `fairness` is an opaque number of the asking workload: queued upstream calls
 * are served in turn between different numbers. `refresh_sha256` ("" or 64 hex digits): a cached
 * token with that hash counts as absent; if there is none or that one, upstream's cache is got
 * past.
 *
 * On a cache hit `done` is called before this returns and *ret_waiter becomes NULL. Otherwise it is
 * called later, once, unless ig_token_cancel() comes first. Negative errno: nothing will be called.
 */
int ig_token_get(struct ig_token_service *service, const struct ig_token_key *key,
	unsigned int flags, const char *refresh_sha256, uint64_t fairness, ig_token_done *done,
	void *userdata, struct ig_token_waiter **ret_waiter);
void ig_token_cancel(struct ig_token_waiter *waiter);

/* Forgets every cached token for which `keep` returns false; calls under way for them are not
 * cached and their waiters fail as UNAVAILABLE. For bindings that went away. */
typedef bool ig_token_keep(const struct ig_token_key *key, void *userdata);
size_t ig_token_service_purge(
	struct ig_token_service *service, ig_token_keep *keep, void *userdata);

struct ig_token_stats ig_token_service_stats(const struct ig_token_service *service);
struct ig_token_upstream_times ig_token_service_upstream_times(
	const struct ig_token_service *service, enum ig_token_upstream upstream);
/* How far in the future the validity of a cached token begins, at most: more than a few minutes and
 * this machine's clock is behind. */
uint64_t ig_token_service_early_sec(const struct ig_token_service *service);
