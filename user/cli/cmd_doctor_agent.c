/*
 * Checks of `imdsgate doctor` that go by what the agent says about itself (its verbs status and
 * doctor); see doctor.h. Without an answer they are skipped: nothing is known then.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/timex.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "cli/doctor.h"
#include "cli/out.h"
#include "datapath/inspect.h"
#include "version.h"

#define SKEW_SEC   120 /* between this clock and the agent's: another machine, or a jump */
#define EARLY_SEC  300 /* tokens are valid from a few minutes before they are issued */
#define RECENT_SEC 3600
#define MAX_LINK   1024
#define NO_ANSWER  "the agent does not say"

static long long number(const json_t *object, const char *path)
{
	return json_integer_value(ig_out_get(object, path));
}

static const char *string(const json_t *object, const char *path)
{
	const char *s = ig_out_get_string(object, path);

	return s ? s : "";
}

static bool is_skipped(struct ig_doctor *d, const json_t *source, const char *name)
{
	if (!source)
		ig_doctor_add(d, name, IG_DOCTOR_SKIPPED, NULL, NO_ANSWER);
	return !source;
}

/* ---- the agent ---- */

void ig_doctor_check_agent(struct ig_doctor *d)
{
	uint32_t holder = 0;

	if (d->status) {
		ig_doctor_add(d, "agent", IG_DOCTOR_OK, NULL,
			"answers at %s, up for %lld s, node %s", d->cli->socket_path,
			number(d->status, "uptime_sec"), string(d->status, "node"));
		return;
	}
	if (d->is_root)
		(void)ig_inspect_lock_holder(d->pin_dir, &holder);
	if (holder)
		ig_doctor_add(d, "agent", IG_DOCTOR_PROBLEM,
			"name its socket with --socket, or look at its log: it runs",
			"process %u holds %s, so an agent runs, but it cannot be asked: %s", holder,
			d->pin_dir, d->why);
	else
		ig_doctor_add(d, "agent", IG_DOCTOR_PROBLEM,
			"start it (systemctl start imdsgated), or look at its log", "%s", d->why);
}

/* Which file a process runs; false when /proc here does not show it. */
static bool program_of(long long pid, char *ret, size_t len)
{
	char path[64];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%lld/exe", pid);
	n = readlink(path, ret, len - 1);
	if (n < 0)
		return false;
	ret[n] = '\0';
	return strstr(ret, "imdsgated") != NULL;
}

static void check_binary(struct ig_doctor *d, long long monitor, long long server)
{
	static const char deleted[] = " (deleted)";
	char a[MAX_LINK], b[MAX_LINK];
	size_t len;

	if (!program_of(monitor, a, sizeof(a)) || !program_of(server, b, sizeof(b))) {
		ig_doctor_add(d, "processes", IG_DOCTOR_OK, NULL,
			"monitor %lld and server %lld both answer; they run in another process namespace",
			monitor, server);
		return;
	}
	len = strlen(a);
	if (strcmp(a, b) != 0)
		ig_doctor_add(d, "processes", IG_DOCTOR_PROBLEM, "restart the agent",
			"monitor %lld runs %s, server %lld runs %s", monitor, a, server, b);
	else if (len >= sizeof(deleted) && strcmp(a + len - (sizeof(deleted) - 1), deleted) == 0)
		ig_doctor_add(d, "processes", IG_DOCTOR_WARNING,
			"restart the agent, so that what is installed runs",
			"monitor %lld and server %lld run a program that was replaced since they started",
			monitor, server);
	else
		ig_doctor_add(d, "processes", IG_DOCTOR_OK, NULL,
			"monitor %lld and server %lld are alive, both run %s", monitor, server, a);
}

void ig_doctor_check_processes(struct ig_doctor *d)
{
	const char *version = string(d->status, "version");

	if (is_skipped(d, d->status, "processes"))
		return;
	/* `status` is put together by the server with counters that the monitor gave it just now */
	check_binary(d, number(d->status, "monitor_pid"), number(d->status, "server_pid"));
	if (strcmp(version, IG_VERSION) == 0)
		ig_doctor_add(d, "versions", IG_DOCTOR_OK, NULL, "agent and tool are %s", version);
	else
		ig_doctor_add(d, "versions", IG_DOCTOR_WARNING,
			"use the tool of the agent's own release: checks may be wrong",
			"the agent is %s, this tool is %s", version, IG_VERSION);
}

void ig_doctor_check_descriptors(struct ig_doctor *d)
{
	const json_t *descriptors = json_object_get(d->facts, "descriptors");
	long long limit = number(descriptors, "limit"), wanted = number(descriptors, "wanted");

	if (is_skipped(d, descriptors, "descriptors"))
		return;
	ig_doctor_add(d, "descriptors", limit < wanted ? IG_DOCTOR_WARNING : IG_DOCTOR_OK,
		limit < wanted ? "raise RLIMIT_NOFILE (LimitNOFILE= of the unit, ulimit -n)" : NULL,
		"%lld of the %lld wanted: enough for %lld namespaces and %lld connections", limit,
		wanted, number(descriptors, "listeners"), number(descriptors, "connections"));
}

/* ---- files ---- */

void ig_doctor_check_manifests(struct ig_doctor *d)
{
	const json_t *m = json_object_get(d->facts, "manifests");
	const json_t *bad = json_object_get(m, "bad");
	const char *dir = string(m, "dir"), *state = string(m, "state");
	long long n = number(d->status, "manifests.bad_files");

	if (is_skipped(d, m, "manifests"))
		return;
	if (strcmp(state, "ok") != 0)
		ig_doctor_add(d, "manifests", IG_DOCTOR_PROBLEM,
			"let the agent's user list the directory and enter it",
			"%s is not readable (%s); what was read before stays in force", dir, state);
	else if (n > 0)
		ig_doctor_add(d, "manifests", IG_DOCTOR_PROBLEM,
			"imdsgated --check-config says line and column",
			"%lld files in %s are wrong, the first is %s (%s); their last good content stays in force",
			n, dir, string(json_array_get(bad, 0), "file"),
			string(json_array_get(bad, 0), "error"));
	else
		ig_doctor_add(d, "manifests", IG_DOCTOR_OK, NULL,
			"%s is readable and every file is in force; declared: %lld pods, %lld identities, %lld bindings",
			dir, number(d->status, "objects.pods"),
			number(d->status, "objects.identities"),
			number(d->status, "objects.bindings"));
}

void ig_doctor_check_credentials(struct ig_doctor *d)
{
	const json_t *c = json_object_get(d->facts, "credentials");
	const char *dir = string(c, "dir"), *state = string(c, "state");
	long long unreadable = number(c, "unreadable"), exposed = number(c, "exposed");

	if (is_skipped(d, c, "credentials"))
		return;
	if (strcmp(state, "absent") == 0)
		ig_doctor_add(d, "credentials", IG_DOCTOR_OK, NULL,
			"%s does not exist: fine as long as no identity has a secret", dir);
	else if (strcmp(state, "ok") != 0)
		ig_doctor_add(d, "credentials", IG_DOCTOR_PROBLEM,
			"chgrp it to the agent's group, mode 0750",
			"%s cannot be read by the agent's user (%s)", dir, state);
	else if (unreadable)
		ig_doctor_add(d, "credentials", IG_DOCTOR_PROBLEM,
			"chgrp them to the agent's group; directories 0750, files 0640",
			"%lld files or directories cannot be read by the agent's user, the first is %s",
			unreadable, string(c, "example"));
	else if (exposed)
		ig_doctor_add(d, "credentials", IG_DOCTOR_WARNING,
			"take the right to read from others: chmod o-r",
			"%lld files may be read by every user who gets there, the first is %s",
			exposed, string(c, "example"));
	else
		ig_doctor_add(d, "credentials", IG_DOCTOR_OK, NULL,
			"%s is readable by the agent's user, %lld entries%s", dir,
			number(c, "entries"),
			json_is_true(json_object_get(c, "cut")) ? " looked at, there are more"
								: "");
}

/* ---- audit ---- */

static void check_sink(struct ig_doctor *d, const json_t *sink)
{
	const char *name = string(sink, "name"), *state = string(sink, "state");
	long long lost = number(sink, "lost");

	if (strcmp(state, "ok") != 0)
		ig_doctor_add(d, "audit_sink", IG_DOCTOR_PROBLEM,
			"look at what it writes to: space, permissions, the other end",
			"%s fails (%s): %lld queued, %lld lost", name, state,
			number(sink, "queued"), lost);
	else if (lost)
		ig_doctor_add(d, "audit_sink", IG_DOCTOR_WARNING,
			"each gap is an events.lost record; the sink was too slow or away",
			"%s works, but lost %lld records since the agent started", name, lost);
	else
		ig_doctor_add(d, "audit_sink", IG_DOCTOR_OK, NULL,
			"%s works: %lld delivered, %lld queued, none lost", name,
			number(sink, "delivered"), number(sink, "queued"));
}

void ig_doctor_check_audit(struct ig_doctor *d)
{
	const json_t *sinks = ig_out_get(d->status, "audit.sinks"), *sink;
	const json_t *ago = ig_out_get(d->facts, "events_lost.last_sec_ago");
	size_t i;

	if (is_skipped(d, d->status, "audit_sink"))
		return;
	json_array_foreach (sinks, i, sink)
		check_sink(d, sink);
	if (json_array_size(sinks) == 0)
		ig_doctor_add(d, "audit_sink", IG_DOCTOR_WARNING,
			"give the agent an --audit-file, --audit-syslog or --audit-otlp",
			"no sink: records go to subscribers only");
	if (is_skipped(d, d->facts, "events_lost"))
		return;
	if (!json_is_integer(ago))
		ig_doctor_add(d, "events_lost", IG_DOCTOR_OK, NULL,
			"no loss was recorded since the agent started; the kernel's counter stands at %lld",
			number(d->status, "audit.lost_kernel"));
	else
		ig_doctor_add(d, "events_lost",
			json_integer_value(ago) < RECENT_SEC ? IG_DOCTOR_WARNING : IG_DOCTOR_OK,
			"the events.lost records say how many, and which sink; see docs/operations.md",
			"%lld losses recorded since the agent started, the last %lld s ago",
			number(d->facts, "events_lost.reports"),
			(long long)json_integer_value(ago));
}

/* ---- Kubernetes ---- */

static bool is_known(const char *state, const char *const *words)
{
	while (*words && strcmp(state, *words) != 0)
		words++;
	return *words;
}

void ig_doctor_check_kubernetes(struct ig_doctor *d)
{
	static const char *const good[] = {"synced", "absent", NULL};
	const json_t *kubernetes = json_object_get(d->status, "kubernetes");
	const char *kind;
	json_t *resource;
	size_t n = 0;

	if (is_skipped(d, d->status, "kubernetes"))
		return;
	if (!json_is_object(kubernetes)) {
		ig_doctor_add(d, "kubernetes", IG_DOCTOR_OK, NULL,
			"not used (no --kubernetes): objects come from manifests");
		return;
	}
	json_object_foreach (json_object_get(kubernetes, "resources"), kind, resource) {
		const char *state = string(resource, "state");

		n++;
		if (!is_known(state, good))
			ig_doctor_add(d, "kubernetes", IG_DOCTOR_PROBLEM,
				"forbidden: see deploy/kubernetes/rbac.yaml; else is the API server reachable from here?",
				"%s is not followed: %s, %lld errors; what is known goes on", kind,
				state, number(resource, "errors"));
	}
	if (json_is_true(json_object_get(kubernetes, "synced")))
		ig_doctor_add(d, "kubernetes", IG_DOCTOR_OK, NULL,
			"%zu kinds are followed, everything was known once", n);
	else
		ig_doctor_add(d, "kubernetes", IG_DOCTOR_PROBLEM,
			"until then requests wait and then get 503; the agent's log says why",
			"not everything is known yet");
}

/* ---- upstreams, time ---- */

void ig_doctor_check_upstreams(struct ig_doctor *d)
{
	const json_t *upstreams = json_object_get(d->facts, "upstreams");
	const char *name;
	json_t *u;

	if (is_skipped(d, upstreams, "upstream"))
		return;
	json_object_foreach ((json_t *)upstreams, name, u) {
		const json_t *answered = json_object_get(u, "answered_sec_ago");
		const json_t *failed = json_object_get(u, "failed_sec_ago");

		if (json_is_true(json_object_get(u, "failing")) && json_is_integer(answered))
			ig_doctor_add(d, "upstream", IG_DOCTOR_PROBLEM,
				"the token.failed records say what went wrong",
				"%s: the last call failed, %lld s ago; the last answer came %lld s ago",
				name, (long long)json_integer_value(failed),
				(long long)json_integer_value(answered));
		else if (json_is_true(json_object_get(u, "failing")))
			ig_doctor_add(d, "upstream", IG_DOCTOR_PROBLEM,
				"the token.failed records say what went wrong",
				"%s never answered since the agent started; the last call failed, %lld s ago",
				name, (long long)json_integer_value(failed));
		else if (json_is_integer(answered))
			ig_doctor_add(d, "upstream", IG_DOCTOR_OK, NULL, "%s answered %lld s ago",
				name, (long long)json_integer_value(answered));
		else
			ig_doctor_add(d, "upstream", IG_DOCTOR_SKIPPED, NULL,
				"%s was not asked since the agent started, and is not asked for this",
				name);
	}
}

/* The kernel knows whether something keeps the clock right (chrony, timesyncd, ntpd). */
static void check_synchronised(struct ig_doctor *d)
{
	struct timex t = {};
	int state = adjtimex(&t);

	if (state < 0)
		ig_doctor_add(d, "clock_sync", IG_DOCTOR_SKIPPED, NULL,
			"the kernel does not say: %s", strerror(errno));
	else if (state == TIME_ERROR || (t.status & STA_UNSYNC))
		ig_doctor_add(d, "clock_sync", IG_DOCTOR_WARNING,
			"run chrony or systemd-timesyncd: tokens and audit records rely on the time",
			"nothing keeps this machine's clock right, as far as the kernel knows");
	else
		ig_doctor_add(d, "clock_sync", IG_DOCTOR_OK, NULL, "is kept right");
}

void ig_doctor_check_clock(struct ig_doctor *d)
{
	long long early = number(d->facts, "token_early_sec");
	long long skew;

	check_synchronised(d);
	if (is_skipped(d, d->facts, "clock"))
		return;
	skew = ((long long)ig_clock_real_usec() - number(d->facts, "now_usec")) /
	       (long long)IG_USEC_PER_SEC;
	if (skew > SKEW_SEC || skew < -SKEW_SEC)
		ig_doctor_add(d, "clock", IG_DOCTOR_PROBLEM, "is this the agent's machine?",
			"the agent's clock and this one are %lld s apart", skew);
	else if (early > EARLY_SEC)
		ig_doctor_add(d, "clock", IG_DOCTOR_PROBLEM,
			"set the clock: tokens are kept for too long",
			"a token that was issued is valid only %lld s from now: this machine's clock is behind",
			early);
	else
		ig_doctor_add(d, "clock", IG_DOCTOR_OK, NULL,
			"agrees with the times in the cached tokens");
}
