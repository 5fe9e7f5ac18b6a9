/*
 * The command line of imdsgated. Every default is in one table in options.c, which also is what
 * --help prints.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <imdsgate/abi.h>
#include <imdsgate/limits.h>

#include "agent/identity_key.h"
#include "agent/options_audit.h"
#include "agent/options_metrics.h"
#include "base/err.h"
#include "base/log.h"
#include "policy/binding.h"

#define IG_NETNS_DIRS_MAX 16

enum ig_mode {
	IG_MODE_RUN,
	IG_MODE_SERVER, /* the monitor starts the server so; not for people */
	IG_MODE_CHECK_CONFIG,
	IG_MODE_DETACH,
	IG_MODE_VERSION,
	IG_MODE_HELP,
};

struct ig_options {
	enum ig_mode mode;
	const char
		*manifests; /* strings are borrowed from argv or literals, unless said otherwise */
	const char *imds_url;
	const char *secrets;   /* directory of credentials; need not exist */
	char cgroup_root[512]; /* found in mountinfo unless given */
	const char *bpffs;
	const char *netns_dirs[IG_NETNS_DIRS_MAX + 1]; /* NULL-terminated */
	struct ig_audit_choices audit;
	const char *socket;
	const char *user;
	uint32_t uid, gid;    /* of user, looked up */
	uint8_t host_verdict; /* enum ig_verdict, for IMDS */
	uint16_t gate_port;
	uint32_t requests_per_second; /* for tokens, of one workload */
	const char *guard;	      /* "auto", "off", or interfaces with commas between */
	bool guard_clsact;
	struct ig_policy_options policy;
	struct ig_identity_defaults identity_defaults;
	/* /host/token: NULL and 0: not served there */
	const char *host_token_socket;
	uint16_t host_token_port;
	/* who may ask there, with all below: canonical, NULL-terminated; none: root, on the socket
	 */
	const char *host_token_cgroups[IG_HOST_TOKEN_CGROUPS_MAX + 1];
	/* and pods with these ServiceAccounts, "NAMESPACE/NAME" */
	const char *host_token_accounts[IG_HOST_TOKEN_ACCOUNTS_MAX + 1];
	struct ig_metrics_choices metrics;
	bool auxiliary_tenant_array;
	bool kubernetes;	   /* pods and rules come from an API server, too */
	const char *kubeconfig;	   /* NULL: that of the cluster this runs in */
	const char *startup_taint; /* key of the taint to take off this node; NULL: none */
	char node[256];
	int ready_fd;
	bool hold;    /* when another agent has taken over, and with IG_MODE_DETACH: stay */
	bool replace; /* with IG_MODE_RUN: as a process of its own, and return when it serves */
	enum ig_log_level log_level;
};

/* Parses and completes (user, node, cgroup root). -EINVAL with a message for the usage line. argv
 * is not changed. */
int ig_options_parse(
	int argc, char *const *argv, struct ig_options *ret, struct ig_err *reterr_err);

/* The ids of the user that the server becomes, and who owns the audit file. */
int ig_options_find_user(struct ig_options *options, struct ig_err *reterr_err);

/* What is only needed to run: the user's ids, the cgroup2 mount. */
int ig_options_complete(struct ig_options *options, struct ig_err *reterr_err);

void ig_options_print_help(void);

/* "deny", "redirect", "pass" */
const char *ig_verdict_name(enum ig_verdict verdict);
