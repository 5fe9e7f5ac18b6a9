/*
 * Strict text to value: the whole string, in range, no sign, no blanks. The only place that may
 * call strtoul() and its relatives.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 0, or -EINVAL (not a plain decimal number) or -ERANGE; *ret is written only on success. */
int ig_parse_u16(const char *s, uint16_t *ret);
int ig_parse_u32(const char *s, uint32_t *ret);
int ig_parse_u64(const char *s, uint64_t *ret);

/* 8-4-4-4-12 hexadecimal digits, any letter case, nothing else. */
bool ig_parse_is_guid(const char *s);

/* Value of a hexadecimal digit, or -1. */
int ig_parse_hex_digit(char c);

/* Equality of ASCII text without regard to letter case and without looking at the locale. */
bool ig_str_equal_nocase(const char *a, const char *b);
/* The same for the first len bytes, or less when both end before. */
bool ig_str_equal_nocase_n(const char *a, const char *b, size_t len);
/* Lower-cases A-Z in place, leaving every other byte alone. */
void ig_str_lower(char *s);
bool ig_str_has_prefix(const char *s, const char *prefix);
/* Puts texts behind one another, up to a NULL. false if they do not fit, buf is then "". What
 * snprintf() would do, for keys that are made for each request. */
bool ig_str_concat(char *buf, size_t size, ...) __attribute__((sentinel));

/* Length of the valid UTF-8 sequence at s (at least one byte is left), or 0. Overlong forms and
 * surrogates are invalid (RFC 3629); control characters are not. */
size_t ig_utf8_sequence(const unsigned char *s, size_t left);
