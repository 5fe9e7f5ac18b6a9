/*
 * `imdsgate explain`: why a request gets what it gets, rule by rule. Called by args.c through the
 * table. As robust as cmd_status.c against what it does not know: an outcome without a sentence
 * here is printed as the word that the agent sent.
 */
#include <errno.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "cli/cmd.h"
#include "cli/out.h"

#define DEFAULT_NAMESPACE "default"

enum { HOST, RESOURCE, PATH, CLIENT_ID, OBJECT_ID, RESOURCE_ID, CONTAINER, EXE };

const struct ig_cli_option ig_cli_explain_options[] = {
	[HOST] = {"host", NULL, "a process of the host, instead of a pod"},
	[RESOURCE] = {"resource", "AUDIENCE",
		"a token for this audience (default https://management.azure.com/)"},
	[PATH] = {"path", "/metadata/...", "the document at this path, instead of a token"},
	[CLIENT_ID] = {"client-id", "ID", "the request names its identity so"},
	[OBJECT_ID] = {"object-id", "ID", "or so"},
	[RESOURCE_ID] = {"resource-id", "ID", "or so"},
	[CONTAINER] = {"container", "NAME", "asked for by this container of the pod"},
	[EXE] = {"exe", "PATH", "asked for by this program"},
	{},
};
_Static_assert(IG_ARRAY_SIZE(ig_cli_explain_options) <= IG_CLI_OPTIONS_MAX + 1, "all fit");

/* What the outcomes of steps mean; rule NULL: of any. */
static const struct {
	const char *rule, *outcome;
	const char *text; /* behind a colon at its end comes the step's detail */
} sentences[] = {
	{"caller", "pod", "is declared on this node"},
	{"caller", "pod_finished", "has finished, and gets nothing any more"},
	{"caller", "host", "a process of the host, in no pod"},
	{"exception", "covers", "covers the pod: it uses the node's identities"},
	{"exception", "labels_differ", "does not: none of its labels is the pod's"},
	{"exception", "switched_off", "would, but is switched off"},
	{"label", "set", "the pod's label aadpodidbinding is:"},
	{"label", "missing", "the pod has no label aadpodidbinding"},
	{"service_account", "gives_identity", "gives the identity of client id:"},
	{"service_account", "label_missing",
		"gives none: the pod has no label azure.workload.identity/use: \"true\""},
	{"service_account", "not_annotated",
		"gives none: it has no annotation azure.workload.identity/client-id"},
	{"binding", "gives_identity", "gives the AzureIdentity:"},
	{"binding", "same_client_as_service_account",
		"gives what the ServiceAccount gives already, as:"},
	{"binding", "selector_differs", "does not: its selector is not the pod's label"},
	{"binding", "other_namespace", "does not: it is of another namespace than the pod"},
	{"binding", "identity_missing", "does not: there is no AzureIdentity:"},
	{"binding", "identity_namespaced", "does not: its identity is for its own namespace only:"},
	{"selection", "grant", "is the identity, by:"},
	{"selection", "grant_node", "one of the node's identities, by:"},
	{"selection", "not_bound", "the pod has no identity"},
	{"selection", "pod_finished", "none: the pod has finished"},
	{"selection", "not_found", "none of the pod's identities is the one that is named"},
	{"selection", "ambiguous", "the pod has several identities, and the request names none"},
	{"selection", "needs_object_id",
		"its object id is not known yet; a token of it will tell, at the first request"},
	{NULL, "allows", "allows it"},
	{NULL, "disabled", "is disabled, and decides nothing"},
	{NULL, "other_subject", "does not cover it: is for another subject"},
	{NULL, "not_policy_namespace", "does not cover it: is not in the policy namespace"},
	{NULL, "other_namespace", "does not cover it: is for other namespaces"},
	{NULL, "identity_not_listed", "does not cover it: is for other identities"},
	{NULL, "service_account_not_listed", "does not cover it: is for other ServiceAccounts"},
	{NULL, "labels_differ", "does not cover it: is for pods with other labels"},
	{NULL, "host_not_allowed", "no policy admits processes of the host"},
	{NULL, "host_network_not_allowed", "keeps out pods in the node's network namespace"},
	{NULL, "resource_not_allowed", "does not list the resource"},
	{NULL, "path_not_allowed", "does not open the path"},
	{NULL, "executable_not_allowed", "does not list the program"},
	{NULL, "container_not_allowed", "does not list the container"},
	{NULL, "container_not_known", "lists containers, and which one asks is not known"},
};

static const char *sentence_of(const char *rule, const char *outcome)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(sentences); i++)
		if (strcmp(sentences[i].outcome, outcome) == 0 &&
			(!sentences[i].rule || strcmp(sentences[i].rule, rule) == 0))
			return sentences[i].text;
	return outcome;
}

static bool wants_detail(const char *sentence)
{
	size_t len = strlen(sentence);

	return len && sentence[len - 1] == ':';
}

static const char *string_of(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s ? s : "";
}

static void put_text(struct ig_buf *b, const char *s)
{
	ig_out_text(b, s, strlen(s));
}

static void put_name(struct ig_buf *b, const json_t *object)
{
	const char *ns = string_of(object, "namespace");

	put_text(b, ns);
	if (ns[0])
		ig_buf_putc(b, '/');
	put_text(b, string_of(object, "name"));
}

/* ---- the steps ---- */

static const char *rule_words(const char *rule)
{
	static const char *const words[][2] = {{"service_account", "ServiceAccount"},
		{"selection", "identity"}, {"cluster_policy", "cluster policy"},
		{"namespace_policy", "policy"}};

	for (size_t i = 0; i < IG_ARRAY_SIZE(words); i++)
		if (strcmp(words[i][0], rule) == 0)
			return words[i][1];
	return rule;
}

static void put_outcome(struct ig_buf *b, const json_t *step)
{
	const char *outcome = string_of(step, "outcome"), *detail = string_of(step, "detail");
	const char *mode = string_of(step, "mode"), *sentence;

	if (strcmp(outcome, "omitted") == 0) {
		ig_out_value(b, json_object_get(step, "omitted"));
		ig_buf_puts(b, " more");
		return;
	}
	sentence = sentence_of(string_of(step, "rule"), outcome);
	put_text(b, sentence);
	if (wants_detail(sentence)) {
		ig_buf_putc(b, ' ');
		put_text(b, detail);
	}
	if (mode[0] && strcmp(mode, "enforce") != 0) {
		ig_buf_puts(b, " (");
		put_text(b, mode);
		ig_buf_putc(b, ')');
	}
}

static void put_steps(const json_t *steps, struct ig_buf *b)
{
	_cleanup_(ig_out_table_done) struct ig_out_table table = IG_OUT_TABLE(4);
	const json_t *step;
	size_t i;

	json_array_foreach (steps, i, step) {
		/* it has lines of its own below */
		if (strcmp(string_of(step, "rule"), "verdict") == 0)
			continue;
		ig_out_cell_text(&table, json_is_true(json_object_get(step, "chosen"))	  ? "*"
					 : json_is_true(json_object_get(step, "applies")) ? "+"
											  : "-");
		put_text(&table.cell, rule_words(string_of(step, "rule")));
		ig_out_cell(&table);
		put_name(&table.cell, step);
		ig_out_cell(&table);
		put_outcome(&table.cell, step);
		ig_out_cell(&table);
	}
	ig_out_table_format(&table, b);
}

/* ---- what is asked, and what comes out ---- */

static void put_containers(struct ig_buf *b, const json_t *list)
{
	const json_t *item;
	size_t i;

	json_array_foreach (list, i, item) {
		ig_buf_puts(b, i ? ", " : "; containers ");
		put_text(b, string_of(item, "name"));
		if (!json_is_true(json_object_get(item, "known")))
			ig_buf_puts(b, " (id not known yet)");
	}
}

static void put_caller(struct ig_out_table *table, const json_t *caller)
{
	struct ig_buf *b = &table->cell;

	ig_out_cell_text(table, "caller");
	if (strcmp(string_of(caller, "kind"), "host") == 0) {
		ig_buf_puts(b, "a process of the host");
	} else {
		ig_buf_puts(b, "pod ");
		put_name(b, caller);
		ig_buf_puts(b, ", ServiceAccount ");
		ig_out_value(b, json_object_get(caller, "service_account"));
		if (json_is_true(json_object_get(caller, "host_network")))
			ig_buf_puts(b, ", in the host's network");
		put_containers(b, json_object_get(caller, "containers"));
	}
	ig_out_cell(table);
	ig_out_cell_text(table, "container");
	ig_out_cell_value(table, json_object_get(caller, "container"));
	ig_out_cell_text(table, "program");
	ig_out_cell_value(table, json_object_get(caller, "exe"));
}

static void put_request(struct ig_out_table *table, const json_t *request)
{
	const char *selector = string_of(request, "selector_kind");
	struct ig_buf *b = &table->cell;

	ig_out_cell_text(table, "asks for");
	if (strcmp(string_of(request, "kind"), "document") == 0) {
		ig_buf_puts(b, "the document ");
		ig_out_value(b, json_object_get(request, "path"));
		if (!json_is_true(json_object_get(request, "open_by_default")))
			ig_buf_puts(b, ", which is closed unless a cluster policy opens it");
	} else {
		ig_buf_puts(b, "a token for ");
		ig_out_value(b, json_object_get(request, "resource"));
		if (selector[0]) {
			ig_buf_puts(b, ", ");
			put_text(b, selector);
			ig_buf_putc(b, ' ');
			put_text(b, string_of(request, "selector_value"));
		}
	}
	ig_out_cell(table);
}

static const char *source_words(const char *source)
{
	static const char *const words[][2] = {
		{"imds", "tokens from the node's metadata service"},
		{"entra_secret", "tokens from Entra ID, by client secret"},
		{"entra_certificate", "tokens from Entra ID, by certificate"},
		{"entra_federation", "tokens from Entra ID, by a federated token in a file"},
		{"service_account", "tokens from Entra ID, by the ServiceAccount's token"},
		{"node", "one of the node's identities, which upstream chooses"},
	};

	for (size_t i = 0; i < IG_ARRAY_SIZE(words); i++)
		if (strcmp(words[i][0], source) == 0)
			return words[i][1];
	return source;
}

static void put_identity(struct ig_out_table *table, const json_t *identity)
{
	struct ig_buf *b = &table->cell;

	if (!json_is_object(identity))
		return;
	ig_out_cell_text(table, "identity");
	if (string_of(identity, "name")[0]) {
		put_name(b, identity);
		ig_buf_puts(b, ", client id ");
		ig_out_value(b, json_object_get(identity, "client_id"));
		ig_buf_puts(b, "; ");
	}
	put_text(b, source_words(string_of(identity, "source")));
	ig_out_cell(table);
}

static void put_rate(struct ig_out_table *table, const json_t *rate)
{
	if (!json_is_object(rate))
		return;
	ig_out_cell_text(table, "rate");
	ig_out_value(&table->cell, json_object_get(rate, "per_second"));
	ig_buf_puts(&table->cell, " a second, ");
	ig_out_value(&table->cell, json_object_get(rate, "burst"));
	ig_buf_puts(&table->cell, " at once, set by the ");
	ig_out_value(&table->cell, json_object_get(rate, "by"));
	ig_out_cell(table);
}

/* ---- the verdict ---- */

static const struct verdict {
	const char *name, *word, *color;
	bool allowed;
} verdicts[] = {
	{"allow", "ALLOW", IG_OUT_GREEN, true},
	{"pass", "PASS", IG_OUT_YELLOW, true},
	{"deny", "DENY", IG_OUT_RED, false},
};

/* NULL for one that is not known, which allows nothing. */
static const struct verdict *verdict_of(const json_t *explanation)
{
	const char *name = string_of(explanation, "verdict");

	for (size_t i = 0; i < IG_ARRAY_SIZE(verdicts); i++)
		if (strcmp(verdicts[i].name, name) == 0)
			return &verdicts[i];
	return NULL;
}

static const char *reason_words(const char *reason, bool by_policy)
{
	static const char *const words[][2] = {
		{"grant", "the pod may use this identity"},
		{"grant_node", "the pod is excepted"},
		{"allowed", "nothing is against it"},
		{"exception", "the pod is excepted past the gate: it reaches the real service"},
		{"host_verdict", "--host-verdict lets the host past the gate"},
		{"kernel_verdict", "the connection is refused before anything is asked"},
	};
	if (!by_policy && strcmp(reason, "path_not_allowed") == 0)
		return "the document is closed, and no policy opens it";
	for (size_t i = 0; i < IG_ARRAY_SIZE(words); i++)
		if (strcmp(words[i][0], reason) == 0)
			return words[i][1];
	return sentence_of("selection", reason);
}

static void put_policy(struct ig_buf *b, const json_t *policy)
{
	if (!json_is_object(policy))
		return;
	ig_buf_puts(b, "policy ");
	put_name(b, policy);
	ig_buf_putc(b, ' ');
}

static void put_colored(struct ig_buf *b, const char *text, const char *color)
{
	ig_buf_puts(b, color);
	put_text(b, text);
	ig_buf_puts(b, color[0] ? IG_OUT_OFF : "");
}

static void put_verdict(struct ig_out_table *table, const json_t *explanation, bool color)
{
	const struct verdict *verdict = verdict_of(explanation);
	const json_t *policy = json_object_get(explanation, "policy");
	const char *would_deny = string_of(explanation, "would_deny");
	struct ig_buf *b = &table->cell;

	ig_out_cell_text(table, "verdict");
	if (verdict)
		put_colored(b, verdict->word, color ? verdict->color : "");
	else
		put_text(b, string_of(explanation, "verdict"));
	ig_buf_puts(b, ": ");
	if (verdict && !verdict->allowed)
		put_policy(b, policy);
	put_text(b, reason_words(string_of(explanation, "reason"), json_is_object(policy)));
	ig_out_cell(table);
	if (!would_deny[0])
		return;
	ig_out_cell_text(table, "");
	put_colored(b, "would be denied in mode Enforce", color ? IG_OUT_YELLOW : "");
	ig_buf_puts(b, ": ");
	put_policy(b, policy);
	put_text(b, reason_words(would_deny, true));
	ig_out_cell(table);
}

void ig_cli_format_explanation(const json_t *explanation, bool color, struct ig_buf *b)
{
	_cleanup_(ig_out_table_done) struct ig_out_table above = IG_OUT_TABLE(2);
	_cleanup_(ig_out_table_done) struct ig_out_table below = IG_OUT_TABLE(2);

	put_caller(&above, json_object_get(explanation, "caller"));
	put_request(&above, json_object_get(explanation, "request"));
	ig_out_table_format(&above, b);
	ig_buf_putc(b, '\n');
	put_steps(json_object_get(explanation, "steps"), b);
	ig_buf_putc(b, '\n');
	put_identity(&below, json_object_get(explanation, "identity"));
	put_rate(&below, json_object_get(explanation, "rate"));
	put_verdict(&below, explanation, color);
	ig_out_table_format(&below, b);
}

/* ---- the command ---- */

/* NULL, or what is wrong with the options beside each other. */
static const char *conflict(const struct ig_cli_args *args)
{
	const char *const *option = args->option;
	int n_selectors = !!option[CLIENT_ID] + !!option[OBJECT_ID] + !!option[RESOURCE_ID];

	if (!option[HOST] == !args->n_args)
		return "either a POD or --host";
	if (option[HOST] && option[CONTAINER])
		return "--container goes with a POD, not with --host";
	if (n_selectors > 1)
		return "one of --client-id, --object-id and --resource-id";
	if (option[PATH] && (option[RESOURCE] || n_selectors))
		return "--path is a document, which has neither a resource nor an identity";
	if (option[EXE] && option[EXE][0] != '/')
		return "--exe is an absolute path";
	return NULL;
}

/* Takes part in args: NAMESPACE/POD, or POD alone. false: it is neither. */
static bool add_pod(json_t *request, const char *word)
{
	const char *slash = strchr(word, '/');
	const char *name = slash ? slash + 1 : word;
	json_t *ns =
		slash ? json_stringn(word, (size_t)(slash - word)) : json_string(DEFAULT_NAMESPACE);

	if (json_object_set_new(request, "namespace", ns) < 0)
		return false;
	return slash != word && name[0] && !strchr(name, '/') &&
	       strlen(word) <= 2 * IG_OBJECT_NAME_BYTES + 1 &&
	       json_object_set_new(request, "name", json_string(name)) == 0;
}

/* NULL, or the option whose value is no text. */
static const struct ig_cli_option *add_options(json_t *request, const struct ig_cli_args *args)
{
	static const char *const keys[] = {[RESOURCE] = "resource",
		[PATH] = "path",
		[CLIENT_ID] = "client_id",
		[OBJECT_ID] = "object_id",
		[RESOURCE_ID] = "resource_id",
		[CONTAINER] = "container",
		[EXE] = "exe"};

	for (size_t i = RESOURCE; i <= EXE; i++)
		if (args->option[i] &&
			json_object_set_new(request, keys[i], json_string(args->option[i])) < 0)
			return &ig_cli_explain_options[i];
	return NULL;
}

int ig_cli_cmd_explain(const struct ig_cli *cli, const struct ig_cli_args *args)
{
	const struct ig_cli_verb *self = ig_cli_find("explain", NULL);
	_cleanup_(json_decrefp) json_t *request = json_object();
	_cleanup_(json_decrefp) json_t *result = NULL;
	const struct ig_cli_option *bad;
	const struct verdict *verdict;
	int status;

	if (!request)
		return ig_cli_fail(cli, -ENOMEM, true, "out of memory");
	if (conflict(args))
		return ig_cli_usage(cli, self, "%s", conflict(args));
	if (args->n_args && !add_pod(request, args->arg[0]))
		return ig_cli_usage(cli, self, "'%s' is not [NAMESPACE/]POD", args->arg[0]);
	if (!args->n_args)
		(void)json_object_set_new(request, "host", json_true());
	bad = add_options(request, args);
	if (bad)
		return ig_cli_usage(cli, self, "--%s is not valid UTF-8", bad->name);
	status = ig_cli_request(cli, "explain", NULL, request, &result);
	if (status != IG_CLI_OK)
		return status;
	status = ig_cli_print_result(cli, result, ig_cli_format_explanation);
	verdict = verdict_of(result);
	return status == IG_CLI_OK && !(verdict && verdict->allowed) ? IG_CLI_REFUSED : status;
}
