/*
 * The connection to the Kubernetes API server; see kubernetes.h. Wiring: what is watched and how it
 * is taken over is the business of user/kube.
 */
#include "agent/kubernetes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include <imdsgate/limits.h>

#include "agent/agent.h"
#include "agent/declared.h"
#include "agent/metrics_table.h"
#include "agent/options.h"
#include "agent/rate.h"
#include "audit/stream.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "kube/bearer.h"
#include "kube/client.h"
#include "kube/config.h"
#include "kube/feeder.h"
#include "kube/node_taint.h"
#include "kube/token_request.h"
#include "version.h"

struct ig_kubernetes {
	struct ig_agent *agent;
	struct ig_kube_config *config; /* owned, as are the next three */
	struct ig_kube_client *client;
	struct ig_kube_feeder *feeder;
	struct ig_kube_node_taint *taint;
	struct ig_assertion_provider assertions;
	struct ig_rate *rejected_rate; /* owned; of what is said about objects, by namespace */
	bool was_synced;
};

IG_DEFINE_CLEANUP(struct ig_kubernetes *, ig_kubernetes_free);

int ig_kubernetes_open(
	const struct ig_options *options, struct ig_kubernetes **ret, struct ig_err *reterr_err)
{
	_cleanup_(ig_kubernetes_freep) struct ig_kubernetes *k = NULL;
	int r;

	if (!options->kubernetes)
		return 0;
	k = calloc(1, sizeof(*k));
	if (!k)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	r = ig_kube_config_load(options->kubeconfig, &k->config, reterr_err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(k);
	return 0;
}

/* Whoever chooses a namespace's name must not find one that counts as another's. */
static uint64_t key_of(const char *ns)
{
	unsigned char hash[EVP_MAX_MD_SIZE] = {};
	uint64_t key;

	/* without memory for a digest all namespaces count as one */
	(void)EVP_Digest(ns, strlen(ns), hash, NULL, EVP_sha256(), NULL);
	memcpy(&key, hash, sizeof(key));
	return key;
}

/* Whoever may write objects can write wrong ones without end, and every node hears of each. False:
 * this one is only counted. */
static bool may_tell(struct ig_kubernetes *k, const char *ns, uint64_t *ret_count)
{
	uint64_t left_out;

	if (!ig_rate_allow_after(k->rejected_rate, key_of(ns), ig_clock_mono_usec(), &left_out)) {
		ig_metrics_add(k->agent->metrics, IG_M_AUDIT_SUPPRESSED, 0, 0, 1);
		return false;
	}
	*ret_count = left_out ? left_out + 1 : 0;
	return true;
}

static void on_rejected(enum ig_object_kind kind, const char *ns, const char *name,
	const struct ig_err *err, void *userdata)
{
	char text[IG_ERR_FILE_BYTES + IG_ERR_MESSAGE_BYTES + 32], message[sizeof(text) + 600];
	struct ig_kubernetes *k = userdata;
	struct ig_audit_record record = {.kind = IG_AUDIT_POLICY_REJECTED,
		.reason = "kubernetes",
		.message = message,
		.policy_epoch = ig_store_epoch(k->agent->store)};

	if (!may_tell(k, ns, &record.count))
		return;
	ig_err_format(err, text, sizeof(text));
	(void)snprintf(message, sizeof(message), "%s %s/%s: %s", ig_object_kind_name(kind), ns,
		name, text);
	ig_log_warning("an object of the cluster was not taken", IG_KV_STR(ERROR, message),
		IG_KV_U64(COUNT, record.count ? record.count : 1));
	ig_audit_emit(k->agent->audit, &record);
}

static void on_state(
	enum ig_object_kind kind, enum ig_kube_watch_state state, const char *text, void *userdata)
{
	struct ig_kubernetes *k = userdata;
	const char *name = ig_kube_watch_state_name(state);

	if (state == IG_KUBE_WATCH_LISTING || state == IG_KUBE_WATCH_SYNCED)
		ig_log_info("watch of the cluster's objects",
			IG_KV_STR(KIND, ig_object_kind_name(kind)), IG_KV_STR(STATUS, name),
			IG_KV_STR(DETAIL, text));
	else
		ig_log_warning("watch of the cluster's objects",
			IG_KV_STR(KIND, ig_object_kind_name(kind)), IG_KV_STR(STATUS, name),
			IG_KV_STR(DETAIL, text));
	if (k->was_synced || !ig_kubernetes_synced(k))
		return;
	k->was_synced = true;
	/* what is not there now is not declared: whoever waits for it need not go on */
	ig_declared_changed(k->agent);
}

static void on_status_forbidden(unsigned int http_status, void *userdata)
{
	(void)userdata;
	ig_log_warning(
		"cannot tell in the status of policies whether they are valid: the agent lacks the right to \"patch\" \"metadatapolicies/status\"",
		IG_KV_U64(STATUS, http_status));
}

static const struct ig_kube_feeder_ops feeder_ops = {
	.rejected = on_rejected,
	.state = on_state,
	.status_forbidden = on_status_forbidden,
};

int ig_kubernetes_connect(struct ig_kubernetes *k, struct ig_agent *agent)
{
	char user_agent[sizeof(agent->options->node) + 64];
	int r;

	if (!k)
		return 0;
	k->agent = agent;
	(void)snprintf(user_agent, sizeof(user_agent), "imdsgate/%s (%s)", IG_VERSION,
		agent->options->node);
	r = ig_kube_client_new(agent->base, k->config, user_agent, &k->client);
	if (r == 0)
		ig_kube_token_provider(k->client, &k->assertions);
	return r;
}

const char *ig_kubernetes_token_directory(const struct ig_kubernetes *k)
{
	return k && k->config->bearer ? ig_kube_bearer_directory(k->config->bearer) : NULL;
}

const struct ig_assertion_provider *ig_kubernetes_assertions(const struct ig_kubernetes *k)
{
	return k ? &k->assertions : NULL;
}

int ig_kubernetes_start(struct ig_kubernetes *k)
{
	static const struct ig_rate_options rejected = {.per_sec = IG_REJECTED_NAMESPACE_PER_SEC,
		.burst = IG_REJECTED_NAMESPACE_BURST,
		.entries = IG_RATE_ENTRIES_MAX};
	struct ig_kube_feeder_options options;
	int r;

	if (!k)
		return 0;
	r = ig_rate_new(&rejected, &k->rejected_rate);
	if (r < 0)
		return r;
	options = (struct ig_kube_feeder_options){
		.node = k->agent->options->node,
		.policy_namespace = k->agent->options->policy.policy_namespace,
	};
	return ig_kube_feeder_new(
		k->agent->base, k->client, k->agent->store, &options, &feeder_ops, k, &k->feeder);
}

static void on_taint_gone(bool was_there, void *userdata)
{
	const struct ig_kubernetes *k = userdata;

	ig_log_info(was_there ? "the start-up taint was taken off this node"
			      : "this node has no start-up taint",
		IG_KV_STR(NAME, k->agent->options->startup_taint));
}

static void on_taint_failed(unsigned int http_status, void *userdata)
{
	const struct ig_kubernetes *k = userdata;

	ig_log_warning(
		http_status == 401 || http_status == 403
			? "cannot take the start-up taint off this node: the agent lacks the right to \"get\" and \"patch\" \"nodes\", or an admission rule is against it; trying again"
			: "cannot take the start-up taint off this node; trying again",
		IG_KV_STR(NAME, k->agent->options->startup_taint), IG_KV_U64(STATUS, http_status));
}

static const struct ig_kube_node_taint_ops taint_ops = {
	.gone = on_taint_gone,
	.failed = on_taint_failed,
};

void ig_kubernetes_ready(struct ig_kubernetes *k)
{
	const struct ig_options *options;
	int r;

	if (!k || k->taint || !k->agent->options->startup_taint)
		return;
	options = k->agent->options;
	r = ig_kube_node_taint_new(k->agent->base, k->client, options->node, options->startup_taint,
		&taint_ops, k, &k->taint);
	if (r < 0)
		(void)ig_log_errno(r, "cannot take the start-up taint off this node",
			IG_KV_STR(NAME, options->node));
}

struct ig_kubernetes *ig_kubernetes_free(struct ig_kubernetes *k)
{
	if (!k)
		return NULL;
	k->feeder = ig_kube_feeder_free(k->feeder);
	k->taint = ig_kube_node_taint_free(k->taint);
	k->client = ig_kube_client_free(k->client);
	k->config = ig_kube_config_free(k->config);
	k->rejected_rate = ig_rate_free(k->rejected_rate);
	free(k);
	return NULL;
}

bool ig_kubernetes_synced(const struct ig_kubernetes *k)
{
	/* feeder NULL: it is being made, and its watches have not begun */
	return !k || (k->feeder && ig_kube_feeder_synced(k->feeder));
}

void ig_kubernetes_store_changed(struct ig_kubernetes *k)
{
	if (k && k->feeder)
		ig_kube_feeder_store_changed(k->feeder);
}

bool ig_kubernetes_stats(
	const struct ig_kubernetes *k, enum ig_object_kind kind, struct ig_kube_feeder_stats *ret)
{
	return k && k->feeder && ig_kube_feeder_stats(k->feeder, kind, ret);
}

static json_t *watch_json(const struct ig_kube_feeder_stats *stats)
{
	const struct ig_kube_watch_stats *w = &stats->watch;

	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "state",
		ig_kube_watch_state_name(w->state), "objects", (json_int_t)w->objects, "rejected",
		(json_int_t)stats->rejected, "events", (json_int_t)w->events, "lists",
		(json_int_t)w->lists, "watches", (json_int_t)w->watches, "errors",
		(json_int_t)w->errors, "bytes", (json_int_t)w->bytes);
}

json_t *ig_kubernetes_status(const struct ig_kubernetes *k)
{
	json_t *resources;

	if (!k)
		return json_null();
	resources = json_object();
	for (int kind = 0; resources && kind < _IG_OBJECT_KIND_MAX; kind++) {
		struct ig_kube_feeder_stats stats;

		if (ig_kube_feeder_stats(k->feeder, (enum ig_object_kind)kind, &stats))
			(void)json_object_set_new(resources,
				ig_object_kind_name((enum ig_object_kind)kind), watch_json(&stats));
	}
	return json_pack("{s:b, s:o}", "synced", ig_kubernetes_synced(k), "resources", resources);
}
