/*
 * Suggestions as YAML; see suggest.h. Plain ASCII: every text stands in double quotes with
 * everything else escaped, in comments too, so none can end its line or become something else.
 */
#include <inttypes.h>
#include <stdint.h>
#include <string.h>

#include "base/parse.h"
#include "review/suggest.h"

#define INDENT 2

static uint32_t decode(const unsigned char *s, size_t n)
{
	uint32_t c = n == 1 ? s[0] : s[0] & (0xffU >> (n + 1));

	for (size_t i = 1; i < n; i++)
		c = c << 6 | (s[i] & 0x3f);
	return c;
}

/* The inside of a double-quoted scalar. */
static void put_escaped(struct ig_buf *b, const char *s)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t left = strlen(s);

	while (left) {
		size_t n = ig_utf8_sequence(p, left);
		uint32_t c = n ? decode(p, n) : 0xfffd;

		if (c == '"' || c == '\\')
			ig_buf_printf(b, "\\%c", (int)c);
		else if (c >= ' ' && c <= '~')
			ig_buf_putc(b, (char)c);
		else if (c <= 0xffff)
			ig_buf_printf(b, "\\u%04" PRIx32, c);
		else
			ig_buf_printf(b, "\\U%08" PRIx32, c);
		n = n ? n : 1;
		p += n;
		left -= n;
	}
}

static void put_quoted(struct ig_buf *b, const char *s)
{
	ig_buf_putc(b, '"');
	put_escaped(b, s);
	ig_buf_putc(b, '"');
}

/* Field names of ours are letters; a label's key is not. */
static void put_key(struct ig_buf *b, const char *key)
{
	if (key[strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")] == '\0')
		ig_buf_puts(b, key);
	else
		put_quoted(b, key);
	ig_buf_putc(b, ':');
}

static void put_spaces(struct ig_buf *b, unsigned int n)
{
	ig_buf_printf(b, "%*s", (int)n, "");
}

/* A sequence of texts. */
static void put_sequence(struct ig_buf *b, const json_t *list, unsigned int depth)
{
	const json_t *item;
	size_t i;

	if (json_array_size(list) == 0) {
		ig_buf_puts(b, " []\n");
		return;
	}
	ig_buf_putc(b, '\n');
	json_array_foreach (list, i, item) {
		put_spaces(b, depth);
		ig_buf_puts(b, "- ");
		put_quoted(b, json_string_value(item));
		ig_buf_putc(b, '\n');
	}
}

/* Texts, booleans, sequences of texts and mappings: a tree of ours, so it is not deep. */
static void put_mapping(struct ig_buf *b, const json_t *object, unsigned int depth)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)object, key, value) {
		put_spaces(b, depth);
		put_key(b, key);
		if (json_is_object(value) && json_object_size(value) == 0) {
			ig_buf_puts(b, " {}\n");
		} else if (json_is_object(value)) {
			ig_buf_putc(b, '\n');
			put_mapping(b, value, depth + INDENT);
		} else if (json_is_array(value)) {
			put_sequence(b, value, depth + INDENT);
		} else if (json_is_string(value)) {
			ig_buf_putc(b, ' ');
			put_quoted(b, json_string_value(value));
			ig_buf_putc(b, '\n');
		} else {
			ig_buf_puts(b, json_is_true(value) ? " true\n" : " false\n");
		}
	}
}

static void put_notes(struct ig_buf *b, const json_t *notes)
{
	const json_t *item;
	size_t i;

	json_array_foreach (notes, i, item) {
		ig_buf_puts(b, "# - ");
		put_escaped(b, json_string_value(item));
		ig_buf_putc(b, '\n');
	}
}

static void put_period(struct ig_buf *b, const json_t *counted)
{
	const char *first = json_string_value(json_object_get(counted, "first"));
	const char *last = json_string_value(json_object_get(counted, "last"));

	ig_buf_printf(b, "%lld requests",
		(long long)json_integer_value(json_object_get(counted, "requests")));
	if (first && last)
		ig_buf_printf(b, ", %.19sZ to %.19sZ", first, last);
	ig_buf_putc(b, '\n');
}

void ig_suggest_yaml(const json_t *result, struct ig_buf *b)
{
	const json_t *left_out = json_object_get(result, "left_out"), *suggestion;
	size_t i;

	ig_buf_puts(
		b, "# Suggested by `imdsgate policy suggest` from what was used with success: ");
	put_period(b, result);
	ig_buf_printf(b,
		"# %lld requests that were denied or failed are not allowed by it for that reason.\n"
		"# Look at each line: what was used is not always what should be. `mode: Audit` in a spec only\n"
		"# watches; `imdsgate policy replay` shows what it would change.\n",
		(long long)json_integer_value(json_object_get(result, "not_allowed")));
	if (json_array_size(left_out))
		ig_buf_puts(b, "# Left out:\n");
	put_notes(b, left_out);
	json_array_foreach (json_object_get(result, "suggestions"), i, suggestion) {
		ig_buf_puts(b, "---\n# ");
		put_period(b, suggestion);
		put_notes(b, json_object_get(suggestion, "notes"));
		put_mapping(b, json_object_get(suggestion, "policy"), 0);
	}
}
