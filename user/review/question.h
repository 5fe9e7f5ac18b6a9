/*
 * A request described in words, judged by a set of rules: what would the gate answer, and why?
 * Nothing is decided here; user/policy decides, as in the agent.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"
#include "policy/explain.h"

/* Texts are borrowed; NULL: not given. One of pod and host; at most one of resource and path
 * (without both: a token for IG_QUESTION_RESOURCE); at most one of the ids. */
struct ig_question {
	const char *pod; /* [NAMESPACE/]NAME of a declared Pod */
	bool host;
	const char *resource, *path;
	const char *client_id, *object_id, *resource_id;
	const char *container; /* name; of a pod with one container: not needed */
	const char *exe;
	bool exe_deleted;
};

#define IG_QUESTION_RESOURCE "https://management.azure.com/"

enum ig_answer_outcome {
	IG_ANSWER_ALLOW,
	IG_ANSWER_WOULD_DENY, /* allowed; a policy in mode audit has something against it */
	IG_ANSWER_DENY,
	IG_ANSWER_UNKNOWN, /* it depends on what no manifest says */
	_IG_ANSWER_MAX
};

struct ig_answer {
	enum ig_answer_outcome outcome;
	const char *reason;			 /* literal; never NULL */
	const struct ig_metadata_policy *policy; /* behind it; NULL without; owned by the store */
	struct ig_policy_request request;	 /* as it was judged */
	char path[IG_DOCUMENT_PATH_BYTES + 1];	 /* request.path */
	struct ig_selector selector;
	struct ig_explanation explanation;
};

/* 0; -EINVAL for a question that makes no sense, -ENOENT for a pod, container or path that does
 * not exist, with *reterr_err. *ret is large, and valid while the store does not change. */
int ig_question_answer(const struct ig_store *store, const struct ig_policy_options *options,
	const struct ig_question *question, struct ig_answer *ret, struct ig_err *reterr_err);

/* What `imdsgate explain` says of a request, in the same words: {"caller","request","connection",
 * "steps","identity","rate","verdict","reason","policy","would_deny"}; verdict is "allow", "pass"
 * (not through the gate), "deny" or "unknown". NULL when out of memory. */
json_t *ig_answer_json(const struct ig_answer *answer);

/* "allow", "would-deny", "deny", "unknown" */
const char *ig_answer_outcome_name(enum ig_answer_outcome outcome);
/* Of "allow", "would-deny" and "deny". 0 or -EINVAL. */
int ig_answer_outcome_parse(const char *name, enum ig_answer_outcome *ret);
/* What is allowed while a policy only watches is allowed: ALLOW expects that, too. */
bool ig_answer_meets(enum ig_answer_outcome outcome, enum ig_answer_outcome expected);
