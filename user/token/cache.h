/*
 * The table of what the token service knows, one entry per key. Private to the token service.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "base/table.h"
#include "token/service.h"

struct ig_token_fetch;
struct ig_token_outcome;

/* A key with its memory and its canonical form. Immutable, reference-counted. */
struct ig_token_ident {
	struct ig_token_key key; /* strings stand in text */
	unsigned int refs;
	size_t len;
	char text[]; /* kinds, selector, client id, resource and so on, each with its NUL */
};

int ig_token_ident_new(const struct ig_token_key *key, struct ig_token_ident **ret);
struct ig_token_ident *ig_token_ident_ref(struct ig_token_ident *ident);
struct ig_token_ident *ig_token_ident_unref(struct ig_token_ident *ident);

TAILQ_HEAD(ig_token_waiters, ig_token_waiter);

struct ig_token_entry {
	UT_hash_handle hh;
	TAILQ_ENTRY(ig_token_entry) by_use;
	TAILQ_ENTRY(ig_token_entry) of_owner; /* the same order */
	struct ig_token_owner *owner;	      /* who asked first, in whose share it counts */
	struct ig_token_ident *ident;	      /* reference */
	struct ig_token *token;		      /* reference; NULL: none */
	struct ig_token_outcome *failure;     /* reference; the last answer, if it was one */
	struct ig_token_fetch *fetch;	 /* the call that is queued or under way; upstream.c's */
	struct ig_token_waiters waiters; /* for fetch; the service's */
	uint64_t quiet_until_usec;	 /* upstream was asked a moment ago (monotonic) */
	uint64_t refresh_on_sec;
	uint64_t fairness; /* who used the token last */
	bool used;	   /* the token was handed out from the cache */
};

TAILQ_HEAD(ig_token_entries, ig_token_entry);

struct ig_token_cache {
	struct ig_token_entry *entries;
	struct ig_token_owner *owners;	/* who has entries */
	struct ig_token_entries by_use; /* least recently used first */
	size_t len;
};

/* Negative errno when the kernel gives no random numbers. */
int ig_token_cache_init(struct ig_token_cache *cache);

/* The entry of that key, made if there is none, and now the most recently used. owner: the number
 * of the workload that asks. When it has its share of the table, or the table is full, the least
 * recently used entry (of its own, or of all) for which nobody waits makes room; -EBUSY if there is
 * none. */
int ig_token_cache_obtain(struct ig_token_cache *cache, const struct ig_token_key *key,
	uint64_t owner, struct ig_token_entry **ret);
/* The entry must have neither waiters nor a fetch. */
void ig_token_cache_remove(struct ig_token_cache *cache, struct ig_token_entry *entry);
/* Removes it if it holds nothing. */
void ig_token_cache_tidy(struct ig_token_cache *cache, struct ig_token_entry *entry);
