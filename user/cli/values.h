/*
 * What may stand for an argument or for the value of an option: a closed list, a file, the name of
 * a workload. One table for `help --json`, the completion and the tests that compare them; what is
 * not in it is free text. Called by table.c and cmd_complete.c. It never asks anybody: names of
 * workloads are found by who completes.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "cli/cmd.h"

enum ig_cli_value_type {
	IG_CLI_VALUE_TEXT, /* anything */
	IG_CLI_VALUE_LIST, /* one of ig_cli_value_list() */
	IG_CLI_VALUE_FILE,
	IG_CLI_VALUE_DIRECTORY,
	IG_CLI_VALUE_WORKLOAD,	/* NAMESPACE/NAME of one that the agent knows */
	IG_CLI_VALUE_NAMESPACE, /* of one */
	IG_CLI_VALUE_POD,	/* name of one */
	IG_CLI_VALUE_IDENTITY,	/* name of one that a workload may use */
	IG_CLI_VALUE_NOUN,
	IG_CLI_VALUE_VERB,
	_IG_CLI_VALUE_MAX
};

/* "text", "list", "file", … */
const char *ig_cli_value_type_name(enum ig_cli_value_type type);

/* By what stands for its value ("FILE", "[NS/]NAME"), then by the option's name. Words in small
 * letters with | between them ("allow|deny") are the values themselves. */
enum ig_cli_value_type ig_cli_option_type(const struct ig_cli_option *option);
/* All values of an option whose type is IG_CLI_VALUE_LIST, as JSON strings; json_null() for other
 * types. The caller's; NULL when out of memory. */
json_t *ig_cli_option_values(const struct ig_cli_option *option);

#define IG_CLI_ARG_BYTES 64

struct ig_cli_arg {
	char name[IG_CLI_ARG_BYTES]; /* without brackets and dots */
	enum ig_cli_value_type type;
	bool repeats; /* stands for any number */
};

#define IG_CLI_VERB_ARGS_MAX 8

/* The arguments that a verb's help names ("NAMESPACE/NAME", "[FILE...]"), in order; an option that
 * stands among them is left out. Returns how many. */
size_t ig_cli_verb_args(const struct ig_cli_verb *verb, struct ig_cli_arg *ret);
