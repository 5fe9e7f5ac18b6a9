/*
 * Table of known objects; see known.h.
 */
#include "kube/known.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/table.h"

#define KEY_BYTES (2 * IG_KUBE_NAME_BYTES + 2)

struct ig_kube_known_entry {
	UT_hash_handle hh;
	uint64_t list;
	size_t ns_len, name_len;
	char text[]; /* namespace, name, uid, each with its NUL; the first two are the key */
};

void ig_kube_known_done(struct ig_kube_known *known)
{
	struct ig_kube_known_entry *entry, *next;

	HASH_ITER (hh, known->entries, entry, next)
		ig_kube_known_remove(known, entry);
}

size_t ig_kube_known_count(const struct ig_kube_known *known)
{
	return HASH_COUNT(known->entries);
}

struct ig_kube_known_entry *ig_kube_known_find(
	const struct ig_kube_known *known, const char *ns, const char *name)
{
	size_t ns_len = strlen(ns), name_len = strlen(name);
	struct ig_kube_known_entry *entry = NULL;
	char key[KEY_BYTES];

	if (ns_len > IG_KUBE_NAME_BYTES || name_len > IG_KUBE_NAME_BYTES)
		return NULL;
	memcpy(key, ns, ns_len + 1);
	memcpy(key + ns_len + 1, name, name_len + 1);
	HASH_FIND(hh, known->entries, key, ns_len + name_len + 2, entry);
	return entry;
}

int ig_kube_known_add(struct ig_kube_known *known, size_t max, const char *ns, const char *name,
	const char *uid, struct ig_kube_known_entry **ret)
{
	size_t ns_len = strlen(ns), name_len = strlen(name), uid_len = strlen(uid);
	_cleanup_free_ struct ig_kube_known_entry *entry = NULL;

	if (ns_len > IG_KUBE_NAME_BYTES || name_len > IG_KUBE_NAME_BYTES ||
		ig_kube_known_count(known) >= max)
		return -E2BIG;
	entry = calloc(1, sizeof(*entry) + ns_len + name_len + uid_len + 3);
	if (!entry)
		return -ENOMEM;
	entry->ns_len = ns_len;
	entry->name_len = name_len;
	memcpy(entry->text, ns, ns_len + 1);
	memcpy(entry->text + ns_len + 1, name, name_len + 1);
	memcpy(entry->text + ns_len + name_len + 2, uid, uid_len + 1);
	HASH_ADD(hh, known->entries, text[0], ns_len + name_len + 2, entry);
	if (!ig_table_has(entry))
		return -ENOMEM;
	*ret = TAKE_PTR(entry);
	return 0;
}

void ig_kube_known_remove(struct ig_kube_known *known, struct ig_kube_known_entry *entry)
{
	HASH_DEL(known->entries, entry);
	free(entry);
}

void ig_kube_known_mark(struct ig_kube_known_entry *entry, uint64_t list)
{
	entry->list = list;
}

struct ig_kube_known_object ig_kube_known_object(const struct ig_kube_known_entry *entry)
{
	return (struct ig_kube_known_object){
		.ns = entry->text,
		.name = entry->text + entry->ns_len + 1,
		.uid = entry->text + entry->ns_len + entry->name_len + 2,
	};
}

void ig_kube_known_sweep(struct ig_kube_known *known, uint64_t list,
	void (*gone)(const struct ig_kube_known_object *object, void *userdata), void *userdata)
{
	struct ig_kube_known_entry *entry, *next;

	HASH_ITER (hh, known->entries, entry, next) {
		struct ig_kube_known_object object = ig_kube_known_object(entry);

		if (entry->list == list)
			continue;
		gone(&object, userdata);
		ig_kube_known_remove(known, entry);
	}
}
