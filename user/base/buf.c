/*
 * Growing buffer and JSON text; see buf.h.
 */
#include "base/buf.h"

#include <errno.h>
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

/* The old memory is wiped because it may hold a secret. */
static bool grow(struct ig_buf *b, size_t need)
{
	size_t cap = b->cap ? b->cap : FIRST_CAP;
	char *data;

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

/* Makes room for `more` bytes and the NUL. */
static inline bool reserve(struct ig_buf *b, size_t more)
{
	size_t need;

	if (b->error)
		return false;
	if (__builtin_add_overflow(b->len, more, &need) || need > b->limit) {
		b->error = -E2BIG;
		return false;
	}
	return need < b->cap || grow(b, need);
}

/* Takes what was written to the room that reserve() made. */
static inline void extend(struct ig_buf *b, size_t more)
{
	b->len += more;
	b->data[b->len] = '\0';
}

void ig_buf_expect(struct ig_buf *b, size_t more)
{
	size_t left = b->limit - b->len;

	(void)reserve(b, more < left ? more : left);
}

void ig_buf_append(struct ig_buf *b, const void *data, size_t len)
{
	if (!reserve(b, len))
		return;
	if (len)
		memcpy(b->data + b->len, data, len);
	extend(b, len);
}

void ig_buf_putc(struct ig_buf *b, char c)
{
	if (!reserve(b, 1))
		return;
	b->data[b->len] = c;
	extend(b, 1);
}

#define DIGITS_MAX 20 /* of a 64-bit number */

void ig_buf_put_u64(struct ig_buf *b, uint64_t n)
{
	char digits[DIGITS_MAX];
	size_t first = DIGITS_MAX;

	do
		digits[--first] = (char)('0' + n % 10);
	while (n /= 10);
	ig_buf_append(b, digits + first, DIGITS_MAX - first);
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

#define EACH_BYTE(byte) (0x0101010101010101ULL * (byte))

/* Sets the highest bit of each byte that is below n, and perhaps of some that are not: of those
 * behind one that is, and of those from 0x80 + n on. */
static inline uint64_t mark_below(uint64_t word, unsigned char n)
{
	return word - EACH_BYTE(n);
}

/* Are all of these eight plain bytes? When in doubt, no: bytes are then looked at one by one. */
static inline bool is_plain_word(uint64_t word)
{
	uint64_t others = word | mark_below(word, 0x20) | mark_below(word ^ EACH_BYTE('"'), 1) |
			  mark_below(word ^ EACH_BYTE('\\'), 1) |
			  mark_below(word ^ EACH_BYTE(0x7f), 1);

	return (others & EACH_BYTE(0x80)) == 0;
}

static inline bool is_plain_byte(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static inline bool is_plain_at(const char *s)
{
	uint64_t word;

	memcpy(&word, s, sizeof(word));
	return is_plain_word(word);
}

#define LANES 16

/* The compiler has instructions for that many bytes at once, whatever the machine. */
typedef signed char lanes __attribute__((vector_size(LANES)));
typedef uint64_t lane_words __attribute__((vector_size(LANES)));

static inline bool is_plain_vector_at(const char *s)
{
	lane_words others;
	lanes c;

	memcpy(&c, s, sizeof(c));
	/* signed: bytes from 0x80 on are below the others */
	others = (lane_words)((c < 0x20) | (c == '"') | (c == '\\') | (c == 0x7f));
	return (others[0] | others[1]) == 0;
}

size_t ig_json_plain(const char *s, size_t len)
{
	const size_t step = sizeof(uint64_t);
	size_t n = 0;

	while (len - n >= LANES && is_plain_vector_at(s + n))
		n += LANES;
	if (len >= LANES && len - n < LANES && is_plain_vector_at(s + len - LANES))
		return len;
	while (len - n >= step && is_plain_at(s + n))
		n += step;
	/* the rest, with some bytes before it */
	if (len >= step && len - n < step && is_plain_at(s + len - step))
		return len;
	while (n < len && is_plain_byte((unsigned char)s[n]))
		n++;
	return n;
}

/* What stands at the front and is not plain; returns its length there. */
static size_t put_character(struct ig_buf *b, const unsigned char *p, size_t len)
{
	size_t n = ig_utf8_sequence(p, len);

	if (n == 0) {
		ig_buf_puts(b, "\\ufffd");
		return 1;
	}
	if (*p == '"' || *p == '\\') {
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
	return n;
}

void ig_buf_json_plain_string(struct ig_buf *b, const char *s, size_t len)
{
	char *p;

	if (!reserve(b, len + 2))
		return;
	p = b->data + b->len;
	*p++ = '"';
	if (len)
		memcpy(p, s, len);
	p[len] = '"';
	extend(b, len + 2);
}

void ig_buf_json_string(struct ig_buf *b, const char *s, size_t len)
{
	if (ig_json_plain(s, len) == len) {
		ig_buf_json_plain_string(b, s, len);
		return;
	}
	ig_buf_putc(b, '"');
	while (len) {
		size_t n = ig_json_plain(s, len);

		if (n)
			ig_buf_append(b, s, n);
		else
			n = put_character(b, (const unsigned char *)s, len);
		s += n;
		len -= n;
	}
	ig_buf_putc(b, '"');
}

void ig_buf_json_key_len(struct ig_buf *b, const char *key, size_t len)
{
	bool is_first = !b->len || b->data[b->len - 1] == '{';
	char *p;

	if (!reserve(b, len + 4))
		return;
	p = b->data + b->len;
	if (!is_first)
		*p++ = ',';
	*p++ = '"';
	memcpy(p, key, len);
	p += len;
	*p++ = '"';
	*p++ = ':';
	extend(b, (size_t)(p - b->data) - b->len);
}

int ig_buf_finish(const struct ig_buf *b)
{
	return b->error;
}
