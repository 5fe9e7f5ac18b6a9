/*
 * Keeps the store equal to what a Kubernetes API server declares: the pods of this node, service
 * accounts, the aad-pod-identity objects and MetadataPolicies. Each object is one source of the
 * store, "kube:KIND/NAMESPACE/NAME".
 *
 * An object that is wrong, or that clashes with one declared elsewhere, is reported and does not
 * hold; what it said before goes, except that the last good content of a MetadataPolicy stays in
 * force, because without it more would be allowed. While the API server is away everything stays as
 * it was last known. It never asks for a Secret.
 *
 * Policies take away what bindings give, so pods come last: they are not asked for before all
 * MetadataPolicies were read once (or are known not to be installed). If the API server forbids to
 * read those, no pod becomes known. Pods of manifests are known without it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "kube/watch.h"
#include "objects/object.h"
#include "objects/store.h"

struct event_base;
struct ig_kube_client;
struct ig_kube_feeder;

struct ig_kube_feeder_options {
	const char *node;	      /* its pods only; copied */
	const char *policy_namespace; /* of cluster policies; borrowed */
};

struct ig_kube_feeder_ops {
	/* An object was not taken. */
	void (*rejected)(enum ig_object_kind kind, const char *ns, const char *name,
		const struct ig_err *err, void *userdata);
	/* A watch came up, broke, …; text is for people. */
	void (*state)(enum ig_object_kind kind, enum ig_kube_watch_state state, const char *text,
		void *userdata);
	/* The status of MetadataPolicies may not be written (HTTP 401 or 403). */
	void (*status_forbidden)(unsigned int http_status, void *userdata);
};

/* base, client, store and ops outlive the feeder. The callbacks must not free it. */
int ig_kube_feeder_new(struct event_base *base, struct ig_kube_client *client,
	struct ig_store *store, const struct ig_kube_feeder_options *options,
	const struct ig_kube_feeder_ops *ops, void *userdata, struct ig_kube_feeder **ret);
/* What was declared stays declared; the store tells of it what it has not told yet. */
struct ig_kube_feeder *ig_kube_feeder_free(struct ig_kube_feeder *feeder);

/* Has everything been listed once (or is known not to be installed)? Until then what is not in the
 * store may only not have been read yet. */
bool ig_kube_feeder_synced(const struct ig_kube_feeder *feeder);

/* For the store's listener, after each change: what clashed before may fit now. It is tried from
 * the loop. */
void ig_kube_feeder_store_changed(struct ig_kube_feeder *feeder);

struct ig_kube_feeder_stats {
	size_t rejected; /* objects that do not hold */
	struct ig_kube_watch_stats watch;
};

/* false: objects of this kind are not watched. */
bool ig_kube_feeder_stats(const struct ig_kube_feeder *feeder, enum ig_object_kind kind,
	struct ig_kube_feeder_stats *ret);
