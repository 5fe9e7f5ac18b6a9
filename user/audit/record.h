/*
 * One audit record: everything that is known about one attempt, from the kernel's facts to the
 * token's fingerprint, as one JSON object on a line (deploy/schema/audit-v1.schema.json). Never
 * holds a token, a secret or a body.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <imdsgate/limits.h>

#include "base/buf.h"

#define IG_AUDIT_SCHEMA_VERSION 1

/* X(id, text): the closed list of event kinds */
#define IG_AUDIT_KINDS(X)                                                                          \
	X(TOKEN_ISSUED, "token.issued")                                                            \
	X(TOKEN_DENIED, "token.denied")                                                            \
	X(TOKEN_FAILED, "token.failed")                                                            \
	X(REQUEST_REJECTED, "request.rejected") /* probes, malformed and unknown paths */          \
	X(METADATA_FORWARDED, "metadata.forwarded")                                                \
	X(METADATA_DENIED, "metadata.denied")                                                      \
	X(CONNECT_PASSED, "connect.passed")                                                        \
	X(CONNECT_DENIED, "connect.denied")                                                        \
	X(CONNECT_REFUSED, "connect.refused") /* could not be attributed or no listener */         \
	X(CONNECT_UNATTRIBUTED, "connect.unattributed") /* direct dial, forged, unknown flow */    \
	X(GUARD_DROP, "guard.drop") /* packets at an uplink that the gate did not let through */   \
	X(LISTENER_OPENED, "listener.opened")                                                      \
	X(LISTENER_CLOSED, "listener.closed")                                                      \
	X(POLICY_CHANGED, "policy.changed")                                                        \
	X(POLICY_REJECTED, "policy.rejected") /* a manifest that was not taken */                  \
	X(AGENT_STARTED, "agent.started")                                                          \
	X(AGENT_STOPPED, "agent.stopped")                                                          \
	X(AGENT_DETACHED, "agent.detached") /* the programs were taken off */                      \
	X(EVENTS_LOST, "events.lost")

enum ig_audit_kind {
#define X(id, text) IG_AUDIT_##id,
	IG_AUDIT_KINDS(X)
#undef X
		_IG_AUDIT_KIND_MAX
};

enum ig_audit_decision {
	IG_AUDIT_DECISION_NONE, /* the event decides nothing (agent.started) */
	IG_AUDIT_ALLOW,
	IG_AUDIT_DENY,
	IG_AUDIT_ERROR,
	_IG_AUDIT_DECISION_MAX
};

/* Facts about the calling process and where it ran; strings are borrowed, NULL or "" leaves the
 * member out, as does a number of 0 (ids that may be 0 have a flag). */
struct ig_audit_caller {
	const char *pod_namespace, *pod_name, *pod_uid, *container_id, *service_account;
	const char *cgroup; /* path below the cgroup root */
	uint64_t cgroup_id, netns_cookie;
	bool host_network;
	bool has_process; /* pid, uid, gid below are meaningful */
	uint32_t pid, tid, uid, gid;
	uint64_t start_time_ns; /* since boot */
	const char *comm;
	const char *exe; /* path, or NULL when it could not be resolved against the inode */
	uint64_t exe_inode;
	uint32_t exe_device;
	bool exe_deleted;
};

/* The pod that somebody else asks for. */
struct ig_audit_subject {
	const char *pod_namespace, *pod_name;  /* as they were asked for */
	const char *pod_uid, *service_account; /* NULL when that pod is not known */
};

struct ig_audit_connection {
	const char *protocol;	 /* "tcp", "udp", "unix"; NULL without */
	const char *endpoint;	 /* "imds", "wireserver", "hostgaplugin", "host_token" */
	const char *destination; /* "169.254.169.254:80" as the caller asked for it */
	const char *source;	 /* "127.0.0.1:40332" */
	const char *family;	 /* "ipv4", "ipv6" (v4-mapped) */
	uint64_t flow_id;	 /* socket cookie; 0 without */
};

struct ig_audit_request {
	const char *method, *route, *path; /* path: capped, without the query */
	const char *resource;
	const char *selector_kind, *selector_value;
	const char *user_agent, *request_id, *sdk, *sdk_version;
	unsigned int status; /* answered; 0 without */
};

struct ig_audit_identity {
	const char *namespace, *name; /* of the AzureIdentity; NULL for the node's own */
	const char *client_id;
	const char *binding; /* name of the binding or exception that granted it */
};

/* The MetadataPolicy that decided, or the most specific that had nothing against it. */
struct ig_audit_policy {
	const char *namespace, *name;
	const char *would_deny; /* why it would have denied in mode enforce; NULL without */
};

struct ig_audit_token {
	const char *fingerprint;
	uint64_t expires_on_sec;
	const char *cache; /* "hit", "miss", "stale" */
	/* fingerprints of the tokens of other tenants that were handed out with it; NULL: no more
	 */
	const char *auxiliary[IG_AUXILIARY_TENANTS_MAX];
};

struct ig_audit_record {
	enum ig_audit_kind kind;
	enum ig_audit_decision decision;
	const char *reason; /* from a closed list of the emitting module; NULL leaves it out */
	const char
		*message; /* for people, e.g. why a manifest was refused; may hold untrusted text */
	uint64_t time_usec;    /* real clock; 0: now */
	uint64_t latency_usec; /* request read to reply written; 0 without */
	uint64_t policy_epoch;
	uint64_t count;			      /* events.lost: how many; policy.changed: objects */
	const struct ig_audit_caller *caller; /* each may be NULL */
	const struct ig_audit_subject *subject;
	const struct ig_audit_connection *connection;
	const struct ig_audit_request *request;
	const struct ig_audit_identity *identity;
	const struct ig_audit_policy *policy;
	const struct ig_audit_token *token;
};

/* Where records come from; borrowed. node may be "" or NULL, the other two may not. */
struct ig_audit_origin {
	const char *boot_id; /* the kernel's, as a GUID */
	const char *run_id;  /* 16 hex digits of this start of the agent: seq counts from 1 in each
				run */
	const char *node;
	const char *prev; /* hash of the line before (chain.h); NULL: no chain */
};

/* Appends one line ending in '\n' to `b`. Every text is escaped and cut at a limit of its own (a
 * cut one ends in U+2026), so a line always fits IG_AUDIT_LINE_BYTES. Words of closed lists
 * (protocol, endpoint, family, cache) that are not in them become "unknown". */
void ig_audit_encode(const struct ig_audit_record *record, uint64_t seq,
	const struct ig_audit_origin *origin, struct ig_buf *b);

const char *ig_audit_kind_name(enum ig_audit_kind kind);
