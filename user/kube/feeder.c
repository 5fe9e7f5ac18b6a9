/*
 * From the API server's objects to the store; see feeder.h. One watch for each resource; each
 * object goes through the same validator as a manifest.
 *
 * It must never honour a cgroup that an object names (whoever may create pods could claim another
 * workload's), and never leave an object in force that the API server does not declare any more.
 */
#include "kube/feeder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "kube/policy_status.h"
#include "objects/names.h"
#include "objects/validate.h"

struct resource {
	enum ig_object_kind kind;
	const char *api;
	const char *path;
	bool of_node;	    /* only objects of this node are asked for */
	bool metadata_only; /* nothing else is looked at */
	bool from_cache;    /* there are too many for consistent reads */
	const struct ig_kube_pick *fields;
};

/* ---- which fields are used ---- */

/* What is not here never takes memory. */
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

static const struct resource resources[] = {
	{IG_OBJECT_POD, "v1", "/api/v1/pods", .of_node = true, .from_cache = true,
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

/* The node's name stands in the pods' query. */
#define QUERY_BYTES (IG_OBJECT_NAME_BYTES + 64)

/* An object that does not hold, kept because it may later. */
struct refused {
	json_t *object; /* owned reference; NULL: wrong in itself, so nothing to try again */
	UT_hash_handle hh;
	char source[];
};

struct feed {
	struct ig_kube_feeder *feeder;
	const struct resource *resource;
	struct ig_kube_watch *watch; /* owned */
	struct refused *refused;     /* uthash head; owned */
	char query[QUERY_BYTES];
};

struct ig_kube_feeder {
	struct ig_store *store;
	struct ig_kube_policy_status *status; /* owned */
	const struct ig_kube_feeder_ops *ops;
	void *userdata;
	const char *policy_namespace;
	bool applying;	      /* the store's change is ours */
	unsigned int batches; /* under way */
	struct feed feeds[IG_ARRAY_SIZE(resources)];
};

IG_DEFINE_CLEANUP(struct ig_kube_feeder *, ig_kube_feeder_free);

#define SOURCE_BYTES (2 * IG_OBJECT_NAME_BYTES + 64)

static bool format_source(const struct feed *f, const char *ns, const char *name, char *ret)
{
	int n = snprintf(ret, SOURCE_BYTES, "kube:%s/%s/%s", ig_object_kind_name(f->resource->kind),
		ns, name);

	return n > 0 && n < SOURCE_BYTES;
}

/* ---- what was refused ---- */

static void unrefuse(struct feed *f, const char *source)
{
	struct refused *refused;

	HASH_FIND_STR(f->refused, source, refused);
	if (!refused)
		return;
	HASH_DEL(f->refused, refused);
	json_decref(refused->object);
	free(refused);
}

/* object: to be tried again when the store changes; NULL: not. */
static void remember_refused(struct feed *f, const char *source, json_t *object)
{
	struct refused *refused = calloc(1, sizeof(*refused) + strlen(source) + 1);

	if (!refused)
		return; /* the count is too small by one, and it waits for its next change */
	memcpy(refused->source, source, strlen(source) + 1);
	refused->object = json_incref(object);
	HASH_ADD_STR(f->refused, source, refused);
	if (!refused->hh.tbl) {
		json_decref(refused->object);
		free(refused);
	}
}

/* ---- taking objects over ---- */

/* Elements of lists do not say what they are, and metadata-only ones say something else. */
static json_t *with_type(const struct feed *f, const json_t *object)
{
	json_t *typed = json_copy((json_t *)(uintptr_t)object);

	if (!typed || json_object_set_new(typed, "apiVersion", json_string(f->resource->api)) < 0 ||
		json_object_set_new(
			typed, "kind", json_string(ig_object_kind_name(f->resource->kind))) < 0) {
		json_decref(typed);
		return NULL;
	}
	return typed;
}

static int validate(
	const struct feed *f, const json_t *object, struct ig_object_set **ret, struct ig_err *err)
{
	const struct ig_validate_options options = {
		.policy_namespace = f->feeder->policy_namespace};
	_cleanup_(ig_validator_freep) struct ig_validator *validator = NULL;
	struct ig_object_set *set = ig_object_set_new();
	json_t *typed = with_type(f, object);
	int r = set && typed ? ig_validator_new(&options, &validator) : -ENOMEM;

	if (r < 0)
		r = ig_err_set(err, r, "out of memory");
	else
		r = ig_validator_add(validator, typed, set, err);
	json_decref(typed);
	if (r < 0)
		set = ig_object_set_free(set);
	*ret = set;
	return r;
}

/* Replaces what the source declares; takes set. */
static int replace(
	struct feed *f, const char *source, struct ig_object_set *set, struct ig_err *err)
{
	int r;

	f->feeder->applying = true;
	r = ig_store_replace(f->feeder->store, source, set, err);
	f->feeder->applying = false;
	if (r < 0)
		(void)ig_object_set_free(set);
	return r;
}

static int apply(struct feed *f, const char *source, const json_t *object, struct ig_err *err)
{
	struct ig_object_set *set;
	int r = validate(f, object, &set, err);
	/* wrong in itself: only its next version can be better */
	bool retry = r == 0 || r == -ENOMEM;

	if (r == 0)
		r = replace(f, source, set, err);
	if (r == 0)
		return 0;
	if (f->resource->kind != IG_OBJECT_METADATA_POLICY)
		(void)replace(f, source, NULL, NULL);
	remember_refused(f, source, retry ? (json_t *)(uintptr_t)object : NULL);
	return r;
}

static void report_policy(struct feed *f, const json_t *object, int r, const struct ig_err *err)
{
	char text[IG_ERR_FILE_BYTES + IG_ERR_MESSAGE_BYTES + 32] = "";

	if (f->resource->kind != IG_OBJECT_METADATA_POLICY)
		return;
	if (r < 0)
		ig_err_format(err, text, sizeof(text));
	/* a status that cannot be written is tried again with the object's next change */
	(void)ig_kube_policy_status_report(f->feeder->status, object, r < 0 ? text : NULL);
}

static void on_put(const json_t *object, void *userdata)
{
	const json_t *metadata = json_object_get(object, "metadata");
	const char *ns = json_string_value(json_object_get(metadata, "namespace"));
	const char *name = json_string_value(json_object_get(metadata, "name"));
	struct feed *f = userdata;
	char source[SOURCE_BYTES];
	struct ig_err err = {};
	int r;

	/* nothing of ours is without a namespace */
	if (!ns || !name || !format_source(f, ns, name, source))
		return;
	unrefuse(f, source);
	r = apply(f, source, object, &err);
	if (r < 0)
		f->feeder->ops->rejected(f->resource->kind, ns, name, &err, f->feeder->userdata);
	report_policy(f, object, r, &err);
}

static void on_unusable(
	const char *ns, const char *name, const char *uid, const char *why, void *userdata)
{
	struct feed *f = userdata;
	char source[SOURCE_BYTES];
	struct ig_err err = {};

	(void)uid;
	if (!format_source(f, ns, name, source))
		return;
	unrefuse(f, source);
	(void)ig_err_set(&err, -EBADMSG, "%s", why);
	if (f->resource->kind != IG_OBJECT_METADATA_POLICY)
		(void)replace(f, source, NULL, NULL);
	remember_refused(f, source, NULL);
	f->feeder->ops->rejected(f->resource->kind, ns, name, &err, f->feeder->userdata);
}

static void on_gone(const char *ns, const char *name, const char *uid, void *userdata)
{
	struct feed *f = userdata;
	char source[SOURCE_BYTES];

	(void)uid;
	if (!format_source(f, ns, name, source))
		return;
	unrefuse(f, source);
	(void)replace(f, source, NULL, NULL);
	if (f->resource->kind == IG_OBJECT_METADATA_POLICY)
		ig_kube_policy_status_forget(f->feeder->status, ns, name);
}

static void on_batch(bool begin, void *userdata)
{
	struct feed *f = userdata;

	/* the lists of several kinds are under way at the same time */
	if (begin && f->feeder->batches++ == 0)
		ig_store_begin(f->feeder->store);
	if (begin || --f->feeder->batches > 0)
		return;
	f->feeder->applying = true;
	ig_store_commit(f->feeder->store);
	f->feeder->applying = false;
}

static void on_state(enum ig_kube_watch_state state, const char *text, void *userdata)
{
	struct feed *f = userdata;

	f->feeder->ops->state(f->resource->kind, state, text, f->feeder->userdata);
}

static const struct ig_kube_watch_ops watch_ops = {
	.put = on_put,
	.unusable = on_unusable,
	.gone = on_gone,
	.batch = on_batch,
	.state = on_state,
};

/* Objects of one kind may have been in the way of another's, so all are tried. One that fails again
 * stays where it is: the report was made. */
void ig_kube_feeder_store_changed(struct ig_kube_feeder *feeder)
{
	if (feeder->applying)
		return;
	for (size_t i = 0; i < IG_ARRAY_SIZE(feeder->feeds); i++) {
		struct feed *f = &feeder->feeds[i];
		struct refused *refused, *next;

		HASH_ITER (hh, f->refused, refused, next) {
			struct ig_object_set *set;

			if (!refused->object || validate(f, refused->object, &set, NULL) < 0 ||
				replace(f, refused->source, set, NULL) < 0)
				continue;
			report_policy(f, refused->object, 0, NULL);
			unrefuse(f, refused->source);
		}
	}
}

/* ---- start and end ---- */

static void on_status_forbidden(unsigned int http_status, void *userdata)
{
	struct ig_kube_feeder *feeder = userdata;

	feeder->ops->status_forbidden(http_status, feeder->userdata);
}

static int start_feed(struct event_base *base, struct ig_kube_client *client, struct feed *f,
	const struct ig_kube_feeder_options *options)
{
	struct ig_kube_watch_options watch = {
		.path = f->resource->path,
		.metadata_only = f->resource->metadata_only,
		.from_cache = f->resource->from_cache,
		.fields = f->resource->fields,
	};

	if (f->resource->of_node) {
		/* a name that the API server takes needs no escape in a query */
		if (!ig_name_is_dns_subdomain(options->node))
			return -EINVAL;
		(void)snprintf(f->query, sizeof(f->query), "fieldSelector=spec.nodeName%%3D%s",
			options->node);
		watch.query = f->query;
	}
	return ig_kube_watch_new(base, client, &watch, &watch_ops, f, &f->watch);
}

int ig_kube_feeder_new(struct event_base *base, struct ig_kube_client *client,
	struct ig_store *store, const struct ig_kube_feeder_options *options,
	const struct ig_kube_feeder_ops *ops, void *userdata, struct ig_kube_feeder **ret)
{
	_cleanup_(ig_kube_feeder_freep) struct ig_kube_feeder *feeder = calloc(1, sizeof(*feeder));
	int r;

	if (!feeder)
		return -ENOMEM;
	feeder->store = store;
	feeder->ops = ops;
	feeder->userdata = userdata;
	feeder->policy_namespace = options->policy_namespace;
	r = ig_kube_policy_status_new(base, client, on_status_forbidden, feeder, &feeder->status);
	for (size_t i = 0; r == 0 && i < IG_ARRAY_SIZE(resources); i++) {
		feeder->feeds[i].feeder = feeder;
		feeder->feeds[i].resource = &resources[i];
		r = start_feed(base, client, &feeder->feeds[i], options);
	}
	if (r < 0)
		return r;
	*ret = TAKE_PTR(feeder);
	return 0;
}

struct ig_kube_feeder *ig_kube_feeder_free(struct ig_kube_feeder *feeder)
{
	struct refused *refused, *next;

	if (!feeder)
		return NULL;
	for (size_t i = 0; i < IG_ARRAY_SIZE(feeder->feeds); i++) {
		struct feed *f = &feeder->feeds[i];

		f->watch = ig_kube_watch_free(f->watch);
		HASH_ITER (hh, f->refused, refused, next) {
			HASH_DEL(f->refused, refused);
			json_decref(refused->object);
			free(refused);
		}
	}
	feeder->status = ig_kube_policy_status_free(feeder->status);
	free(feeder);
	return NULL;
}

/* ---- for readers ---- */

bool ig_kube_feeder_synced(const struct ig_kube_feeder *feeder)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(feeder->feeds); i++) {
		struct ig_kube_watch_stats stats;

		ig_kube_watch_stats(feeder->feeds[i].watch, &stats);
		if (!stats.complete)
			return false;
	}
	return true;
}

bool ig_kube_feeder_stats(const struct ig_kube_feeder *feeder, enum ig_object_kind kind,
	struct ig_kube_feeder_stats *ret)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(feeder->feeds); i++) {
		const struct feed *f = &feeder->feeds[i];

		if (f->resource->kind != kind)
			continue;
		ret->rejected = HASH_COUNT(f->refused);
		ig_kube_watch_stats(f->watch, &ret->watch);
		return true;
	}
	return false;
}
