/*
 * Table of keys; see cache.h. Called by the token service.
 *
 * Keys come from workloads, so the hash is keyed with a random number (SipHash): nobody can choose
 * resources that all fall into one bucket. It must never hold more than IG_TOKEN_CACHE_MAX entries,
 * never evict one for which somebody waits, and never let one workload's entries push out another's
 * beyond its share.
 */
/* before the first include of uthash */
#define HASH_FUNCTION(key, key_len, ret_hash) ((ret_hash) = keyed_hash((key), (key_len)))

#include "token/cache.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "token/outcome.h"
#include "token/source.h"

/* ---- SipHash-2-4 ------------------------------------------------------------------------------
 */

/* Drawn once per process: the hash stands in the entries of every table. */
static uint64_t hash_key[2];
static bool hash_keyed;

static uint64_t rotate(uint64_t x, unsigned int n)
{
	return x << n | x >> (64 - n);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	sip_round(v);
	sip_round(v);
	v[0] ^= word;
}

static unsigned int keyed_hash(const void *data, size_t len)
{
	uint64_t v[4] = {
		hash_key[0] ^ 0x736f6d6570736575,
		hash_key[1] ^ 0x646f72616e646f6d,
		hash_key[0] ^ 0x6c7967656e657261,
		hash_key[1] ^ 0x7465646279746573,
	};
	const unsigned char *p = data;
	uint64_t last = (uint64_t)len << 56;
	size_t left = len;

	for (; left >= 8; p += 8, left -= 8) {
		uint64_t word;

		memcpy(&word, p, sizeof(word));
		sip_word(v, le64toh(word));
	}
	for (size_t i = 0; i < left; i++)
		last |= (uint64_t)p[i] << (8 * i);
	sip_word(v, last);
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	last = v[0] ^ v[1] ^ v[2] ^ v[3];
	return (unsigned int)(last ^ last >> 32);
}

static int draw_hash_key(void)
{
	ssize_t n;

	if (hash_keyed)
		return 0;
	n = getrandom(hash_key, sizeof(hash_key), 0);
	if (n != sizeof(hash_key))
		return n < 0 ? -errno : -EIO;
	hash_keyed = true;
	return 0;
}

/* ---- idents ---------------------------------------------------------------------------------- */

static char *put_string(char *to, const char *s)
{
	return stpcpy(to, s) + 1;
}

static char *put_lowered(char *to, const char *s)
{
	char *end = put_string(to, s);

	ig_str_lower(to);
	return end;
}

static const char *or_empty(const char *s)
{
	return s ? s : "";
}

/* As sent, and not lowered: these are compared byte for byte. Returns the end. */
static char *put_exact(char *to, const char *s, const char **ret)
{
	*ret = to;
	return put_string(to, or_empty(s));
}

/* Every part ends with its NUL, so that no two keys have the same text. */
static size_t ident_len(const struct ig_token_key *key, const char *selector)
{
	const char *const parts[] = {selector, key->expect_client_id, key->resource,
		or_empty(key->tenant), or_empty(key->authority), or_empty(key->credential)};
	size_t len = 3;

	for (size_t i = 0; i < IG_ARRAY_SIZE(parts); i++)
		len += strlen(parts[i]) + 1;
	return len;
}

int ig_token_ident_new(const struct ig_token_key *key, struct ig_token_ident **ret)
{
	bool selects = key->upstream.kind != IG_SELECTOR_NONE;
	const char *selector = selects ? key->upstream.value : "";
	size_t len = ident_len(key, selector);
	struct ig_token_ident *ident = calloc(1, sizeof(*ident) + len);
	char *p;

	if (!ident)
		return -ENOMEM;
	ident->refs = 1;
	ident->len = len;
	ident->text[0] = (char)('0' + key->source);
	ident->text[1] = (char)('0' + key->upstream.kind);
	p = put_lowered(ident->text + 3, selector);
	ident->key.expect_client_id = p;
	p = put_lowered(p, key->expect_client_id);
	p = put_exact(p, key->resource, &ident->key.resource);
	p = put_exact(p, key->tenant, &ident->key.tenant);
	p = put_exact(p, key->authority, &ident->key.authority);
	(void)put_exact(p, key->credential, &ident->key.credential);
	ident->key.source = key->source;
	ident->key.upstream.kind = key->upstream.kind;
	/* as sent: an upstream that tells upper from lower case gets what the binding says */
	(void)put_string(ident->key.upstream.value, selector);
	*ret = ident;
	return 0;
}

struct ig_token_ident *ig_token_ident_ref(struct ig_token_ident *ident)
{
	if (ident)
		ident->refs++;
	return ident;
}

struct ig_token_ident *ig_token_ident_unref(struct ig_token_ident *ident)
{
	if (!ident)
		return NULL;
	assert(ident->refs > 0);
	if (--ident->refs == 0)
		free(ident);
	return NULL;
}
IG_DEFINE_CLEANUP(struct ig_token_ident *, ig_token_ident_unref);

/* ---- table ----------------------------------------------------------------------------------- */

int ig_token_cache_init(struct ig_token_cache *cache)
{
	*cache = (struct ig_token_cache){};
	TAILQ_INIT(&cache->by_use);
	return draw_hash_key();
}

/* Who has entries. Lives only while there are some. */
struct ig_token_owner {
	uint64_t number;
	size_t len;
	struct ig_token_entries entries; /* least recently used first */
	UT_hash_handle hh;
};

static void owner_tidy(struct ig_token_cache *cache, struct ig_token_owner *owner)
{
	if (owner->len)
		return;
	HASH_DEL(cache->owners, owner);
	free(owner);
}

/* Without entries when it is new: they follow, or owner_tidy() does. */
static struct ig_token_owner *owner_of(struct ig_token_cache *cache, uint64_t number)
{
	struct ig_token_owner *owner;

	HASH_FIND(hh, cache->owners, &number, sizeof(number), owner);
	if (owner)
		return owner;
	owner = calloc(1, sizeof(*owner));
	if (!owner)
		return NULL;
	owner->number = number;
	TAILQ_INIT(&owner->entries);
	HASH_ADD(hh, cache->owners, number, sizeof(owner->number), owner);
	if (!ig_table_has(owner)) {
		free(owner);
		return NULL;
	}
	return owner;
}

static bool is_idle(const struct ig_token_entry *entry)
{
	return TAILQ_EMPTY(&entry->waiters) && !entry->fetch;
}

void ig_token_cache_remove(struct ig_token_cache *cache, struct ig_token_entry *entry)
{
	assert(is_idle(entry));
	HASH_DEL(cache->entries, entry);
	TAILQ_REMOVE(&cache->by_use, entry, by_use);
	TAILQ_REMOVE(&entry->owner->entries, entry, of_owner);
	entry->owner->len--;
	owner_tidy(cache, entry->owner);
	cache->len--;
	(void)ig_token_unref(entry->token);
	(void)ig_token_outcome_unref(entry->failure);
	(void)ig_token_ident_unref(entry->ident);
	free(entry);
}

void ig_token_cache_tidy(struct ig_token_cache *cache, struct ig_token_entry *entry)
{
	if (is_idle(entry) && !entry->token && !entry->failure)
		ig_token_cache_remove(cache, entry);
}

/* Both lists are in the order of use. */
static struct ig_token_entry *oldest_idle(
	const struct ig_token_cache *cache, const struct ig_token_owner *owner)
{
	struct ig_token_entry *entry;

	if (owner) {
		TAILQ_FOREACH (entry, &owner->entries, of_owner)
			if (is_idle(entry))
				return entry;
		return NULL;
	}
	TAILQ_FOREACH (entry, &cache->by_use, by_use)
		if (is_idle(entry))
			return entry;
	return NULL;
}

/* owner->len counts the entry that is to come. */
static int make_room(struct ig_token_cache *cache, const struct ig_token_owner *owner)
{
	bool has_share = owner->len > IG_TOKEN_CACHE_WORKLOAD_MAX;
	struct ig_token_entry *entry;

	if (!has_share && cache->len < IG_TOKEN_CACHE_MAX)
		return 0;
	entry = oldest_idle(cache, has_share ? owner : NULL);
	if (!entry)
		return -EBUSY;
	ig_token_cache_remove(cache, entry);
	return 0;
}

/* Takes a reference of its own. */
static int add_entry(struct ig_token_cache *cache, struct ig_token_ident *ident,
	struct ig_token_owner *owner, struct ig_token_entry **ret)
{
	_cleanup_free_ struct ig_token_entry *entry = NULL;

	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	HASH_ADD_KEYPTR(hh, cache->entries, ident->text, ident->len, entry);
	if (!ig_table_has(entry))
		return -ENOMEM;
	entry->ident = ig_token_ident_ref(ident);
	TAILQ_INIT(&entry->waiters);
	TAILQ_INSERT_TAIL(&cache->by_use, entry, by_use);
	TAILQ_INSERT_TAIL(&owner->entries, entry, of_owner);
	entry->owner = owner;
	owner->len++;
	cache->len++;
	*ret = TAKE_PTR(entry);
	return 0;
}

static void note_use(struct ig_token_cache *cache, struct ig_token_entry *entry)
{
	TAILQ_REMOVE(&cache->by_use, entry, by_use);
	TAILQ_INSERT_TAIL(&cache->by_use, entry, by_use);
	TAILQ_REMOVE(&entry->owner->entries, entry, of_owner);
	TAILQ_INSERT_TAIL(&entry->owner->entries, entry, of_owner);
}

/* Making room may end other owners, and never this one: it is held by what it has, or new. */
static int obtain_new(struct ig_token_cache *cache, struct ig_token_ident *ident, uint64_t number,
	struct ig_token_entry **ret)
{
	struct ig_token_owner *owner = owner_of(cache, number);
	int r;

	if (!owner)
		return -ENOMEM;
	owner->len++; /* for the entry that comes */
	r = make_room(cache, owner);
	owner->len--;
	if (r == 0)
		r = add_entry(cache, ident, owner, ret);
	if (r < 0)
		owner_tidy(cache, owner);
	return r;
}

int ig_token_cache_obtain(struct ig_token_cache *cache, const struct ig_token_key *key,
	uint64_t owner, struct ig_token_entry **ret)
{
	_cleanup_(ig_token_ident_unrefp) struct ig_token_ident *ident = NULL;
	struct ig_token_entry *entry = NULL;
	int r;

	r = ig_token_ident_new(key, &ident);
	if (r < 0)
		return r;
	HASH_FIND(hh, cache->entries, ident->text, ident->len, entry);
	if (!entry)
		return obtain_new(cache, ident, owner, ret);
	note_use(cache, entry);
	*ret = entry;
	return 0;
}
