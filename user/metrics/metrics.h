/*
 * Counters, gauges and histograms, and their text for Prometheus (exposition format 0.0.4). What
 * there is stands in a table at compile time: name, help, type, labels. The value of a label is the
 * name of a value of an enum, never text that anybody sent: a workload can make no series, and the
 * memory is known before the first request.
 *
 * Counting is an addition to a cell of an array: no allocation, no lock (one event loop), no
 * failure. Values are whole numbers; durations are microseconds and become seconds in the text.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ig_buf;
struct ig_metrics;

enum ig_metric_type {
	IG_METRIC_COUNTER,
	IG_METRIC_GAUGE,
	IG_METRIC_HISTOGRAM, /* of durations */
	_IG_METRIC_TYPE_MAX
};

enum ig_metric_unit {
	IG_METRIC_NUMBER,
	IG_METRIC_USEC, /* shown as seconds */
};

struct ig_metric_label {
	const char *name;
	unsigned int n_values;			  /* 0: there is no such label */
	const char *(*value)(unsigned int index); /* literals, for 0 … n_values - 1 */
};

#define IG_METRIC_LABELS_MAX 2

/* A row of the table. Names follow Prometheus' rules: [a-z0-9_], counters end in _total, durations
 * in _seconds. A histogram's unit is IG_METRIC_USEC. */
struct ig_metric {
	const char *name;
	const char *help;
	enum ig_metric_type type;
	enum ig_metric_unit unit;
	const struct ig_metric_label *labels[IG_METRIC_LABELS_MAX]; /* NULL: no label */
};

/* The upper edges of a histogram's buckets in microseconds, from 50 µs to 10 s. What is longer is
 * in "+Inf" only. */
#define IG_METRIC_BUCKETS 17
extern const uint64_t ig_metric_bucket_usec[IG_METRIC_BUCKETS];

/* The table is borrowed and outlives the result. Everything is 0. -ENOMEM. */
int ig_metrics_new(const struct ig_metric *table, size_t n, struct ig_metrics **ret);
struct ig_metrics *ig_metrics_free(struct ig_metrics *metrics);

/* metric: the row's index. label0, label1: indexes of label values; 0 where the row has no such
 * label. Another index is a programming error. */
void ig_metrics_add(struct ig_metrics *metrics, size_t metric, unsigned int label0,
	unsigned int label1, uint64_t n);
/* For gauges, and for counters that somebody else counts. */
void ig_metrics_set(struct ig_metrics *metrics, size_t metric, unsigned int label0,
	unsigned int label1, uint64_t value);
void ig_metrics_observe(struct ig_metrics *metrics, size_t metric, unsigned int label0,
	unsigned int label1, uint64_t usec);

/* As a value: there is none, and the series is left out. */
#define IG_METRIC_ABSENT UINT64_MAX

/* Appends everything, in the order of the table. The metadata of a metric is there even when it has
 * no series. Failures are the buffer's. */
void ig_metrics_write(const struct ig_metrics *metrics, struct ig_buf *b);
