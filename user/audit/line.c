/*
 * Shared lines; see line.h.
 */
#include "audit/line.h"

#include <stdlib.h>
#include <string.h>

struct ig_audit_line *ig_audit_line_new(const char *text, size_t len)
{
	struct ig_audit_line *line = malloc(sizeof(*line) + len);

	if (!line)
		return NULL;
	*line = (struct ig_audit_line){.len = len};
	atomic_init(&line->refs, 1);
	memcpy(line->text, text, len);
	return line;
}

struct ig_audit_line *ig_audit_line_ref(struct ig_audit_line *line)
{
	(void)atomic_fetch_add_explicit(&line->refs, 1, memory_order_relaxed);
	return line;
}

struct ig_audit_line *ig_audit_line_unref(struct ig_audit_line *line)
{
	if (line && atomic_fetch_sub_explicit(&line->refs, 1, memory_order_acq_rel) == 1)
		free(line);
	return NULL;
}
