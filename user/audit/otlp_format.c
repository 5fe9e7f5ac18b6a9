/*
 * OTLP requests; see otlp_format.h.
 */
#include "audit/otlp_format.h"

#include <inttypes.h>
#include <jansson.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"

#define PATH_BYTES 64

enum { SEVERITY_INFO = 9, SEVERITY_WARN = 13, SEVERITY_ERROR = 17 };

/* Members of a record that OpenTelemetry's conventions have a name for. */
static const struct {
	const char *path, *attribute;
} conventions[] = {
	{"pod.namespace", "k8s.namespace.name"},
	{"pod.name", "k8s.pod.name"},
	{"pod.uid", "k8s.pod.uid"},
	{"pod.container_id", "container.id"},
	{"process.pid", "process.pid"},
	{"process.exe", "process.executable.path"},
	{"process.uid", "process.real_user.id"},
	{"request.method", "http.request.method"},
	{"request.path", "url.path"},
	{"request.route", "http.route"},
	{"request.status", "http.response.status_code"},
	{"request.user_agent", "user_agent.original"},
	{"connection.protocol", "network.transport"},
};

/* These are fields of the LogRecord or of its resource. */
static const char *const elsewhere[] = {"v", "time", "kind", "run", "node"};

static void put_key(struct ig_buf *b, const char *path)
{
	const char *name = NULL;

	for (size_t i = 0; !name && i < IG_ARRAY_SIZE(conventions); i++)
		if (strcmp(conventions[i].path, path) == 0)
			name = conventions[i].attribute;
	if (b->len && b->data[b->len - 1] == '}')
		ig_buf_putc(b, ',');
	ig_buf_printf(
		b, "{\"key\":\"%s%s\",\"value\":{", name ? "" : "imdsgate.", name ? name : path);
}

static void put_string(struct ig_buf *b, const char *path, const char *value)
{
	put_key(b, path);
	ig_buf_json_member_str(b, "stringValue", value);
	ig_buf_puts(b, "}}");
}

static void put_attribute(struct ig_buf *b, const char *path, const json_t *value)
{
	if (json_is_string(value)) {
		put_string(b, path, json_string_value(value));
	} else if (json_is_integer(value)) {
		put_key(b, path);
		ig_buf_printf(b, "\"intValue\":\"%" JSON_INTEGER_FORMAT "\"}}",
			json_integer_value(value));
	} else if (json_is_boolean(value)) {
		put_key(b, path);
		ig_buf_json_member_bool(b, "boolValue", json_is_true(value));
		ig_buf_puts(b, "}}");
	}
}

static bool is_elsewhere(const char *name)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(elsewhere); i++)
		if (strcmp(elsewhere[i], name) == 0)
			return true;
	return false;
}

/* A record is an object of values and of objects of values. */
static void put_attributes(struct ig_buf *b, const json_t *record)
{
	const char *name, *inner;
	char path[PATH_BYTES];
	json_t *value, *part;

	json_object_foreach ((json_t *)record, name, value) {
		if (is_elsewhere(name))
			continue;
		put_attribute(b, name, value);
		json_object_foreach (value, inner, part) {
			(void)snprintf(path, sizeof(path), "%s.%s", name, inner);
			put_attribute(b, path, part);
		}
	}
}

static void put_severity(struct ig_buf *b, const struct ig_audit_line *line)
{
	int number = SEVERITY_INFO;

	if (line->decision == IG_AUDIT_ERROR)
		number = SEVERITY_ERROR;
	else if (line->decision == IG_AUDIT_DENY || line->kind == IG_AUDIT_EVENTS_LOST ||
		 line->kind == IG_AUDIT_POLICY_REJECTED)
		number = SEVERITY_WARN;
	ig_buf_printf(b, ",\"severityNumber\":%d,\"severityText\":\"%s\"", number,
		number == SEVERITY_ERROR  ? "ERROR"
		: number == SEVERITY_WARN ? "WARN"
					  : "INFO");
}

static void put_record(struct ig_buf *b, const struct ig_audit_line *line)
{
	_cleanup_(json_decrefp) json_t *record = ig_json_load(line->text, line->len, 0, NULL);

	ig_buf_printf(b,
		"{\"timeUnixNano\":\"%" PRIu64 "000\",\"observedTimeUnixNano\":\"%" PRIu64 "000\"",
		line->time_usec, line->time_usec);
	put_severity(b, line);
	ig_buf_printf(b, ",\"eventName\":\"imdsgate.%s\",\"body\":{\"stringValue\":",
		ig_audit_kind_name(line->kind));
	ig_buf_json_string(b, line->text, line->len - 1);
	ig_buf_puts(b, "},\"attributes\":[");
	put_attributes(b, record);
	ig_buf_puts(b, "]}");
}

void ig_otlp_format(struct ig_audit_line *const *lines, size_t n,
	const struct ig_otlp_resource *resource, struct ig_buf *b)
{
	ig_buf_puts(b,
		"{\"resourceLogs\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\",\"value\":{\"stringValue\":\"imdsgate\"}},{\"key\":\"service.version\",\"value\":{");
	ig_buf_json_member_str(b, "stringValue", resource->version);
	ig_buf_puts(b, "}},{\"key\":\"service.instance.id\",\"value\":{");
	ig_buf_json_member_str(b, "stringValue", resource->run_id);
	ig_buf_puts(b, "}}");
	if (resource->node[0]) {
		ig_buf_puts(b, ",{\"key\":\"host.name\",\"value\":{");
		ig_buf_json_member_str(b, "stringValue", resource->node);
		ig_buf_puts(b, "}}");
	}
	ig_buf_printf(b,
		"]},\"scopeLogs\":[{\"scope\":{\"name\":\"imdsgate.audit\",\"version\":\"%d\"},\"logRecords\":[",
		IG_AUDIT_SCHEMA_VERSION);
	for (size_t i = 0; i < n; i++) {
		if (i)
			ig_buf_putc(b, ',');
		put_record(b, lines[i]);
	}
	ig_buf_puts(b, "]}]}]}");
}
