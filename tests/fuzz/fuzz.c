/*
 * Reading inputs; see fuzz.h.
 */
#include "fuzz/fuzz.h"

#include <string.h>

uint8_t fuzz_byte(struct fuzz_input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->data++;
}

char *fuzz_copy(const void *data, size_t len)
{
	char *copy = malloc(len ? len : 1);

	if (!copy)
		abort();
	if (len)
		memcpy(copy, data, len);
	return copy;
}

static char *text_of(const uint8_t *data, size_t len)
{
	size_t n = strnlen((const char *)data, len);
	char *text = malloc(n + 1);

	if (!text)
		abort();
	memcpy(text, data, n);
	text[n] = '\0';
	return text;
}

char *fuzz_line(struct fuzz_input *in)
{
	const uint8_t *end = in->left ? memchr(in->data, '\n', in->left) : NULL;
	size_t len = end ? (size_t)(end - in->data) : in->left;
	char *text = in->left ? text_of(in->data, len) : text_of((const uint8_t *)"", 0);

	in->data += len + (end ? 1 : 0);
	in->left -= len + (end ? 1 : 0);
	return text;
}

char *fuzz_text(struct fuzz_input *in)
{
	char *text = in->left ? text_of(in->data, in->left) : text_of((const uint8_t *)"", 0);

	in->data += in->left;
	in->left = 0;
	return text;
}

size_t fuzz_cut(struct fuzz_cuts *cuts, size_t left)
{
	size_t len;

	/* numerical recipes' generator; the upper bits are the good ones */
	cuts->state = cuts->state * 1664525U + 1013904223U;
	len = 1 + ((cuts->state >> 16) & ((1U << ((cuts->state >> 8) & 7)) - 1));
	return len < left ? len : left;
}

uint64_t fuzz_hash(uint64_t hash, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ p[i]) * 1099511628211ULL;
	return hash;
}

uint64_t fuzz_hash_text(uint64_t hash, const char *text)
{
	return text ? fuzz_hash(hash, text, strlen(text) + 1) : fuzz_hash(hash, "\1", 1);
}
