/*
 * The command line, as it was given: nothing is opened or checked against anything else here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define LAB_LISTEN_MAX	       16
#define LAB_OPT_IDENTITIES_MAX 64

struct lab_options {
	/* all strings are argv's */
	const char *listen[LAB_LISTEN_MAX];
	size_t n_listen;
	const char *identities[LAB_OPT_IDENTITIES_MAX];
	size_t n_identities;
	const char *identities_file;
	const char *tenant;
	const char *default_identity;
	const char *log;
	const char *admin;
	const char *key;
	const char *entra_url;
	uint64_t token_life_sec;
	uint64_t delay_msec;
	int ready_fd; /* -1: none */
	bool help;
};

/* "--name VALUE" and "--name=VALUE"; names are exact. -EINVAL. */
int lab_options_parse(int argc, char **argv, struct lab_options *ret, struct ig_err *reterr_err);

extern const char lab_options_usage[];
