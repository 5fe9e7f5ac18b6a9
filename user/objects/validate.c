/*
 * From a tree to declared objects; see validate.h. This file finds out what kind an object is,
 * reads what all kinds share, sees that nothing is declared twice, and takes Lists apart; kinds.c,
 * kinds_pod.c and kinds_policy.c know the kinds themselves.
 *
 * Never reads files, never looks at the store. Called by the manifest reader and by the feeder of
 * the Kubernetes watches.
 */
#include "objects/validate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/parse.h"
#include "base/table.h"
#include "objects/fields.h"
#include "objects/kinds.h"
#include "objects/names.h"

#define OLD_GROUP	  "aadpodidentity.k8s.io"
#define OLD_API		  OLD_GROUP "/v1"
#define OWN_GROUP	  "imdsgate.dev"
#define OWN_API		  OWN_GROUP "/v1alpha1"
#define DEFAULT_NAMESPACE "default"

/* A claim (see ig_object_claim()) that has been made, and where. */
struct seen {
	UT_hash_handle hh;
	unsigned int line;
	char key[];
};

struct ig_validator {
	struct ig_validate_options options;
	struct seen *seen; /* uthash head; owned */
};

static const struct ig_field top_fields[] = {
	{.name = "apiVersion", .shape = IG_FIELD_STRING},
	{.name = "kind", .shape = IG_FIELD_STRING},
	{.name = "metadata", .shape = IG_FIELD_MAPPING},
	{.name = "spec", .shape = IG_FIELD_MAPPING},
	{.name = "status", .shape = IG_FIELD_MAPPING, .nullable = true},
};

static const struct ig_field metadata_fields[] = {
	{.name = "name", .shape = IG_FIELD_STRING},
	{.name = "namespace", .shape = IG_FIELD_STRING},
	{.name = "uid", .shape = IG_FIELD_STRING},
	{.name = "generation", .shape = IG_FIELD_INTEGER, .nullable = true},
	{.name = "labels", .shape = IG_FIELD_MAPPING, .nullable = true},
	{.name = "annotations", .shape = IG_FIELD_MAPPING, .nullable = true},
};

int ig_kind_add(const struct ig_input *in, enum ig_object_kind kind, void *object)
{
	char key[IG_OBJECT_CLAIM_BYTES + 1];

	for (size_t i = 0; i < IG_OBJECT_CLAIMS_MAX; i++) {
		_cleanup_free_ struct seen *seen = NULL;
		struct seen *first;
		size_t len;

		if (!ig_object_claim(kind, object, i, key, sizeof(key)))
			continue;
		HASH_FIND_STR(in->validator->seen, key, first);
		if (first && first->line)
			return ig_fields_fail(&in->top, NULL,
				"%s is declared twice; the first is in line %u", key, first->line);
		if (first)
			return ig_fields_fail(&in->top, NULL, "%s is declared twice", key);
		len = strlen(key);
		seen = calloc(1, sizeof(*seen) + len + 1);
		if (!seen)
			return ig_err_set(in->top.err, -ENOMEM, "out of memory");
		memcpy(seen->key, key, len);
		seen->line = in->place.line;
		HASH_ADD_STR(in->validator->seen, key, seen);
		if (!ig_table_has(seen))
			return ig_err_set(in->top.err, -ENOMEM, "out of memory");
		(void)TAKE_PTR(seen);
	}
	if (ig_object_set_add(in->set, kind, object) < 0)
		return ig_err_set(in->top.err, -ENOMEM, "out of memory");
	return 0;
}

static const struct object_kind {
	const char *api;
	const char *kind;
	int (*read)(const struct ig_input *in);
	bool strict; /* ours: every field is known, and there is a spec */
} object_kinds[] = {
	{OLD_API, "AzureIdentity", ig_kind_read_identity, true},
	{OLD_API, "AzureIdentityBinding", ig_kind_read_binding, true},
	{OLD_API, "AzurePodIdentityException", ig_kind_read_exception, true},
	{OWN_API, "MetadataPolicy", ig_kind_read_policy, true},
	{"v1", "Pod", ig_kind_read_pod, false},
	{"v1", "ServiceAccount", ig_kind_read_service_account, false},
};

/* API groups in which nothing is passed over as somebody else's. */
static const struct {
	const char *group;
	const char *api;
	const char *kinds;
} groups[] = {
	{OLD_GROUP, OLD_API, "AzureIdentity, AzureIdentityBinding or AzurePodIdentityException"},
	{OWN_GROUP, OWN_API, "MetadataPolicy"},
};

static int read_metadata(struct ig_input *in)
{
	int r;

	if (!ig_fields_enter(&in->top, "metadata", "metadata", &in->meta))
		return ig_fields_fail(&in->top, NULL, "missing field \"metadata\"");
	r = IG_FIELDS_CHECK(&in->meta, metadata_fields, false);
	if (r < 0)
		return r;
	in->name = ig_fields_peek(&in->meta, "name");
	if (!in->name)
		return ig_fields_fail(&in->meta, NULL, "missing field \"name\"");
	if (!ig_name_is_dns_subdomain(in->name))
		return ig_fields_fail(&in->meta, "name",
			"expected lower-case letters, digits, '-' and '.', at most %d, found \"%s\"",
			IG_OBJECT_NAME_BYTES, in->name);
	in->namespace = ig_fields_peek(&in->meta, "namespace");
	if (!in->namespace)
		in->namespace = DEFAULT_NAMESPACE;
	if (!ig_name_is_dns_label(in->namespace))
		return ig_fields_fail(&in->meta, "namespace",
			"expected lower-case letters, digits and '-', at most 63, found \"%s\"",
			in->namespace);
	(void)ig_fields_enter(&in->meta, "annotations", "metadata.annotations", &in->annotations);
	return 0;
}

static int read_object(struct ig_input *in, const struct object_kind *kind)
{
	const struct ig_validate_options *o = &in->validator->options;
	int r = IG_FIELDS_CHECK(&in->top, top_fields, kind->strict);

	if (o->locate)
		o->locate(in->top.node, NULL, &in->place.line, &in->place.column, o->userdata);
	if (r == 0)
		r = read_metadata(in);
	if (r < 0)
		return ig_err_wrap(in->top.err, r, "%s", kind->kind);
	if (!ig_fields_enter(&in->top, "spec", "spec", &in->spec) && kind->strict)
		r = ig_fields_fail(&in->top, NULL, "missing field \"spec\"");
	if (r == 0)
		r = kind->read(in);
	return r < 0 ? ig_err_wrap(in->top.err, r, "%s %s/%s", kind->kind, in->namespace, in->name)
		     : 0;
}

/* Is it that group, in any letter case, with any version or none? */
static bool is_group(const char *api, const char *group)
{
	size_t len = strcspn(api, "/");

	return len == strlen(group) && strncasecmp(api, group, len) == 0;
}

/* 1: an object of a group that is not ours. Else an error that says what would have been right. */
static int unknown_kind(const struct ig_fields *top, const char *api, const char *kind)
{
	if (strcmp(api, "v1") == 0)
		return ig_fields_fail(top, "kind",
			"unknown kind \"%s\"; of v1 only Pod, ServiceAccount and List are read",
			kind);
	if (ig_str_equal_nocase(api, "v1"))
		return ig_fields_fail(top, "apiVersion", "expected \"v1\", found \"%s\"", api);
	for (size_t i = 0; i < IG_ARRAY_SIZE(groups); i++) {
		if (!is_group(api, groups[i].group))
			continue;
		if (strcmp(api, groups[i].api) != 0)
			return ig_fields_fail(top, "apiVersion", "expected \"%s\", found \"%s\"",
				groups[i].api, api);
		return ig_fields_fail(
			top, "kind", "unknown kind \"%s\"; expected %s", kind, groups[i].kinds);
	}
	return 1;
}

/* 1: an object of a group that is not ours. 0: *ret is set, or NULL for a List. */
static int find_kind(const struct ig_fields *top, const struct object_kind **ret)
{
	static const struct ig_field type_fields[] = {
		{.name = "apiVersion", .shape = IG_FIELD_STRING},
		{.name = "kind", .shape = IG_FIELD_STRING},
	};
	const char *api, *kind;
	int r = IG_FIELDS_CHECK(top, type_fields, false);

	if (r < 0)
		return r;
	api = ig_fields_peek(top, "apiVersion");
	kind = ig_fields_peek(top, "kind");
	if (!api || !kind)
		return ig_fields_fail(
			top, NULL, "missing field \"%s\"", api ? "kind" : "apiVersion");
	*ret = NULL;
	if (strcmp(api, "v1") == 0 && strcmp(kind, "List") == 0)
		return 0;
	for (size_t i = 0; i < IG_ARRAY_SIZE(object_kinds); i++) {
		*ret = &object_kinds[i];
		if (strcmp(api, (*ret)->api) == 0 && strcmp(kind, (*ret)->kind) == 0)
			return 0;
	}
	return unknown_kind(top, api, kind);
}

static int add_one(struct ig_validator *v, const json_t *doc, struct ig_object_set *set,
	struct ig_err *err, bool in_list);

static int add_list(struct ig_validator *v, const struct ig_fields *top, struct ig_object_set *set)
{
	const json_t *items = json_object_get(top->node, "items");
	const json_t *item;
	size_t i;

	if (!json_is_array(items))
		return ig_fields_fail(
			top, items ? "items" : NULL, "List: expected a sequence \"items\"");
	json_array_foreach (items, i, item) {
		int r = json_is_object(item)
				? add_one(v, item, set, top->err, true)
				: ig_fields_fail(top, "items",
					  "List: item %zu: expected a mapping with apiVersion and kind",
					  i + 1);

		if (r < 0)
			return r;
	}
	return 0;
}

static int add_one(struct ig_validator *v, const json_t *doc, struct ig_object_set *set,
	struct ig_err *err, bool in_list)
{
	struct ig_input in = {.validator = v,
		.local = v->options.local,
		.policy_namespace = v->options.policy_namespace,
		.set = set,
		.top = {.options = &v->options, .node = doc, .where = "", .err = err}};
	const struct object_kind *kind = NULL;
	int r;

	if (!json_is_object(doc))
		return ig_fields_fail(&in.top, NULL, "expected a mapping with apiVersion and kind");
	r = find_kind(&in.top, &kind);
	if (r > 0)
		set->n_ignored++;
	if (r != 0)
		return r < 0 ? r : 0;
	if (kind)
		return read_object(&in, kind);
	if (in_list)
		return ig_fields_fail(&in.top, NULL, "a List inside a List");
	return add_list(v, &in.top, set);
}

int ig_validator_new(const struct ig_validate_options *options, struct ig_validator **ret)
{
	struct ig_validator *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	v->options = *options;
	*ret = v;
	return 0;
}

struct ig_validator *ig_validator_free(struct ig_validator *v)
{
	struct seen *seen, *next;

	if (!v)
		return NULL;
	HASH_ITER (hh, v->seen, seen, next) {
		HASH_DEL(v->seen, seen);
		free(seen);
	}
	free(v);
	return NULL;
}

int ig_validator_add(struct ig_validator *v, const json_t *doc, struct ig_object_set *set,
	struct ig_err *reterr_err)
{
	return add_one(v, doc, set, reterr_err, false);
}
