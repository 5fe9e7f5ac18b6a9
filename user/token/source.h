/*
 * Where tokens come from. A source turns one key into one upstream exchange and its reply into a
 * token; it does not cache, queue or retry. source_imds.c is the first; Entra sources join it here.
 */
#pragma once

#include "token/service.h"

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

struct ig_token *ig_token_ref(const struct ig_token *token);
struct ig_token *ig_token_unref(struct ig_token *token); /* wipes on the last one; returns NULL */
