/*
 * Events over time; see series.h. No memory of its own; events may come in any order.
 */
#include "report/series.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define SEC_PER_WEEK 604800

/* Each divides the next, so that whole buckets become one. */
static const uint64_t widths_sec[] = {
	1, 5, 15, 60, 300, 900, 3600, 10800, 21600, 43200, 86400, SEC_PER_WEEK};

static uint64_t next_width(uint64_t width_sec)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(widths_sec); i++)
		if (widths_sec[i] > width_sec)
			return widths_sec[i];
	return width_sec * 2;
}

static void merge(struct ig_report_bucket *to, const struct ig_report_bucket *from)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(to->by_decision); i++)
		to->by_decision[i] += from->by_decision[i];
	to->lost += from->lost;
}

static void coarsen(struct ig_report_series *s)
{
	uint64_t width = next_width(s->width_sec), factor = width / s->width_sec;
	uint64_t first = s->first / factor;

	for (size_t i = 0; i < s->n; i++) {
		size_t to = (size_t)((s->first + i) / factor - first);
		struct ig_report_bucket moved = s->buckets[i];

		/* to <= i: what stands there has been moved already */
		s->buckets[i] = (struct ig_report_bucket){};
		merge(&s->buckets[to], &moved);
	}
	s->n = (size_t)((s->first + s->n - 1) / factor - first) + 1;
	s->width_sec = width;
	s->first = first;
}

/* Takes bucket `number` in, if there is room for all between. */
static bool reach(struct ig_report_series *s, uint64_t number)
{
	uint64_t end = s->first + s->n; /* behind the last */

	if (number >= end) {
		if (number - s->first >= IG_REPORT_BUCKETS_MAX)
			return false;
		s->n = (size_t)(number - s->first) + 1;
	} else if (number < s->first) {
		size_t shift;

		if (end - number > IG_REPORT_BUCKETS_MAX)
			return false;
		shift = (size_t)(s->first - number);
		memmove(s->buckets + shift, s->buckets, s->n * sizeof(s->buckets[0]));
		memset(s->buckets, 0, shift * sizeof(s->buckets[0]));
		s->n += shift;
		s->first = number;
	}
	return true;
}

static struct ig_report_bucket *bucket_at(struct ig_report_series *s, uint64_t time_usec)
{
	uint64_t sec = time_usec / IG_USEC_PER_SEC;

	if (!s->width_sec) {
		s->width_sec = widths_sec[0];
		s->first = sec / s->width_sec;
		s->n = 1;
	}
	while (!reach(s, sec / s->width_sec))
		coarsen(s);
	return &s->buckets[sec / s->width_sec - s->first];
}

void ig_report_series_add(struct ig_report_series *series, uint64_t time_usec,
	enum ig_audit_decision decision, uint64_t n)
{
	bucket_at(series, time_usec)->by_decision[decision] += n;
}

void ig_report_series_add_lost(struct ig_report_series *series, uint64_t time_usec, uint64_t n)
{
	bucket_at(series, time_usec)->lost += n;
}
