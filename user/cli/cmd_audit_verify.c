/*
 * `imdsgate audit verify`: is a log complete and unaltered? Needs no agent. Called by args.c
 * through the table; audit/verify.c does the checking.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "audit/verify.h"
#include "base/cleanup.h"
#include "cli/cmd.h"
#include "cli/out.h"

enum { SINK };

const struct ig_cli_option ig_cli_audit_verify_options[] = {
	[SINK] = {"sink", "NAME",
		"the sink that the log is from, whose reported losses count: file, stdout, syslog or otlp (default file); subscriber: what audit tail printed"},
	{},
};

static const char *const sinks[] = {"file", "stdout", "syslog", "otlp", "subscriber"};

struct report {
	const struct ig_cli *cli;
	struct ig_buf text;	 /* for people */
	json_t *findings, *runs; /* owned; with --json */
	int error;
};

static void report_done(struct report *report)
{
	ig_buf_done(&report->text);
	json_decref(report->findings);
	json_decref(report->runs);
}

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)(n > INT64_MAX ? INT64_MAX : n));
}

static void append(struct report *report, json_t *list, json_t *item)
{
	if (json_array_append_new(list, item) < 0)
		report->error = -ENOMEM;
}

static void put_numbers(struct ig_buf *b, const struct ig_audit_finding *f)
{
	if (f->first && f->last > f->first)
		ig_buf_printf(b, " %" PRIu64 " to %" PRIu64, f->first, f->last);
	else if (f->first)
		ig_buf_printf(b, " %" PRIu64, f->first);
}

static void on_finding(const struct ig_audit_finding *f, void *userdata)
{
	struct report *report = userdata;
	struct ig_buf *b = &report->text;

	if (report->cli->json) {
		append(report, report->findings,
			json_pack("{s:s,s:s,s:o,s:s,s:o,s:o,s:s}", "type",
				ig_audit_finding_name(f->type), "file", f->file, "line",
				number(f->line), "run", f->run, "first", number(f->first), "last",
				number(f->last), "message", f->message));
		return;
	}
	ig_out_text(b, f->file, strlen(f->file));
	ig_buf_printf(b, ":%" PRIu64 ": %s", f->line, ig_audit_finding_name(f->type));
	put_numbers(b, f);
	ig_buf_printf(b, "%s%s: %s\n", f->run[0] ? " of run " : "", f->run, f->message);
}

static void on_run(const struct ig_audit_run_summary *run, void *userdata)
{
	struct report *report = userdata;

	if (report->cli->json)
		append(report, report->runs,
			json_pack("{s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:b,s:o,s:b}", "boot", run->boot,
				"run", run->run, "first", number(run->first), "last",
				number(run->last), "records", number(run->records), "reported_lost",
				number(run->reported), "missing", number(run->missing), "chained",
				run->chained, "links", number(run->links), "stopped",
				run->stopped));
}

static int print(struct report *report, const struct ig_audit_verify_summary *s)
{
	_cleanup_(json_decrefp) json_t *all = NULL;
	struct ig_buf *b = &report->text;

	if (report->cli->json) {
		all = json_pack("{s:b,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:O,s:O}", "ok", s->problems == 0,
			"lines", number(s->lines), "records", number(s->records), "reported_lost",
			number(s->reported), "missing", number(s->missing), "lost_kernel",
			number(s->lost_kernel), "links", number(s->links), "problems",
			number(s->problems), "runs", report->runs, "findings", report->findings);
		if (!all || ig_out_json(b, all) < 0)
			return -ENOMEM;
		return 0;
	}
	ig_buf_printf(b,
		"%s: %" PRIu64 " records in %" PRIu64 " runs, %" PRIu64
		" reported as lost, %" PRIu64 " missing, %" PRIu64 " problems; %" PRIu64
		" links of the chain checked\n",
		s->problems ? "PROBLEMS" : "ok", s->records, s->runs, s->reported, s->missing,
		s->problems, s->links);
	return 0;
}

static int read_file(struct ig_audit_verify *verify, const char *name)
{
	FILE *stream = strcmp(name, "-") == 0 ? stdin : fopen(name, "re");
	int r;

	if (!stream)
		return -errno;
	r = ig_audit_verify_file(verify, stream, name);
	if (stream != stdin)
		(void)fclose(stream);
	return r;
}

static bool is_sink(const char *name)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(sinks); i++)
		if (strcmp(name, sinks[i]) == 0)
			return true;
	return false;
}

/* Unreadable is failed, not "refused by the agent". */
static int fail(const struct ig_cli *cli, int code, const char *name)
{
	char message[IG_ERR_MESSAGE_BYTES];

	(void)snprintf(message, sizeof(message), "cannot read %s: %s", name, strerror(-code));
	(void)ig_cli_fail(cli, code, true, message);
	return IG_CLI_FAILED;
}

IG_DEFINE_CLEANUP(struct ig_audit_verify *, ig_audit_verify_free);

int ig_cli_cmd_audit_verify(const struct ig_cli *cli, const struct ig_cli_args *args)
{
	_cleanup_(report_done) struct report report = {.cli = cli,
		.text.limit = IG_OUT_BYTES,
		.findings = json_array(),
		.runs = json_array()};
	_cleanup_(ig_audit_verify_freep) struct ig_audit_verify *verify = NULL;
	const char *sink = args->option[SINK] ? args->option[SINK] : sinks[0];
	struct ig_audit_verify_summary summary;
	int r;

	if (!is_sink(sink))
		return ig_cli_usage(
			cli, ig_cli_find("audit", "verify"), "there is no sink '%s'", sink);
	r = ig_audit_verify_new(sink, on_finding, &report, &verify);
	for (size_t i = 0; r == 0 && i < args->n_args; i++) {
		r = read_file(verify, args->arg[i]);
		if (r < 0)
			return fail(cli, r, args->arg[i]);
	}
	if (r == 0) {
		ig_audit_verify_finish(verify, on_run, &summary);
		r = report.error ? report.error : print(&report, &summary);
	}
	if (r < 0)
		return ig_cli_fail(cli, r, true, strerror(-r));
	r = ig_cli_print(cli, &report.text);
	return r == IG_CLI_OK && summary.problems ? IG_CLI_PROBLEMS : r;
}
