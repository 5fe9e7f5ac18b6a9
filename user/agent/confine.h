/*
 * What the server process may open and call from now on.
 */
#pragma once

#include "base/err.h"

struct ig_options;

struct ig_confine_options {
	const struct ig_options *options;
	int audit_dir_fd;	     /* -1: no audit file */
	const char *token_directory; /* of the API server's bearer token; NULL: none */
};

/* After ig_privs_drop(), and before there are threads. */
int ig_confine(const struct ig_confine_options *options, struct ig_err *reterr_err);
