/*
 * Rates and the layout of `imdsgate top`; see top.h. Called by cmd_top.c.
 *
 * Names and resources come from workloads: they are escaped here, and a line is cut by characters,
 * never inside one.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/out.h"
#include "cli/top.h"

#define PERCENT	      100
#define HEAD_LINES    4 /* above the table's rows: three and the table's own head */
#define N_COLUMNS     7
#define USEC_PER_MSEC 1000.0

static const struct {
	const char *name, *key;
} sorts[_IG_TOP_SORT_MAX] = {
	[IG_TOP_SORT_REQUESTS] = {"requests", "requests_per_sec"},
	[IG_TOP_SORT_ALLOWED] = {"allowed", "allowed_per_sec"},
	[IG_TOP_SORT_DENIED] = {"denied", "denied_per_sec"},
	[IG_TOP_SORT_FAILED] = {"failed", "failed_per_sec"},
	[IG_TOP_SORT_LATENCY] = {"latency", "latency_usec"},
	[IG_TOP_SORT_NAME] = {"name", NULL},
};

int ig_top_sort_parse(const char *name, enum ig_top_sort *ret)
{
	for (unsigned int i = 0; i < _IG_TOP_SORT_MAX; i++)
		if (strcmp(sorts[i].name, name) == 0) {
			*ret = (enum ig_top_sort)i;
			return 0;
		}
	return -EINVAL;
}

void ig_top_look_done(struct ig_top_look *look)
{
	json_decref(look->status);
	json_decref(look->workloads);
	*look = (struct ig_top_look){};
}

/* ---- from one look to the next ---- */

static json_int_t grown(const json_t *before, const json_t *after, const char *path)
{
	json_int_t a = json_integer_value(ig_out_get(before, path));
	json_int_t b = json_integer_value(ig_out_get(after, path));

	return b >= a ? b - a : b;
}

/* To two digits, which is more than what a second's rate means. */
static json_t *rate(json_int_t count, double sec)
{
	double hundredths = sec > 0 ? (double)count * 100 / sec + 0.5 : 0;

	return json_real((double)(long long)hundredths / 100);
}

static json_t *mean(json_int_t sum, json_int_t count)
{
	return count > 0 ? json_integer(sum / count) : json_null();
}

/* What there is of one workload, or of all. */
struct delta {
	json_int_t allowed, denied, failed, latency_usec;
};

static json_int_t requests_of(const struct delta *d)
{
	return d->allowed + d->denied + d->failed;
}

static struct delta delta_of(const json_t *before, const json_t *after)
{
	return (struct delta){
		.allowed = grown(before, after, "requests.allowed"),
		.denied = grown(before, after, "requests.denied"),
		.failed = grown(before, after, "requests.failed"),
		.latency_usec = grown(before, after, "requests.latency_usec"),
	};
}

static const char *string(const json_t *object, const char *path)
{
	const char *s = ig_out_get_string(object, path);

	return s ? s : "";
}

/* A pod that was made again under its name is another one. */
static json_t *key_of(const json_t *workload)
{
	return json_sprintf("%s/%s %s", string(workload, "namespace"), string(workload, "name"),
		string(workload, "uid"));
}

/* The workloads by key, borrowed ones in a new object. */
static json_t *index_of(const json_t *workloads)
{
	json_t *all = json_object();
	json_t *w;
	size_t i;

	json_array_foreach ((json_t *)workloads, i, w) {
		_cleanup_(json_decrefp) json_t *key = key_of(w);

		if (key)
			(void)json_object_set(all, json_string_value(key), w);
	}
	return all;
}

static json_t *workload_report(const json_t *w, const struct delta *d, double sec)
{
	return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:s}", "namespace",
		string(w, "namespace"), "name", string(w, "name"), "requests_per_sec",
		rate(requests_of(d), sec), "allowed_per_sec", rate(d->allowed, sec),
		"denied_per_sec", rate(d->denied, sec), "failed_per_sec", rate(d->failed, sec),
		"latency_usec", mean(d->latency_usec, requests_of(d)), "allowed",
		json_integer_value(ig_out_get(w, "requests.allowed")), "denied",
		json_integer_value(ig_out_get(w, "requests.denied")), "failed",
		json_integer_value(ig_out_get(w, "requests.failed")), "last_resource",
		string(w, "requests.last_resource"));
}

static int by_name(const json_t *a, const json_t *b)
{
	int c = strcmp(string(a, "namespace"), string(b, "namespace"));

	return c ? c : strcmp(string(a, "name"), string(b, "name"));
}

static int compare(const void *a, const void *b, void *userdata)
{
	const json_t *const *ja = a, *const *jb = b;
	const enum ig_top_sort *sort = userdata;
	double na, nb;

	if (!sorts[*sort].key)
		return by_name(*ja, *jb);
	na = json_number_value(json_object_get(*ja, sorts[*sort].key));
	nb = json_number_value(json_object_get(*jb, sorts[*sort].key));
	return na < nb ? 1 : na > nb ? -1 : by_name(*ja, *jb);
}

/* The same elements in order. Takes list; NULL when that is NULL or memory is out. */
static json_t *sorted(json_t *list, enum ig_top_sort sort)
{
	size_t n = json_array_size(list);
	_cleanup_free_ json_t **items = calloc(n + 1, sizeof(json_t *));
	json_t *result = items && list ? json_array() : NULL;

	for (size_t i = 0; result && i < n; i++)
		items[i] = json_array_get(list, i);
	if (result)
		qsort_r(items, n, sizeof(json_t *), compare, &sort);
	for (size_t i = 0; result && i < n; i++)
		(void)json_array_append(result, items[i]);
	json_decref(list);
	return result;
}

/* *ret_all: of all together. */
static json_t *workloads_report(const struct ig_top_look *before, const struct ig_top_look *after,
	double sec, enum ig_top_sort sort, struct delta *ret_all)
{
	_cleanup_(json_decrefp) json_t *known = index_of(before->workloads);
	json_t *list = json_array(), *w;
	size_t i;

	json_array_foreach (after->workloads, i, w) {
		_cleanup_(json_decrefp) json_t *key = key_of(w);
		struct delta d = delta_of(json_object_get(known, json_string_value(key)), w);

		ret_all->allowed += d.allowed;
		ret_all->denied += d.denied;
		ret_all->failed += d.failed;
		ret_all->latency_usec += d.latency_usec;
		if (json_array_append_new(list, workload_report(w, &d, sec)) < 0)
			continue; /* out of memory: seen below, or the next time */
	}
	return sorted(list, sort);
}

static json_t *hit_percent(const json_t *before, const json_t *after)
{
	json_int_t hits = grown(before, after, "tokens.hits");
	json_int_t all =
		hits + grown(before, after, "tokens.misses") + grown(before, after, "tokens.stale");

	return all ? rate(hits * PERCENT, (double)all) : json_null();
}

json_t *ig_top_report(const struct ig_top_look *before, const struct ig_top_look *after,
	enum ig_top_sort sort, uint64_t now_usec)
{
	double sec = (double)(after->when_usec - before->when_usec) / IG_USEC_PER_SEC;
	const json_t *a = before->status, *b = after->status;
	char now[IG_RFC3339_BYTES];
	struct delta all = {};
	json_t *workloads = workloads_report(before, after, sec, sort, &all);

	ig_clock_format_rfc3339(now_usec, now);
	return json_pack(
		"{s:s, s:s, s:o, s:I, s:I, s:{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}, s:o, s:{s:I, s:o}, s:o}",
		"time", now, "node", string(b, "node"), "interval_sec",
		rate((json_int_t)(after->when_usec - before->when_usec), IG_USEC_PER_SEC),
		"uptime_sec", json_integer_value(ig_out_get(b, "uptime_sec")), "connections",
		json_integer_value(ig_out_get(b, "connections")), "per_sec", "requests",
		rate(requests_of(&all), sec), "allowed", rate(all.allowed, sec), "denied",
		rate(all.denied, sec), "failed", rate(all.failed, sec), "redirected",
		rate(grown(a, b, "counters.redirected"), sec), "refused",
		rate(grown(a, b, "counters.denied") + grown(a, b, "counters.not_tcp") +
				grown(a, b, "counters.no_listener"),
			sec),
		"upstream_calls", rate(grown(a, b, "tokens.upstream_calls"), sec),
		"upstream_errors", rate(grown(a, b, "tokens.upstream_errors"), sec), "latency_usec",
		mean(all.latency_usec, requests_of(&all)), "tokens", "cached",
		json_integer_value(ig_out_get(b, "tokens.cached")), "hit_percent",
		hit_percent(a, b), "workloads", workloads);
}

/* ---- layout ---- */

static double number(const json_t *object, const char *path)
{
	return json_number_value(ig_out_get(object, path));
}

static void put_latency(struct ig_buf *b, const json_t *value)
{
	if (json_is_integer(value))
		ig_buf_printf(b, "%.3f ms", (double)json_integer_value(value) / USEC_PER_MSEC);
	else
		ig_buf_putc(b, '-');
}

static void put_head(const json_t *r, struct ig_buf *b)
{
	const json_t *hits = ig_out_get(r, "tokens.hit_percent");

	ig_buf_puts(b, "imdsgate top  ");
	ig_out_value(b, json_object_get(r, "time"));
	ig_buf_puts(b, "  node ");
	ig_out_value(b, json_object_get(r, "node"));
	ig_buf_printf(b, "  up %.0f s  workloads %zu  connections %.0f\n", number(r, "uptime_sec"),
		json_array_size(json_object_get(r, "workloads")), number(r, "connections"));
	ig_buf_printf(b, "requests/s %.1f  allowed %.1f  denied %.1f  failed %.1f  latency ",
		number(r, "per_sec.requests"), number(r, "per_sec.allowed"),
		number(r, "per_sec.denied"), number(r, "per_sec.failed"));
	put_latency(b, json_object_get(r, "latency_usec"));
	ig_buf_printf(b, "\nconnects/s: redirected %.1f  refused %.1f  tokens: cached %.0f  hits ",
		number(r, "per_sec.redirected"), number(r, "per_sec.refused"),
		number(r, "tokens.cached"));
	if (json_is_number(hits))
		ig_buf_printf(b, "%.1f%%", json_number_value(hits));
	else
		ig_buf_putc(b, '-');
	ig_buf_printf(b, "  upstream/s: calls %.1f  errors %.1f\n",
		number(r, "per_sec.upstream_calls"), number(r, "per_sec.upstream_errors"));
}

/* Numbers first: what a narrow screen cuts is the resource, then the name. */
static void put_rows(const json_t *workloads, size_t limit, struct ig_buf *b)
{
	static const char *const heads[N_COLUMNS] = {
		"REQ/S", "ALLOW/S", "DENY/S", "FAIL/S", "LATENCY", "WORKLOAD", "LAST RESOURCE"};
	static const char *const rates[] = {
		"requests_per_sec", "allowed_per_sec", "denied_per_sec", "failed_per_sec"};
	_cleanup_(ig_out_table_done) struct ig_out_table table = IG_OUT_TABLE(N_COLUMNS);
	const json_t *w;
	size_t i;

	for (i = 0; i < N_COLUMNS; i++)
		ig_out_cell_text(&table, heads[i]);
	json_array_foreach (workloads, i, w) {
		if (i >= limit)
			break;
		for (size_t k = 0; k < IG_ARRAY_SIZE(rates); k++) {
			ig_buf_printf(&table.cell, "%.1f", number(w, rates[k]));
			ig_out_cell(&table);
		}
		put_latency(&table.cell, json_object_get(w, "latency_usec"));
		ig_out_cell(&table);
		ig_out_value(&table.cell, json_object_get(w, "namespace"));
		ig_buf_putc(&table.cell, '/');
		ig_out_value(&table.cell, json_object_get(w, "name"));
		ig_out_cell(&table);
		ig_out_cell_value(&table, json_object_get(w, "last_resource"));
	}
	ig_out_table_format(&table, b);
}

/* Bytes of the line that fit into so many columns. */
static size_t cut(const char *line, size_t len, size_t columns)
{
	size_t width = 0;

	for (size_t i = 0; i < len; i++) {
		width += ((unsigned char)line[i] & 0xc0) != 0x80;
		if (columns && width > columns)
			return i;
	}
	return len;
}

void ig_top_format(const json_t *report, size_t columns, size_t rows, const char *line_end,
	bool color, struct ig_buf *b)
{
	size_t limit = !rows ? SIZE_MAX : rows > HEAD_LINES ? rows - HEAD_LINES : 0;
	_cleanup_(ig_buf_donep) struct ig_buf text = {.limit = IG_OUT_BYTES};
	size_t n = 0;

	put_head(report, &text);
	put_rows(json_object_get(report, "workloads"), limit, &text);
	if (ig_buf_finish(&text) < 0) {
		b->error = b->error ? b->error : text.error;
		return;
	}
	for (const char *line = text.data; *line && (!rows || n < rows); n++) {
		size_t len = strcspn(line, "\n");
		bool is_head = color && n == HEAD_LINES - 1;

		ig_buf_puts(b, is_head ? IG_OUT_DIM : "");
		ig_buf_append(b, line, cut(line, len, columns));
		ig_buf_puts(b, is_head ? IG_OUT_OFF : "");
		ig_buf_puts(b, line_end);
		line += len + (line[len] == '\n');
	}
}
