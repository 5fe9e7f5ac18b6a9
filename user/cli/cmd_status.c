/*
 * `imdsgate status`: one look at the agent. Called by args.c through the table.
 *
 * Prints what it knows how to print: members it does not know are left out, members that are
 * missing are "-", so that tool and agent may differ in version.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "cli/cmd.h"
#include "cli/dial.h"
#include "cli/out.h"

#define HTTP_OK	       200
#define TEXT_BYTES     256
#define SEC_PER_MINUTE 60
#define SEC_PER_HOUR   3600
#define SEC_PER_DAY    86400

/* Rows with one value. */
static const struct {
	const char *label, *path;
} singles[] = {
	{"version", "version"},
	{"node", "node"},
	{"monitor pid", "monitor_pid"},
	{"server pid", "server_pid"},
	{"started", "started"},
};

static const struct {
	const char *label, *path;
} places[] = {
	{"cgroup root", "cgroup_root"},
	{"pin directory", "pin_dir"},
	{"IMDS", "imds_url"},
	{"host verdict", "host_verdict"},
	{"policy epoch", "policy_epoch"},
	{"listeners", "listeners"},
	{"connections", "connections"},
};

#define GROUP_MAX 6

/* Rows with several: the members of an object. */
static const struct {
	const char *label, *path;
	struct {
		const char *label, *key;
	} members[GROUP_MAX + 1];
} groups[] = {
	{"objects", "objects",
		{{"identities", "identities"}, {"bindings", "bindings"},
			{"exceptions", "exceptions"}, {"pods", "pods"},
			{"service accounts", "service_accounts"},
			{"metadata policies", "metadata_policies"}}},
	{"manifests", "manifests", {{"directory", "dir"}, {"bad files", "bad_files"}}},
	{"tokens", "tokens",
		{{"cached", "cached"}, {"hits", "hits"}, {"misses", "misses"}, {"stale", "stale"},
			{"upstream calls", "upstream_calls"},
			{"upstream errors", "upstream_errors"}}},
	{"audit", "audit",
		{{"emitted", "emitted"}, {"chain", "chain"},
			{"lost by subscribers", "lost_subscribers"}, {"by kernel", "lost_kernel"}}},
};

/* A row for each sink of the audit. */
static const struct {
	const char *label, *key;
} sink_members[] = {{"state", "state"}, {"queued", "queued"}, {"delivered", "delivered"},
	{"lost", "lost"}, {"failures", "failures"}};

static void put_uptime(struct ig_out_table *table, const json_t *value)
{
	long long sec = json_integer_value(value);

	ig_out_cell_text(table, "up");
	if (!json_is_integer(value) || sec < 0)
		ig_buf_putc(&table->cell, '-');
	else if (sec >= SEC_PER_DAY)
		ig_buf_printf(&table->cell, "%lldd %lldh", sec / SEC_PER_DAY,
			sec % SEC_PER_DAY / SEC_PER_HOUR);
	else if (sec >= SEC_PER_HOUR)
		ig_buf_printf(&table->cell, "%lldh %lldm", sec / SEC_PER_HOUR,
			sec % SEC_PER_HOUR / SEC_PER_MINUTE);
	else
		ig_buf_printf(
			&table->cell, "%lldm %llds", sec / SEC_PER_MINUTE, sec % SEC_PER_MINUTE);
	ig_out_cell(table);
}

static void put_group(struct ig_out_table *table, const json_t *status, size_t i)
{
	const json_t *object = ig_out_get(status, groups[i].path);

	ig_out_cell_text(table, groups[i].label);
	for (size_t m = 0; groups[i].members[m].key; m++) {
		ig_buf_printf(&table->cell, "%s%s ", m ? ", " : "", groups[i].members[m].label);
		ig_out_value(&table->cell, json_object_get(object, groups[i].members[m].key));
	}
	ig_out_cell(table);
}

static void put_sinks(struct ig_out_table *table, const json_t *sinks)
{
	const json_t *sink;
	size_t i;

	json_array_foreach (sinks, i, sink) {
		ig_buf_puts(&table->cell, "audit sink ");
		ig_out_value(&table->cell, json_object_get(sink, "name"));
		ig_out_cell(table);
		for (size_t m = 0; m < IG_ARRAY_SIZE(sink_members); m++) {
			ig_buf_printf(&table->cell, "%s%s ", m ? ", " : "", sink_members[m].label);
			ig_out_value(&table->cell, json_object_get(sink, sink_members[m].key));
		}
		ig_out_cell(table);
	}
}

/* What is missing, or that nothing is: watches whose state is another one than these. */
static bool is_complete(const char *state)
{
	static const char *const complete[] = {"synced", "absent"};

	for (size_t i = 0; state && i < IG_ARRAY_SIZE(complete); i++)
		if (strcmp(complete[i], state) == 0)
			return true;
	return false;
}

static void put_sync(struct ig_out_table *table, const json_t *kubernetes)
{
	const json_t *resources = json_object_get(kubernetes, "resources");
	const char *kind, *state, *separator = ": ";
	json_t *resource;

	if (!json_is_object(kubernetes)) {
		ig_out_cell_text(table, kubernetes ? "not used" : "-");
		return;
	}
	ig_buf_puts(&table->cell,
		json_is_true(json_object_get(kubernetes, "synced")) ? "synced" : "not synced yet");
	json_object_foreach ((json_t *)resources, kind, resource) {
		state = ig_out_get_string(resource, "state");
		if (is_complete(state))
			continue;
		ig_buf_puts(&table->cell, separator);
		ig_out_text(&table->cell, kind, strlen(kind));
		ig_buf_putc(&table->cell, ' ');
		ig_out_value(&table->cell, json_object_get(resource, "state"));
		separator = ", ";
	}
	ig_out_cell(table);
}

static void put_kubernetes(struct ig_out_table *table, const json_t *kubernetes)
{
	static const char *const counts[] = {
		"objects", "rejected", "events", "lists", "watches", "errors"};
	const char *kind;
	json_t *resource;

	ig_out_cell_text(table, "Kubernetes");
	put_sync(table, kubernetes);
	json_object_foreach (json_object_get(kubernetes, "resources"), kind, resource) {
		ig_buf_puts(&table->cell, "  ");
		ig_out_text(&table->cell, kind, strlen(kind));
		ig_out_cell(table);
		ig_out_value(&table->cell, json_object_get(resource, "state"));
		for (size_t i = 0; i < IG_ARRAY_SIZE(counts); i++) {
			ig_buf_printf(&table->cell, ", %s ", counts[i]);
			ig_out_value(&table->cell, json_object_get(resource, counts[i]));
		}
		ig_out_cell(table);
	}
}

static void put_counters(struct ig_out_table *table, const json_t *counters)
{
	const char *name;
	json_t *value;

	json_object_foreach ((json_t *)counters, name, value) {
		ig_buf_puts(&table->cell, "counter ");
		ig_out_text(&table->cell, name, strlen(name));
		ig_out_cell(table);
		ig_out_cell_value(table, value);
	}
}

void ig_cli_format_status(const json_t *status, bool color, struct ig_buf *b)
{
	_cleanup_(ig_out_table_done) struct ig_out_table table = IG_OUT_TABLE(2);

	(void)color;
	for (size_t i = 0; i < IG_ARRAY_SIZE(singles); i++) {
		ig_out_cell_text(&table, singles[i].label);
		ig_out_cell_value(&table, ig_out_get(status, singles[i].path));
	}
	put_uptime(&table, ig_out_get(status, "uptime_sec"));
	for (size_t i = 0; i < IG_ARRAY_SIZE(places); i++) {
		ig_out_cell_text(&table, places[i].label);
		ig_out_cell_value(&table, ig_out_get(status, places[i].path));
	}
	for (size_t i = 0; i < IG_ARRAY_SIZE(groups); i++)
		put_group(&table, status, i);
	put_sinks(&table, ig_out_get(status, "audit.sinks"));
	put_kubernetes(&table, ig_out_get(status, "kubernetes"));
	put_counters(&table, ig_out_get(status, "counters"));
	ig_out_table_format(&table, b);
}

/* The control groups of a process, as this one sees them. */
static int read_cgroups(const char *process, char **ret)
{
	char path[64];
	size_t len;

	(void)snprintf(path, sizeof(path), "/proc/%s/cgroup", process);
	return ig_fd_read_file(AT_FDCWD, path, IG_PROC_CGROUPS_BYTES, ret, &len);
}

/* While one agent takes over from another, both may be reached by the same socket: is the one that
 * answers in the container that this tool was started in? */
static int check_here(const struct ig_cli *cli, const json_t *status)
{
	_cleanup_free_ char *ours = NULL, *theirs = NULL;
	const json_t *pid = json_object_get(status, "monitor_pid");
	char process[24];

	if (!json_is_true(json_object_get(status, "ready")))
		return ig_cli_fail(cli, -EAGAIN, true, "the agent does not serve yet");
	(void)snprintf(process, sizeof(process), "%" JSON_INTEGER_FORMAT, json_integer_value(pid));
	if (read_cgroups("self", &ours) < 0 || read_cgroups(process, &theirs) < 0)
		return ig_cli_fail(cli, -ESRCH, true,
			"the agent's process cannot be found (other pid namespace?)");
	if (strcmp(ours, theirs) != 0)
		return ig_cli_fail(cli, -EXDEV, true,
			"the agent that serves is in another control group than this tool");
	return IG_CLI_OK;
}

/* What is wrong, as a negative errno and a text; 0: nothing. */
static int judge_data_path(const struct ig_dial_outcome *outcome, char *text, size_t len)
{
	int error = outcome->error ? outcome->error : outcome->read_error;
	const char *what = NULL;

	if (outcome->error)
		what = "a connection to the metadata service is refused";
	else if (!outcome->is_redirected)
		what = "a connection to the metadata service does not go through the gate: this tool is in no workload, or the programs are off";
	else if (outcome->read_error)
		what = "the gate took a connection and does not answer";
	else if (outcome->http_status != HTTP_OK)
		what = "the gate answers with another status than 200";
	if (!what)
		return 0;
	(void)snprintf(text, len, "%s%s%s", what, error ? ": " : "", error ? strerror(-error) : "");
	return error ? error : -ENOTCONN;
}

/* The way that a request of a workload goes, with one that needs no upstream. */
static int check_data_path(const struct ig_cli *cli)
{
	static const char request[] =
		"GET /metadata/versions HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: imdsgate-status\r\nMetadata: true\r\nConnection: close\r\n\r\n";
	struct ig_dial_outcome outcome = {};
	char text[TEXT_BYTES];
	int r;

	ig_dial(IG_DIAL_IMDS, request, false, &outcome);
	r = judge_data_path(&outcome, text, sizeof(text));
	return r < 0 ? ig_cli_fail(cli, r, true, text) : IG_CLI_OK;
}

enum { HERE, DATA_PATH };

const struct ig_cli_option ig_cli_status_options[] = {
	[HERE] = {"here", NULL,
		"fail unless the agent in the control group of this tool is the one that serves"},
	[DATA_PATH] = {"data-path", NULL,
		"fail unless a connection to the metadata service from here is served by the gate"},
	{},
};

int ig_cli_cmd_status(const struct ig_cli *cli, const struct ig_cli_args *args)
{
	_cleanup_(json_decrefp) json_t *result = NULL;
	int status = ig_cli_request(cli, "status", NULL, NULL, &result);

	if (status == IG_CLI_OK && args->option[HERE])
		status = check_here(cli, result);
	if (status == IG_CLI_OK && args->option[DATA_PATH])
		status = check_data_path(cli);
	return status == IG_CLI_OK ? ig_cli_print_result(cli, result, ig_cli_format_status)
				   : status;
}
