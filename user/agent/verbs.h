/*
 * The verbs of the control socket that have files of their own, and what these share. Only the
 * verbs*.c include this; for everybody else agent.h has their table.
 */
#pragma once

#include <stdint.h>

#include <jansson.h>

#include "base/err.h"

struct ig_agent;
struct ig_ctl_conn;
struct ig_pod;

/* Every count fits: jansson integers are 64 bit signed. A new reference, or NULL. */
json_t *ig_verbs_number(uint64_t value);

/* Text that is not ours and may have been cut inside a character; "" when it is no UTF-8 at all. */
json_t *ig_verbs_text(const char *text);

/* The pod that args' members namespace and name give. -EINVAL without them, -ENOENT; *ret is
 * borrowed from the store. */
int ig_verbs_find_pod(const struct ig_agent *agent, const json_t *args, const struct ig_pod **ret,
	struct ig_err *reterr_err);

/* As struct ig_ctl_verb says; userdata is the agent. */
int ig_verbs_workload_list(struct ig_ctl_conn *conn, json_t *args, void *userdata,
	json_t **ret_result, struct ig_err *reterr_err);
int ig_verbs_workload_show(struct ig_ctl_conn *conn, json_t *args, void *userdata,
	json_t **ret_result, struct ig_err *reterr_err);
int ig_verbs_doctor(struct ig_ctl_conn *conn, json_t *args, void *userdata, json_t **ret_result,
	struct ig_err *reterr_err);
int ig_verbs_explain(struct ig_ctl_conn *conn, json_t *args, void *userdata, json_t **ret_result,
	struct ig_err *reterr_err);
