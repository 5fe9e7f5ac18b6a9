/*
 * A registry of metrics and the lines of its text. Included after cmocka's headers.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "metrics/metrics.h"

struct fixture {
	struct ig_metrics *metrics;
	struct ig_buf text;
};

static inline struct fixture *fixture_of(const struct ig_metric *table, size_t n_rows)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(ig_metrics_new(table, n_rows, &f->metrics), 0);
	return f;
}

static inline int tear_down(void **state)
{
	struct fixture *f = *state;

	(void)ig_metrics_free(f->metrics);
	ig_buf_done(&f->text);
	free(f);
	return 0;
}

static inline const char *text_of(struct fixture *f)
{
	ig_buf_done(&f->text);
	ig_buf_init(&f->text, IG_METRICS_PAGE_BYTES);
	ig_metrics_write(f->metrics, &f->text);
	assert_int_equal(ig_buf_finish(&f->text), 0);
	return f->text.data;
}

/* The text has this line, whole. */
static inline void has(struct fixture *f, const char *line)
{
	_cleanup_free_ char *wanted = NULL;

	assert_true(asprintf(&wanted, "\n%s\n", line) > 0);
	if (!strstr(text_of(f), wanted))
		fail_msg("no line \"%s\" in:\n%s", line, f->text.data);
}
