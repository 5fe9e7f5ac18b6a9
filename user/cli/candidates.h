/*
 * Candidate rules on the command line, for the commands that judge them.
 */
#pragma once

#include "cli/cmd.h"
#include "objects/store.h"
#include "policy/options.h"

/* Options that every such verb has, by place from the first of them on. */
enum {
	IG_CANDIDATES_MANIFESTS,
	IG_CANDIDATES_POLICY_NAMESPACE,
	IG_CANDIDATES_CROSS_NAMESPACE,
	IG_CANDIDATES_NO_AKS_EXCEPTION,
	_IG_CANDIDATES_OPTIONS
};

#define IG_CANDIDATES_OPTION_LIST(first)                                                             \
	[(first) + IG_CANDIDATES_MANIFESTS] = {"manifests", "DIR",                                   \
		"the candidate rules: a directory of manifests, as imdsgated --manifests reads it"}, \
		   [(first) + IG_CANDIDATES_POLICY_NAMESPACE] = {"policy-namespace", "NS",           \
			   "MetadataPolicies there are the cluster's (default imdsgate-system)"},    \
		   [(first) + IG_CANDIDATES_CROSS_NAMESPACE] = {"allow-cross-namespace", NULL,       \
			   "as the agent's flag of this name"},                                      \
		   [(first) + IG_CANDIDATES_NO_AKS_EXCEPTION] = {                                    \
			   "no-aks-exception", NULL, "as the agent's flag of this name"}

struct ig_cli_candidates {
	struct ig_store *store; /* owned */
	struct ig_policy_options options;
};

/* option: the first of them. Reads the rules; every file that is wrong is said on stderr.
 * IG_CLI_OK, or what is to be returned, with everything said. */
int ig_cli_candidates_load(
	const struct ig_cli *cli, const char *const *option, struct ig_cli_candidates *ret);
void ig_cli_candidates_done(struct ig_cli_candidates *candidates);
