/*
 * The query of a request target: "name=value" pairs, decoded once and checked as a whole. Pure and
 * without allocation; what it takes in is hostile. Used by request.c and document.c.
 *
 * A query is refused when a percent sign is not followed by two digits, when a name or value is not
 * UTF-8 or holds a control character, when a name comes twice (the real service refuses that, too),
 * or when there are more than IG_QUERY_PARAMS_MAX of them. ';' separates nothing.
 */
#pragma once

#include <stddef.h>

#include <imdsgate/limits.h>

struct ig_imds_param {
	const char *name;  /* NUL-terminated and decoded, as is the value; within the query */
	const char *value; /* "" when there was none */
	size_t value_len;
};

/* Decoding never makes text longer; every name and value gets a NUL. Not to be copied: params point
 * into text. */
struct ig_imds_query {
	struct ig_imds_param params[IG_QUERY_PARAMS_MAX];
	size_t n_params;
	char text[IG_HTTP_TARGET_BYTES + 2 * IG_QUERY_PARAMS_MAX + 1];
	size_t text_len;
};

/* text is what follows the '?'. 0, or -EBADMSG: what *ret then holds means nothing. */
int ig_imds_query_parse(const char *text, struct ig_imds_query *ret);

/* The parameter of that name, or NULL. */
const struct ig_imds_param *ig_imds_query_find(const struct ig_imds_query *q, const char *name);
/* The same, but an empty value counts as an absent one. */
const struct ig_imds_param *ig_imds_query_find_value(
	const struct ig_imds_query *q, const char *name);

/* Length of the UTF-8 sequence at s, or 0: overlong forms, surrogates (RFC 3629) and control
 * characters, U+0080 to U+009F among them, are none. left is at least 1. */
size_t ig_imds_text_sequence(const unsigned char *s, size_t left);
