/*
 * The command-line tool as a table: nouns, verbs, options, and what runs them. main.c calls
 * ig_cli_run(), which calls a command, which asks the agent and prints.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"

enum ig_cli_exit {
	IG_CLI_OK = 0,
	IG_CLI_FAILED = 1,
	IG_CLI_USAGE = 2,
	IG_CLI_UNREACHABLE = 3, /* the agent did not answer */
	IG_CLI_REFUSED = 4,	/* not found, or denied by policy */
	IG_CLI_PROBLEMS = 5,	/* a check found some */
};

/* What stands before the noun, and where to print. */
struct ig_cli {
	FILE *out, *err; /* borrowed */
	bool json;
	bool terminal; /* out is one */
	bool color;    /* and wants colours */
	const char *socket_path;
};

#define IG_CLI_OPTIONS_MAX 24
#define IG_CLI_ARGS_MAX	   1000 /* files on one command line */

struct ig_cli_option {
	const char *name;  /* without the dashes; NULL ends a list */
	const char *value; /* what stands for it in the help, see values.h; NULL: a flag */
	const char *help;
};

struct ig_cli_args {
	/* By the option's place in the verb's list: its value, "" for a flag, NULL when not given.
	 */
	const char *option[IG_CLI_OPTIONS_MAX];
	const char *arg[IG_CLI_ARGS_MAX];
	size_t n_args;
};

struct ig_cli_verb {
	const char *noun;
	const char *verb; /* NULL: the noun stands alone */
	const char *args; /* for the help, see values.h; "" without */
	size_t min_args, max_args;
	const char *summary;
	const char *details;		     /* paragraphs for --help; NULL without */
	const struct ig_cli_option *options; /* NULL without */
	int (*run)(const struct ig_cli *cli, const struct ig_cli_args *args);
};

extern const struct ig_cli_verb ig_cli_verbs[];	    /* ends with an empty entry */
extern const struct ig_cli_option ig_cli_globals[]; /* likewise */

/* The whole tool: parses, runs, prints, and returns the exit status. Expects SIGPIPE ignored. */
int ig_cli_run(int argc, char **argv, FILE *out, FILE *err);

/* Commands return what these return. */
int ig_cli_usage(const struct ig_cli *cli, const struct ig_cli_verb *verb, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Says what went wrong: a line on stderr or an error object on stdout. */
int ig_cli_fail(const struct ig_cli *cli, int code, bool reached, const char *message);
/* Prints the buffer to stdout. A reader that has gone away is no failure. */
int ig_cli_print(const struct ig_cli *cli, struct ig_buf *b);
/* Asks the agent and says what went wrong. args may be NULL, is borrowed; *ret_result is the
 * caller's. */
int ig_cli_request(const struct ig_cli *cli, const char *noun, const char *verb, json_t *args,
	json_t **ret_result);
/* As JSON or through `format`. */
int ig_cli_print_result(const struct ig_cli *cli, const json_t *result,
	void (*format)(const json_t *result, bool color, struct ig_buf *b));
/* Both. */
int ig_cli_ask(const struct ig_cli *cli, const char *noun, const char *verb, json_t *args,
	void (*format)(const json_t *result, bool color, struct ig_buf *b));

/* Help: everything (noun NULL), a noun (verb NULL) or one verb. -ENOENT when there is none. */
int ig_cli_help(const char *noun, const char *verb, bool json, struct ig_buf *b);
/* Is there such a noun? Such a verb (verb NULL: a noun that stands alone)? NULL if not. */
const struct ig_cli_verb *ig_cli_find_noun(const char *noun);
const struct ig_cli_verb *ig_cli_find(const char *noun, const char *verb);

int ig_cli_cmd_status(const struct ig_cli *cli, const struct ig_cli_args *args);
extern const struct ig_cli_option ig_cli_status_options[];
int ig_cli_cmd_workload_list(const struct ig_cli *cli, const struct ig_cli_args *args);
int ig_cli_cmd_workload_show(const struct ig_cli *cli, const struct ig_cli_args *args);
int ig_cli_cmd_audit_tail(const struct ig_cli *cli, const struct ig_cli_args *args);
extern const struct ig_cli_option ig_cli_audit_tail_options[];
int ig_cli_cmd_audit_verify(const struct ig_cli *cli, const struct ig_cli_args *args);
extern const struct ig_cli_option ig_cli_audit_verify_options[];
int ig_cli_cmd_explain(const struct ig_cli *cli, const struct ig_cli_args *args);
extern const struct ig_cli_option ig_cli_explain_options[];
int ig_cli_cmd_doctor(const struct ig_cli *cli, const struct ig_cli_args *args);
extern const struct ig_cli_option ig_cli_doctor_options[];
int ig_cli_cmd_top(const struct ig_cli *cli, const struct ig_cli_args *args);
extern const struct ig_cli_option ig_cli_top_options[];

int ig_cli_cmd_complete(const struct ig_cli *cli, const struct ig_cli_args *args);

/* Over logs and candidate policies: no agent is asked. */
int ig_cli_cmd_audit_stats(const struct ig_cli *cli, const struct ig_cli_args *args);
extern const struct ig_cli_option ig_cli_audit_stats_options[];
int ig_cli_cmd_audit_report(const struct ig_cli *cli, const struct ig_cli_args *args);
extern const struct ig_cli_option ig_cli_audit_report_options[];
int ig_cli_cmd_policy_test(const struct ig_cli *cli, const struct ig_cli_args *args);
extern const struct ig_cli_option ig_cli_policy_test_options[];
int ig_cli_cmd_policy_replay(const struct ig_cli *cli, const struct ig_cli_args *args);
extern const struct ig_cli_option ig_cli_policy_replay_options[];
int ig_cli_cmd_policy_suggest(const struct ig_cli *cli, const struct ig_cli_args *args);
extern const struct ig_cli_option ig_cli_policy_suggest_options[];
void ig_cli_format_replay(const json_t *result, bool color, struct ig_buf *b);
void ig_cli_format_stats(const json_t *stats, struct ig_buf *b);

/* One event as one line for people, newline included. */
void ig_cli_format_event(const json_t *event, bool color, struct ig_buf *b);
void ig_cli_format_status(const json_t *status, bool color, struct ig_buf *b);
void ig_cli_format_workloads(const json_t *list, bool color, struct ig_buf *b);
void ig_cli_format_workload(const json_t *workload, bool color, struct ig_buf *b);
void ig_cli_format_explanation(const json_t *explanation, bool color, struct ig_buf *b);
