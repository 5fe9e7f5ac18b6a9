/*
 * Which objects of one resource are known: names, uids, and the list that each was last seen in.
 * It holds no objects. Called by watch.c.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct ig_kube_known_entry;

struct ig_kube_known {
	struct ig_kube_known_entry *entries; /* uthash head; owned */
};

/* Everything is borrowed from the table. */
struct ig_kube_known_object {
	const char *ns, *name, *uid;
};

void ig_kube_known_done(struct ig_kube_known *known);
size_t ig_kube_known_count(const struct ig_kube_known *known);

/* NULL if it is not known. */
struct ig_kube_known_entry *ig_kube_known_find(
	const struct ig_kube_known *known, const char *ns, const char *name);

/* The name is not known yet. -E2BIG: `max` are; -ENOMEM. */
int ig_kube_known_add(struct ig_kube_known *known, size_t max, const char *ns, const char *name,
	const char *uid, struct ig_kube_known_entry **ret);
void ig_kube_known_remove(struct ig_kube_known *known, struct ig_kube_known_entry *entry);

/* It was seen in the list with this number. */
void ig_kube_known_mark(struct ig_kube_known_entry *entry, uint64_t list);
struct ig_kube_known_object ig_kube_known_object(const struct ig_kube_known_entry *entry);

/* Removes what was not seen in this list; `gone` is called before each, and may not touch the
 * table. */
void ig_kube_known_sweep(struct ig_kube_known *known, uint64_t list,
	void (*gone)(const struct ig_kube_known_object *object, void *userdata), void *userdata);
