/*
 * Upstream calls of the token service: a lane for each upstream with so many under way at most, of
 * all and of one workload, and IG_UPSTREAM_PER_SEC started in a second, the rest in the fair queue
 * until their time is up. Turns
 * what comes back into a token or a failure and gives it to refresh.c. Private to the service.
 *
 * A source may need a client assertion first. Asking for it is the first part of the call: the same
 * place in the lane, the same deadline, and with the call it ends.
 *
 * It must never retry (the clients do; the one exception is a credential that has become too old
 * and is read or asked for again), call a waiter back, keep an assertion, or let a reply that is
 * not understood become a token.
 */
#include "token/service_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "http/client.h"
#include "token/assertion_provider.h"
#include "token/source.h"

#define PAUSE_MAX_SEC 30

static const size_t concurrency[_IG_SOURCE_LANE_MAX] = {
	[IG_SOURCE_LANE_IMDS] = IG_UPSTREAM_CONCURRENCY,
	[IG_SOURCE_LANE_ENTRA] = IG_ENTRA_CONCURRENCY,
	[IG_SOURCE_LANE_SERVICE_ACCOUNT] = IG_ENTRA_CONCURRENCY,
};
_Static_assert(IG_UPSTREAM_CONCURRENCY <= IG_ENTRA_CONCURRENCY, "struct ig_token_running");

struct ig_token_fetch {
	struct ig_token_queued queued; /* first: a pointer to it is a pointer to this */
	struct ig_token_service *service;
	struct ig_token_entry *entry;
	struct ig_token_lane *lane;
	/* From start to end one of these is under way: */
	bool asserting;	      /* the provider is asked */
	void *assertion_call; /* with that: the provider's */
	struct ig_http_call *call;
	bool bypass_cache;
	bool background;       /* a refresh: goes on when nobody waits */
	bool second;	       /* is the second call already */
	uint64_t started_usec; /* when its turn came; 0: before */
};

static const struct ig_source *source_of(const struct ig_token_entry *entry)
{
	return ig_source_get(entry->ident->key.source);
}

/* ---- places in the lane ---------------------------------------------------------------------- */

static void take_place(struct ig_token_fetch *fetch)
{
	struct ig_token_running *running = &fetch->lane->running;

	running->fairness[running->n++] = fetch->queued.fairness;
}

static void give_place(struct ig_token_fetch *fetch)
{
	struct ig_token_running *running = &fetch->lane->running;
	size_t i = 0;

	while (running->fairness[i] != fetch->queued.fairness)
		i++;
	running->fairness[i] = running->fairness[--running->n];
}

/* ---- end of a call --------------------------------------------------------------------------- */

static void report(const struct ig_token_fetch *fetch, const struct ig_source_answer *answer)
{
	const struct ig_token_service *service = fetch->service;
	const struct ig_token_call call = {
		.source = fetch->entry->ident->key.source,
		.failed = !answer->token,
		.kind = answer->kind,
		.is_refresh = fetch->background,
		.was_sent = fetch->started_usec != 0,
		.usec = fetch->started_usec ? service->clock.mono_usec() - fetch->started_usec : 0,
	};

	if (service->call_ended)
		service->call_ended(&call, service->userdata);
}

static void note_time(const struct ig_token_fetch *fetch, const struct ig_source_answer *answer)
{
	uint64_t now = fetch->service->clock.real_usec();

	if (answer->token || answer->kind == IG_TOKEN_REJECTED ||
		answer->kind == IG_TOKEN_NOT_FOUND)
		fetch->lane->times.answered_usec = now;
	else
		fetch->lane->times.failed_usec = now;
}

/* The call is over; frees it. The entry may be gone afterwards. */
static void finish(struct ig_token_fetch *finished, const struct ig_source_answer *answer)
{
	_cleanup_free_ struct ig_token_fetch *fetch = finished;
	const struct ig_token_failure failure = {
		.kind = answer->kind,
		.code = answer->code ? answer->code : "",
		.text = answer->text && *answer->text ? answer->text : answer->own_text,
		.retry_after_sec = answer->retry_after_sec,
	};

	fetch->entry->fetch = NULL;
	report(fetch, answer);
	if (!answer->token)
		fetch->service->stats.upstream_errors++;
	note_time(fetch, answer);
	ig_token_refresh_settle(
		fetch->service, fetch->entry, answer->token, answer->token ? NULL : &failure);
}

static void finish_failed(
	struct ig_token_fetch *fetch, enum ig_token_failure_kind kind, const char *text)
{
	struct ig_source_answer answer = {};

	ig_source_answer_fail(&answer, kind, "%s", text);
	finish(fetch, &answer);
}

/* IMDS counts a machine's calls: one that was too many is a reason to leave all of them for a
 * while. Entra counts those of an application for a resource, which is what one entry stands for,
 * so there the source's retry_after_sec keeps that entry quiet and nobody else. */
static void note_pause(struct ig_token_fetch *fetch, const struct ig_http_response *response)
{
	int64_t sec = response->retry_after_sec;
	uint64_t until;

	if (response->status != 429 || sec <= 0 ||
		source_of(fetch->entry)->lane != IG_SOURCE_LANE_IMDS)
		return;
	if (sec > PAUSE_MAX_SEC)
		sec = PAUSE_MAX_SEC;
	until = fetch->service->clock.mono_usec() + (uint64_t)sec * IG_USEC_PER_SEC;
	if (until > fetch->lane->paused_until_usec)
		fetch->lane->paused_until_usec = until;
}

static int start(struct ig_token_fetch *fetch, uint64_t now_usec, struct ig_err *err);

/* The credential was refused for its age, and the next reading of it may be younger. Not through
 * the queue: this call has had its turn and still has its place. */
static bool start_again(struct ig_token_fetch *fetch)
{
	uint64_t now_usec = fetch->service->clock.mono_usec();

	if (fetch->second || fetch->queued.deadline_usec <= now_usec)
		return false;
	fetch->second = true;
	return start(fetch, now_usec, NULL) == 0;
}

static void on_http_done(const struct ig_http_response *response, void *userdata)
{
	_cleanup_(ig_source_answer_done) struct ig_source_answer answer = {};
	struct ig_token_fetch *fetch = userdata;
	struct ig_token_service *service = fetch->service;

	fetch->call = NULL;
	give_place(fetch);
	note_pause(fetch, response);
	if (response->error < 0)
		ig_source_answer_no_reply(&answer, response);
	else
		source_of(fetch->entry)
			->read(response, &fetch->entry->ident->key,
				ig_token_service_now_sec(service), &answer);
	if (answer.again && start_again(fetch))
		return;
	finish(fetch, &answer);
	ig_token_upstream_pump(service);
}

/* ---- start of a call ------------------------------------------------------------------------- */

/* The exchange itself. */
static int send_call(
	struct ig_token_fetch *fetch, const char *assertion, uint64_t now_usec, struct ig_err *err)
{
	_cleanup_(ig_source_call_done) struct ig_source_call call = {};
	struct ig_token_service *service = fetch->service;
	const struct ig_source_request request = {
		.places = &service->places,
		.key = &fetch->entry->ident->key,
		.assertion = assertion,
		.now_sec = ig_token_service_now_sec(service),
		.bypass_cache = fetch->bypass_cache,
	};
	struct ig_http_call_options options = {
		.timeout_usec = fetch->queued.deadline_usec - now_usec,
		.response_limit_bytes = IG_UPSTREAM_RESPONSE_BYTES,
	};
	int r;

	r = source_of(fetch->entry)->prepare(&request, &call, err);
	if (r < 0)
		return r;
	options.url = call.url;
	options.headers = call.headers;
	options.post_body = call.form.data;
	options.post_body_len = call.form.len;
	r = ig_http_client_start(service->client, &options, on_http_done, fetch, &fetch->call);
	if (r < 0)
		return ig_err_set(err, r, "upstream cannot be asked");
	service->stats.upstream_calls++;
	return 0;
}

/* ---- assertions ------------------------------------------------------------------------------ */

static enum ig_token_failure_kind failure_of_assertion(int error)
{
	switch (error) {
	case -ENOENT: return IG_TOKEN_NOT_FOUND;
	case -EACCES:
	case -EBADMSG:
	case -E2BIG:
	case -EINVAL: return IG_TOKEN_BROKEN;
	default: return IG_TOKEN_UNAVAILABLE;
	}
}

/* Takes the exchange to its second part, or says why not. */
static void use_assertion(struct ig_token_fetch *fetch, const struct ig_assertion_result *result,
	struct ig_source_answer *answer)
{
	uint64_t now_usec = fetch->service->clock.mono_usec();
	struct ig_err err = {};
	int r;

	if (result->error < 0) {
		ig_source_answer_fail(
			answer, failure_of_assertion(result->error), "%s", result->text);
		return;
	}
	if (fetch->queued.deadline_usec <= now_usec) {
		ig_source_answer_fail(
			answer, IG_TOKEN_UNAVAILABLE, "timed out waiting for the client assertion");
		return;
	}
	r = send_call(fetch, result->assertion, now_usec, &err);
	if (r < 0)
		ig_source_answer_fail(answer, r == -ENOMEM ? IG_TOKEN_UNAVAILABLE : IG_TOKEN_BROKEN,
			"%s", r == -ENOMEM ? "out of memory" : err.message);
}

static void on_assertion(const struct ig_assertion_result *result, void *userdata)
{
	_cleanup_(ig_source_answer_done) struct ig_source_answer answer = {};
	struct ig_token_fetch *fetch = userdata;
	struct ig_token_service *service = fetch->service;

	fetch->asserting = false;
	fetch->assertion_call = NULL;
	use_assertion(fetch, result, &answer);
	if (fetch->call)
		return;
	give_place(fetch);
	finish(fetch, &answer);
	ig_token_upstream_pump(service);
}

static int ask_for_assertion(
	struct ig_token_fetch *fetch, const char *audience, uint64_t now_usec, struct ig_err *err)
{
	const struct ig_assertion_provider *provider = fetch->service->assertions;
	int r;

	if (!provider)
		return ig_err_set(err, -EOPNOTSUPP,
			"no client assertion can be had: the agent is not connected to Kubernetes");
	r = provider->start(provider->userdata, fetch->entry->ident->key.credential, audience,
		fetch->queued.deadline_usec - now_usec, on_assertion, fetch,
		&fetch->assertion_call);
	if (r < 0)
		return ig_err_set(err, r, "a client assertion cannot be asked for");
	fetch->asserting = true;
	return 0;
}

/* ---- turns ----------------------------------------------------------------------------------- */

static int start(struct ig_token_fetch *fetch, uint64_t now_usec, struct ig_err *err)
{
	const struct ig_source *source = source_of(fetch->entry);
	int r;

	if (source->audience)
		r = ask_for_assertion(
			fetch, source->audience(&fetch->entry->ident->key), now_usec, err);
	else
		r = send_call(fetch, NULL, now_usec, err);
	if (r < 0)
		return r;
	take_place(fetch);
	if (!fetch->started_usec)
		fetch->started_usec = now_usec;
	ig_token_queue_note_start(&fetch->lane->queue, now_usec);
	return 0;
}

static struct ig_token_fetch *fetch_of(struct ig_token_queued *queued)
{
	return (struct ig_token_fetch *)(void *)queued;
}

static void start_or_fail(struct ig_token_fetch *fetch, uint64_t now_usec)
{
	struct ig_err err = {};
	int r = start(fetch, now_usec, &err);

	if (r < 0)
		finish_failed(fetch,
			r == -EBUSY || r == -ENOMEM ? IG_TOKEN_UNAVAILABLE : IG_TOKEN_BROKEN,
			r == -ENOMEM ? "out of memory" : err.message);
}

static void fail_late(struct ig_token_lane *lane, uint64_t now_usec)
{
	struct ig_token_queued *oldest;

	while ((oldest = ig_token_queue_oldest(&lane->queue)) != NULL) {
		if (oldest->deadline_usec > now_usec)
			return;
		ig_token_queue_remove(&lane->queue, oldest);
		finish_failed(fetch_of(oldest), IG_TOKEN_UNAVAILABLE,
			"timed out waiting for a turn to ask upstream");
	}
}

static bool has_slot(const struct ig_token_lane *lane)
{
	return lane->running.n < concurrency[lane - lane->service->lanes];
}

/* How long nothing may be started; 0: now. */
static uint64_t start_wait_usec(const struct ig_token_lane *lane, uint64_t now_usec)
{
	uint64_t wait = ig_token_queue_rate_wait_usec(&lane->queue, now_usec);
	uint64_t pause = lane->paused_until_usec;

	if (pause > now_usec && pause - now_usec > wait)
		wait = pause - now_usec;
	return wait;
}

/* While all slots are taken, or those who wait have theirs, only the deadlines matter: the end of a
 * call pumps anyway. */
static void arm_pump(struct ig_token_lane *lane, uint64_t now_usec, bool is_over)
{
	const struct ig_token_queued *oldest = ig_token_queue_oldest(&lane->queue);
	uint64_t delay, wait;
	struct timeval after;

	if (!oldest) {
		(void)event_del(lane->pump_timer);
		return;
	}
	delay = oldest->deadline_usec - now_usec;
	wait = start_wait_usec(lane, now_usec);
	if (!is_over && has_slot(lane) && wait < delay)
		delay = wait;
	after.tv_sec = (time_t)(delay / IG_USEC_PER_SEC);
	after.tv_usec = (suseconds_t)(delay % IG_USEC_PER_SEC);
	(void)event_add(lane->pump_timer, &after);
}

static void pump(struct ig_token_lane *lane)
{
	uint64_t now_usec = lane->service->clock.mono_usec();
	bool is_over = false; /* nobody who waits may start one */

	fail_late(lane, now_usec);
	while (!is_over && has_slot(lane) && start_wait_usec(lane, now_usec) == 0) {
		struct ig_token_queued *next = ig_token_queue_pop(&lane->queue, &lane->running);

		if (next)
			start_or_fail(fetch_of(next), now_usec);
		else
			is_over = true;
	}
	arm_pump(lane, now_usec, is_over);
}

void ig_token_upstream_pump(struct ig_token_service *service)
{
	for (int i = 0; i < _IG_SOURCE_LANE_MAX; i++)
		pump(&service->lanes[i]);
}

void ig_token_upstream_event(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	pump(arg);
}

/* ---- for the service ------------------------------------------------------------------------- */

int ig_token_upstream_request(struct ig_token_service *service, struct ig_token_entry *entry,
	uint64_t fairness, bool bypass_cache, bool background)
{
	_cleanup_free_ struct ig_token_fetch *fetch = calloc(1, sizeof(*fetch));
	int r;

	if (!fetch)
		return -ENOMEM;
	fetch->service = service;
	fetch->entry = entry;
	fetch->lane = &service->lanes[source_of(entry)->lane];
	fetch->bypass_cache = bypass_cache;
	fetch->background = background;
	fetch->queued.fairness = fairness;
	fetch->queued.deadline_usec = service->clock.mono_usec() + service->timeout_usec;
	r = ig_token_queue_push(&fetch->lane->queue, &fetch->queued);
	if (r < 0)
		return r;
	entry->fetch = TAKE_PTR(fetch);
	return 0;
}

void ig_token_upstream_join(struct ig_token_entry *entry, uint64_t fairness, bool bypass_cache)
{
	struct ig_token_fetch *fetch = entry->fetch;

	/* without effect on a call that is under way */
	if (bypass_cache)
		fetch->bypass_cache = true;
	if (fetch->queued.flow)
		ig_token_queue_share(
			&fetch->lane->queue, &fetch->queued, fairness, &fetch->lane->running);
}

void ig_token_upstream_leave(struct ig_token_entry *entry)
{
	const struct ig_token_fetch *fetch = entry->fetch;

	if (fetch && fetch->queued.flow && !fetch->background)
		ig_token_upstream_abandon(entry);
}

static void cancel_assertion(struct ig_token_fetch *fetch)
{
	const struct ig_assertion_provider *provider = fetch->service->assertions;

	provider->cancel(provider->userdata, fetch->assertion_call);
}

void ig_token_upstream_abandon(struct ig_token_entry *entry)
{
	_cleanup_free_ struct ig_token_fetch *fetch = TAKE_PTR(entry->fetch);

	if (!fetch)
		return;
	if (fetch->queued.flow) {
		ig_token_queue_remove(&fetch->lane->queue, &fetch->queued);
		return;
	}
	if (fetch->asserting)
		cancel_assertion(fetch);
	else
		ig_http_call_cancel(fetch->call);
	give_place(fetch);
}
