/*
 * MetadataPolicies, asked with what is known about a connection; see permit.h. Decides nothing
 * itself.
 */
#include "agent/permit.h"

#include <stdio.h>
#include <string.h>

#include "agent/options.h"
#include "agent/rate.h"
#include "base/clock.h"
#include "workload/cgroup.h"

#define FNV_PRIME 0x100000001b3ULL

/* The name that the pod's declaration gives the caller's container; NULL: its status does not say
 * yet (or it has none, as a cgroup that a manifest declares). */
static const char *container_name(const struct ig_gate_conn *conn, const struct ig_pod *pod)
{
	const char *id = conn->facts.in.container_id;

	if (!id[0])
		return NULL;
	for (size_t i = 0; i < pod->n_containers; i++)
		if (strcmp(pod->containers[i].id, id) == 0)
			return pod->containers[i].name;
	return NULL;
}

static struct ig_policy_verdict check(const struct ig_gate_conn *conn, const struct ig_pod *pod,
	bool on_behalf, struct ig_policy_request *request)
{
	request->pod = pod;
	if (!on_behalf) {
		request->container = pod ? container_name(conn, pod) : NULL;
		request->exe = conn->facts.exe;
		request->exe_deleted = conn->facts.exe_deleted;
	}
	return ig_policy_check(conn->agent->store, &conn->agent->options->policy, request);
}

struct ig_policy_verdict ig_permit_token(const struct ig_gate_conn *conn, const struct ig_pod *pod,
	bool on_behalf, const struct ig_identity *identity, const char *resource)
{
	struct ig_policy_request request = {
		.kind = IG_POLICY_REQUEST_TOKEN, .identity = identity, .resource = resource};

	return check(conn, pod, on_behalf, &request);
}

struct ig_policy_verdict ig_permit_document(
	const struct ig_gate_conn *conn, const struct ig_pod *pod, const char *path, bool is_open)
{
	struct ig_policy_request request = {
		.kind = IG_POLICY_REQUEST_DOCUMENT, .path = path, .path_default_allowed = is_open};

	return check(conn, pod, false, &request);
}

void ig_permit_note(const struct ig_policy_verdict *verdict, struct ig_policy_note *ret)
{
	*ret = (struct ig_policy_note){};
	if (verdict->would_deny)
		ret->would_deny = verdict->reason;
	if (!verdict->policy)
		return;
	/* names were checked against the same limit on load */
	(void)snprintf(ret->namespace, sizeof(ret->namespace), "%s", verdict->policy->namespace);
	(void)snprintf(ret->name, sizeof(ret->name), "%s", verdict->policy->name);
}

const struct ig_audit_policy *ig_permit_record(
	const struct ig_policy_note *note, struct ig_audit_policy *ret)
{
	*ret = (struct ig_audit_policy){
		.namespace = note->namespace, .name = note->name, .would_deny = note->would_deny};
	return note->name[0] ? ret : NULL;
}

bool ig_permit_is_host(const struct ig_gate_conn *conn, const struct ig_pod *pod)
{
	/* a pod that is not declared (yet) is none of the host's processes */
	return !pod && conn->is_host && conn->facts.cgroup_path && !conn->facts.in.uid[0];
}

bool ig_permit_within_rate(const struct ig_gate_conn *conn, const struct ig_pod *pod,
	const struct ig_policy_verdict *verdict)
{
	uint32_t per_sec = verdict->rate_per_sec;
	uint32_t burst = verdict->rate_burst ? verdict->rate_burst : per_sec;
	uint64_t key = ig_serve_workload_number(conn, pod);

	if (!per_sec)
		return true;
	key = (key ^ per_sec) * FNV_PRIME;
	key = (key ^ burst) * FNV_PRIME;
	return ig_rate_allow_at(
		conn->agent->policy_rate, key, per_sec, burst, ig_clock_mono_usec());
}
