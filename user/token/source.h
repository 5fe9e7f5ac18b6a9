/*
 * Where tokens come from. A source turns one key into one upstream call and the reply into a token
 * or a failure; it does not cache, queue or retry. Each has its row in the table of source.c:
 * source_imds.c asks the metadata service, source_entra.c asks Entra ID with one of the credentials
 * of credential.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "token/service.h"

struct ig_http_response;

/* What sources read from. All borrowed. */
struct ig_source_places {
	const char *imds_url;
	struct ig_credentials *credentials; /* may be NULL */
};

/* What one call is made from. All borrowed. */
struct ig_source_request {
	const struct ig_source_places *places;
	const struct ig_token_key *key;
	const char *assertion; /* NULL where the source has no `audience` */
	uint64_t now_sec;
	bool bypass_cache;
};

/* One upstream call. */
struct ig_source_call {
	char *url;		    /* owned */
	const char *const *headers; /* literals */
	struct ig_buf form;	    /* owned, wiped: what is posted; empty: GET */
};

#define IG_SOURCE_TEXT_BYTES 512

/* What came of it. */
struct ig_source_answer {
	struct ig_token *token; /* reference; NULL: failed */
	enum ig_token_failure_kind kind;
	char *code; /* owned; NULL: upstream gave none */
	char *text; /* owned; NULL or "": see own_text */
	char own_text[IG_SOURCE_TEXT_BYTES];
	unsigned int retry_after_sec;
	bool again; /* prepared anew, the call may succeed: worth one more, at once */
};

struct ig_source {
	enum ig_source_lane lane;
	/* Has the key everything that this source needs? */
	bool (*is_complete)(const struct ig_token_key *key);
	/* Whom an assertion for that key has to be addressed to; a literal. NULL: this source needs
	 * none, else it is asked for before `prepare`. */
	const char *(*audience)(const struct ig_token_key *key);
	/* *ret_call is filled on success only. On failure the reason is for people; no secret is in
	 * it. Reads credentials from disk. */
	int (*prepare)(const struct ig_source_request *request, struct ig_source_call *ret_call,
		struct ig_err *reterr_err);
	/* response->error is 0. Pure: no network, no files, no state. *ret_answer is zeroed. */
	void (*read)(const struct ig_http_response *response, const struct ig_token_key *key,
		uint64_t now_sec, struct ig_source_answer *ret_answer);
};

/* NULL for what is no kind. */
const struct ig_source *ig_source_get(enum ig_token_source_kind kind);

void ig_source_call_done(struct ig_source_call *call);
void ig_source_answer_done(struct ig_source_answer *answer);
/* A failure in our own words. */
void ig_source_answer_fail(struct ig_source_answer *answer, enum ig_token_failure_kind kind,
	const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* There was no reply: response->error is not 0. */
void ig_source_answer_no_reply(
	struct ig_source_answer *answer, const struct ig_http_response *response);

/* ---- source_imds.c ---- */

/* Builds the upstream URL for the real IMDS (or what stands in for it). *ret is owned by the
 * caller. */
int ig_source_imds_url(
	const char *imds_url, const struct ig_token_key *key, bool bypass_cache, char **ret);

/* Reads a reply body (RFC 6749 style JSON as IMDS sends it, numbers as strings or numbers; pure,
 * for fuzzing). On success *ret_token holds one reference. On failure -EBADMSG (nonsense) or
 * -EACCES (an error reply, *reterr_code and *reterr_text are filled, both owned by the caller).
 * now_sec fills in what a reply with only expires_in leaves out. */
int ig_source_imds_reply(unsigned int status, const char *body, size_t len,
	const struct ig_token_key *key, uint64_t now_sec, struct ig_token **ret_token,
	char **reterr_code, char **reterr_text);

bool ig_source_imds_is_complete(const struct ig_token_key *key);
int ig_source_imds_prepare(const struct ig_source_request *request, struct ig_source_call *ret_call,
	struct ig_err *reterr_err);
void ig_source_imds_read(const struct ig_http_response *response, const struct ig_token_key *key,
	uint64_t now_sec, struct ig_source_answer *ret_answer);

/* ---- source_entra.c ---- */

bool ig_source_entra_is_complete(const struct ig_token_key *key);
const char *ig_source_entra_audience(const struct ig_token_key *key);
int ig_source_entra_prepare(const struct ig_source_request *request,
	struct ig_source_call *ret_call, struct ig_err *reterr_err);
void ig_source_entra_read(const struct ig_http_response *response, const struct ig_token_key *key,
	uint64_t now_sec, struct ig_source_answer *ret_answer);

/* ---- tokens ---- */

struct ig_token *ig_token_ref(const struct ig_token *token);
struct ig_token *ig_token_unref(struct ig_token *token); /* wipes on the last one; returns NULL */
