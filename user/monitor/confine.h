/*
 * What the monitor gives up once everything is set up that needs more.
 */
#pragma once

#include "base/err.h"

/* Before the server is started: what is given up here is out of its reach, too. */
int ig_monitor_confine(struct ig_err *reterr_err);
