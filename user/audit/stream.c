/*
 * The audit stream: numbers records, chains them, and brings each line to the sinks and the live
 * subscribers; see stream.h. Called by the agent, in its one event loop.
 *
 * It must never delay or fail a request because of a sink, and never lose a line without counting
 * it for the sink that lost it.
 *
 * What a sink lost is reported where it is missing, before anything else goes there: as an event
 * with a number of its own (reason: the sink's name), which all others see too. If no record comes
 * along to try with, a timer or the sink itself does.
 */
#include "audit/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "audit/stream_internal.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdutil.h"
#include "base/log.h"
#include "base/parse.h"

#define BOOT_ID_PATH "/proc/sys/kernel/random/boot_id"
#define RETRY_SEC    1

int ig_audit_format(const struct ig_audit *audit, const struct ig_audit_record *record,
	uint64_t seq, bool chained, struct ig_buf *b)
{
	const struct ig_audit_origin origin = {.boot_id = audit->boot_id,
		.run_id = audit->run_id,
		.node = audit->node,
		.prev = chained && audit->chain ? audit->prev : NULL};

	ig_buf_reset(b);
	ig_audit_encode(record, seq, &origin, b);
	return ig_buf_finish(b);
}

/* NULL when out of memory: the number is used up, the chain goes on from the line before. */
static struct ig_audit_line *make_line(struct ig_audit *audit, struct ig_audit_record *record)
{
	char hash[IG_AUDIT_HASH_BYTES + 1] = "";
	_cleanup_(ig_audit_line_unrefp) struct ig_audit_line *line = NULL;

	if (!record->time_usec)
		record->time_usec = ig_clock_real_usec();
	if (ig_audit_format(audit, record, audit->stats.emitted, true, &audit->text) < 0)
		return NULL;
	line = ig_audit_line_new(audit->text.data, audit->text.len);
	if (!line || (audit->chain && ig_audit_chain_next(line->text, line->len, hash) < 0))
		return NULL;
	line->kind = record->kind;
	line->decision = record->decision;
	line->seq = audit->stats.emitted;
	line->time_usec = record->time_usec;
	memcpy(audit->prev, hash, sizeof(hash));
	return TAKE_PTR(line);
}

/* reporter: the sink whose loss of `lost` lines this is; NULL without. */
static void publish(struct ig_audit *audit, const struct ig_audit_record *given,
	const struct ig_audit_sink *reporter, uint64_t lost)
{
	_cleanup_(ig_audit_line_unrefp) struct ig_audit_line *line = NULL;
	struct ig_audit_record record = *given;

	audit->stats.emitted++;
	audit->stats.by_kind[record.kind]++;
	if (record.kind == IG_AUDIT_EVENTS_LOST)
		audit->stats.last_loss_usec = ig_clock_real_usec();
	line = make_line(audit, &record);
	for (size_t i = 0; i < audit->n_sinks; i++) {
		struct ig_audit_sink *sink = audit->sinks[i].sink;

		if (sink != reporter || !line ||
			!ig_audit_queue_push_report(sink->queue, line, lost))
			(void)ig_audit_queue_push(sink->queue, line);
		if (sink->ops->kick)
			sink->ops->kick(sink);
	}
	if (line)
		ig_audit_recent_add(audit->recent, line);
	ig_audit_deliver(audit, line);
}

static void report_losses(struct ig_audit *audit)
{
	for (size_t i = 0; i < audit->n_sinks; i++) {
		struct ig_audit_sink *sink = audit->sinks[i].sink;
		const struct ig_audit_record notice = {.kind = IG_AUDIT_EVENTS_LOST,
			.reason = sink->ops->name,
			.count = ig_audit_queue_loss(sink->queue)};

		if (notice.count)
			publish(audit, &notice, sink, notice.count);
	}
}

static bool has_loss(const struct ig_audit *audit)
{
	for (size_t i = 0; i < audit->n_sinks; i++)
		if (ig_audit_queue_has_loss(audit->sinks[i].sink->queue))
			return true;
	return ig_audit_subscribers_have_loss(audit);
}

void ig_audit_arm_retry(struct ig_audit *audit)
{
	const struct timeval delay = {.tv_sec = RETRY_SEC};

	/* without the timer, the next record reports the loss */
	if (has_loss(audit) && !evtimer_pending(audit->retry, NULL))
		(void)evtimer_add(audit->retry, &delay);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct ig_audit *audit = arg;

	(void)fd;
	(void)what;
	report_losses(audit);
	ig_audit_subscribers_report(audit);
	ig_audit_arm_retry(audit);
}

void ig_audit_stand_by(struct ig_audit *audit, bool standby)
{
	audit->standby = standby;
}

void ig_audit_emit(struct ig_audit *audit, const struct ig_audit_record *record)
{
	if (audit->standby)
		return;
	report_losses(audit);
	publish(audit, record, NULL, 0);
	ig_audit_arm_retry(audit);
}

static void log_state(struct ig_audit *audit, size_t i)
{
	const struct ig_audit_sink *sink = audit->sinks[i].sink;
	struct ig_audit_queue_stats stats = ig_audit_queue_stats(sink->queue);

	if (!stats.error == !audit->sinks[i].error)
		return;
	audit->sinks[i].error = stats.error;
	if (stats.error)
		(void)ig_log_errno(stats.error, "an audit sink does not work, its lines wait",
			IG_KV_STR(NAME, sink->ops->name), IG_KV_U64(COUNT, stats.queued));
	else
		ig_log_info("an audit sink works again", IG_KV_STR(NAME, sink->ops->name),
			IG_KV_U64(COUNT, stats.lost));
}

static void on_sink_changed(evutil_socket_t fd, short what, void *arg)
{
	struct ig_audit *audit = arg;

	(void)what;
	for (size_t i = 0; i < audit->n_sinks; i++) {
		if (ig_audit_queue_notify_fd(audit->sinks[i].sink->queue) != fd)
			continue;
		ig_audit_queue_acknowledge(audit->sinks[i].sink->queue);
		log_state(audit, i);
	}
	report_losses(audit);
	ig_audit_arm_retry(audit);
}

int ig_audit_add_sink(struct ig_audit *audit, struct ig_audit_sink *sink)
{
	struct event *changed;

	if (audit->n_sinks >= IG_AUDIT_SINKS_MAX)
		return -E2BIG;
	changed = event_new(audit->base, ig_audit_queue_notify_fd(sink->queue),
		EV_READ | EV_PERSIST, on_sink_changed, audit);
	if (!changed || event_add(changed, NULL) < 0) {
		if (changed)
			event_free(changed);
		return -ENOMEM;
	}
	audit->sinks[audit->n_sinks].sink = sink;
	audit->sinks[audit->n_sinks++].changed = changed;
	return 0;
}

void ig_audit_reopen(struct ig_audit *audit)
{
	for (size_t i = 0; i < audit->n_sinks; i++)
		ig_audit_queue_reopen(audit->sinks[i].sink->queue);
}

struct ig_audit_stats ig_audit_stats(const struct ig_audit *audit)
{
	return audit->stats;
}

size_t ig_audit_sinks(const struct ig_audit *audit, struct ig_audit_sink_stats *ret)
{
	for (size_t i = 0; i < audit->n_sinks; i++)
		ret[i] = (struct ig_audit_sink_stats){.name = audit->sinks[i].sink->ops->name,
			.queue = ig_audit_queue_stats(audit->sinks[i].sink->queue)};
	return audit->n_sinks;
}

const char *ig_audit_run_id(const struct ig_audit *audit)
{
	return audit->run_id;
}

/* ---- start and end --------------------------------------------------------------------------- */

static int read_boot_id(char *buf)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	int r;

	r = ig_fd_read_file(AT_FDCWD, BOOT_ID_PATH, BOOT_ID_BYTES + 1, &text, &len);
	if (r < 0)
		return r;
	text[strcspn(text, "\n")] = '\0';
	if (!ig_parse_is_guid(text))
		return -EBADMSG;
	memcpy(buf, text, BOOT_ID_BYTES + 1);
	return 0;
}

static int make_run_id(char *buf)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char bytes[RUN_ID_BYTES / 2];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return -errno;
	for (size_t i = 0; i < sizeof(bytes); i++) {
		buf[2 * i] = digits[bytes[i] >> 4];
		buf[2 * i + 1] = digits[bytes[i] & 15];
	}
	buf[RUN_ID_BYTES] = '\0';
	return 0;
}

static struct ig_audit *audit_destroy(struct ig_audit *audit)
{
	ig_audit_subscribers_free(audit);
	for (size_t i = 0; i < audit->n_sinks; i++) {
		event_free(audit->sinks[i].changed);
		(void)ig_audit_sink_free(audit->sinks[i].sink);
	}
	if (audit->retry)
		event_free(audit->retry);
	(void)ig_audit_recent_free(audit->recent);
	ig_buf_done(&audit->text);
	free(audit->node);
	free(audit);
	return NULL;
}
IG_DEFINE_CLEANUP(struct ig_audit *, audit_destroy);

int ig_audit_new(
	struct event_base *base, const struct ig_audit_options *options, struct ig_audit **ret)
{
	_cleanup_(audit_destroyp) struct ig_audit *audit = calloc(1, sizeof(*audit));
	int r;

	if (!audit)
		return -ENOMEM;
	TAILQ_INIT(&audit->subscribers);
	ig_buf_init(&audit->text, IG_AUDIT_LINE_BYTES);
	audit->base = base;
	audit->chain = options->chain;
	audit->node = strdup(options->node);
	audit->retry = evtimer_new(base, on_retry, audit);
	if (!audit->node || !audit->retry)
		return -ENOMEM;
	r = ig_audit_recent_new(&audit->recent);
	if (r == 0)
		r = read_boot_id(audit->boot_id);
	if (r == 0)
		r = make_run_id(audit->run_id);
	if (r == 0)
		r = ig_audit_chain_first(audit->boot_id, audit->run_id, audit->prev);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(audit);
	return 0;
}

static void log_rest(const struct ig_audit_sink *sink)
{
	struct ig_audit_queue_stats stats = ig_audit_queue_stats(sink->queue);

	if (stats.queued)
		ig_log_err("an audit sink did not take everything before the end",
			IG_KV_STR(NAME, sink->ops->name), IG_KV_U64(COUNT, stats.queued));
}

/* Sinks in threads go on by themselves meanwhile, so those of the loop come first. */
static void finish_sinks(struct ig_audit *audit, bool in_loop, uint64_t deadline_usec)
{
	for (size_t i = 0; i < audit->n_sinks; i++) {
		struct ig_audit_sink *sink = audit->sinks[i].sink;

		if ((sink->ops->kick != NULL) != in_loop)
			continue;
		sink->ops->finish(sink, deadline_usec);
		log_rest(sink);
	}
}

struct ig_audit *ig_audit_free(struct ig_audit *audit)
{
	const uint64_t stop_usec = IG_AUDIT_STOP_MSEC * IG_USEC_PER_MSEC;
	uint64_t now = ig_clock_mono_usec();

	if (!audit)
		return NULL;
	/* nobody is to be called any more */
	ig_audit_subscribers_free(audit);
	report_losses(audit);
	(void)evtimer_del(audit->retry);
	for (size_t i = 0; i < audit->n_sinks; i++) {
		(void)event_del(audit->sinks[i].changed);
		ig_audit_queue_stop(audit->sinks[i].sink->queue);
	}
	finish_sinks(audit, true, now + stop_usec * 2 / 3);
	finish_sinks(audit, false, now + stop_usec);
	return audit_destroy(audit);
}
