/*
 * A growing byte buffer with a hard limit, and the one writer of JSON text that is not worth a tree
 * (log and audit lines, replies). Appending never fails in the middle: after the first failure the
 * buffer is "broken", later appends do nothing, and ig_buf_finish() says what happened. So callers
 * append freely and check once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct ig_buf {
	char *data; /* owned; terminated by a NUL that len does not count; NULL while empty */
	size_t len;
	size_t cap;
	size_t limit; /* never more than this many bytes, excluding the NUL */
	int error;    /* first failure: -ENOMEM or -E2BIG; 0 while healthy */
};

void ig_buf_init(struct ig_buf *b, size_t limit_bytes);
void ig_buf_done(struct ig_buf *b);  /* frees; the buffer may be initialised again */
void ig_buf_wipe(struct ig_buf *b);  /* overwrites the bytes, then frees: for secrets */
void ig_buf_reset(struct ig_buf *b); /* empties and heals, keeps the memory */

/* Room for so many more bytes at once (or as many as may be), so that it need not grow in steps. */
void ig_buf_expect(struct ig_buf *b, size_t more);
void ig_buf_append(struct ig_buf *b, const void *data, size_t len);
void ig_buf_putc(struct ig_buf *b, char c);
void ig_buf_put_u64(struct ig_buf *b, uint64_t n); /* in decimal */
void ig_buf_printf(struct ig_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A JSON string with its quotes. Bytes that are not valid UTF-8 become U+FFFD, control characters
 * and DEL become \u00XX: what comes out is valid JSON and safe on a terminal, whatever went in. */
void ig_buf_json_string(struct ig_buf *b, const char *s, size_t len);
/* The same of text that is known to be plain, all of it: see ig_json_plain(). */
void ig_buf_json_plain_string(struct ig_buf *b, const char *s, size_t len);

/* How many bytes at the front are themselves in a JSON string: printable ASCII but '"' and '\\'. */
size_t ig_json_plain(const char *s, size_t len);

/* Members of a JSON object: writes a comma unless the last byte is '{', then "key":value.
 * The key is a literal of ours and is not escaped. */
void ig_buf_json_key_len(struct ig_buf *b, const char *key, size_t len);

/* 0, or the first failure. */
int ig_buf_finish(const struct ig_buf *b);

/* Here, so that the compiler knows how long a literal is. */

static inline void ig_buf_puts(struct ig_buf *b, const char *s)
{
	ig_buf_append(b, s, strlen(s));
}

static inline void ig_buf_json_key(struct ig_buf *b, const char *key)
{
	ig_buf_json_key_len(b, key, strlen(key));
}

static inline void ig_buf_json_member_str(struct ig_buf *b, const char *key, const char *value)
{
	ig_buf_json_key(b, key);
	ig_buf_json_string(b, value, strlen(value));
}

static inline void ig_buf_json_member_u64(struct ig_buf *b, const char *key, uint64_t value)
{
	ig_buf_json_key(b, key);
	ig_buf_put_u64(b, value);
}

static inline void ig_buf_json_member_bool(struct ig_buf *b, const char *key, bool value)
{
	ig_buf_json_key(b, key);
	ig_buf_puts(b, value ? "true" : "false");
}

static inline void ig_buf_donep(struct ig_buf *b)
{
	ig_buf_done(b);
}
