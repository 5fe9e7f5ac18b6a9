/*
 * The query parser; see query.h. Called for every request that may have one.
 *
 * It must never hand on a part of a query that it refuses as a whole, and never guess what a
 * malformed one may have meant: whoever decodes twice or skips what it does not understand reads
 * another request than the one that is checked.
 */
#include "imds/query.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/parse.h"

size_t ig_imds_text_sequence(const unsigned char *s, size_t left)
{
	size_t n = ig_utf8_sequence(s, left);

	if (s[0] < 0x20 || s[0] == 0x7f || (n == 2 && s[0] == 0xc2 && s[1] < 0xa0))
		return 0;
	return n;
}

static bool is_text(const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s;

	while (len) {
		size_t n = ig_imds_text_sequence(p, len);

		if (n == 0)
			return false;
		p += n;
		len -= n;
	}
	return true;
}

/* Appends the decoded s to the query's text. 0 or -EBADMSG. */
static int decode(
	struct ig_imds_query *q, const char *s, size_t len, const char **ret_text, size_t *ret_len)
{
	char *start = q->text + q->text_len, *p = start;

	if (len >= sizeof(q->text) - q->text_len)
		return -EBADMSG;
	for (size_t i = 0; i < len; i++) {
		int high, low;

		if (s[i] != '%') {
			*p++ = s[i] == '+' ? ' ' : s[i];
			continue;
		}
		if (len - i < 3)
			return -EBADMSG;
		high = ig_parse_hex_digit(s[i + 1]);
		low = ig_parse_hex_digit(s[i + 2]);
		if (high < 0 || low < 0)
			return -EBADMSG;
		*p++ = (char)(high << 4 | low);
		i += 2;
	}
	*ret_text = start;
	*ret_len = (size_t)(p - start);
	*p++ = '\0';
	q->text_len = (size_t)(p - q->text);
	return is_text(start, *ret_len) ? 0 : -EBADMSG;
}

const struct ig_imds_param *ig_imds_query_find(const struct ig_imds_query *q, const char *name)
{
	for (size_t i = 0; i < q->n_params; i++)
		if (strcmp(q->params[i].name, name) == 0)
			return &q->params[i];
	return NULL;
}

/* "name=value" or "name"; a name may come once. */
static int add_param(struct ig_imds_query *q, const char *s, size_t len)
{
	const char *equals = memchr(s, '=', len);
	size_t name_len = equals ? (size_t)(equals - s) : len;
	struct ig_imds_param param = {.value = ""};
	int r;

	if (q->n_params == IG_QUERY_PARAMS_MAX)
		return -EBADMSG;
	r = decode(q, s, name_len, &param.name, &name_len);
	if (r == 0 && equals)
		r = decode(q, equals + 1, len - (size_t)(equals - s) - 1, &param.value,
			&param.value_len);
	if (r < 0)
		return r;
	if (ig_imds_query_find(q, param.name))
		return -EBADMSG;
	q->params[q->n_params++] = param;
	return 0;
}

int ig_imds_query_parse(const char *text, struct ig_imds_query *ret)
{
	ret->n_params = 0;
	ret->text_len = 0;
	while (*text) {
		size_t len = strcspn(text, "&");
		int r = len ? add_param(ret, text, len) : 0;

		if (r < 0)
			return r;
		text += len + (text[len] == '&');
	}
	return 0;
}

const struct ig_imds_param *ig_imds_query_find_value(
	const struct ig_imds_query *q, const char *name)
{
	const struct ig_imds_param *param = ig_imds_query_find(q, name);

	return param && param->value_len ? param : NULL;
}
