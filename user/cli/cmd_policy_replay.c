/*
 * `imdsgate policy replay`: what candidate rules would have changed in a recorded log. Called by
 * args.c through the table; review/ judges.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/candidates.h"
#include "cli/logs.h"
#include "cli/out.h"
#include "review/replay.h"

#define TOP_DEFAULT 20

enum { CANDIDATES = _IG_LOGS_OPTIONS, TOP = CANDIDATES + _IG_CANDIDATES_OPTIONS };

const struct ig_cli_option ig_cli_policy_replay_options[] = {
	IG_LOGS_OPTION_LIST,
	IG_CANDIDATES_OPTION_LIST(CANDIDATES),
	[TOP] = {"top", "N", "rows for each kind of change, at most (default 20)"},
	{},
};

/* For people; rows of one change stand under its title. */
static const struct {
	const char *change, *title, *color;
} groups[] = {
	{"newly_denied", "NEWLY DENIED", IG_OUT_RED},
	{"newly_allowed", "NEWLY ALLOWED", IG_OUT_YELLOW},
	{"newly_watched", "ALLOWED, AND A POLICY IN MODE AUDIT WOULD DENY IT", IG_OUT_YELLOW},
	{"unknown", "UNKNOWN, FOR WANT OF WHAT STANDS UNDER NOW", ""},
};

struct replaying {
	const struct ig_report_filter *filter;
	struct ig_replay *replay;
};

static int add(const struct ig_report_event *event, void *userdata)
{
	const struct replaying *r = userdata;

	/* what was lost cannot be judged, and fits every filter */
	return ig_report_wants(r->filter, event) ? ig_replay_add(r->replay, event) : 0;
}

static bool is_of(const json_t *row, const char *change)
{
	const char *is = ig_out_get_string(row, "change");

	return is && strcmp(is, change) == 0;
}

static void put_rows(const json_t *rows, const char *change, struct ig_buf *b)
{
	static const char *const columns[][2] = {{"REQUESTS", "requests"},
		{"NAMESPACE", "namespace"}, {"POD", "pod"}, {"IDENTITY", "identity"},
		{"TARGET", "target"}, {"EXECUTABLE", "executable"}, {"WAS", "was"}, {"NOW", "now"},
		{"LAST", "last"}};
	_cleanup_(ig_out_table_done) struct ig_out_table table =
		IG_OUT_TABLE(IG_ARRAY_SIZE(columns));
	const json_t *row;
	size_t i;

	for (size_t c = 0; c < IG_ARRAY_SIZE(columns); c++)
		ig_out_cell_text(&table, columns[c][0]);
	json_array_foreach (rows, i, row)
		for (size_t c = 0; is_of(row, change) && c < IG_ARRAY_SIZE(columns); c++)
			ig_out_cell_value(&table, json_object_get(row, columns[c][1]));
	ig_out_table_format(&table, b);
}

static void put_count(const json_t *result, const char *change, struct ig_buf *b)
{
	ig_out_value(b, json_object_get(json_object_get(result, "changes"), change));
}

void ig_cli_format_replay(const json_t *result, bool color, struct ig_buf *b)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(groups); i++) {
		const char *paint = color ? groups[i].color : "";

		if (!json_integer_value(
			    json_object_get(json_object_get(result, "changes"), groups[i].change)))
			continue;
		ig_buf_printf(b, "%s%s%s: ", paint, groups[i].title, paint[0] ? IG_OUT_OFF : "");
		put_count(result, groups[i].change, b);
		ig_buf_puts(b, " requests\n");
		put_rows(json_object_get(result, "rows"), groups[i].change, b);
		ig_buf_putc(b, '\n');
	}
	if (!json_is_true(json_object_get(result, "identities_judged")))
		ig_buf_puts(b,
			"The manifests declare no identities, so each request keeps the one that was recorded.\n");
	if (json_integer_value(ig_out_get(result, "dropped.rows")))
		ig_buf_puts(b,
			"There were too many different changes: rows are missing; the totals are exact.\n");
	for (size_t i = 0; i < IG_ARRAY_SIZE(groups); i++) {
		ig_buf_printf(b, "%s ", groups[i].change);
		put_count(result, groups[i].change, b);
		ig_buf_puts(b, ", ");
	}
	ig_buf_puts(b, "unchanged ");
	put_count(result, "unchanged", b);
	ig_buf_puts(b, ", not for rules to decide ");
	put_count(result, "not_judged", b);
	ig_buf_puts(b, "; rates are not replayed\n");
}

static int replay_logs(const struct ig_cli *cli, const struct ig_cli_args *args,
	const struct ig_report_filter *filter, uint32_t top)
{
	_cleanup_(ig_cli_candidates_done) struct ig_cli_candidates candidates = {};
	_cleanup_(ig_replay_freep) struct ig_replay *replay = NULL;
	struct replaying replaying = {.filter = filter};
	_cleanup_(ig_cli_logs_done) struct ig_cli_logs logs = IG_CLI_LOGS(cli, add, &replaying);
	_cleanup_(json_decrefp) json_t *result = NULL;
	int r = ig_cli_candidates_load(cli, args->option + CANDIDATES, &candidates);

	if (r != IG_CLI_OK)
		return r;
	if (ig_replay_new(candidates.store, &candidates.options, &replay) < 0)
		return ig_cli_fail(cli, -ENOMEM, true, "out of memory");
	replaying.replay = replay;
	r = ig_cli_logs_read(&logs, args->arg, args->n_args);
	if (r != IG_CLI_OK)
		return r;
	if (ig_replay_result(replay, top, &result) < 0 ||
		json_object_set_new(
			result, "bad_lines", json_integer((json_int_t)logs.counts.bad_lines)) < 0)
		return ig_cli_fail(cli, -ENOMEM, true, "out of memory");
	r = ig_cli_print_result(cli, result, ig_cli_format_replay);
	return r == IG_CLI_OK && ig_replay_count(replay, IG_REPLAY_NEWLY_DENIED) ? IG_CLI_PROBLEMS
										 : r;
}

int ig_cli_cmd_policy_replay(const struct ig_cli *cli, const struct ig_cli_args *args)
{
	const struct ig_cli_verb *verb = ig_cli_find("policy", "replay");
	struct ig_report_filter filter;
	uint32_t top = TOP_DEFAULT;
	int r = ig_cli_logs_filter(cli, verb, args, &filter);

	if (r != IG_CLI_OK)
		return r;
	if (!args->option[CANDIDATES + IG_CANDIDATES_MANIFESTS])
		return ig_cli_usage(cli, verb, "--manifests DIR is missing");
	if (args->option[TOP] &&
		(ig_parse_u32(args->option[TOP], &top) < 0 || top == 0 || top > IG_REPORT_TOP_MAX))
		return ig_cli_usage(cli, verb, "--top '%s' is not from 1 to %d", args->option[TOP],
			IG_REPORT_TOP_MAX);
	return replay_logs(cli, args, &filter, top);
}
