/*
 * JSON text into jansson's trees, and jansson's memory.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

struct ig_buf;

/* json_loadb() that is safe when memory runs out; nobody calls the other one (json.c says why).
 * NULL then, with json_error_out_of_memory. reterr_where may be NULL. */
json_t *ig_json_load(const char *text, size_t len, size_t flags, json_error_t *reterr_where);

/* Appends the value's text. json_dumps() leaves keys out when memory runs out; here ig_buf_finish()
 * says so. */
void ig_json_dump(struct ig_buf *b, const json_t *value, size_t flags);

/* From here on everything that jansson frees in this process is overwritten first: a parsed reply
 * leaves its secrets in several of its buffers. May be called at any time and more than once. */
void ig_json_wipe_memory(void);
