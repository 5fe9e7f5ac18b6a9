/*
 * What the commands that read audit logs have in common: filters on the command line, the files,
 * and what is said of lines that are no records.
 */
#pragma once

#include <imdsgate/limits.h>

#include "cli/cmd.h"
#include "report/filter.h"
#include "report/reader.h"

/* Options that every such verb begins its list with, by place. */
enum {
	IG_LOGS_SINCE,
	IG_LOGS_UNTIL,
	IG_LOGS_NAMESPACE,
	IG_LOGS_POD,
	IG_LOGS_IDENTITY,
	IG_LOGS_RESOURCE,
	IG_LOGS_KIND,
	IG_LOGS_DECISION,
	_IG_LOGS_OPTIONS
};

#define IG_LOGS_OPTION_LIST                                                                        \
	[IG_LOGS_SINCE] = {"since", "TIME",                                                        \
		"only records from then on: RFC 3339, or how long ago (90s, 30m, 36h, 7d, 2w)"},   \
	[IG_LOGS_UNTIL] = {"until", "TIME", "only records before then; the same forms"},           \
	[IG_LOGS_NAMESPACE] = {"namespace", "NAMESPACE",                                           \
		"only requests of pods in this namespace"},                                        \
	[IG_LOGS_POD] = {"pod", "NAME", "only requests of pods of this name"},                     \
	[IG_LOGS_IDENTITY] = {"identity", "IDENTITY",                                              \
		"only requests for this one: NAME, NAMESPACE/NAME or client id"},                  \
	[IG_LOGS_RESOURCE] = {"resource", "RESOURCE",                                              \
		"only requests for tokens for this audience"},                                     \
	[IG_LOGS_KIND] = {"kind", "KIND", "only records of this kind, such as token.denied"},      \
	[IG_LOGS_DECISION] = {"decision", "DECISION",                                              \
		"only records with this decision: allow, deny, error or none"}

/* IG_CLI_OK, or what ig_cli_usage() returned. Texts of *ret are borrowed from the arguments. */
int ig_cli_logs_filter(const struct ig_cli *cli, const struct ig_cli_verb *verb,
	const struct ig_cli_args *args, struct ig_report_filter *ret);

struct ig_cli_logs {
	const struct ig_cli *cli;
	ig_report_each *each;
	void *userdata;
	struct ig_report_counts counts;
	struct ig_buf bad; /* lines about the first IG_REPORT_BAD_LINES_MAX bad ones */
	size_t n_bad;
};

#define IG_CLI_LOGS(cli_, each_, userdata_)                                                        \
	((struct ig_cli_logs){.cli = (cli_),                                                       \
		.each = (each_),                                                                   \
		.userdata = (userdata_),                                                           \
		.bad = {.limit = IG_OUT_BYTES}})

/* Reads the files, standard input when there are none; those that are not readable end it. Says
 * on stderr which lines are bad (with --json too: it is no error). IG_CLI_OK or IG_CLI_FAILED with
 * everything said. */
int ig_cli_logs_read(struct ig_cli_logs *logs, const char *const *files, size_t n);
void ig_cli_logs_done(struct ig_cli_logs *logs);

/* Like ig_cli_fail(), with the place and always IG_CLI_FAILED: a file that is not there was not
 * refused by anybody. */
int ig_cli_fail_at(const struct ig_cli *cli, int code, const struct ig_err *err);
