/*
 * Access tokens: signed, and kept as IMDS keeps them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "lab/identities.h"
#include "lab/signer.h"

#define LAB_TOKENS_KEPT_MAX 4096

struct lab_token {
	char *text; /* owned */
	uint64_t not_before_sec;
	uint64_t expires_on_sec;
	uint64_t life_sec; /* what it was issued for */
};

/* Signs a token with a new uti, good from now-300 to now+life. appidacr: "1" secret, "2" other. */
int lab_jwt_mint(const struct lab_signer *signer, const char *tenant,
	const struct lab_identity *identity, const char *resource, const char *appidacr,
	uint64_t now_sec, uint64_t life_sec, struct lab_token *ret);
void lab_token_done(struct lab_token *token);

/* What IMDS remembers, per identity and resource, until half of the life is over. */
struct lab_tokens;

int lab_tokens_new(struct lab_tokens **ret);
struct lab_tokens *lab_tokens_free(struct lab_tokens *tokens);
IG_DEFINE_CLEANUP(struct lab_tokens *, lab_tokens_free);

/* NULL when there is none that is still fresh. Owned by tokens, until the next call. */
const struct lab_token *lab_tokens_get(struct lab_tokens *tokens,
	const struct lab_identity *identity, const char *resource, uint64_t now_sec);
/* Replaces the kept one. Takes token over, also on failure. */
int lab_tokens_put(struct lab_tokens *tokens, const struct lab_identity *identity,
	const char *resource, struct lab_token *token, const struct lab_token **ret_kept);
void lab_tokens_flush(struct lab_tokens *tokens);
