/*
 * The flags of Kubernetes: which API server, and what it is asked for. Rows in the table of
 * options.c.
 */
#pragma once

#include "base/err.h"

struct ig_options;

int ig_option_kubernetes(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_kubeconfig(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_node(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_startup_taint(struct ig_options *o, const char *value, struct ig_err *err);

/* What they say together. */
int ig_options_check_kubernetes(const struct ig_options *o, struct ig_err *err);
