/*
 * Filters of reports; see filter.h. Pure.
 */
#include "report/filter.h"

#include <string.h>

#include "base/parse.h"

bool ig_report_in_period(const struct ig_report_filter *filter, const struct ig_report_event *event)
{
	return event->time_usec >= filter->since_usec &&
	       (!filter->until_usec || event->time_usec < filter->until_usec);
}

static bool equals(const char *wanted, const char *value)
{
	return !wanted || strcmp(wanted, value) == 0;
}

static bool is_identity(const char *wanted, const struct ig_report_event *event)
{
	const char *slash;

	if (!wanted || strcmp(wanted, ig_report_event_identity(event)) == 0)
		return true;
	if (event->client_id[0] && ig_str_equal_nocase(wanted, event->client_id))
		return true;
	slash = strchr(wanted, '/');
	return slash && strcmp(slash + 1, event->identity_name) == 0 &&
	       strlen(event->identity_namespace) == (size_t)(slash - wanted) &&
	       strncmp(wanted, event->identity_namespace, (size_t)(slash - wanted)) == 0;
}

static size_t length_without_slashes(const char *s)
{
	size_t len = strlen(s);

	while (len > 0 && s[len - 1] == '/')
		len--;
	return len;
}

bool ig_report_same_resource(const char *a, const char *b)
{
	size_t len = length_without_slashes(a);

	return len == length_without_slashes(b) && ig_str_equal_nocase_n(a, b, len);
}

bool ig_report_wants(const struct ig_report_filter *filter, const struct ig_report_event *event)
{
	if (!ig_report_in_period(filter, event))
		return false;
	if (event->kind == IG_AUDIT_EVENTS_LOST)
		return true;
	if (filter->by_decision && filter->decision != event->decision)
		return false;
	return equals(filter->kind, event->kind_name) &&
	       equals(filter->namespace, ig_report_namespace(event)) &&
	       equals(filter->pod, ig_report_pod(event)) && is_identity(filter->identity, event) &&
	       (!filter->resource ||
		       (event->resource[0] &&
			       ig_report_same_resource(filter->resource, event->resource)));
}

const char *ig_report_namespace(const struct ig_report_event *event)
{
	return event->has_subject ? event->subject_namespace : event->pod_namespace;
}

const char *ig_report_pod(const struct ig_report_event *event)
{
	return event->has_subject ? event->subject_name : event->pod_name;
}

const char *ig_report_account(const struct ig_report_event *event)
{
	return event->has_subject ? event->subject_account : event->service_account;
}
