/*
 * How a request for a token ended: shared by all who wait for the same answer, and remembered as
 * the last failure of a key. Private to the token service.
 */
#pragma once

#include <sys/queue.h>

#include "token/service.h"

struct ig_token_ident;

struct ig_token_outcome {
	LIST_ENTRY(ig_token_outcome) link; /* in the service's list: purge looks through it */
	unsigned int refs;
	struct ig_token_ident *ident; /* reference; NULL for the spare one */
	struct ig_token *token;	      /* reference; NULL: failed */
	enum ig_token_cache_state cache;
	enum ig_token_failure_kind kind;
	char *code; /* owned */
	char *text; /* owned; NULL: see why */
	const char *why;
};

LIST_HEAD(ig_token_outcomes, ig_token_outcome);

/* One reference, or NULL when memory is short. */
struct ig_token_outcome *ig_token_outcome_success(struct ig_token_outcomes *list,
	struct ig_token_ident *ident, const struct ig_token *token,
	enum ig_token_cache_state cache);
struct ig_token_outcome *ig_token_outcome_failure(struct ig_token_outcomes *list,
	struct ig_token_ident *ident, const struct ig_token_failure *failure);

struct ig_token_outcome *ig_token_outcome_ref(struct ig_token_outcome *outcome);
struct ig_token_outcome *ig_token_outcome_unref(struct ig_token_outcome *outcome);

/* The token may not be handed out after all: from now on this is a failure. */
void ig_token_outcome_revoke(struct ig_token_outcome *outcome);
