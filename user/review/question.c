/*
 * Judging described requests; see question.h. It must never have rules of its own, but one: what
 * the agent answers when the policies are done (see user/agent/exchange.c and info.c).
 */
#include "review/question.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "imds/document.h"
#include "imds/routes.h"
#include "objects/names.h"

#define DEFAULT_NAMESPACE "default"

static const char *const outcomes[_IG_ANSWER_MAX] = {
	[IG_ANSWER_ALLOW] = "allow",
	[IG_ANSWER_WOULD_DENY] = "would-deny",
	[IG_ANSWER_DENY] = "deny",
	[IG_ANSWER_UNKNOWN] = "unknown",
};

const char *ig_answer_outcome_name(enum ig_answer_outcome outcome)
{
	return outcomes[outcome];
}

int ig_answer_outcome_parse(const char *name, enum ig_answer_outcome *ret)
{
	for (unsigned int i = 0; i < IG_ANSWER_UNKNOWN; i++)
		if (strcmp(outcomes[i], name) == 0) {
			*ret = (enum ig_answer_outcome)i;
			return 0;
		}
	return -EINVAL;
}

bool ig_answer_meets(enum ig_answer_outcome outcome, enum ig_answer_outcome expected)
{
	return outcome == expected ||
	       (outcome == IG_ANSWER_WOULD_DENY && expected == IG_ANSWER_ALLOW);
}

/* Names, paths and ids; anything else is a mistake, and no JSON. */
static int check_texts(const struct ig_question *q, struct ig_err *err)
{
	const char *const texts[] = {q->pod, q->resource, q->path, q->client_id, q->object_id,
		q->resource_id, q->container, q->exe};

	for (size_t i = 0; i < IG_ARRAY_SIZE(texts); i++) {
		const char *s = texts[i] ? texts[i] : "";
		size_t left = strlen(s), n;

		for (; left && (n = ig_utf8_sequence((const unsigned char *)s, left)); left -= n)
			s += n;
		if (left || (texts[i] && !ig_name_is_printable(texts[i])))
			return ig_err_set(err, -EINVAL, "'%s' is no printable text", texts[i]);
	}
	return 0;
}

/* ---- the question ---------------------------------------------------------------------------- */

static int find_pod(const struct ig_store *store, const char *name, const struct ig_pod **ret,
	struct ig_err *err)
{
	const char *slash = strchr(name, '/');
	char ns[IG_OBJECT_NAME_BYTES + 1] = DEFAULT_NAMESPACE;
	int n = 0;

	if (slash)
		n = snprintf(ns, sizeof(ns), "%.*s", (int)(slash - name), name);
	if (n >= (int)sizeof(ns) || !ns[0] || (slash && !slash[1]))
		return ig_err_set(err, -EINVAL, "'%s' is not [NAMESPACE/]NAME", name);
	*ret = ig_store_pod_by_name(store, ns, slash ? slash + 1 : name);
	if (!*ret)
		return ig_err_set(err, -ENOENT, "the manifests declare no Pod %s/%s", ns,
			slash ? slash + 1 : name);
	return 0;
}

static int read_container(
	const struct ig_question *q, struct ig_policy_request *r, struct ig_err *err)
{
	const struct ig_pod *pod = r->pod;

	if (!pod)
		return q->container ? ig_err_set(err, -EINVAL, "the host has no containers") : 0;
	r->container = q->container;
	if (!q->container && pod->n_containers == 1)
		r->container = pod->containers[0].name;
	/* a manifest need not say what containers there are */
	for (size_t i = 0; q->container && i < pod->n_containers; i++)
		if (strcmp(pod->containers[i].name, q->container) == 0)
			return 0;
	if (q->container && pod->n_containers)
		return ig_err_set(err, -ENOENT, "%s/%s has no container '%s'", pod->namespace,
			pod->name, q->container);
	return 0;
}

static int read_caller(const struct ig_store *store, const struct ig_question *q,
	struct ig_policy_request *r, struct ig_err *err)
{
	int ret;

	if (!q->pod == !q->host)
		return ig_err_set(err, -EINVAL, "whose request? Either a pod's or the host's");
	if (q->exe && q->exe[0] != '/')
		return ig_err_set(err, -EINVAL, "'%s' is no absolute path", q->exe);
	r->exe = q->exe;
	r->exe_deleted = q->exe_deleted;
	if (q->pod) {
		ret = find_pod(store, q->pod, &r->pod, err);
		if (ret < 0)
			return ret;
	}
	return read_container(q, r, err);
}

static int read_selector(const struct ig_question *q, struct ig_selector *ret, struct ig_err *err)
{
	const struct {
		const char *value;
		enum ig_selector_kind kind;
	} ids[] = {{q->client_id, IG_SELECTOR_CLIENT_ID}, {q->object_id, IG_SELECTOR_OBJECT_ID},
		{q->resource_id, IG_SELECTOR_RESOURCE_ID}};

	for (size_t i = 0; i < IG_ARRAY_SIZE(ids); i++) {
		if (!ids[i].value)
			continue;
		if (ret->kind != IG_SELECTOR_NONE)
			return ig_err_set(err, -EINVAL, "an identity is named twice");
		if (!ids[i].value[0] || strlen(ids[i].value) > IG_SELECTOR_BYTES)
			return ig_err_set(err, -EINVAL, "an identity's id has 1 to %d bytes",
				IG_SELECTOR_BYTES);
		ret->kind = ids[i].kind;
		(void)snprintf(ret->value, sizeof(ret->value), "%s", ids[i].value);
	}
	return 0;
}

static int read_token(const struct ig_question *q, struct ig_policy_request *r, struct ig_answer *a,
	struct ig_err *err)
{
	if (q->resource && (!q->resource[0] || strlen(q->resource) > IG_RESOURCE_BYTES))
		return ig_err_set(err, -EINVAL, "a resource has 1 to %d bytes", IG_RESOURCE_BYTES);
	r->kind = IG_POLICY_REQUEST_TOKEN;
	r->resource = q->resource ? q->resource : IG_QUESTION_RESOURCE;
	return read_selector(q, &a->selector, err);
}

static int read_path(const struct ig_question *q, struct ig_policy_request *r, struct ig_answer *a,
	enum ig_imds_route *ret_route, struct ig_err *err)
{
	struct ig_imds_target target = ig_imds_route(q->path);

	*ret_route = target.route;
	if (target.route == IG_IMDS_ROUTE_TOKEN)
		return read_token(q, r, a, err);
	if (q->resource || q->client_id || q->object_id || q->resource_id)
		return ig_err_set(err, -EINVAL, "a document has neither resource nor identity");
	if (strchr(q->path, '?') || target.route == IG_IMDS_ROUTE_NONE ||
		target.route == IG_IMDS_ROUTE_INVALID ||
		ig_imds_document_path(&target, a->path) < 0)
		return ig_err_set(err, -ENOENT, "there is nothing under '%s' for anybody", q->path);
	r->kind = IG_POLICY_REQUEST_DOCUMENT;
	r->path = a->path;
	r->path_default_allowed = target.route == IG_IMDS_ROUTE_INSTANCE ||
				  target.route == IG_IMDS_ROUTE_INFO ||
				  target.route == IG_IMDS_ROUTE_VERSIONS;
	return 0;
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* A manifest's annotation is all that is known without a token. */
static const char *object_id_of(const struct ig_identity *identity, void *userdata)
{
	(void)userdata;
	return identity->object_id[0] ? identity->object_id : NULL;
}

static void conclude(struct ig_answer *a, enum ig_answer_outcome outcome, const char *reason)
{
	a->outcome = outcome;
	a->reason = reason;
}

static void conclude_verdict(struct ig_answer *a)
{
	const struct ig_policy_verdict *v = &a->explanation.verdict;

	a->policy = v->policy;
	if (v->outcome != IG_POLICY_VERDICT_ALLOW)
		conclude(a, IG_ANSWER_DENY, v->reason);
	else if (v->would_deny)
		conclude(a, IG_ANSWER_WOULD_DENY, v->reason);
	else
		conclude(a, IG_ANSWER_ALLOW,
			a->explanation.has_decision ? a->explanation.decision.reason : "allowed");
}

static void answer(const struct ig_store *store, const struct ig_policy_options *options,
	const struct ig_policy_request *request, enum ig_imds_route route, struct ig_answer *a)
{
	const struct ig_pod *pod = request->pod;
	const struct ig_exception *exception =
		pod && !pod->finished ? ig_policy_exception(store, pod, options) : NULL;
	const struct ig_identity *identity;

	if (route == IG_IMDS_ROUTE_VERSIONS)
		conclude(a, IG_ANSWER_ALLOW, "open_to_everybody");
	else if (exception && exception->mode == IG_EXCEPTION_DIRECT)
		conclude(a, IG_ANSWER_ALLOW, "exception_direct"); /* it does not meet the gate */
	else if (a->explanation.has_verdict)
		conclude_verdict(a);
	else if (a->explanation.decision.outcome == IG_POLICY_NEEDS_OBJECT_ID)
		conclude(a, IG_ANSWER_UNKNOWN, "object_id_not_known");
	else
		conclude(a, IG_ANSWER_DENY, a->explanation.decision.reason);
	/* which tenant it belongs to is told to whoever has an identity */
	if (route == IG_IMDS_ROUTE_INFO && a->outcome != IG_ANSWER_DENY && !exception &&
		(!pod || ig_policy_candidates(store, pod, options, &identity, 1) == 0))
		conclude(a, IG_ANSWER_DENY, ig_policy_outcome_name(IG_POLICY_NOT_BOUND));
}

int ig_question_answer(const struct ig_store *store, const struct ig_policy_options *options,
	const struct ig_question *question, struct ig_answer *ret, struct ig_err *reterr_err)
{
	enum ig_imds_route route = IG_IMDS_ROUTE_TOKEN;
	struct ig_policy_request request = {};
	int r;

	memset(ret, 0, sizeof(*ret));
	r = check_texts(question, reterr_err);
	if (r == 0)
		r = read_caller(store, question, &request, reterr_err);
	if (r == 0 && question->path)
		r = read_path(question, &request, ret, &route, reterr_err);
	else if (r == 0)
		r = read_token(question, &request, ret, reterr_err);
	if (r < 0)
		return r;
	ig_policy_explain(store, options,
		&(struct ig_explain_request){
			.request = request, .selector = &ret->selector, .object_id = object_id_of},
		&ret->explanation);
	ret->request = request;
	answer(store, options, &request, route, ret);
	return 0;
}
