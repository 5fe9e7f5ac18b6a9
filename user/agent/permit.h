/*
 * MetadataPolicies, asked with what is known about a connection.
 */
#pragma once

#include <stdbool.h>

#include "agent/agent.h"
#include "policy/metadata.h"

/* Whose token, for what. pod: the one that the token is for, NULL for a process of the host; it is
 * not the caller's own when somebody else asks on its behalf, and then neither container nor
 * executable are known. */
struct ig_policy_verdict ig_permit_token(const struct ig_gate_conn *conn, const struct ig_pod *pod,
	bool on_behalf, const struct ig_identity *identity, const char *resource);
/* path: canonical. is_open: everybody may have it unless a policy says otherwise. */
struct ig_policy_verdict ig_permit_document(
	const struct ig_gate_conn *conn, const struct ig_pod *pod, const char *path, bool is_open);

/* The names behind a verdict, for the record: pointers into the store do not survive a wait. */
struct ig_policy_note {
	char namespace[IG_OBJECT_NAME_BYTES + 1];
	char name[IG_OBJECT_NAME_BYTES + 1]; /* "": no policy has anything to do with it */
	const char *would_deny; /* literal: what a policy in mode audit has against it; or NULL */
};

/* The record's part; borrows from the note. NULL when there is nothing to say. */
const struct ig_audit_policy *ig_permit_record(
	const struct ig_policy_note *note, struct ig_audit_policy *ret);

void ig_permit_note(const struct ig_policy_verdict *verdict, struct ig_policy_note *ret);

/* Is the caller a process of the host, in no pod? Only with its facts known. */
bool ig_permit_is_host(const struct ig_gate_conn *conn, const struct ig_pod *pod);

/* The rate that a verdict about tokens sets; true without one. Counts the request, for the pod
 * whose token it is (NULL: a process of the host). A workload has a count of its own for each rate
 * that applies to it: one identity's policy says nothing about another's. */
bool ig_permit_within_rate(const struct ig_gate_conn *conn, const struct ig_pod *pod,
	const struct ig_policy_verdict *verdict);
