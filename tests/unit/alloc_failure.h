/*
 * The allocation with the number `failing` finds no memory, once `armed`. For tests that are linked
 * with --wrap for malloc, calloc, strdup and strndup (tests/tests.mk). What a fixture allocates for
 * itself does not count while ALLOCATION_IS_SPARED, which the test defines before, is true.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

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
