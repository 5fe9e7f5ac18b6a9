/*
 * MetadataPolicies that allow what was used with success in a recorded log, and as little else as
 * policies can say. One policy for each ServiceAccount, identity or value of a label, in the
 * namespace of its pods; one for processes of the host.
 *
 * A list that could not hold everything that was used (an executable that is not known, an entry
 * that policies cannot name) is left out, with a note: the policy then does not restrict that.
 * A suggestion never denies what was recorded as allowed.
 */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "objects/store.h"
#include "report/event.h"

enum ig_suggest_per {
	IG_SUGGEST_PER_ACCOUNT,
	IG_SUGGEST_PER_IDENTITY, /* tokens only: such policies do not govern documents */
	IG_SUGGEST_PER_LABEL,	 /* pods have to be declared, for logs have no labels */
};

struct ig_suggest_options {
	enum ig_suggest_per per;
	const char *label;	      /* PER_LABEL: its key. Borrowed */
	const char *policy_namespace; /* of the host's policy. Borrowed */
};

struct ig_suggest;

/* store: declared pods, for labels and the names of containers; may be empty; outlives the result.
 * 0 or -ENOMEM. */
int ig_suggest_new(const struct ig_store *store, const struct ig_suggest_options *options,
	struct ig_suggest **ret);
struct ig_suggest *ig_suggest_free(struct ig_suggest *suggest);
IG_DEFINE_CLEANUP(struct ig_suggest *, ig_suggest_free);

/* 0 or -ENOMEM. */
int ig_suggest_add(struct ig_suggest *suggest, const struct ig_report_event *event);

/* {"requests","first","last","not_allowed","left_out":[TEXT],"suggestions":[{"requests","first",
 *  "last","notes":[TEXT],"policy":MANIFEST}]}
 * Every manifest has passed the validator. 0; -E2BIG with *reterr_err when there were too many
 * different requests to keep them all, for what is not kept would be denied; -ENOMEM. */
int ig_suggest_result(const struct ig_suggest *suggest, json_t **ret, struct ig_err *reterr_err);

/* The same as YAML with comments, in plain ASCII. */
void ig_suggest_yaml(const json_t *result, struct ig_buf *b);
