/*
 * One source of the store; see store_source.h. Everything here happens before a source becomes
 * visible or after it has ceased to be: nothing touches the store. Called by store.c.
 */
#include "objects/store_source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct ig_store_source *ig_store_source_free(struct ig_store_source *source)
{
	if (!source)
		return NULL;
	for (size_t i = 0; i < source->n_claims; i++)
		free(source->claims[i].key);
	free(source->claims);
	free(source->slots);
	(void)ig_object_set_free(source->set);
	free(source->name);
	free(source);
	return NULL;
}

static int add_object_claims(
	struct ig_store_source *source, enum ig_object_kind kind, const void *object)
{
	char key[IG_OBJECT_CLAIM_BYTES + 1];

	for (size_t i = 0; i < IG_OBJECT_CLAIMS_MAX; i++) {
		struct ig_store_claim *claim = &source->claims[source->n_claims];

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

/* Claims and slots of all objects; nothing of it is visible yet. */
static int fill_source(struct ig_store_source *source)
{
	size_t n = ig_object_set_count(source->set);
	struct ig_store_slot *slot;

	/* never zero, so that NULL means out of memory */
	source->claims = calloc(n * IG_OBJECT_CLAIMS_MAX + 1, sizeof(*source->claims));
	source->slots = slot = calloc(n + 1, sizeof(*source->slots));
	if (!source->claims || !source->slots)
		return -ENOMEM;
	for (int kind = 0; kind < _IG_OBJECT_KIND_MAX; kind++) {
		enum ig_object_kind k = (enum ig_object_kind)kind;
		const char *items = ig_object_set_items(source->set, k, &n);

		for (size_t i = 0; i < n; i++, slot++) {
			slot->object = items + i * ig_object_size(k);
			if (add_object_claims(source, k, slot->object) < 0)
				return -ENOMEM;
		}
	}
	return 0;
}

int ig_store_source_new(const char *name, struct ig_object_set *set, struct ig_store_source **ret)
{
	_cleanup_(ig_store_source_freep) struct ig_store_source *source =
		calloc(1, sizeof(*source));
	int r;

	if (!source)
		return -ENOMEM;
	source->name = strdup(name);
	if (!source->name)
		return -ENOMEM;
	source->set = set;
	r = fill_source(source);
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

int ig_store_source_check_twice(const struct ig_store_source *source, struct ig_err *reterr_err)
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
