/*
 * The declared objects as plain memory: sets, moving into them, comparing, freeing. Which fields of
 * a kind are strings is written down once, in the table below, so that freeing and comparing cannot
 * disagree about it. Nothing here validates (see validate.c) or looks things up (see store.c).
 * Called by the feeders and by the store.
 */
#include "objects/object.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STRINGS_MAX 16
#define LISTS_MAX   8
#define NONE	    SIZE_MAX

struct kind {
	const char *name;
	size_t size;
	size_t items;		     /* offset of the array's pointer in struct ig_object_set */
	size_t n_items;		     /* offset of its length */
	size_t strings[STRINGS_MAX]; /* offsets of char * fields, ended by NONE */
	size_t labels;		     /* offset of the labels' pointer, or NONE */
	size_t n_labels;
	size_t lists[LISTS_MAX]; /* offsets of struct ig_text_list fields, ended by NONE */
	size_t place;		 /* offset of struct ig_object_place */
};

#define SET_FIELDS(field)                                                                          \
	.items = offsetof(struct ig_object_set, field),                                            \
	.n_items = offsetof(struct ig_object_set, n_##field)

static const struct kind kinds[_IG_OBJECT_KIND_MAX] = {
	[IG_OBJECT_IDENTITY] = {.name = "AzureIdentity",
		.size = sizeof(struct ig_identity),
		.place = offsetof(struct ig_identity, place),
		SET_FIELDS(identities),
		.strings = {offsetof(struct ig_identity, namespace),
			offsetof(struct ig_identity, name), offsetof(struct ig_identity, client_id),
			offsetof(struct ig_identity, resource_id),
			offsetof(struct ig_identity, object_id),
			offsetof(struct ig_identity, tenant_id),
			offsetof(struct ig_identity, ad_endpoint),
			offsetof(struct ig_identity, secret_name),
			offsetof(struct ig_identity, auxiliary_tenants),
			offsetof(struct ig_identity, federated_token_file), NONE},
		.labels = NONE,
		.lists = {NONE}},
	[IG_OBJECT_BINDING] = {.name = "AzureIdentityBinding",
		.size = sizeof(struct ig_binding),
		.place = offsetof(struct ig_binding, place),
		SET_FIELDS(bindings),
		.strings = {offsetof(struct ig_binding, namespace),
			offsetof(struct ig_binding, name),
			offsetof(struct ig_binding, azure_identity),
			offsetof(struct ig_binding, selector), NONE},
		.labels = NONE,
		.lists = {NONE}},
	[IG_OBJECT_EXCEPTION] = {.name = "AzurePodIdentityException",
		.size = sizeof(struct ig_exception),
		.place = offsetof(struct ig_exception, place),
		SET_FIELDS(exceptions),
		.strings = {offsetof(struct ig_exception, namespace),
			offsetof(struct ig_exception, name), NONE},
		.labels = offsetof(struct ig_exception, labels),
		.n_labels = offsetof(struct ig_exception, n_labels),
		.lists = {NONE}},
	[IG_OBJECT_POD] = {.name = "Pod",
		.size = sizeof(struct ig_pod),
		.place = offsetof(struct ig_pod, place),
		SET_FIELDS(pods),
		.strings = {offsetof(struct ig_pod, namespace), offsetof(struct ig_pod, name),
			offsetof(struct ig_pod, uid), offsetof(struct ig_pod, cgroup),
			offsetof(struct ig_pod, service_account), NONE},
		.labels = offsetof(struct ig_pod, labels),
		.n_labels = offsetof(struct ig_pod, n_labels),
		.lists = {NONE}},
	[IG_OBJECT_SERVICE_ACCOUNT] = {.name = "ServiceAccount",
		.size = sizeof(struct ig_service_account),
		.place = offsetof(struct ig_service_account, place),
		SET_FIELDS(service_accounts),
		.strings = {offsetof(struct ig_service_account, namespace),
			offsetof(struct ig_service_account, name),
			offsetof(struct ig_service_account, identity.namespace),
			offsetof(struct ig_service_account, identity.name),
			offsetof(struct ig_service_account, identity.client_id),
			offsetof(struct ig_service_account, identity.resource_id),
			offsetof(struct ig_service_account, identity.object_id),
			offsetof(struct ig_service_account, identity.tenant_id),
			offsetof(struct ig_service_account, identity.ad_endpoint),
			offsetof(struct ig_service_account, identity.secret_name),
			offsetof(struct ig_service_account, identity.auxiliary_tenants),
			offsetof(struct ig_service_account, identity.federated_token_file), NONE},
		.labels = NONE,
		.lists = {NONE}},
	[IG_OBJECT_METADATA_POLICY] = {.name = "MetadataPolicy",
		.size = sizeof(struct ig_metadata_policy),
		.place = offsetof(struct ig_metadata_policy, place),
		SET_FIELDS(metadata_policies),
		.strings = {offsetof(struct ig_metadata_policy, namespace),
			offsetof(struct ig_metadata_policy, name), NONE},
		.labels = offsetof(struct ig_metadata_policy, labels),
		.n_labels = offsetof(struct ig_metadata_policy, n_labels),
		.lists = {offsetof(struct ig_metadata_policy, namespaces),
			offsetof(struct ig_metadata_policy, service_accounts),
			offsetof(struct ig_metadata_policy, identities),
			offsetof(struct ig_metadata_policy, resources),
			offsetof(struct ig_metadata_policy, paths),
			offsetof(struct ig_metadata_policy, containers),
			offsetof(struct ig_metadata_policy, executables), NONE}},
};

/* The fields that the table names, by offset. */
static void *field(const void *object, size_t offset)
{
	return (char *)object + offset;
}

static char **string_field(const void *object, size_t offset)
{
	return field(object, offset);
}

static struct ig_label **labels_field(const struct kind *k, const void *object)
{
	return field(object, k->labels);
}

static size_t *n_labels_field(const struct kind *k, const void *object)
{
	return field(object, k->n_labels);
}

/* Copied byte by byte because the field is a struct ig_pod * and so on: reading it through a
 * void ** would break the aliasing rules. */
static void *get_items(const struct kind *k, const struct ig_object_set *set)
{
	void *items;

	memcpy(&items, field(set, k->items), sizeof(items));
	return items;
}

static void set_items(const struct kind *k, struct ig_object_set *set, void *items)
{
	memcpy(field(set, k->items), &items, sizeof(items));
}

static size_t *n_items_field(const struct kind *k, const struct ig_object_set *set)
{
	return field(set, k->n_items);
}

static void object_done(enum ig_object_kind kind, void *object)
{
	const struct kind *k = &kinds[kind];
	struct ig_pod *pod = object;

	for (const size_t *s = k->strings; *s != NONE; s++)
		free(*string_field(object, *s));
	if (k->labels != NONE)
		ig_labels_free(*labels_field(k, object), *n_labels_field(k, object));
	for (const size_t *l = k->lists; *l != NONE; l++)
		ig_text_list_done(field(object, *l));
	if (kind == IG_OBJECT_POD)
		ig_containers_free(pod->containers, pod->n_containers);
	memset(object, 0, k->size);
}

static bool labels_equal(const struct ig_label *a, size_t n_a, const struct ig_label *b, size_t n_b)
{
	if (n_a != n_b)
		return false;
	for (size_t i = 0; i < n_a; i++)
		if (strcmp(a[i].key, b[i].key) != 0 || strcmp(a[i].value, b[i].value) != 0)
			return false;
	return true;
}

static bool lists_equal(const struct ig_text_list *a, const struct ig_text_list *b)
{
	if (a->given != b->given || a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->items[i], b->items[i]) != 0)
			return false;
	return true;
}

static bool identities_equal(const struct ig_identity *a, const struct ig_identity *b)
{
	return a->type == b->type && a->assertion_rs256 == b->assertion_rs256 &&
	       a->behavior_namespaced == b->behavior_namespaced;
}

static bool pods_equal(const struct ig_pod *a, const struct ig_pod *b)
{
	if (a->host_network != b->host_network || a->finished != b->finished ||
		a->n_containers != b->n_containers)
		return false;
	for (size_t i = 0; i < a->n_containers; i++)
		if (strcmp(a->containers[i].name, b->containers[i].name) != 0 ||
			strcmp(a->containers[i].id, b->containers[i].id) != 0)
			return false;
	return true;
}

static bool policies_equal(const struct ig_metadata_policy *a, const struct ig_metadata_policy *b)
{
	return a->mode == b->mode && a->host == b->host && a->host_network == b->host_network &&
	       a->rate_per_sec == b->rate_per_sec && a->rate_burst == b->rate_burst &&
	       a->generation == b->generation;
}

/* What the table of kinds does not name. */
static bool rest_equal(enum ig_object_kind kind, const void *a, const void *b)
{
	const struct ig_service_account *sa = a, *sb = b;
	const struct ig_exception *ea = a, *eb = b;

	switch (kind) {
	case IG_OBJECT_IDENTITY: return identities_equal(a, b);
	case IG_OBJECT_EXCEPTION: return ea->mode == eb->mode;
	case IG_OBJECT_POD: return pods_equal(a, b);
	case IG_OBJECT_SERVICE_ACCOUNT: return identities_equal(&sa->identity, &sb->identity);
	case IG_OBJECT_METADATA_POLICY: return policies_equal(a, b);
	case IG_OBJECT_BINDING:
	case _IG_OBJECT_KIND_MAX: break;
	}
	return true;
}

static bool object_equal(enum ig_object_kind kind, const void *a, const void *b)
{
	const struct kind *k = &kinds[kind];

	for (const size_t *s = k->strings; *s != NONE; s++)
		if (strcmp(*string_field(a, *s), *string_field(b, *s)) != 0)
			return false;
	if (k->labels != NONE && !labels_equal(*labels_field(k, a), *n_labels_field(k, a),
					 *labels_field(k, b), *n_labels_field(k, b)))
		return false;
	for (const size_t *l = k->lists; *l != NONE; l++)
		if (!lists_equal(field(a, *l), field(b, *l)))
			return false;
	return rest_equal(kind, a, b);
}

const char *ig_label_get(const struct ig_label *labels, size_t n, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(labels[i].key, key) == 0)
			return labels[i].value;
	return NULL;
}

void ig_labels_free(struct ig_label *labels, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(labels[i].key);
		free(labels[i].value);
	}
	free(labels);
}

void ig_containers_free(struct ig_container *containers, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(containers[i].name);
		free(containers[i].id);
	}
	free(containers);
}

void ig_text_list_done(struct ig_text_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct ig_text_list){};
}

bool ig_pod_uses_workload_identity(const struct ig_pod *pod)
{
	const char *use = ig_label_get(pod->labels, pod->n_labels, "azure.workload.identity/use");

	return use && strcmp(use, "true") == 0;
}

void ig_identity_done(struct ig_identity *identity)
{
	object_done(IG_OBJECT_IDENTITY, identity);
}

void ig_binding_done(struct ig_binding *binding)
{
	object_done(IG_OBJECT_BINDING, binding);
}

void ig_exception_done(struct ig_exception *exception)
{
	object_done(IG_OBJECT_EXCEPTION, exception);
}

void ig_pod_done(struct ig_pod *pod)
{
	object_done(IG_OBJECT_POD, pod);
}

void ig_service_account_done(struct ig_service_account *account)
{
	object_done(IG_OBJECT_SERVICE_ACCOUNT, account);
}

void ig_metadata_policy_done(struct ig_metadata_policy *policy)
{
	object_done(IG_OBJECT_METADATA_POLICY, policy);
}

size_t ig_object_size(enum ig_object_kind kind)
{
	return kinds[kind].size;
}

const char *ig_object_kind_name(enum ig_object_kind kind)
{
	return kinds[kind].name;
}

struct ig_object_place ig_object_place(enum ig_object_kind kind, const void *object)
{
	const struct ig_object_place *place = field(object, kinds[kind].place);

	return *place;
}

bool ig_object_claim(enum ig_object_kind kind, const void *object, size_t i, char *buf, size_t len)
{
	const struct kind *k = &kinds[kind];
	const struct ig_pod *pod = object;

	/* each kind's table begins with namespace and name */
	if (i == 0) {
		(void)snprintf(buf, len, "%s %s/%s", k->name, *string_field(object, k->strings[0]),
			*string_field(object, k->strings[1]));
		return true;
	}
	if (kind != IG_OBJECT_POD)
		return false;
	if (i == 1 && pod->uid[0]) {
		(void)snprintf(buf, len, "pod uid %s", pod->uid);
		return true;
	}
	if (i == 2 && pod->cgroup[0]) {
		(void)snprintf(buf, len, "cgroup %s", pod->cgroup);
		return true;
	}
	return false;
}

struct ig_object_set *ig_object_set_new(void)
{
	return calloc(1, sizeof(struct ig_object_set));
}

struct ig_object_set *ig_object_set_free(struct ig_object_set *set)
{
	if (!set)
		return NULL;
	for (size_t i = 0; i < _IG_OBJECT_KIND_MAX; i++) {
		const struct kind *k = &kinds[i];
		char *items = get_items(k, set);

		for (size_t j = 0; j < *n_items_field(k, set); j++)
			object_done((enum ig_object_kind)i, items + j * k->size);
		free(items);
	}
	free(set);
	return NULL;
}

size_t ig_object_set_count(const struct ig_object_set *set)
{
	size_t n = 0;

	for (size_t i = 0; i < _IG_OBJECT_KIND_MAX; i++)
		n += *n_items_field(&kinds[i], set);
	return n;
}

const void *ig_object_set_items(
	const struct ig_object_set *set, enum ig_object_kind kind, size_t *ret_n)
{
	*ret_n = *n_items_field(&kinds[kind], set);
	return get_items(&kinds[kind], set);
}

bool ig_object_set_equal(const struct ig_object_set *a, const struct ig_object_set *b)
{
	for (size_t i = 0; i < _IG_OBJECT_KIND_MAX; i++) {
		const char *ia, *ib;
		size_t na, nb;

		ia = ig_object_set_items(a, (enum ig_object_kind)i, &na);
		ib = ig_object_set_items(b, (enum ig_object_kind)i, &nb);
		if (na != nb)
			return false;
		for (size_t j = 0; j < na; j++)
			if (!object_equal((enum ig_object_kind)i, ia + j * kinds[i].size,
				    ib + j * kinds[i].size))
				return false;
	}
	return true;
}

int ig_object_set_add(struct ig_object_set *set, enum ig_object_kind kind, void *object)
{
	const struct kind *k = &kinds[kind];
	char *items = get_items(k, set);
	size_t *n = n_items_field(k, set);

	/* the capacity is the next power of two and so needs no field: grow when n reaches one */
	if ((*n & (*n - 1)) == 0) {
		items = reallocarray(items, *n ? *n * 2 : 1, k->size);
		if (!items)
			return -ENOMEM;
		set_items(k, set, items);
	}
	memcpy(items + *n * k->size, object, k->size);
	memset(object, 0, k->size);
	(*n)++;
	return 0;
}
