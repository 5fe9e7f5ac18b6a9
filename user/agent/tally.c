/*
 * Requests per pod; see tally.h.
 */
#include "agent/tally.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "base/table.h"

struct entry {
	char *namespace, *name; /* owned */
	char *key;		/* owned; another pod of the same name has another */
	uint64_t first_seen_usec;
	struct ig_tally_counts counts;
	UT_hash_handle hh;
};

struct ig_tally {
	struct entry *by_key;
	bool incomplete; /* there was no memory for a pod */
};

int ig_tally_new(struct ig_tally **ret)
{
	struct ig_tally *tally = calloc(1, sizeof(*tally));

	if (!tally)
		return -ENOMEM;
	tally->incomplete = true; /* what there is already */
	*ret = tally;
	return 0;
}

static void entry_free(struct entry *e)
{
	free(e->namespace);
	free(e->name);
	free(e->key);
	free(e);
}

IG_DEFINE_CLEANUP(struct entry *, entry_free);

struct ig_tally *ig_tally_free(struct ig_tally *tally)
{
	struct entry *e, *next;

	if (!tally)
		return NULL;
	HASH_ITER (hh, tally->by_key, e, next) {
		HASH_DEL(tally->by_key, e);
		entry_free(e);
	}
	free(tally);
	return NULL;
}

/* Both parts fit into claims of the store, or the pod could not be declared. */
#define KEY_BYTES (2 * IG_OBJECT_CLAIM_BYTES)

static bool key_of(const struct ig_pod *pod, char key[static KEY_BYTES])
{
	return ig_str_concat(
		key, KEY_BYTES, pod->namespace, "/", pod->name, " ", pod->uid, (char *)NULL);
}

static struct entry *find(const struct ig_tally *tally, const struct ig_pod *pod)
{
	char key[KEY_BYTES];
	struct entry *e = NULL;

	if (key_of(pod, key))
		HASH_FIND_STR(tally->by_key, key, e);
	return e;
}

static struct entry *add(struct ig_tally *tally, const struct ig_pod *pod)
{
	_cleanup_(entry_freep) struct entry *e = calloc(1, sizeof(*e));
	char key[KEY_BYTES];

	if (!e || !key_of(pod, key))
		return NULL;
	e->namespace = strdup(pod->namespace);
	e->name = strdup(pod->name);
	e->key = strdup(key);
	if (!e->namespace || !e->name || !e->key)
		return NULL;
	e->first_seen_usec = ig_clock_mono_usec();
	HASH_ADD_KEYPTR(hh, tally->by_key, e->key, strlen(e->key), e);
	if (!ig_table_has(e))
		return NULL;
	return TAKE_PTR(e);
}

/* What is too long is cut. */
static void keep_text(char *to, size_t size, const char *text)
{
	size_t n = strnlen(text, size - 1);

	memcpy(to, text, n);
	to[n] = '\0';
}

void ig_tally_count(
	struct ig_tally *tally, const struct ig_pod *pod, const struct ig_audit_record *record)
{
	const char *resource = record->request ? record->request->resource : NULL;
	struct entry *e = find(tally, pod);

	if (!e)
		e = add(tally, pod);
	if (!e)
		return; /* out of memory: a number that people look at, not one that decides */
	e->counts.allowed += record->decision == IG_AUDIT_ALLOW;
	e->counts.denied += record->decision == IG_AUDIT_DENY;
	e->counts.failed += record->decision == IG_AUDIT_ERROR;
	e->counts.latency_usec += record->latency_usec;
	if (resource && resource[0])
		keep_text(e->counts.last_resource, sizeof(e->counts.last_resource), resource);
}

struct ig_tally_counts ig_tally_get(const struct ig_tally *tally, const struct ig_pod *pod)
{
	const struct entry *e = find(tally, pod);

	return e ? e->counts : (struct ig_tally_counts){};
}

uint64_t ig_tally_first_seen_usec(const struct ig_tally *tally, const struct ig_pod *pod)
{
	const struct entry *e = find(tally, pod);

	return e ? e->first_seen_usec : 0;
}

static void drop_if_gone(struct ig_tally *tally, const struct ig_store *store, struct entry *e)
{
	const struct ig_pod *pod = ig_store_pod_by_name(store, e->namespace, e->name);

	if (pod && find(tally, pod) == e)
		return;
	HASH_DEL(tally->by_key, e);
	entry_free(e);
}

static void note(struct ig_tally *tally, const struct ig_pod *pod)
{
	if (!find(tally, pod) && !add(tally, pod))
		tally->incomplete = true;
}

void ig_tally_follow(struct ig_tally *tally, const struct ig_store *store)
{
	struct entry *e, *next;
	const struct ig_pod *pod;
	size_t iter = 0;

	HASH_ITER (hh, tally->by_key, e, next)
		drop_if_gone(tally, store, e);
	tally->incomplete = false;
	while ((pod = ig_store_next_pod(store, &iter)) != NULL)
		note(tally, pod);
}

struct following {
	struct ig_tally *tally;
	const struct ig_store *store;
};

static void on_changed_pod(const struct ig_pod *pod, void *userdata)
{
	const struct following *f = userdata;
	const struct ig_pod *now = ig_store_pod_by_name(f->store, pod->namespace, pod->name);
	struct entry *e = find(f->tally, pod);

	if (e)
		drop_if_gone(f->tally, f->store, e);
	if (now)
		note(f->tally, now);
}

void ig_tally_follow_changed(struct ig_tally *tally, const struct ig_store *store)
{
	struct following f = {.tally = tally, .store = store};

	if (tally->incomplete)
		ig_tally_follow(tally, store);
	else
		ig_store_each_changed_pod(store, on_changed_pod, &f);
}
