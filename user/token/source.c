/*
 * The table of sources, and what their calls and answers have in common; see source.h. Called by
 * the token service. A new source is a new row here.
 *
 * It must never put into a text what was sent or received: texts reach the audit.
 */
#include "token/source.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "http/client.h"

#define ENTRA                                                                                      \
	{                                                                                          \
		.lane = IG_SOURCE_LANE_ENTRA, .is_complete = ig_source_entra_is_complete,          \
		.prepare = ig_source_entra_prepare, .read = ig_source_entra_read                   \
	}

static const struct ig_source sources[_IG_TOKEN_SOURCE_MAX] = {
	[IG_TOKEN_SOURCE_IMDS] = {.lane = IG_SOURCE_LANE_IMDS,
		.is_complete = ig_source_imds_is_complete,
		.prepare = ig_source_imds_prepare,
		.read = ig_source_imds_read},
	[IG_TOKEN_SOURCE_SECRET] = ENTRA,
	[IG_TOKEN_SOURCE_CERTIFICATE] = ENTRA,
	[IG_TOKEN_SOURCE_CERTIFICATE_RS256] = ENTRA,
	[IG_TOKEN_SOURCE_FEDERATION] = ENTRA,
	[IG_TOKEN_SOURCE_SERVICE_ACCOUNT] = {.lane = IG_SOURCE_LANE_SERVICE_ACCOUNT,
		.is_complete = ig_source_entra_is_complete,
		.audience = ig_source_entra_audience,
		.prepare = ig_source_entra_prepare,
		.read = ig_source_entra_read},
};

const struct ig_source *ig_source_get(enum ig_token_source_kind kind)
{
	return (unsigned int)kind < _IG_TOKEN_SOURCE_MAX ? &sources[kind] : NULL;
}

void ig_source_call_done(struct ig_source_call *call)
{
	free(call->url);
	ig_buf_wipe(&call->form);
	*call = (struct ig_source_call){};
}

void ig_source_answer_done(struct ig_source_answer *answer)
{
	(void)ig_token_unref(answer->token);
	free(answer->code);
	free(answer->text);
	*answer = (struct ig_source_answer){};
}

void ig_source_answer_fail(
	struct ig_source_answer *answer, enum ig_token_failure_kind kind, const char *fmt, ...)
{
	va_list ap;

	answer->kind = kind;
	va_start(ap, fmt);
	(void)vsnprintf(answer->own_text, sizeof(answer->own_text), fmt, ap);
	va_end(ap);
}

void ig_source_answer_no_reply(
	struct ig_source_answer *answer, const struct ig_http_response *response)
{
	enum ig_token_failure_kind kind = IG_TOKEN_UNAVAILABLE;

	switch (response->error) {
	case -ETIMEDOUT:
		ig_source_answer_fail(answer, IG_TOKEN_UNAVAILABLE, "upstream timed out");
		return;
	case -E2BIG:
	case -EBADMSG:
	case -EINVAL: kind = IG_TOKEN_BROKEN; break;
	default: break;
	}
	ig_source_answer_fail(answer, kind, "%s", response->error_text);
}
