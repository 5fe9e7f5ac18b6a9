/*
 * Learned object ids; see object_ids.h. Bounded by the number of declared identities, since only
 * those are learned and every change of the declarations clears it.
 */
#include "agent/object_ids.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/table.h"

struct learned {
	char *key;	 /* owned: "namespace/name" */
	char *object_id; /* owned */
	UT_hash_handle hh;
};

struct ig_object_ids {
	struct learned *by_key;
};

int ig_object_ids_new(struct ig_object_ids **ret)
{
	struct ig_object_ids *ids = calloc(1, sizeof(*ids));

	if (!ids)
		return -ENOMEM;
	*ret = ids;
	return 0;
}

static void learned_free(struct learned *l)
{
	free(l->key);
	free(l->object_id);
	free(l);
}

void ig_object_ids_clear(struct ig_object_ids *ids)
{
	struct learned *l, *next;

	HASH_ITER (hh, ids->by_key, l, next) {
		HASH_DEL(ids->by_key, l);
		learned_free(l);
	}
}

struct ig_object_ids *ig_object_ids_free(struct ig_object_ids *ids)
{
	if (!ids)
		return NULL;
	ig_object_ids_clear(ids);
	free(ids);
	return NULL;
}

static struct learned *find(const struct ig_object_ids *ids, const char *ns, const char *name)
{
	_cleanup_free_ char *key = NULL;
	struct learned *l = NULL;

	if (asprintf(&key, "%s/%s", ns, name) < 0) {
		key = NULL;
		return NULL;
	}
	HASH_FIND_STR(ids->by_key, key, l);
	return l;
}

int ig_object_ids_learn(
	struct ig_object_ids *ids, const char *ns, const char *name, const char *object_id)
{
	struct learned *l = calloc(1, sizeof(*l)), *old;

	if (!l)
		return -ENOMEM;
	l->object_id = strdup(object_id);
	if (asprintf(&l->key, "%s/%s", ns, name) < 0)
		l->key = NULL;
	if (!l->key || !l->object_id) {
		learned_free(l);
		return -ENOMEM;
	}
	HASH_FIND_STR(ids->by_key, l->key, old);
	if (old) {
		HASH_DEL(ids->by_key, old);
		learned_free(old);
	}
	HASH_ADD_KEYPTR(hh, ids->by_key, l->key, strlen(l->key), l);
	if (!ig_table_has(l)) {
		learned_free(l);
		return -ENOMEM;
	}
	return 0;
}

const char *ig_object_ids_get(const struct ig_object_ids *ids, const char *ns, const char *name)
{
	const struct learned *l = find(ids, ns, name);

	return l ? l->object_id : NULL;
}
