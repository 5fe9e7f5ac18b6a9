/*
 * What is declared: the store of objects and the directory of manifests that feeds it, and who is
 * told when something changed. Kubernetes, the other feeder, is kubernetes.h's.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"

struct ig_agent;

int ig_declared_start(struct ig_agent *agent, struct ig_err *reterr_err);
/* What is declared changed, or more of it is known to be complete: everybody takes note. */
void ig_declared_changed(struct ig_agent *agent);
/* All of it was read, and none of it is wrong. */
bool ig_declared_is_complete(const struct ig_agent *agent);
