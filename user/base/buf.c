/*
 * Growing buffer and JSON text; see buf.h.
 */
#include "base/buf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"

#define FIRST_CAP 256

void ig_buf_init(struct ig_buf *b, size_t limit_bytes)
{
	*b = (struct ig_buf){.limit = limit_bytes};
}

void ig_buf_done(struct ig_buf *b)
{
	free(b->data);
	*b = (struct ig_buf){.limit = b->limit};
}

void ig_buf_wipe(struct ig_buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	ig_buf_done(b);
}

void ig_buf_reset(struct ig_buf *b)
{
	b->len = 0;
	b->error = 0;
	if (b->data)
		b->data[0] = '\0';
}

/* Makes room for `more` bytes and the NUL. The old memory is wiped because it may hold a secret. */
static bool reserve(struct ig_buf *b, size_t more)
{
	size_t need, cap;
	char *data;

	if (b->error)
		return false;
	if (__builtin_add_overflow(b->len, more, &need) || need > b->limit) {
		b->error = -E2BIG;
		return false;
	}
	if (need < b->cap)
		return true;
	cap = b->cap ? b->cap : FIRST_CAP;
	while (cap <= need) {
		if (__builtin_mul_overflow(cap, 2, &cap)) {
			b->error = -E2BIG;
			return false;
		}
	}
	data = malloc(cap);
	if (!data) {
		b->error = -ENOMEM;
		return false;
	}
	if (b->data) {
		memcpy(data, b->data, b->len + 1);
		/* all of it: a reset leaves what was there behind len */
		explicit_bzero(b->data, b->cap);
		free(b->data);
	}
	b->data = data;
	b->cap = cap;
	return true;
}

void ig_buf_append(struct ig_buf *b, const void *data, size_t len)
{
	if (!reserve(b, len))
		return;
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void ig_buf_puts(struct ig_buf *b, const char *s)
{
	ig_buf_append(b, s, strlen(s));
}

void ig_buf_putc(struct ig_buf *b, char c)
{
	ig_buf_append(b, &c, 1);
}

void ig_buf_printf(struct ig_buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 && !b->error)
		b->error = -E2BIG; /* longer than an int can say, or not representable */
	if (n < 0 || !reserve(b, (size_t)n))
		return;
	va_start(ap, fmt);
	(void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

void ig_buf_json_string(struct ig_buf *b, const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s;

	ig_buf_putc(b, '"');
	while (len) {
		size_t n = ig_utf8_sequence(p, len);

		if (n == 0) {
			ig_buf_puts(b, "\\ufffd");
			n = 1;
		} else if (*p == '"' || *p == '\\') {
			ig_buf_putc(b, '\\');
			ig_buf_putc(b, (char)*p);
		} else if (*p < 0x20 || *p == 0x7f) {
			ig_buf_printf(b, "\\u%04x", *p);
		} else if (n == 2 && p[0] == 0xc2 && p[1] < 0xa0) {
			/* C1 controls: some terminals obey them */
			ig_buf_printf(b, "\\u%04x", p[1]);
		} else {
			ig_buf_append(b, p, n);
		}
		p += n;
		len -= n;
	}
	ig_buf_putc(b, '"');
}

void ig_buf_json_key(struct ig_buf *b, const char *key)
{
	if (b->len && b->data[b->len - 1] != '{')
		ig_buf_putc(b, ',');
	ig_buf_printf(b, "\"%s\":", key);
}

void ig_buf_json_member_str(struct ig_buf *b, const char *key, const char *value)
{
	ig_buf_json_key(b, key);
	ig_buf_json_string(b, value, strlen(value));
}

void ig_buf_json_member_u64(struct ig_buf *b, const char *key, uint64_t value)
{
	ig_buf_json_key(b, key);
	ig_buf_printf(b, "%" PRIu64, value);
}

void ig_buf_json_member_bool(struct ig_buf *b, const char *key, bool value)
{
	ig_buf_json_key(b, key);
	ig_buf_puts(b, value ? "true" : "false");
}

int ig_buf_finish(const struct ig_buf *b)
{
	return b->error;
}
