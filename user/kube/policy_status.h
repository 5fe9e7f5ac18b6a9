/*
 * The status of MetadataPolicies: tells their authors whether a policy is valid, in the condition
 * "Accepted". Only what every agent finds alike is said there; that one node's manifests stand in
 * the way of a policy is in that node's log and audit.
 *
 * Every node has an agent, and one of them is enough. So each waits a while and writes only if
 * nobody else has by then; a write names the version that it is based on, so that of several at the
 * same time one succeeds, and the others leave it at that. The pauses are random within
 * T = IG_KUBE_STATUS_SPREAD_MSEC, and exponentially few of them are short, so that the number of
 * writes hardly depends on the number of agents. If d is what passes between an agent's decision to
 * write and everybody else's having heard of it, the expected number is
 *
 *	agents	first write after	PATCHes, d = 0.1 s	d = 1 s	d = 3 s
 *	1	17.9 s			1			1	1
 *	100	9 s			1.1			1.6	4.3
 *	5000	1.8 s			1.1			1.7	4.3
 *
 * of which one is written and the rest are answered 409. (With evenly distributed pauses it would
 * be 26, 251 and 751 of 5000.) Should nobody's write succeed, each agent tries once: if the API
 * server forbids it, it then keeps quiet for IG_KUBE_STATUS_FORBIDDEN_SEC; if it did not work
 * (429, 5xx, no answer), it tries again between one and two IG_KUBE_STATUS_RETRY_MSEC later.
 *
 * While agents of two versions run, they may disagree. A verdict on the same generation is left
 * alone for IG_KUBE_STATUS_SETTLE_SEC, and by agents that have looked already until the policy
 * changes or is listed again.
 */
#pragma once

#include <stdint.h>

#include <jansson.h>

struct event_base;
struct ig_kube_client;
struct ig_kube_policy_status;

/* The API server forbids the writing (401 or 403). Called from the loop, at most once in
 * IG_KUBE_STATUS_FORBIDDEN_SEC per call under way; must free nothing. */
typedef void ig_kube_policy_status_forbidden(unsigned int http_status, void *userdata);

/* client outlives the result. */
int ig_kube_policy_status_new(struct event_base *base, struct ig_kube_client *client,
	ig_kube_policy_status_forbidden *forbidden, void *userdata,
	struct ig_kube_policy_status **ret);
struct ig_kube_policy_status *ig_kube_policy_status_free(struct ig_kube_policy_status *status);

/* `policy` is the object as the API server sent it: metadata (namespace, name, generation,
 * resourceVersion) and status.conditions are looked at. refusal: NULL when it is valid, else why
 * not. -ENOMEM, -E2BIG, -EINVAL without (proper) metadata: then its status is left alone. */
int ig_kube_policy_status_report(
	struct ig_kube_policy_status *status, const json_t *policy, const char *refusal);

/* The policy is gone. */
void ig_kube_policy_status_forget(
	struct ig_kube_policy_status *status, const char *ns, const char *name);

/* How long to wait before a write; random: all values alike. For tests, otherwise private. */
uint64_t ig_kube_policy_status_pause_msec(uint32_t random);
