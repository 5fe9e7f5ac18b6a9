/*
 * Reading audit logs for commands; see logs.h.
 */
#include "cli/logs.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "cli/out.h"
#include "report/when.h"

int ig_cli_fail_at(const struct ig_cli *cli, int code, const struct ig_err *err)
{
	char text[IG_ERR_MESSAGE_BYTES + IG_ERR_FILE_BYTES + 32];

	(void)ig_cli_fail(cli, code, true, ig_err_format(err, text, sizeof(text)));
	return IG_CLI_FAILED;
}

int ig_cli_logs_filter(const struct ig_cli *cli, const struct ig_cli_verb *verb,
	const struct ig_cli_args *args, struct ig_report_filter *ret)
{
	const char *const *o = args->option;
	uint64_t now = ig_clock_real_usec();
	struct ig_report_filter f = {.namespace = o[IG_LOGS_NAMESPACE],
		.pod = o[IG_LOGS_POD],
		.identity = o[IG_LOGS_IDENTITY],
		.resource = o[IG_LOGS_RESOURCE],
		.kind = o[IG_LOGS_KIND],
		.by_decision = o[IG_LOGS_DECISION]};

	if (o[IG_LOGS_SINCE] && ig_when_parse_or_ago(o[IG_LOGS_SINCE], now, &f.since_usec) < 0)
		return ig_cli_usage(cli, verb, "--since '%s' is no time: 2026-01-02T03:04:05Z, 36h",
			o[IG_LOGS_SINCE]);
	if (o[IG_LOGS_UNTIL] && ig_when_parse_or_ago(o[IG_LOGS_UNTIL], now, &f.until_usec) < 0)
		return ig_cli_usage(cli, verb, "--until '%s' is no time: 2026-01-02T03:04:05Z, 36h",
			o[IG_LOGS_UNTIL]);
	if (f.until_usec && f.until_usec <= f.since_usec)
		return ig_cli_usage(cli, verb, "--until is not behind --since");
	if (f.kind && ig_report_kind_parse(f.kind) == _IG_AUDIT_KIND_MAX)
		return ig_cli_usage(cli, verb, "there is no kind '%s'", f.kind);
	if (f.by_decision && ig_report_decision_parse(o[IG_LOGS_DECISION], &f.decision) < 0)
		return ig_cli_usage(cli, verb, "there is no decision '%s'", o[IG_LOGS_DECISION]);
	*ret = f;
	return IG_CLI_OK;
}

static void on_bad(const char *file, uint64_t line, const char *why, void *userdata)
{
	struct ig_cli_logs *logs = userdata;

	if (logs->n_bad++ >= IG_REPORT_BAD_LINES_MAX)
		return;
	ig_buf_puts(&logs->bad, "imdsgate: ");
	ig_out_text(&logs->bad, file, strlen(file));
	ig_buf_printf(&logs->bad, ":%" PRIu64 ": ", line);
	ig_out_text(&logs->bad, why, strlen(why));
	ig_buf_puts(&logs->bad, ", ignoring\n");
}

static int on_event(const struct ig_report_event *event, void *userdata)
{
	const struct ig_cli_logs *logs = userdata;

	return logs->each(event, logs->userdata);
}

int ig_cli_logs_read(struct ig_cli_logs *logs, const char *const *files, size_t n)
{
	static const char *const standard_input[] = {"-"};
	const struct ig_report_handler handler = {
		.each = on_event, .bad = on_bad, .userdata = logs};
	struct ig_err err = {};

	if (n == 0) {
		files = standard_input;
		n = 1;
	}
	for (size_t i = 0; i < n; i++) {
		int r = ig_report_read(files[i], &handler, &logs->counts, &err);

		if (r < 0)
			return ig_cli_fail_at(logs->cli, r, &err);
	}
	if (logs->n_bad > IG_REPORT_BAD_LINES_MAX)
		ig_buf_printf(&logs->bad, "imdsgate: %zu more lines are no records, ignoring\n",
			logs->n_bad - IG_REPORT_BAD_LINES_MAX);
	(void)ig_out_flush(logs->cli->err, &logs->bad);
	return IG_CLI_OK;
}

void ig_cli_logs_done(struct ig_cli_logs *logs)
{
	ig_buf_done(&logs->bad);
}
