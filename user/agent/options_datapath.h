/*
 * The flags of the kernel's part: what is guarded, and how. Rows in the table of options.c.
 */
#pragma once

#include "base/err.h"

struct ig_options;

int ig_option_cgroup_root(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_bpffs(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_netns_dir(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_host_verdict(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_gate_port(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_guard(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_guard_hook(struct ig_options *o, const char *value, struct ig_err *err);
