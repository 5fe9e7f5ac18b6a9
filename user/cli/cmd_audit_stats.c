/*
 * `imdsgate audit stats`: an audit log in numbers. Needs no agent. Called by args.c through the
 * table; report/ does the counting.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/logs.h"
#include "cli/out.h"
#include "report/stats.h"
#include "report/summary.h"

#define TOP_DEFAULT 50
#define TIME_DIGITS 19 /* of "2026-01-02T03:04:05.678901Z": to the second */

enum { BY = _IG_LOGS_OPTIONS, TOP };

const struct ig_cli_option ig_cli_audit_stats_options[] = {
	IG_LOGS_OPTION_LIST,
	[BY] = {"by", "WHAT",
		"a row for each: use (default), pod, service-account, identity, resource or executable"},
	[TOP] = {"top", "N", "the N rows with most requests (default 50)"},
	{},
};

/* Columns: the title, the member of a row. */
static const struct {
	const char *title, *member;
	bool time;
} columns[] = {
	{"NAMESPACE", "namespace", false},
	{"POD", "pod", false},
	{"ACCOUNT", "service_account", false},
	{"IDENTITY", "identity", false},
	{"TARGET", "target", false},
	{"EXECUTABLE", "executable", false},
	{"ALLOWED", "allowed", false},
	{"DENIED", "denied", false},
	{"FAILED", "failed", false},
	{"FIRST", "first", true},
	{"LAST", "last", true},
	{"EXECUTABLES", "executables", false},
};

static void put_time(struct ig_buf *b, const json_t *value)
{
	const char *s = json_string_value(value);

	if (!s || strlen(s) <= TIME_DIGITS) {
		ig_out_value(b, value);
		return;
	}
	ig_out_text(b, s, TIME_DIGITS);
	ig_buf_putc(b, 'Z');
}

static void put_number(struct ig_buf *b, const json_t *object, const char *path)
{
	ig_out_value(b, ig_out_get(object, path));
}

static void put_executables(struct ig_buf *b, const json_t *row)
{
	const json_t *list = json_object_get(row, "executables"), *item;
	json_int_t more = json_integer_value(json_object_get(row, "executables_more"));
	size_t i;

	json_array_foreach (list, i, item) {
		if (i)
			ig_buf_putc(b, ',');
		ig_out_value(b, item);
	}
	if (more)
		ig_buf_printf(b, " and %lld more", (long long)more);
}

static void put_cell(struct ig_out_table *table, const json_t *row, size_t column)
{
	const json_t *value = json_object_get(row, columns[column].member);
	bool inexact = json_integer_value(json_object_get(row, "missed_max")) > 0;

	if (strcmp(columns[column].member, "executables") == 0) {
		put_executables(&table->cell, row);
	} else if (columns[column].time) {
		put_time(&table->cell, value);
	} else {
		if (json_is_integer(value) && inexact)
			ig_buf_putc(&table->cell, '>');
		ig_out_value(&table->cell, value);
	}
	ig_out_cell(table);
}

/* The columns that the first row has; all rows are alike. */
static size_t columns_of(const json_t *row, size_t *ret)
{
	size_t n = 0;

	for (size_t i = 0; i < IG_ARRAY_SIZE(columns); i++)
		if (json_object_get(row, columns[i].member))
			ret[n++] = i;
	return n;
}

static void put_rows(const json_t *stats, struct ig_buf *b)
{
	const json_t *rows = json_object_get(stats, "rows"), *row;
	size_t which[IG_ARRAY_SIZE(columns)], i;
	size_t n = columns_of(json_array_get(rows, 0), which);
	_cleanup_(ig_out_table_done) struct ig_out_table table = IG_OUT_TABLE(n ? n : 1);
	json_int_t total = json_integer_value(json_object_get(stats, "rows_total"));

	if (n == 0)
		return;
	ig_buf_putc(b, '\n');
	for (size_t c = 0; c < n; c++)
		ig_out_cell_text(&table, columns[which[c]].title);
	json_array_foreach (rows, i, row)
		for (size_t c = 0; c < n; c++)
			put_cell(&table, row, which[c]);
	ig_out_table_format(&table, b);
	if ((json_int_t)json_array_size(rows) < total)
		ig_buf_printf(b, "and %lld rows more (--top)\n",
			(long long)(total - (json_int_t)json_array_size(rows)));
}

static void put_kinds(const json_t *stats, struct ig_buf *b)
{
	_cleanup_(ig_out_table_done) struct ig_out_table table = IG_OUT_TABLE(3);
	const json_t *kinds = json_object_get(stats, "kinds"), *kind;
	size_t i;

	if (json_array_size(kinds) == 0)
		return;
	ig_buf_putc(b, '\n');
	ig_out_cell_text(&table, "KIND");
	ig_out_cell_text(&table, "REASON");
	ig_out_cell_text(&table, "RECORDS");
	json_array_foreach (kinds, i, kind) {
		ig_out_cell_value(&table, json_object_get(kind, "kind"));
		ig_out_cell_value(&table, json_object_get(kind, "reason"));
		ig_out_cell_value(&table, json_object_get(kind, "count"));
	}
	ig_out_table_format(&table, b);
}

/* Of a workload that is refused too often. */
static void put_unrecorded(const json_t *stats, struct ig_buf *b)
{
	if (!json_integer_value(json_object_get(stats, "unrecorded")))
		return;
	ig_buf_puts(b, "          and ");
	put_number(b, stats, "unrecorded");
	ig_buf_puts(b,
		" more without a record of their own, only in the count of others: in no number here\n");
}

static void put_lost(const json_t *stats, struct ig_buf *b)
{
	json_int_t events = json_integer_value(ig_out_get(stats, "lost.events"));
	const json_t *loss;
	size_t i;

	if (!json_integer_value(ig_out_get(stats, "lost.reports"))) {
		ig_buf_puts(
			b, "lost      none reported (audit verify tells whether that is all)\n");
		return;
	}
	ig_buf_printf(b, "lost      %lld events, in %lld reports\n", (long long)events,
		(long long)json_integer_value(ig_out_get(stats, "lost.reports")));
	json_array_foreach (ig_out_get(stats, "lost.first"), i, loss) {
		ig_buf_puts(b, "          ");
		put_time(b, json_object_get(loss, "time"));
		ig_buf_puts(b, "  ");
		put_number(b, loss, "count");
		ig_buf_puts(b, " lost by ");
		put_number(b, loss, "reason");
		ig_buf_putc(b, '\n');
	}
}

static void put_dropped(const json_t *stats, struct ig_buf *b)
{
	if (!json_integer_value(ig_out_get(stats, "dropped.rows")))
		return;
	ig_buf_puts(b, "\nThere were too many different requests: ");
	put_number(b, stats, "dropped.rows");
	ig_buf_puts(b, " rows with ");
	put_number(b, stats, "dropped.events");
	ig_buf_puts(b, " events are in the totals only. None had more than ");
	put_number(b, stats, "dropped.missed_max");
	ig_buf_puts(b, " events; numbers with > may lack some.\n");
}

void ig_cli_format_stats(const json_t *stats, struct ig_buf *b)
{
	ig_buf_puts(b, "period    ");
	put_time(b, ig_out_get(stats, "period.first"));
	ig_buf_puts(b, " to ");
	put_time(b, ig_out_get(stats, "period.last"));
	ig_buf_puts(b, "\nread      ");
	put_number(b, stats, "records");
	ig_buf_puts(b, " records in ");
	put_number(b, stats, "files");
	ig_buf_puts(b, " files, ");
	put_number(b, stats, "bad_lines");
	ig_buf_puts(b, " bad lines, agent started ");
	put_number(b, stats, "agent_starts");
	ig_buf_puts(b, " times\nattempts  ");
	put_number(b, stats, "attempts.total");
	ig_buf_puts(b, ": allowed ");
	put_number(b, stats, "attempts.allowed");
	ig_buf_puts(b, ", denied ");
	put_number(b, stats, "attempts.denied");
	ig_buf_puts(b, ", failed ");
	put_number(b, stats, "attempts.failed");
	ig_buf_puts(b, ", without a decision ");
	put_number(b, stats, "attempts.undecided");
	ig_buf_putc(b, '\n');
	put_unrecorded(stats, b);
	put_lost(stats, b);
	put_kinds(stats, b);
	put_rows(stats, b);
	put_dropped(stats, b);
}

static int add(const struct ig_report_event *event, void *userdata)
{
	return ig_report_summary_add(userdata, event);
}

static int print(const struct ig_cli *cli, const json_t *stats)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};

	if (!cli->json)
		ig_cli_format_stats(stats, &b);
	else if (ig_out_json(&b, stats) < 0)
		return ig_cli_fail(cli, -ENOMEM, true, "out of memory");
	return ig_cli_print(cli, &b);
}

int ig_cli_cmd_audit_stats(const struct ig_cli *cli, const struct ig_cli_args *args)
{
	const struct ig_cli_verb *verb = ig_cli_find("audit", "stats");
	_cleanup_(ig_report_summary_freep) struct ig_report_summary *summary = NULL;
	_cleanup_(ig_cli_logs_done) struct ig_cli_logs logs = IG_CLI_LOGS(cli, add, NULL);
	_cleanup_(json_decrefp) json_t *stats = NULL;
	enum ig_report_by by = IG_REPORT_BY_USE;
	struct ig_report_filter filter;
	uint32_t top = TOP_DEFAULT;
	int r = ig_cli_logs_filter(cli, verb, args, &filter);

	if (r != IG_CLI_OK)
		return r;
	if (args->option[BY] && ig_report_by_parse(args->option[BY], &by) < 0)
		return ig_cli_usage(cli, verb, "--by '%s' is not known", args->option[BY]);
	if (args->option[TOP] &&
		(ig_parse_u32(args->option[TOP], &top) < 0 || top == 0 || top > IG_REPORT_TOP_MAX))
		return ig_cli_usage(cli, verb, "--top '%s' is not from 1 to %d", args->option[TOP],
			IG_REPORT_TOP_MAX);
	if (ig_report_summary_new(&filter, &summary) < 0)
		return ig_cli_fail(cli, -ENOMEM, true, "out of memory");
	logs.userdata = summary;
	r = ig_cli_logs_read(&logs, args->arg, args->n_args);
	if (r != IG_CLI_OK)
		return r;
	if (ig_report_stats(summary, &logs.counts, by, top, &stats) < 0)
		return ig_cli_fail(cli, -ENOMEM, true, "out of memory");
	return print(cli, stats);
}
