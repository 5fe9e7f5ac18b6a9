/*
 * What is kept of the API server's JSON, and the parser that throws the rest away. A body of any
 * size goes through it in pieces of any length; at no time is more in memory than one object's
 * wanted part (IG_KUBE_OBJECT_BYTES) and a few short texts. What is not wanted is checked for its
 * grammar and forgotten byte by byte.
 *
 * Who may write an object decides what is in it, so one object must never spoil the others:
 * whatever the API server can store is either handed out or called unusable by name. Only what no
 * API server sends is an error of the whole body. Pure: no I/O, no clock. Called by watch.c.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

/*
 * One wanted member of a mapping or array; tables end with an entry without key. A key is exact,
 * "prefix*" or "*" (any key), or "[]" (the elements of an array); the first entry that fits counts.
 * Without a table below it the whole value is kept. With one, a value that is no mapping (array) is
 * kept as it is, so that whoever validates the object sees the wrong type. For example, labels and
 * the names of containers:
 *
 *	IG_KUBE_BELOW("metadata", IG_KUBE_ALL("labels")),
 *	IG_KUBE_BELOW("containers", IG_KUBE_BELOW("[]", IG_KUBE_ALL("name"))),
 *	{},
 */
struct ig_kube_pick {
	const char *key;
	const struct ig_kube_pick *below; /* NULL: everything */
};

/* clang-format off */
#define IG_KUBE_ALL(name) {.key = (name)}
#define IG_KUBE_BELOW(name, ...) {.key = (name), .below = (const struct ig_kube_pick[]){__VA_ARGS__, {}}}
/* clang-format on */

enum ig_kube_event {
	IG_KUBE_EVENT_ITEM, /* of a list */
	IG_KUBE_EVENT_ADDED,
	IG_KUBE_EVENT_MODIFIED,
	IG_KUBE_EVENT_DELETED,
	IG_KUBE_EVENT_BOOKMARK, /* only resource_version is of use */
	IG_KUBE_EVENT_ERROR,	/* code, reason, message and retry_after_sec; no names */
	IG_KUBE_EVENT_UNKNOWN,	/* a type that we have never heard of */
	_IG_KUBE_EVENT_MAX
};

/* One object of a list, or one event. Everything is borrowed for the time of the callback. */
struct ig_kube_item {
	enum ig_kube_event event;
	/* Never NULL, "" when absent. ITEM, ADDED, MODIFIED and DELETED always have a name, and
	 * events except ERROR and UNKNOWN always have a version. */
	const char *ns, *name, *uid, *resource_version;
	/* Of ITEM, ADDED and MODIFIED: the wanted fields, and always metadata with the four above.
	 * NULL: see unusable. */
	json_t *object;
	/* For people, a literal: why there is no object though the event should have one. */
	const char *unusable;
	/* of a Status: 0, "", "", -1 when absent */
	unsigned int code;
	const char *reason, *message;
	int64_t retry_after_sec;
};

enum ig_kube_body { IG_KUBE_BODY_LIST, IG_KUBE_BODY_WATCH };

/* A negative errno ends the parsing with it. May not free the reader. */
typedef int ig_kube_take(const struct ig_kube_item *item, void *userdata);

struct ig_kube_reader;

/* fields: borrowed, outlives the reader. */
int ig_kube_reader_new(enum ig_kube_body body, const struct ig_kube_pick *fields,
	ig_kube_take *take, void *userdata, struct ig_kube_reader **ret);
struct ig_kube_reader *ig_kube_reader_free(struct ig_kube_reader *reader);

/* -EBADMSG: no JSON, or not what an API server sends; -ENOMEM; or what `take` said. An error
 * stays: nothing more is taken after it. */
int ig_kube_reader_feed(struct ig_kube_reader *reader, const char *data, size_t len);

/* The body is over. -EBADMSG if it stops inside a value, or if a list lacks its items or its
 * resourceVersion: an empty reply of some proxy is no empty list. */
int ig_kube_reader_finish(const struct ig_kube_reader *reader);

/* Of a list that is finished; "" when there is no further page. Owned by the reader. */
const char *ig_kube_reader_resource_version(const struct ig_kube_reader *reader);
const char *ig_kube_reader_continue(const struct ig_kube_reader *reader);

static inline void ig_kube_reader_freep(struct ig_kube_reader **reader)
{
	(void)ig_kube_reader_free(*reader);
}
