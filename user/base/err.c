/*
 * Error details for people; see err.h. Nothing here allocates, logs or fails.
 */
#include "base/err.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 2, 0))) static void set_message(
	struct ig_err *err, const char *fmt, va_list ap)
{
	(void)vsnprintf(err->message, sizeof(err->message), fmt, ap);
}

int ig_err_set(struct ig_err *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	*err = (struct ig_err){};
	va_start(ap, fmt);
	set_message(err, fmt, ap);
	va_end(ap);
	return code;
}

int ig_err_at(struct ig_err *err, int code, const char *file, unsigned int line,
	unsigned int column, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	*err = (struct ig_err){.line = line, .column = column};
	(void)snprintf(err->file, sizeof(err->file), "%s", file ? file : "");
	va_start(ap, fmt);
	set_message(err, fmt, ap);
	va_end(ap);
	return code;
}

int ig_err_wrap(struct ig_err *err, int code, const char *fmt, ...)
{
	char old[IG_ERR_MESSAGE_BYTES];
	size_t used;
	va_list ap;

	if (!err)
		return code;
	(void)snprintf(old, sizeof(old), "%s", err->message);
	va_start(ap, fmt);
	set_message(err, fmt, ap);
	va_end(ap);
	used = strlen(err->message);
	if (old[0])
		(void)snprintf(err->message + used, sizeof(err->message) - used, ": %s", old);
	return code;
}

const char *ig_err_format(const struct ig_err *err, char *buf, size_t len)
{
	if (!err->file[0])
		(void)snprintf(buf, len, "%s", err->message);
	else if (!err->line)
		(void)snprintf(buf, len, "%s: %s", err->file, err->message);
	else if (!err->column)
		(void)snprintf(buf, len, "%s:%u: %s", err->file, err->line, err->message);
	else
		(void)snprintf(
			buf, len, "%s:%u:%u: %s", err->file, err->line, err->column, err->message);
	return buf;
}

const char *ig_err_name(int code)
{
	const char *name = code == INT_MIN ? NULL : strerrorname_np(code < 0 ? -code : code);

	return name ? name : "EUNKNOWN";
}
