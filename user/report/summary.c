/*
 * Adding up a log; see summary.h. Never keeps a record, and never prints.
 */
#include "report/summary.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <imdsgate/limits.h>

#define EXE_BYTES 2048

struct ig_report_table ig_report_table_init(size_t n_fields)
{
	return (struct ig_report_table){.n_fields = n_fields,
		.rows_max = IG_REPORT_ROWS_MAX,
		.bytes_max = IG_REPORT_TABLE_BYTES};
}

int ig_report_summary_new(const struct ig_report_filter *filter, struct ig_report_summary **ret)
{
	_cleanup_(ig_report_summary_freep) struct ig_report_summary *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->series = calloc(1, sizeof(*s->series));
	if (!s->series)
		return -ENOMEM;
	s->filter = *filter;
	s->uses = s->known = ig_report_table_init(_IG_USE_MAX);
	s->refusals = ig_report_table_init(_IG_REFUSAL_MAX);
	s->kinds = ig_report_table_init(_IG_KIND_MAX);
	s->remarks = ig_report_table_init(_IG_REMARK_MAX);
	*ret = TAKE_PTR(s);
	return 0;
}

struct ig_report_summary *ig_report_summary_free(struct ig_report_summary *s)
{
	if (!s)
		return NULL;
	ig_report_table_done(&s->uses);
	ig_report_table_done(&s->known);
	ig_report_table_done(&s->refusals);
	ig_report_table_done(&s->kinds);
	ig_report_table_done(&s->remarks);
	free(s->series);
	free(s);
	return NULL;
}

/* Where there is no pod. What stands in parentheses is no name. */
static const char *who(const struct ig_report_event *e)
{
	if (ig_report_pod(e)[0])
		return ig_report_pod(e);
	if (e->cgroup[0])
		return e->cgroup; /* begins with a slash */
	return "(unknown)";
}

static int add_use(struct ig_report_table *table, const struct ig_report_event *e)
{
	char exe[EXE_BYTES];
	const char *fields[_IG_USE_MAX] = {
		[IG_USE_NAMESPACE] = ig_report_namespace(e),
		[IG_USE_POD] = who(e),
		[IG_USE_ACCOUNT] = ig_report_account(e),
		[IG_USE_IDENTITY] = ig_report_event_identity(e),
		[IG_USE_TARGET] = ig_report_event_target(e),
		[IG_USE_EXE] = exe,
	};

	(void)snprintf(exe, sizeof(exe), "%s%s", e->exe[0] ? e->exe : "(unknown)",
		e->exe_deleted ? " (deleted)" : "");
	return ig_report_table_add(table, fields, e->decision, e->time_usec, 1);
}

static int add_refusal(struct ig_report_summary *s, const struct ig_report_event *e)
{
	const char *fields[_IG_REFUSAL_MAX] = {
		[IG_REFUSAL_NAMESPACE] = ig_report_namespace(e),
		[IG_REFUSAL_POD] = who(e),
		[IG_REFUSAL_ACCOUNT] = ig_report_account(e),
		[IG_REFUSAL_KIND] = e->kind_name,
		[IG_REFUSAL_REASON] = e->reason,
		[IG_REFUSAL_TARGET] = ig_report_event_target(e),
		[IG_REFUSAL_IDENTITY] = ig_report_event_identity(e),
	};

	return ig_report_table_add(&s->refusals, fields, e->decision, e->time_usec, 1);
}

static int add_remark(struct ig_report_summary *s, const struct ig_report_event *e)
{
	char policy[600];
	const char *fields[_IG_REMARK_MAX] = {
		[IG_REMARK_POLICY] = policy,
		[IG_REMARK_REASON] = e->would_deny,
		[IG_REMARK_NAMESPACE] = ig_report_namespace(e),
		[IG_REMARK_POD] = who(e),
		[IG_REMARK_TARGET] = ig_report_event_target(e),
	};

	(void)snprintf(policy, sizeof(policy), "%s/%s", e->policy_namespace, e->policy_name);
	return ig_report_table_add(&s->remarks, fields, e->decision, e->time_usec, 1);
}

static void add_loss(struct ig_report_summary *s, const struct ig_report_event *e)
{
	struct ig_report_loss *loss = &s->losses[s->n_losses];

	s->lost_events += e->count;
	s->lost_reports++;
	ig_report_series_add_lost(s->series, e->time_usec, e->count);
	if (s->n_losses == IG_ARRAY_SIZE(s->losses))
		return;
	*loss = (struct ig_report_loss){.time_usec = e->time_usec, .count = e->count};
	(void)snprintf(loss->reason, sizeof(loss->reason), "%s", e->reason);
	(void)snprintf(loss->run, sizeof(loss->run), "%s", e->run);
	(void)snprintf(loss->node, sizeof(loss->node), "%s", e->node);
	s->n_losses++;
}

static int add_attempt(struct ig_report_summary *s, const struct ig_report_event *e)
{
	int r = add_use(&s->uses, e);

	if (r == 0 && (e->decision == IG_AUDIT_DENY || e->decision == IG_AUDIT_ERROR))
		r = add_refusal(s, e);
	if (r == 0 && e->would_deny[0])
		r = add_remark(s, e);
	if (r < 0)
		return r;
	ig_report_tally_add(&s->attempts, e->decision, e->time_usec, 1);
	s->unrecorded += e->count > 1 ? e->count - 1 : 0;
	ig_report_series_add(s->series, e->time_usec, e->decision, 1);
	return 0;
}

int ig_report_summary_add(struct ig_report_summary *s, const struct ig_report_event *e)
{
	const char *fields[_IG_KIND_MAX] = {
		[IG_KIND_KIND] = e->kind_name, [IG_KIND_REASON] = e->reason};
	int r;

	if (e->time_usec < s->filter.since_usec)
		return ig_report_summary_add_known(s, e);
	if (!ig_report_wants(&s->filter, e))
		return 0;
	r = ig_report_table_add(&s->kinds, fields, e->decision, e->time_usec, 1);
	if (r < 0)
		return r;
	if (ig_report_event_is_attempt(e))
		return add_attempt(s, e);
	ig_report_tally_add(&s->others, e->decision, e->time_usec, 1);
	if (e->kind == IG_AUDIT_EVENTS_LOST)
		add_loss(s, e);
	s->agent_starts += e->kind == IG_AUDIT_AGENT_STARTED;
	return 0;
}

int ig_report_summary_add_known(struct ig_report_summary *s, const struct ig_report_event *e)
{
	if (!ig_report_event_is_attempt(e))
		return 0;
	s->known_records++;
	return add_use(&s->known, e);
}
