/*
 * The reflector: which call comes next, when, and what its end means; see watch.h. One call at a
 * time (a page of the list, or the watch), and between calls one timer. What goes by in a body is
 * read by pick.c.
 *
 * It must never report as gone what no list, event or lasting 404 says is gone, never go on from a
 * resourceVersion that is behind one it has seen, and never ask again without a pause unless the
 * last call got it further. Nothing is logged here: reasons go to the owner as text.
 */
#include "kube/watch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <event2/event.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "kube/client.h"
#include "kube/paths.h"
#include "kube/watch_internal.h"

#define LIST_ACCEPT                                                                                \
	"application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
#define WATCH_ACCEPT "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"

/* ---- what comes next, and when --------------------------------------------------------------- */

static uint64_t random_number(uint64_t below)
{
	uint64_t number = 0;

	/* without random numbers there is no jitter, which harms nobody but the server */
	if (getrandom(&number, sizeof(number), GRND_NONBLOCK) != sizeof(number))
		return 0;
	return number % below;
}

static void schedule(struct ig_kube_watch *watch, enum ig_kube_phase phase, uint64_t delay_usec)
{
	const struct timeval after = {
		.tv_sec = (time_t)(delay_usec / IG_USEC_PER_SEC),
		.tv_usec = (suseconds_t)(delay_usec % IG_USEC_PER_SEC),
	};

	watch->phase = phase;
	(void)event_add(watch->timer, &after);
}

/* Anywhere between the shortest pause and a limit that doubles each time. */
static uint64_t backoff_usec(struct ig_kube_watch *watch)
{
	uint64_t min = IG_KUBE_BACKOFF_MIN_MSEC * IG_USEC_PER_MSEC;
	uint64_t max = IG_KUBE_BACKOFF_MAX_MSEC * IG_USEC_PER_MSEC;
	uint64_t limit = watch->attempts < 16 ? min << (watch->attempts + 1) : max;

	if (limit > max)
		limit = max;
	watch->attempts++;
	return min + watch->options.random(limit - min + 1);
}

/* Tries `phase` again later. */
static void retry(struct ig_kube_watch *watch, enum ig_kube_phase phase, int64_t retry_after_sec)
{
	uint64_t delay = backoff_usec(watch), asked = 0;

	if (retry_after_sec > IG_KUBE_RETRY_AFTER_SEC)
		retry_after_sec = IG_KUBE_RETRY_AFTER_SEC;
	if (retry_after_sec > 0)
		asked = (uint64_t)retry_after_sec * IG_USEC_PER_SEC +
			watch->options.random(IG_USEC_PER_SEC);
	ig_kube_watch_set_batch(watch, false);
	schedule(watch, phase, asked > delay ? asked : delay);
}

static void fail(struct ig_kube_watch *watch, enum ig_kube_phase phase, const char *why,
	int64_t retry_after_sec)
{
	watch->stats.errors++;
	ig_kube_watch_set_failing(watch, why);
	retry(watch, phase, retry_after_sec);
}

static void restart_list(struct ig_kube_watch *watch)
{
	free(watch->next);
	watch->next = NULL;
}

/* The history that we stand in is of no use any more. At once, unless that just happened. */
static void list_anew(struct ig_kube_watch *watch, const char *why)
{
	uint64_t since_usec = watch->options.mono_usec() - watch->listed_usec;
	bool at_once =
		watch->attempts == 0 &&
		(!watch->listed_usec || since_usec >= IG_KUBE_SHORT_WATCH_MSEC * IG_USEC_PER_MSEC);

	watch->stats.errors++;
	restart_list(watch);
	ig_kube_watch_set_failing(watch, why);
	retry(watch, IG_KUBE_PHASE_LIST, 0);
	if (at_once)
		schedule(watch, IG_KUBE_PHASE_LIST, 0);
}

static int on_data(const char *data, size_t len, void *userdata)
{
	struct ig_kube_watch *watch = userdata;

	watch->stats.bytes += len;
	return ig_kube_reader_feed(watch->reader, data, len);
}

/* ---- how a call ended ------------------------------------------------------------------------ */

/* "HTTP 403: pods is forbidden: …" */
static void explain(struct ig_kube_watch *watch, const struct ig_http_response *response)
{
	json_t *status = NULL;
	const char *message;

	if (response->error) {
		(void)snprintf(watch->why, sizeof(watch->why), "%s",
			response->error == -EBADMSG ? "the reply is malformed"
			: response->error_text	    ? response->error_text
						    : strerror(-response->error));
		return;
	}
	status = ig_json_load(response->body, response->body_len, JSON_REJECT_DUPLICATES, NULL);
	message = json_string_value(json_object_get(status, "message"));
	(void)snprintf(watch->why, sizeof(watch->why), "HTTP %u%s%.512s", response->status,
		message ? ": " : "", message ? message : "");
	json_decref(status);
}

/* The kind is not installed. What was there before may only be out of sight for a moment: an API
 * server that starts says 404, too, until it has found its kinds. */
static void become_absent(struct ig_kube_watch *watch)
{
	uint64_t now = watch->options.mono_usec();
	uint64_t spread = IG_KUBE_ABSENT_SEC * IG_USEC_PER_SEC / 5;

	restart_list(watch);
	if (!watch->absent_since_usec)
		watch->absent_since_usec = now;
	if (ig_kube_known_count(&watch->known) &&
		now - watch->absent_since_usec < IG_KUBE_ABSENT_CONFIRM_SEC * IG_USEC_PER_SEC) {
		fail(watch, IG_KUBE_PHASE_LIST, watch->why, -1);
		return;
	}
	watch->list++;
	ig_kube_watch_sweep(watch);
	watch->stats.complete = true;
	watch->stats.left_out = 0;
	watch->stats.resource_version[0] = '\0';
	watch->attempts = 0;
	ig_kube_watch_set_state(watch, IG_KUBE_WATCH_ABSENT, watch->why);
	schedule(watch, IG_KUBE_PHASE_LIST,
		IG_KUBE_ABSENT_SEC * IG_USEC_PER_SEC - spread +
			watch->options.random(2 * spread + 1));
}

static void become_forbidden(struct ig_kube_watch *watch, enum ig_kube_phase phase)
{
	watch->stats.errors++;
	ig_kube_watch_set_state(watch, IG_KUBE_WATCH_FORBIDDEN, watch->why);
	retry(watch, phase, -1);
}

/* What means the same for lists and watches; true if it was that. */
static bool common_end(struct ig_kube_watch *watch, const struct ig_http_response *response)
{
	if (response->error || response->status / 100 != 2)
		explain(watch, response);
	if (response->status != 404)
		watch->absent_since_usec = 0;
	switch (response->status) {
	case 401:
	case 403: become_forbidden(watch, watch->phase); return true;
	case 404: become_absent(watch); return true;
	default: return false;
	}
}

static void complete_list(struct ig_kube_watch *watch, const char *resource_version)
{
	restart_list(watch);
	ig_kube_watch_sweep(watch);
	watch->listed_usec = watch->options.mono_usec();
	(void)snprintf(watch->stats.resource_version, sizeof(watch->stats.resource_version), "%s",
		resource_version);
	watch->stats.complete = true;
	watch->stats.lists++;
	watch->refused = 0;
	watch->quiet = false;
	watch->list_failed = false;
	ig_kube_watch_set_synced(watch);
	schedule(watch, IG_KUBE_PHASE_WATCH, 0);
}

/* A page is complete, and there is another one. */
static void turn_page(struct ig_kube_watch *watch, const char *next)
{
	if ((watch->next && strcmp(watch->next, next) == 0) ||
		++watch->pages >= IG_KUBE_PAGES_MAX) {
		restart_list(watch);
		fail(watch, IG_KUBE_PHASE_LIST, "the list has no end", -1);
		return;
	}
	free(watch->next);
	watch->next = strdup(next);
	if (watch->next)
		schedule(watch, IG_KUBE_PHASE_LIST, 0);
	else
		fail(watch, IG_KUBE_PHASE_LIST, "out of memory", -1);
}

static void list_done(struct ig_kube_watch *watch, const struct ig_http_response *response,
	const struct ig_kube_reader *reader)
{
	watch->list_failed = true; /* until it is complete */
	if (common_end(watch, response))
		return;
	if (response->error || response->status / 100 != 2) {
		if (response->status == 410) {
			list_anew(watch, watch->why);
			return;
		}
		fail(watch, IG_KUBE_PHASE_LIST, watch->why, response->retry_after_sec);
		return;
	}
	if (ig_kube_reader_finish(reader) < 0) {
		fail(watch, IG_KUBE_PHASE_LIST, "the list is malformed or incomplete", -1);
		return;
	}
	watch->stats.heard_mono_usec = watch->options.mono_usec();
	watch->list_failed = false;
	if (ig_kube_reader_continue(reader)[0])
		turn_page(watch, ig_kube_reader_continue(reader));
	else
		complete_list(watch, ig_kube_reader_resource_version(reader));
}

/* The server ended it as it should: go on from where it stopped. */
static void resume(struct ig_kube_watch *watch)
{
	uint64_t lived_usec = watch->options.mono_usec() - watch->started_usec;

	watch->stats.heard_mono_usec = watch->options.mono_usec();
	watch->refused = 0;
	watch->quiet = false;
	ig_kube_watch_set_synced(watch);
	if (watch->stats.left_out) {
		restart_list(watch);
		retry(watch, IG_KUBE_PHASE_LIST, -1);
	} else if (lived_usec < IG_KUBE_SHORT_WATCH_MSEC * IG_USEC_PER_MSEC) {
		retry(watch, IG_KUBE_PHASE_WATCH, -1);
	} else {
		watch->attempts = 0;
		schedule(watch, IG_KUBE_PHASE_WATCH, 0);
	}
}

/* The server refuses the watch: later the same, and if that does not help, from the beginning. */
static void refused(struct ig_kube_watch *watch, int64_t retry_after_sec)
{
	bool enough = ++watch->refused >= IG_KUBE_WATCH_REFUSED_MAX;

	if (enough)
		restart_list(watch);
	fail(watch, enough ? IG_KUBE_PHASE_LIST : IG_KUBE_PHASE_WATCH, watch->why, retry_after_sec);
}

static bool is_good(const struct ig_kube_watch *watch)
{
	return watch->stats.state == IG_KUBE_WATCH_SYNCED ||
	       watch->stats.state == IG_KUBE_WATCH_TOO_MANY;
}

/* An API server sends no bookmarks of a kind that nobody has changed since it started. So silence
 * is no failure yet: see whether it still answers. */
static bool fell_quiet(struct ig_kube_watch *watch, const struct ig_http_response *response)
{
	uint64_t lived_usec = watch->options.mono_usec() - watch->started_usec;

	if (response->error != -ETIMEDOUT || watch->quiet || !is_good(watch) ||
		lived_usec < IG_KUBE_WATCH_IDLE_SEC * IG_USEC_PER_SEC)
		return false;
	watch->quiet = true;
	schedule(watch, IG_KUBE_PHASE_WATCH, 0);
	return true;
}

static void watch_done(struct ig_kube_watch *watch, const struct ig_http_response *response,
	const struct ig_kube_reader *reader)
{
	if (watch->verdict == IG_KUBE_VERDICT_LIST_ANEW) {
		list_anew(watch, watch->why);
	} else if (watch->verdict == IG_KUBE_VERDICT_BUSY) {
		fail(watch, IG_KUBE_PHASE_WATCH, watch->why, watch->retry_after_sec);
	} else if (watch->verdict == IG_KUBE_VERDICT_REFUSED) {
		refused(watch, watch->retry_after_sec);
	} else if (common_end(watch, response) || fell_quiet(watch, response)) {
		return;
	} else if (response->error == -EBADMSG) {
		refused(watch, -1);
	} else if (response->error) {
		fail(watch, IG_KUBE_PHASE_WATCH, watch->why, -1);
	} else if (response->status == 410) {
		list_anew(watch, watch->why);
	} else if (response->status == 429 || response->status == 503) {
		fail(watch, IG_KUBE_PHASE_WATCH, watch->why, response->retry_after_sec);
	} else if (response->status / 100 != 2) {
		refused(watch, response->retry_after_sec);
	} else if (ig_kube_reader_finish(reader) < 0) {
		fail(watch, IG_KUBE_PHASE_WATCH, "the watch ended inside an event", -1);
	} else {
		resume(watch);
	}
}

static void on_done(const struct ig_http_response *response, void *userdata)
{
	struct ig_kube_watch *watch = userdata;
	_cleanup_(ig_kube_reader_freep) struct ig_kube_reader *reader = TAKE_PTR(watch->reader);

	watch->call = NULL;
	if (watch->phase == IG_KUBE_PHASE_LIST)
		list_done(watch, response, reader);
	else
		watch_done(watch, response, reader);
}

/* ---- calls ----------------------------------------------------------------------------------- */

static int start_call(struct ig_kube_watch *watch, const struct ig_buf *path,
	enum ig_kube_body body, const char *accept, uint64_t timeout_sec, uint64_t idle_sec)
{
	const struct ig_kube_request request = {
		.method = "GET",
		.path = path->data,
		.accept = watch->options.metadata_only ? accept : NULL,
		.timeout_usec = timeout_sec * IG_USEC_PER_SEC,
		.idle_timeout_usec = idle_sec * IG_USEC_PER_SEC,
		.response_limit_bytes = IG_KUBE_STATUS_BYTES,
		.on_data = on_data,
	};
	int r = ig_buf_finish(path);

	if (r == 0)
		r = ig_kube_reader_new(
			body, watch->options.fields, ig_kube_watch_take, watch, &watch->reader);
	if (r == 0)
		r = ig_kube_client_start(watch->client, &request, on_done, watch, &watch->call);
	if (r < 0)
		watch->reader = ig_kube_reader_free(watch->reader);
	watch->started_usec = watch->options.mono_usec();
	return r;
}

static int start_list(struct ig_kube_watch *watch)
{
	_cleanup_(ig_buf_donep) struct ig_buf path = {};
	const char *seen = watch->stats.resource_version;
	const char *at_least = "";

	if (watch->options.from_cache && !watch->list_failed)
		at_least = seen[0] ? seen : "0";
	if (!watch->next) {
		watch->list++;
		watch->pages = 0;
		watch->stats.left_out = 0;
	}
	ig_buf_init(&path, IG_KUBE_PATH_BYTES);
	ig_kube_path_list(
		&path, watch->path, watch->query, watch->next ? watch->next : "", at_least);
	return start_call(watch, &path, IG_KUBE_BODY_LIST, LIST_ACCEPT, IG_KUBE_LIST_TIMEOUT_SEC,
		IG_KUBE_LIST_IDLE_SEC);
}

/* After a failure, or when nothing was heard for long, the first watch is a short one: without
 * events, its orderly end is what shows that the connection works. */
static int start_watch(struct ig_kube_watch *watch)
{
	_cleanup_(ig_buf_donep) struct ig_buf path = {};
	uint64_t timeout_sec = IG_KUBE_PROBE_SEC;

	if (is_good(watch) && !watch->quiet)
		timeout_sec =
			IG_KUBE_WATCH_MIN_SEC +
			watch->options.random(IG_KUBE_WATCH_MAX_SEC - IG_KUBE_WATCH_MIN_SEC + 1);
	watch->verdict = IG_KUBE_VERDICT_NONE;
	watch->retry_after_sec = -1;
	watch->stats.watches++;
	ig_buf_init(&path, IG_KUBE_PATH_BYTES);
	ig_kube_path_watch(
		&path, watch->path, watch->query, watch->stats.resource_version, timeout_sec);
	return start_call(watch, &path, IG_KUBE_BODY_WATCH, WATCH_ACCEPT,
		timeout_sec + IG_KUBE_WATCH_GRACE_SEC, IG_KUBE_WATCH_IDLE_SEC);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct ig_kube_watch *watch = arg;
	int r = watch->phase == IG_KUBE_PHASE_LIST ? start_list(watch) : start_watch(watch);

	(void)fd;
	(void)what;
	if (r == 0)
		return;
	(void)snprintf(
		watch->why, sizeof(watch->why), "cannot start the request: %s", strerror(-r));
	fail(watch, watch->phase, watch->why, -1);
}

/* ---- the watch ------------------------------------------------------------------------------- */

int ig_kube_watch_new(struct event_base *base, struct ig_kube_client *client,
	const struct ig_kube_watch_options *options, const struct ig_kube_watch_ops *ops,
	void *userdata, struct ig_kube_watch **ret)
{
	_cleanup_(ig_kube_watch_freep) struct ig_kube_watch *watch = NULL;

	if (options->path[0] != '/')
		return -EINVAL;
	watch = calloc(1, sizeof(*watch));
	if (!watch)
		return -ENOMEM;
	watch->client = client;
	watch->options = *options;
	if (!watch->options.mono_usec)
		watch->options.mono_usec = ig_clock_mono_usec;
	if (!watch->options.random)
		watch->options.random = random_number;
	watch->ops = *ops;
	watch->userdata = userdata;
	watch->options.path = watch->path = strdup(options->path);
	watch->query = options->query ? strdup(options->query) : NULL;
	watch->options.query = watch->query;
	watch->reserved_ns = options->reserved_ns ? strdup(options->reserved_ns) : NULL;
	watch->options.reserved_ns = watch->reserved_ns;
	watch->timer = evtimer_new(base, on_timer, watch);
	if (!watch->path || (options->query && !watch->query) ||
		(options->reserved_ns && !watch->reserved_ns) || !watch->timer)
		return -ENOMEM;
	schedule(watch, IG_KUBE_PHASE_LIST, 0);
	*ret = TAKE_PTR(watch);
	return 0;
}

struct ig_kube_watch *ig_kube_watch_free(struct ig_kube_watch *watch)
{
	if (!watch)
		return NULL;
	if (watch->call)
		ig_kube_call_cancel(watch->call);
	(void)ig_kube_reader_free(watch->reader);
	if (watch->timer)
		event_free(watch->timer);
	ig_kube_known_done(&watch->known);
	free(watch->next);
	free(watch->path);
	free(watch->query);
	free(watch->reserved_ns);
	free(watch);
	return NULL;
}

void ig_kube_watch_stats(const struct ig_kube_watch *watch, struct ig_kube_watch_stats *ret)
{
	*ret = watch->stats;
	ret->objects = ig_kube_known_count(&watch->known);
}
