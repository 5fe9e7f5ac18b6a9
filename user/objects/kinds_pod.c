/*
 * The kinds of core v1, Pod and ServiceAccount; see kinds.h. Others own these kinds, so fields that
 * are not used are not looked at, whatever they are.
 *
 * What a pod's author writes must never name another pod's processes: a pod is found by the uid
 * that the API server gave it, and what could stand in for that uid counts only where it is safe
 * (see pod_uid()). Called by validate.c.
 */
#include "objects/kinds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "objects/names.h"
#include "workload/cgroup.h"

#define ANNOTATION_CGROUP    "imdsgate.dev/cgroup"
#define ANNOTATION_MIRROR    "kubernetes.io/config.mirror"
#define ANNOTATION_CLIENT_ID "azure.workload.identity/client-id"
#define ANNOTATION_TENANT_ID "azure.workload.identity/tenant-id"

/* Whoever may create pods here has the cluster. */
#define SYSTEM_NAMESPACE "kube-system"

#define HASH_DIGITS 32
#define ID_DIGITS   64

static const struct ig_field pod_fields[] = {
	{.name = "hostNetwork", .shape = IG_FIELD_BOOLEAN},
	{.name = "serviceAccountName", .shape = IG_FIELD_STRING},
	{.name = "initContainers", .shape = IG_FIELD_MAPPINGS, .nullable = true},
	{.name = "containers", .shape = IG_FIELD_MAPPINGS, .nullable = true},
	{.name = "ephemeralContainers", .shape = IG_FIELD_MAPPINGS, .nullable = true},
};

static const struct ig_field status_fields[] = {
	{.name = "phase", .shape = IG_FIELD_STRING},
	{.name = "initContainerStatuses", .shape = IG_FIELD_MAPPINGS, .nullable = true},
	{.name = "containerStatuses", .shape = IG_FIELD_MAPPINGS, .nullable = true},
	{.name = "ephemeralContainerStatuses", .shape = IG_FIELD_MAPPINGS, .nullable = true},
};

static const struct ig_field container_fields[] = {
	{.name = "name", .shape = IG_FIELD_STRING},
};

static const struct ig_field container_status_fields[] = {
	{.name = "name", .shape = IG_FIELD_STRING},
	{.name = "containerID", .shape = IG_FIELD_STRING},
};

/* A list of containers and where the kubelet says what became of them. */
static const struct container_list {
	const char *key;
	const char *where;
	const char *status_key;
	const char *status_where;
} container_lists[] = {
	{"initContainers", "spec.initContainers", "initContainerStatuses",
		"status.initContainerStatuses"},
	{"containers", "spec.containers", "containerStatuses", "status.containerStatuses"},
	{"ephemeralContainers", "spec.ephemeralContainers", "ephemeralContainerStatuses",
		"status.ephemeralContainerStatuses"},
};

static bool is_hex(const char *s, size_t digits)
{
	size_t len = 0;

	while (ig_parse_hex_digit(s[len]) >= 0)
		len++;
	return len == digits && s[len] == '\0';
}

/* A static pod runs under a uid that the kubelet made up (a hash in 32 hexadecimal digits); the
 * API server knows it as a mirror pod with a uid of its own and the hash in an annotation. That
 * annotation proves nothing by itself: everybody who may create pods may write it and an owner
 * reference to the node, too (only nodes are held to it by NodeRestriction), and a finalizer keeps
 * the kubelet from clearing such a pod away. So it counts in kube-system only; and as the API
 * server's own uids have the form 8-4-4-4-12, a hash is never another pod's uid. Elsewhere a mirror
 * pod keeps its uid from the API server, under which nothing runs. */
static int mirror_uid(const struct ig_input *in, const char **uid)
{
	const char *hash = NULL;
	int r;

	if (in->local || strcmp(in->namespace, SYSTEM_NAMESPACE) != 0)
		return 0;
	r = ig_kind_annotation(in, ANNOTATION_MIRROR, &hash);
	if (r == 0 && hash && is_hex(hash, HASH_DIGITS))
		*uid = hash;
	return r;
}

static int pod_uid(const struct ig_input *in, char **ret)
{
	const char *uid = ig_fields_peek(&in->meta, "uid");
	int r;

	if (!uid && !in->local)
		return ig_fields_fail(&in->meta, NULL, "missing field \"uid\"");
	if (uid && !ig_name_is_pod_uid(uid))
		return ig_fields_fail(&in->meta, "uid",
			"expected a GUID or the 32 hexadecimal digits of a static pod, found \"%s\"",
			uid);
	r = mirror_uid(in, &uid);
	if (r == 0)
		r = ig_kind_text(in, uid ? uid : "", ret);
	if (r < 0)
		return r;
	ig_str_lower(*ret);
	return 0;
}

static int pod_cgroup(const struct ig_input *in, char **ret)
{
	const char *path = NULL;
	int r = in->local ? ig_kind_annotation(in, ANNOTATION_CGROUP, &path) : 0;

	if (r < 0)
		return r;
	if (path && (ig_cgroup_path_check(path) < 0 || strcmp(path, "/") == 0))
		return ig_fields_fail(&in->annotations, ANNOTATION_CGROUP,
			"expected an absolute path below the cgroup root without empty, \".\" or \"..\" parts, found \"%s\"",
			path);
	return ig_kind_text(in, path ? path : "", ret);
}

/* ---- its containers ---- */

/* The part of RUNTIME://ID that names the container's cgroup; NULL when it is none that is known.
 */
static const char *runtime_id(const char *text)
{
	static const char *const runtimes[] = {"containerd://", "cri-o://", "docker://"};

	for (size_t i = 0; text && i < IG_ARRAY_SIZE(runtimes); i++) {
		size_t len = strlen(runtimes[i]);

		if (strncmp(text, runtimes[i], len) != 0)
			continue;
		text += len;
		return is_hex(text, ID_DIGITS) ? text : NULL;
	}
	return NULL;
}

/* Of the container `name`, borrowed; "" when it is not known. */
static int container_id(const struct ig_fields *status, const struct container_list *list,
	const char *name, const char **ret)
{
	*ret = "";
	if (!status->node)
		return 0;
	for (size_t i = 0; i < ig_fields_count(status, list->status_key); i++) {
		const struct ig_fields item =
			ig_fields_item(status, list->status_key, list->status_where, i);
		const char *id, *of;
		int r = IG_FIELDS_CHECK(&item, container_status_fields, false);

		if (r < 0)
			return r;
		of = ig_fields_peek(&item, "name");
		id = runtime_id(ig_fields_peek(&item, "containerID"));
		if (of && id && strcmp(of, name) == 0)
			*ret = id;
	}
	return 0;
}

static int check_container(
	const struct ig_pod *pod, const struct ig_fields *item, const char **ret_name)
{
	int r = IG_FIELDS_CHECK(item, container_fields, false);

	if (r < 0)
		return r;
	*ret_name = ig_fields_peek(item, "name");
	if (!*ret_name)
		return ig_fields_fail(item, NULL, "missing field \"name\"");
	if (!ig_name_is_dns_label(*ret_name))
		return ig_fields_fail(item, "name",
			"expected lower-case letters, digits and '-', at most 63, found \"%s\"",
			*ret_name);
	for (size_t i = 0; i < pod->n_containers; i++)
		if (strcmp(pod->containers[i].name, *ret_name) == 0)
			return ig_fields_fail(
				item, "name", "there are two containers \"%s\"", *ret_name);
	return 0;
}

/* pod->containers has room. */
static int add_container(const struct ig_input *in, const struct ig_fields *status,
	const struct container_list *list, size_t i, struct ig_pod *pod)
{
	const struct ig_fields item = ig_fields_item(&in->spec, list->key, list->where, i);
	struct ig_container *container = &pod->containers[pod->n_containers];
	const char *name = NULL, *id = NULL;
	int r = check_container(pod, &item, &name);

	if (r == 0)
		r = container_id(status, list, name, &id);
	if (r < 0)
		return r;
	pod->n_containers++;
	r = ig_kind_text(in, name, &container->name);
	if (r == 0)
		r = ig_kind_text(in, id, &container->id);
	if (r < 0)
		return r;
	ig_str_lower(container->id);
	return 0;
}

static int pod_containers(
	const struct ig_input *in, const struct ig_fields *status, struct ig_pod *pod)
{
	size_t total = 0;

	for (size_t l = 0; l < IG_ARRAY_SIZE(container_lists); l++)
		total += ig_fields_count(&in->spec, container_lists[l].key);
	if (total > IG_POD_CONTAINERS_MAX)
		return ig_fields_fail(&in->spec, NULL,
			"%zu containers are more than the %d allowed", total,
			IG_POD_CONTAINERS_MAX);
	pod->containers = calloc(total + 1, sizeof(*pod->containers));
	if (!pod->containers)
		return ig_err_set(in->top.err, -ENOMEM, "out of memory");
	for (size_t l = 0; l < IG_ARRAY_SIZE(container_lists); l++) {
		const struct container_list *list = &container_lists[l];

		for (size_t i = 0; i < ig_fields_count(&in->spec, list->key); i++) {
			int r = add_container(in, status, list, i, pod);

			if (r < 0)
				return r;
		}
	}
	return 0;
}

static int pod_status(const struct ig_input *in, struct ig_pod *pod, struct ig_fields *ret_status)
{
	const char *phase;
	int r;

	if (!ig_fields_enter(&in->top, "status", "status", ret_status))
		return 0;
	r = IG_FIELDS_CHECK(ret_status, status_fields, false);
	if (r < 0)
		return r;
	phase = ig_fields_peek(ret_status, "phase");
	pod->finished = phase && (strcmp(phase, "Succeeded") == 0 || strcmp(phase, "Failed") == 0);
	return 0;
}

static int pod_spec(const struct ig_input *in, const struct ig_fields *status, struct ig_pod *pod)
{
	const char *account;
	int r;

	if (!in->spec.node)
		return ig_kind_text(in, "", &pod->service_account);
	r = IG_FIELDS_CHECK(&in->spec, pod_fields, false);
	if (r < 0)
		return r;
	account = ig_fields_peek(&in->spec, "serviceAccountName");
	if (account && account[0] && !ig_name_is_dns_subdomain(account))
		return ig_fields_fail(&in->spec, "serviceAccountName",
			"expected the name of a ServiceAccount, found \"%s\"", account);
	pod->host_network = ig_fields_bool(&in->spec, "hostNetwork");
	r = pod_containers(in, status, pod);
	return r < 0 ? r : ig_kind_text(in, account ? account : "", &pod->service_account);
}

int ig_kind_read_pod(const struct ig_input *in)
{
	_cleanup_(ig_pod_done) struct ig_pod pod = {.place = in->place};
	struct ig_fields labels, status = {};
	int r = ig_kind_names(in, &pod.namespace, &pod.name);

	if (r == 0)
		r = pod_uid(in, &pod.uid);
	if (r == 0)
		r = pod_cgroup(in, &pod.cgroup);
	if (r == 0)
		r = pod_status(in, &pod, &status);
	if (r == 0)
		r = pod_spec(in, &status, &pod);
	if (r == 0 && ig_fields_enter(&in->meta, "labels", "metadata.labels", &labels))
		r = ig_fields_labels(&labels, &pod.labels, &pod.n_labels);
	return r < 0 ? r : ig_kind_add(in, IG_OBJECT_POD, &pod);
}

/* ---- ServiceAccount ---- */

/* The texts of an identity that a ServiceAccount does not have. */
static int fill_identity(const struct ig_input *in, struct ig_identity *id)
{
	char **const none[] = {&id->resource_id, &id->object_id, &id->ad_endpoint, &id->secret_name,
		&id->auxiliary_tenants, &id->federated_token_file};
	int r = ig_kind_names(in, &id->namespace, &id->name);

	for (size_t i = 0; r == 0 && i < IG_ARRAY_SIZE(none); i++)
		r = ig_kind_text(in, "", none[i]);
	return r;
}

int ig_kind_read_service_account(const struct ig_input *in)
{
	_cleanup_(ig_service_account_done) struct ig_service_account account = {
		.identity = {.type = IG_IDENTITY_FEDERATED, .place = in->place},
		.place = in->place};
	const char *client_id, *tenant_id;
	int r = ig_kind_annotation(in, ANNOTATION_CLIENT_ID, &client_id);

	if (r == 0)
		r = ig_kind_annotation(in, ANNOTATION_TENANT_ID, &tenant_id);
	/* charts that leave the value to their user render an empty one */
	if (r < 0 || !client_id || !client_id[0])
		return r;
	if (!ig_parse_is_guid(client_id))
		return ig_fields_fail(&in->annotations, ANNOTATION_CLIENT_ID,
			"expected a GUID (8-4-4-4-12 hexadecimal digits), found \"%s\"", client_id);
	if (tenant_id && tenant_id[0] && !ig_name_is_tenant(tenant_id))
		return ig_fields_fail(&in->annotations, ANNOTATION_TENANT_ID,
			"expected a GUID or a domain name, found \"%s\"", tenant_id);
	r = ig_kind_names(in, &account.namespace, &account.name);
	if (r == 0)
		r = fill_identity(in, &account.identity);
	if (r == 0)
		r = ig_kind_text(in, client_id, &account.identity.client_id);
	if (r == 0)
		r = ig_kind_text(in, tenant_id ? tenant_id : "", &account.identity.tenant_id);
	return r < 0 ? r : ig_kind_add(in, IG_OBJECT_SERVICE_ACCOUNT, &account);
}
