/*
 * The table of resources; see resources.h. What is not in a table of fields never takes memory.
 *
 * Secrets must never be in it, nor the annotation imdsgate.dev/cgroup of pods: whoever may create
 * pods could claim another workload's cgroup.
 */
#include "kube/resources.h"

#define NAMES	 IG_KUBE_BELOW("[]", IG_KUBE_ALL("name"))
#define STATUSES IG_KUBE_BELOW("[]", IG_KUBE_ALL("name"), IG_KUBE_ALL("containerID"))
static const struct ig_kube_pick pod_fields[] = {
	IG_KUBE_BELOW("metadata", IG_KUBE_ALL("labels"),
		IG_KUBE_BELOW("annotations", IG_KUBE_ALL("kubernetes.io/config.mirror"))),
	IG_KUBE_BELOW("spec", IG_KUBE_ALL("hostNetwork"), IG_KUBE_ALL("serviceAccountName"),
		IG_KUBE_BELOW("containers", NAMES), IG_KUBE_BELOW("initContainers", NAMES),
		IG_KUBE_BELOW("ephemeralContainers", NAMES)),
	IG_KUBE_BELOW("status", IG_KUBE_ALL("phase"), IG_KUBE_BELOW("containerStatuses", STATUSES),
		IG_KUBE_BELOW("initContainerStatuses", STATUSES),
		IG_KUBE_BELOW("ephemeralContainerStatuses", STATUSES)),
	{},
};

static const struct ig_kube_pick account_fields[] = {
	IG_KUBE_BELOW(
		"metadata", IG_KUBE_BELOW("annotations", IG_KUBE_ALL("azure.workload.identity/*"))),
	{},
};

static const struct ig_kube_pick identity_fields[] = {
	IG_KUBE_BELOW(
		"metadata", IG_KUBE_BELOW("annotations", IG_KUBE_ALL("aadpodidentity.k8s.io/*"),
				    IG_KUBE_ALL("imdsgate.dev/*"))),
	IG_KUBE_ALL("spec"),
	{},
};

static const struct ig_kube_pick policy_fields[] = {
	IG_KUBE_BELOW("metadata", IG_KUBE_ALL("generation")),
	IG_KUBE_ALL("spec"),
	IG_KUBE_BELOW("status", IG_KUBE_ALL("conditions")),
	{},
};

#define AADPODIDENTITY "aadpodidentity.k8s.io/v1"
#define IMDSGATE       "imdsgate.dev/v1alpha1"

const struct ig_kube_resource ig_kube_resources[IG_KUBE_RESOURCES] = {
	{IG_OBJECT_POD, "v1", "/api/v1/pods", .of_node = true, .from_cache = true, .last = true,
		.fields = pod_fields},
	{IG_OBJECT_SERVICE_ACCOUNT, "v1", "/api/v1/serviceaccounts", .metadata_only = true,
		.from_cache = true, .fields = account_fields},
	{IG_OBJECT_IDENTITY, AADPODIDENTITY, "/apis/" AADPODIDENTITY "/azureidentities",
		.fields = identity_fields},
	{IG_OBJECT_BINDING, AADPODIDENTITY, "/apis/" AADPODIDENTITY "/azureidentitybindings",
		.fields = identity_fields},
	{IG_OBJECT_EXCEPTION, AADPODIDENTITY, "/apis/" AADPODIDENTITY "/azurepodidentityexceptions",
		.fields = identity_fields},
	{IG_OBJECT_METADATA_POLICY, IMDSGATE, "/apis/" IMDSGATE "/metadatapolicies",
		.fields = policy_fields},
};
