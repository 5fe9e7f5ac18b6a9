/*
 * `imdsgate policy suggest`: policies that allow what was used, from recorded logs. Called by
 * args.c through the table; review/ makes them.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/candidates.h"
#include "cli/logs.h"
#include "cli/out.h"
#include "objects/manifest.h"
#include "objects/names.h"
#include "review/suggest.h"

#define LABEL_PREFIX "pod-label="

enum { MANIFESTS = _IG_LOGS_OPTIONS, POLICY_NAMESPACE, PER };

const struct ig_cli_option ig_cli_policy_suggest_options[] = {
	IG_LOGS_OPTION_LIST,
	[MANIFESTS] = {"manifests", "DIR",
		"declared pods, for their labels and the names of their containers"},
	[POLICY_NAMESPACE] = {"policy-namespace", "NS",
		"where a policy for the host's processes goes (default imdsgate-system)"},
	[PER] = {"per", "WHAT",
		"a policy for each service-account (default), identity, or value of a label: pod-label=KEY"},
	{},
};

struct suggesting {
	const struct ig_report_filter *filter;
	struct ig_suggest *suggest;
};

static int add(const struct ig_report_event *event, void *userdata)
{
	const struct suggesting *s = userdata;

	return ig_report_wants(s->filter, event) ? ig_suggest_add(s->suggest, event) : 0;
}

static int read_per(
	const struct ig_cli *cli, const struct ig_cli_args *args, struct ig_suggest_options *ret)
{
	const struct ig_cli_verb *verb = ig_cli_find("policy", "suggest");
	const char *per = args->option[PER] ? args->option[PER] : "service-account";
	const char *ns = args->option[POLICY_NAMESPACE];

	*ret = (struct ig_suggest_options){.policy_namespace = ns ? ns : IG_POLICY_NAMESPACE};
	if (strcmp(per, "service-account") == 0)
		return IG_CLI_OK;
	ret->per = IG_SUGGEST_PER_IDENTITY;
	if (strcmp(per, "identity") == 0)
		return IG_CLI_OK;
	if (!ig_str_has_prefix(per, LABEL_PREFIX))
		return ig_cli_usage(
			cli, verb, "--per '%s': service-account, identity or pod-label=KEY", per);
	ret->per = IG_SUGGEST_PER_LABEL;
	ret->label = per + strlen(LABEL_PREFIX);
	if (!ig_name_is_label_key(ret->label))
		return ig_cli_usage(cli, verb, "'%s' is not the key of a label", ret->label);
	if (!args->option[MANIFESTS])
		return ig_cli_usage(cli, verb,
			"--per pod-label needs --manifests with the pods: a log does not hold labels");
	return IG_CLI_OK;
}

/* The pods that are declared; an empty store when no directory was given. */
static int load(
	const struct ig_cli *cli, const struct ig_cli_args *args, struct ig_cli_candidates *ret)
{
	const char *const option[_IG_CANDIDATES_OPTIONS] = {
		[IG_CANDIDATES_MANIFESTS] = args->option[MANIFESTS],
		[IG_CANDIDATES_POLICY_NAMESPACE] = args->option[POLICY_NAMESPACE]};

	if (option[IG_CANDIDATES_MANIFESTS])
		return ig_cli_candidates_load(cli, option, ret);
	return ig_store_new(&ret->store) < 0 ? ig_cli_fail(cli, -ENOMEM, true, "out of memory")
					     : IG_CLI_OK;
}

/* The text is what gets applied, so the text is what is checked. */
static int check(const struct ig_buf *yaml, const char *policy_namespace, struct ig_err *err)
{
	struct ig_object_set *set = NULL;
	int r = ig_manifest_parse(
		"suggestions", yaml->data, yaml->len, policy_namespace, &set, err);

	(void)ig_object_set_free(set);
	return r;
}

static int print(const struct ig_cli *cli, const json_t *result, const char *policy_namespace)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};
	struct ig_err err = {};
	int r;

	ig_suggest_yaml(result, &b);
	r = ig_buf_finish(&b);
	if (r < 0)
		return ig_cli_fail(cli, r, true, strerror(-r));
	r = check(&b, policy_namespace, &err);
	if (r < 0)
		return ig_cli_fail_at(cli, r, &err);
	if (!cli->json)
		return ig_cli_print(cli, &b);
	ig_buf_reset(&b);
	if (ig_out_json(&b, result) < 0)
		return ig_cli_fail(cli, -ENOMEM, true, "out of memory");
	return ig_cli_print(cli, &b);
}

int ig_cli_cmd_policy_suggest(const struct ig_cli *cli, const struct ig_cli_args *args)
{
	_cleanup_(ig_cli_candidates_done) struct ig_cli_candidates candidates = {};
	_cleanup_(ig_suggest_freep) struct ig_suggest *suggest = NULL;
	struct ig_report_filter filter;
	struct suggesting suggesting = {.filter = &filter};
	_cleanup_(ig_cli_logs_done) struct ig_cli_logs logs = IG_CLI_LOGS(cli, add, &suggesting);
	_cleanup_(json_decrefp) json_t *result = NULL;
	struct ig_suggest_options options;
	struct ig_err err = {};
	int r = ig_cli_logs_filter(cli, ig_cli_find("policy", "suggest"), args, &filter);

	if (r == IG_CLI_OK)
		r = read_per(cli, args, &options);
	if (r == IG_CLI_OK)
		r = load(cli, args, &candidates);
	if (r != IG_CLI_OK)
		return r;
	if (ig_suggest_new(candidates.store, &options, &suggest) < 0)
		return ig_cli_fail(cli, -ENOMEM, true, "out of memory");
	suggesting.suggest = suggest;
	r = ig_cli_logs_read(&logs, args->arg, args->n_args);
	if (r != IG_CLI_OK)
		return r;
	r = ig_suggest_result(suggest, &result, &err);
	return r < 0 ? ig_cli_fail(cli, r, true, err.message)
		     : print(cli, result, options.policy_namespace);
}
