/*
 * An OpenTelemetry collector as a sink; see sink_otlp.h. Everything happens in the loop.
 *
 * A batch stays in the queue until the collector has answered. What may pass (no answer, 401, 403,
 * 429, 502, 503, 504) is tried again with growing pauses or when the collector says so; what it
 * refuses for good is lost and counted, since it would be refused for ever. A collector that
 * refuses everything gets the next batch after growing pauses, too: each loss is told in a record,
 * which would be lost in turn, and so on.
 */
#include "audit/sink_otlp.h"

#include <errno.h>
#include <event2/event.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

#define BATCH_MSEC	    1000 /* a line waits at most that long for others */
#define BACKOFF_FIRST_MSEC  1000
#define BACKOFF_LONGEST_SEC 60
#define RETRY_AFTER_MAX_SEC 300

struct otlp_sink {
	struct ig_audit_sink sink; /* the first member */
	struct event_base *base;
	struct ig_audit_poster poster; /* owned */
	struct event *timer;	       /* owned; for the next batch or attempt */
	struct ig_buf body;
	char *version, *node, *run_id; /* owned */
	size_t in_flight;	       /* lines at the front of the queue that were posted */
	uint64_t backoff_msec;	       /* of the last pause; 0: works */
	bool pausing;		       /* until the timer fires */
};

static void set_timer(struct otlp_sink *sink, uint64_t msec)
{
	const struct timeval delay = {
		.tv_sec = (time_t)(msec / 1000), .tv_usec = (suseconds_t)(msec % 1000) * 1000};

	(void)evtimer_add(sink->timer, &delay);
}

/* ---- answers --------------------------------------------------------------------------------- */

/* retry_after_sec: what the collector asks for; 0 or less: nothing, or more than it can take. */
static void take_a_break(struct otlp_sink *sink, int64_t retry_after_sec)
{
	uint64_t longest = BACKOFF_LONGEST_SEC * 1000ULL;

	sink->backoff_msec = sink->backoff_msec ? 2 * sink->backoff_msec : BACKOFF_FIRST_MSEC;
	if (sink->backoff_msec > longest)
		sink->backoff_msec = longest;
	if (retry_after_sec > RETRY_AFTER_MAX_SEC)
		retry_after_sec = RETRY_AFTER_MAX_SEC;
	sink->pausing = true;
	set_timer(
		sink, retry_after_sec > 0 ? (uint64_t)retry_after_sec * 1000 : sink->backoff_msec);
}

static void retry_later(struct otlp_sink *sink, int error, int64_t retry_after_sec)
{
	ig_audit_queue_set_error(sink->sink.queue, error);
	take_a_break(sink, retry_after_sec);
}

/* How many records of a batch the collector did not take although it took the batch. */
static size_t rejected_records(const struct ig_audit_post_reply *reply, size_t sent)
{
	_cleanup_(json_decrefp) json_t *json = ig_json_load(reply->body, reply->body_len, 0, NULL);
	const json_t *value =
		json_object_get(json_object_get(json, "partialSuccess"), "rejectedLogRecords");
	unsigned long long n = 0;
	const char *text = json_string_value(value);

	/* a 64-bit integer: a string, but readers have to take a number as well */
	if (json_is_integer(value) && json_integer_value(value) > 0)
		n = (unsigned long long)json_integer_value(value);
	for (; text && *text >= '0' && *text <= '9' && n <= sent; text++)
		n = 10 * n + (unsigned long long)(*text - '0');
	return n < sent ? (size_t)n : sent;
}

static int error_of_status(unsigned int status)
{
	switch (status) {
	case 401:
	case 403: return -EACCES;
	case 429: return -EBUSY;
	case 502:
	case 503:
	case 504: return -EREMOTEIO;
	default: return 0;
	}
}

static void schedule(struct otlp_sink *sink);

static void on_posted(const struct ig_audit_post_reply *reply, void *userdata)
{
	struct otlp_sink *sink = userdata;
	size_t sent = sink->in_flight, rejected;
	int error = reply->error ? reply->error : error_of_status(reply->status);

	sink->in_flight = 0;
	if (error) {
		retry_later(sink, error, reply->error ? -1 : reply->retry_after_sec);
		return;
	}
	ig_audit_queue_set_error(sink->sink.queue, 0);
	rejected = reply->status / 100 == 2 ? rejected_records(reply, sent) : sent;
	if (rejected)
		ig_log_warning("the collector refused audit records, they are lost to it",
			IG_KV_U64(STATUS, reply->status), IG_KV_U64(COUNT, rejected));
	ig_audit_queue_delivered(sink->sink.queue, sent - rejected);
	ig_audit_queue_drop(sink->sink.queue, rejected);
	if (rejected == sent)
		take_a_break(sink, 0);
	else
		sink->backoff_msec = 0;
	schedule(sink);
}

/* ---- batches --------------------------------------------------------------------------------- */

static size_t take_batch(struct otlp_sink *sink, struct ig_audit_line **lines)
{
	size_t n = ig_audit_queue_peek(sink->sink.queue, 0, lines, IG_AUDIT_OTLP_LINES), used = 0;
	size_t bytes = 0;

	while (used < n && (used == 0 || bytes + lines[used]->len <= IG_AUDIT_OTLP_TEXT_BYTES))
		bytes += lines[used++]->len;
	return used;
}

static void send_batch(struct otlp_sink *sink)
{
	const struct ig_otlp_resource resource = {
		.version = sink->version, .node = sink->node, .run_id = sink->run_id};
	struct ig_audit_line *lines[IG_AUDIT_OTLP_LINES];
	size_t n;
	int r;

	if (sink->in_flight)
		return;
	n = take_batch(sink, lines);
	if (!n)
		return;
	ig_buf_reset(&sink->body);
	ig_otlp_format(lines, n, &resource, &sink->body);
	r = ig_buf_finish(&sink->body);
	if (r == 0)
		r = sink->poster.post(
			sink->poster.self, sink->body.data, sink->body.len, on_posted, sink);
	if (r < 0)
		retry_later(sink, r, -1);
	else
		sink->in_flight = n;
}

/* A full batch goes at once, a smaller one waits for more. */
static void schedule(struct otlp_sink *sink)
{
	uint64_t queued = ig_audit_queue_stats(sink->sink.queue).queued;

	if (sink->in_flight || sink->pausing || !queued)
		return;
	if (queued >= IG_AUDIT_OTLP_LINES)
		send_batch(sink);
	else if (!evtimer_pending(sink->timer, NULL))
		set_timer(sink, BATCH_MSEC);
}

static void on_timer(evutil_socket_t fd, short what, void *userdata)
{
	struct otlp_sink *sink = userdata;

	(void)fd;
	(void)what;
	sink->pausing = false;
	send_batch(sink);
}

static void kick(struct ig_audit_sink *base)
{
	schedule((struct otlp_sink *)base);
}

/* ---- start and end --------------------------------------------------------------------------- */

static void on_end(evutil_socket_t fd, short what, void *userdata)
{
	(void)fd;
	(void)what;
	*(bool *)userdata = true;
}

/* Turns the loop itself, until everything is out, the collector fails, or the time is up. */
static void finish(struct ig_audit_sink *base, uint64_t deadline_usec)
{
	struct otlp_sink *sink = (struct otlp_sink *)base;
	uint64_t now = ig_clock_mono_usec(), left = deadline_usec > now ? deadline_usec - now : 0;
	const struct timeval delay = {.tv_sec = (time_t)(left / IG_USEC_PER_SEC),
		.tv_usec = (suseconds_t)(left % IG_USEC_PER_SEC)};
	bool is_over = false;
	struct event *end = evtimer_new(sink->base, on_end, &is_over);

	if (!end || evtimer_add(end, &delay) < 0)
		is_over = true;
	while (!is_over) {
		struct ig_audit_queue_stats stats = ig_audit_queue_stats(base->queue);

		if (stats.error || !stats.queued)
			break;
		send_batch(sink);
		if (event_base_loop(sink->base, EVLOOP_ONCE) != 0)
			break;
	}
	if (end)
		event_free(end);
}

static void destroy(struct otlp_sink *sink)
{
	if (sink->timer)
		event_free(sink->timer);
	(void)ig_audit_queue_free(sink->sink.queue);
	ig_buf_done(&sink->body);
	free(sink->version);
	free(sink->node);
	free(sink->run_id);
	free(sink);
}
IG_DEFINE_CLEANUP(struct otlp_sink *, destroy);

static void otlp_free(struct ig_audit_sink *base)
{
	struct otlp_sink *sink = (struct otlp_sink *)base;

	sink->poster.free(sink->poster.self);
	destroy(sink);
}

static const struct ig_audit_sink_ops ops = {
	.name = "otlp", .kick = kick, .finish = finish, .free = otlp_free};

int ig_audit_sink_otlp_new(const struct ig_audit_otlp_options *options, struct ig_audit_sink **ret)
{
	_cleanup_(destroyp) struct otlp_sink *sink = calloc(1, sizeof(*sink));
	int r;

	if (!sink)
		return -ENOMEM;
	sink->sink.ops = &ops;
	sink->base = options->base;
	ig_buf_init(&sink->body, IG_AUDIT_OTLP_BYTES);
	sink->version = strdup(options->resource.version);
	sink->node = strdup(options->resource.node);
	sink->run_id = strdup(options->resource.run_id);
	sink->timer = evtimer_new(options->base, on_timer, sink);
	if (!sink->version || !sink->node || !sink->run_id || !sink->timer)
		return -ENOMEM;
	r = ig_audit_queue_new(options->queue_lines ? options->queue_lines : IG_AUDIT_QUEUE_LINES,
		options->queue_bytes ? options->queue_bytes : IG_AUDIT_QUEUE_BYTES,
		&sink->sink.queue);
	if (r < 0)
		return r;
	sink->poster = options->poster;
	*ret = &TAKE_PTR(sink)->sink;
	return 0;
}
