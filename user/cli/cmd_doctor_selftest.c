/*
 * The live self-test of `imdsgate doctor`: what was dialled in the arena is judged, and each
 * attempt has to have left its audit record; see doctor.h.
 *
 * With an agent: IMDS redirected and answered, everything else refused. Without: nothing may get
 * through.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cli/doctor.h"
#include "cli/out.h"
#include "ctl/client.h"

#define EXPECTED_STATUS 400

static const char *const names[_IG_DIAL_TARGET_MAX] = {
	[IG_DIAL_IMDS] = "169.254.169.254:80",
	[IG_DIAL_IMDS_MAPPED] = "[::ffff:169.254.169.254]:80",
	[IG_DIAL_IMDS_UDP] = "169.254.169.254:80 by UDP",
	[IG_DIAL_WIRESERVER] = "168.63.129.16:80",
	[IG_DIAL_HOSTGAPLUGIN] = "168.63.129.16:32526",
};

static bool is_served(enum ig_dial_target probe)
{
	return probe == IG_DIAL_IMDS || probe == IG_DIAL_IMDS_MAPPED;
}

/* ---- what came of each ---- */

/* Nobody turned the connection around, so it went where the arena has a blackhole. */
static bool judge_open(struct ig_doctor *d, const char *name, const struct ig_dial_outcome *o)
{
	if (ig_dial_is_refusal(o->error) || (o->error == 0 && o->is_redirected))
		return false;
	ig_doctor_add(d, "self_test", IG_DOCTOR_PROBLEM,
		"see the checks \"attached\" and \"cgroup\" above",
		"a connect to %s was neither redirected nor refused (%s): workloads reach it past the gate",
		name, o->error ? strerror(-o->error) : "connected");
	return true;
}

static void judge_served(struct ig_doctor *d, const char *name, const struct ig_dial_outcome *o)
{
	if (o->error)
		ig_doctor_add(d, "self_test", IG_DOCTOR_PROBLEM,
			"the agent's log and the connect.refused records say why",
			"a connect to %s was refused %u times (%s)", name, o->attempts,
			strerror(-o->error));
	else if (o->read_error)
		ig_doctor_add(d, "self_test", IG_DOCTOR_PROBLEM,
			"the agent's server process hangs or is overloaded: look at its log",
			"%s was redirected, but the agent did not answer: %s", name,
			strerror(-o->read_error));
	else if (o->http_status != EXPECTED_STATUS)
		ig_doctor_add(d, "self_test", IG_DOCTOR_PROBLEM,
			"is it the agent that listens there?",
			"%s answered a request without the header Metadata with %u, not %u", name,
			o->http_status, EXPECTED_STATUS);
	else if (!o->is_hidden)
		ig_doctor_add(d, "self_test", IG_DOCTOR_WARNING,
			"another program at getpeername may change it back",
			"%s is served, but getpeername() shows the gate in its place", name);
	else
		ig_doctor_add(d, "self_test", IG_DOCTOR_OK, NULL,
			"%s: redirected, answered %u as expected (connected at attempt %u)", name,
			o->http_status, o->attempts);
}

static void judge_refused(struct ig_doctor *d, const char *name, const struct ig_dial_outcome *o)
{
	if (ig_dial_is_refusal(o->error))
		ig_doctor_add(d, "self_test", IG_DOCTOR_OK, NULL, "%s: refused (%s)", name,
			strerror(-o->error));
	else
		ig_doctor_add(d, "self_test", IG_DOCTOR_PROBLEM, "restart the agent",
			"%s should be refused, and was redirected", name);
}

/* Without an agent: refused, or parked at a listener behind which nobody is. */
static void judge_closed(struct ig_doctor *d, const char *name, const struct ig_dial_outcome *o)
{
	if (o->error == 0 && o->http_status)
		ig_doctor_add(d, "self_test", IG_DOCTOR_WARNING,
			"name the agent's socket with --socket",
			"%s was answered with %u by an agent that cannot be asked", name,
			o->http_status);
	else
		ig_doctor_add(d, "self_test", IG_DOCTOR_OK, NULL,
			"%s: %s, as it has to be without an agent", name,
			o->error ? "refused" : "not answered");
}

static void judge_probe(
	struct ig_doctor *d, enum ig_dial_target probe, const struct ig_dial_outcome *o)
{
	const char *name = names[probe];

	if (o->error == -EAFNOSUPPORT)
		ig_doctor_add(d, "self_test", IG_DOCTOR_SKIPPED, NULL,
			"%s: this kernel has no IPv6", name);
	else if (judge_open(d, name, o))
		return;
	else if (!d->status)
		judge_closed(d, name, o);
	else if (is_served(probe))
		judge_served(d, name, o);
	else
		judge_refused(d, name, o);
}

/* ---- the audit's word ---- */

struct awaited {
	const char *cgroup; /* path of the self-test's, as in the records */
	unsigned int rejected, denied;
	unsigned int want_rejected, want_denied;
	long long pid; /* that the first of them names */
};

static bool is_complete(const struct awaited *a)
{
	return a->rejected >= a->want_rejected && a->denied >= a->want_denied;
}

static int on_record(const char *text, size_t len, void *userdata)
{
	_cleanup_(json_decrefp) json_t *record = ig_json_load(text, len, 0, NULL);
	const char *cgroup = ig_out_get_string(record, "cgroup.path");
	const char *kind = ig_out_get_string(record, "kind");
	struct awaited *a = userdata;

	if (!cgroup || !kind || strcmp(cgroup, a->cgroup) != 0)
		return 0;
	if (!a->pid)
		a->pid = json_integer_value(ig_out_get(record, "process.pid"));
	a->rejected += strcmp(kind, "request.rejected") == 0;
	a->denied += strcmp(kind, "connect.denied") == 0;
	return is_complete(a);
}

/* since: of the stream before the test began. */
static void check_records(struct ig_doctor *d, const char *cgroup, json_int_t since,
	const struct ig_selftest_result *result)
{
	char path[IG_SELFTEST_CGROUP_BYTES + 1];
	struct awaited a = {.cgroup = path};
	_cleanup_(json_decrefp) json_t *args = json_pack("{s:I}", "since", since);
	struct ig_err err = {};
	bool reached = false;
	int r;

	(void)snprintf(path, sizeof(path), "/%s", cgroup);
	for (unsigned int i = 0; i < _IG_DIAL_TARGET_MAX; i++) {
		a.want_rejected += is_served((enum ig_dial_target)i) &&
				   result->outcome[i].http_status == EXPECTED_STATUS;
		a.want_denied += !is_served((enum ig_dial_target)i) &&
				 ig_dial_is_refusal(result->outcome[i].error);
	}
	if (is_complete(&a))
		return; /* nothing was answered or refused: said already */
	r = ig_ctl_stream(d->cli->socket_path, "audit", "tail", args, IG_DOCTOR_RECORD_SEC,
		on_record, &a, &reached, &err);
	if (is_complete(&a))
		ig_doctor_add(d, "self_test", IG_DOCTOR_OK, NULL,
			"all %u attempts are in the audit, made by process %lld in %s",
			a.want_rejected + a.want_denied, a.pid, path);
	else
		ig_doctor_add(d, "self_test", IG_DOCTOR_PROBLEM,
			"see events_lost above; the agent's log says more",
			"of %u answered and %u refused attempts %u and %u are in the audit after %d s (%s)",
			a.want_rejected, a.want_denied, a.rejected, a.denied, IG_DOCTOR_RECORD_SEC,
			r < 0 ? err.message : "the stream ended");
}

void ig_doctor_check_self_test(struct ig_doctor *d)
{
	const json_t *emitted = ig_out_get(d->status, "audit.emitted");
	char cgroup[IG_SELFTEST_CGROUP_BYTES] = "";
	struct ig_selftest_result result = {};
	const char *skip = d->no_self_test	? "not asked for (--no-self-test)"
			   : !d->is_root	? "needs root"
			   : !d->cgroup_root[0] ? "there is no cgroup2 mount"
						: NULL;
	int r;

	if (skip) {
		ig_doctor_add(d, "self_test", IG_DOCTOR_SKIPPED, NULL, "%s", skip);
		return;
	}
	r = ig_selftest_run(d->cgroup_root, d->status, &result, cgroup);
	if (r < 0 || result.error) {
		ig_doctor_add(d, "self_test", IG_DOCTOR_SKIPPED,
			"it needs a writable cgroup2 tree and the right to make network namespaces",
			"not made: %s: %s", r < 0 ? "starting it" : result.step,
			strerror(r < 0 ? -r : -result.error));
		return;
	}
	for (unsigned int i = 0; i < _IG_DIAL_TARGET_MAX; i++)
		judge_probe(d, (enum ig_dial_target)i, &result.outcome[i]);
	if (json_is_integer(emitted))
		check_records(d, cgroup, json_integer_value(emitted), &result);
}
