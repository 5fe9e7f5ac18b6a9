/*
 * The status of MetadataPolicies: tells their authors whether a policy was accepted, in the
 * condition "Accepted".
 *
 * Every node's agent comes to the same verdict, so each waits a random while and writes only if
 * nobody else has by then; a write names the version that it is based on, so that of several at the
 * same time one succeeds. Losing one is no harm: the next change of the object is looked at again.
 */
#pragma once

#include <jansson.h>

struct event_base;
struct ig_kube_client;
struct ig_kube_policy_status;

/* client outlives the result. */
int ig_kube_policy_status_new(
	struct event_base *base, struct ig_kube_client *client, struct ig_kube_policy_status **ret);
struct ig_kube_policy_status *ig_kube_policy_status_free(struct ig_kube_policy_status *status);

/* `policy` is the object as the API server sent it: metadata (namespace, name, generation,
 * resourceVersion) and status.conditions are looked at. refusal: NULL when it was accepted, else
 * why not. -ENOMEM, -EINVAL without the metadata: then its status is left alone. */
int ig_kube_policy_status_report(
	struct ig_kube_policy_status *status, const json_t *policy, const char *refusal);

/* The policy is gone. */
void ig_kube_policy_status_forget(
	struct ig_kube_policy_status *status, const char *ns, const char *name);
