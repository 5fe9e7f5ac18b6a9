/*
 * One audit record as the reports need it: the members of deploy/schema/audit-v1.schema.json that
 * say who asked for what and what came of it.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "audit/record.h"

/* What is missing is "" or 0. Texts are borrowed from the tree. A log may have been written by
 * anybody: no text is more than text. */
struct ig_report_event {
	uint64_t time_usec;
	enum ig_audit_kind kind; /* _IG_AUDIT_KIND_MAX: one that this version does not know */
	const char *kind_name;
	enum ig_audit_decision decision;
	const char *reason, *message, *run, *node;
	const char *pod_namespace, *pod_name, *pod_uid, *container_id, *service_account;
	bool host_network;
	const char *exe, *comm;
	bool exe_deleted;
	const char *cgroup;
	const char *subject_namespace, *subject_name, *subject_account; /* on_behalf_of */
	bool has_subject;
	const char *endpoint, *destination;
	const char *route, *path, *resource;
	const char *selector_kind, *selector_value;
	bool has_identity;
	const char *identity_namespace, *identity_name, *client_id, *rule;
	const char *policy_namespace, *policy_name, *would_deny;
	uint64_t count;
};

/* 0; or -EBADMSG with a literal that says why in *reterr_why. */
int ig_report_event_read(
	const json_t *record, struct ig_report_event *ret, const char **reterr_why);

/* What was wanted: the resource, the path, or where the connection went. "" for other events. */
const char *ig_report_event_target(const struct ig_report_event *event);
/* Whose token it is: a name, a client id, "(node)" for the node's own identities, or "". */
const char *ig_report_event_identity(const struct ig_report_event *event);
/* Is it an answer to a request for a token or a document, or a decision about a connection? */
bool ig_report_event_is_attempt(const struct ig_report_event *event);

/* Of "allow", "deny", "error" and "none". 0 or -EINVAL. */
int ig_report_decision_parse(const char *name, enum ig_audit_decision *ret);
/* _IG_AUDIT_KIND_MAX when there is none of that name. */
enum ig_audit_kind ig_report_kind_parse(const char *name);

/* The agent cuts a text that is too long, and marks it. */
bool ig_report_text_is_cut(const char *text);
