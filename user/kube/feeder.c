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

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/table.h"
#include "kube/policy_status.h"
#include "kube/resources.h"
#include "objects/names.h"
#include "objects/validate.h"

/* The node's name stands in the pods' query. */
#define QUERY_BYTES (IG_OBJECT_NAME_BYTES + 64)

/* An object that does not hold. */
struct refused {
	json_t *object; /* owned reference: it may hold later; NULL: it is wrong in itself */
	UT_hash_handle hh;
	char source[];
};

struct feed {
	struct ig_kube_feeder *feeder;
	const struct ig_kube_resource *resource;
	struct ig_kube_watch *watch; /* owned; NULL: not begun */
	struct refused *refused;     /* uthash head; owned */
	char query[QUERY_BYTES];
};

struct ig_kube_feeder {
	struct event_base *base;
	struct ig_kube_client *client;
	struct ig_store *store;
	struct ig_kube_policy_status *status; /* owned */
	const struct ig_kube_feeder_ops *ops;
	void *userdata;
	const char *policy_namespace;
	struct event *later;  /* owned; begins watches, tries again what was refused */
	struct event *tell;   /* owned; runs while lists are under way */
	unsigned int batches; /* that are */
	struct feed feeds[IG_KUBE_RESOURCES];
};

IG_DEFINE_CLEANUP(struct ig_kube_feeder *, ig_kube_feeder_free);

/* what is to be done when there is memory again */
static const struct timeval retry_pause = {
	.tv_sec = IG_KUBE_FEEDER_RETRY_MSEC / 1000,
	.tv_usec = IG_KUBE_FEEDER_RETRY_MSEC % 1000 * 1000,
};
static const struct timeval tell_pause = {
	.tv_sec = IG_KUBE_FEEDER_BATCH_MSEC / 1000,
	.tv_usec = IG_KUBE_FEEDER_BATCH_MSEC % 1000 * 1000,
};

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
	if (!ig_table_has(refused)) {
		json_decref(refused->object);
		free(refused);
	}
}

/* ---- taking objects over ---- */

/* Elements of lists do not say what they are, and metadata-only ones say something else. Not
 * json_copy(), whose copy lacks members when memory runs out. */
static json_t *with_type(const struct feed *f, const json_t *object)
{
	json_t *typed = json_object(), *value;
	int r = typed ? 0 : -1;
	const char *key;

	json_object_foreach ((json_t *)(uintptr_t)object, key, value)
		r |= json_object_set(typed, key, value);
	r |= json_object_set_new(typed, "apiVersion", json_string(f->resource->api));
	r |= json_object_set_new(
		typed, "kind", json_string(ig_object_kind_name(f->resource->kind)));
	if (r == 0)
		return typed;
	json_decref(typed);
	return NULL;
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
	int r = ig_store_replace(f->feeder->store, source, set, err);

	if (r < 0)
		(void)ig_object_set_free(set);
	return r;
}

/* What it says now does not hold. object: to be tried again; NULL: wrong in itself, only its next
 * version can be better. */
static void refuse(struct feed *f, const char *source, json_t *object)
{
	if (f->resource->kind != IG_OBJECT_METADATA_POLICY)
		(void)replace(f, source, NULL, NULL);
	remember_refused(f, source, object);
}

/* Whether it is valid, which all agents find alike. */
static void report_policy(struct feed *f, const json_t *object, int r, const struct ig_err *err)
{
	char text[IG_ERR_FILE_BYTES + IG_ERR_MESSAGE_BYTES + 32] = "";

	if (f->resource->kind != IG_OBJECT_METADATA_POLICY || r == -ENOMEM)
		return;
	if (r < 0)
		ig_err_format(err, text, sizeof(text));
	/* a status that cannot be written is tried again with the object's next change */
	(void)ig_kube_policy_status_report(f->feeder->status, object, r < 0 ? text : NULL);
}

static int apply(struct feed *f, const char *source, const json_t *object, struct ig_err *err)
{
	struct ig_object_set *set;
	int r = validate(f, object, &set, err);
	bool may_hold_later = r == 0 || r == -ENOMEM;

	report_policy(f, object, r, err);
	if (r == 0)
		r = replace(f, source, set, err);
	if (r == 0)
		return 0;
	refuse(f, source, may_hold_later ? (json_t *)(uintptr_t)object : NULL);
	if (r == -ENOMEM)
		(void)evtimer_add(f->feeder->later, &retry_pause);
	return r;
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
	refuse(f, source, NULL);
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

/* The lists of several kinds are under way at the same time. The store tells its listener once they
 * are complete, but not as late as a list that hangs: others change it, too. */
static void on_batch(bool begin, void *userdata)
{
	struct ig_kube_feeder *feeder = ((struct feed *)userdata)->feeder;

	if (begin && feeder->batches++ == 0) {
		ig_store_begin(feeder->store);
		(void)event_add(feeder->tell, &tell_pause);
	}
	if (begin || --feeder->batches > 0)
		return;
	(void)event_del(feeder->tell);
	ig_store_commit(feeder->store);
}

static void on_tell(evutil_socket_t fd, short what, void *arg)
{
	struct ig_kube_feeder *feeder = arg;

	(void)fd;
	(void)what;
	ig_store_commit(feeder->store);
	ig_store_begin(feeder->store);
}

static bool is_complete(const struct feed *f)
{
	struct ig_kube_watch_stats stats;

	if (!f->watch)
		return false;
	ig_kube_watch_stats(f->watch, &stats);
	return stats.complete;
}

static void on_state(enum ig_kube_watch_state state, const char *text, void *userdata)
{
	struct feed *f = userdata;

	if (f->resource->kind == IG_OBJECT_METADATA_POLICY && is_complete(f))
		event_active(f->feeder->later, EV_TIMEOUT, 0);
	f->feeder->ops->state(f->resource->kind, state, text, f->feeder->userdata);
}

static const struct ig_kube_watch_ops watch_ops = {
	.put = on_put,
	.unusable = on_unusable,
	.gone = on_gone,
	.batch = on_batch,
	.state = on_state,
};

/* ---- what is done later ---- */

/* The report was made; it is repeated for none that fails again. -ENOMEM if memory was what it
 * failed for. */
static int try_again(struct feed *f, struct refused *refused)
{
	struct ig_object_set *set;
	int r = validate(f, refused->object, &set, NULL);

	if (r == 0)
		r = replace(f, refused->source, set, NULL);
	if (r == 0)
		unrefuse(f, refused->source);
	return r;
}

/* Objects of one kind may have been in the way of another's, so all are tried. */
static int try_all_again(struct ig_kube_feeder *feeder)
{
	int r = 0;

	for (size_t i = 0; i < IG_ARRAY_SIZE(feeder->feeds); i++) {
		struct refused *refused, *next;

		HASH_ITER (hh, feeder->feeds[i].refused, refused, next)
			if (refused->object && try_again(&feeder->feeds[i], refused) == -ENOMEM)
				r = -ENOMEM;
	}
	return r;
}

void ig_kube_feeder_store_changed(struct ig_kube_feeder *feeder)
{
	event_active(feeder->later, EV_TIMEOUT, 0);
}

/* ---- start and end ---- */

/* Who may make policies in some namespace must not be able to leave the cluster's without room. */
static const char *reserved_ns(const struct feed *f)
{
	return f->resource->kind == IG_OBJECT_METADATA_POLICY ? f->feeder->policy_namespace : NULL;
}

static int start_feed(struct feed *f)
{
	const struct ig_kube_watch_options watch = {
		.path = f->resource->path,
		.query = f->query[0] ? f->query : NULL,
		.metadata_only = f->resource->metadata_only,
		.from_cache = f->resource->from_cache,
		.reserved_ns = reserved_ns(f),
		.fields = f->resource->fields,
	};

	return ig_kube_watch_new(
		f->feeder->base, f->feeder->client, &watch, &watch_ops, f, &f->watch);
}

static bool policies_are_known(const struct ig_kube_feeder *feeder)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(feeder->feeds); i++)
		if (feeder->feeds[i].resource->kind == IG_OBJECT_METADATA_POLICY)
			return is_complete(&feeder->feeds[i]);
	return false;
}

/* Those that may. */
static int start_feeds(struct ig_kube_feeder *feeder)
{
	bool all = policies_are_known(feeder);
	int r = 0;

	for (size_t i = 0; r == 0 && i < IG_ARRAY_SIZE(feeder->feeds); i++)
		if (!feeder->feeds[i].watch && (all || !feeder->feeds[i].resource->last))
			r = start_feed(&feeder->feeds[i]);
	return r;
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
	struct ig_kube_feeder *feeder = arg;
	int r = start_feeds(feeder), s = try_all_again(feeder);

	(void)fd;
	(void)what;
	if (r < 0 || s < 0)
		(void)evtimer_add(feeder->later, &retry_pause);
}

static int init_feeds(struct ig_kube_feeder *feeder, const char *node)
{
	/* a name that the API server takes needs no escape in a query */
	if (!ig_name_is_dns_subdomain(node))
		return -EINVAL;
	for (size_t i = 0; i < IG_KUBE_RESOURCES; i++) {
		struct feed *f = &feeder->feeds[i];

		f->feeder = feeder;
		f->resource = &ig_kube_resources[i];
		if (f->resource->of_node)
			(void)snprintf(f->query, sizeof(f->query),
				"fieldSelector=spec.nodeName%%3D%s", node);
	}
	return 0;
}

static void on_status_forbidden(unsigned int http_status, void *userdata)
{
	struct ig_kube_feeder *feeder = userdata;

	feeder->ops->status_forbidden(http_status, feeder->userdata);
}

static int make_events(struct ig_kube_feeder *feeder)
{
	feeder->later = evtimer_new(feeder->base, on_later, feeder);
	feeder->tell = event_new(feeder->base, -1, EV_PERSIST, on_tell, feeder);
	return feeder->later && feeder->tell ? 0 : -ENOMEM;
}

int ig_kube_feeder_new(struct event_base *base, struct ig_kube_client *client,
	struct ig_store *store, const struct ig_kube_feeder_options *options,
	const struct ig_kube_feeder_ops *ops, void *userdata, struct ig_kube_feeder **ret)
{
	_cleanup_(ig_kube_feeder_freep) struct ig_kube_feeder *feeder = calloc(1, sizeof(*feeder));
	int r;

	if (!feeder)
		return -ENOMEM;
	feeder->base = base;
	feeder->client = client;
	feeder->store = store;
	feeder->ops = ops;
	feeder->userdata = userdata;
	feeder->policy_namespace = options->policy_namespace;
	r = init_feeds(feeder, options->node);
	if (r == 0)
		r = make_events(feeder);
	if (r == 0)
		r = ig_kube_policy_status_new(
			base, client, on_status_forbidden, feeder, &feeder->status);
	if (r == 0)
		r = start_feeds(feeder);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(feeder);
	return 0;
}

static void feed_done(struct feed *f)
{
	struct refused *refused, *next;

	f->watch = ig_kube_watch_free(f->watch);
	HASH_ITER (hh, f->refused, refused, next) {
		HASH_DEL(f->refused, refused);
		json_decref(refused->object);
		free(refused);
	}
}

struct ig_kube_feeder *ig_kube_feeder_free(struct ig_kube_feeder *feeder)
{
	if (!feeder)
		return NULL;
	for (size_t i = 0; i < IG_ARRAY_SIZE(feeder->feeds); i++)
		feed_done(&feeder->feeds[i]);
	if (feeder->batches) /* a list was under way */
		ig_store_commit(feeder->store);
	feeder->status = ig_kube_policy_status_free(feeder->status);
	if (feeder->later)
		event_free(feeder->later);
	if (feeder->tell)
		event_free(feeder->tell);
	free(feeder);
	return NULL;
}

/* ---- for readers ---- */

bool ig_kube_feeder_synced(const struct ig_kube_feeder *feeder)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(feeder->feeds); i++)
		if (!is_complete(&feeder->feeds[i]))
			return false;
	return true;
}

bool ig_kube_feeder_stats(const struct ig_kube_feeder *feeder, enum ig_object_kind kind,
	struct ig_kube_feeder_stats *ret)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(feeder->feeds); i++) {
		const struct feed *f = &feeder->feeds[i];

		if (f->resource->kind != kind)
			continue;
		*ret = (struct ig_kube_feeder_stats){.rejected = HASH_COUNT(f->refused)};
		if (f->watch)
			ig_kube_watch_stats(f->watch, &ret->watch);
		return true;
	}
	return false;
}
