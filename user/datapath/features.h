/*
 * Which kernel features the data path has here, and what a missing one costs: each is tried by
 * loading, creating or asking, as the agent does it; versions are never compared. Nothing that is
 * made for it outlives the call. Called by `imdsgate doctor`, privileged.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define IG_FEATURES_MAX 8

struct ig_feature {
	const char *name;
	int present; /* 1, 0, or a negative errno: cannot be told */
	bool needed; /* the agent does not run without it */
	const char *cost;
};

/* Fills ret and returns how many there are. */
size_t ig_features_probe(struct ig_feature ret[IG_FEATURES_MAX]);
