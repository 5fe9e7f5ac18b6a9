/*
 * Giving up privilege, for good.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

/* Becomes uid:gid without supplementary groups, capabilities (bounding and ambient sets included),
 * core dumps or the means to gain any of it again, and dies with its parent. Verifies the result.
 */
int ig_privs_drop(uint32_t uid, uint32_t gid, struct ig_err *reterr_err);
