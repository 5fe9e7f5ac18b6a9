/*
 * A candidate set of rules: a directory of manifests, read once, as the agent would take it.
 */
#pragma once

#include "base/err.h"
#include "objects/manifest.h"
#include "objects/store.h"

/* Called for each file that is wrong. */
typedef void ig_rules_problem(const struct ig_err *err, void *userdata);

/* All files or none: a set in which something is wrong says nothing about what would hold. 0, or a
 * negative errno: with *reterr_err when the directory cannot be read, after calls of `problem` and
 * -EINVAL when files are wrong. *ret is the caller's. */
int ig_rules_load(const struct ig_manifest_source *source, ig_rules_problem *problem,
	void *userdata, struct ig_store **ret, struct ig_err *reterr_err);
