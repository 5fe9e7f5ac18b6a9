/*
 * The allocation with the number `failing` finds no memory, once `armed`. For tests that are linked
 * with --wrap for all of these (ALLOCATIONS in tests/tests.mk). What a fixture allocates for
 * itself does not count while ALLOCATION_IS_SPARED, which the test defines before, is true.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#ifndef ALLOCATION_IS_SPARED
#define ALLOCATION_IS_SPARED false
#endif

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
char *__real_strdup(const char *s);
char *__real_strndup(const char *s, size_t len);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t len);
int __wrap_asprintf(char **ret, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static bool armed;
static unsigned int allocations, failing;

static bool fails(void)
{
	return armed && !ALLOCATION_IS_SPARED && ++allocations == failing;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t len)
{
	return fails() ? NULL : __real_strndup(s, len);
}

int __wrap_asprintf(char **ret, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (fails()) {
		*ret = (char *)1; /* which nobody may use */
		return -1;
	}
	va_start(ap, fmt);
	n = vasprintf(ret, fmt, ap);
	va_end(ap);
	return n;
}
