/*
 * Files for the tests of user/kube in a directory of their own, and a look at every block that our
 * code frees: none may still hold a secret. A test program that includes this is linked with
 * --wrap=free. Included after cmocka's headers.
 */
#pragma once

#include <fcntl.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET	   "s3cr3t"
#define PATH_BYTES 256

static char dir[64];

/* ---- freed secrets --------------------------------------------------------------------------- */

static int n_secrets_freed;
static const char *other_secret; /* looked for, too; NULL: none */

void __real_free(void *p);
void __wrap_free(void *p);

void __wrap_free(void *p)
{
	size_t len = p ? malloc_usable_size(p) : 0;

	if (len && memmem(p, len, SECRET, strlen(SECRET)))
		n_secrets_freed++;
	if (len && other_secret && memmem(p, len, other_secret, strlen(other_secret)))
		n_secrets_freed++;
	__real_free(p);
}

/* ---- files ----------------------------------------------------------------------------------- */

static inline const char *path_of(const char *name)
{
	static char paths[4][PATH_BYTES];
	static unsigned int next;
	char *path = paths[next++ % 4];

	(void)snprintf(path, PATH_BYTES, "%s/%s", dir, name);
	return path;
}

/* In place of what was there, as a whole: as an atomic writer does it. */
static inline void put_file(const char *name, const char *text)
{
	int fd = open(path_of(".new"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(close(fd), 0);
	assert_int_equal(rename(path_of(".new"), path_of(name)), 0);
}

static inline void make_dir(void)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/imdsgate-kube-XXXXXX");
	assert_non_null(mkdtemp(dir));
}

static inline void remove_file(const char *name)
{
	(void)unlink(path_of(name));
}
