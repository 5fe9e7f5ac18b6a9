/*
 * `imdsgate doctor`: is this node guarded, and if not, why not? Called by args.c through the table.
 *
 * Does what it can without an agent, too. It must never change the node, repair anything, or call
 * a check passed that it could not make: that one is skipped, and says why.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/doctor.h"
#include "cli/out.h"
#include "ctl/client.h"
#include "workload/mount.h"

#define DEFAULT_BPFFS "/sys/fs/bpf"
#define STATE_WIDTH   9
#define NAME_WIDTH    20

enum { BPFFS, CGROUP_ROOT, NO_SELF_TEST };

const struct ig_cli_option ig_cli_doctor_options[] = {
	[BPFFS] = {"bpffs", "DIR",
		"where the agent pins, if it cannot be asked (default " DEFAULT_BPFFS ")"},
	[CGROUP_ROOT] = {"cgroup-root", "DIR",
		"what the programs attach to, if it cannot be asked (default: the cgroup2 mount)"},
	[NO_SELF_TEST] = {"no-self-test", NULL, "do not make a connection of its own"},
	{},
};

static const struct {
	const char *name, *color;
} states[_IG_DOCTOR_STATE_MAX] = {
	[IG_DOCTOR_OK] = {"ok", IG_OUT_GREEN},
	[IG_DOCTOR_WARNING] = {"warning", IG_OUT_YELLOW},
	[IG_DOCTOR_PROBLEM] = {"problem", IG_OUT_RED},
	[IG_DOCTOR_SKIPPED] = {"skipped", IG_OUT_DIM},
};

/* In the order in which they are printed: from what all else hangs on to the whole. */
static void (*const checks[])(struct ig_doctor *d) = {
	ig_doctor_check_agent,
	ig_doctor_check_processes,
	ig_doctor_check_descriptors,
	ig_doctor_check_cgroup,
	ig_doctor_check_features,
	ig_doctor_check_hooks,
	ig_doctor_check_maps,
	ig_doctor_check_listeners,
	ig_doctor_check_guard,
	ig_doctor_check_rules,
	ig_doctor_check_manifests,
	ig_doctor_check_credentials,
	ig_doctor_check_kubernetes,
	ig_doctor_check_upstreams,
	ig_doctor_check_clock,
	ig_doctor_check_audit,
	ig_doctor_check_self_test,
};

/* A string whatever bytes it has: those that are not UTF-8 become "?". */
static json_t *text_of(char *text)
{
	json_t *string = json_string(text);

	if (string)
		return string;
	for (char *p = text; *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	return json_string(text);
}

void ig_doctor_add(struct ig_doctor *d, const char *name, enum ig_doctor_state state,
	const char *advice, const char *fmt, ...)
{
	char text[IG_DOCTOR_TEXT_BYTES];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	d->count[state]++;
	if (json_array_append_new(d->checks,
		    json_pack("{s:s, s:s, s:o, s:s?}", "name", name, "state", states[state].name,
			    "found", text_of(text), "advice", advice)) < 0)
		d->failed = true;
}

/* ---- what there is to go by ---- */

static int ask(struct ig_doctor *d, const char *noun, json_t **ret)
{
	bool reached = false;
	struct ig_err err = {};
	int r = ig_ctl_call(d->cli->socket_path, noun, NULL, NULL, ret, &reached, &err);

	d->reached |= reached;
	if (r < 0 && !d->why[0])
		(void)snprintf(d->why, sizeof(d->why), "%s", err.message);
	return r;
}

static void copy(char *to, size_t len, const char *from)
{
	if (from)
		(void)snprintf(to, len, "%s", from);
}

/* Where to look: what the agent says, else what was given, else where it would be. */
static void find_places(struct ig_doctor *d, const struct ig_cli_args *args)
{
	const char *bpffs = args->option[BPFFS] ? args->option[BPFFS] : DEFAULT_BPFFS;
	struct ig_err err = {};

	(void)snprintf(d->pin_dir, sizeof(d->pin_dir), "%s/imdsgate", bpffs);
	copy(d->cgroup_root, sizeof(d->cgroup_root), args->option[CGROUP_ROOT]);
	copy(d->pin_dir, sizeof(d->pin_dir), ig_out_get_string(d->status, "pin_dir"));
	copy(d->cgroup_root, sizeof(d->cgroup_root), ig_out_get_string(d->status, "cgroup_root"));
	if (!d->cgroup_root[0] &&
		ig_cgroup2_mount_find(d->cgroup_root, sizeof(d->cgroup_root), &err) < 0)
		copy(d->cgroup_error, sizeof(d->cgroup_error), err.message);
}

static void doctor_done(struct ig_doctor *d)
{
	json_decref(d->status);
	json_decref(d->facts);
	json_decref(d->checks);
}

/* ---- printing ---- */

static void put_check(const json_t *check, bool color, struct ig_buf *b)
{
	const char *state = ig_out_get_string(check, "state");
	size_t i = 0, start = b->len;

	while (i < _IG_DOCTOR_STATE_MAX - 1 && strcmp(states[i].name, state ? state : "") != 0)
		i++;
	ig_buf_puts(b, states[i].name);
	ig_out_pad(b, start, STATE_WIDTH);
	if (color) {
		/* around the word, so that columns stay aligned */
		struct ig_buf word = {.limit = IG_OUT_BYTES};

		ig_buf_printf(&word, "%s%s%s%.*s", states[i].color, states[i].name, IG_OUT_OFF,
			(int)(STATE_WIDTH - strlen(states[i].name)), "          ");
		b->len = start;
		ig_buf_append(b, word.data, word.len);
		ig_buf_done(&word);
	}
	start = b->len;
	ig_out_value(b, json_object_get(check, "name"));
	ig_out_pad(b, start, NAME_WIDTH);
	ig_out_value(b, json_object_get(check, "found"));
	ig_buf_putc(b, '\n');
	if (ig_out_get_string(check, "advice") && i != IG_DOCTOR_OK) {
		ig_buf_printf(b, "%*s-> ", STATE_WIDTH + NAME_WIDTH, "");
		ig_out_value(b, json_object_get(check, "advice"));
		ig_buf_putc(b, '\n');
	}
}

void ig_doctor_format(const json_t *report, bool color, struct ig_buf *b)
{
	const char *separator = "";
	const json_t *check;
	size_t i;

	json_array_foreach (json_object_get(report, "checks"), i, check)
		put_check(check, color, b);
	ig_buf_putc(b, '\n');
	for (i = 0; i < _IG_DOCTOR_STATE_MAX; i++) {
		ig_buf_printf(b, "%s%s ", separator, states[i].name);
		ig_out_value(b, ig_out_get(json_object_get(report, "counts"), states[i].name));
		separator = ", ";
	}
	ig_buf_putc(b, '\n');
}

static json_t *report_of(const struct ig_doctor *d)
{
	const char *result = !d->reached		   ? "unreachable"
			     : d->count[IG_DOCTOR_PROBLEM] ? "problems"
							   : "ok";
	json_t *counts = json_object();

	for (int i = 0; counts && i < _IG_DOCTOR_STATE_MAX; i++)
		(void)json_object_set_new(
			counts, states[i].name, json_integer((json_int_t)d->count[i]));
	return json_pack(
		"{s:s, s:o, s:O}", "result", result, "counts", counts, "checks", d->checks);
}

int ig_cli_cmd_doctor(const struct ig_cli *cli, const struct ig_cli_args *args)
{
	_cleanup_(doctor_done) struct ig_doctor d = {
		.cli = cli,
		.checks = json_array(),
		.is_root = geteuid() == 0,
		.no_self_test = args->option[NO_SELF_TEST],
	};
	_cleanup_(json_decrefp) json_t *report = NULL;
	int status;

	if (ask(&d, "status", &d.status) == 0)
		(void)ask(&d, "doctor", &d.facts);
	find_places(&d, args);
	for (size_t i = 0; i < IG_ARRAY_SIZE(checks); i++)
		checks[i](&d);
	report = report_of(&d);
	if (d.failed || !report)
		return ig_cli_fail(cli, -ENOMEM, true, "out of memory");
	status = ig_cli_print_result(cli, report, ig_doctor_format);
	if (status != IG_CLI_OK)
		return status;
	if (!d.reached)
		return IG_CLI_UNREACHABLE;
	return d.count[IG_DOCTOR_PROBLEM] ? IG_CLI_PROBLEMS : IG_CLI_OK;
}
