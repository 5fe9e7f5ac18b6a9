/*
 * What is watched of an API server, and which fields of it are used. A table, read by the feeder.
 */
#pragma once

#include <stdbool.h>

#include "kube/pick.h"
#include "objects/object.h"

struct ig_kube_resource {
	enum ig_object_kind kind;
	const char *api;
	const char *path;
	bool of_node;	    /* only objects of this node are asked for */
	bool last;	    /* not before all policies are known */
	bool metadata_only; /* nothing else is looked at */
	bool from_cache;    /* there are too many for consistent reads */
	const struct ig_kube_pick *fields;
};

#define IG_KUBE_RESOURCES 6
extern const struct ig_kube_resource ig_kube_resources[IG_KUBE_RESOURCES];
