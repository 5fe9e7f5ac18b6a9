/*
 * Taking a taint off a node; see node_taint.h. Called by the agent's wiring.
 *
 * It must never send a patch that could change anything but taints with this key, and never give up
 * for good: a node whose taint stays gets no pods.
 */
#include "kube/node_taint.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <event2/event.h>
#include <jansson.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "kube/client.h"
#include "objects/names.h"

#define TIMEOUT_USEC (10 * IG_USEC_PER_SEC)
#define PATH_BYTES   (IG_KUBE_NAME_BYTES + 32)
#define POINTER_SIZE 48
#define NOT_TOLD     (-1)

struct ig_kube_node_taint {
	struct ig_kube_client *client;
	const struct ig_kube_node_taint_ops *ops;
	void *userdata;
	struct event *timer;	   /* owned */
	struct ig_kube_call *call; /* NULL: none under way */
	char *key;		   /* owned */
	char path[PATH_BYTES];
	unsigned int failures; /* in a row */
	int told;	       /* the last failure's status, or NOT_TOLD */
};

static void free_json(json_t **p)
{
	json_decref(*p);
}

IG_DEFINE_CLEANUP(struct ig_kube_node_taint *, ig_kube_node_taint_free);

/* ---- when ------------------------------------------------------------------------------------ */

/* Half of it is random: nodes that were started together do not ask together. */
static uint64_t backoff_msec(unsigned int failures)
{
	uint64_t msec = IG_KUBE_BACKOFF_MAX_MSEC;
	uint32_t random = 0;

	if (failures < 8 && ((uint64_t)IG_KUBE_BACKOFF_MIN_MSEC << failures) < msec)
		msec = (uint64_t)IG_KUBE_BACKOFF_MIN_MSEC << failures;
	(void)!getrandom(&random, sizeof(random), GRND_NONBLOCK);
	return msec / 2 + random % (msec / 2);
}

static void start_timer(struct ig_kube_node_taint *t, uint64_t msec)
{
	const struct timeval after = {
		.tv_sec = (time_t)(msec / 1000),
		.tv_usec = (suseconds_t)(msec % 1000) * 1000,
	};

	(void)evtimer_add(t->timer, &after);
}

static void fail(struct ig_kube_node_taint *t, unsigned int http_status)
{
	start_timer(t, backoff_msec(t->failures++));
	if (t->told == (int)http_status)
		return;
	t->told = (int)http_status;
	t->ops->failed(http_status, t->userdata);
}

/* ---- the patch ------------------------------------------------------------------------------- */

static int append_operation(json_t *patch, const char *op, size_t index, const json_t *value)
{
	char pointer[POINTER_SIZE];
	json_t *operation;

	(void)snprintf(pointer, sizeof(pointer), "/spec/taints/%zu", index);
	operation = json_pack("{s:s, s:s}", "op", op, "path", pointer);
	if (value && json_object_set(operation, "value", (json_t *)(uintptr_t)value) < 0) {
		json_decref(operation);
		return -ENOMEM;
	}
	return json_array_append_new(patch, operation) < 0 ? -ENOMEM : 0;
}

/* From the last to the first, so that the numbers of those before hold. *ret: a new reference, to
 * an empty array if there is nothing to do. */
static int make_patch(const json_t *node, const char *key, json_t **ret)
{
	const json_t *taints = json_object_get(json_object_get(node, "spec"), "taints");
	_cleanup_(free_json) json_t *patch = json_array();
	int r = patch ? 0 : -ENOMEM;

	for (size_t i = json_array_size(taints); r == 0 && i-- > 0;) {
		const json_t *taint = json_array_get(taints, i);
		const char *its_key = json_string_value(json_object_get(taint, "key"));

		if (!its_key || strcmp(its_key, key) != 0)
			continue;
		r = append_operation(patch, "test", i, taint);
		if (r == 0)
			r = append_operation(patch, "remove", i, NULL);
	}
	if (r == 0)
		*ret = TAKE_PTR(patch);
	return r;
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* What the API server makes of the node is of no interest. */
static int drop(const char *data, size_t len, void *userdata)
{
	(void)data;
	(void)len;
	(void)userdata;
	return 0;
}

static void on_patched(const struct ig_http_response *response, void *userdata)
{
	struct ig_kube_node_taint *t = userdata;

	t->call = NULL;
	if (response->error == 0 && response->status == 200)
		t->ops->gone(true, t->userdata);
	else if (response->status == 409 || response->status == 422)
		/* the taints are not what they were: nothing is wrong */
		start_timer(t, backoff_msec(t->failures++));
	else
		fail(t, response->status);
}

static int send_patch(struct ig_kube_node_taint *t, const json_t *patch)
{
	_cleanup_(ig_buf_donep) struct ig_buf text = {.limit = IG_KUBE_NODE_BYTES};
	struct ig_kube_request request = {
		.method = "PATCH",
		.path = t->path,
		.content_type = "application/json-patch+json",
		.timeout_usec = TIMEOUT_USEC,
		.response_limit_bytes = IG_KUBE_STATUS_BYTES, /* of an error */
		.on_data = drop,
	};
	int r;

	ig_json_dump(&text, patch, JSON_COMPACT);
	r = ig_buf_finish(&text);
	if (r < 0)
		return r;
	request.body = text.data;
	request.body_len = text.len;
	return ig_kube_client_start(t->client, &request, on_patched, t, &t->call);
}

static void on_node(const struct ig_http_response *response, void *userdata)
{
	_cleanup_(free_json) json_t *node = NULL, *patch = NULL;
	struct ig_kube_node_taint *t = userdata;

	t->call = NULL;
	if (response->error == 0 && response->status == 200)
		node = ig_json_load(response->body, response->body_len, 0, NULL);
	if (!json_is_object(node) || make_patch(node, t->key, &patch) < 0)
		fail(t, response->status == 200 ? 0 : response->status);
	else if (json_array_size(patch) == 0)
		t->ops->gone(false, t->userdata);
	else if (send_patch(t, patch) < 0)
		fail(t, 0);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct ig_kube_node_taint *t = arg;
	const struct ig_kube_request request = {
		.method = "GET",
		.path = t->path,
		.timeout_usec = TIMEOUT_USEC,
		.response_limit_bytes = IG_KUBE_NODE_BYTES,
	};

	(void)fd;
	(void)what;
	if (ig_kube_client_start(t->client, &request, on_node, t, &t->call) < 0)
		fail(t, 0);
}

/* ---- life ------------------------------------------------------------------------------------ */

int ig_kube_node_taint_new(struct event_base *base, struct ig_kube_client *client, const char *node,
	const char *key, const struct ig_kube_node_taint_ops *ops, void *userdata,
	struct ig_kube_node_taint **ret)
{
	_cleanup_(ig_kube_node_taint_freep) struct ig_kube_node_taint *t = NULL;

	if (!ig_name_is_dns_subdomain(node))
		return -EINVAL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->client = client;
	t->ops = ops;
	t->userdata = userdata;
	t->told = NOT_TOLD;
	(void)snprintf(t->path, sizeof(t->path), "/api/v1/nodes/%s", node);
	t->key = strdup(key);
	t->timer = evtimer_new(base, on_timer, t);
	if (!t->key || !t->timer)
		return -ENOMEM;
	start_timer(t, 0);
	*ret = TAKE_PTR(t);
	return 0;
}

struct ig_kube_node_taint *ig_kube_node_taint_free(struct ig_kube_node_taint *t)
{
	if (!t)
		return NULL;
	ig_kube_call_cancel(t->call);
	if (t->timer)
		event_free(t->timer);
	free(t->key);
	free(t);
	return NULL;
}
