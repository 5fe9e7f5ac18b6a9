/*
 * The parts of an explanation that are the same wherever one is shown: by the agent's verb
 * `explain`, and by `policy test`. Names and words only, so one formatter prints both.
 *
 * Each function returns a new reference, or NULL when out of memory.
 */
#pragma once

#include <jansson.h>

#include "policy/explain.h"

/* Takes containers, the pod's; container: the one that asks, NULL for none in particular. */
json_t *ig_explain_caller_json(
	const struct ig_policy_request *request, json_t *containers, const char *container);
json_t *ig_explain_request_json(
	const struct ig_policy_request *request, const struct ig_selector *selector);
json_t *ig_explain_steps_json(const struct ig_explanation *e);
/* Whose token it would be; null where there is none. */
json_t *ig_explain_identity_json(
	const struct ig_policy_request *request, const struct ig_explanation *e);
/* policy may be NULL. */
json_t *ig_explain_policy_json(const struct ig_metadata_policy *policy);
