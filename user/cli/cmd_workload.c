/*
 * `imdsgate workload list` and `show`: who is known on this node, and what each may do. Called by
 * args.c through the table. As robust as cmd_status.c against what it does not know.
 */
#include <errno.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "cli/cmd.h"
#include "cli/out.h"

static const struct {
	const char *title, *path; /* path NULL: a list */
} columns[] = {
	{"NAMESPACE", "namespace"},
	{"NAME", "name"},
	{"IMDS", "verdicts.imds"},
	{"WIRESERVER", "verdicts.wireserver"},
	{"HOSTGAPLUGIN", "verdicts.hostgaplugin"},
	{"HOSTNET", "host_network"},
	{"EXCEPTED", "excepted"},
	{"PRESENT", "present"},
	{"POLICIES", NULL},
	{"IDENTITIES", NULL},
};

static const struct {
	const char *label, *path;
} lines[] = {
	{"namespace", "namespace"},
	{"name", "name"},
	{"uid", "uid"},
	{"service account", "service_account"},
	{"host network", "host_network"},
	{"cgroup", "cgroup"},
	{"cgroup id", "cgroup_id"},
	{"present", "present"},
	{"excepted", "excepted"},
	{"IMDS", "verdicts.imds"},
	{"WireServer", "verdicts.wireserver"},
	{"HostGAPlugin", "verdicts.hostgaplugin"},
	{"requests allowed", "requests.allowed"},
	{"requests denied", "requests.denied"},
	{"requests failed", "requests.failed"},
};

static void put_identities(struct ig_out_table *table, const json_t *list)
{
	const json_t *item;
	size_t i;

	json_array_foreach (list, i, item) {
		if (i)
			ig_buf_putc(&table->cell, ',');
		ig_out_value(&table->cell, item);
	}
	if (!json_array_size(list))
		ig_buf_putc(&table->cell, '-');
	ig_out_cell(table);
}

/* The mode where it is not the usual one. */
static void put_policies(struct ig_out_table *table, const json_t *list)
{
	const json_t *item;
	size_t i;

	json_array_foreach (list, i, item) {
		const char *mode = ig_out_get_string(item, "mode");

		if (i)
			ig_buf_putc(&table->cell, ',');
		ig_out_value(&table->cell, json_object_get(item, "namespace"));
		ig_buf_putc(&table->cell, '/');
		ig_out_value(&table->cell, json_object_get(item, "name"));
		if (mode && strcmp(mode, "enforce") != 0) {
			ig_buf_putc(&table->cell, '(');
			ig_out_text(&table->cell, mode, strlen(mode));
			ig_buf_putc(&table->cell, ')');
		}
	}
	if (!json_array_size(list))
		ig_buf_putc(&table->cell, '-');
	ig_out_cell(table);
}

void ig_cli_format_workloads(const json_t *list, bool color, struct ig_buf *b)
{
	_cleanup_(ig_out_table_done) struct ig_out_table table =
		IG_OUT_TABLE(IG_ARRAY_SIZE(columns));
	const json_t *item;
	size_t i;

	(void)color;
	for (size_t c = 0; c < IG_ARRAY_SIZE(columns); c++)
		ig_out_cell_text(&table, columns[c].title);
	json_array_foreach (list, i, item) {
		for (size_t c = 0; c < IG_ARRAY_SIZE(columns); c++) {
			if (columns[c].path)
				ig_out_cell_value(&table, ig_out_get(item, columns[c].path));
			else if (strcmp(columns[c].title, "POLICIES") == 0)
				put_policies(&table, ig_out_get(item, "policies"));
			else
				put_identities(&table, ig_out_get(item, "identities"));
		}
	}
	ig_out_table_format(&table, b);
}

static void put_labels(struct ig_out_table *table, const json_t *labels)
{
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)labels, key, value) {
		ig_out_cell_text(table, "label");
		ig_out_text(&table->cell, key, strlen(key));
		ig_buf_putc(&table->cell, '=');
		ig_out_text(&table->cell, json_string_value(value), json_string_length(value));
		ig_out_cell(table);
	}
}

static void put_bindings(struct ig_out_table *table, const json_t *bindings)
{
	const json_t *item;
	size_t i;

	json_array_foreach (bindings, i, item) {
		ig_out_cell_text(table, "binding");
		ig_out_value(&table->cell, json_object_get(item, "binding"));
		ig_buf_puts(&table->cell, ": identity ");
		ig_out_value(&table->cell, json_object_get(item, "identity"));
		ig_buf_puts(&table->cell, ", client id ");
		ig_out_value(&table->cell, json_object_get(item, "client_id"));
		ig_out_cell(table);
	}
}

void ig_cli_format_workload(const json_t *workload, bool color, struct ig_buf *b)
{
	_cleanup_(ig_out_table_done) struct ig_out_table table = IG_OUT_TABLE(2);

	(void)color;
	for (size_t i = 0; i < IG_ARRAY_SIZE(lines); i++) {
		ig_out_cell_text(&table, lines[i].label);
		ig_out_cell_value(&table, ig_out_get(workload, lines[i].path));
	}
	ig_out_cell_text(&table, "identities");
	put_identities(&table, ig_out_get(workload, "identities"));
	ig_out_cell_text(&table, "policies");
	put_policies(&table, ig_out_get(workload, "policies"));
	put_labels(&table, ig_out_get(workload, "labels"));
	put_bindings(&table, ig_out_get(workload, "bindings"));
	ig_out_table_format(&table, b);
}

int ig_cli_cmd_workload_list(const struct ig_cli *cli, const struct ig_cli_args *args)
{
	(void)args;
	return ig_cli_ask(cli, "workload", "list", NULL, ig_cli_format_workloads);
}

int ig_cli_cmd_workload_show(const struct ig_cli *cli, const struct ig_cli_args *args)
{
	const struct ig_cli_verb *verb = ig_cli_find("workload", "show");
	const char *word = args->arg[0], *slash = strchr(word, '/');
	_cleanup_(json_decrefp) json_t *request = NULL;

	if (!slash || slash == word || !slash[1] || strchr(slash + 1, '/') ||
		strlen(word) > 2 * IG_OBJECT_NAME_BYTES + 1)
		return ig_cli_usage(cli, verb, "'%s' is not NAMESPACE/NAME", word);
	request = json_pack(
		"{s:s%,s:s}", "namespace", word, (size_t)(slash - word), "name", slash + 1);
	if (!request)
		return ig_cli_usage(cli, verb, "'%s' is not valid UTF-8", word);
	return ig_cli_ask(cli, "workload", "show", request, ig_cli_format_workload);
}
