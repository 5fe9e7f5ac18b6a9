/*
 * The flags of /host/token: where it is served, and to whom. Rows in the table of options.c.
 */
#pragma once

#include "base/err.h"

struct ig_options;

int ig_option_host_token_socket(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_host_token_port(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_host_token_cgroup(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_host_token_account(struct ig_options *o, const char *value, struct ig_err *err);

/* What they say together, and with other flags. */
int ig_options_check_host_token(const struct ig_options *o, struct ig_err *err);
