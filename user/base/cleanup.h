/*
 * Scope-bound ownership. Every owning local is declared with one of these attributes and
 * initialised where it is declared; ownership leaves it only through TAKE_PTR() or TAKE_FD(), so a
 * reader can see that a function does not leak without opening what it calls.
 */
#pragma once

#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f)   __attribute__((cleanup(f)))
#define _cleanup_free_ _cleanup_(ig_freep)
/* closes the descriptor unless it is negative; the sentinel of an unset descriptor is -1 */
#define _cleanup_close_ _cleanup_(ig_closep)

/* Defines func##p() for use with _cleanup_(); func must accept NULL. */
#define IG_DEFINE_CLEANUP(type, func)                                                              \
	static inline void func##p(type *p)                                                        \
	{                                                                                          \
		if (*p)                                                                            \
			func(*p);                                                                  \
	}                                                                                          \
	struct ig_cleanup_needs_a_semicolon

#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		__auto_type _taken = (p);                                                          \
		(p) = NULL;                                                                        \
		_taken;                                                                            \
	})

#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int _taken = (fd);                                                                 \
		(fd) = -1;                                                                         \
		_taken;                                                                            \
	})

#define IG_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static inline void ig_freep(void *p)
{
	free(*(void **)p);
}

/* Closes fd if it is one; returns -1, so that `fd = ig_close(fd)` leaves the sentinel behind. */
static inline int ig_close(int fd)
{
	if (fd >= 0)
		(void)close(fd);
	return -1;
}

static inline void ig_closep(const int *fd)
{
	(void)ig_close(*fd);
}
