/*
 * The unprivileged process: everything that talks to workloads, to the cloud and to people.
 */
#pragma once

#include "agent/options.h"
#include "base/err.h"

/* Runs in the process that the monitor started, with its channels at the agreed descriptors
 * (monitor/proto.h). Returns 0 after SIGTERM, or a negative errno with *reterr_err. */
int ig_server_run(const struct ig_options *options, struct ig_err *reterr_err);
