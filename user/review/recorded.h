/*
 * A recorded request as a question to a set of rules: what the record says, what the rules'
 * manifests add (a pod's labels, the names of its containers), and what is missing.
 */
#pragma once

#include "objects/store.h"
#include "policy/binding.h"
#include "policy/metadata.h"
#include "report/event.h"

/* What the rules of its time made of it. */
enum ig_recorded_outcome {
	IG_RECORDED_PERMITTED, /* whether or not upstream gave anything then */
	IG_RECORDED_DENIED,    /* by a rule */
	IG_RECORDED_OTHER, /* rules had no say: a connection, a malformed request, a rate, … */
};
enum ig_recorded_outcome ig_recorded_outcome(const struct ig_report_event *event);

/* Everything is borrowed from the event and the store but for what stands in it. */
struct ig_recorded {
	struct ig_policy_request request;
	bool is_host;
	/* labels are known: it is in the store. Else request.pod is made of what was recorded,
	 * without labels */
	const struct ig_pod *declared;
	struct ig_pod made_pod;
	struct ig_identity made_identity; /* as recorded */
	struct ig_selector selector;
	char path[IG_DOCUMENT_PATH_BYTES + 1];
	const char *missing; /* literal: the fact without which nothing can be said; else NULL */
};

/* Fills *ret for an event that is not OTHER. request.identity is what was recorded. It points into
 * itself, so it is not copied. */
void ig_recorded_read(
	const struct ig_store *store, const struct ig_report_event *event, struct ig_recorded *ret);

/* The name of the recorded container, or NULL: not in the manifests. */
const char *ig_recorded_container(
	const struct ig_store *store, const struct ig_report_event *event);
