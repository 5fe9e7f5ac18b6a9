/*
 * Token service: the interface; see service.h. Called by the IMDS front end and, for purge and
 * statistics, by the agent. What an answer does to an entry is in refresh.c, upstream in
 * upstream.c.
 *
 * It must never decide who may have a token (that was done before), hand out a token under another
 * key than the one it was fetched for, or call anybody back except in two places: on a hit, as the
 * very last thing of ig_token_get(), and from the loop's own event in deliver.c. Therefore a `done`
 * callback may call everything here, even ig_token_service_free().
 */
#include "token/service_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/parse.h"
#include "token/source.h"

#define SHA256_DIGITS 64

uint64_t ig_token_service_now_sec(const struct ig_token_service *service)
{
	return service->clock.real_usec() / IG_USEC_PER_SEC;
}

/* ---- get ------------------------------------------------------------------------------------- */

static bool is_hex(const char *s)
{
	for (; *s; s++)
		if (ig_parse_hex_digit(*s) < 0)
			return false;
	return true;
}

static int check_request(const struct ig_token_key *key, const char *refuse_sha256)
{
	size_t len = strlen(refuse_sha256);

	if ((len && len != SHA256_DIGITS) || !is_hex(refuse_sha256))
		return -EINVAL;
	if ((unsigned int)key->upstream.kind >= _IG_SELECTOR_KIND_MAX || !*key->resource)
		return -EINVAL;
	if (key->upstream.kind != IG_SELECTOR_NONE && !key->upstream.value[0])
		return -EINVAL;
	if (!ig_source_get(key->source) || !ig_source_get(key->source)->is_complete(key))
		return -EINVAL;
	if (strlen(key->resource) > IG_RESOURCE_BYTES ||
		strlen(key->expect_client_id) > IG_SELECTOR_BYTES)
		return -E2BIG;
	return 0;
}

static bool is_quiet(const struct ig_token_service *service, const struct ig_token_entry *entry)
{
	return service->clock.mono_usec() < entry->quiet_until_usec;
}

/* The cached token if it can be handed out without asking upstream: long enough to live, or just
 * come from there (then upstream has nothing better). */
static struct ig_token *usable_token(const struct ig_token_service *service,
	const struct ig_token_entry *entry, const struct ig_token_request *request)
{
	uint64_t now_sec = ig_token_service_now_sec(service);
	struct ig_token *token = entry->token;

	if (!token || token->expires_on_sec <= now_sec || request->bypass_cache)
		return NULL;
	if (ig_str_equal_nocase(request->refuse_sha256, token->sha256))
		return NULL;
	if (token->expires_on_sec - now_sec >= IG_TOKEN_MIN_LIFE_SEC)
		return token;
	return !entry->failure && is_quiet(service, entry) ? token : NULL;
}

/* The failure that answers this request without asking upstream, or NULL. Asking to bypass the
 * cache does not help against an upstream that is in trouble. */
static struct ig_token_outcome *remembered_failure(const struct ig_token_service *service,
	const struct ig_token_entry *entry, const struct ig_token_request *request)
{
	struct ig_token_outcome *failure = entry->failure;

	if (!failure || !is_quiet(service, entry))
		return NULL;
	if (request->bypass_cache && failure->kind != IG_TOKEN_UNAVAILABLE)
		return NULL;
	return failure;
}

static void hand_out(struct ig_token_service *service, struct ig_token_entry *entry,
	const struct ig_token *cached, const struct ig_token_request *request)
{
	struct ig_token *token = ig_token_ref(cached);
	const struct ig_token_result result = {.token = token, .cache = IG_TOKEN_HIT};

	service->stats.hits++;
	ig_token_refresh_note_use(service, entry, request->fairness);
	request->done(&result, request->userdata);
	/* the service may be gone now */
	(void)ig_token_unref(token);
}

/* Upstream has a cache as well: a caller who brings back the token that we hold gets past it, or it
 * would see the same token again. Where we hold none it may have been the one of an earlier agent.
 */
static bool is_upstreams_refused(
	const struct ig_token_entry *entry, const struct ig_token_request *request)
{
	if (!request->refuse_sha256[0])
		return false;
	return !entry->token || ig_str_equal_nocase(request->refuse_sha256, entry->token->sha256);
}

/* Joins the call that is under way or asks for one. */
static int ask_upstream(struct ig_token_service *service, struct ig_token_entry *entry,
	const struct ig_token_request *request)
{
	bool bypass = request->bypass_cache || is_upstreams_refused(entry, request);

	if (entry->fetch) {
		ig_token_upstream_join(entry, request->fairness, bypass);
		return 0;
	}
	return ig_token_upstream_request(service, entry, request->fairness, bypass, false);
}

/* Not remembered: upstream was not asked, and the next moment there may be room. */
static void answer_queue_full(struct ig_token_service *service, struct ig_token_entry *entry,
	struct ig_token_waiter *waiter)
{
	const struct ig_token_failure failure = {
		.kind = IG_TOKEN_UNAVAILABLE,
		.code = "",
		.text = "too many requests are waiting for upstream",
	};
	struct ig_token_outcome *outcome =
		ig_token_outcome_failure(&service->outcomes, entry->ident, &failure);

	ig_token_deliver_old_or(waiter, entry, outcome ? outcome : service->out_of_memory);
	(void)ig_token_outcome_unref(outcome);
}

static int wait_for_answer(struct ig_token_service *service, struct ig_token_entry *entry,
	const struct ig_token_request *request, struct ig_token_waiter **ret_waiter)
{
	struct ig_token_outcome *failure = remembered_failure(service, entry, request);
	struct ig_token_waiter *waiter = NULL;
	int r;

	r = ig_token_deliver_add(service, entry, request, &waiter);
	if (r < 0)
		return r;
	if (failure) {
		ig_token_deliver_old_or(waiter, entry, failure);
	} else {
		r = ask_upstream(service, entry, request);
		if (r == -EBUSY)
			answer_queue_full(service, entry, waiter);
		if (r < 0 && r != -EBUSY) {
			ig_token_deliver_drop(waiter);
			return r;
		}
		ig_token_upstream_pump(service);
	}
	service->stats.misses++;
	*ret_waiter = waiter;
	return 0;
}

int ig_token_get(struct ig_token_service *service, const struct ig_token_key *key,
	unsigned int flags, const char *refresh_sha256, uint64_t fairness, ig_token_done *done,
	void *userdata, struct ig_token_waiter **ret_waiter)
{
	const struct ig_token_request request = {
		.bypass_cache = flags & IG_TOKEN_BYPASS_CACHE,
		.refuse_sha256 = refresh_sha256,
		.fairness = fairness,
		.done = done,
		.userdata = userdata,
	};
	struct ig_token_entry *entry = NULL;
	const struct ig_token *token;
	int r;

	r = check_request(key, refresh_sha256);
	if (r < 0)
		return r;
	r = ig_token_cache_obtain(&service->cache, key, fairness, &entry);
	if (r < 0)
		return r;
	token = usable_token(service, entry, &request);
	if (token) {
		*ret_waiter = NULL;
		hand_out(service, entry, token, &request);
		return 0;
	}
	r = wait_for_answer(service, entry, &request, ret_waiter);
	ig_token_cache_tidy(&service->cache, entry);
	return r;
}

void ig_token_cancel(struct ig_token_waiter *waiter)
{
	struct ig_token_service *service;
	struct ig_token_entry *entry;

	if (!waiter)
		return;
	service = waiter->service;
	entry = waiter->entry;
	ig_token_deliver_drop(waiter);
	if (!entry || !TAILQ_EMPTY(&entry->waiters))
		return;
	ig_token_upstream_leave(entry);
	ig_token_cache_tidy(&service->cache, entry);
}

/* ---- purge and statistics -------------------------------------------------------------------- */

static void forget(struct ig_token_service *service, struct ig_token_entry *entry)
{
	const struct ig_token_failure failure = {
		.kind = IG_TOKEN_UNAVAILABLE,
		.code = "",
		.text = "the identity is no longer available to this workload",
	};

	ig_token_upstream_abandon(entry);
	entry->token = ig_token_unref(entry->token);
	ig_token_deliver_answer(service, entry, NULL, &failure);
	ig_token_cache_remove(&service->cache, entry);
}

/* Answers that were fetched but not delivered yet are tokens as well. */
static void revoke_outcomes(struct ig_token_service *service, ig_token_keep *keep, void *userdata)
{
	struct ig_token_outcome *outcome;

	LIST_FOREACH (outcome, &service->outcomes, link)
		if (outcome->token && !keep(&outcome->ident->key, userdata))
			ig_token_outcome_revoke(outcome);
}

size_t ig_token_service_purge(struct ig_token_service *service, ig_token_keep *keep, void *userdata)
{
	struct ig_token_entry *entry, *next;
	size_t n = 0;

	for (entry = TAILQ_FIRST(&service->cache.by_use); entry; entry = next) {
		next = TAILQ_NEXT(entry, by_use);
		if (keep(&entry->ident->key, userdata))
			continue;
		n += entry->token != NULL;
		forget(service, entry);
	}
	revoke_outcomes(service, keep, userdata);
	ig_token_upstream_pump(service);
	return n;
}

struct ig_token_stats ig_token_service_stats(const struct ig_token_service *service)
{
	struct ig_token_stats stats = service->stats;
	const struct ig_token_entry *entry;

	TAILQ_FOREACH (entry, &service->cache.by_use, by_use)
		stats.cached += entry->token != NULL;
	stats.waiters = service->n_waiters;
	for (int i = 0; i < _IG_SOURCE_LANE_MAX; i++) {
		stats.queued_in[i] = service->lanes[i].queue.len;
		stats.queued += stats.queued_in[i];
	}
	return stats;
}

/* ---- the service ----------------------------------------------------------------------------- */

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	ig_token_refresh_sweep(arg);
}

static void free_entries(struct ig_token_service *service)
{
	struct ig_token_entry *entry;
	struct ig_token_waiter *waiter;

	while ((waiter = TAILQ_FIRST(&service->ready)) != NULL)
		ig_token_deliver_drop(waiter);
	while ((entry = TAILQ_FIRST(&service->cache.by_use)) != NULL) {
		ig_token_upstream_abandon(entry);
		while ((waiter = TAILQ_FIRST(&entry->waiters)) != NULL)
			ig_token_deliver_drop(waiter);
		ig_token_cache_remove(&service->cache, entry);
	}
}

static void free_event(struct event *event)
{
	if (event)
		event_free(event);
}

struct ig_token_service *ig_token_service_free(struct ig_token_service *service)
{
	if (!service)
		return NULL;
	free_entries(service);
	(void)ig_token_outcome_unref(service->out_of_memory);
	for (int i = 0; i < _IG_SOURCE_LANE_MAX; i++)
		free_event(service->lanes[i].pump_timer);
	free_event(service->sweep_timer);
	free_event(service->deliver_event);
	free(service->imds_url);
	service->gone = true;
	if (!service->delivering)
		free(service);
	return NULL;
}
IG_DEFINE_CLEANUP(struct ig_token_service *, ig_token_service_free);

/* IMDS is one for all, and hangs for all. Behind the others are as many authorities as identities
 * name, and one that hangs must not hold up those who ask another. */
static size_t max_of_workload(enum ig_source_lane lane)
{
	return lane == IG_SOURCE_LANE_IMDS ? IG_UPSTREAM_CONCURRENCY
					   : IG_ENTRA_WORKLOAD_CONCURRENCY;
}

static int make_lanes(struct ig_token_service *service)
{
	for (int i = 0; i < _IG_SOURCE_LANE_MAX; i++) {
		struct ig_token_lane *lane = &service->lanes[i];

		lane->service = service;
		ig_token_queue_init(&lane->queue);
		lane->running.max_each = max_of_workload((enum ig_source_lane)i);
		lane->pump_timer = evtimer_new(service->base, ig_token_upstream_event, lane);
		if (!lane->pump_timer)
			return -ENOMEM;
	}
	return 0;
}

static int make_parts(struct ig_token_service *service, const char *imds_url)
{
	static const struct ig_token_failure out_of_memory = {
		.kind = IG_TOKEN_UNAVAILABLE,
		.code = "",
		.text = "out of memory",
	};

	service->imds_url = strdup(imds_url);
	service->places.imds_url = service->imds_url;
	service->sweep_timer = evtimer_new(service->base, on_sweep, service);
	service->deliver_event = evtimer_new(service->base, ig_token_deliver_event, service);
	service->out_of_memory = ig_token_outcome_failure(&service->outcomes, NULL, &out_of_memory);
	if (!service->imds_url || !service->sweep_timer || !service->deliver_event ||
		!service->out_of_memory)
		return -ENOMEM;
	return make_lanes(service);
}

int ig_token_service_new(struct event_base *base, struct ig_http_client *client,
	const struct ig_token_service_options *options, struct ig_token_service **ret)
{
	_cleanup_(ig_token_service_freep) struct ig_token_service *service =
		calloc(1, sizeof(*service));
	int r;

	if (!service)
		return -ENOMEM;
	service->base = base;
	service->client = client;
	service->clock = (struct ig_token_clock){ig_clock_mono_usec, ig_clock_real_usec};
	service->timeout_usec = IG_UPSTREAM_TIMEOUT_SEC * IG_USEC_PER_SEC;
	TAILQ_INIT(&service->ready);
	LIST_INIT(&service->outcomes);
	service->places.credentials = options->credentials;
	service->assertions = options->assertions;
	service->call_ended = options->call_ended;
	service->userdata = options->userdata;
	r = ig_token_cache_init(&service->cache);
	if (r == 0)
		r = make_parts(service, options->imds_url);
	if (r < 0)
		return r;
	ig_json_wipe_memory();
	*ret = TAKE_PTR(service);
	return 0;
}

_Static_assert(
	(int)IG_TOKEN_UPSTREAM_IMDS == (int)IG_SOURCE_LANE_IMDS &&
		(int)IG_TOKEN_UPSTREAM_ENTRA == (int)IG_SOURCE_LANE_ENTRA &&
		(int)IG_TOKEN_UPSTREAM_SERVICE_ACCOUNT == (int)IG_SOURCE_LANE_SERVICE_ACCOUNT &&
		(int)_IG_TOKEN_UPSTREAM_MAX == (int)_IG_SOURCE_LANE_MAX,
	"each upstream has a lane");

struct ig_token_upstream_times ig_token_service_upstream_times(
	const struct ig_token_service *service, enum ig_token_upstream upstream)
{
	return service->lanes[upstream].times;
}

uint64_t ig_token_service_early_sec(const struct ig_token_service *service)
{
	uint64_t now = ig_token_service_now_sec(service), early = 0;

	for (const struct ig_token_entry *e = service->cache.entries; e; e = e->hh.next)
		if (e->token && e->token->not_before_sec > now &&
			e->token->not_before_sec - now > early)
			early = e->token->not_before_sec - now;
	return early;
}
