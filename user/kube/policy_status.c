/*
 * Writes the condition "Accepted" of MetadataPolicies; see policy_status.h. Called by the feeder
 * for each policy that the watch brings.
 *
 * It must never write what is there already, and never write over a version that it has not seen.
 */
#include "kube/policy_status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <event2/event.h>
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "http/client.h"
#include "kube/client.h"

#define CONDITION      "Accepted"
#define TIMEOUT_USEC   (10 * IG_USEC_PER_SEC)
#define RESPONSE_BYTES (1024 * 1024)

struct entry {
	struct ig_kube_policy_status *status;
	struct event *timer;	   /* owned */
	struct ig_kube_call *call; /* NULL: none under way */
	char *path;		   /* owned; where it is written to */
	char *body;		   /* owned; what is to be written; NULL: nothing */
	UT_hash_handle hh;
	char key[]; /* NAMESPACE/NAME */
};

struct ig_kube_policy_status {
	struct event_base *base;
	struct ig_kube_client *client;
	struct entry *entries; /* uthash head; owned */
};

static struct entry *entry_free(struct entry *e)
{
	if (!e)
		return NULL;
	if (e->call)
		ig_kube_call_cancel(e->call);
	if (e->timer)
		event_free(e->timer);
	free(e->path);
	free(e->body);
	free(e);
	return NULL;
}
IG_DEFINE_CLEANUP(struct entry *, entry_free);

/* So that not every node writes at the same moment. */
static void write_later(struct entry *e, unsigned int at_least_msec)
{
	unsigned int msec = at_least_msec;
	struct timeval after;
	uint32_t random;

	/* without randomness it only loses its spread */
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) == sizeof(random))
		msec += random % IG_KUBE_STATUS_SPREAD_MSEC;
	after.tv_sec = msec / 1000;
	after.tv_usec = (suseconds_t)(msec % 1000) * 1000;
	if (!evtimer_pending(e->timer, NULL))
		(void)evtimer_add(e->timer, &after);
}

static void on_written(const struct ig_http_response *response, void *userdata)
{
	struct entry *e = userdata;

	e->call = NULL;
	/* 404: gone, or a cluster whose definition has no status. 409: somebody was quicker, and
	 * what they wrote comes through the watch. */
	if (response->error == 0 && response->status != 429 && response->status < 500)
		return;
	if (e->body)
		write_later(e, IG_KUBE_STATUS_RETRY_MSEC);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct entry *e = arg;
	struct ig_kube_request request = {
		.method = "PATCH",
		.path = e->path,
		.content_type = "application/merge-patch+json",
		.body = e->body,
		.timeout_usec = TIMEOUT_USEC,
		.response_limit_bytes = RESPONSE_BYTES,
	};

	(void)fd;
	(void)what;
	if (!e->body || e->call)
		return;
	request.body_len = strlen(e->body);
	if (ig_kube_client_start(e->status->client, &request, on_written, e, &e->call) < 0)
		write_later(e, IG_KUBE_STATUS_RETRY_MSEC);
}

static int entry_new(struct ig_kube_policy_status *status, const char *ns, const char *name,
	const char *key, struct entry **ret)
{
	_cleanup_(entry_freep) struct entry *e = calloc(1, sizeof(*e) + strlen(key) + 1);

	if (!e)
		return -ENOMEM;
	memcpy(e->key, key, strlen(key) + 1);
	e->status = status;
	e->timer = evtimer_new(status->base, on_timer, e);
	if (!e->timer)
		return -ENOMEM;
	/* names were checked by the validator or come from the API server as they are */
	if (asprintf(&e->path,
		    "/apis/imdsgate.dev/v1alpha1/namespaces/%s/metadatapolicies/%s/status", ns,
		    name) < 0) {
		e->path = NULL;
		return -ENOMEM;
	}
	HASH_ADD_STR(status->entries, key, e);
	if (!e->hh.tbl)
		return -ENOMEM;
	*ret = TAKE_PTR(e);
	return 0;
}

static bool is_accepted_condition(const json_t *condition)
{
	const char *type = json_string_value(json_object_get(condition, "type"));

	return type && strcmp(type, CONDITION) == 0;
}

/* The condition that ought to be there; a new reference. */
static json_t *wanted_condition(json_int_t generation, const char *refusal)
{
	char now[IG_RFC3339_BYTES];

	ig_clock_format_rfc3339(ig_clock_real_usec() / IG_USEC_PER_SEC * IG_USEC_PER_SEC, now);
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s}", "type", CONDITION, "status",
		refusal ? "False" : "True", "reason", refusal ? "Invalid" : "Valid", "message",
		refusal ? refusal : "in force", "observedGeneration", generation,
		"lastTransitionTime", now);
}

static bool same_member(const json_t *a, const json_t *b, const char *key)
{
	return json_equal(json_object_get(a, key), json_object_get(b, key));
}

static bool says_the_same(const json_t *a, const json_t *b)
{
	return same_member(a, b, "status") && same_member(a, b, "message") &&
	       same_member(a, b, "observedGeneration");
}

/* The list of conditions with ours in it. NULL with *ret_done: it is there already. */
static json_t *new_conditions(const json_t *old, json_t *wanted, bool *ret_done)
{
	json_t *list = json_array();
	const json_t *condition;
	size_t i;

	*ret_done = false;
	json_array_foreach (old, i, condition) {
		if (!is_accepted_condition(condition)) {
			(void)json_array_append(list, (json_t *)(uintptr_t)condition);
			continue;
		}
		*ret_done = says_the_same(condition, wanted);
		if (same_member(condition, wanted, "status"))
			(void)json_object_set(wanted, "lastTransitionTime",
				json_object_get(condition, "lastTransitionTime"));
	}
	(void)json_array_append(list, wanted);
	return list;
}

/* *ret: what to write, or NULL when nothing is to be. */
static int make_patch(const json_t *policy, const char *refusal, char **ret)
{
	const json_t *metadata = json_object_get(policy, "metadata");
	const char *version = json_string_value(json_object_get(metadata, "resourceVersion"));
	json_int_t generation = json_integer_value(json_object_get(metadata, "generation"));
	json_t *wanted, *list, *patch;
	bool done = false;

	*ret = NULL;
	if (!version)
		return -EINVAL;
	wanted = wanted_condition(generation, refusal);
	list = new_conditions(
		json_object_get(json_object_get(policy, "status"), "conditions"), wanted, &done);
	patch = done ? NULL
		     : json_pack("{s:{s:s}, s:{s:O}}", "metadata", "resourceVersion", version,
			       "status", "conditions", list);
	if (patch)
		*ret = json_dumps(patch, JSON_COMPACT);
	json_decref(patch);
	json_decref(list);
	json_decref(wanted);
	return done || *ret ? 0 : -ENOMEM;
}

int ig_kube_policy_status_report(
	struct ig_kube_policy_status *status, const json_t *policy, const char *refusal)
{
	const json_t *metadata = json_object_get(policy, "metadata");
	const char *ns = json_string_value(json_object_get(metadata, "namespace"));
	const char *name = json_string_value(json_object_get(metadata, "name"));
	char key[2 * IG_OBJECT_NAME_BYTES + 2];
	_cleanup_free_ char *body = NULL;
	struct entry *e;
	int r;

	if (!ns || !name || snprintf(key, sizeof(key), "%s/%s", ns, name) >= (int)sizeof(key))
		return -EINVAL;
	r = make_patch(policy, refusal, &body);
	if (r < 0)
		return r;
	HASH_FIND_STR(status->entries, key, e);
	if (!e && body)
		r = entry_new(status, ns, name, key, &e);
	if (r < 0 || !e)
		return r;
	free(e->body);
	e->body = TAKE_PTR(body);
	if (e->body)
		write_later(e, 0);
	else
		(void)event_del(e->timer);
	return 0;
}

void ig_kube_policy_status_forget(
	struct ig_kube_policy_status *status, const char *ns, const char *name)
{
	char key[2 * IG_OBJECT_NAME_BYTES + 2];
	struct entry *e = NULL;

	if (snprintf(key, sizeof(key), "%s/%s", ns, name) < (int)sizeof(key))
		HASH_FIND_STR(status->entries, key, e);
	if (!e)
		return;
	HASH_DEL(status->entries, e);
	(void)entry_free(e);
}

int ig_kube_policy_status_new(
	struct event_base *base, struct ig_kube_client *client, struct ig_kube_policy_status **ret)
{
	struct ig_kube_policy_status *status = calloc(1, sizeof(*status));

	if (!status)
		return -ENOMEM;
	status->base = base;
	status->client = client;
	*ret = status;
	return 0;
}

struct ig_kube_policy_status *ig_kube_policy_status_free(struct ig_kube_policy_status *status)
{
	struct entry *e, *next;

	if (!status)
		return NULL;
	HASH_ITER (hh, status->entries, e, next) {
		HASH_DEL(status->entries, e);
		(void)entry_free(e);
	}
	free(status);
	return NULL;
}
