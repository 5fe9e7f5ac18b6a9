/*
 * Client assertions (RFC 7523): JWTs that take the place of a client secret.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "lab/identities.h"
#include "lab/replay.h"
#include "lab/reply.h"

enum lab_assertion_by {
	LAB_ASSERTION_REFUSED,
	LAB_ASSERTION_CERTIFICATE, /* the application signed it itself */
	LAB_ASSERTION_FEDERATION,  /* somebody whom the identity trusts did */
	_LAB_ASSERTION_MAX
};

struct lab_assertion {
	const char *text;
	const char *url; /* of the token endpoint, as it was called: the audience */
	const struct lab_identity *identity;
	struct lab_replay *replay;
	uint64_t now_sec;
};

/* Says whether the identity is who it says. When refused, the reply says why. */
enum lab_assertion_by lab_assertion_check(
	const struct lab_assertion *assertion, struct lab_reply *reply);
