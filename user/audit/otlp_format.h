/*
 * Lines of the audit as an ExportLogsServiceRequest of OTLP, in its JSON form (protobuf's JSON
 * mapping: 64-bit integers are strings). Pure.
 */
#pragma once

#include <stddef.h>

#include "audit/line.h"
#include "base/buf.h"

struct ig_otlp_resource {
	const char *version; /* of the agent */
	const char *node;    /* may be "" */
	const char *run_id;
};

/* The record's text is the body; its members are attributes, under the names of the OpenTelemetry
 * conventions where there is one (k8s.pod.name), else as imdsgate.PATH. docs/audit.md has the
 * table. */
void ig_otlp_format(struct ig_audit_line *const *lines, size_t n,
	const struct ig_otlp_resource *resource, struct ig_buf *b);
