/*
 * The table of commands and the help that is made from it. Called by args.c.
 *
 * A command that is not in the table does not exist; its help, the manual page, the completion and
 * the tests are compared with what `imdsgate --json help` prints from here.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cmd.h"
#include "cli/out.h"
#include "cli/values.h"
#include "ctl/proto.h"
#include "version.h"

#define PROGRAM "imdsgate"

static int cmd_help(const struct ig_cli *cli, const struct ig_cli_args *args);
static int cmd_version(const struct ig_cli *cli, const struct ig_cli_args *args);

const struct ig_cli_option ig_cli_globals[] = {
	{"json", NULL, "print one JSON value (JSON lines for tail and top), errors included"},
	{"socket", "PATH", "the agent's control socket (default " IG_CTL_DEFAULT_SOCKET ")"},
	{"help", NULL, "print help; also behind a noun and behind a verb"},
	{},
};

static const char *const statuses[] = {
	[IG_CLI_OK] = "ok",
	[IG_CLI_FAILED] = "failed",
	[IG_CLI_USAGE] = "wrong usage",
	[IG_CLI_UNREACHABLE] = "the agent does not answer",
	[IG_CLI_REFUSED] = "not found or denied",
	[IG_CLI_PROBLEMS] = "a check found problems",
};

const struct ig_cli_verb ig_cli_verbs[] = {
	{.noun = "status",
		.args = "",
		.summary = "what the agent is doing, and its counters",
		.options = ig_cli_status_options,
		.run = ig_cli_cmd_status},
	{.noun = "workload",
		.verb = "list",
		.args = "",
		.summary = "the workloads of this node and the identities each may use",
		.run = ig_cli_cmd_workload_list},
	{.noun = "workload",
		.verb = "show",
		.args = "NAMESPACE/NAME",
		.min_args = 1,
		.max_args = 1,
		.summary = "everything the agent knows about one workload",
		.run = ig_cli_cmd_workload_show},
	{.noun = "audit",
		.verb = "tail",
		.args = "",
		.summary = "audit events as they happen",
		.details =
			"Goes on until it is stopped or has printed --count of them. An event\nis printed when it fits every filter that is given. One that does not name a pod fits no\n--namespace and no --pod. Prints lines for people to a terminal, JSON lines otherwise.",
		.options = ig_cli_audit_tail_options,
		.run = ig_cli_cmd_audit_tail},
	{.noun = "audit",
		.verb = "verify",
		.args = "FILE...",
		.min_args = 1,
		.max_args = IG_CLI_ARGS_MAX,
		.summary = "what is missing in a log of the audit, or was altered",
		.details =
			"Reads the files in the order in which they were written, oldest first\n(audit.jsonl.2 audit.jsonl.1 audit.jsonl); - is standard input. Checks the sequence of each\nrun, that every gap was reported as a loss, and the chain of hashes if there is one\n(imdsgated --audit-chain). Exit status: 0 all is well, 5 problems found, 1 unreadable.",
		.options = ig_cli_audit_verify_options,
		.run = ig_cli_cmd_audit_verify},
	{.noun = "audit",
		.verb = "stats",
		.args = "[FILE...]",
		.max_args = IG_CLI_ARGS_MAX,
		.summary = "who used which identity for what, in numbers, from audit logs",
		.details =
			"Reads the files, rotated ones too and in any order; without a file, or\nfor -, standard input. A line that is no record is named and passed over. A log of any length\nneeds little memory: beyond a limit rare rows are dropped, which is said, and the totals stay\nexact.",
		.options = ig_cli_audit_stats_options,
		.run = ig_cli_cmd_audit_stats},
	{.noun = "explain",
		.args = "[[NAMESPACE/]POD]",
		.max_args = 1,
		.summary = "what a request would get, and because of which rules",
		.details =
			"POD is a workload of this node, in the namespace \"default\" unless it says otherwise. Without\n--path it is about a token. Nothing is asked for: the answer is what holds now. The exit\nstatus is 4 when the request would be denied.",
		.options = ig_cli_explain_options,
		.run = ig_cli_cmd_explain},
	{.noun = "audit",
		.verb = "report",
		.args = "--html FILE [LOG...]",
		.max_args = IG_CLI_ARGS_MAX,
		.summary = "where it put a page of HTML about audit logs",
		.details =
			"One page without scripts, and nothing in it comes from the network: requests\nover time, identities by resource, what was denied, what is new, which programs are unusual,\nwhat was lost. Logs are read as by audit stats.",
		.options = ig_cli_audit_report_options,
		.run = ig_cli_cmd_audit_report},
	{.noun = "policy",
		.verb = "test",
		.args = "",
		.summary = "what rules that are not in force yet would do with a request",
		.details =
			"With --manifests no agent is asked; without, it is the running agent\nthat answers, as in explain. A pod has to be declared, for its labels decide. Exit status: 0\nallowed, 4 denied, 5 allowed by a policy in mode Audit that would deny it, 1 when it depends\non what no manifest says. With --expect and --cases: 0 as expected, 5 not.",
		.options = ig_cli_policy_test_options,
		.run = ig_cli_cmd_policy_test},
	{.noun = "policy",
		.verb = "replay",
		.args = "--manifests DIR [LOG...]",
		.max_args = IG_CLI_ARGS_MAX,
		.summary = "what rules that are not in force yet would have changed in audit logs",
		.details =
			"Every request for a token or a document that was recorded is judged by\nthe candidate rules. What the record and the manifests do not say (labels of a pod that is not\ndeclared, which container it was) is tried both ways and, if it matters, reported as unknown.\nExit status: 5 when something would be newly denied.",
		.options = ig_cli_policy_replay_options,
		.run = ig_cli_cmd_policy_replay},
	{.noun = "policy",
		.verb = "suggest",
		.args = "[LOG...]",
		.max_args = IG_CLI_ARGS_MAX,
		.summary =
			"MetadataPolicies that allow what was used with success, from audit logs",
		.details =
			"YAML for kubectl or the manifest directory; comments say how often, when,\nand what could not be restricted and why. A list that could not hold everything that was used\nis left out, so that nothing that worked is denied.",
		.options = ig_cli_policy_suggest_options,
		.run = ig_cli_cmd_policy_suggest},
	{.noun = "doctor",
		.args = "",
		.summary = "whether this node is guarded as it should be, and if not, why",
		.details =
			"Changes nothing, except that the self-test makes a cgroup and a network namespace of its own\nand removes them again. Needs root for most checks, and works without an agent, too. Exit status:\n0 no problems, 5 problems, 3 the agent cannot be asked (what else was found is printed).",
		.options = ig_cli_doctor_options,
		.run = ig_cli_cmd_doctor},
	{.noun = "top",
		.args = "",
		.summary = "requests, tokens and upstream calls by workload, as they happen",
		.details =
			"On a terminal a table that is drawn anew each interval; q or Ctrl-C ends it. Else the same as\nplain text; with --json one object for each interval. Rates are by the second.",
		.options = ig_cli_top_options,
		.run = ig_cli_cmd_top},
	{.noun = "complete",
		.args = "WORD...",
		.min_args = 1,
		.max_args = IG_CLI_ARGS_MAX,
		.summary = "what may stand next on a command line, for the completions of shells",
		.details = "The words are those behind the program's name, with -- in front; the last one is to be\ncompleted, and may be empty. A line for each candidate: the word, a tab, what it means. A last\nline :files or :directories says that paths may stand there. Always succeeds; what only the\nagent knows is left out when it does not answer at once.",
		.run = ig_cli_cmd_complete},
	{.noun = "version", .args = "", .summary = "the version of this tool", .run = cmd_version},
	{.noun = "help",
		.args = "[NOUN [VERB]]",
		.max_args = 2,
		.summary = "this help, or that of a noun or a verb",
		.run = cmd_help},
	{},
};

const struct ig_cli_verb *ig_cli_find_noun(const char *noun)
{
	for (const struct ig_cli_verb *v = ig_cli_verbs; v->noun; v++)
		if (strcmp(v->noun, noun) == 0)
			return v;
	return NULL;
}

const struct ig_cli_verb *ig_cli_find(const char *noun, const char *verb)
{
	for (const struct ig_cli_verb *v = ig_cli_verbs; v->noun; v++)
		if (strcmp(v->noun, noun) == 0 &&
			strcmp(v->verb ? v->verb : "", verb ? verb : "") == 0)
			return v;
	return NULL;
}

static void put_name(struct ig_buf *b, const struct ig_cli_verb *v)
{
	ig_buf_printf(b, "%s%s%s", v->noun, v->verb ? " " : "", v->verb ? v->verb : "");
}

static void put_options(struct ig_buf *b, const struct ig_cli_option *options)
{
	_cleanup_(ig_out_table_done) struct ig_out_table table = IG_OUT_TABLE(2);

	for (const struct ig_cli_option *o = options; o->name; o++) {
		ig_buf_printf(&table.cell, "  --%s%s%s", o->name, o->value ? " " : "",
			o->value ? o->value : "");
		ig_out_cell(&table);
		ig_out_cell_text(&table, o->help);
	}
	ig_out_table_format(&table, b);
}

static void help_verb(const struct ig_cli_verb *v, struct ig_buf *b)
{
	ig_buf_puts(b, "Usage: " PROGRAM " [GLOBAL OPTIONS] ");
	put_name(b, v);
	ig_buf_printf(
		b, "%s%s%s\n\n", v->options ? " [OPTIONS]" : "", v->args[0] ? " " : "", v->args);
	ig_buf_printf(b, "Prints %s.\n", v->summary);
	if (v->details)
		ig_buf_printf(b, "\n%s\n", v->details);
	if (v->options) {
		ig_buf_puts(b, "\nOptions (behind the verb):\n");
		put_options(b, v->options);
	}
	ig_buf_puts(b, "\nGlobal options (before the noun): see " PROGRAM " --help.\n");
}

static void put_verbs(struct ig_buf *b, const char *noun)
{
	_cleanup_(ig_out_table_done) struct ig_out_table table = IG_OUT_TABLE(2);

	for (const struct ig_cli_verb *v = ig_cli_verbs; v->noun; v++) {
		if (noun && strcmp(v->noun, noun) != 0)
			continue;
		ig_buf_puts(&table.cell, "  ");
		put_name(&table.cell, v);
		ig_buf_printf(&table.cell, "%s%s", v->args[0] ? " " : "", v->args);
		ig_out_cell(&table);
		ig_out_cell_text(&table, v->summary);
	}
	ig_out_table_format(&table, b);
}

static void help_many(const char *noun, struct ig_buf *b)
{
	if (noun)
		ig_buf_printf(
			b, "Usage: " PROGRAM " [GLOBAL OPTIONS] %s VERB [OPTIONS] [ARGS]\n", noun);
	else
		ig_buf_puts(b,
			"Usage: " PROGRAM
			" [GLOBAL OPTIONS] NOUN [VERB] [OPTIONS] [ARGS]\n\nAsks the imdsgate agent of this node.\n");
	ig_buf_puts(b, "\nCommands:\n");
	put_verbs(b, noun);
	if (noun)
		return;
	ig_buf_puts(b,
		"\nGlobal options, which stand before the noun (a verb's own stand behind it):\n");
	put_options(b, ig_cli_globals);
	ig_buf_puts(b, "\nExit status:");
	for (size_t i = 0; i < IG_ARRAY_SIZE(statuses); i++)
		ig_buf_printf(b, "%s %zu %s", i ? "," : "", i, statuses[i]);
	ig_buf_puts(b, ".\n");
}

static const char *type_name(const struct ig_cli_option *option)
{
	return option->value ? ig_cli_value_type_name(ig_cli_option_type(option)) : NULL;
}

/* NULL when out of memory. */
static json_t *options_to_json(const struct ig_cli_option *options)
{
	_cleanup_(json_decrefp) json_t *list = json_array();

	for (const struct ig_cli_option *o = options; o && o->name; o++)
		if (json_array_append_new(
			    list, json_pack("{s:s,s:s?,s:s?,s:o,s:s}", "name", o->name, "value",
					  o->value, "type", type_name(o), "values",
					  ig_cli_option_values(o), "help", o->help)) < 0)
			return NULL;
	return TAKE_PTR(list);
}

static json_t *args_to_json(const struct ig_cli_verb *v)
{
	_cleanup_(json_decrefp) json_t *list = json_array();
	struct ig_cli_arg args[IG_CLI_VERB_ARGS_MAX];
	size_t n = ig_cli_verb_args(v, args);

	for (size_t i = 0; i < n; i++)
		if (json_array_append_new(
			    list, json_pack("{s:s,s:s,s:b,s:b}", "name", args[i].name, "type",
					  ig_cli_value_type_name(args[i].type), "required",
					  i < v->min_args, "repeats", args[i].repeats)) < 0)
			return NULL;
	return TAKE_PTR(list);
}

static json_t *verb_to_json(const struct ig_cli_verb *v)
{
	return json_pack("{s:s,s:s?,s:s,s:o,s:s,s:s?,s:o}", "noun", v->noun, "verb", v->verb,
		"args", v->args, "arguments", args_to_json(v), "summary", v->summary, "details",
		v->details, "options", options_to_json(v->options));
}

static json_t *statuses_to_json(void)
{
	_cleanup_(json_decrefp) json_t *list = json_array();

	for (size_t i = 0; i < IG_ARRAY_SIZE(statuses); i++)
		if (json_array_append_new(list, json_string(statuses[i])) < 0)
			return NULL;
	return TAKE_PTR(list);
}

static int help_json(const char *noun, const struct ig_cli_verb *only, struct ig_buf *b)
{
	_cleanup_(json_decrefp) json_t *list = json_array();
	_cleanup_(json_decrefp) json_t *all = NULL;

	for (const struct ig_cli_verb *v = ig_cli_verbs; v->noun; v++) {
		if ((only && v != only) || (noun && strcmp(v->noun, noun) != 0))
			continue;
		if (json_array_append_new(list, verb_to_json(v)) < 0)
			return -ENOMEM;
	}
	all = json_pack("{s:s,s:o,s:O,s:o}", "version", IG_VERSION, "global_options",
		options_to_json(ig_cli_globals), "commands", list, "exit_status",
		statuses_to_json());
	return all ? ig_out_json(b, all) : -ENOMEM;
}

int ig_cli_help(const char *noun, const char *verb, bool json, struct ig_buf *b)
{
	const struct ig_cli_verb *only = noun ? ig_cli_find(noun, verb) : NULL;

	if (noun && !only && (verb || !ig_cli_find_noun(noun)))
		return -ENOENT;
	if (json)
		return help_json(noun, only, b);
	if (only)
		help_verb(only, b);
	else
		help_many(noun, b);
	return ig_buf_finish(b);
}

static int cmd_help(const struct ig_cli *cli, const struct ig_cli_args *args)
{
	const char *noun = args->n_args > 0 ? args->arg[0] : NULL;
	const char *verb = args->n_args > 1 ? args->arg[1] : NULL;
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};
	int r;

	r = ig_cli_help(noun, verb, cli->json, &b);
	if (r == -ENOENT)
		return ig_cli_usage(cli, NULL, "there is no command '%s%s%s'", noun,
			verb ? " " : "", verb ? verb : "");
	return r < 0 ? ig_cli_fail(cli, r, true, strerror(-r)) : ig_cli_print(cli, &b);
}

static int cmd_version(const struct ig_cli *cli, const struct ig_cli_args *args)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};

	(void)args;
	if (cli->json) {
		ig_buf_putc(&b, '{');
		ig_buf_json_member_str(&b, "version", IG_VERSION);
		ig_buf_puts(&b, "}\n");
	} else {
		ig_buf_puts(&b, PROGRAM " " IG_VERSION "\n");
	}
	return ig_cli_print(cli, &b);
}
