/*
 * Metadata documents; see documents.h. Called by serve.c for every route below /metadata that is
 * neither a token's nor answered from memory.
 *
 * It must never send upstream what it did not put together itself, never ask twice for what is
 * already on its way and may be shared, and never decide who may have what: document_request.c
 * does.
 */
#include "agent/documents.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "http/client.h"

/* One document that is wanted: queued while call is NULL, else being asked for. */
struct fetch {
	TAILQ_ENTRY(fetch) link;
	struct ig_documents *documents;
	struct ig_imds_document document;
	uint64_t fairness; /* of the workload that asked first */
	uint64_t wanted_usec;
	uint64_t started_usec; /* 0: not yet */
	struct ig_http_call *call;
	TAILQ_HEAD(, ig_documents_waiter) waiters;
};

struct ig_documents_waiter {
	TAILQ_ENTRY(ig_documents_waiter) link;
	struct fetch *fetch;
	ig_documents_done *done;
	void *userdata;
};

struct cached {
	TAILQ_ENTRY(cached) link;
	struct ig_imds_document document;
	struct ig_imds_reply reply; /* owned */
	uint64_t expires_usec;
};

struct ig_documents {
	struct ig_http_client *client; /* the caller's */
	char *imds_url;		       /* owned */
	uint64_t (*mono_usec)(void);
	struct event *pump;		    /* owned */
	TAILQ_HEAD(fetches, fetch) fetches; /* oldest first; all have the same patience */
	size_t n_fetches, n_running;
	uint64_t starts_usec[IG_DOCUMENT_PER_SEC]; /* ring of the last starts; 0: never */
	size_t oldest_start;
	uint64_t paused_until_usec; /* upstream asked for it */
	uint64_t last_fairness;	    /* whose fetch was started last */
	TAILQ_HEAD(, cached) cache; /* least recently used first */
	size_t n_cached, cached_bytes;
	uint64_t hits, misses;
	ig_documents_call_ended *call_ended; /* may be NULL */
	void *userdata;
};

IG_DEFINE_CLEANUP(struct ig_documents *, ig_documents_free);

/* ---- cache ----------------------------------------------------------------------------------- */

static void cached_free(struct ig_documents *documents, struct cached *cached)
{
	TAILQ_REMOVE(&documents->cache, cached, link);
	documents->n_cached--;
	documents->cached_bytes -= cached->reply.body.len;
	ig_imds_reply_done(&cached->reply);
	free(cached);
}

/* NULL when there is none that is young enough. */
static struct cached *cache_get(
	struct ig_documents *documents, const struct ig_imds_document *document)
{
	struct cached *cached;

	TAILQ_FOREACH (cached, &documents->cache, link)
		if (ig_imds_document_equal(&cached->document, document))
			break;
	if (!cached)
		return NULL;
	if (cached->expires_usec <= documents->mono_usec()) {
		cached_free(documents, cached);
		return NULL;
	}
	TAILQ_REMOVE(&documents->cache, cached, link);
	TAILQ_INSERT_TAIL(&documents->cache, cached, link);
	return cached;
}

/* Takes *reply when it keeps it, which it does not without memory, nor when it is for one request
 * alone. There is none for it yet: as long as one is fresh, nobody asks for another. */
static struct cached *cache_put(struct ig_documents *documents,
	const struct ig_imds_document *document, struct ig_imds_reply *reply)
{
	unsigned int shared_sec = ig_imds_document_shared_sec(document);
	struct cached *cached = shared_sec ? calloc(1, sizeof(*cached)) : NULL;

	if (!cached)
		return NULL;
	cached->document = *document;
	cached->reply = *reply;
	*reply = (struct ig_imds_reply){};
	cached->expires_usec = documents->mono_usec() + shared_sec * IG_USEC_PER_SEC;
	TAILQ_INSERT_TAIL(&documents->cache, cached, link);
	documents->n_cached++;
	documents->cached_bytes += cached->reply.body.len;
	while (documents->n_cached > IG_DOCUMENT_CACHE_MAX ||
		documents->cached_bytes > IG_DOCUMENT_CACHE_BYTES)
		cached_free(documents, TAILQ_FIRST(&documents->cache));
	return cached;
}

/* ---- end of a fetch -------------------------------------------------------------------------- */

static void report(const struct fetch *fetch, enum ig_imds_error error)
{
	const struct ig_documents *documents = fetch->documents;
	uint64_t since = fetch->started_usec;

	if (documents->call_ended)
		documents->call_ended(
			error, since ? documents->mono_usec() - since : 0, documents->userdata);
}

/* Out of the list first: whoever is called may ask for the same document again. */
static void fetch_finish(struct fetch *fetch, const struct ig_documents_result *result)
{
	struct ig_documents_waiter *waiter;

	report(fetch, result->reply->error);
	TAILQ_REMOVE(&fetch->documents->fetches, fetch, link);
	fetch->documents->n_fetches--;
	while ((waiter = TAILQ_FIRST(&fetch->waiters)) != NULL) {
		ig_documents_done *done = waiter->done;
		void *userdata = waiter->userdata;

		TAILQ_REMOVE(&fetch->waiters, waiter, link);
		free(waiter);
		done(result, userdata);
	}
	free(fetch);
}

static void fetch_fail(
	struct fetch *fetch, enum ig_imds_error error, const char *reason, const char *message)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	struct ig_documents_result result = {.reply = &reply, .reason = reason, .message = message};

	(void)ig_imds_document_error(&fetch->document, error, &reply);
	fetch_finish(fetch, &result);
}

static void note_pause(struct ig_documents *documents, const struct ig_http_response *response)
{
	int64_t sec = response->retry_after_sec;

	if (response->status != 429)
		return;
	if (sec < 1)
		sec = 1;
	/* who waits now does not wait longer */
	if (sec > IG_DOCUMENT_TIMEOUT_SEC)
		sec = IG_DOCUMENT_TIMEOUT_SEC;
	documents->paused_until_usec = documents->mono_usec() + (uint64_t)sec * IG_USEC_PER_SEC;
}

static void no_response(struct fetch *fetch, const struct ig_http_response *response)
{
	switch (response->error) {
	case -E2BIG:
	case -EBADMSG:
	case -EINVAL:
	case -ENOMEM:
		fetch_fail(fetch, IG_IMDS_ERROR_SERVER, "upstream_broken", response->error_text);
		break;
	default:
		fetch_fail(fetch, IG_IMDS_ERROR_UNAVAILABLE, "upstream_unavailable",
			response->error_text);
		break;
	}
}

static void some_response(struct fetch *fetch, const struct ig_http_response *response)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	struct ig_documents_result result = {.reply = &reply, .reason = "fetched"};
	struct cached *cached = NULL;

	if (ig_imds_document_reply(&fetch->document, response->status, response->body,
		    response->body_len, &reply) < 0)
		result.reason = "out_of_memory";
	else if (reply.error == IG_IMDS_ERROR_UNAVAILABLE)
		result.reason = "upstream_unavailable";
	else if (reply.error != IG_IMDS_ERROR_NONE)
		result.reason = "upstream_broken";
	else if (reply.status == 200)
		cached = cache_put(fetch->documents, &fetch->document, &reply);
	if (cached)
		result.reply = &cached->reply;
	fetch_finish(fetch, &result);
}

static void arm(struct ig_documents *documents);

static void on_response(const struct ig_http_response *response, void *userdata)
{
	struct fetch *fetch = userdata;
	struct ig_documents *documents = fetch->documents;

	fetch->call = NULL;
	documents->n_running--;
	note_pause(documents, response);
	if (response->error < 0)
		no_response(fetch, response);
	else
		some_response(fetch, response);
	arm(documents);
}

/* ---- start of a fetch ------------------------------------------------------------------------ */

static int fetch_start(struct fetch *fetch, uint64_t now_usec)
{
	static const char *const headers[] = {"Metadata: true", NULL};
	struct ig_documents *documents = fetch->documents;
	_cleanup_free_ char *url = NULL;
	struct ig_http_call_options options = {
		.headers = headers,
		.timeout_usec =
			fetch->wanted_usec + IG_DOCUMENT_TIMEOUT_SEC * IG_USEC_PER_SEC - now_usec,
		.response_limit_bytes = IG_DOCUMENT_BYTES,
	};
	int r = ig_imds_document_url(documents->imds_url, &fetch->document, &url);

	if (r < 0)
		return r;
	options.url = url;
	r = ig_http_client_start(documents->client, &options, on_response, fetch, &fetch->call);
	if (r < 0)
		return r;
	fetch->started_usec = now_usec;
	documents->n_running++;
	documents->last_fairness = fetch->fairness;
	documents->starts_usec[documents->oldest_start] = now_usec;
	documents->oldest_start = (documents->oldest_start + 1) % IG_DOCUMENT_PER_SEC;
	return 0;
}

/* When it is too late to begin. */
static uint64_t turn_deadline_usec(const struct fetch *fetch)
{
	return fetch->wanted_usec + IG_DOCUMENT_TURN_SEC * IG_USEC_PER_SEC;
}

/* How long nothing may be started; 0: now. */
static uint64_t start_wait_usec(const struct ig_documents *documents, uint64_t now_usec)
{
	uint64_t oldest = documents->starts_usec[documents->oldest_start];
	uint64_t until = oldest ? oldest + IG_USEC_PER_SEC : 0;

	if (documents->paused_until_usec > until)
		until = documents->paused_until_usec;
	return until > now_usec ? until - now_usec : 0;
}

/* The oldest that nobody asks for yet, of another workload than the last one's if there is any. */
static struct fetch *next_in_turn(const struct ig_documents *documents)
{
	struct fetch *fetch, *own = NULL;

	TAILQ_FOREACH (fetch, &documents->fetches, link) {
		if (fetch->call)
			continue;
		if (fetch->fairness != documents->last_fairness)
			return fetch;
		if (!own)
			own = fetch;
	}
	return own;
}

static struct fetch *oldest_queued(const struct ig_documents *documents)
{
	struct fetch *fetch;

	TAILQ_FOREACH (fetch, &documents->fetches, link)
		if (!fetch->call)
			break;
	return fetch;
}

/* While all calls are taken only the deadline matters: the end of one arms this again. */
static void arm(struct ig_documents *documents)
{
	const struct fetch *oldest = oldest_queued(documents);
	uint64_t now_usec = documents->mono_usec();
	struct timeval after = {};
	uint64_t delay, wait;

	if (!oldest) {
		(void)event_del(documents->pump);
		return;
	}
	delay = turn_deadline_usec(oldest);
	delay = delay > now_usec ? delay - now_usec : 0;
	wait = start_wait_usec(documents, now_usec);
	if (documents->n_running < IG_DOCUMENT_CONCURRENCY && wait < delay)
		delay = wait;
	after.tv_sec = (time_t)(delay / IG_USEC_PER_SEC);
	after.tv_usec = (suseconds_t)(delay % IG_USEC_PER_SEC);
	(void)event_add(documents->pump, &after);
}

static void on_pump(evutil_socket_t fd, short what, void *arg)
{
	struct ig_documents *documents = arg;
	uint64_t now_usec = documents->mono_usec();
	struct fetch *fetch;

	(void)fd;
	(void)what;
	while ((fetch = oldest_queued(documents)) != NULL && turn_deadline_usec(fetch) <= now_usec)
		fetch_fail(fetch, IG_IMDS_ERROR_UNAVAILABLE, "timed_out_in_queue", NULL);
	while (documents->n_running < IG_DOCUMENT_CONCURRENCY &&
		start_wait_usec(documents, now_usec) == 0) {
		fetch = next_in_turn(documents);
		if (!fetch)
			break;
		if (fetch_start(fetch, now_usec) < 0)
			fetch_fail(fetch, IG_IMDS_ERROR_SERVER, "cannot_ask_upstream", NULL);
	}
	arm(documents);
}

/* ---- for those who ask ----------------------------------------------------------------------- */

int ig_documents_new(struct event_base *base, struct ig_http_client *client,
	const struct ig_documents_options *options, struct ig_documents **ret)
{
	_cleanup_(ig_documents_freep) struct ig_documents *documents =
		calloc(1, sizeof(*documents));

	if (!documents)
		return -ENOMEM;
	TAILQ_INIT(&documents->fetches);
	TAILQ_INIT(&documents->cache);
	documents->client = client;
	documents->mono_usec = options->mono_usec ? options->mono_usec : ig_clock_mono_usec;
	documents->call_ended = options->call_ended;
	documents->userdata = options->userdata;
	documents->imds_url = strdup(options->imds_url);
	documents->pump = evtimer_new(base, on_pump, documents);
	if (!documents->imds_url || !documents->pump)
		return -ENOMEM;
	*ret = TAKE_PTR(documents);
	return 0;
}

static void fetch_free(struct fetch *fetch)
{
	struct ig_documents_waiter *waiter;

	while ((waiter = TAILQ_FIRST(&fetch->waiters)) != NULL) {
		TAILQ_REMOVE(&fetch->waiters, waiter, link);
		free(waiter);
	}
	if (fetch->call) {
		ig_http_call_cancel(fetch->call);
		fetch->documents->n_running--;
	}
	TAILQ_REMOVE(&fetch->documents->fetches, fetch, link);
	fetch->documents->n_fetches--;
	free(fetch);
}

struct ig_documents *ig_documents_free(struct ig_documents *documents)
{
	if (!documents)
		return NULL;
	while (!TAILQ_EMPTY(&documents->fetches))
		fetch_free(TAILQ_FIRST(&documents->fetches));
	while (!TAILQ_EMPTY(&documents->cache))
		cached_free(documents, TAILQ_FIRST(&documents->cache));
	if (documents->pump)
		event_free(documents->pump);
	free(documents->imds_url);
	free(documents);
	return NULL;
}

/* One that somebody else waits for already, and that may be shared. */
static struct fetch *fetch_find(
	const struct ig_documents *documents, const struct ig_imds_document *document)
{
	struct fetch *fetch;

	if (!ig_imds_document_shared_sec(document))
		return NULL;
	TAILQ_FOREACH (fetch, &documents->fetches, link)
		if (ig_imds_document_equal(&fetch->document, document))
			break;
	return fetch;
}

static int fetch_new(struct ig_documents *documents, const struct ig_imds_document *document,
	uint64_t fairness, struct fetch **ret)
{
	struct fetch *fetch;
	size_t n = 0;

	if (documents->n_fetches >= IG_DOCUMENT_QUEUE_MAX)
		return -EBUSY;
	TAILQ_FOREACH (fetch, &documents->fetches, link)
		n += fetch->fairness == fairness;
	if (n >= IG_DOCUMENT_QUEUE_WORKLOAD_MAX)
		return -EDQUOT;
	fetch = calloc(1, sizeof(*fetch));
	if (!fetch)
		return -ENOMEM;
	fetch->documents = documents;
	fetch->document = *document;
	fetch->fairness = fairness;
	fetch->wanted_usec = documents->mono_usec();
	TAILQ_INIT(&fetch->waiters);
	TAILQ_INSERT_TAIL(&documents->fetches, fetch, link);
	documents->n_fetches++;
	*ret = fetch;
	return 0;
}

int ig_documents_get(struct ig_documents *documents, const struct ig_imds_document *document,
	uint64_t fairness, ig_documents_done *done, void *userdata,
	struct ig_documents_waiter **ret_waiter)
{
	_cleanup_free_ struct ig_documents_waiter *waiter = NULL;
	const struct timeval now = {};
	struct cached *cached;
	struct fetch *fetch;
	int r;

	if (document->flaw != IG_IMDS_ERROR_NONE)
		return -EINVAL;
	cached = cache_get(documents, document);
	if (cached) {
		documents->hits++;
		*ret_waiter = NULL;
		done(&(struct ig_documents_result){.reply = &cached->reply, .reason = "cached"},
			userdata);
		return 0;
	}
	waiter = calloc(1, sizeof(*waiter));
	if (!waiter)
		return -ENOMEM;
	fetch = fetch_find(documents, document);
	if (!fetch) {
		r = fetch_new(documents, document, fairness, &fetch);
		if (r < 0)
			return r;
	}
	waiter->fetch = fetch;
	waiter->done = done;
	waiter->userdata = userdata;
	TAILQ_INSERT_TAIL(&fetch->waiters, waiter, link);
	*ret_waiter = TAKE_PTR(waiter);
	documents->misses++;
	/* from the loop, so that nothing is called before this returns */
	(void)event_add(documents->pump, &now);
	return 0;
}

void ig_documents_cancel(struct ig_documents_waiter *waiter)
{
	struct fetch *fetch = waiter->fetch;

	TAILQ_REMOVE(&fetch->waiters, waiter, link);
	free(waiter);
	/* one that was started goes on: it has cost its turn, and the next may ask for the same */
	if (TAILQ_EMPTY(&fetch->waiters) && !fetch->call)
		fetch_free(fetch);
}

struct ig_documents_stats ig_documents_stats(const struct ig_documents *documents)
{
	return (struct ig_documents_stats){
		.hits = documents->hits,
		.misses = documents->misses,
		.cached = documents->n_cached,
		.queued = documents->n_fetches - documents->n_running,
	};
}
