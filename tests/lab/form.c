/*
 * Queries and form bodies; see form.h. A parser of its own, not the agent's: the lab has to notice
 * when the agent writes something that it alone can read. Called by imds.c, entra.c, request.c.
 */
#include "lab/form.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"

int lab_percent_decode(const char *text, size_t len, bool plus_is_space, char **ret)
{
	_cleanup_free_ char *out = malloc(len + 1);
	size_t n = 0;

	if (!out)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (c == '+' && plus_is_space) {
			c = ' ';
		} else if (c == '%') {
			bool whole = len - i > 2;
			int high = whole ? ig_parse_hex_digit(text[i + 1]) : -1;
			int low = whole ? ig_parse_hex_digit(text[i + 2]) : -1;

			if (high < 0 || low < 0)
				return -EBADMSG;
			c = (char)(high * 16 + low);
			i += 2;
		}
		if (c == '\0')
			return -EBADMSG;
		out[n++] = c;
	}
	out[n] = '\0';
	*ret = TAKE_PTR(out);
	return 0;
}

static int add_pair(struct lab_form *form, const char *text, size_t len)
{
	const char *equals = memchr(text, '=', len);
	size_t name_len = equals ? (size_t)(equals - text) : len;
	const char *value = equals ? equals + 1 : text + len;
	_cleanup_free_ char *decoded_name = NULL;
	_cleanup_free_ char *decoded_value = NULL;
	int r;

	if (form->n == LAB_FORM_PAIRS_MAX)
		return -E2BIG;
	r = lab_percent_decode(text, name_len, true, &decoded_name);
	if (r < 0)
		return r;
	r = lab_percent_decode(value, (size_t)(text + len - value), true, &decoded_value);
	if (r < 0)
		return r;
	form->pairs[form->n].name = TAKE_PTR(decoded_name);
	form->pairs[form->n].value = TAKE_PTR(decoded_value);
	form->n++;
	return 0;
}

int lab_form_parse(const char *text, size_t len, struct lab_form *ret)
{
	*ret = (struct lab_form){};
	while (len) {
		const char *amp = memchr(text, '&', len);
		size_t n = amp ? (size_t)(amp - text) : len;

		if (n) {
			int r = add_pair(ret, text, n);

			if (r < 0)
				return r;
		}
		if (!amp)
			break;
		text = amp + 1;
		len -= n + 1;
	}
	return 0;
}

void lab_form_done(struct lab_form *form)
{
	for (size_t i = 0; i < form->n; i++) {
		free(form->pairs[i].name);
		free(form->pairs[i].value);
	}
	form->n = 0;
}

const char *lab_form_get(const struct lab_form *form, const char *name)
{
	for (size_t i = 0; i < form->n; i++)
		if (strcmp(form->pairs[i].name, name) == 0)
			return form->pairs[i].value;
	return NULL;
}

bool lab_form_has_duplicates(const struct lab_form *form)
{
	for (size_t i = 0; i < form->n; i++)
		for (size_t j = 0; j < i; j++)
			if (strcmp(form->pairs[i].name, form->pairs[j].name) == 0)
				return true;
	return false;
}
