/*
 * What IMDS and Entra ID have in common: forms and replies as RFC 6749 describes them. Private to
 * the sources of user/token. Pure.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "token/service.h"

/* Percent-encoded, everything but the unreserved characters of RFC 3986: right in queries as well
 * as in forms. */
void ig_oauth_put_encoded(struct ig_buf *b, const char *s);

/* The body as an object without duplicate members. -EBADMSG, -ENOMEM. */
int ig_oauth_parse(const char *body, size_t len, json_t **ret);

/* The token of a successful reply; one reference. Numbers may be strings. -EBADMSG: nonsense, or
 * it is for another client_id than the key expects. -ETIME: by our clock it expired before.
 * -ENOMEM. Wipes the token in the tree. */
int ig_oauth_read_token(const json_t *reply, const struct ig_token_key *key, uint64_t now_sec,
	struct ig_token **ret_token);

/* Why there is no token with -ETIME, for people. */
#define IG_OAUTH_EXPIRED_TEXT                                                                      \
	"upstream's token has expired by this machine's clock, which may be ahead"

/* -EACCES with the members error and error_description, both owned by the caller and cut to a
 * sensible length; -EBADMSG when there is no error, -ENOMEM. */
int ig_oauth_read_error(const json_t *reply, char **reterr_code, char **reterr_text);
