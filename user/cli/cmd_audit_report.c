/*
 * `imdsgate audit report`: an audit log as one page of HTML. Needs no agent. Called by args.c
 * through the table; report/ makes the page.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "base/parse.h"
#include "cli/logs.h"
#include "cli/out.h"
#include "report/page.h"

#define TOP_DEFAULT 100

enum { HTML = _IG_LOGS_OPTIONS, BASELINE, TOP };

const struct ig_cli_option ig_cli_audit_report_options[] = {
	IG_LOGS_OPTION_LIST,
	[HTML] = {"html", "FILE", "where the page goes; - is standard output. Must be given"},
	[BASELINE] = {"baseline", "LOG",
		"a log from before: what is in it is not new. So is what is before --since"},
	[TOP] = {"top", "N", "rows of each table, at most (default 100)"},
	{},
};

/* Which records, in words. */
static void put_selection(const struct ig_cli_args *args, struct ig_buf *b)
{
	for (size_t i = 0; i < _IG_LOGS_OPTIONS; i++)
		if (args->option[i])
			ig_buf_printf(b, "%s%s %s", b->len ? ", " : "",
				ig_cli_audit_report_options[i].name, args->option[i]);
}

static int add(const struct ig_report_event *event, void *userdata)
{
	return ig_report_summary_add(userdata, event);
}

static int add_known(const struct ig_report_event *event, void *userdata)
{
	return ig_report_summary_add_known(userdata, event);
}

static int read_logs(const struct ig_cli *cli, const struct ig_cli_args *args,
	struct ig_report_summary *summary, struct ig_report_counts *ret_counts)
{
	_cleanup_(ig_cli_logs_done) struct ig_cli_logs logs = IG_CLI_LOGS(cli, add, summary);
	_cleanup_(ig_cli_logs_done) struct ig_cli_logs before =
		IG_CLI_LOGS(cli, add_known, summary);
	int r = IG_CLI_OK;

	if (args->option[BASELINE])
		r = ig_cli_logs_read(&before, &args->option[BASELINE], 1);
	if (r == IG_CLI_OK)
		r = ig_cli_logs_read(&logs, args->arg, args->n_args);
	*ret_counts = logs.counts;
	return r;
}

/* What is in a log is not for everybody. */
static int write_page(const struct ig_cli *cli, const char *name, struct ig_buf *page)
{
	_cleanup_close_ int fd = -1;
	struct ig_err err = {};
	int r;

	if (strcmp(name, "-") == 0)
		return ig_cli_print(cli, page);
	fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600);
	r = fd < 0 ? -errno : ig_fd_write_all(fd, page->data, page->len);
	if (r < 0) {
		(void)ig_err_at(&err, r, name, 0, 0, "cannot be written: %s", strerror(-r));
		return ig_cli_fail_at(cli, r, &err);
	}
	return IG_CLI_OK;
}

static int say(
	const struct ig_cli *cli, const char *name, size_t bytes, const struct ig_report_page *page)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};

	if (strcmp(name, "-") == 0)
		return IG_CLI_OK;
	if (cli->json) {
		ig_buf_putc(&b, '{');
		ig_buf_json_member_str(&b, "file", name);
		ig_buf_json_member_u64(&b, "bytes", bytes);
		ig_buf_json_member_u64(&b, "records", page->counts->records);
		ig_buf_json_member_u64(&b, "bad_lines", page->counts->bad_lines);
		ig_buf_json_member_u64(&b, "first_seen", page->n_new);
		ig_buf_json_member_u64(&b, "unusual_programs", page->n_odd);
		ig_buf_json_member_u64(&b, "lost_events", page->summary->lost_events);
		ig_buf_puts(&b, "}\n");
	} else {
		ig_out_text(&b, name, strlen(name));
		ig_buf_printf(&b, ": a report of %zu bytes\n", bytes);
	}
	return ig_cli_print(cli, &b);
}

static int report(const struct ig_cli *cli, const struct ig_cli_args *args,
	const struct ig_report_filter *filter, uint32_t top)
{
	_cleanup_(ig_report_summary_freep) struct ig_report_summary *summary = NULL;
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};
	_cleanup_(ig_buf_donep) struct ig_buf selection = {.limit = IG_OUT_BYTES};
	struct ig_report_counts counts = {};
	struct ig_report_page page = {.counts = &counts, .top = top, .selection = ""};
	size_t bytes;
	int r;

	if (ig_report_summary_new(filter, &summary) < 0)
		return ig_cli_fail(cli, -ENOMEM, true, "out of memory");
	r = read_logs(cli, args, summary, &counts);
	if (r != IG_CLI_OK)
		return r;
	put_selection(args, &selection);
	if (selection.data)
		page.selection = selection.data;
	page.summary = summary;
	r = ig_report_page_write(&page, &b);
	if (r < 0 || ig_buf_finish(&b) < 0)
		return ig_cli_fail(cli, -ENOMEM, true, "the page does not fit into memory");
	bytes = b.len;
	r = write_page(cli, args->option[HTML], &b);
	return r == IG_CLI_OK ? say(cli, args->option[HTML], bytes, &page) : r;
}

int ig_cli_cmd_audit_report(const struct ig_cli *cli, const struct ig_cli_args *args)
{
	const struct ig_cli_verb *verb = ig_cli_find("audit", "report");
	struct ig_report_filter filter;
	uint32_t top = TOP_DEFAULT;
	int r = ig_cli_logs_filter(cli, verb, args, &filter);

	if (r != IG_CLI_OK)
		return r;
	if (!args->option[HTML])
		return ig_cli_usage(cli, verb, "--html FILE is missing");
	if (strcmp(args->option[HTML], "-") == 0 && cli->json)
		return ig_cli_usage(cli, verb, "--html - does not go with --json");
	if (args->option[TOP] &&
		(ig_parse_u32(args->option[TOP], &top) < 0 || top == 0 || top > IG_REPORT_TOP_MAX))
		return ig_cli_usage(cli, verb, "--top '%s' is not from 1 to %d", args->option[TOP],
			IG_REPORT_TOP_MAX);
	return report(cli, args, &filter, top);
}
