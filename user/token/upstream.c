/*
 * Upstream calls of the token service: at most IG_UPSTREAM_CONCURRENCY under way, at most
 * IG_UPSTREAM_PER_SEC started in a second, the rest in the fair queue until their time is up. Turns
 * what comes back into a token or a failure and gives it to refresh.c. Private to the service.
 *
 * It must never retry (the clients do), call a waiter back, or let a reply that is not understood
 * become a token.
 */
#include "token/service_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "http/client.h"
#include "token/source.h"

#define PAUSE_MAX_SEC	   30
#define FAILURE_TEXT_BYTES 512

struct ig_token_fetch {
	struct ig_token_queued queued; /* first: a pointer to it is a pointer to this */
	struct ig_token_service *service;
	struct ig_token_entry *entry;
	struct ig_http_call *call; /* NULL until it is started */
	bool bypass_cache;
	bool background; /* a refresh: goes on when nobody waits */
};

/* ---- what came back -------------------------------------------------------------------------- */

/* One answer on its way from the parser to the entry. */
struct answer {
	struct ig_token *token; /* NULL: failed */
	enum ig_token_failure_kind kind;
	char *code; /* owned; may be NULL */
	char *text; /* owned; may be NULL: see own_text */
	char own_text[FAILURE_TEXT_BYTES];
};

static void answer_done(struct answer *answer)
{
	(void)ig_token_unref(answer->token);
	free(answer->code);
	free(answer->text);
}

static void fail(struct answer *answer, enum ig_token_failure_kind kind, const char *text)
{
	answer->kind = kind;
	(void)snprintf(answer->own_text, sizeof(answer->own_text), "%s", text);
}

static void read_no_reply(const struct ig_http_response *response, struct answer *answer)
{
	switch (response->error) {
	case -ETIMEDOUT: fail(answer, IG_TOKEN_UNAVAILABLE, "upstream timed out"); break;
	case -E2BIG:
	case -EBADMSG:
	case -EINVAL:
	case -ENOMEM: fail(answer, IG_TOKEN_BROKEN, response->error_text); break;
	default: fail(answer, IG_TOKEN_UNAVAILABLE, response->error_text); break;
	}
}

/* 404 and 410: IMDS is being updated. 408 is a time-out on the other side. */
static bool is_passing(unsigned int status)
{
	return status == 404 || status == 408 || status == 410 || status == 429 || status >= 500;
}

static void read_error_reply(unsigned int status, int r, struct answer *answer)
{
	if (is_passing(status))
		answer->kind = IG_TOKEN_UNAVAILABLE;
	else if (status < 400 || r != -EACCES)
		answer->kind = IG_TOKEN_BROKEN;
	else if (status == 400 && ig_str_equal_nocase(answer->text, "Identity not found"))
		answer->kind = IG_TOKEN_NOT_FOUND;
	else
		answer->kind = IG_TOKEN_REJECTED;
	(void)snprintf(answer->own_text, sizeof(answer->own_text), "upstream answered %u", status);
}

static void read_reply(const struct ig_token_fetch *fetch, const struct ig_http_response *response,
	struct answer *answer)
{
	int r;

	r = ig_source_imds_reply(response->status, response->body, response->body_len,
		&fetch->entry->ident->key, ig_token_service_now_sec(fetch->service), &answer->token,
		&answer->code, &answer->text);
	if (r == 0)
		return;
	if (r == -ENOMEM)
		fail(answer, IG_TOKEN_BROKEN, "out of memory");
	else if (response->status == 200)
		fail(answer, IG_TOKEN_BROKEN, "upstream's reply is not a token for this identity");
	else
		read_error_reply(response->status, r, answer);
}

/* ---- end of a call --------------------------------------------------------------------------- */

/* The call is over; frees it. The entry may be gone afterwards. */
static void finish(struct ig_token_fetch *finished, const struct answer *answer)
{
	_cleanup_free_ struct ig_token_fetch *fetch = finished;
	const struct ig_token_failure failure = {
		.kind = answer->kind,
		.code = answer->code ? answer->code : "",
		.text = answer->text && *answer->text ? answer->text : answer->own_text,
	};

	fetch->entry->fetch = NULL;
	if (!answer->token)
		fetch->service->stats.upstream_errors++;
	ig_token_refresh_settle(
		fetch->service, fetch->entry, answer->token, answer->token ? NULL : &failure);
}

static void finish_failed(
	struct ig_token_fetch *fetch, enum ig_token_failure_kind kind, const char *text)
{
	struct answer answer = {};

	fail(&answer, kind, text);
	finish(fetch, &answer);
}

static void note_pause(struct ig_token_service *service, const struct ig_http_response *response)
{
	int64_t sec = response->retry_after_sec;
	uint64_t until;

	if (response->status != 429 || sec <= 0)
		return;
	if (sec > PAUSE_MAX_SEC)
		sec = PAUSE_MAX_SEC;
	until = service->clock.mono_usec() + (uint64_t)sec * IG_USEC_PER_SEC;
	if (until > service->paused_until_usec)
		service->paused_until_usec = until;
}

static void on_http_done(const struct ig_http_response *response, void *userdata)
{
	_cleanup_(answer_done) struct answer answer = {};
	struct ig_token_fetch *fetch = userdata;
	struct ig_token_service *service = fetch->service;

	fetch->call = NULL;
	service->n_running--;
	note_pause(service, response);
	if (response->error < 0)
		read_no_reply(response, &answer);
	else
		read_reply(fetch, response, &answer);
	finish(fetch, &answer);
	ig_token_upstream_pump(service);
}

/* ---- start of a call ------------------------------------------------------------------------- */

static int start(struct ig_token_fetch *fetch, uint64_t now_usec)
{
	static const char *const headers[] = {"Metadata: true", NULL};
	struct ig_token_service *service = fetch->service;
	_cleanup_free_ char *url = NULL;
	struct ig_http_call_options options = {
		.headers = headers,
		.timeout_usec = fetch->queued.deadline_usec - now_usec,
		.response_limit_bytes = IG_UPSTREAM_RESPONSE_BYTES,
	};
	int r;

	r = ig_source_imds_url(
		service->imds_url, &fetch->entry->ident->key, fetch->bypass_cache, &url);
	if (r < 0)
		return r;
	options.url = url;
	r = ig_http_client_start(service->client, &options, on_http_done, fetch, &fetch->call);
	if (r < 0)
		return r;
	service->n_running++;
	service->stats.upstream_calls++;
	ig_token_queue_note_start(&service->queue, now_usec);
	return 0;
}

static struct ig_token_fetch *fetch_of(struct ig_token_queued *queued)
{
	return (struct ig_token_fetch *)(void *)queued;
}

static void fail_late(struct ig_token_service *service, uint64_t now_usec)
{
	struct ig_token_queued *oldest;

	while ((oldest = ig_token_queue_oldest(&service->queue)) != NULL) {
		if (oldest->deadline_usec > now_usec)
			return;
		ig_token_queue_remove(&service->queue, oldest);
		finish_failed(fetch_of(oldest), IG_TOKEN_UNAVAILABLE,
			"timed out waiting for a turn to ask upstream");
	}
}

/* How long nothing may be started; 0: now. */
static uint64_t start_wait_usec(const struct ig_token_service *service, uint64_t now_usec)
{
	uint64_t wait = ig_token_queue_rate_wait_usec(&service->queue, now_usec);
	uint64_t pause = service->paused_until_usec;

	if (pause > now_usec && pause - now_usec > wait)
		wait = pause - now_usec;
	return wait;
}

/* While all slots are taken only the deadlines matter: the end of a call pumps anyway. */
static void arm_pump(struct ig_token_service *service, uint64_t now_usec)
{
	const struct ig_token_queued *oldest = ig_token_queue_oldest(&service->queue);
	uint64_t delay, wait;
	struct timeval after;

	if (!oldest) {
		(void)event_del(service->pump_timer);
		return;
	}
	delay = oldest->deadline_usec - now_usec;
	wait = start_wait_usec(service, now_usec);
	if (service->n_running < IG_UPSTREAM_CONCURRENCY && wait < delay)
		delay = wait;
	after.tv_sec = (time_t)(delay / IG_USEC_PER_SEC);
	after.tv_usec = (suseconds_t)(delay % IG_USEC_PER_SEC);
	(void)event_add(service->pump_timer, &after);
}

void ig_token_upstream_pump(struct ig_token_service *service)
{
	uint64_t now_usec = service->clock.mono_usec();

	fail_late(service, now_usec);
	while (service->n_running < IG_UPSTREAM_CONCURRENCY &&
		start_wait_usec(service, now_usec) == 0) {
		struct ig_token_queued *next = ig_token_queue_pop(&service->queue);
		int r;

		if (!next)
			break;
		r = start(fetch_of(next), now_usec);
		if (r < 0)
			finish_failed(fetch_of(next), IG_TOKEN_BROKEN,
				r == -ENOMEM ? "out of memory" : "upstream cannot be asked");
	}
	arm_pump(service, now_usec);
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
	fetch->bypass_cache = bypass_cache;
	fetch->background = background;
	fetch->queued.fairness = fairness;
	fetch->queued.deadline_usec = service->clock.mono_usec() + service->timeout_usec;
	r = ig_token_queue_push(&service->queue, &fetch->queued);
	if (r < 0)
		return r;
	entry->fetch = TAKE_PTR(fetch);
	return 0;
}

void ig_token_upstream_join(struct ig_token_entry *entry, bool bypass_cache)
{
	/* without effect on a call that is under way */
	if (bypass_cache)
		entry->fetch->bypass_cache = true;
}

void ig_token_upstream_leave(struct ig_token_service *service, struct ig_token_entry *entry)
{
	const struct ig_token_fetch *fetch = entry->fetch;

	if (fetch && fetch->queued.flow && !fetch->background)
		ig_token_upstream_abandon(service, entry);
}

void ig_token_upstream_abandon(struct ig_token_service *service, struct ig_token_entry *entry)
{
	_cleanup_free_ struct ig_token_fetch *fetch = TAKE_PTR(entry->fetch);

	if (!fetch)
		return;
	if (fetch->queued.flow) {
		ig_token_queue_remove(&service->queue, &fetch->queued);
	} else if (fetch->call) {
		ig_http_call_cancel(fetch->call);
		service->n_running--;
	}
}
