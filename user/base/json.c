/*
 * jansson and its memory; see json.h. Called by whoever parses JSON.
 *
 * jansson 2.14 keeps the text of the token that it reads in a buffer, and does not notice when that
 * cannot grow: the rest of the token is lost byte by byte. Of a string without its closing quote it
 * then copies what stands behind the buffer, over the end of the copy; a number or word ends the
 * process by an assertion; a string whose middle is lost is taken for whole. So the buffer has to
 * grow whatever happens: there is a reserve for it, taken before the parser starts. The buffer is
 * known by what its code does: it is the parser's first allocation, it doubles, and the old one is
 * freed right after the new one was made. Once the reserve was needed, everything else gets
 * nothing, and the parser ends the way it does for any other allocation that fails, which it does
 * well.
 *
 * jansson has no allocator per document, so it is one for the process. What was allocated before
 * comes from malloc() as well: the order of calls does not matter.
 */
#include "base/json.h"

#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"

#define BUFFER_FIRST_BYTES 16

/* The parser that is running in this thread. */
struct parse {
	void *buffer; /* where the token's text stands; NULL before the first allocation */
	size_t buffer_bytes;
	void *last; /* what was allocated last */
	char *reserve;
	size_t reserve_bytes, reserve_used;
	bool failed; /* memory ran out */
};

static _Thread_local struct parse *running;
static bool wiping;

static bool is_of_reserve(const struct parse *parse, const void *p)
{
	return (uintptr_t)p - (uintptr_t)parse->reserve < parse->reserve_bytes;
}

static void *from_reserve(struct parse *parse, size_t size)
{
	void *p = parse->reserve + parse->reserve_used;

	if (!parse->buffer || size != 2 * parse->buffer_bytes ||
		size > parse->reserve_bytes - parse->reserve_used)
		return NULL;
	parse->reserve_used += size;
	return p;
}

static void *parser_malloc(size_t size)
{
	struct parse *parse = running;
	void *p = parse && parse->failed ? NULL : malloc(size);

	if (!parse)
		return p;
	if (!p) {
		parse->failed = true;
		p = from_reserve(parse, size);
	}
	if (p && !parse->buffer) {
		parse->buffer = p;
		parse->buffer_bytes = size;
	}
	parse->last = p;
	return p;
}

static void parser_free(void *p)
{
	struct parse *parse = running;

	if (!p)
		return;
	if (parse && p == parse->buffer) {
		parse->buffer = parse->last;
		parse->buffer_bytes *= 2;
	}
	if (parse && is_of_reserve(parse, p))
		return; /* wiped and freed with it */
	if (wiping)
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

/* Room for all of the buffer's sizes: it is doubled until it holds the longest token. */
static int take_reserve(struct parse *parse, size_t len)
{
	if (__builtin_mul_overflow(len, 8, &parse->reserve_bytes) ||
		__builtin_add_overflow(
			parse->reserve_bytes, 8 * BUFFER_FIRST_BYTES, &parse->reserve_bytes))
		return -ENOMEM;
	parse->reserve = malloc(parse->reserve_bytes);
	return parse->reserve ? 0 : -ENOMEM;
}

static void parse_done(struct parse *parse)
{
	running = NULL;
	if (parse->reserve_used > 0)
		explicit_bzero(parse->reserve, parse->reserve_used);
	free(parse->reserve);
}

static void say_no_memory(json_error_t *where)
{
	memset(where, 0, sizeof(*where));
	(void)snprintf(where->text, sizeof(where->text), "out of memory");
	where->text[sizeof(where->text) - 1] =
		json_error_out_of_memory; /* where jansson keeps it */
}

json_t *ig_json_load(const char *text, size_t len, size_t flags, json_error_t *reterr_where)
{
	_cleanup_(parse_done) struct parse parse = {};
	json_t *root = NULL;

	if (take_reserve(&parse, len) == 0) {
		running = &parse;
		root = json_loadb(text, len, flags, reterr_where);
	} else {
		parse.failed = true;
	}
	if (!parse.failed)
		return root;
	json_decref(root);
	if (reterr_where)
		say_no_memory(reterr_where);
	return NULL;
}

static int append(const char *text, size_t len, void *userdata)
{
	ig_buf_append(userdata, text, len);
	return 0; /* the buffer knows */
}

void ig_json_dump(struct ig_buf *b, const json_t *value, size_t flags)
{
	if (json_dump_callback(value, append, b, flags) < 0 && b->error == 0)
		b->error = -ENOMEM;
}

__attribute__((constructor)) static void use_allocator(void)
{
	json_set_alloc_funcs(parser_malloc, parser_free);
}

void ig_json_wipe_memory(void)
{
	wiping = true;
}
