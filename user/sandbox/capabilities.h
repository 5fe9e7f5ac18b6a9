/*
 * Which of root's rights this process keeps.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"

/* Keeps those of `keep` (CAP_*) that there are, and gives up all others, in every set; what is
 * started from here on cannot have more either. Verifies the result. */
int ig_capabilities_keep(const unsigned int *keep, size_t n, struct ig_err *reterr_err);
