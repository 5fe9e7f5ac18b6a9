/*
 * One resource of the API server, kept equal to it: a paged list, then a watch that goes on from
 * there. While the API server cannot be reached, what was known stays known. Nothing is reported as
 * gone before a whole list, a deletion event or a lasting 404 says so.
 *
 * Lists are consistent reads unless from_cache is set: the cache of an API server that lags could
 * bring back a binding that was deleted. Called by the agent's feeder, in its event loop.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include <imdsgate/limits.h>

#include "kube/pick.h"

struct event_base;
struct ig_kube_client;
struct ig_kube_watch;

enum ig_kube_watch_state {
	IG_KUBE_WATCH_LISTING,	 /* not all objects are known yet; tried again after errors */
	IG_KUBE_WATCH_SYNCED,	 /* equal to the API server, as far as one can be */
	IG_KUBE_WATCH_STALE,	 /* was synced; the connection is lost, or it is listed anew */
	IG_KUBE_WATCH_ABSENT,	 /* 404: the kind is not installed; counts as "there are none" */
	IG_KUBE_WATCH_FORBIDDEN, /* 401, 403: what was known stays; tried again */
	IG_KUBE_WATCH_TOO_MANY, /* as SYNCED, but objects for which there is no room are left out */
	_IG_KUBE_WATCH_STATE_MAX
};

/* "listing", "synced", … Never NULL. */
const char *ig_kube_watch_state_name(enum ig_kube_watch_state state);

struct ig_kube_watch_options {
	const char *path;		   /* "/api/v1/pods"; copied */
	const char *query;		   /* "fieldSelector=spec.nodeName%3Dn1" or NULL; copied */
	const struct ig_kube_pick *fields; /* what is kept of an object; outlives the watch */
	/* Ask for metadata alone (PartialObjectMetadata): cheaper for the API server than dropping
	 * the rest here. The right Accept header differs between list and watch. */
	bool metadata_only;
	/* Lists may come from the API server's cache: what they lack or have too many comes with
	 * the watch. Not older than what was seen before; after a failure they are consistent
	 * reads all the same. For what is many in a large cluster: a consistent read of the pods of
	 * one node reads all pods there are. */
	bool from_cache;
	/* Others' objects leave IG_KUBE_OBJECTS_RESERVED places to those of this namespace, so that
	 * nobody can push them out by making many. NULL: first come, first served. Copied. */
	const char *reserved_ns;
	/* for tests; NULL: the real ones */
	uint64_t (*mono_usec)(void);
	uint64_t (*random)(uint64_t below); /* 0 … below - 1 */
};

/*
 * All are called from the event loop, never from inside a function of this file, and must not free
 * the watch or the client. Any may be NULL. ns is "" for kinds without namespaces.
 *
 * An object is known from its first put() or unusable() on until its gone(). One that was replaced
 * by another of the same name is gone(old uid) first.
 */
struct ig_kube_watch_ops {
	/* New or changed; may be the same as before (after a list). Borrowed; the wanted fields and
	 * metadata.{namespace,name,uid,resourceVersion}. */
	void (*put)(const json_t *object, void *userdata);
	/* It exists but cannot be held: its wanted part is too large, too deep, or has text that a
	 * C string cannot hold. Whatever was known of it no longer holds. why: for people. */
	void (*unusable)(
		const char *ns, const char *name, const char *uid, const char *why, void *userdata);
	void (*gone)(const char *ns, const char *name, const char *uid, void *userdata);
	/* Around a list's changes: true before the first, false when it is complete (and swept) or
	 * has failed for now. Always in pairs, except that ig_kube_watch_free() calls nothing.
	 * Other events of the loop happen in between. */
	void (*batch)(bool begin, void *userdata);
	/* On every change, the first being the one from LISTING "", and when the reason of the same
	 * state changes. text: for people, never NULL, no secrets; "" when all is well. Valid
	 * during the call. */
	void (*state)(enum ig_kube_watch_state state, const char *text, void *userdata);
};

struct ig_kube_watch_stats {
	enum ig_kube_watch_state state;
	bool complete;	   /* once, everything was known (there may be nothing) */
	uint64_t objects;  /* known now, unusable ones included */
	uint64_t left_out; /* times an object had no room, since the last list began */
	uint64_t events;   /* of watches, bookmarks included */
	uint64_t unusable; /* calls of unusable() */
	uint64_t lists;	   /* finished */
	uint64_t watches;  /* started */
	uint64_t errors;   /* calls that failed, errors inside of watches, malformed bodies */
	uint64_t bytes;	   /* of bodies */
	uint64_t heard_mono_usec; /* when the API server last said anything useful; 0: never */
	char resource_version[IG_KUBE_VERSION_BYTES +
			      1]; /* the last one; "" before the first list */
};

/* The first list starts from the loop, so nothing is called before this returns. The client is
 * borrowed and outlives the watch. -EINVAL for a path that does not start with '/'. */
int ig_kube_watch_new(struct event_base *base, struct ig_kube_client *client,
	const struct ig_kube_watch_options *options, const struct ig_kube_watch_ops *ops,
	void *userdata, struct ig_kube_watch **ret);
struct ig_kube_watch *ig_kube_watch_free(struct ig_kube_watch *watch);

void ig_kube_watch_stats(const struct ig_kube_watch *watch, struct ig_kube_watch_stats *ret);

static inline void ig_kube_watch_freep(struct ig_kube_watch **watch)
{
	(void)ig_kube_watch_free(*watch);
}
