/*
 * What a person needs to hear when something failed. Functions return a negative errno; where the
 * reason matters (configuration, manifests, the command line, start-up) they also fill a struct
 * ig_err that the caller passes as the last parameter. The callee never prints.
 *
 * The errno values have one meaning across the tree:
 *   -ENOENT not found · -ENXIO not ours · -EACCES denied by policy · -EBUSY busy · -EINVAL bad
 * input · -EBADMSG malformed peer data · -E2BIG too much · -EOPNOTSUPP the kernel lacks it ·
 * -ENOMEM · -ETIMEDOUT a deadline passed · -EPERM missing privilege · -ESTALE it was replaced
 * meanwhile
 */
#pragma once

#include <stddef.h>

#define IG_ERR_MESSAGE_BYTES 768
#define IG_ERR_FILE_BYTES    512

struct ig_err {
	char file[IG_ERR_FILE_BYTES]; /* "" when the error has no place in a file */
	unsigned int line;	      /* 1-based; 0 when unknown */
	unsigned int column;	      /* 1-based; 0 when unknown */
	char message[IG_ERR_MESSAGE_BYTES];
};

/* All take err == NULL (the caller does not want to know) and return `code`, so that
 * `return ig_err_set(err, -EINVAL, "…")` is one statement. Overlong text is cut. */
int ig_err_set(struct ig_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int ig_err_at(struct ig_err *err, int code, const char *file, unsigned int line,
	unsigned int column, const char *fmt, ...) __attribute__((format(printf, 6, 7)));
/* "context: old message"; keeps file, line and column. */
int ig_err_wrap(struct ig_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* "file:line:column: message", leaving out what is unknown. buf is always terminated. */
const char *ig_err_format(const struct ig_err *err, char *buf, size_t len);

/* "ENOENT" for 2 and -2; "EUNKNOWN" for what errno(3) does not list. Never NULL. */
const char *ig_err_name(int code);
