/*
 * Strict text to value; see parse.h.
 */
#include "base/parse.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

int ig_parse_u64(const char *s, uint64_t *ret)
{
	uint64_t value = 0;

	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		if (*s < '0' || *s > '9')
			return -EINVAL;
		if (__builtin_mul_overflow(value, 10ULL, &value) ||
			__builtin_add_overflow(value, (uint64_t)(*s - '0'), &value))
			return -ERANGE;
	}
	*ret = value;
	return 0;
}

int ig_parse_u32(const char *s, uint32_t *ret)
{
	uint64_t value;
	int r = ig_parse_u64(s, &value);

	if (r < 0)
		return r;
	if (value > UINT32_MAX)
		return -ERANGE;
	*ret = (uint32_t)value;
	return 0;
}

int ig_parse_u16(const char *s, uint16_t *ret)
{
	uint64_t value;
	int r = ig_parse_u64(s, &value);

	if (r < 0)
		return r;
	if (value > UINT16_MAX)
		return -ERANGE;
	*ret = (uint16_t)value;
	return 0;
}

int ig_parse_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool ig_parse_is_guid(const char *s)
{
	for (size_t i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? s[i] != '-' : ig_parse_hex_digit(s[i]) < 0)
			return false;
	}
	return s[36] == '\0';
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool ig_str_equal_nocase(const char *a, const char *b)
{
	while (*a && lower(*a) == lower(*b)) {
		a++;
		b++;
	}
	return lower(*a) == lower(*b);
}

bool ig_str_equal_nocase_n(const char *a, const char *b, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (lower(a[i]) != lower(b[i]))
			return false;
		if (!a[i])
			break;
	}
	return true;
}

void ig_str_lower(char *s)
{
	for (; *s; s++)
		*s = lower(*s);
}

bool ig_str_has_prefix(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

size_t ig_utf8_sequence(const unsigned char *s, size_t left)
{
	unsigned char first = s[0];
	size_t n = first < 0x80			    ? 1
		   : first >= 0xc2 && first <= 0xdf ? 2
		   : (first & 0xf0) == 0xe0	    ? 3
		   : first >= 0xf0 && first <= 0xf4 ? 4
						    : 0;

	if (n == 0 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((first == 0xe0 && s[1] < 0xa0) || (first == 0xed && s[1] > 0x9f) ||
		(first == 0xf0 && s[1] < 0x90) || (first == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

bool ig_str_concat(char *buf, size_t size, ...)
{
	size_t len = 0;
	bool fits = true;
	const char *part;
	va_list parts;

	va_start(parts, size);
	while (fits && (part = va_arg(parts, const char *)) != NULL) {
		size_t n = strlen(part);

		fits = n < size - len;
		if (fits)
			memcpy(buf + len, part, n);
		len += fits ? n : 0;
	}
	va_end(parts);
	buf[fits ? len : 0] = '\0';
	return fits;
}
