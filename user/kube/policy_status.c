/*
 * Writes the condition "Accepted" of MetadataPolicies; see policy_status.h. Called by the feeder
 * for each policy that the watch brings.
 *
 * It must never write what is there already, never write over a version that it has not seen, never
 * drop a condition that somebody else wrote, and never take up the client's calls, which watches
 * and tokens need: anybody may make any number of policies.
 */
#include "kube/policy_status.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <event2/event.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/table.h"
#include "http/client.h"
#include "kube/client.h"
#include "objects/names.h"

#define CONDITION      "Accepted"
#define TIMEOUT_USEC   (10 * IG_USEC_PER_SEC)
#define RESPONSE_BYTES (1024 * 1024)

/* The most agents that the pauses are made for: 2 to the power of this. */
#define AGENTS_LOG2 14

struct entry {
	struct ig_kube_policy_status *status;
	struct event *timer;	   /* owned */
	struct ig_kube_call *call; /* NULL: none under way */
	char *path;		   /* owned; where it is written to */
	char *body;		   /* owned; what is to be written; NULL: nothing */
	bool unsent;		   /* the call under way, if any, carries an older one */
	bool retrying;		   /* the timer is that of a retry */
	UT_hash_handle hh;
	char key[]; /* NAMESPACE/NAME */
};

struct ig_kube_policy_status {
	struct event_base *base;
	struct ig_kube_client *client;
	struct entry *entries; /* uthash head; owned */
	unsigned int n_calls;  /* under way */
	ig_kube_policy_status_forbidden *forbidden;
	void *userdata;
	uint64_t quiet_until_usec; /* monotonic; nothing is written before */
};

static struct entry *entry_free(struct entry *e)
{
	if (!e)
		return NULL;
	if (e->call) {
		ig_kube_call_cancel(e->call);
		e->status->n_calls--;
	}
	if (e->timer)
		event_free(e->timer);
	free(e->path);
	free(e->body);
	free(e);
	return NULL;
}
IG_DEFINE_CLEANUP(struct entry *, entry_free);

/* ---- when ---- */

/* Exponential feedback timers, as multicast protocols use them against an implosion of answers (RFC
 * 5401, random backoff): with x evenly distributed in (0, 1], T * (1 - log(1/x) / log(N)). log2 is
 * linear between powers of two, which is near enough. */
uint64_t ig_kube_policy_status_pause_msec(uint32_t random)
{
	const unsigned int lead = (unsigned int)__builtin_clz(random | 1);
	/* log2(1/x) in 1/1024: the leading zeros, less what the digits behind the first one are
	 * worth */
	const uint32_t fraction = (uint32_t)(((uint64_t)(random | 1) << (lead + 1)) & UINT32_MAX);
	const uint64_t log_x = (lead + 1) * 1024U - (fraction >> 22);
	const uint64_t log_n = AGENTS_LOG2 * 1024U;

	return log_x >= log_n ? 0 : IG_KUBE_STATUS_SPREAD_MSEC * (log_n - log_x) / log_n;
}

static uint32_t random_number(void)
{
	uint32_t random = 0;

	/* without randomness it only loses its spread */
	(void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
	return random;
}

static void start_timer(struct entry *e, uint64_t msec)
{
	const struct timeval after = {
		.tv_sec = (time_t)(msec / 1000),
		.tv_usec = (suseconds_t)(msec % 1000) * 1000,
	};

	(void)evtimer_add(e->timer, &after);
}

/* One that is running goes on, or a policy that changes all the time would never be written. */
static void write_later(struct entry *e)
{
	if (evtimer_pending(e->timer, NULL) && !e->retrying)
		return;
	e->retrying = false;
	start_timer(e, ig_kube_policy_status_pause_msec(random_number()));
}

/* Evenly, since no success of another agent may have been seen. */
static void retry_later(struct entry *e)
{
	e->retrying = true;
	start_timer(e, IG_KUBE_STATUS_RETRY_MSEC + random_number() % IG_KUBE_STATUS_RETRY_MSEC);
}

/* Until some of the calls under way have ended. Any number may wait, so not all for the first. */
static void wait_for_room(struct entry *e)
{
	start_timer(e, random_number() % IG_KUBE_STATUS_SPREAD_MSEC);
}

/* ---- calls ---- */

static void become_quiet(struct ig_kube_policy_status *status, unsigned int http_status)
{
	status->quiet_until_usec =
		ig_clock_mono_usec() + IG_KUBE_STATUS_FORBIDDEN_SEC * IG_USEC_PER_SEC;
	status->forbidden(http_status, status->userdata);
}

static void on_written(const struct ig_http_response *response, void *userdata)
{
	struct entry *e = userdata;

	e->call = NULL;
	e->status->n_calls--;
	if (response->error || response->status == 429 || response->status >= 500) {
		if (e->body)
			retry_later(e);
		return;
	}
	/* 404: it is gone. 409: somebody was quicker, and what they wrote comes through the watch.
	 */
	if (response->status == 401 || response->status == 403)
		become_quiet(e->status, response->status);
	else if (e->body && e->unsent)
		write_later(e);
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
	e->retrying = false;
	/* with a call under way, its end sees to the rest */
	if (!e->body || e->call || ig_clock_mono_usec() < e->status->quiet_until_usec)
		return;
	if (e->status->n_calls >= IG_KUBE_STATUS_CALLS_MAX) {
		wait_for_room(e);
		return;
	}
	request.body_len = strlen(e->body);
	if (ig_kube_client_start(e->status->client, &request, on_written, e, &e->call) < 0) {
		retry_later(e);
		return;
	}
	e->status->n_calls++;
	e->unsent = false;
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
	if (asprintf(&e->path,
		    "/apis/imdsgate.dev/v1alpha1/namespaces/%s/metadatapolicies/%s/status", ns,
		    name) < 0) {
		e->path = NULL;
		return -ENOMEM;
	}
	HASH_ADD_STR(status->entries, key, e);
	if (!ig_table_has(e))
		return -ENOMEM;
	*ret = TAKE_PTR(e);
	return 0;
}

/* ---- what ---- */

static bool is_accepted_condition(const json_t *condition)
{
	const char *type = json_string_value(json_object_get(condition, "type"));

	return type && strcmp(type, CONDITION) == 0;
}

/* The text may have been cut inside of a character. */
static json_t *message_of(const char *text)
{
	size_t len = strlen(text);
	json_t *message = NULL;

	for (unsigned int cut = 0; !message && cut < 4 && cut <= len; cut++)
		message = json_stringn(text, len - cut);
	return message ? message : json_string("what is wrong is in the logs of the agents");
}

/* The condition that ought to be there; a new reference. */
static json_t *wanted_condition(json_int_t generation, const char *refusal)
{
	char now[IG_RFC3339_BYTES];

	ig_clock_format_rfc3339(ig_clock_real_usec() / IG_USEC_PER_SEC * IG_USEC_PER_SEC, now);
	return json_pack("{s:s, s:s, s:s, s:o, s:I, s:s}", "type", CONDITION, "status",
		refusal ? "False" : "True", "reason", refusal ? "Invalid" : "Valid", "message",
		message_of(refusal ? refusal : "the policy is valid"), "observedGeneration",
		generation, "lastTransitionTime", now);
}

static bool same_member(const json_t *a, const json_t *b, const char *key)
{
	return json_equal(json_object_get(a, key), json_object_get(b, key));
}

/* Is the verdict recent? RFC 3339 in UTC sorts by time. */
static bool is_recent(const json_t *condition)
{
	const char *since = json_string_value(json_object_get(condition, "lastTransitionTime"));
	char limit[IG_RFC3339_BYTES];

	ig_clock_format_rfc3339(
		ig_clock_real_usec() - IG_KUBE_STATUS_SETTLE_SEC * IG_USEC_PER_SEC, limit);
	return since && strcmp(since, limit) > 0;
}

/* Agents of two versions may disagree, and must not take turns at writing. */
static bool may_stay(const json_t *condition, const json_t *wanted)
{
	return same_member(condition, wanted, "observedGeneration") &&
	       (same_member(condition, wanted, "status") || is_recent(condition));
}

/* The list of conditions with ours in it, a new reference. NULL: out of memory, or *ret_done: there
 * is nothing to be written. */
static json_t *new_conditions(const json_t *old, json_t *wanted, bool *ret_done)
{
	json_t *list = json_array();
	const json_t *condition;
	int r = list ? 0 : -1;
	size_t i;

	*ret_done = false;
	json_array_foreach (old, i, condition) {
		if (!is_accepted_condition(condition)) {
			r |= json_array_append(list, (json_t *)(uintptr_t)condition);
			continue;
		}
		*ret_done = may_stay(condition, wanted);
		if (same_member(condition, wanted, "status"))
			r |= json_object_set(wanted, "lastTransitionTime",
				json_object_get(condition, "lastTransitionTime"));
	}
	r |= json_array_append(list, wanted);
	if (r == 0 && !*ret_done)
		return list;
	json_decref(list);
	return NULL;
}

static int write_text(const json_t *json, char **ret)
{
	_cleanup_(ig_buf_donep) struct ig_buf text = {};
	int r;

	ig_buf_init(&text, 2 * IG_KUBE_OBJECT_BYTES);
	ig_json_dump(&text, json, JSON_COMPACT);
	r = ig_buf_finish(&text);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(text.data);
	return 0;
}

/* *ret: what to write, or NULL when nothing is to be. */
static int make_patch(const json_t *policy, const char *refusal, char **ret)
{
	const json_t *metadata = json_object_get(policy, "metadata");
	const char *version = json_string_value(json_object_get(metadata, "resourceVersion"));
	json_int_t generation = json_integer_value(json_object_get(metadata, "generation"));
	json_t *wanted, *list, *patch;
	bool done = false;
	int r = -ENOMEM;

	*ret = NULL;
	if (!version)
		return -EINVAL;
	wanted = wanted_condition(generation, refusal);
	list = wanted ? new_conditions(
				json_object_get(json_object_get(policy, "status"), "conditions"),
				wanted, &done)
		      : NULL;
	/* takes list, also when it fails */
	patch = list ? json_pack("{s:{s:s}, s:{s:o}}", "metadata", "resourceVersion", version,
			       "status", "conditions", list)
		     : NULL;
	if (patch)
		r = write_text(patch, ret);
	json_decref(patch);
	json_decref(wanted);
	return done ? 0 : r;
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

	/* they go into a path */
	if (!ns || !name || !ig_name_is_dns_label(ns) || !ig_name_is_dns_subdomain(name) ||
		snprintf(key, sizeof(key), "%s/%s", ns, name) >= (int)sizeof(key))
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
	e->unsent = true;
	if (e->body)
		write_later(e);
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

int ig_kube_policy_status_new(struct event_base *base, struct ig_kube_client *client,
	ig_kube_policy_status_forbidden *forbidden, void *userdata,
	struct ig_kube_policy_status **ret)
{
	struct ig_kube_policy_status *status = calloc(1, sizeof(*status));

	if (!status)
		return -ENOMEM;
	status->base = base;
	status->client = client;
	status->forbidden = forbidden;
	status->userdata = userdata;
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
