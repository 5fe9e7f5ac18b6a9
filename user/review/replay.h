/*
 * A recorded log against a candidate set of rules: which requests would be answered otherwise? What
 * cannot be told from the record and the manifests is said to be unknown, and why. Rates are not
 * replayed.
 */
#pragma once

#include <jansson.h>

#include "base/cleanup.h"
#include "objects/store.h"
#include "policy/options.h"
#include "report/event.h"

enum ig_replay_change {
	IG_REPLAY_NEWLY_DENIED,
	IG_REPLAY_NEWLY_ALLOWED,
	IG_REPLAY_NEWLY_WATCHED, /* allowed as before; a policy in mode audit would deny it now */
	IG_REPLAY_UNKNOWN,
	IG_REPLAY_UNCHANGED,
	IG_REPLAY_NOT_JUDGED, /* rules had no say in it */
	_IG_REPLAY_CHANGE_MAX
};

struct ig_replay;

/* The store and what the options borrow outlive the result. 0 or -ENOMEM. */
int ig_replay_new(const struct ig_store *store, const struct ig_policy_options *options,
	struct ig_replay **ret);
struct ig_replay *ig_replay_free(struct ig_replay *replay);
IG_DEFINE_CLEANUP(struct ig_replay *, ig_replay_free);

/* 0 or -ENOMEM. */
int ig_replay_add(struct ig_replay *replay, const struct ig_report_event *event);

uint64_t ig_replay_count(const struct ig_replay *replay, enum ig_replay_change change);

/* {"changes":{"newly_denied","newly_allowed","newly_watched","unknown","unchanged","not_judged"},
 *  "identities_judged","rows_total","rows":[{"change","namespace","pod","identity","target",
 *  "executable","was","now","requests","first","last"}],"dropped":{"rows","events"}}
 * with at most `top` rows for each change; `now` is a reason, with the policy behind it, or what is
 * not known. 0 or -ENOMEM. */
int ig_replay_result(const struct ig_replay *replay, size_t top, json_t **ret);
