/*
 * `imdsgate audit tail`: events as they happen, one line each. Called by args.c through the table.
 *
 * The agent sends everything; the filters are here. What is printed was written by workloads in the
 * end: every text goes through ig_out_text(), also what the agent has escaped already.
 */
#include <errno.h>
#include <string.h>

#include "audit/record.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/parse.h"
#include "cli/cmd.h"
#include "cli/out.h"
#include "ctl/client.h"

#define USEC_PER_MSEC 1000
#define TIME_DIGITS   23 /* of "2026-01-02T03:04:05.678901Z": to the millisecond */

/* widths of the columns; what is longer pushes the rest */
#define TIME_WIDTH     26
#define DECISION_WIDTH 7
#define KIND_WIDTH     21
#define POD_WIDTH      30
#define PROCESS_WIDTH  22
#define TARGET_WIDTH   34
#define IDENTITY_WIDTH 20
#define REASON_WIDTH   24

enum { NAMESPACE, POD, IDENTITY, RESOURCE, KIND, DECISION, COUNT, FOLLOW, SINCE, RUN, TEXT };

const struct ig_cli_option ig_cli_audit_tail_options[] = {
	[NAMESPACE] = {"namespace", "NAMESPACE", "only events of pods in this namespace"},
	[POD] = {"pod", "NAME", "only events of pods of this name"},
	[IDENTITY] = {"identity", "IDENTITY",
		"only events with the identity of this name or client id"},
	[RESOURCE] = {"resource", "RESOURCE",
		"only requests for a token for this resource, exactly as it was asked for"},
	[KIND] = {"kind", "KIND", "only events of this kind, such as token.denied"},
	[DECISION] = {"decision", "DECISION",
		"only events with this decision: allow, deny, error or none"},
	[COUNT] = {"count", "N", "end after N events"},
	[FOLLOW] = {"follow", NULL, "go on until stopped; this is the default"},
	[SINCE] = {"since", "SEQ",
		"first what came after this number, as far as the agent still knows it"},
	[RUN] = {"run", "RUN", "the run that --since is a number of (default: this one)"},
	[TEXT] = {"text", NULL,
		"lines for people, also when not to a terminal; else that gets JSON lines"},
	{},
};

static const struct {
	const char *name, *word, *color;
} decisions[] = {
	{"allow", "ALLOW", IG_OUT_GREEN},
	{"deny", "DENY", IG_OUT_RED},
	{"error", "ERROR", IG_OUT_YELLOW},
	{"none", "-", IG_OUT_DIM},
};

struct tail {
	const struct ig_cli *cli;
	const struct ig_cli_args *args;
	uint32_t left; /* 0: without an end */
	int status;    /* to leave with when a line ends the stream */
};

static void put_decision(const json_t *event, bool color, struct ig_buf *b)
{
	const char *name = ig_out_get_string(event, "decision");
	size_t i = 0, start;

	while (i < IG_ARRAY_SIZE(decisions) - 1 && strcmp(decisions[i].name, name ? name : "") != 0)
		i++;
	if (color)
		ig_buf_puts(b, decisions[i].color);
	start = b->len;
	ig_buf_puts(b, decisions[i].word);
	ig_out_pad(b, start, DECISION_WIDTH);
	if (color)
		ig_buf_puts(b, IG_OUT_OFF);
}

static void put_string(const char *s, size_t width, struct ig_buf *b)
{
	size_t start = b->len;

	ig_out_text(b, s ? s : "-", s ? strlen(s) : 1);
	ig_out_pad(b, start, width);
}

static void put_pod(const json_t *event, struct ig_buf *b)
{
	const char *namespace = ig_out_get_string(event, "pod.namespace");
	const char *name = ig_out_get_string(event, "pod.name");
	size_t start = b->len;

	if (!name) { /* something else that runs on the node */
		put_string(ig_out_get_string(event, "cgroup.path"), POD_WIDTH, b);
		return;
	}
	if (namespace) {
		ig_out_text(b, namespace, strlen(namespace));
		ig_buf_putc(b, '/');
	}
	ig_out_text(b, name, strlen(name));
	ig_out_pad(b, start, POD_WIDTH);
}

static void put_process(const json_t *event, struct ig_buf *b)
{
	const char *exe = ig_out_get_string(event, "process.exe");
	const json_t *pid = ig_out_get(event, "process.pid");
	const char *slash = exe ? strrchr(exe, '/') : NULL;
	size_t start = b->len;

	if (slash && slash[1])
		exe = slash + 1;
	if (!exe)
		exe = ig_out_get_string(event, "process.comm");
	ig_out_text(b, exe ? exe : "-", exe ? strlen(exe) : 1);
	if (pid) {
		ig_buf_putc(b, '(');
		ig_out_value(b, pid);
		ig_buf_putc(b, ')');
	}
	ig_out_pad(b, start, PROCESS_WIDTH);
}

/* What was wanted: a token for a resource, a path, or a connection. */
static const char *target_of(const json_t *event)
{
	static const char *const paths[] = {
		"request.resource", "request.path", "connection.destination"};
	const char *s = NULL;

	for (size_t i = 0; !s && i < IG_ARRAY_SIZE(paths); i++)
		s = ig_out_get_string(event, paths[i]);
	return s;
}

static void put_latency(const json_t *event, struct ig_buf *b)
{
	const json_t *latency = ig_out_get(event, "latency_usec");
	long long usec = json_integer_value(latency);

	if (!json_is_integer(latency) || usec < 0)
		ig_buf_putc(b, '-');
	else
		ig_buf_printf(b, "%lld.%03lldms", usec / USEC_PER_MSEC, usec % USEC_PER_MSEC);
}

static void put_extra(const json_t *event, struct ig_buf *b)
{
	const char *message = ig_out_get_string(event, "message");
	const json_t *count = ig_out_get(event, "count");

	if (count) {
		ig_buf_puts(b, " count=");
		ig_out_value(b, count);
	}
	if (message) {
		ig_buf_puts(b, " \"");
		ig_out_text(b, message, strlen(message));
		ig_buf_putc(b, '"');
	}
}

void ig_cli_format_event(const json_t *event, bool color, struct ig_buf *b)
{
	const char *when = ig_out_get_string(event, "time");
	const char *identity = ig_out_get_string(event, "identity.name");
	size_t start = b->len;

	if (!identity)
		identity = ig_out_get_string(event, "identity.client_id");
	if (when && strlen(when) > TIME_DIGITS) {
		ig_out_text(b, when, TIME_DIGITS);
		ig_buf_putc(b, 'Z');
		ig_out_pad(b, start, TIME_WIDTH);
	} else {
		put_string(when, TIME_WIDTH, b);
	}
	put_decision(event, color, b);
	put_string(ig_out_get_string(event, "kind"), KIND_WIDTH, b);
	put_pod(event, b);
	put_process(event, b);
	put_string(target_of(event), TARGET_WIDTH, b);
	put_string(identity, IDENTITY_WIDTH, b);
	put_string(ig_out_get_string(event, "reason"), REASON_WIDTH, b);
	put_latency(event, b);
	put_extra(event, b);
	ig_buf_putc(b, '\n');
}

static bool equals(const json_t *event, const char *path, const char *wanted)
{
	const char *s = ig_out_get_string(event, path);

	return !wanted || (s && strcmp(s, wanted) == 0);
}

static bool has_identity(const json_t *event, const char *wanted)
{
	return equals(event, "identity.name", wanted) ||
	       equals(event, "identity.client_id", wanted);
}

static bool is_wanted(const json_t *event, const struct ig_cli_args *args)
{
	const char *decision = args->option[DECISION];

	if (decision && strcmp(decision, "none") == 0) {
		if (ig_out_get_string(event, "decision"))
			return false;
		decision = NULL;
	}
	return equals(event, "pod.namespace", args->option[NAMESPACE]) &&
	       equals(event, "pod.name", args->option[POD]) &&
	       has_identity(event, args->option[IDENTITY]) &&
	       equals(event, "request.resource", args->option[RESOURCE]) &&
	       equals(event, "kind", args->option[KIND]) && equals(event, "decision", decision);
}

/* One line of the stream. Non-zero ends it. */
static int on_line(const char *text, size_t len, void *userdata)
{
	struct tail *tail = userdata;
	const struct ig_cli *cli = tail->cli;
	_cleanup_(json_decrefp) json_t *event = ig_json_load(text, len, 0, NULL);
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_OUT_BYTES};
	int r = 0;

	if (!json_is_object(event)) {
		(void)fprintf(
			cli->err, "imdsgate: an unreadable line of %zu bytes, ignoring\n", len);
		return 0;
	}
	if (!is_wanted(event, tail->args))
		return 0;
	if (cli->json || !(cli->terminal || tail->args->option[TEXT]))
		r = ig_out_json(&b, event);
	else
		ig_cli_format_event(event, cli->color, &b);
	if (r == 0)
		r = ig_out_flush(cli->out, &b);
	if (r < 0 && r != -EPIPE) {
		(void)fprintf(cli->err, "imdsgate: cannot print: %s\n", strerror(-r));
		tail->status = IG_CLI_FAILED;
	}
	return r < 0 || (tail->left && --tail->left == 0);
}

static bool is_kind(const char *name)
{
	for (unsigned int i = 0; i < _IG_AUDIT_KIND_MAX; i++)
		if (strcmp(ig_audit_kind_name((enum ig_audit_kind)i), name) == 0)
			return true;
	return false;
}

static bool is_decision(const char *name)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(decisions); i++)
		if (strcmp(decisions[i].name, name) == 0)
			return true;
	return false;
}

/* What the agent is asked for. NULL when out of memory, or with *ret_usage set. */
static json_t *tail_args(const char *const *option, const char **ret_usage)
{
	uint64_t since;

	if (option[RUN] && !option[SINCE])
		*ret_usage = "--run needs --since";
	else if (option[SINCE] && (ig_parse_u64(option[SINCE], &since) < 0 || since > INT64_MAX))
		*ret_usage = "--since takes a sequence number";
	if (*ret_usage)
		return NULL;
	if (!option[SINCE])
		return json_object();
	return json_pack(
		"{s:I,s:s}", "since", (json_int_t)since, "run", option[RUN] ? option[RUN] : "");
}

int ig_cli_cmd_audit_tail(const struct ig_cli *cli, const struct ig_cli_args *args)
{
	const struct ig_cli_verb *verb = ig_cli_find("audit", "tail");
	const char *const *option = args->option;
	struct tail tail = {.cli = cli, .args = args, .status = IG_CLI_OK};
	_cleanup_(json_decrefp) json_t *request = NULL;
	const char *wrong = NULL;
	struct ig_err err = {};
	bool reached = false;
	int r;

	request = tail_args(option, &wrong);
	if (wrong)
		return ig_cli_usage(cli, verb, "%s", wrong);
	if (option[TEXT] && cli->json)
		return ig_cli_usage(cli, verb, "--json and --text exclude each other");
	if (option[KIND] && !is_kind(option[KIND]))
		return ig_cli_usage(cli, verb, "there is no kind '%s'", option[KIND]);
	if (option[DECISION] && !is_decision(option[DECISION]))
		return ig_cli_usage(cli, verb, "there is no decision '%s'", option[DECISION]);
	if (option[COUNT] && (ig_parse_u32(option[COUNT], &tail.left) < 0 || !tail.left))
		return ig_cli_usage(
			cli, verb, "--count '%s' is not a number above 0", option[COUNT]);
	r = ig_ctl_stream(
		cli->socket_path, "audit", "tail", request, 0, on_line, &tail, &reached, &err);
	if (r < 0)
		return ig_cli_fail(cli, r, reached, err.message);
	if (r == 0)
		return ig_cli_fail(cli, -ECONNRESET, false, "the agent ended the stream");
	return tail.status;
}
