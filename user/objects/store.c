/*
 * The store of declared objects; see store.h. Each source keeps the set it declared; one hash table
 * maps every claim (see ig_object_claim(): kind and name, pod uid, cgroup) to its object, which
 * serves both the look-ups and the search for clashes. One flat array per kind serves iteration.
 *
 * A change is prepared completely (claims, arrays) before the first visible step, and no visible
 * step can fail. Never called from more than one thread; never keeps what it hands out alive.
 * Called by the feeders (manifest_dir.c), the policy and the agent.
 */
#include "objects/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "base/cleanup.h"

struct source {
	char *name;		   /* owned */
	struct ig_object_set *set; /* owned */
	struct claim *claims;	   /* owned; array, each one linked into the store's table */
	size_t n_claims;
};

struct claim {
	UT_hash_handle hh;
	char *key;	    /* owned */
	const void *object; /* owned by source->set */
	const struct source *source;
	struct ig_object_place place;
};

struct view {
	const void **items; /* owned; the objects are the sources' */
	size_t n;
};

struct views {
	struct view of[_IG_OBJECT_KIND_MAX];
};

struct ig_store {
	struct source **sources; /* owned; ordered by name */
	size_t n_sources;
	struct claim *index; /* uthash head; the claims are the sources' */
	struct views views;
	uint64_t epoch;
	ig_store_changed *changed;
	void *userdata;
};

static struct source *source_free(struct source *source)
{
	if (!source)
		return NULL;
	for (size_t i = 0; i < source->n_claims; i++)
		free(source->claims[i].key);
	free(source->claims);
	(void)ig_object_set_free(source->set);
	free(source->name);
	free(source);
	return NULL;
}
IG_DEFINE_CLEANUP(struct source *, source_free);

static void views_done(struct views *views)
{
	for (size_t i = 0; i < _IG_OBJECT_KIND_MAX; i++)
		free(views->of[i].items);
	*views = (struct views){};
}

int ig_store_new(struct ig_store **ret)
{
	struct ig_store *store = calloc(1, sizeof(*store));

	if (!store)
		return -ENOMEM;
	*ret = store;
	return 0;
}

struct ig_store *ig_store_free(struct ig_store *store)
{
	if (!store)
		return NULL;
	HASH_CLEAR(hh, store->index);
	for (size_t i = 0; i < store->n_sources; i++)
		(void)source_free(store->sources[i]);
	free(store->sources);
	views_done(&store->views);
	free(store);
	return NULL;
}

/* Place of the source with that name, or where it belongs; *ret_found says which. */
static size_t source_place(const struct ig_store *store, const char *name, bool *ret_found)
{
	size_t lo = 0, hi = store->n_sources;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(store->sources[mid]->name, name);

		if (c == 0) {
			*ret_found = true;
			return mid;
		}
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	*ret_found = false;
	return lo;
}

static const struct claim *find_claim(const struct ig_store *store, const char *key)
{
	struct claim *claim;

	HASH_FIND_STR(store->index, key, claim);
	return claim;
}

static int add_object_claims(struct source *source, enum ig_object_kind kind, const void *object)
{
	char key[IG_OBJECT_CLAIM_BYTES + 1];

	for (size_t i = 0; i < IG_OBJECT_CLAIMS_MAX; i++) {
		struct claim *claim = &source->claims[source->n_claims];

		if (!ig_object_claim(kind, object, i, key, sizeof(key)))
			continue;
		claim->key = strdup(key);
		if (!claim->key)
			return -ENOMEM;
		claim->object = object;
		claim->place = ig_object_place(kind, object);
		claim->source = source;
		source->n_claims++;
	}
	return 0;
}

static int fill_claims(struct source *source)
{
	size_t n = ig_object_set_count(source->set);

	/* never zero, so that NULL means out of memory */
	source->claims = calloc(n * IG_OBJECT_CLAIMS_MAX + 1, sizeof(*source->claims));
	if (!source->claims)
		return -ENOMEM;
	for (int kind = 0; kind < _IG_OBJECT_KIND_MAX; kind++) {
		enum ig_object_kind k = (enum ig_object_kind)kind;
		const char *items = ig_object_set_items(source->set, k, &n);

		for (size_t i = 0; i < n; i++) {
			int r = add_object_claims(source, k, items + i * ig_object_size(k));

			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* Takes `set` on success only. */
static int source_new(const char *name, struct ig_object_set *set, struct source **ret)
{
	_cleanup_(source_freep) struct source *source = calloc(1, sizeof(*source));
	int r;

	if (!source)
		return -ENOMEM;
	source->name = strdup(name);
	if (!source->name)
		return -ENOMEM;
	source->set = set;
	r = fill_claims(source);
	if (r < 0) {
		source->set = NULL;
		return r;
	}
	*ret = TAKE_PTR(source);
	return 0;
}

static int compare_keys(const void *a, const void *b)
{
	const char *const *ka = a, *const *kb = b;

	return strcmp(*ka, *kb);
}

static int check_twice(const struct source *source, struct ig_err *reterr_err)
{
	_cleanup_free_ const char **keys = calloc(source->n_claims + 1, sizeof(*keys));

	if (!keys)
		return -ENOMEM;
	for (size_t i = 0; i < source->n_claims; i++)
		keys[i] = source->claims[i].key;
	qsort(keys, source->n_claims, sizeof(*keys), compare_keys);
	for (size_t i = 1; i < source->n_claims; i++)
		if (strcmp(keys[i - 1], keys[i]) == 0)
			return ig_err_at(reterr_err, -EINVAL, source->name, 0, 0,
				"%s is declared twice", keys[i]);
	return 0;
}

/* `old` is what the new source replaces; its claims do not count. */
static int check_clashes(const struct ig_store *store, const struct source *source,
	const struct source *old, struct ig_err *reterr_err)
{
	for (size_t i = 0; i < source->n_claims; i++) {
		const struct claim *other = find_claim(store, source->claims[i].key);

		if (other && other->source != old)
			return ig_err_at(reterr_err, -EINVAL, source->name,
				source->claims[i].place.line, source->claims[i].place.column,
				"%s is already declared by %s", other->key, other->source->name);
	}
	return check_twice(source, reterr_err);
}

static void unlink_claims(struct ig_store *store, struct source *source, size_t n)
{
	for (size_t i = 0; i < n; i++)
		HASH_DEL(store->index, &source->claims[i]);
}

/* The table may hold a key of the old and of the new source at the same time: nobody looks before
 * the old claims are unlinked, and unlinking goes by element. */
static int link_claims(struct ig_store *store, struct source *source)
{
	for (size_t i = 0; i < source->n_claims; i++) {
		struct claim *claim = &source->claims[i];

		HASH_ADD_KEYPTR(hh, store->index, claim->key, strlen(claim->key), claim);
		if (!claim->hh.tbl) {
			unlink_claims(store, source, i);
			return -ENOMEM;
		}
	}
	return 0;
}

static int fill_view(struct source *const *sources, size_t n_sources, enum ig_object_kind kind,
	struct view *view)
{
	size_t n, total = 0;

	for (size_t i = 0; i < n_sources; i++) {
		(void)ig_object_set_items(sources[i]->set, kind, &n);
		total += n;
	}
	view->items = calloc(total + 1, sizeof(*view->items));
	if (!view->items)
		return -ENOMEM;
	for (size_t i = 0; i < n_sources; i++) {
		const char *items = ig_object_set_items(sources[i]->set, kind, &n);

		for (size_t j = 0; j < n; j++)
			view->items[view->n++] = items + j * ig_object_size(kind);
	}
	return 0;
}

/* The array of sources with `source` at `place`: instead of the one there when `replaces`, else
 * inserted. */
static int next_sources(const struct ig_store *store, struct source *source, size_t place,
	bool replaces, struct source ***ret, size_t *ret_n)
{
	size_t rest = place + (replaces ? 1 : 0);
	struct source **next = calloc(store->n_sources + 1, sizeof(*next));
	size_t n = 0;

	if (!next)
		return -ENOMEM;
	for (size_t i = 0; i < place; i++)
		next[n++] = store->sources[i];
	next[n++] = source;
	for (size_t i = rest; i < store->n_sources; i++)
		next[n++] = store->sources[i];
	*ret = next;
	*ret_n = n;
	return 0;
}

/* Takes source on success only; frees `old`, the one at `place`, unless it is NULL. */
static int put_source(
	struct ig_store *store, struct source *source, struct source *old, size_t place)
{
	_cleanup_free_ struct source **sources = NULL;
	_cleanup_(views_done) struct views views = {};
	size_t n_sources = 0;
	int r;

	r = next_sources(store, source, place, old, &sources, &n_sources);
	for (int kind = 0; r == 0 && kind < _IG_OBJECT_KIND_MAX; kind++)
		r = fill_view(sources, n_sources, (enum ig_object_kind)kind, &views.of[kind]);
	if (r == 0)
		r = link_claims(store, source);
	if (r < 0)
		return r;
	/* from here on nothing can fail */
	if (old)
		unlink_claims(store, old, old->n_claims);
	(void)source_free(old);
	free(store->sources);
	store->sources = TAKE_PTR(sources);
	store->n_sources = n_sources;
	views_done(&store->views);
	store->views = views;
	views = (struct views){};
	store->epoch++;
	return 0;
}

/* Needs no memory, because what is revoked has to be revoked. */
static void remove_source(struct ig_store *store, size_t place)
{
	struct source *old = store->sources[place];

	for (int kind = 0; kind < _IG_OBJECT_KIND_MAX; kind++) {
		struct view *view = &store->views.of[kind];
		size_t n, from = 0;

		for (size_t i = 0; i < place; i++) {
			(void)ig_object_set_items(
				store->sources[i]->set, (enum ig_object_kind)kind, &n);
			from += n;
		}
		(void)ig_object_set_items(old->set, (enum ig_object_kind)kind, &n);
		memmove(&view->items[from], &view->items[from + n],
			(view->n - from - n) * sizeof(*view->items));
		view->n -= n;
	}
	store->n_sources--;
	memmove(&store->sources[place], &store->sources[place + 1],
		(store->n_sources - place) * sizeof(*store->sources));
	unlink_claims(store, old, old->n_claims);
	(void)source_free(old);
	store->epoch++;
}

/* What ig_store_replace() does with a set that has objects and differs from the old one. */
static int replace_changed(struct ig_store *store, const char *name, struct ig_object_set *set,
	struct source *old, size_t place, struct ig_err *reterr_err)
{
	_cleanup_(source_freep) struct source *source = NULL;
	int r = source_new(name, set, &source);

	if (r == 0)
		r = check_clashes(store, source, old, reterr_err);
	if (r == 0)
		r = put_source(store, source, old, place);
	if (r < 0) {
		if (source)
			source->set = NULL; /* stays the caller's */
		return r == -ENOMEM ? ig_err_set(reterr_err, r, "out of memory") : r;
	}
	(void)TAKE_PTR(source);
	return 0;
}

int ig_store_replace(struct ig_store *store, const char *name, struct ig_object_set *set,
	struct ig_err *reterr_err)
{
	uint64_t epoch = store->epoch;
	bool found;
	size_t place = source_place(store, name, &found);
	struct source *old = found ? store->sources[place] : NULL;

	/* a source without objects is no source, so nothing and an empty set are the same */
	if (!set || ig_object_set_count(set) == 0) {
		(void)ig_object_set_free(set);
		if (old)
			remove_source(store, place);
	} else if (old && ig_object_set_equal(old->set, set)) {
		(void)ig_object_set_free(set);
	} else {
		int r = replace_changed(store, name, set, old, place, reterr_err);

		if (r < 0)
			return r;
	}
	if (store->epoch != epoch && store->changed)
		store->changed(store->epoch, store->userdata);
	return 0;
}

uint64_t ig_store_epoch(const struct ig_store *store)
{
	return store->epoch;
}

void ig_store_set_listener(struct ig_store *store, ig_store_changed *changed, void *userdata)
{
	store->changed = changed;
	store->userdata = userdata;
}

/* The object that holds the claim "prefix value", or "prefix ns/name" with a namespace. */
static const void *lookup(
	const struct ig_store *store, const char *prefix, const char *ns, const char *value)
{
	char key[IG_OBJECT_CLAIM_BYTES + 1];
	const struct claim *claim;
	int n = snprintf(key, sizeof(key), "%s %s%s%s", prefix, ns ? ns : "", ns ? "/" : "", value);

	/* what does not fit cannot have been declared, and must not be found by its first part */
	if (n < 0 || (size_t)n >= sizeof(key))
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
	const struct view *view = &store->views.of[kind];

	return *iter < view->n ? view->items[(*iter)++] : NULL;
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

const struct ig_service_account *ig_store_next_service_account(
	const struct ig_store *store, size_t *iter)
{
	return next_item(store, IG_OBJECT_SERVICE_ACCOUNT, iter);
}

const struct ig_metadata_policy *ig_store_next_metadata_policy(
	const struct ig_store *store, size_t *iter)
{
	return next_item(store, IG_OBJECT_METADATA_POLICY, iter);
}

size_t ig_store_count(const struct ig_store *store, enum ig_object_kind kind)
{
	return store->views.of[kind].n;
}
