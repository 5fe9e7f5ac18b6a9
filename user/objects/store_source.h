/*
 * What one source declares, made ready for the store: its objects with the claims they make and
 * their places in the store's arrays. Internal to user/objects (store.c).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/table.h"
#include "objects/object.h"

/* An object's place in the array of its kind. */
struct ig_store_slot {
	const void *object; /* owned by source->set */
	size_t at;
};

struct ig_store_source {
	UT_hash_handle hh;
	char *name;		       /* owned */
	struct ig_object_set *set;     /* owned */
	struct ig_store_claim *claims; /* owned; array, each one linked into the store's table */
	size_t n_claims;
	struct ig_store_slot *slots; /* owned; one for each object, kind after kind */
	bool is_news;		     /* came since the listener was told last */
	TAILQ_ENTRY(ig_store_source) news;
};

struct ig_store_claim {
	UT_hash_handle hh;
	char *key;	    /* owned */
	const void *object; /* owned by source->set */
	const struct ig_store_source *source;
	struct ig_object_place place;
};

/* Takes `set` on success only. 0 or -ENOMEM. */
int ig_store_source_new(const char *name, struct ig_object_set *set, struct ig_store_source **ret);
/* The source is in no table any more. */
struct ig_store_source *ig_store_source_free(struct ig_store_source *source);
IG_DEFINE_CLEANUP(struct ig_store_source *, ig_store_source_free);

/* -EINVAL when two objects of the source make the same claim. */
int ig_store_source_check_twice(const struct ig_store_source *source, struct ig_err *reterr_err);
