/*
 * The life of an entry of the token cache: what an answer changes, when a token is refreshed, when
 * it is dropped and wiped. Private to the token service.
 *
 * A token is refreshed from half of its life on, with jitter so that the tokens of many nodes that
 * started together do not stay together, and only if somebody used it since the last time: an
 * unused one expires and goes. It must never take away a valid token because upstream has a bad
 * day, and never keep the loop awake for anything but the next thing that is due.
 */
#include "token/service_internal.h"

#include <sys/random.h>

#include <event2/event.h>

#include <imdsgate/limits.h>

#include "base/clock.h"
#include "token/source.h"

#define REFRESH_SPACING_MIN_SEC 30 /* however short the life is */
#define REFRESH_RETRY_MAX_SEC	600
#define SWEEP_SPACING_USEC	IG_USEC_PER_SEC /* what is due together is handled together */
#define SWEEP_DELAY_MAX_USEC	(3600 * IG_USEC_PER_SEC) /* the real clock may be set */

static uint64_t at_least(uint64_t value, uint64_t min)
{
	return value < min ? min : value;
}

static uint64_t at_most(uint64_t value, uint64_t max)
{
	return value > max ? max : value;
}

static uint64_t life_sec(const struct ig_token_entry *entry, uint64_t now_sec)
{
	return entry->token && entry->token->expires_on_sec > now_sec
		       ? entry->token->expires_on_sec - now_sec
		       : 0;
}

/* Without random numbers there is no jitter, which harms nobody but upstream. */
static uint64_t jitter_sec(uint64_t max_sec)
{
	uint64_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		return 0;
	return random % (max_sec + 1);
}

/* ---- timer ----------------------------------------------------------------------------------- */

static void arm_sweep(struct ig_token_service *service, uint64_t delay_usec)
{
	uint64_t now_usec = service->clock.mono_usec();
	struct timeval after;

	delay_usec = at_least(delay_usec, SWEEP_SPACING_USEC);
	delay_usec = at_most(delay_usec, SWEEP_DELAY_MAX_USEC);
	if (service->sweep_due_usec && service->sweep_due_usec <= now_usec + delay_usec)
		return;
	service->sweep_due_usec = now_usec + delay_usec;
	after.tv_sec = (time_t)(delay_usec / IG_USEC_PER_SEC);
	after.tv_usec = (suseconds_t)(delay_usec % IG_USEC_PER_SEC);
	(void)event_add(service->sweep_timer, &after);
}

/* How long the entry can be left alone; UINT64_MAX: until something happens to it. */
static uint64_t entry_delay_usec(
	const struct ig_token_entry *entry, uint64_t now_sec, uint64_t now_usec)
{
	uint64_t delay = UINT64_MAX;

	if (entry->token) {
		uint64_t due_sec = entry->token->expires_on_sec;

		if (entry->used && !entry->fetch && entry->refresh_on_sec < due_sec)
			due_sec = entry->refresh_on_sec;
		delay = due_sec > now_sec ? at_most(due_sec - now_sec, 1U << 31) * IG_USEC_PER_SEC
					  : 0;
	}
	if (entry->failure) {
		uint64_t quiet =
			entry->quiet_until_usec > now_usec ? entry->quiet_until_usec - now_usec : 0;

		delay = at_most(delay, quiet);
	}
	return delay;
}

static void arm_for(struct ig_token_service *service, const struct ig_token_entry *entry)
{
	uint64_t delay = entry_delay_usec(
		entry, ig_token_service_now_sec(service), service->clock.mono_usec());

	if (delay != UINT64_MAX)
		arm_sweep(service, delay);
}

/* ---- refresh --------------------------------------------------------------------------------- */

static void plan_refresh(struct ig_token_entry *entry, uint64_t now_sec)
{
	uint64_t life = life_sec(entry, now_sec);
	uint64_t after = life / 2 + jitter_sec(life / 10);

	entry->refresh_on_sec = now_sec + at_least(after, REFRESH_SPACING_MIN_SEC);
}

static void plan_retry(struct ig_token_entry *entry, uint64_t now_sec)
{
	uint64_t after = at_least(life_sec(entry, now_sec) / 20, REFRESH_SPACING_MIN_SEC);

	entry->refresh_on_sec = now_sec + at_most(after, REFRESH_RETRY_MAX_SEC);
}

static bool is_refresh_due(const struct ig_token_entry *entry, uint64_t now_sec)
{
	return entry->token && entry->used && !entry->fetch && now_sec >= entry->refresh_on_sec;
}

static void refresh(struct ig_token_service *service, struct ig_token_entry *entry)
{
	entry->used = false;
	if (ig_token_upstream_request(service, entry, entry->fairness, false, true) < 0) {
		/* no room: the token is still good, so later */
		entry->used = true;
		plan_retry(entry, ig_token_service_now_sec(service));
	}
}

void ig_token_refresh_note_use(
	struct ig_token_service *service, struct ig_token_entry *entry, uint64_t fairness)
{
	bool was_used = entry->used;

	entry->used = true;
	entry->fairness = fairness;
	if (is_refresh_due(entry, ig_token_service_now_sec(service))) {
		refresh(service, entry);
		ig_token_upstream_pump(service);
	}
	if (!was_used)
		arm_for(service, entry);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void remember_failure(struct ig_token_service *service, struct ig_token_entry *entry,
	const struct ig_token_failure *failure)
{
	struct ig_token_outcome *outcome =
		ig_token_outcome_failure(&service->outcomes, entry->ident, failure);

	(void)ig_token_outcome_unref(entry->failure);
	entry->failure = outcome ? outcome : ig_token_outcome_ref(service->out_of_memory);
}

/* For how long upstream is not asked again. A failure that may pass is answered with "try again in
 * a second", and whoever does that has to be heard: MSAL gives up after three tries a second apart.
 */
static uint64_t quiet_usec(const struct ig_token_failure *failure)
{
	uint64_t usec = IG_TOKEN_NEGATIVE_SEC * IG_USEC_PER_SEC;

	if (!failure)
		return usec;
	if (failure->kind == IG_TOKEN_UNAVAILABLE)
		usec = IG_TOKEN_UNAVAILABLE_MSEC * IG_USEC_PER_MSEC;
	return at_least(usec, failure->retry_after_sec * IG_USEC_PER_SEC);
}

void ig_token_refresh_settle(struct ig_token_service *service, struct ig_token_entry *entry,
	const struct ig_token *token, const struct ig_token_failure *failure)
{
	uint64_t now_sec = ig_token_service_now_sec(service);

	entry->quiet_until_usec = service->clock.mono_usec() + quiet_usec(failure);
	if (token) {
		struct ig_token *fresh = ig_token_ref(token);

		(void)ig_token_unref(entry->token);
		entry->token = fresh;
		entry->failure = ig_token_outcome_unref(entry->failure);
		entry->used = false;
		plan_refresh(entry, now_sec);
	} else {
		remember_failure(service, entry, failure);
		if (entry->token && now_sec >= entry->refresh_on_sec)
			plan_retry(entry, now_sec);
	}
	ig_token_deliver_answer(service, entry, token, failure);
	arm_for(service, entry);
}

/* ---- passing of time ------------------------------------------------------------------------- */

/* The entry may be gone afterwards. Returns what entry_delay_usec() says of what is left. */
static uint64_t sweep_entry(struct ig_token_service *service, struct ig_token_entry *entry,
	uint64_t now_sec, uint64_t now_usec)
{
	uint64_t delay;

	if (entry->token && entry->token->expires_on_sec <= now_sec)
		entry->token = ig_token_unref(entry->token);
	if (entry->failure && now_usec >= entry->quiet_until_usec)
		entry->failure = ig_token_outcome_unref(entry->failure);
	if (is_refresh_due(entry, now_sec))
		refresh(service, entry);
	delay = entry_delay_usec(entry, now_sec, now_usec);
	ig_token_cache_tidy(&service->cache, entry);
	return delay;
}

void ig_token_refresh_sweep(struct ig_token_service *service)
{
	uint64_t now_sec = ig_token_service_now_sec(service);
	uint64_t now_usec = service->clock.mono_usec();
	struct ig_token_entry *entry, *next;
	uint64_t delay = UINT64_MAX;

	service->sweep_due_usec = 0;
	(void)event_del(service->sweep_timer);
	for (entry = TAILQ_FIRST(&service->cache.by_use); entry; entry = next) {
		next = TAILQ_NEXT(entry, by_use);
		delay = at_most(delay, sweep_entry(service, entry, now_sec, now_usec));
	}
	if (delay != UINT64_MAX)
		arm_sweep(service, delay);
	ig_token_upstream_pump(service);
}
