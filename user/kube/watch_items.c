/*
 * What goes by in lists and watches, and what the owner hears of it; see watch_internal.h. It must
 * never report an older state of an object over a newer one, and never forget an object untold.
 * Called by watch.c only.
 */
#include "kube/watch_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/parse.h"

const char *ig_kube_watch_state_name(enum ig_kube_watch_state state)
{
	static const char *const names[_IG_KUBE_WATCH_STATE_MAX] = {
		[IG_KUBE_WATCH_LISTING] = "listing",
		[IG_KUBE_WATCH_SYNCED] = "synced",
		[IG_KUBE_WATCH_STALE] = "stale",
		[IG_KUBE_WATCH_ABSENT] = "absent",
		[IG_KUBE_WATCH_FORBIDDEN] = "forbidden",
		[IG_KUBE_WATCH_TOO_MANY] = "too-many",
	};

	return (unsigned int)state < _IG_KUBE_WATCH_STATE_MAX ? names[state] : "unknown";
}

/* ---- telling the owner ----------------------------------------------------------------------- */

void ig_kube_watch_set_state(
	struct ig_kube_watch *watch, enum ig_kube_watch_state state, const char *text)
{
	if (watch->stats.state == state && strcmp(watch->text, text) == 0)
		return;
	watch->stats.state = state;
	(void)snprintf(watch->text, sizeof(watch->text), "%s", text);
	if (watch->ops.state)
		watch->ops.state(state, watch->text, watch->userdata);
}

void ig_kube_watch_set_synced(struct ig_kube_watch *watch)
{
	int max = IG_KUBE_OBJECTS_MAX;
	char text[64];

	if (watch->options.reserved_ns)
		max -= IG_KUBE_OBJECTS_RESERVED;
	if (!watch->stats.left_out) {
		ig_kube_watch_set_state(watch, IG_KUBE_WATCH_SYNCED, "");
		return;
	}
	(void)snprintf(text, sizeof(text), "there are more than %d objects", max);
	ig_kube_watch_set_state(watch, IG_KUBE_WATCH_TOO_MANY, text);
}

void ig_kube_watch_set_failing(struct ig_kube_watch *watch, const char *text)
{
	ig_kube_watch_set_state(
		watch, watch->stats.complete ? IG_KUBE_WATCH_STALE : IG_KUBE_WATCH_LISTING, text);
}

void ig_kube_watch_set_batch(struct ig_kube_watch *watch, bool on)
{
	if (watch->in_batch == on)
		return;
	watch->in_batch = on;
	if (watch->ops.batch)
		watch->ops.batch(on, watch->userdata);
}

static void tell_gone(const struct ig_kube_known_object *object, void *userdata)
{
	struct ig_kube_watch *watch = userdata;

	if (watch->ops.gone)
		watch->ops.gone(object->ns, object->name, object->uid, watch->userdata);
}

static void forget(struct ig_kube_watch *watch, struct ig_kube_known_entry *entry)
{
	struct ig_kube_known_object object = ig_kube_known_object(entry);

	tell_gone(&object, watch);
	ig_kube_known_remove(&watch->known, entry);
}

static void sweep_one(const struct ig_kube_known_object *object, void *userdata)
{
	ig_kube_watch_set_batch(userdata, true);
	tell_gone(object, userdata);
}

void ig_kube_watch_sweep(struct ig_kube_watch *watch)
{
	ig_kube_known_sweep(&watch->known, watch->list, sweep_one, watch);
	ig_kube_watch_set_batch(watch, false);
}

/* ---- what goes by ---------------------------------------------------------------------------- */

/* How many may be known when one of this namespace is to become known. */
static size_t room_for(const struct ig_kube_watch *watch, const char *ns)
{
	const char *reserved = watch->options.reserved_ns;

	if (!reserved || strcmp(ns, reserved) == 0)
		return IG_KUBE_OBJECTS_MAX;
	return IG_KUBE_OBJECTS_MAX - IG_KUBE_OBJECTS_RESERVED;
}

static int put_item(struct ig_kube_watch *watch, const struct ig_kube_item *item)
{
	struct ig_kube_known_entry *entry = ig_kube_known_find(&watch->known, item->ns, item->name);
	int r;

	if (entry && strcmp(ig_kube_known_object(entry).uid, item->uid) != 0) {
		forget(watch, entry);
		entry = NULL;
	}
	if (!entry) {
		r = ig_kube_known_add(&watch->known, room_for(watch, item->ns), item->ns,
			item->name, item->uid, &entry);
		if (r == -E2BIG) {
			watch->stats.left_out++;
			return 0;
		}
		if (r < 0)
			return r;
	}
	ig_kube_known_mark(entry, watch->list);
	if (item->object) {
		if (watch->ops.put)
			watch->ops.put(item->object, watch->userdata);
		return 0;
	}
	watch->stats.unusable++;
	if (watch->ops.unusable)
		watch->ops.unusable(
			item->ns, item->name, item->uid, item->unusable, watch->userdata);
	return 0;
}

static int end_watch(struct ig_kube_watch *watch, enum ig_kube_verdict verdict, const char *fmt,
	...) __attribute__((format(printf, 3, 4)));
static int end_watch(
	struct ig_kube_watch *watch, enum ig_kube_verdict verdict, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(watch->why, sizeof(watch->why), fmt, args);
	va_end(args);
	watch->verdict = verdict;
	return -ECANCELED;
}

static int delete_item(struct ig_kube_watch *watch, const struct ig_kube_item *item)
{
	struct ig_kube_known_entry *entry = ig_kube_known_find(&watch->known, item->ns, item->name);

	if (!entry)
		return 0;
	if (strcmp(ig_kube_known_object(entry).uid, item->uid) != 0)
		return end_watch(watch, IG_KUBE_VERDICT_LIST_ANEW,
			"another object of that name was deleted");
	forget(watch, entry);
	return 0;
}

/* Versions are opaque by the book and numbers in fact: compared if both are. */
static bool is_behind(const char *version, const char *seen)
{
	uint64_t number, last;

	return ig_parse_u64(version, &number) == 0 && ig_parse_u64(seen, &last) == 0 &&
	       number < last;
}

static int take_error(struct ig_kube_watch *watch, const struct ig_kube_item *item)
{
	if (item->code == 410)
		return end_watch(watch, IG_KUBE_VERDICT_LIST_ANEW,
			"the watch is too far behind: %s", item->message);
	watch->retry_after_sec = item->retry_after_sec;
	return end_watch(watch,
		item->code == 429 || item->code == 503 ? IG_KUBE_VERDICT_BUSY
						       : IG_KUBE_VERDICT_REFUSED,
		"error %u in the watch: %s %s", item->code, item->reason, item->message);
}

static int take_event(struct ig_kube_watch *watch, const struct ig_kube_item *item)
{
	char *seen = watch->stats.resource_version;
	int r = 0;

	if (item->event == IG_KUBE_EVENT_ERROR)
		return take_error(watch, item);
	if (item->event == IG_KUBE_EVENT_UNKNOWN)
		return end_watch(watch, IG_KUBE_VERDICT_LIST_ANEW, "an event of an unknown type");
	/* restored from a backup, or another server that is behind */
	if (is_behind(item->resource_version, seen))
		return end_watch(watch, IG_KUBE_VERDICT_LIST_ANEW,
			"the watch went back from %s to %s", seen, item->resource_version);
	if (item->event == IG_KUBE_EVENT_DELETED)
		r = delete_item(watch, item);
	else if (item->event != IG_KUBE_EVENT_BOOKMARK)
		r = put_item(watch, item);
	if (r < 0)
		return r;
	(void)snprintf(seen, sizeof(watch->stats.resource_version), "%s", item->resource_version);
	watch->stats.events++;
	watch->attempts = 0;
	watch->refused = 0;
	ig_kube_watch_set_synced(watch);
	return 0;
}

int ig_kube_watch_take(const struct ig_kube_item *item, void *userdata)
{
	struct ig_kube_watch *watch = userdata;

	watch->stats.heard_mono_usec = watch->options.mono_usec();
	if (item->event != IG_KUBE_EVENT_ITEM)
		return take_event(watch, item);
	ig_kube_watch_set_batch(watch, true);
	return put_item(watch, item);
}
