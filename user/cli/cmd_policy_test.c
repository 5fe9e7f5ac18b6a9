/*
 * `imdsgate policy test`: a request described on the command line, or a file of them, against
 * candidate manifests; one request also against the running agent. Called by args.c through the
 * table; review/ judges.
 */
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/candidates.h"
#include "cli/logs.h"
#include "cli/out.h"
#include "review/cases.h"
#include "review/question.h"

enum {
	POD = _IG_CANDIDATES_OPTIONS,
	HOST,
	RESOURCE,
	PATH,
	CLIENT_ID,
	OBJECT_ID,
	RESOURCE_ID,
	CONTAINER,
	EXE,
	EXPECT,
	CASES,
};

const struct ig_cli_option ig_cli_policy_test_options[] = {
	IG_CANDIDATES_OPTION_LIST(0),
	[POD] = {"pod", "[NS/]NAME", "who asks: a declared Pod (default namespace: default)"},
	[HOST] = {"host", NULL, "a process of the host asks, instead of a pod"},
	[RESOURCE] = {"resource", "AUDIENCE",
		"a token for this audience (default " IG_QUESTION_RESOURCE ")"},
	[PATH] = {"path", "/metadata/...", "the document at this path, instead of a token"},
	[CLIENT_ID] = {"client-id", "ID", "the request names its identity so"},
	[OBJECT_ID] = {"object-id", "ID", "or so"},
	[RESOURCE_ID] = {"resource-id", "ID", "or so"},
	[CONTAINER] = {"container", "NAME", "asked for by this container of the pod"},
	[EXE] = {"exe", "PATH", "asked for by this program"},
	[EXPECT] = {"expect", "allow|would-deny|deny", "exit 0 when the outcome is that, else 5"},
	[CASES] = {"cases", "FILE", "a YAML list of requests with what is expected of each"},
	{},
};

/* ---- one request ----------------------------------------------------------------------------- */

static struct ig_question question_of(const struct ig_cli_args *args)
{
	const char *const *o = args->option;

	return (struct ig_question){.pod = o[POD],
		.host = o[HOST],
		.resource = o[RESOURCE],
		.path = o[PATH],
		.client_id = o[CLIENT_ID],
		.object_id = o[OBJECT_ID],
		.resource_id = o[RESOURCE_ID],
		.container = o[CONTAINER],
		.exe = o[EXE]};
}

static int status_of(enum ig_answer_outcome outcome)
{
	switch (outcome) {
	case IG_ANSWER_ALLOW: return IG_CLI_OK;
	case IG_ANSWER_WOULD_DENY: return IG_CLI_PROBLEMS;
	case IG_ANSWER_DENY: return IG_CLI_REFUSED;
	default: return IG_CLI_FAILED;
	}
}

/* Prints the explanation, and how it compares with what was expected (NULL: nothing was). */
static int print(const struct ig_cli *cli, json_t *result, enum ig_answer_outcome outcome,
	const enum ig_answer_outcome *expected)
{
	bool met = expected && ig_answer_meets(outcome, *expected);
	const char *is = ig_answer_outcome_name(outcome);
	int status;

	if (json_object_set_new(result, "outcome", json_string(is)) < 0 ||
		(expected && json_object_set_new(result, "expected",
				     json_string(ig_answer_outcome_name(*expected))) < 0) ||
		(expected && json_object_set_new(result, "as_expected", json_boolean(met)) < 0))
		return ig_cli_fail(cli, -ENOMEM, true, "out of memory");
	status = ig_cli_print_result(cli, result, ig_cli_format_explanation);
	if (status != IG_CLI_OK)
		return status;
	if (!expected)
		return status_of(outcome);
	if (!met && !cli->json)
		(void)fprintf(cli->err, "imdsgate: expected %s, and it is %s\n",
			ig_answer_outcome_name(*expected), is);
	return met ? IG_CLI_OK : IG_CLI_PROBLEMS;
}

static int test_offline(const struct ig_cli *cli, const struct ig_cli_args *args,
	const enum ig_answer_outcome *expected)
{
	_cleanup_(ig_cli_candidates_done) struct ig_cli_candidates candidates = {};
	_cleanup_(json_decrefp) json_t *result = NULL;
	struct ig_question question = question_of(args);
	struct ig_answer answer;
	struct ig_err err = {};
	int r = ig_cli_candidates_load(cli, args->option, &candidates);

	if (r != IG_CLI_OK)
		return r;
	r = ig_question_answer(candidates.store, &candidates.options, &question, &answer, &err);
	if (r == -EINVAL)
		return ig_cli_usage(cli, ig_cli_find("policy", "test"), "%s", err.message);
	if (r < 0)
		return ig_cli_fail(cli, r, true, err.message);
	result = ig_answer_json(&answer);
	if (!result)
		return ig_cli_fail(cli, -ENOMEM, true, "out of memory");
	return print(cli, result, answer.outcome, expected);
}

/* ---- the running agent ----------------------------------------------------------------------- */

static json_t *agent_request(const struct ig_question *q)
{
	const struct {
		const char *key, *value;
	} members[] = {{"resource", q->resource}, {"path", q->path}, {"client_id", q->client_id},
		{"object_id", q->object_id}, {"resource_id", q->resource_id},
		{"container", q->container}, {"exe", q->exe}};
	const char *slash = q->pod ? strchr(q->pod, '/') : NULL;
	_cleanup_(json_decrefp) json_t *request = json_object();

	for (size_t i = 0; i < IG_ARRAY_SIZE(members); i++)
		if (members[i].value && json_object_set_new(request, members[i].key,
						json_string(members[i].value)) < 0)
			return NULL;
	if (q->host)
		(void)json_object_set_new(request, "host", json_true());
	else if (json_object_set_new(request, "namespace",
			 slash ? json_stringn(q->pod, (size_t)(slash - q->pod))
			       : json_string("default")) < 0 ||
		 json_object_set_new(request, "name", json_string(slash ? slash + 1 : q->pod)) < 0)
		return NULL;
	return TAKE_PTR(request);
}

/* What the agent's words mean; what is not known allows nothing. */
static enum ig_answer_outcome outcome_of(const json_t *result)
{
	const char *verdict = ig_out_get_string(result, "verdict");

	if (!verdict || (strcmp(verdict, "allow") != 0 && strcmp(verdict, "pass") != 0))
		return IG_ANSWER_DENY;
	return ig_out_get_string(result, "would_deny") ? IG_ANSWER_WOULD_DENY : IG_ANSWER_ALLOW;
}

static int test_agent(const struct ig_cli *cli, const struct ig_cli_args *args,
	const enum ig_answer_outcome *expected)
{
	const struct ig_cli_verb *self = ig_cli_find("policy", "test");
	struct ig_question question = question_of(args);
	_cleanup_(json_decrefp) json_t *request = NULL;
	_cleanup_(json_decrefp) json_t *result = NULL;
	int r;

	for (size_t i = 0; i < _IG_CANDIDATES_OPTIONS; i++)
		if (args->option[i])
			return ig_cli_usage(cli, self, "--%s goes with --manifests",
				ig_cli_policy_test_options[i].name);
	if (!question.pod == !question.host)
		return ig_cli_usage(cli, self, "whose request? Either --pod or --host");
	request = agent_request(&question);
	if (!request)
		return ig_cli_usage(cli, self, "what is asked is not valid UTF-8");
	r = ig_cli_request(cli, "explain", NULL, request, &result);
	return r == IG_CLI_OK ? print(cli, result, outcome_of(result), expected) : r;
}

/* ---- cases ----------------------------------------------------------------------------------- */

struct run {
	const struct ig_cli *cli;
	const struct ig_cli_candidates *candidates;
	struct ig_buf text; /* for people */
	json_t *list;	    /* owned; with --json */
	size_t n, failed;
};

static void run_done(struct run *run)
{
	ig_buf_done(&run->text);
	json_decref(run->list);
}

static int note_json(struct run *run, const struct ig_case *c, const struct ig_answer *a,
	const char *error, bool ok)
{
	const char *policy = a->policy ? a->policy->name : NULL;

	return json_array_append_new(run->list,
		       json_pack("{s:s,s:I,s:s,s:b,s:s,s:s?,s:s?,s:s?,s:s?,s:s?}", "file", c->file,
			       "line", (json_int_t)c->line, "name", c->name, "ok", ok, "expected",
			       ig_answer_outcome_name(c->expect), "outcome",
			       error ? NULL : ig_answer_outcome_name(a->outcome), "reason",
			       error ? NULL : a->reason, "policy_namespace",
			       policy ? a->policy->namespace : NULL, "policy", policy, "error",
			       error)) < 0
		       ? -ENOMEM
		       : 0;
}

static void note_text(struct run *run, const struct ig_case *c, const struct ig_answer *a,
	const char *error, bool ok)
{
	struct ig_buf *b = &run->text;

	ig_buf_puts(b, ok ? "ok    " : "FAIL  ");
	ig_out_text(b, c->file, strlen(c->file));
	ig_buf_printf(b, ":%u%s", c->line, c->name[0] ? ": " : "");
	ig_out_text(b, c->name, strlen(c->name));
	if (!ok) {
		ig_buf_printf(b, "\n      expected %s%s", ig_answer_outcome_name(c->expect),
			c->reason ? " because of " : "");
		ig_out_text(b, c->reason ? c->reason : "", c->reason ? strlen(c->reason) : 0);
	}
	if (!ok && error) {
		ig_buf_puts(b, ", but ");
		ig_out_text(b, error, strlen(error));
	} else if (!ok) {
		ig_buf_printf(
			b, ", and it is %s: %s", ig_answer_outcome_name(a->outcome), a->reason);
		if (a->policy)
			ig_buf_printf(b, ", policy %s/%s", a->policy->namespace, a->policy->name);
	}
	ig_buf_putc(b, '\n');
}

static int on_case(const struct ig_case *c, void *userdata, struct ig_err *reterr_err)
{
	struct run *run = userdata;
	struct ig_answer answer;
	struct ig_err err = {};
	int r = ig_question_answer(
		run->candidates->store, &run->candidates->options, &c->question, &answer, &err);
	bool ok = r == 0 && ig_answer_meets(answer.outcome, c->expect) &&
		  (!c->reason || strcmp(c->reason, answer.reason) == 0);

	run->n++;
	run->failed += !ok;
	if (!run->cli->json)
		note_text(run, c, &answer, r < 0 ? err.message : NULL, ok);
	else if (note_json(run, c, &answer, r < 0 ? err.message : NULL, ok) < 0)
		return ig_err_at(reterr_err, -ENOMEM, c->file, c->line, 0, "out of memory");
	return 0;
}

static int test_cases(const struct ig_cli *cli, const struct ig_cli_args *args)
{
	const struct ig_cli_verb *self = ig_cli_find("policy", "test");
	_cleanup_(ig_cli_candidates_done) struct ig_cli_candidates candidates = {};
	_cleanup_(run_done) struct run run = {
		.cli = cli, .candidates = &candidates, .text.limit = IG_OUT_BYTES};
	_cleanup_(json_decrefp) json_t *all = NULL;
	struct ig_err err = {};
	int r;

	for (size_t i = POD; i < CASES; i++)
		if (args->option[i])
			return ig_cli_usage(cli, self, "--%s stands in the file of --cases",
				ig_cli_policy_test_options[i].name);
	if (!args->option[IG_CANDIDATES_MANIFESTS])
		return ig_cli_usage(cli, self, "--cases goes with --manifests");
	r = ig_cli_candidates_load(cli, args->option, &candidates);
	if (r != IG_CLI_OK)
		return r;
	run.list = json_array();
	r = ig_cases_read(args->option[CASES], on_case, &run, &err);
	if (r < 0)
		return ig_cli_fail_at(cli, r, &err);
	if (cli->json) {
		all = json_pack("{s:I,s:I,s:O}", "total", (json_int_t)run.n, "failed",
			(json_int_t)run.failed, "cases", run.list);
		if (!all || ig_out_json(&run.text, all) < 0)
			return ig_cli_fail(cli, -ENOMEM, true, "out of memory");
	} else {
		ig_buf_printf(&run.text, "%zu cases, %zu failed\n", run.n, run.failed);
	}
	r = ig_cli_print(cli, &run.text);
	return r == IG_CLI_OK && run.failed ? IG_CLI_PROBLEMS : r;
}

int ig_cli_cmd_policy_test(const struct ig_cli *cli, const struct ig_cli_args *args)
{
	const char *expect = args->option[EXPECT];
	enum ig_answer_outcome expected;

	if (args->option[CASES])
		return test_cases(cli, args);
	if (expect && ig_answer_outcome_parse(expect, &expected) < 0)
		return ig_cli_usage(cli, ig_cli_find("policy", "test"),
			"--expect '%s' is not allow, would-deny or deny", expect);
	if (args->option[IG_CANDIDATES_MANIFESTS])
		return test_offline(cli, args, expect ? &expected : NULL);
	return test_agent(cli, args, expect ? &expected : NULL);
}
