/*
 * Making tokens. Private to the sources of user/token; everybody else only holds references
 * (source.h).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "token/source.h"

struct ig_token_fields {
	const char *access_token; /* visible ASCII */
	const char *client_id;	  /* "" when the reply named none */
	uint64_t expires_on_sec;
	uint64_t not_before_sec;
	uint64_t ext_expires_in_sec;
};

/* Copies, and fills in what follows from the token itself: its hash, the fingerprint and, if it is
 * a JWT, the claims oid and tid. One reference. */
int ig_token_new(const struct ig_token_fields *fields, struct ig_token **ret);

/* Does the token say of itself that it is for that application (claims appid, azp)? 0 when it does,
 * or says nothing: most resources' tokens are JWTs, but nothing promises that. -EBADMSG: for
 * another one. -ENOMEM: cannot tell. */
int ig_token_check_app(const struct ig_token *token, const char *client_id);
