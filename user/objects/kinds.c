/*
 * The kinds of aadpodidentity.k8s.io/v1; see kinds.h. Each has a table of its fields; everything
 * that a table cannot say (what depends on what, formats) stands in the kind's function. Fields
 * that the old system documented but never used are checked for their shape and dropped. Nothing is
 * repaired, cut or defaulted beyond what the shapes in object.h say. Called by validate.c.
 */
#include "objects/kinds.h"

#include <errno.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "objects/names.h"

#define ANNOTATION_BEHAVIOR  "aadpodidentity.k8s.io/Behavior"
#define ANNOTATION_OBJECT_ID "imdsgate.dev/object-id"
#define ANNOTATION_EXCEPTION "imdsgate.dev/exception-mode"
#define ANNOTATION_FEDERATED "imdsgate.dev/federated-token-file"
#define ANNOTATION_ALGORITHM "imdsgate.dev/assertion-algorithm"

static const struct ig_field identity_fields[] = {
	{.name = "type", .shape = IG_FIELD_INTEGER},
	{.name = "resourceID", .shape = IG_FIELD_STRING},
	{.name = "clientID", .shape = IG_FIELD_STRING},
	{.name = "clientPassword", .shape = IG_FIELD_MAPPING, .nullable = true},
	{.name = "tenantID", .shape = IG_FIELD_STRING},
	{.name = "auxiliaryTenantIDs", .shape = IG_FIELD_STRINGS, .nullable = true},
	{.name = "adResourceID", .shape = IG_FIELD_STRING},
	{.name = "adEndpoint", .shape = IG_FIELD_STRING},
	{.name = "replicas", .shape = IG_FIELD_INTEGER, .nullable = true},
	{.name = "metadata", .shape = IG_FIELD_MAPPING, .nullable = true},
};

static const struct ig_field password_fields[] = {
	{.name = "name", .shape = IG_FIELD_STRING},
	{.name = "namespace", .shape = IG_FIELD_STRING},
};

static const struct ig_field binding_fields[] = {
	{.name = "azureIdentity", .shape = IG_FIELD_STRING},
	{.name = "selector", .shape = IG_FIELD_STRING},
	{.name = "weight", .shape = IG_FIELD_INTEGER},
	{.name = "metadata", .shape = IG_FIELD_MAPPING, .nullable = true},
};

static const struct ig_field exception_fields[] = {
	{.name = "podLabels", .shape = IG_FIELD_MAPPING},
	{.name = "metadata", .shape = IG_FIELD_MAPPING, .nullable = true},
};

int ig_kind_text(const struct ig_input *in, const char *text, char **ret)
{
	char *copy = strdup(text);

	if (!copy)
		return ig_err_set(in->top.err, -ENOMEM, "out of memory");
	*ret = copy;
	return 0;
}

int ig_kind_names(const struct ig_input *in, char **ret_namespace, char **ret_name)
{
	int r = ig_kind_text(in, in->namespace, ret_namespace);

	return r < 0 ? r : ig_kind_text(in, in->name, ret_name);
}

int ig_kind_annotation(const struct ig_input *in, const char *key, const char **ret)
{
	*ret = NULL;
	return in->annotations.node ? ig_fields_string(&in->annotations, key, ret) : 0;
}

static int identity_type(const struct ig_input *in, enum ig_identity_type *ret)
{
	const json_t *value = json_object_get(in->spec.node, "type");
	json_int_t type = value ? json_integer_value(value) : 0;

	if (type < 0 || type > 2)
		return ig_fields_fail(&in->spec, "type",
			"expected 0 (user-assigned identity), 1 (service principal) or 2 (service principal with certificate), found %lld",
			(long long)type);
	*ret = (enum ig_identity_type)type;
	return 0;
}

/* What goes by the type; formats are checked in identity_formats(). */
static int identity_required(const struct ig_input *in, const struct ig_identity *id)
{
	if (id->type == IG_IDENTITY_USER_ASSIGNED) {
		if (!id->client_id[0] && !id->resource_id[0])
			return ig_fields_fail(
				&in->spec, NULL, "type 0 needs a clientID or a resourceID");
		if (id->client_id[0] && !ig_parse_is_guid(id->client_id))
			return ig_fields_fail(&in->spec, "clientID",
				"expected a GUID (8-4-4-4-12 hexadecimal digits), found \"%s\"",
				id->client_id);
		return 0;
	}
	if (!id->client_id[0])
		return ig_fields_fail(&in->spec, NULL, "type %d needs a clientID", (int)id->type);
	if (!id->tenant_id[0])
		return ig_fields_fail(&in->spec, NULL, "type %d needs a tenantID", (int)id->type);
	return 0;
}

static int identity_formats(const struct ig_input *in, const struct ig_identity *id)
{
	if (id->resource_id[0] && !ig_name_is_identity_resource_id(id->resource_id))
		return ig_fields_fail(&in->spec, "resourceID",
			"expected /subscriptions/SUBSCRIPTION/resourcegroups/GROUP/providers/Microsoft.ManagedIdentity/userAssignedIdentities/NAME, found \"%s\"",
			id->resource_id);
	if (id->tenant_id[0] && !ig_name_is_tenant(id->tenant_id))
		return ig_fields_fail(&in->spec, "tenantID",
			"expected a GUID or a domain name, found \"%s\"", id->tenant_id);
	if (id->ad_endpoint[0] && !ig_name_is_authority_url(id->ad_endpoint))
		return ig_fields_fail(&in->spec, "adEndpoint",
			"expected an https:// URL without query (http:// only for the loopback host), found \"%s\"",
			id->ad_endpoint);
	if (id->ad_endpoint[0] && !in->local && !ig_str_has_prefix(id->ad_endpoint, "https://"))
		return ig_fields_fail(&in->spec, "adEndpoint",
			"expected an https:// URL (only manifests on the node may have http://), found \"%s\"",
			id->ad_endpoint);
	return 0;
}

/* ---- where its credential is ---- */

/* Another namespace's secret would be its owner's credential in somebody else's hands, sent to an
 * authority of their choice: the reference may name the identity's own namespace, or none. */
static int identity_secret(const struct ig_input *in, struct ig_identity *id)
{
	const char *name = NULL, *namespace = NULL;
	struct ig_fields password = {};

	if (ig_fields_enter(&in->spec, "clientPassword", "spec.clientPassword", &password)) {
		int r = IG_FIELDS_CHECK(&password, password_fields, true);

		if (r < 0)
			return r;
		name = ig_fields_peek(&password, "name");
		namespace = ig_fields_peek(&password, "namespace");
	}
	if (namespace && namespace[0] && strcmp(namespace, in->namespace) != 0)
		return ig_fields_fail(&password, "namespace",
			"expected \"%s\", the identity's own namespace (secrets of others are not read), found \"%s\"",
			in->namespace, namespace);
	if (name && name[0] && !ig_name_is_dns_subdomain(name))
		return ig_fields_fail(
			&password, "name", "expected the name of a Secret, found \"%s\"", name);
	if (id->type == IG_IDENTITY_USER_ASSIGNED)
		return ig_kind_text(in, "", &id->secret_name);
	if (!name || !name[0])
		return ig_fields_fail(&in->spec, NULL,
			"type %d needs a clientPassword with the name of a Secret", (int)id->type);
	return ig_kind_text(in, name, &id->secret_name);
}

static int identity_auxiliary_tenants(const struct ig_input *in, struct ig_identity *id)
{
	/* 1 for the comma or the NUL */
	char joined[IG_AUXILIARY_TENANTS_MAX * (IG_OBJECT_NAME_BYTES + 1)] = "";
	const json_t *list = json_object_get(in->spec.node, "auxiliaryTenantIDs");
	char *end = joined;
	json_t *item;
	size_t i;

	if (json_array_size(list) > IG_AUXILIARY_TENANTS_MAX)
		return ig_fields_fail(&in->spec, "auxiliaryTenantIDs",
			"%zu tenants are more than the %d allowed", json_array_size(list),
			IG_AUXILIARY_TENANTS_MAX);
	json_array_foreach (list, i, item) {
		const char *tenant = json_string_value(item);

		if (!ig_name_is_tenant(tenant))
			return ig_fields_fail(&in->spec, "auxiliaryTenantIDs",
				"expected GUIDs or domain names, found \"%s\"", tenant);
		if (i)
			*end++ = ',';
		end = stpcpy(end, tenant);
	}
	return ig_kind_text(in, joined, &id->auxiliary_tenants);
}

/* NAMESPACE/… without empty, "." or ".." parts. */
static bool is_credential_path(const char *path, const char *namespace)
{
	size_t len = strlen(namespace);

	if (strlen(path) > IG_CREDENTIAL_PATH_BYTES || strncmp(path, namespace, len) != 0 ||
		path[len] != '/')
		return false;
	for (const char *part = path; part; part = strchr(part, '/')) {
		part += *part == '/';
		len = strcspn(part, "/");
		if (len == 0 || (len <= 2 && strspn(part, ".") >= len))
			return false;
	}
	return true;
}

static int identity_federation(const struct ig_input *in, struct ig_identity *id)
{
	const char *path;
	int r = ig_kind_annotation(in, ANNOTATION_FEDERATED, &path);

	if (r < 0)
		return r;
	if (!path)
		return ig_kind_text(in, "", &id->federated_token_file);
	if (id->type != IG_IDENTITY_USER_ASSIGNED)
		return ig_fields_fail(&in->annotations, ANNOTATION_FEDERATED,
			"only for type 0; type %d has a credential of its own", (int)id->type);
	if (!id->client_id[0] || !id->tenant_id[0])
		return ig_fields_fail(&in->annotations, ANNOTATION_FEDERATED,
			"needs a clientID and a tenantID in the spec");
	if (!is_credential_path(path, in->namespace))
		return ig_fields_fail(&in->annotations, ANNOTATION_FEDERATED,
			"expected %s/SECRET/KEY, a file in the directory of the identity's own namespace, found \"%s\"",
			in->namespace, path);
	return ig_kind_text(in, path, &id->federated_token_file);
}

static int identity_algorithm(const struct ig_input *in, struct ig_identity *id)
{
	const char *algorithm;
	int r = ig_kind_annotation(in, ANNOTATION_ALGORITHM, &algorithm);

	if (r < 0 || !algorithm)
		return r;
	if (id->type != IG_IDENTITY_CERTIFICATE)
		return ig_fields_fail(&in->annotations, ANNOTATION_ALGORITHM, "only for type 2");
	id->assertion_rs256 = strcmp(algorithm, "RS256") == 0;
	if (!id->assertion_rs256 && strcmp(algorithm, "PS256") != 0)
		return ig_fields_fail(&in->annotations, ANNOTATION_ALGORITHM,
			"expected \"PS256\" or \"RS256\", found \"%s\"", algorithm);
	return 0;
}

static int identity_credential(const struct ig_input *in, struct ig_identity *id)
{
	int r = identity_secret(in, id);

	if (r == 0)
		r = identity_auxiliary_tenants(in, id);
	if (r == 0)
		r = identity_federation(in, id);
	if (r == 0)
		r = identity_algorithm(in, id);
	return r;
}

static int identity_annotations(const struct ig_input *in, struct ig_identity *id)
{
	const char *behavior, *object_id;
	int r = ig_kind_annotation(in, ANNOTATION_BEHAVIOR, &behavior);

	if (r < 0)
		return r;
	if (behavior && strcmp(behavior, "namespaced") != 0)
		return ig_fields_fail(&in->annotations, ANNOTATION_BEHAVIOR,
			"expected \"namespaced\", found \"%s\"", behavior);
	id->behavior_namespaced = behavior;
	r = ig_kind_annotation(in, ANNOTATION_OBJECT_ID, &object_id);
	if (r < 0)
		return r;
	if (object_id && !ig_parse_is_guid(object_id))
		return ig_fields_fail(&in->annotations, ANNOTATION_OBJECT_ID,
			"expected a GUID (8-4-4-4-12 hexadecimal digits), found \"%s\"", object_id);
	return ig_kind_text(in, object_id ? object_id : "", &id->object_id);
}

int ig_kind_read_identity(const struct ig_input *in)
{
	_cleanup_(ig_identity_done) struct ig_identity id = {.place = in->place};
	int r;

	r = IG_FIELDS_CHECK(&in->spec, identity_fields, true);
	if (r < 0)
		return r;
	r = ig_kind_names(in, &id.namespace, &id.name);
	if (r == 0)
		r = identity_type(in, &id.type);
	if (r == 0)
		r = ig_fields_copy(&in->spec, "clientID", &id.client_id);
	if (r == 0)
		r = ig_fields_copy(&in->spec, "resourceID", &id.resource_id);
	if (r == 0)
		r = ig_fields_copy(&in->spec, "tenantID", &id.tenant_id);
	if (r == 0)
		r = ig_fields_copy(&in->spec, "adEndpoint", &id.ad_endpoint);
	if (r == 0)
		r = identity_required(in, &id);
	if (r == 0)
		r = identity_formats(in, &id);
	if (r == 0)
		r = identity_credential(in, &id);
	if (r == 0)
		r = identity_annotations(in, &id);
	return r < 0 ? r : ig_kind_add(in, IG_OBJECT_IDENTITY, &id);
}

int ig_kind_read_binding(const struct ig_input *in)
{
	_cleanup_(ig_binding_done) struct ig_binding binding = {.place = in->place};
	const char *identity, *selector;
	int r = IG_FIELDS_CHECK(&in->spec, binding_fields, true);

	if (r < 0)
		return r;
	identity = ig_fields_peek(&in->spec, "azureIdentity");
	selector = ig_fields_peek(&in->spec, "selector");
	if (!identity)
		return ig_fields_fail(&in->spec, NULL, "missing field \"azureIdentity\"");
	if (!selector)
		return ig_fields_fail(&in->spec, NULL, "missing field \"selector\"");
	if (!ig_name_is_dns_subdomain(identity))
		return ig_fields_fail(&in->spec, "azureIdentity",
			"expected the name of an AzureIdentity, found \"%s\"", identity);
	/* an empty selector would match every pod without the label */
	if (!selector[0] || !ig_name_is_label_value(selector))
		return ig_fields_fail(&in->spec, "selector",
			"expected the value of a pod's label aadpodidbinding, not empty, found \"%s\"",
			selector);
	r = ig_kind_names(in, &binding.namespace, &binding.name);
	if (r == 0)
		r = ig_kind_text(in, identity, &binding.azure_identity);
	if (r == 0)
		r = ig_kind_text(in, selector, &binding.selector);
	return r < 0 ? r : ig_kind_add(in, IG_OBJECT_BINDING, &binding);
}

static int exception_mode(const struct ig_input *in, enum ig_exception_mode *ret)
{
	const char *mode;
	int r = ig_kind_annotation(in, ANNOTATION_EXCEPTION, &mode);

	if (r < 0)
		return r;
	if (!mode || strcmp(mode, "proxy") == 0)
		*ret = IG_EXCEPTION_PROXY;
	else if (strcmp(mode, "direct") == 0)
		*ret = IG_EXCEPTION_DIRECT;
	else
		return ig_fields_fail(&in->annotations, ANNOTATION_EXCEPTION,
			"expected \"proxy\" or \"direct\", found \"%s\"", mode);
	return 0;
}

int ig_kind_read_exception(const struct ig_input *in)
{
	_cleanup_(ig_exception_done) struct ig_exception exception = {.place = in->place};
	struct ig_fields labels;
	int r = IG_FIELDS_CHECK(&in->spec, exception_fields, true);

	if (r < 0)
		return r;
	if (!ig_fields_enter(&in->spec, "podLabels", "spec.podLabels", &labels))
		return ig_fields_fail(&in->spec, NULL, "missing field \"podLabels\"");
	if (json_object_size(labels.node) == 0)
		return ig_fields_fail(
			&in->spec, "podLabels", "expected at least one label, found none");
	r = exception_mode(in, &exception.mode);
	if (r == 0)
		r = ig_kind_names(in, &exception.namespace, &exception.name);
	if (r == 0)
		r = ig_fields_labels(&labels, &exception.labels, &exception.n_labels);
	return r < 0 ? r : ig_kind_add(in, IG_OBJECT_EXCEPTION, &exception);
}
