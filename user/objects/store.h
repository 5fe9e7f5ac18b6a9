/*
 * One store of what is declared, fed by any number of sources (a manifest file, a Kubernetes
 * object). A source replaces everything that it declared before, at once or not at all, so readers
 * never see half a change. Every change that changes something raises the epoch and tells the
 * listener. What a change costs is in proportion to the objects of its source, old and new, however
 * many others there are.
 *
 * Pointers handed out stay valid until the store changes next, which its epoch tells. Across a turn
 * of the event loop keep names and look them up again, or the epoch and compare it first.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "objects/object.h"

struct ig_store;

int ig_store_new(struct ig_store **ret);
struct ig_store *ig_store_free(struct ig_store *store);

/* Replaces what `source` (a path, "kube:Pod/default/a"; copied) declares. Takes `set` on success
 * only; NULL removes the source. -EINVAL with *reterr_err when an object of the set has the kind,
 * namespace and name (or, for pods, the uid or cgroup) of one that another source declares: nothing
 * changes then. */
int ig_store_replace(struct ig_store *store, const char *source, struct ig_object_set *set,
	struct ig_err *reterr_err);

uint64_t ig_store_epoch(const struct ig_store *store); /* starts at 0, never falls */
/* The epoch in which a source with objects of this kind changed last. */
uint64_t ig_store_kind_epoch(const struct ig_store *store, enum ig_object_kind kind);

/* Between the two, changes are visible at once, but the listener is told only at the end, once, if
 * anything changed. Not nested. */
void ig_store_begin(struct ig_store *store);
void ig_store_commit(struct ig_store *store);

typedef void ig_store_changed(uint64_t epoch, void *userdata);
/* One listener is enough for the agent; a second call replaces it. Called after the change. */
void ig_store_set_listener(struct ig_store *store, ig_store_changed *changed, void *userdata);

/* For the listener, while it is called: the pods that may not be what they were, those of sources
 * that are gone and those of sources that came. What is there now, the store says. */
void ig_store_each_changed_pod(const struct ig_store *store,
	void (*each)(const struct ig_pod *pod, void *userdata), void *userdata);

const struct ig_pod *ig_store_pod_by_uid(const struct ig_store *store, const char *uid);
const struct ig_pod *ig_store_pod_by_name(
	const struct ig_store *store, const char *ns, const char *name);
/* The pod whose declared cgroup is `path` or its nearest ancestor. path is canonical. */
const struct ig_pod *ig_store_pod_by_cgroup(const struct ig_store *store, const char *path);

/* Iteration over all of a kind: start with *iter = 0; NULL at the end. The order means nothing and
 * is another one after a change: whoever shows objects sorts them, whoever chooses among them
 * compares their names. */
const struct ig_pod *ig_store_next_pod(const struct ig_store *store, size_t *iter);
const struct ig_binding *ig_store_next_binding(const struct ig_store *store, size_t *iter);
const struct ig_exception *ig_store_next_exception(const struct ig_store *store, size_t *iter);
const struct ig_identity *ig_store_next_identity(const struct ig_store *store, size_t *iter);
const struct ig_metadata_policy *ig_store_next_metadata_policy(
	const struct ig_store *store, size_t *iter);

const struct ig_identity *ig_store_identity_by_name(
	const struct ig_store *store, const char *ns, const char *name);
const struct ig_service_account *ig_store_service_account_by_name(
	const struct ig_store *store, const char *ns, const char *name);

size_t ig_store_count(const struct ig_store *store, enum ig_object_kind kind);
