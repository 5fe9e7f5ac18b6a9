/*
 * What is declared; see declared.h. The store and its feeders belong to the agent, which frees
 * them.
 */
#include "agent/declared.h"

#include <event2/event.h>

#include <imdsgate/limits.h>

#include "agent/agent.h"
#include "agent/kubernetes.h"
#include "agent/waiting.h"
#include "agent/workloads.h"
#include "base/log.h"
#include "objects/manifest.h"
#include "objects/store.h"

static void on_manifest(const struct ig_manifest_report *report, void *userdata)
{
	char text[IG_ERR_FILE_BYTES + IG_ERR_MESSAGE_BYTES + 32];
	struct ig_agent *agent = userdata;

	if (report->error == 0) {
		ig_log_info("manifest applied", IG_KV_STR(FILE, report->file),
			IG_KV_U64(COUNT, report->objects));
		return;
	}
	ig_err_format(report->detail, text, sizeof(text));
	(void)ig_log_errno(report->error, "manifest refused, what it said before stays in force",
		IG_KV_STR(FILE, report->file), IG_KV_STR(ERROR, text));
	ig_record_agent(agent, IG_AUDIT_POLICY_REJECTED, "manifest", text, 0);
}

static size_t count_objects(const struct ig_store *store)
{
	size_t n = 0;

	for (int kind = 0; kind < _IG_OBJECT_KIND_MAX; kind++)
		n += ig_store_count(store, (enum ig_object_kind)kind);
	return n;
}

void ig_declared_changed(struct ig_agent *agent)
{
	int r;

	/* during start-up the rest is not there yet and reads the store by itself */
	if (agent->serve)
		ig_serve_policy_changed(agent->serve);
	if (agent->gate)
		ig_gate_declared(agent->gate);
	if (agent->waiting)
		ig_waiting_wake(agent->waiting);
	if (agent->workloads) {
		r = ig_workloads_update_changed(agent->workloads);
		if (r < 0)
			(void)ig_log_errno(r, "cannot follow the changed workloads");
	}
	if (agent->wants_ready)
		event_active(agent->wants_ready, 0, 0);
}

/* When rules changed last; that pods come and go is not worth a record. */
static uint64_t rules_epoch(const struct ig_store *store)
{
	uint64_t last = 0;

	for (int kind = 0; kind < _IG_OBJECT_KIND_MAX; kind++) {
		uint64_t epoch = ig_store_kind_epoch(store, (enum ig_object_kind)kind);

		if (kind != IG_OBJECT_POD && epoch > last)
			last = epoch;
	}
	return last;
}

static void on_policy_changed(uint64_t epoch, void *userdata)
{
	struct ig_agent *agent = userdata;

	if (rules_epoch(agent->store) > agent->rules_epoch || !agent->kubernetes)
		ig_record_agent(
			agent, IG_AUDIT_POLICY_CHANGED, NULL, NULL, count_objects(agent->store));
	agent->rules_epoch = epoch;
	ig_declared_changed(agent);
	ig_kubernetes_store_changed(agent->kubernetes);
	if (agent->manifests) /* else it is being read for the first time */
		ig_manifest_dir_store_changed(agent->manifests);
}

bool ig_declared_is_complete(const struct ig_agent *agent)
{
	return ig_manifest_dir_bad_files(agent->manifests) == 0 &&
	       ig_kubernetes_synced(agent->kubernetes);
}

int ig_declared_start(struct ig_agent *agent, struct ig_err *reterr_err)
{
	const struct ig_manifest_source source = {.path = agent->options->manifests,
		.policy_namespace = agent->options->policy.policy_namespace};
	int r = ig_store_new(&agent->store);

	if (r < 0)
		return r;
	ig_store_set_listener(agent->store, on_policy_changed, agent);
	return ig_manifest_dir_new(agent->base, &source, agent->store, on_manifest, agent,
		&agent->manifests, reterr_err);
}
