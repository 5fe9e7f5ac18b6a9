/*
 * A syslog receiver as a sink; see sink_syslog.h. Runs in a thread of its own.
 *
 * Lines stay at the front of the queue after they were sent, until the receiver has most likely
 * read them: its machine has acknowledged them and some time has passed without the connection
 * breaking. After a break everything that is still in the queue is sent again. How much can wait
 * there is bounded, so a receiver whose machine does not acknowledge stops the sending, not the
 * agent.
 */
#include "audit/sink_syslog.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "audit/syslog_format.h"
#include "audit/worker.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#define CONFIRM_USEC	  (2 * IG_USEC_PER_SEC)
#define LOOK_USEC	  (50 * IG_USEC_PER_MSEC) /* while the peer's machine is behind */
#define STALL_USEC	  (30 * IG_USEC_PER_SEC)
#define END_USEC	  (1 * IG_USEC_PER_SEC) /* to get rid of the rest at the end */
#define BACKOFF_FIRST	  (100 * IG_USEC_PER_MSEC)
#define BACKOFF_LONGEST	  (10 * IG_USEC_PER_SEC)
#define RUN_ID_BYTES	  64
#define MESSAGE_BYTES	  (IG_AUDIT_LINE_BYTES + IG_SYSLOG_HEAD_BYTES)
#define FRAME_HEAD_DIGITS 8

struct sent {
	uint64_t usec; /* monotonic */
	size_t bytes;
};

struct syslog_sink {
	struct ig_audit_worker worker; /* the first member */
	struct ig_syslog_target target;
	SSL_CTX *tls; /* owned; NULL without */
	char *node;   /* owned */
	char run_id[RUN_ID_BYTES + 1];
	struct ig_syslog_conn conn;
	struct sent sent[IG_AUDIT_REPLAY_LINES]; /* a ring: the lines at the front of the queue */
	size_t first, n_sent, sent_bytes;
	size_t part; /* bytes of the line behind those that were sent already */
	uint64_t backoff_usec;
	struct ig_buf message, frame;
};

static struct ig_audit_queue *queue_of(const struct syslog_sink *sink)
{
	return sink->worker.sink.queue;
}

static bool has_to_stop(void *userdata)
{
	return ig_audit_queue_wait(queue_of(userdata), SIZE_MAX, 1) & IG_AUDIT_QUEUE_STOP;
}

/* ---- what was sent --------------------------------------------------------------------------- */

static void note_sent(struct syslog_sink *sink, size_t bytes)
{
	sink->sent[(sink->first + sink->n_sent) % IG_AUDIT_REPLAY_LINES] =
		(struct sent){.usec = ig_clock_mono_usec(), .bytes = bytes};
	sink->n_sent++;
	sink->sent_bytes += bytes;
}

static bool window_is_full(const struct syslog_sink *sink)
{
	return sink->n_sent == IG_AUDIT_REPLAY_LINES || sink->sent_bytes >= IG_AUDIT_REPLAY_BYTES;
}

/* Lets go of the lines that need not be sent again. at_end: time does not matter any more. */
static void confirm(struct syslog_sink *sink, bool at_end)
{
	size_t behind = ig_syslog_conn_unacknowledged(&sink->conn), n = 0;
	uint64_t now = ig_clock_mono_usec();

	while (sink->n_sent) {
		const struct sent *oldest = &sink->sent[sink->first];
		bool old = now - oldest->usec >= CONFIRM_USEC;

		if (sink->sent_bytes - oldest->bytes < behind ||
			!(old || at_end || window_is_full(sink)))
			break;
		sink->sent_bytes -= oldest->bytes;
		sink->first = (sink->first + 1) % IG_AUDIT_REPLAY_LINES;
		sink->n_sent--;
		n++;
	}
	if (!n)
		return;
	ig_audit_queue_delivered(queue_of(sink), n);
	sink->backoff_usec = BACKOFF_FIRST;
}

/* ---- sending --------------------------------------------------------------------------------- */

/* Everything, with patience for a receiver that is slow. Where it was left with -ECANCELED it goes
 * on with the same data. */
static int send_all(struct syslog_sink *sink, const char *data, size_t len)
{
	uint64_t deadline = ig_clock_mono_usec() + STALL_USEC;

	while (sink->part < len) {
		ssize_t n = ig_syslog_conn_send(&sink->conn, data + sink->part, len - sink->part);

		if (n > 0) {
			sink->part += (size_t)n;
			deadline = ig_clock_mono_usec() + STALL_USEC;
		} else if (n != -EAGAIN) {
			return n < 0 ? (int)n : -EPIPE;
		} else if (has_to_stop(sink)) {
			return -ECANCELED;
		} else if (ig_clock_mono_usec() > deadline) {
			return -ETIMEDOUT;
		}
	}
	sink->part = 0;
	return 0;
}

static int send_line(struct syslog_sink *sink, const struct ig_audit_line *line)
{
	struct ig_buf *out = &sink->message;
	int r;

	ig_buf_reset(out);
	ig_syslog_format(line, sink->node, sink->run_id, (uint32_t)getpid(), out);
	if (sink->target.transport != IG_SYSLOG_UNIX) {
		ig_buf_reset(&sink->frame);
		ig_buf_printf(&sink->frame, "%zu ", out->len);
		ig_buf_append(&sink->frame, out->data, out->len);
		out = &sink->frame;
	}
	r = ig_buf_finish(&sink->message);
	if (r == 0)
		r = ig_buf_finish(out);
	if (r == 0)
		r = send_all(sink, out->data, out->len);
	if (r == 0)
		note_sent(sink, out->len);
	return r;
}

/* What is new in the queue, as far as the window allows. */
static int send_queue(struct syslog_sink *sink)
{
	struct ig_audit_line *line;
	int r = 0;

	while (r == 0 && !window_is_full(sink) &&
		ig_audit_queue_peek(queue_of(sink), sink->n_sent, &line, 1) == 1) {
		r = send_line(sink, line);
		if (window_is_full(sink))
			confirm(sink, false);
	}
	return r;
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void hang_up(struct syslog_sink *sink)
{
	ig_syslog_conn_close(&sink->conn);
	sink->first = sink->n_sent = sink->sent_bytes = sink->part = 0;
}

/* It does not work; not at once again. Until lines were confirmed the pauses grow: a connection
 * that was made says little, a balancer without a receiver makes them, too. An order to reopen ends
 * the pause. */
static void fail(struct syslog_sink *sink, int error)
{
	ig_audit_queue_set_error(queue_of(sink), error);
	(void)ig_audit_queue_wait(
		queue_of(sink), SIZE_MAX, ig_clock_mono_usec() + sink->backoff_usec);
	sink->backoff_usec *= 2;
	if (sink->backoff_usec > BACKOFF_LONGEST)
		sink->backoff_usec = BACKOFF_LONGEST;
}

static void try_connect(struct syslog_sink *sink)
{
	int r = ig_syslog_conn_open(&sink->target, sink->tls, has_to_stop, sink, &sink->conn);

	if (r == 0)
		ig_audit_queue_set_error(queue_of(sink), 0);
	else
		fail(sink, r);
}

static uint64_t next_look(const struct syslog_sink *sink)
{
	uint64_t now = ig_clock_mono_usec(), due;

	if (!sink->n_sent)
		return 0;
	due = sink->sent[sink->first].usec + CONFIRM_USEC;
	return due <= now || window_is_full(sink) ? now + LOOK_USEC : due;
}

static int work(struct syslog_sink *sink)
{
	size_t seen = window_is_full(sink) ? SIZE_MAX : sink->n_sent;
	int r;

	(void)ig_audit_queue_wait(queue_of(sink), seen, next_look(sink));
	r = ig_syslog_conn_check(&sink->conn);
	if (r == 0)
		r = send_queue(sink);
	if (r == 0)
		r = ig_syslog_conn_check(&sink->conn);
	if (r == 0)
		confirm(sink, false);
	return r;
}

/* The agent ends: sends the rest and waits until the peer's machine has it. */
static void end(struct syslog_sink *sink)
{
	uint64_t deadline = ig_clock_mono_usec() + END_USEC;
	struct ig_audit_line *line;
	int r = 0;

	while (r == 0 && ig_clock_mono_usec() < deadline) {
		r = send_queue(sink);
		confirm(sink, true);
		if (!sink->n_sent && ig_audit_queue_peek(queue_of(sink), 0, &line, 1) == 0)
			break;
		if (sink->n_sent || r < 0)
			(void)usleep(LOOK_USEC / 10);
	}
}

static void run(struct ig_audit_worker *worker)
{
	struct syslog_sink *sink = (struct syslog_sink *)worker;

	sink->backoff_usec = BACKOFF_FIRST;
	while (!has_to_stop(sink)) {
		int r;

		if (sink->conn.fd < 0) {
			try_connect(sink);
			continue;
		}
		r = work(sink);
		if (r < 0 && r != -ECANCELED) {
			hang_up(sink);
			fail(sink, r);
		}
	}
	if (sink->conn.fd >= 0)
		end(sink);
	hang_up(sink);
}

/* ---- start and end --------------------------------------------------------------------------- */

static void destroy(struct syslog_sink *sink)
{
	(void)ig_audit_queue_free(sink->worker.sink.queue);
	ig_buf_done(&sink->message);
	ig_buf_done(&sink->frame);
	SSL_CTX_free(sink->tls);
	free(sink->node);
	free(sink);
}
IG_DEFINE_CLEANUP(struct syslog_sink *, destroy);

static void syslog_free(struct ig_audit_sink *base)
{
	struct syslog_sink *sink = (struct syslog_sink *)base;

	if (ig_audit_worker_done(&sink->worker)) /* else its thread may still use all this */
		destroy(sink);
}

static const struct ig_audit_sink_ops ops = {
	.name = "syslog", .finish = ig_audit_worker_finish, .free = syslog_free};

int ig_audit_sink_syslog_new(const struct ig_audit_syslog_options *options,
	struct ig_audit_sink **ret, struct ig_err *err)
{
	_cleanup_(destroyp) struct syslog_sink *sink = calloc(1, sizeof(*sink));
	int r = 0;

	if (!sink)
		return -ENOMEM;
	sink->conn.fd = -1;
	sink->target = options->target;
	sink->node = strdup(options->node);
	ig_buf_init(&sink->message, MESSAGE_BYTES);
	ig_buf_init(&sink->frame, MESSAGE_BYTES + FRAME_HEAD_DIGITS);
	(void)strncpy(sink->run_id, options->run_id, RUN_ID_BYTES);
	if (!sink->node)
		return -ENOMEM;
	if (options->target.transport == IG_SYSLOG_TLS)
		r = ig_syslog_tls_new(options->ca_file, &sink->tls, err);
	if (r == 0)
		r = ig_audit_worker_start(
			&sink->worker, &ops, run, options->queue_lines, options->queue_bytes);
	if (r < 0)
		return r;
	*ret = &TAKE_PTR(sink)->worker.sink;
	return 0;
}
