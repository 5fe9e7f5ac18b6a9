/*
 * From records to questions; see recorded.h. What a record does not say is never made up: it is
 * named as missing. Called by replay.c and suggest.c.
 */
#include "review/recorded.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "imds/document.h"
#include "imds/routes.h"
#include "report/filter.h"
#include "workload/cgroup.h"

static bool is_one_of(const char *word, const char *const *list)
{
	while (*list && strcmp(*list, word) != 0)
		list++;
	return *list;
}

/* Denials and failures that rules of the kind that manifests hold have nothing to do with, or that
 * came before anything was known. */
static bool is_other(const char *reason)
{
	static const char *const others[] = {"rate_limited", "rate_limited_by_policy",
		"unknown_cgroup", "unknown_pod", "pod_not_declared_yet", "rules_not_declared_yet",
		"out_of_memory", NULL};

	return is_one_of(reason, others);
}

enum ig_recorded_outcome ig_recorded_outcome(const struct ig_report_event *event)
{
	/* an error behind these is one of waiting for what is declared */
	static const char *const waiting[] = {
		"container_not_known", "unknown_workload", "not_bound", "not_found", NULL};

	switch (event->kind) {
	case IG_AUDIT_TOKEN_ISSUED:
	case IG_AUDIT_METADATA_FORWARDED: return IG_RECORDED_PERMITTED;
	case IG_AUDIT_TOKEN_DENIED:
	case IG_AUDIT_TOKEN_FAILED:
	case IG_AUDIT_METADATA_DENIED: break;
	default: return IG_RECORDED_OTHER;
	}
	if (is_other(event->reason))
		return IG_RECORDED_OTHER;
	if (event->decision != IG_AUDIT_ERROR)
		return IG_RECORDED_DENIED;
	return is_one_of(event->reason, waiting) ? IG_RECORDED_OTHER : IG_RECORDED_PERMITTED;
}

/* ---- who ------------------------------------------------------------------------------------- */

static const struct ig_pod *find_pod(
	const struct ig_store *store, const struct ig_report_event *event)
{
	const char *name = ig_report_pod(event);

	return name[0] ? ig_store_pod_by_name(store, ig_report_namespace(event), name) : NULL;
}

const char *ig_recorded_container(const struct ig_store *store, const struct ig_report_event *event)
{
	const struct ig_pod *pod = event->has_subject ? NULL : find_pod(store, event);

	for (size_t i = 0; pod && event->container_id[0] && i < pod->n_containers; i++)
		if (strcmp(pod->containers[i].id, event->container_id) == 0)
			return pod->containers[i].name;
	return NULL;
}

static void make_pod(const struct ig_report_event *event, struct ig_pod *ret)
{
	/* read only, whatever the type says: see ig_pod in objects/object.h */
	*ret = (struct ig_pod){.namespace = (char *)ig_report_namespace(event),
		.name = (char *)ig_report_pod(event),
		.uid = (char *)"",
		.cgroup = (char *)"",
		.service_account = (char *)ig_report_account(event),
		.host_network = !event->has_subject && event->host_network};
}

/* A process in the host's network that is in no pod's cgroup. */
static bool is_host(const struct ig_report_event *event)
{
	struct ig_cgroup_pod in;

	return !event->has_subject && !event->pod_name[0] && event->host_network &&
	       event->cgroup[0] && ig_cgroup_parse_pod(event->cgroup, &in) < 0;
}

static void read_caller(
	const struct ig_store *store, const struct ig_report_event *event, struct ig_recorded *r)
{
	r->is_host = is_host(event);
	r->declared = find_pod(store, event);
	if (r->declared) {
		r->request.pod = r->declared;
	} else if (ig_report_pod(event)[0]) {
		make_pod(event, &r->made_pod);
		r->request.pod = &r->made_pod;
	} else if (!r->is_host) {
		r->missing = "pod";
	}
	if (event->has_subject) /* neither is known of the pod that is asked for */
		return;
	r->request.container = ig_recorded_container(store, event);
	r->request.exe = event->exe[0] ? event->exe : NULL;
	r->request.exe_deleted = event->exe_deleted;
	if (ig_report_text_is_cut(event->exe))
		r->missing = "executable";
}

/* ---- what ------------------------------------------------------------------------------------ */

static void read_selector(const struct ig_report_event *event, struct ig_recorded *r)
{
	static const struct {
		const char *name;
		enum ig_selector_kind kind;
	} kinds[] = {{"client_id", IG_SELECTOR_CLIENT_ID}, {"object_id", IG_SELECTOR_OBJECT_ID},
		{"msi_res_id", IG_SELECTOR_RESOURCE_ID}};

	for (size_t i = 0; i < IG_ARRAY_SIZE(kinds); i++)
		if (strcmp(event->selector_kind, kinds[i].name) == 0)
			r->selector.kind = kinds[i].kind;
	if (ig_report_text_is_cut(event->selector_value) ||
		strlen(event->selector_value) > IG_SELECTOR_BYTES)
		r->missing = "selector";
	else
		(void)snprintf(
			r->selector.value, sizeof(r->selector.value), "%s", event->selector_value);
}

static void read_token(const struct ig_report_event *event, struct ig_recorded *r)
{
	r->request.kind = IG_POLICY_REQUEST_TOKEN;
	r->request.resource = event->resource;
	if (!event->resource[0] || ig_report_text_is_cut(event->resource))
		r->missing = "resource";
	read_selector(event, r);
	if (!event->identity_name[0])
		return;
	r->made_identity = (struct ig_identity){.namespace = (char *)event->identity_namespace,
		.name = (char *)event->identity_name,
		.client_id = (char *)event->client_id};
	r->request.identity = &r->made_identity;
}

static void read_document(const struct ig_report_event *event, struct ig_recorded *r)
{
	struct ig_imds_target target = ig_imds_route(event->path);

	r->request.kind = IG_POLICY_REQUEST_DOCUMENT;
	r->request.path = r->path;
	r->request.path_default_allowed =
		target.route == IG_IMDS_ROUTE_INSTANCE || target.route == IG_IMDS_ROUTE_INFO;
	if (ig_report_text_is_cut(event->path) || target.route == IG_IMDS_ROUTE_NONE ||
		target.route == IG_IMDS_ROUTE_INVALID ||
		ig_imds_document_path(&target, r->path) < 0)
		r->missing = "path";
}

void ig_recorded_read(
	const struct ig_store *store, const struct ig_report_event *event, struct ig_recorded *ret)
{
	*ret = (struct ig_recorded){};
	read_caller(store, event, ret);
	if (event->kind == IG_AUDIT_METADATA_FORWARDED || event->kind == IG_AUDIT_METADATA_DENIED)
		read_document(event, ret);
	else
		read_token(event, ret);
}
