/*
 * The store of declared objects; see store.h. Each source keeps the set it declared. Two hash
 * tables, of sources by name and of claims (see ig_object_claim(): kind and name, pod uid, cgroup),
 * serve the look-ups and the search for clashes; one dense array per kind serves iteration. What a
 * change costs depends on the objects of its source alone, because Kubernetes feeds one source per
 * object.
 *
 * A change is prepared completely (claims, room in the arrays) before the first visible step, and
 * no visible step can fail. Never called from more than one thread; never keeps what it hands out
 * alive. Called by the feeders (manifest_dir.c), the policy and the agent.
 */
#include "objects/store.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "objects/store_source.h"

/* All objects of a kind, in no order that means anything. */
struct view {
	struct ig_store_slot **slots; /* owned; the slots are the sources' */
	size_t n;
	size_t room;
};

struct ig_store {
	struct ig_store_source *sources; /* uthash head; owned */
	struct ig_store_claim *index;	 /* uthash head; the claims are the sources' */
	struct view views[_IG_OBJECT_KIND_MAX];
	uint64_t epoch;
	uint64_t kind_epochs[_IG_OBJECT_KIND_MAX];
	uint64_t told; /* the last epoch that the listener knows of */
	/* since then; what is gone is in no table any more, and owned here */
	TAILQ_HEAD(ig_store_sources, ig_store_source) came, gone;
	bool batch;
	ig_store_changed *changed;
	void *userdata;
};

int ig_store_new(struct ig_store **ret)
{
	struct ig_store *store = calloc(1, sizeof(*store));

	if (!store)
		return -ENOMEM;
	TAILQ_INIT(&store->came);
	TAILQ_INIT(&store->gone);
	*ret = store;
	return 0;
}

/* The listener knows. */
static void forget_news(struct ig_store *store)
{
	struct ig_store_source *source;

	while ((source = TAILQ_FIRST(&store->came)) != NULL) {
		TAILQ_REMOVE(&store->came, source, news);
		source->is_news = false;
	}
	while ((source = TAILQ_FIRST(&store->gone)) != NULL) {
		TAILQ_REMOVE(&store->gone, source, news);
		(void)ig_store_source_free(source);
	}
}

struct ig_store *ig_store_free(struct ig_store *store)
{
	struct ig_store_source *source, *next;

	if (!store)
		return NULL;
	forget_news(store);
	HASH_CLEAR(hh, store->index);
	HASH_ITER (hh, store->sources, source, next) {
		HASH_DEL(store->sources, source);
		(void)ig_store_source_free(source);
	}
	for (size_t i = 0; i < _IG_OBJECT_KIND_MAX; i++)
		free(store->views[i].slots);
	free(store);
	return NULL;
}

static struct ig_store_source *find_source(const struct ig_store *store, const char *name)
{
	struct ig_store_source *source;

	HASH_FIND_STR(store->sources, name, source);
	return source;
}

static const struct ig_store_claim *find_claim(const struct ig_store *store, const char *key)
{
	struct ig_store_claim *claim;

	HASH_FIND_STR(store->index, key, claim);
	return claim;
}

/* ---- clashes ---- */

/* `old` is what the new source replaces; its claims do not count. */
static int check_clashes(const struct ig_store *store, const struct ig_store_source *source,
	const struct ig_store_source *old, struct ig_err *reterr_err)
{
	for (size_t i = 0; i < source->n_claims; i++) {
		const struct ig_store_claim *other = find_claim(store, source->claims[i].key);

		if (other && other->source != old)
			return ig_err_at(reterr_err, -EINVAL, source->name,
				source->claims[i].place.line, source->claims[i].place.column,
				"%s is already declared by %s", other->key, other->source->name);
	}
	return ig_store_source_check_twice(source, reterr_err);
}

/* ---- changes ---- */

static void unlink_claims(struct ig_store *store, struct ig_store_source *source, size_t n)
{
	for (size_t i = 0; i < n; i++)
		HASH_DEL(store->index, &source->claims[i]);
}

/* The tables may hold a key of the old and of the new source at the same time: nobody looks before
 * the old ones are unlinked, and unlinking goes by element. */
static int link_source(struct ig_store *store, struct ig_store_source *source)
{
	HASH_ADD_KEYPTR(hh, store->sources, source->name, strlen(source->name), source);
	if (!ig_table_has(source))
		return -ENOMEM;
	for (size_t i = 0; i < source->n_claims; i++) {
		struct ig_store_claim *claim = &source->claims[i];

		HASH_ADD_KEYPTR(hh, store->index, claim->key, strlen(claim->key), claim);
		if (!ig_table_has(claim)) {
			unlink_claims(store, source, i);
			HASH_DEL(store->sources, source);
			return -ENOMEM;
		}
	}
	return 0;
}

/* Room for n more. It doubles, so that what is moved is in proportion to what was added. */
static int view_reserve(struct view *view, size_t n)
{
	size_t room = view->room ? view->room : 16;
	struct ig_store_slot **slots;

	while (room < view->n + n)
		room *= 2;
	if (room == view->room)
		return 0;
	slots = reallocarray(view->slots, room, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	view->slots = slots;
	view->room = room;
	return 0;
}

static int reserve(struct ig_store *store, const struct ig_store_source *source)
{
	int r = 0;

	for (int kind = 0; r == 0 && kind < _IG_OBJECT_KIND_MAX; kind++) {
		size_t n;

		(void)ig_object_set_items(source->set, (enum ig_object_kind)kind, &n);
		r = n ? view_reserve(&store->views[kind], n) : 0;
	}
	return r;
}

/* There is room. */
static void show(struct ig_store *store, struct ig_store_source *source)
{
	struct ig_store_slot *slot = source->slots;

	for (int kind = 0; kind < _IG_OBJECT_KIND_MAX; kind++) {
		struct view *view = &store->views[kind];
		size_t n;

		(void)ig_object_set_items(source->set, (enum ig_object_kind)kind, &n);
		for (size_t i = 0; i < n; i++, slot++) {
			slot->at = view->n++;
			view->slots[slot->at] = slot;
		}
	}
}

/* The last one takes the place of each that goes. */
static void hide(struct ig_store *store, const struct ig_store_source *source)
{
	const struct ig_store_slot *slot = source->slots;

	for (int kind = 0; kind < _IG_OBJECT_KIND_MAX; kind++) {
		struct view *view = &store->views[kind];
		size_t n;

		(void)ig_object_set_items(source->set, (enum ig_object_kind)kind, &n);
		for (size_t i = 0; i < n; i++, slot++) {
			struct ig_store_slot *last = view->slots[--view->n];

			view->slots[slot->at] = last;
			last->at = slot->at;
		}
	}
}

/* Needs no memory, because what is revoked has to be revoked. */
static void remove_source(struct ig_store *store, struct ig_store_source *source)
{
	hide(store, source);
	unlink_claims(store, source, source->n_claims);
	HASH_DEL(store->sources, source);
	if (source->is_news)
		TAILQ_REMOVE(&store->came, source, news);
	TAILQ_INSERT_TAIL(&store->gone, source, news);
}

/* Takes source on success only; `old` goes, unless it is NULL. */
static int put_source(
	struct ig_store *store, struct ig_store_source *source, struct ig_store_source *old)
{
	int r = reserve(store, source);

	if (r == 0)
		r = link_source(store, source);
	if (r < 0)
		return r;
	/* from here on nothing can fail */
	if (old)
		remove_source(store, old);
	show(store, source);
	source->is_news = true;
	TAILQ_INSERT_TAIL(&store->came, source, news);
	return 0;
}

/* What ig_store_replace() does with a set that has objects and differs from the old one. */
static int replace_changed(struct ig_store *store, const char *name, struct ig_object_set *set,
	struct ig_store_source *old, struct ig_err *reterr_err)
{
	_cleanup_(ig_store_source_freep) struct ig_store_source *source = NULL;
	int r = ig_store_source_new(name, set, &source);

	if (r == 0)
		r = check_clashes(store, source, old, reterr_err);
	if (r == 0)
		r = put_source(store, source, old);
	if (r < 0) {
		if (source)
			source->set = NULL; /* stays the caller's */
		return r == -ENOMEM ? ig_err_set(reterr_err, r, "out of memory") : r;
	}
	(void)TAKE_PTR(source);
	return 0;
}

static void tell(struct ig_store *store)
{
	if (store->batch || store->told == store->epoch)
		return;
	store->told = store->epoch;
	if (store->changed)
		store->changed(store->epoch, store->userdata);
	forget_news(store);
}

/* A bit for each kind that the set has objects of. */
static unsigned int kinds_of(const struct ig_object_set *set)
{
	unsigned int kinds = 0;
	size_t n = 0;

	for (int kind = 0; set && kind < _IG_OBJECT_KIND_MAX; kind++) {
		(void)ig_object_set_items(set, (enum ig_object_kind)kind, &n);
		if (n)
			kinds |= 1U << kind;
	}
	return kinds;
}

static void note_change(struct ig_store *store, unsigned int kinds)
{
	store->epoch++;
	for (int kind = 0; kind < _IG_OBJECT_KIND_MAX; kind++)
		if (kinds & 1U << kind)
			store->kind_epochs[kind] = store->epoch;
	tell(store);
}

int ig_store_replace(struct ig_store *store, const char *name, struct ig_object_set *set,
	struct ig_err *reterr_err)
{
	struct ig_store_source *old = find_source(store, name);
	/* both are gone or taken when it is done */
	unsigned int kinds = kinds_of(set) | kinds_of(old ? old->set : NULL);

	/* a source without objects is no source, so nothing and an empty set are the same */
	if (!set || ig_object_set_count(set) == 0) {
		(void)ig_object_set_free(set);
		if (!old)
			return 0;
		remove_source(store, old);
	} else if (old && ig_object_set_equal(old->set, set)) {
		(void)ig_object_set_free(set);
		return 0;
	} else {
		int r = replace_changed(store, name, set, old, reterr_err);

		if (r < 0)
			return r;
	}
	note_change(store, kinds);
	return 0;
}

void ig_store_begin(struct ig_store *store)
{
	assert(!store->batch);
	store->batch = true;
}

void ig_store_commit(struct ig_store *store)
{
	assert(store->batch);
	store->batch = false;
	tell(store);
}

uint64_t ig_store_epoch(const struct ig_store *store)
{
	return store->epoch;
}

uint64_t ig_store_kind_epoch(const struct ig_store *store, enum ig_object_kind kind)
{
	return store->kind_epochs[kind];
}

void ig_store_set_listener(struct ig_store *store, ig_store_changed *changed, void *userdata)
{
	store->changed = changed;
	store->userdata = userdata;
}

static void each_pod(const struct ig_store_sources *sources,
	void (*each)(const struct ig_pod *pod, void *userdata), void *userdata)
{
	const struct ig_store_source *source;
	size_t n;

	TAILQ_FOREACH (source, sources, news) {
		const struct ig_pod *pods = ig_object_set_items(source->set, IG_OBJECT_POD, &n);

		for (size_t i = 0; i < n; i++)
			each(&pods[i], userdata);
	}
}

void ig_store_each_changed_pod(const struct ig_store *store,
	void (*each)(const struct ig_pod *pod, void *userdata), void *userdata)
{
	each_pod(&store->gone, each, userdata);
	each_pod(&store->came, each, userdata);
}

/* ---- look-ups ---- */

/* The object that holds the claim "prefix value", or "prefix ns/name" with a namespace. */
static const void *lookup(
	const struct ig_store *store, const char *prefix, const char *ns, const char *value)
{
	char key[IG_OBJECT_CLAIM_BYTES + 1];
	const struct ig_store_claim *claim;

	/* what does not fit cannot have been declared, and must not be found by its first part */
	if (!ig_str_concat(key, sizeof(key), prefix, " ", ns ? ns : "", ns ? "/" : "", value,
		    (char *)NULL))
		return NULL;
	claim = find_claim(store, key);
	return claim ? claim->object : NULL;
}

const struct ig_pod *ig_store_pod_by_uid(const struct ig_store *store, const char *uid)
{
	return lookup(store, "pod uid", NULL, uid);
}

const struct ig_pod *ig_store_pod_by_name(
	const struct ig_store *store, const char *ns, const char *name)
{
	return lookup(store, ig_object_kind_name(IG_OBJECT_POD), ns, name);
}

const struct ig_identity *ig_store_identity_by_name(
	const struct ig_store *store, const char *ns, const char *name)
{
	return lookup(store, ig_object_kind_name(IG_OBJECT_IDENTITY), ns, name);
}

const struct ig_service_account *ig_store_service_account_by_name(
	const struct ig_store *store, const char *ns, const char *name)
{
	return lookup(store, ig_object_kind_name(IG_OBJECT_SERVICE_ACCOUNT), ns, name);
}

const struct ig_pod *ig_store_pod_by_cgroup(const struct ig_store *store, const char *path)
{
	char at[IG_CGROUP_PATH_BYTES + 1];
	size_t len = strlen(path);

	/* a declared path has a limit, a real one has not: begin with the ancestor that fits */
	while (len > IG_CGROUP_PATH_BYTES)
		while (len > 0 && path[--len] != '/')
			;
	memcpy(at, path, len);
	at[len] = '\0';
	while (len > 0) {
		const struct ig_pod *pod = lookup(store, "cgroup", NULL, at);

		if (pod)
			return pod;
		while (len > 0 && at[--len] != '/')
			;
		at[len] = '\0';
	}
	return NULL;
}

static const void *next_item(const struct ig_store *store, enum ig_object_kind kind, size_t *iter)
{
	const struct view *view = &store->views[kind];

	return *iter < view->n ? view->slots[(*iter)++]->object : NULL;
}

const struct ig_pod *ig_store_next_pod(const struct ig_store *store, size_t *iter)
{
	return next_item(store, IG_OBJECT_POD, iter);
}

const struct ig_binding *ig_store_next_binding(const struct ig_store *store, size_t *iter)
{
	return next_item(store, IG_OBJECT_BINDING, iter);
}

const struct ig_exception *ig_store_next_exception(const struct ig_store *store, size_t *iter)
{
	return next_item(store, IG_OBJECT_EXCEPTION, iter);
}

const struct ig_identity *ig_store_next_identity(const struct ig_store *store, size_t *iter)
{
	return next_item(store, IG_OBJECT_IDENTITY, iter);
}

const struct ig_metadata_policy *ig_store_next_metadata_policy(
	const struct ig_store *store, size_t *iter)
{
	return next_item(store, IG_OBJECT_METADATA_POLICY, iter);
}

size_t ig_store_count(const struct ig_store *store, enum ig_object_kind kind)
{
	return store->views[kind].n;
}
