/*
 * The registry; see metrics.h. Called by the agent: on every request to count, on a scrape to
 * write.
 *
 * One array of numbers for all: a row of the table has a run of series, one for each combination of
 * label values, and a series has one cell, or those of a histogram. It must never take a label's
 * value from anywhere but the table.
 */
#include "metrics/metrics.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"

#define USEC_PER_SEC UINT64_C(1000000)

/* of a histogram: counts of the buckets, not yet added up; what is in none; the sum */
#define OVERFLOW_CELL	IG_METRIC_BUCKETS
#define SUM_CELL	(IG_METRIC_BUCKETS + 1)
#define HISTOGRAM_CELLS (IG_METRIC_BUCKETS + 2)

const uint64_t ig_metric_bucket_usec[IG_METRIC_BUCKETS] = {50, 100, 250, 500, 1000, 2500, 5000,
	10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000};

/* as a label: the text must never change, or the series is another one */
static const char *const bucket_edges[IG_METRIC_BUCKETS] = {"0.00005", "0.0001", "0.00025",
	"0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1",
	"2.5", "5", "10"};

static const char *const type_names[_IG_METRIC_TYPE_MAX] = {
	[IG_METRIC_COUNTER] = "counter",
	[IG_METRIC_GAUGE] = "gauge",
	[IG_METRIC_HISTOGRAM] = "histogram",
};

struct ig_metrics {
	const struct ig_metric *table;
	size_t n;
	size_t *first;	 /* owned; of each row's cells */
	uint64_t *cells; /* owned */
};

IG_DEFINE_CLEANUP(struct ig_metrics *, ig_metrics_free);

static bool has_label(const struct ig_metric *metric, size_t label)
{
	return metric->labels[label] && metric->labels[label]->n_values;
}

static unsigned int n_values(const struct ig_metric *metric, size_t label)
{
	return has_label(metric, label) ? metric->labels[label]->n_values : 1;
}

static size_t cells_per_series(const struct ig_metric *metric)
{
	return metric->type == IG_METRIC_HISTOGRAM ? HISTOGRAM_CELLS : 1;
}

int ig_metrics_new(const struct ig_metric *table, size_t n, struct ig_metrics **ret)
{
	_cleanup_(ig_metrics_freep) struct ig_metrics *metrics = calloc(1, sizeof(*metrics));
	size_t n_cells = 0;

	if (!metrics)
		return -ENOMEM;
	metrics->table = table;
	metrics->n = n;
	metrics->first = calloc(n, sizeof(*metrics->first));
	if (!metrics->first)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		metrics->first[i] = n_cells;
		n_cells += (size_t)n_values(&table[i], 0) * n_values(&table[i], 1) *
			   cells_per_series(&table[i]);
	}
	metrics->cells = calloc(n_cells, sizeof(*metrics->cells));
	if (!metrics->cells)
		return -ENOMEM;
	*ret = TAKE_PTR(metrics);
	return 0;
}

struct ig_metrics *ig_metrics_free(struct ig_metrics *metrics)
{
	if (!metrics)
		return NULL;
	free(metrics->first);
	free(metrics->cells);
	free(metrics);
	return NULL;
}

/* The first cell of a series. */
static uint64_t *cells_of(
	const struct ig_metrics *metrics, size_t metric, unsigned int label0, unsigned int label1)
{
	const struct ig_metric *row = &metrics->table[metric];

	assert(metric < metrics->n);
	assert(label0 < n_values(row, 0) && label1 < n_values(row, 1));
	return &metrics->cells[metrics->first[metric] +
			       ((size_t)label0 * n_values(row, 1) + label1) *
				       cells_per_series(row)];
}

void ig_metrics_add(struct ig_metrics *metrics, size_t metric, unsigned int label0,
	unsigned int label1, uint64_t n)
{
	assert(metrics->table[metric].type != IG_METRIC_HISTOGRAM);
	*cells_of(metrics, metric, label0, label1) += n;
}

void ig_metrics_set(struct ig_metrics *metrics, size_t metric, unsigned int label0,
	unsigned int label1, uint64_t value)
{
	assert(metrics->table[metric].type != IG_METRIC_HISTOGRAM);
	*cells_of(metrics, metric, label0, label1) = value;
}

void ig_metrics_observe(struct ig_metrics *metrics, size_t metric, unsigned int label0,
	unsigned int label1, uint64_t usec)
{
	uint64_t *cells = cells_of(metrics, metric, label0, label1);
	size_t bucket = 0;

	assert(metrics->table[metric].type == IG_METRIC_HISTOGRAM);
	while (bucket < IG_METRIC_BUCKETS && usec > ig_metric_bucket_usec[bucket])
		bucket++;
	cells[bucket < IG_METRIC_BUCKETS ? bucket : OVERFLOW_CELL]++;
	cells[SUM_CELL] += usec;
}

/* ---- text ------------------------------------------------------------------------------------ */

/* Quotes are escaped in label values only. */
static void put_escaped(struct ig_buf *b, const char *s, bool is_label)
{
	for (; *s; s++) {
		if (*s == '\n')
			ig_buf_puts(b, "\\n");
		else if (*s == '\\' || (is_label && *s == '"'))
			ig_buf_printf(b, "\\%c", *s);
		else
			ig_buf_putc(b, *s);
	}
}

static void put_value(struct ig_buf *b, const struct ig_metric *row, uint64_t value)
{
	if (row->unit == IG_METRIC_USEC)
		ig_buf_printf(b, "%" PRIu64 ".%06" PRIu64 "\n", value / USEC_PER_SEC,
			value % USEC_PER_SEC);
	else
		ig_buf_printf(b, "%" PRIu64 "\n", value);
}

static void put_label(struct ig_buf *b, const char *name, const char *value, char *separator)
{
	ig_buf_putc(b, *separator);
	*separator = ',';
	ig_buf_printf(b, "%s=\"", name);
	put_escaped(b, value, true);
	ig_buf_putc(b, '"');
}

/* Everything before the value. le: of a histogram's bucket, else NULL. */
static void put_series(struct ig_buf *b, const struct ig_metric *row, const char *suffix,
	const unsigned int labels[IG_METRIC_LABELS_MAX], const char *le)
{
	char separator = '{';

	ig_buf_printf(b, "%s%s", row->name, suffix);
	for (size_t i = 0; i < IG_METRIC_LABELS_MAX; i++)
		if (has_label(row, i))
			put_label(b, row->labels[i]->name, row->labels[i]->value(labels[i]),
				&separator);
	if (le)
		put_label(b, "le", le, &separator);
	if (separator == ',')
		ig_buf_putc(b, '}');
	ig_buf_putc(b, ' ');
}

static void put_histogram(struct ig_buf *b, const struct ig_metric *row,
	const unsigned int labels[IG_METRIC_LABELS_MAX], const uint64_t *cells)
{
	uint64_t count = 0;

	for (size_t i = 0; i < IG_METRIC_BUCKETS; i++) {
		count += cells[i];
		put_series(b, row, "_bucket", labels, bucket_edges[i]);
		ig_buf_printf(b, "%" PRIu64 "\n", count);
	}
	count += cells[OVERFLOW_CELL];
	put_series(b, row, "_bucket", labels, "+Inf");
	ig_buf_printf(b, "%" PRIu64 "\n", count);
	put_series(b, row, "_sum", labels, NULL);
	put_value(b, row, cells[SUM_CELL]);
	put_series(b, row, "_count", labels, NULL);
	ig_buf_printf(b, "%" PRIu64 "\n", count);
}

static void put_one(struct ig_buf *b, const struct ig_metric *row,
	const unsigned int labels[IG_METRIC_LABELS_MAX], const uint64_t *cells)
{
	if (row->type == IG_METRIC_HISTOGRAM) {
		put_histogram(b, row, labels, cells);
	} else if (*cells != IG_METRIC_ABSENT) {
		put_series(b, row, "", labels, NULL);
		put_value(b, row, *cells);
	}
}

static void put_metric(const struct ig_metrics *metrics, size_t metric, struct ig_buf *b)
{
	const struct ig_metric *row = &metrics->table[metric];

	ig_buf_printf(b, "# HELP %s ", row->name);
	put_escaped(b, row->help, false);
	ig_buf_printf(b, "\n# TYPE %s %s\n", row->name, type_names[row->type]);
	for (unsigned int i = 0; i < n_values(row, 0); i++) {
		for (unsigned int j = 0; j < n_values(row, 1); j++) {
			const unsigned int labels[] = {i, j};

			put_one(b, row, labels, cells_of(metrics, metric, i, j));
		}
	}
}

void ig_metrics_write(const struct ig_metrics *metrics, struct ig_buf *b)
{
	for (size_t i = 0; i < metrics->n; i++)
		put_metric(metrics, i, b);
}
