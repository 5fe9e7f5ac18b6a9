/*
 * `imdsgate doctor` from inside: what its files share. Only cmd_doctor*.c and their tests include
 * this.
 *
 *	cmd_doctor.c          the command: gathers, runs every check, prints
 *	cmd_doctor_agent.c    what the agent says about itself
 *	cmd_doctor_kernel.c   programs, links, maps, features, namespaces
 *	cmd_doctor_rules.c    packet filter rules about the metadata addresses
 *	cmd_doctor_selftest.c a connection through the whole path, judged
 *	cmd_doctor_arena.c    the namespace and cgroup that it runs in; dial.c dials
 *
 * Nothing here changes anything on the node, except for the self-test's own cgroup and namespace.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/cmd.h"
#include "cli/dial.h"

enum ig_doctor_state {
	IG_DOCTOR_OK,
	IG_DOCTOR_WARNING, /* works, but not as it should */
	IG_DOCTOR_PROBLEM, /* does not work, or does not guard */
	IG_DOCTOR_SKIPPED, /* not looked at, and why */
	_IG_DOCTOR_STATE_MAX
};

#define IG_DOCTOR_PATH_BYTES 512
#define IG_DOCTOR_TEXT_BYTES 1024

struct ig_doctor {
	const struct ig_cli *cli;
	json_t *status;				 /* owned; NULL when the agent cannot be asked */
	json_t *facts;				 /* owned; what its verb doctor says; may be NULL */
	bool reached;				 /* it answered something */
	bool is_root;				 /* as which this runs */
	char why[IG_DOCTOR_TEXT_BYTES];		 /* with status NULL: what was wrong */
	char cgroup_root[IG_DOCTOR_PATH_BYTES];	 /* "" when unknown */
	char cgroup_error[IG_DOCTOR_TEXT_BYTES]; /* and why */
	char pin_dir[IG_DOCTOR_PATH_BYTES];
	bool no_self_test;
	json_t *checks; /* owned */
	size_t count[_IG_DOCTOR_STATE_MAX];
	bool failed; /* memory is out: what there is is not all */
};

/* Adds a result. name and advice are literals of ours; advice (NULL: none) says what to do. The
 * text may hold what others wrote: it is escaped when it is printed. */
void ig_doctor_add(struct ig_doctor *d, const char *name, enum ig_doctor_state state,
	const char *advice, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Checks. Each adds one result or more, and none fails. */
void ig_doctor_check_agent(struct ig_doctor *d);
void ig_doctor_check_processes(struct ig_doctor *d);
void ig_doctor_check_manifests(struct ig_doctor *d);
void ig_doctor_check_credentials(struct ig_doctor *d);
void ig_doctor_check_audit(struct ig_doctor *d);
void ig_doctor_check_kubernetes(struct ig_doctor *d);
void ig_doctor_check_upstreams(struct ig_doctor *d);
void ig_doctor_check_clock(struct ig_doctor *d);
void ig_doctor_check_descriptors(struct ig_doctor *d);

void ig_doctor_check_cgroup(struct ig_doctor *d);
void ig_doctor_check_features(struct ig_doctor *d);
void ig_doctor_check_hooks(struct ig_doctor *d);
void ig_doctor_check_maps(struct ig_doctor *d);
void ig_doctor_check_listeners(struct ig_doctor *d);
void ig_doctor_check_guard(struct ig_doctor *d);
void ig_doctor_check_rules(struct ig_doctor *d);
void ig_doctor_check_self_test(struct ig_doctor *d);

void ig_doctor_format(const json_t *report, bool color, struct ig_buf *b);

/* ---- packet filter rules (pure) ---- */

struct ig_doctor_rules {
	size_t nmi;	     /* rules of aad-pod-identity: its chain, or to its port */
	size_t other;	     /* others about a metadata address */
	struct ig_buf shown; /* the first of them, one a line; the caller's to release */
	size_t n_shown;
};

/* The text of iptables-save(8). */
void ig_doctor_read_iptables(const char *text, struct ig_doctor_rules *rules);
/* What `nft -j list ruleset` prints, parsed. */
void ig_doctor_read_nft(const json_t *ruleset, struct ig_doctor_rules *rules);

/* ---- self-test ---- */

/* Crosses a pipe, from a child of the same program. */
struct ig_selftest_result {
	int32_t error; /* why it could not be run, negative errno; 0: it ran */
	uint32_t pad;
	char step[64]; /* what failed then */
	struct ig_dial_outcome outcome[_IG_DIAL_TARGET_MAX];
};

#define IG_SELFTEST_CGROUP_BYTES 64

/* Makes a cgroup below cgroup_root and a network namespace without a way out, dials there, and
 * takes both away again, whatever happens to this process meanwhile. patient: a connect that is
 * refused is tried again, for a listener that is being opened. *ret_name: what the cgroup was
 * called. -ETIMEDOUT, or what kept it from being started; result->error is about the inside. */
int ig_selftest_run(const char *cgroup_root, bool patient, struct ig_selftest_result *ret,
	char ret_name[IG_SELFTEST_CGROUP_BYTES]);
