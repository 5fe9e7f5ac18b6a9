/*
 * An answer as JSON; see question.h. The members and their words are those of the agent's verb
 * `explain` (user/agent/verbs_explain.c), so that one formatter prints both.
 */
#include <string.h>

#include <imdsgate/limits.h>

#include "policy/explain_json.h"
#include "review/question.h"

/* No manifest says their ids; which of them asks is in the question. */
static json_t *containers_json(const struct ig_pod *pod)
{
	json_t *list = json_array();

	for (size_t i = 0; pod && list && i < pod->n_containers; i++)
		(void)json_array_append_new(list,
			json_pack("{s:s, s:b}", "name", pod->containers[i].name, "known", true));
	return list;
}

static json_t *rate_json(const struct ig_answer *a)
{
	const struct ig_policy_verdict *v = &a->explanation.verdict;
	uint32_t burst = v->rate_burst ? v->rate_burst : v->rate_per_sec;

	/* the gate's own limits are the agent's affair */
	if (a->request.kind != IG_POLICY_REQUEST_TOKEN || !a->explanation.has_verdict ||
		!v->rate_per_sec)
		return json_null();
	return json_pack("{s:I, s:I, s:s}", "per_second", (json_int_t)v->rate_per_sec, "burst",
		(json_int_t)burst, "by", "policy");
}

json_t *ig_answer_json(const struct ig_answer *a)
{
	bool passes = strcmp(a->reason, "exception_direct") == 0;
	bool would_deny = a->outcome == IG_ANSWER_WOULD_DENY;
	const char *verdict = passes	   ? "pass"
			      : would_deny ? "allow"
					   : ig_answer_outcome_name(a->outcome);

	return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:s, s:s, s:o, s:s?}", "caller",
		ig_explain_caller_json(
			&a->request, containers_json(a->request.pod), a->request.container),
		"request", ig_explain_request_json(&a->request, &a->selector), "connection",
		passes ? "pass" : "redirect", "steps", ig_explain_steps_json(&a->explanation),
		"identity", ig_explain_identity_json(&a->request, &a->explanation), "rate",
		rate_json(a), "verdict", verdict, "reason",
		passes ? "exception"
		: would_deny
			? (a->explanation.has_decision ? a->explanation.decision.reason : "allowed")
			: a->reason,
		"policy", ig_explain_policy_json(a->policy), "would_deny",
		would_deny ? a->reason : NULL);
}
