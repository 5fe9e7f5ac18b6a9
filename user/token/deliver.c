/*
 * Those who wait for a token, and the way their answers reach them. Private to the token service.
 *
 * An answer is never delivered where it comes up, but from an event of its own: then no list of
 * ours is being walked when a `done` callback asks again, cancels, purges or even frees the
 * service. It must never call anybody twice, nor after a cancel.
 */
#include "token/service_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include <imdsgate/limits.h>

#include "base/parse.h"
#include "token/source.h"

/* ---- waiters --------------------------------------------------------------------------------- */

static void waiter_free(struct ig_token_waiter *waiter)
{
	(void)ig_token_outcome_unref(waiter->outcome);
	waiter->service->n_waiters--;
	free(waiter);
}

int ig_token_deliver_add(struct ig_token_service *service, struct ig_token_entry *entry,
	const struct ig_token_request *request, struct ig_token_waiter **ret)
{
	struct ig_token_waiter *waiter;

	if (service->n_waiters >= IG_TOKEN_WAITERS_MAX)
		return -EBUSY;
	waiter = calloc(1, sizeof(*waiter));
	if (!waiter)
		return -ENOMEM;
	waiter->service = service;
	waiter->entry = entry;
	waiter->done = request->done;
	waiter->userdata = request->userdata;
	waiter->fresh_only = request->bypass_cache;
	(void)stpcpy(waiter->refuse_sha256, request->refuse_sha256);
	TAILQ_INSERT_TAIL(&entry->waiters, waiter, link);
	service->n_waiters++;
	*ret = waiter;
	return 0;
}

void ig_token_deliver_drop(struct ig_token_waiter *waiter)
{
	if (waiter->entry)
		TAILQ_REMOVE(&waiter->entry->waiters, waiter, link);
	else
		TAILQ_REMOVE(&waiter->service->ready, waiter, link);
	waiter_free(waiter);
}

/* ---- delivery -------------------------------------------------------------------------------- */

/* By a timer, because what event_active() makes active from inside a callback runs in the same
 * round of the loop, before any descriptor is looked at. */
static void deliver_soon(struct ig_token_service *service)
{
	const struct timeval now = {};

	if (evtimer_pending(service->deliver_event, NULL))
		return;
	if (event_add(service->deliver_event, &now) < 0)
		event_active(service->deliver_event, EV_TIMEOUT, 0);
}

static void call_done(struct ig_token_service *service, struct ig_token_outcome *outcome,
	ig_token_done *done, void *userdata)
{
	/* a reference of our own: a purge in `done` takes the outcome's away */
	struct ig_token *token = ig_token_ref(outcome->token);
	const struct ig_token_failure failure = {
		.kind = outcome->kind,
		.code = outcome->code ? outcome->code : "",
		.text = outcome->text ? outcome->text : outcome->why,
	};
	const struct ig_token_result result = {
		.token = token,
		.failure = token ? NULL : &failure,
		.cache = outcome->cache,
	};

	if (outcome->cache == IG_TOKEN_STALE)
		service->stats.stale++;
	done(&result, userdata);
	(void)ig_token_unref(token);
}

/* One waiter at a time, always the first of what the list holds now, and no more of them than there
 * were at the start: a caller who asks again at every failure must not hold up the loop. */
static void deliver(struct ig_token_service *service)
{
	size_t left = service->n_waiters;
	struct ig_token_waiter *waiter;

	service->delivering = true;
	for (; left && !service->gone && (waiter = TAILQ_FIRST(&service->ready)); left--) {
		struct ig_token_outcome *outcome = ig_token_outcome_ref(waiter->outcome);
		ig_token_done *done = waiter->done;
		void *userdata = waiter->userdata;

		TAILQ_REMOVE(&service->ready, waiter, link);
		waiter_free(waiter);
		call_done(service, outcome, done, userdata);
		(void)ig_token_outcome_unref(outcome);
	}
	service->delivering = false;
	if (service->gone)
		free(service);
	else if (!TAILQ_EMPTY(&service->ready))
		deliver_soon(service);
}

void ig_token_deliver_event(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	deliver(arg);
}

static void make_ready(struct ig_token_waiter *waiter, struct ig_token_outcome *outcome)
{
	struct ig_token_service *service = waiter->service;

	if (waiter->entry)
		TAILQ_REMOVE(&waiter->entry->waiters, waiter, link);
	waiter->entry = NULL;
	waiter->outcome = ig_token_outcome_ref(outcome);
	TAILQ_INSERT_TAIL(&service->ready, waiter, link);
	deliver_soon(service);
}

static bool old_token_will_do(const struct ig_token_waiter *waiter, const struct ig_token *token,
	const struct ig_token_service *service)
{
	return token && token->expires_on_sec > ig_token_service_now_sec(service) &&
	       !waiter->fresh_only && !ig_str_equal_nocase(waiter->refuse_sha256, token->sha256);
}

void ig_token_deliver_old_or(struct ig_token_waiter *waiter, const struct ig_token_entry *entry,
	struct ig_token_outcome *failure)
{
	struct ig_token_service *service = waiter->service;
	struct ig_token_outcome *stale = NULL;

	if (old_token_will_do(waiter, entry->token, service))
		stale = ig_token_outcome_success(
			&service->outcomes, entry->ident, entry->token, IG_TOKEN_STALE);
	make_ready(waiter, stale ? stale : failure);
	(void)ig_token_outcome_unref(stale);
}

void ig_token_deliver_answer(struct ig_token_service *service, struct ig_token_entry *entry,
	const struct ig_token *fresh, const struct ig_token_failure *failure)
{
	struct ig_token_outcome *outcome;
	struct ig_token_waiter *waiter;

	outcome = fresh ? ig_token_outcome_success(
				  &service->outcomes, entry->ident, fresh, IG_TOKEN_MISS)
			: ig_token_outcome_failure(&service->outcomes, entry->ident, failure);
	if (!outcome)
		outcome = ig_token_outcome_ref(service->out_of_memory);
	while ((waiter = TAILQ_FIRST(&entry->waiters)) != NULL) {
		if (fresh)
			make_ready(waiter, outcome);
		else
			ig_token_deliver_old_or(waiter, entry, outcome);
	}
	(void)ig_token_outcome_unref(outcome);
}
