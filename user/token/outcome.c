/*
 * Outcomes of requests; see outcome.h. Called by the token service.
 *
 * It must never keep a token alive that was revoked: an outcome that still waits to be delivered is
 * a place where a token lives, so all of them stand in a list that purge can see.
 */
#include "token/outcome.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "token/cache.h"
#include "token/source.h"

#define REVOKED "the identity is no longer available to this workload"

static struct ig_token_outcome *outcome_new(
	struct ig_token_outcomes *list, struct ig_token_ident *ident)
{
	struct ig_token_outcome *outcome = calloc(1, sizeof(*outcome));

	if (!outcome)
		return NULL;
	outcome->refs = 1;
	outcome->ident = ig_token_ident_ref(ident);
	outcome->why = "";
	LIST_INSERT_HEAD(list, outcome, link);
	return outcome;
}

struct ig_token_outcome *ig_token_outcome_success(struct ig_token_outcomes *list,
	struct ig_token_ident *ident, const struct ig_token *token, enum ig_token_cache_state cache)
{
	struct ig_token_outcome *outcome = outcome_new(list, ident);

	if (!outcome)
		return NULL;
	outcome->token = ig_token_ref(token);
	outcome->cache = cache;
	return outcome;
}

/* A text that finds no memory is left out: the kind is what matters. */
struct ig_token_outcome *ig_token_outcome_failure(struct ig_token_outcomes *list,
	struct ig_token_ident *ident, const struct ig_token_failure *failure)
{
	struct ig_token_outcome *outcome = outcome_new(list, ident);

	if (!outcome)
		return NULL;
	outcome->cache = IG_TOKEN_MISS;
	outcome->kind = failure->kind;
	outcome->code = strdup(failure->code);
	outcome->text = strdup(failure->text);
	return outcome;
}

struct ig_token_outcome *ig_token_outcome_ref(struct ig_token_outcome *outcome)
{
	assert(outcome->refs > 0);
	outcome->refs++;
	return outcome;
}

struct ig_token_outcome *ig_token_outcome_unref(struct ig_token_outcome *outcome)
{
	if (!outcome)
		return NULL;
	assert(outcome->refs > 0);
	if (--outcome->refs > 0)
		return NULL;
	LIST_REMOVE(outcome, link);
	(void)ig_token_unref(outcome->token);
	(void)ig_token_ident_unref(outcome->ident);
	free(outcome->code);
	free(outcome->text);
	free(outcome);
	return NULL;
}

void ig_token_outcome_revoke(struct ig_token_outcome *outcome)
{
	outcome->token = ig_token_unref(outcome->token);
	outcome->cache = IG_TOKEN_MISS;
	outcome->kind = IG_TOKEN_UNAVAILABLE;
	outcome->why = REVOKED;
}
