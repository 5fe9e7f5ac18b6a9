/*
 * Replaying a log; see replay.h. The functions that the agent decides with decide here.
 *
 * A log does not hold labels. Of a pod that the manifests do not declare, every set of labels that
 * could make a difference is tried; if it does make one, the answer is that nobody knows.
 */
#include "review/replay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/table.h"
#include "policy/binding.h"
#include "policy/metadata.h"
#include "report/filter.h"
#include "report/stats.h"
#include "report/summary.h"
#include "review/recorded.h"

#define NOW_BYTES 640

/* Fields of the table of changes. */
enum { CHANGE, NAMESPACE, POD, IDENTITY, TARGET, EXE, WAS, NOW, N_FIELDS };

static const char *const names[_IG_REPLAY_CHANGE_MAX] = {
	[IG_REPLAY_NEWLY_DENIED] = "newly_denied",
	[IG_REPLAY_NEWLY_ALLOWED] = "newly_allowed",
	[IG_REPLAY_NEWLY_WATCHED] = "newly_watched",
	[IG_REPLAY_UNKNOWN] = "unknown",
	[IG_REPLAY_UNCHANGED] = "unchanged",
	[IG_REPLAY_NOT_JUDGED] = "not_judged",
};

/* What would be answered now. */
struct judgement {
	enum { PERMITTED, WATCHED, DENIED, UNKNOWN } outcome;
	const char *reason; /* literal; of UNKNOWN: which fact is missing */
	const struct ig_metadata_policy *policy;
};

/* What came out for a request of a pod without known labels. */
struct memo {
	UT_hash_handle hh;
	struct judgement judgement;
	char key[];
};

struct ig_replay {
	const struct ig_store *store;
	struct ig_policy_options options;
	bool judges_identities; /* the candidates say whose identity is whose */
	uint64_t counts[_IG_REPLAY_CHANGE_MAX];
	struct ig_report_table changes;
	struct memo *memos; /* owned; uthash head */
	size_t n_memos;
};

int ig_replay_new(const struct ig_store *store, const struct ig_policy_options *options,
	struct ig_replay **ret)
{
	struct ig_replay *replay = calloc(1, sizeof(*replay));

	if (!replay)
		return -ENOMEM;
	replay->store = store;
	replay->options = *options;
	replay->judges_identities = ig_store_count(store, IG_OBJECT_IDENTITY) +
				    ig_store_count(store, IG_OBJECT_BINDING) +
				    ig_store_count(store, IG_OBJECT_SERVICE_ACCOUNT);
	replay->changes = ig_report_table_init(N_FIELDS);
	*ret = replay;
	return 0;
}

static void forget(struct ig_replay *replay)
{
	struct memo *memo, *next;

	HASH_ITER (hh, replay->memos, memo, next) {
		HASH_DEL(replay->memos, memo);
		free(memo);
	}
	replay->n_memos = 0;
}

struct ig_replay *ig_replay_free(struct ig_replay *replay)
{
	if (!replay)
		return NULL;
	ig_report_table_done(&replay->changes);
	forget(replay);
	free(replay);
	return NULL;
}

uint64_t ig_replay_count(const struct ig_replay *replay, enum ig_replay_change change)
{
	return replay->counts[change];
}

/* ---- policies -------------------------------------------------------------------------------- */

static struct judgement judge_verdict(const struct ig_policy_verdict *v)
{
	struct judgement j = {.outcome = PERMITTED, .reason = v->reason, .policy = v->policy};

	if (v->outcome == IG_POLICY_VERDICT_NEEDS_CONTAINER)
		j = (struct judgement){.outcome = UNKNOWN, .reason = "container"};
	else if (v->outcome != IG_POLICY_VERDICT_ALLOW)
		j.outcome = DENIED;
	else if (v->would_deny)
		j.outcome = WATCHED;
	return j;
}

static struct judgement judge_policies(
	const struct ig_replay *replay, const struct ig_policy_request *request)
{
	struct ig_policy_verdict v = ig_policy_check(replay->store, &replay->options, request);

	return judge_verdict(&v);
}

/* Policies of a layer that would cover the request if the pod had their labels. */
struct labeled {
	const struct ig_metadata_policy
		*policy[IG_REPLAY_LABELED_MAX + 1]; /* the first is NULL: no labels */
	size_t n;
	bool too_many;
};

static void find_labeled(const struct ig_replay *replay, const struct ig_policy_request *request,
	struct labeled layers[_IG_POLICY_LAYER_MAX])
{
	const struct ig_metadata_policy *p;
	size_t iter = 0;

	for (int i = 0; i < _IG_POLICY_LAYER_MAX; i++)
		layers[i] = (struct labeled){.n = 1};
	while ((p = ig_store_next_metadata_policy(replay->store, &iter))) {
		struct labeled *l = &layers[ig_policy_layer(p, &replay->options)];
		struct ig_pod pod = *request->pod;
		struct ig_policy_request with = *request;

		pod.labels = p->labels;
		pod.n_labels = p->n_labels;
		with.pod = &pod;
		if (!p->n_labels || ig_policy_not_covered(p, &replay->options, &with))
			continue;
		if (l->n > IG_REPLAY_LABELED_MAX)
			l->too_many = true;
		else
			l->policy[l->n++] = p;
	}
}

/* The labels of both as one set. false: no pod has them all, or out of memory. */
static bool join_labels(const struct ig_metadata_policy *a, const struct ig_metadata_policy *b,
	struct ig_label **ret, size_t *ret_n)
{
	size_t n_a = a ? a->n_labels : 0, n_b = b ? b->n_labels : 0;
	struct ig_label *labels = calloc(n_a + n_b + 1, sizeof(*labels));

	if (!labels)
		return false;
	*ret = labels;
	*ret_n = n_a + n_b;
	for (size_t i = 0; i < n_a; i++)
		labels[i] = a->labels[i];
	for (size_t i = 0; i < n_b; i++) {
		const char *value = ig_label_get(labels, n_a, b->labels[i].key);

		if (value && strcmp(value, b->labels[i].value) != 0)
			return false;
		labels[n_a + i] = b->labels[i];
	}
	return true;
}

static struct judgement judge_labels(const struct ig_replay *replay,
	const struct ig_policy_request *request, const struct ig_metadata_policy *a,
	const struct ig_metadata_policy *b, const struct judgement *otherwise)
{
	_cleanup_free_ struct ig_label *labels = NULL;
	struct ig_policy_request with = *request;
	struct ig_pod pod = *request->pod;

	if (!join_labels(a, b, &labels, &pod.n_labels))
		return *otherwise;
	pod.labels = labels;
	with.pod = &pod;
	return judge_policies(replay, &with);
}

static struct judgement judge_without_labels(
	const struct ig_replay *replay, const struct ig_policy_request *request)
{
	struct labeled layers[_IG_POLICY_LAYER_MAX];
	const struct labeled *a = &layers[0], *b = &layers[1];
	struct judgement first = judge_policies(replay, request);

	find_labeled(replay, request, layers);
	if (a->too_many || b->too_many || a->n * b->n > IG_REPLAY_PAIRS_MAX)
		return (struct judgement){.outcome = UNKNOWN, .reason = "labels"};
	for (size_t i = 0; i < a->n; i++)
		for (size_t k = 0; k < b->n; k++) {
			struct judgement j =
				judge_labels(replay, request, a->policy[i], b->policy[k], &first);

			if (j.outcome != first.outcome)
				return (struct judgement){.outcome = UNKNOWN, .reason = "labels"};
		}
	return first;
}

/* All that an answer depends on for a pod without known labels; its name does not matter. */
static int memo_key(const struct ig_policy_request *r, char **ret)
{
	const char *identity = r->identity ? r->identity->name : "";
	const char *exe = r->exe ? r->exe : "";

	/* with lengths, since texts may hold any separator */
	return asprintf(ret, "%zu %zu %zu %zu %d%d%d%d%d%s%s%s%s%s", strlen(r->pod->namespace),
		strlen(r->pod->service_account), strlen(exe), strlen(identity),
		r->pod->host_network, r->exe_deleted, r->kind, r->path_default_allowed,
		r->identity != NULL, r->pod->namespace, r->pod->service_account, exe, identity,
		r->kind == IG_POLICY_REQUEST_TOKEN ? r->resource : r->path);
}

/* The same requests come again and again, and trying labels takes its time. */
static struct judgement judge_remembered(
	struct ig_replay *replay, const struct ig_policy_request *request)
{
	_cleanup_free_ char *key = NULL;
	struct judgement j;
	struct memo *memo = NULL;
	int len = memo_key(request, &key);

	if (len < 0) {
		key = NULL;
		return judge_without_labels(replay, request);
	}
	HASH_FIND(hh, replay->memos, key, (size_t)len, memo);
	if (memo)
		return memo->judgement;
	j = judge_without_labels(replay, request);
	memo = malloc(sizeof(*memo) + (size_t)len);
	if (!memo)
		return j;
	if (replay->n_memos >= IG_REPLAY_MEMOS_MAX)
		forget(replay);
	memo->judgement = j;
	memcpy(memo->key, key, (size_t)len);
	HASH_ADD(hh, replay->memos, key, (size_t)len, memo);
	if (!ig_table_has(memo))
		free(memo);
	else
		replay->n_memos++;
	return j;
}

/* ---- identities ------------------------------------------------------------------------------ */

static const char *object_id_of(const struct ig_identity *identity, void *userdata)
{
	(void)userdata;
	return identity->object_id[0] ? identity->object_id : NULL;
}

/* Whose token would it be? false: nobody's, or unknown, with *ret. */
static bool select_identity(const struct ig_replay *replay, const struct ig_report_event *event,
	struct ig_recorded *r, struct judgement *ret)
{
	struct ig_policy_options options = replay->options;
	struct ig_policy_decision d;

	options.no_exceptions = event->has_subject;
	d = ig_policy_select(
		replay->store, r->declared, &r->selector, &options, object_id_of, NULL);
	r->request.identity = d.identity;
	if (d.outcome == IG_POLICY_GRANT || d.outcome == IG_POLICY_GRANT_NODE)
		return true;
	*ret = d.outcome == IG_POLICY_NEEDS_OBJECT_ID
		       ? (struct judgement){.outcome = UNKNOWN, .reason = "object_id"}
		       : (struct judgement){.outcome = DENIED, .reason = d.reason};
	return false;
}

/* Denied before any policy was asked: which identity it would be is for bindings to say. */
static bool lacked_identity(const struct ig_report_event *event)
{
	static const char *const reasons[] = {
		"not_bound", "not_found", "ambiguous", "pod_finished"};

	for (size_t i = 0; i < IG_ARRAY_SIZE(reasons); i++)
		if (strcmp(event->reason, reasons[i]) == 0)
			return true;
	return false;
}

static bool is_direct(const struct ig_replay *replay, const struct ig_recorded *r)
{
	const struct ig_exception *e =
		r->declared ? ig_policy_exception(replay->store, r->declared, &replay->options)
			    : NULL;

	return e && e->mode == IG_EXCEPTION_DIRECT;
}

/* Which tenant it belongs to is told to a pod that has an identity; see user/agent/info.c. */
static bool may_have_document(const struct ig_replay *replay, const struct ig_report_event *event,
	const struct ig_recorded *r)
{
	const struct ig_identity *identity;

	if (strcmp(event->route, "info") != 0 || !replay->judges_identities)
		return true;
	return ig_policy_exception(replay->store, r->declared, &replay->options) ||
	       ig_policy_candidates(replay->store, r->declared, &replay->options, &identity, 1);
}

static struct judgement judge(
	struct ig_replay *replay, const struct ig_report_event *event, struct ig_recorded *r)
{
	bool token = r->request.kind == IG_POLICY_REQUEST_TOKEN && !r->is_host;
	struct judgement j;

	if (r->missing)
		return (struct judgement){.outcome = UNKNOWN, .reason = r->missing};
	if (!event->has_subject && is_direct(replay, r))
		return (struct judgement){.outcome = PERMITTED, .reason = "exception_direct"};
	if (token && replay->judges_identities && r->declared) {
		if (!select_identity(replay, event, r, &j))
			return j;
	} else if (lacked_identity(event) && !(r->declared && replay->judges_identities)) {
		/* labels decide about it, and where there are no bindings, nothing has changed */
		return replay->judges_identities
			       ? (struct judgement){.outcome = UNKNOWN, .reason = "labels"}
			       : (struct judgement){.outcome = DENIED, .reason = "as_recorded"};
	}
	if (!token && r->declared && !may_have_document(replay, event, r))
		return (struct judgement){.outcome = DENIED, .reason = "not_bound"};
	return r->is_host || r->declared ? judge_policies(replay, &r->request)
					 : judge_remembered(replay, &r->request);
}

/* ---- counting -------------------------------------------------------------------------------- */

static enum ig_replay_change compare(enum ig_recorded_outcome then, const struct judgement *now,
	const struct ig_report_event *event)
{
	switch (now->outcome) {
	case UNKNOWN: return IG_REPLAY_UNKNOWN;
	case DENIED:
		return then == IG_RECORDED_DENIED ? IG_REPLAY_UNCHANGED : IG_REPLAY_NEWLY_DENIED;
	default: break;
	}
	if (then == IG_RECORDED_DENIED)
		return IG_REPLAY_NEWLY_ALLOWED;
	return now->outcome == WATCHED && !event->would_deny[0] ? IG_REPLAY_NEWLY_WATCHED
								: IG_REPLAY_UNCHANGED;
}

static int note(struct ig_replay *replay, const struct ig_report_event *event,
	enum ig_replay_change change, const struct judgement *now)
{
	char text[NOW_BYTES];
	const char *fields[N_FIELDS] = {
		[CHANGE] = names[change],
		[NAMESPACE] = ig_report_namespace(event),
		[POD] = ig_report_pod(event)[0] ? ig_report_pod(event) : "(host)",
		[IDENTITY] = ig_report_event_identity(event),
		[TARGET] = event->resource[0] ? event->resource : event->path,
		[EXE] = event->exe,
		[WAS] = event->reason,
		[NOW] = text,
	};
	const struct ig_metadata_policy *policy = now->policy;

	(void)snprintf(text, sizeof(text), "%s%s%s%s%s", now->reason ? now->reason : "allowed",
		policy ? " by " : "", policy ? policy->namespace : "", policy ? "/" : "",
		policy ? policy->name : "");
	return ig_report_table_add(&replay->changes, fields, event->decision, event->time_usec, 1);
}

int ig_replay_add(struct ig_replay *replay, const struct ig_report_event *event)
{
	enum ig_recorded_outcome then = ig_recorded_outcome(event);
	enum ig_replay_change change = IG_REPLAY_NOT_JUDGED;
	struct ig_recorded recorded;
	struct judgement now = {};

	if (then != IG_RECORDED_OTHER) {
		ig_recorded_read(replay->store, event, &recorded);
		now = judge(replay, event, &recorded);
		change = compare(then, &now, event);
	}
	replay->counts[change]++;
	if (change == IG_REPLAY_UNCHANGED || change == IG_REPLAY_NOT_JUDGED)
		return 0;
	return note(replay, event, change, &now);
}

/* ---- the result ------------------------------------------------------------------------------ */

static int put_row(json_t *rows, const struct ig_report_row *row)
{
	static const char *const keys[N_FIELDS] = {[CHANGE] = "change",
		[NAMESPACE] = "namespace",
		[POD] = "pod",
		[IDENTITY] = "identity",
		[TARGET] = "target",
		[EXE] = "executable",
		[WAS] = "was",
		[NOW] = "now"};
	json_t *object = json_object();

	if (json_array_append_new(rows, object) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < N_FIELDS; i++)
		if (json_object_set_new(object, keys[i], json_string(row->field[i])) < 0)
			return -ENOMEM;
	if (json_object_set_new(
		    object, "requests", ig_report_number(ig_report_tally_total(&row->tally))) < 0 ||
		json_object_set_new(object, "first", ig_report_time(row->tally.first_usec)) < 0 ||
		json_object_set_new(object, "last", ig_report_time(row->tally.last_usec)) < 0)
		return -ENOMEM;
	return 0;
}

static int put_rows(const struct ig_replay *replay, size_t top, json_t *rows)
{
	_cleanup_free_ const struct ig_report_row **list = NULL;
	int r = ig_report_table_sort(&replay->changes, IG_REPORT_BY_EVENTS, &list);

	for (unsigned int change = 0; r == 0 && change < _IG_REPLAY_CHANGE_MAX; change++) {
		size_t n = 0;

		for (size_t i = 0; r == 0 && n < top && i < replay->changes.n_rows; i++)
			if (strcmp(list[i]->field[CHANGE], names[change]) == 0) {
				r = put_row(rows, list[i]);
				n++;
			}
	}
	return r;
}

int ig_replay_result(const struct ig_replay *replay, size_t top, json_t **ret)
{
	_cleanup_(json_decrefp) json_t *changes = json_object();
	_cleanup_(json_decrefp) json_t *rows = json_array();

	for (unsigned int i = 0; i < _IG_REPLAY_CHANGE_MAX; i++)
		if (json_object_set_new(changes, names[i], ig_report_number(replay->counts[i])))
			return -ENOMEM;
	if (!rows || put_rows(replay, top, rows) < 0)
		return -ENOMEM;
	*ret = json_pack("{s:O,s:b,s:o,s:O,s:{s:o,s:o}}", "changes", changes, "identities_judged",
		replay->judges_identities, "rows_total", ig_report_number(replay->changes.n_rows),
		"rows", rows, "dropped", "rows", ig_report_number(replay->changes.dropped_rows),
		"events", ig_report_number(ig_report_tally_total(&replay->changes.dropped)));
	return *ret ? 0 : -ENOMEM;
}
