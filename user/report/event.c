/*
 * From a record's tree to its facts; see event.h. Whatever has another shape than the schema says
 * is as good as missing, except for what a record cannot be counted without. Called by reader.c.
 */
#include "report/event.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "report/when.h"

#define CUT_MARK "\xe2\x80\xa6"

static const char *const decisions[_IG_AUDIT_DECISION_MAX] = {
	[IG_AUDIT_DECISION_NONE] = "none",
	[IG_AUDIT_ALLOW] = "allow",
	[IG_AUDIT_DENY] = "deny",
	[IG_AUDIT_ERROR] = "error",
};

static const char *text(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s ? s : "";
}

static bool flag(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}

static void read_caller(const json_t *record, struct ig_report_event *e)
{
	const json_t *pod = json_object_get(record, "pod");
	const json_t *process = json_object_get(record, "process");
	const json_t *subject = json_object_get(record, "on_behalf_of");

	e->pod_namespace = text(pod, "namespace");
	e->pod_name = text(pod, "name");
	e->pod_uid = text(pod, "uid");
	e->container_id = text(pod, "container_id");
	e->service_account = text(pod, "service_account");
	e->host_network = flag(pod, "host_network");
	e->exe = text(process, "exe");
	e->comm = text(process, "comm");
	e->exe_deleted = flag(process, "exe_deleted");
	e->cgroup = text(json_object_get(record, "cgroup"), "path");
	e->has_subject = json_is_object(subject);
	e->subject_namespace = text(subject, "namespace");
	e->subject_name = text(subject, "name");
	e->subject_account = text(subject, "service_account");
}

static void read_request(const json_t *record, struct ig_report_event *e)
{
	const json_t *connection = json_object_get(record, "connection");
	const json_t *request = json_object_get(record, "request");
	const json_t *identity = json_object_get(record, "identity");
	const json_t *policy = json_object_get(record, "policy");

	e->endpoint = text(connection, "endpoint");
	e->destination = text(connection, "destination");
	e->route = text(request, "route");
	e->path = text(request, "path");
	e->resource = text(request, "resource");
	e->selector_kind = text(request, "selector_kind");
	e->selector_value = text(request, "selector_value");
	e->has_identity = json_is_object(identity);
	e->identity_namespace = text(identity, "namespace");
	e->identity_name = text(identity, "name");
	e->client_id = text(identity, "client_id");
	e->rule = text(identity, "binding");
	e->policy_namespace = text(policy, "namespace");
	e->policy_name = text(policy, "name");
	e->would_deny = text(policy, "would_deny");
}

static uint64_t count_of(const json_t *record)
{
	json_int_t n = json_integer_value(json_object_get(record, "count"));

	return n > 0 ? (uint64_t)n : 0;
}

int ig_report_event_read(const json_t *record, struct ig_report_event *ret, const char **reterr_why)
{
	struct ig_report_event e = {.reason = text(record, "reason"),
		.message = text(record, "message"),
		.run = text(record, "run"),
		.node = text(record, "node"),
		.kind_name = text(record, "kind"),
		.count = count_of(record)};
	const json_t *decision = json_object_get(record, "decision");

	if (!json_is_object(record))
		*reterr_why = "not a JSON object";
	else if (json_integer_value(json_object_get(record, "v")) != IG_AUDIT_SCHEMA_VERSION)
		*reterr_why = "not a record of version 1 of the schema";
	else if (!e.kind_name[0])
		*reterr_why = "a record without a kind";
	else if (ig_when_parse(text(record, "time"), &e.time_usec) < 0)
		*reterr_why = "a record without a valid time";
	else if (decision && ig_report_decision_parse(text(record, "decision"), &e.decision) < 0)
		*reterr_why = "a record with an unknown decision";
	else
		*reterr_why = NULL;
	if (*reterr_why)
		return -EBADMSG;
	e.kind = ig_report_kind_parse(e.kind_name);
	read_caller(record, &e);
	read_request(record, &e);
	*ret = e;
	return 0;
}

const char *ig_report_event_target(const struct ig_report_event *event)
{
	if (event->resource[0])
		return event->resource;
	return event->path[0] ? event->path : event->destination;
}

const char *ig_report_event_identity(const struct ig_report_event *event)
{
	if (event->identity_name[0])
		return event->identity_name;
	if (event->client_id[0])
		return event->client_id;
	return event->has_identity ? "(node)" : "";
}

bool ig_report_event_is_attempt(const struct ig_report_event *event)
{
	switch (event->kind) {
	case IG_AUDIT_TOKEN_ISSUED:
	case IG_AUDIT_TOKEN_DENIED:
	case IG_AUDIT_TOKEN_FAILED:
	case IG_AUDIT_REQUEST_REJECTED:
	case IG_AUDIT_METADATA_FORWARDED:
	case IG_AUDIT_METADATA_DENIED:
	case IG_AUDIT_CONNECT_PASSED:
	case IG_AUDIT_CONNECT_DENIED:
	case IG_AUDIT_CONNECT_REFUSED:
	case IG_AUDIT_CONNECT_UNATTRIBUTED: return true;
	case IG_AUDIT_LISTENER_OPENED:
	case IG_AUDIT_LISTENER_CLOSED:
	case IG_AUDIT_POLICY_CHANGED:
	case IG_AUDIT_POLICY_REJECTED:
	case IG_AUDIT_AGENT_STARTED:
	case IG_AUDIT_AGENT_STOPPED:
	case IG_AUDIT_AGENT_DETACHED:
	case IG_AUDIT_EVENTS_LOST: return false;
	default: return event->decision != IG_AUDIT_DECISION_NONE; /* a later version's */
	}
}

int ig_report_decision_parse(const char *name, enum ig_audit_decision *ret)
{
	for (unsigned int i = 0; i < _IG_AUDIT_DECISION_MAX; i++)
		if (strcmp(decisions[i], name) == 0) {
			*ret = (enum ig_audit_decision)i;
			return 0;
		}
	return -EINVAL;
}

enum ig_audit_kind ig_report_kind_parse(const char *name)
{
	unsigned int i = 0;

	while (i < _IG_AUDIT_KIND_MAX &&
		strcmp(ig_audit_kind_name((enum ig_audit_kind)i), name) != 0)
		i++;
	return (enum ig_audit_kind)i;
}

bool ig_report_text_is_cut(const char *s)
{
	size_t len = strlen(s), mark = strlen(CUT_MARK);

	return len >= mark && strcmp(s + len - mark, CUT_MARK) == 0;
}
