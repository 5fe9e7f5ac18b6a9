/*
 * The audit file as a sink; see sink_file.h. Everything here but the constructor and the end runs
 * in the sink's own thread, so a disk that hangs holds up nobody.
 *
 * It must never leave half a line in a file: one that the disk took only in part is completed when
 * there is room again, or cut off before the file is given up. Lines wait in the queue while the
 * disk is full; what does not fit there any more is counted by the queue.
 */
#include "audit/sink_file.h"

#include <errno.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/uio.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "audit/file.h"
#include "audit/worker.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

#define SYNC_USEC	 IG_USEC_PER_SEC
#define RETRY_USEC	 IG_USEC_PER_SEC
#define LOCK_USEC	 (IG_USEC_PER_SEC / 2)
#define LOCK_LOOK_MSEC	 10
#define HALF_LINE_USEC	 ((IG_DRAIN_SEC + 15) * IG_USEC_PER_SEC) /* no other agent is left then */
#define ROTATE_WAIT_USEC (60 * IG_USEC_PER_SEC)			 /* after a rotation that failed */

/* At the end: who completes its own tries once in RETRY_USEC; what is left of IG_AUDIT_STOP_MSEC is
 * for writing. */
#define HALF_LINE_STOP_USEC (RETRY_USEC + IG_USEC_PER_SEC / 10)

struct file_sink {
	struct ig_audit_worker worker; /* the first member */
	struct ig_audit_file_options options;
	struct ig_audit_file file;
	size_t torn;			 /* bytes of the oldest line that are in the file already */
	uint64_t sync_usec;		 /* monotonic; when to sync; 0: nothing to */
	uint64_t rotate_not_before_usec; /* monotonic */
	int error;			 /* of the last write; 0: it works */
	bool locked;
	bool lock_refused; /* somebody else has had it for too long */
};

/* ---- the thread ------------------------------------------------------------------------------ */

/* Two agents write to one file while one takes over from the other: whole lines under the lock of
 * the file, and one of them rotates. A file system without locks has one writer, or mixes lines of
 * which the disk took only a part. */
static bool try_lock(const struct file_sink *sink)
{
	int r;

	do
		r = flock(sink->file.fd, LOCK_EX | LOCK_NB);
	while (r < 0 && errno == EINTR);
	return r == 0 || errno != EWOULDBLOCK;
}

/* There is half a line of somebody else's, which is not to be written behind. Who has not completed
 * it by then is gone, by a crash most likely; it is ended here. */
static bool is_half_line_in_the_way(struct file_sink *sink, uint64_t until_usec)
{
	if (sink->torn || ig_audit_file_is_whole(&sink->file))
		return false;
	return ig_clock_mono_usec() < until_usec || ig_audit_file_end_line(&sink->file) < 0;
}

/* Whoever ends has no time for all of that. */
static uint64_t half_line_usec(const struct file_sink *sink, bool stops)
{
	return stops && sink->options.half_line_usec > HALF_LINE_STOP_USEC
		       ? HALF_LINE_STOP_USEC
		       : sink->options.half_line_usec;
}

/* Another agent has the lock for as long as a write takes, or until its half line is complete. But
 * whoever may read the file can lock it, too, and must not keep the audit from being written. */
static void wait_for_lock(struct file_sink *sink)
{
	const uint64_t now = ig_clock_mono_usec();
	const uint64_t until = sink->lock_refused ? 0 : now + LOCK_USEC;
	bool stops = ig_audit_queue_has_to_stop(sink->worker.sink.queue);
	uint64_t half_until = now + half_line_usec(sink, stops);

	while (!sink->locked &&
		(ig_clock_mono_usec() < until || is_half_line_in_the_way(sink, half_until))) {
		(void)poll(NULL, 0, LOCK_LOOK_MSEC);
		sink->locked = try_lock(sink);
		if (stops || !ig_audit_queue_has_to_stop(sink->worker.sink.queue))
			continue;
		stops = true;
		if (half_until > ig_clock_mono_usec() + half_line_usec(sink, stops))
			half_until = ig_clock_mono_usec() + half_line_usec(sink, stops);
	}
	if (!sink->locked && !sink->lock_refused)
		ig_log_warning("somebody keeps the audit file locked, writing to it all the same",
			IG_KV_STR(FILE, sink->file.name));
}

static void lock(struct file_sink *sink)
{
	if (sink->locked || !sink->file.is_regular)
		return;
	sink->locked = try_lock(sink);
	if (!sink->locked)
		wait_for_lock(sink);
	sink->lock_refused = !sink->locked;
}

/* Nobody may write behind half a line. */
static void unlock(struct file_sink *sink)
{
	if (!sink->locked || sink->torn)
		return;
	(void)flock(sink->file.fd, LOCK_UN);
	sink->locked = false;
}

/* Another file has taken the place of the one that was locked. */
static void lock_anew(struct file_sink *sink)
{
	sink->locked = false;
	lock(sink);
}

/* A line that is only half there goes to the next file as a whole. */
static void cut_torn_line(struct file_sink *sink)
{
	if (sink->torn && ig_audit_file_cut(&sink->file, sink->torn) == 0)
		sink->torn = 0;
}

static void reopen(struct file_sink *sink)
{
	int r;

	cut_torn_line(sink);
	(void)ig_audit_file_sync(&sink->file);
	r = ig_audit_file_reopen(&sink->file);
	if (r < 0)
		(void)ig_log_errno(r, "cannot open the audit file again, going on with the old one",
			IG_KV_STR(FILE, sink->file.name));
	else
		sink->torn = 0;
	if (r == 0)
		lock_anew(sink);
}

static void rotate(struct file_sink *sink)
{
	int r;

	if (sink->options.fsync != IG_AUDIT_FSYNC_NONE)
		(void)ig_audit_file_sync(&sink->file);
	r = ig_audit_file_rotate(&sink->file, sink->options.keep);
	if (r < 0) {
		sink->rotate_not_before_usec = ig_clock_mono_usec() + ROTATE_WAIT_USEC;
		(void)ig_log_errno(r, "cannot rotate the audit file, going on with it",
			IG_KV_STR(FILE, sink->file.name));
		return;
	}
	lock_anew(sink);
}

static bool may_rotate(const struct file_sink *sink)
{
	return sink->file.size_bytes > 0 && !sink->torn &&
	       ig_clock_mono_usec() >= sink->rotate_not_before_usec;
}

static bool is_too_large(const struct file_sink *sink, size_t more)
{
	return sink->options.rotate_bytes &&
	       sink->file.size_bytes + more > sink->options.rotate_bytes;
}

/* Microseconds until the file is too old; UINT64_MAX: never. */
static uint64_t age_left(const struct file_sink *sink)
{
	uint64_t now = ig_clock_real_usec(), until;

	if (!sink->options.rotate_usec || !sink->file.size_bytes)
		return UINT64_MAX;
	until = sink->file.created_usec + sink->options.rotate_usec;
	return until > now ? until - now : 0;
}

/* Lines for one write: *ret_n of them, the first without what is in the file already. */
static size_t make_iovec(const struct file_sink *sink, struct ig_audit_line *const *lines, size_t n,
	struct iovec *iov)
{
	size_t bytes = 0, used = 0;

	for (; used < n; used++) {
		size_t skip = used == 0 ? sink->torn : 0, len = lines[used]->len - skip;

		if (used && (is_too_large(sink, bytes + len) || bytes + len > IG_AUDIT_BATCH_BYTES))
			break;
		iov[used] = (struct iovec){.iov_base = lines[used]->text + skip, .iov_len = len};
		bytes += len;
	}
	return used;
}

/* How many lines are complete after a write of `bytes`. */
static size_t account(struct file_sink *sink, const struct iovec *iov, size_t n, size_t bytes)
{
	size_t whole = 0;

	sink->file.size_bytes += bytes;
	while (whole < n && bytes >= iov[whole].iov_len)
		bytes -= iov[whole++].iov_len;
	sink->torn = bytes + (whole == 0 ? sink->torn : 0);
	return whole;
}

static int write_lines(struct file_sink *sink, struct ig_audit_line *const *lines, size_t n)
{
	struct iovec iov[IG_AUDIT_BATCH_LINES];
	size_t whole;
	ssize_t bytes;

	if (is_too_large(sink, lines[0]->len) && may_rotate(sink))
		rotate(sink);
	n = make_iovec(sink, lines, n, iov);
	do
		bytes = writev(sink->file.fd, iov, (int)n);
	while (bytes < 0 && errno == EINTR);
	if (bytes < 0)
		return -errno;
	whole = account(sink, iov, n, (size_t)bytes);
	if (whole && !sink->sync_usec)
		sink->sync_usec = ig_clock_mono_usec() + SYNC_USEC;
	if (whole && sink->options.fsync == IG_AUDIT_FSYNC_ALWAYS) {
		int r = ig_audit_file_sync(&sink->file);

		if (r < 0)
			(void)ig_log_errno(r, "cannot sync the audit file");
		sink->sync_usec = 0;
	}
	ig_audit_queue_delivered(sink->worker.sink.queue, whole);
	return whole == n ? 0 : -ENOSPC;
}

/* Deleted, or rotated by the other writer. */
static bool is_replaced(struct file_sink *sink)
{
	return ig_audit_file_look(&sink->file) == -ESTALE ||
	       (sink->options.rotate_bytes && !ig_audit_file_is_current(&sink->file));
}

/* Until the queue is empty, or until it fails. */
static int write_queue(struct file_sink *sink)
{
	struct ig_audit_line *lines[IG_AUDIT_BATCH_LINES];
	size_t n;
	int r = 0;

	if (is_replaced(sink))
		reopen(sink);
	while (r == 0 && (n = ig_audit_queue_peek(
				  sink->worker.sink.queue, 0, lines, IG_AUDIT_BATCH_LINES)) > 0)
		r = write_lines(sink, lines, n);
	return r;
}

static void sync_if_due(struct file_sink *sink)
{
	int r;

	if (sink->options.fsync != IG_AUDIT_FSYNC_INTERVAL)
		sink->sync_usec = 0;
	if (!sink->sync_usec || ig_clock_mono_usec() < sink->sync_usec)
		return;
	sink->sync_usec = 0;
	r = ig_audit_file_sync(&sink->file);
	if (r < 0)
		(void)ig_log_errno(r, "cannot sync the audit file");
}

/* When to look again without being told to; 0: not at all. */
static uint64_t next_deadline(const struct file_sink *sink)
{
	uint64_t now = ig_clock_mono_usec(), next = UINT64_MAX, left = age_left(sink);

	if (sink->error)
		next = now + RETRY_USEC;
	if (sink->sync_usec && sink->sync_usec < next)
		next = sink->sync_usec;
	if (left != UINT64_MAX && !sink->torn && now + left < next)
		next = now + left > sink->rotate_not_before_usec ? now + left
								 : sink->rotate_not_before_usec;
	return next == UINT64_MAX ? 0 : next;
}

static void run(struct ig_audit_worker *worker)
{
	struct file_sink *sink = (struct file_sink *)worker;
	struct ig_audit_queue *queue = worker->sink.queue;

	for (;;) {
		size_t seen = sink->error ? ig_audit_queue_stats(queue).queued : 0;
		unsigned int what = ig_audit_queue_wait(queue, seen, next_deadline(sink));

		lock(sink);
		if (what & IG_AUDIT_QUEUE_REOPEN)
			reopen(sink);
		if (age_left(sink) == 0 && may_rotate(sink))
			rotate(sink);
		sink->error = write_queue(sink);
		unlock(sink);
		ig_audit_queue_set_error(queue, sink->error);
		if (what & IG_AUDIT_QUEUE_STOP)
			break;
		sync_if_due(sink);
	}
	cut_torn_line(sink);
	if (sink->options.fsync != IG_AUDIT_FSYNC_NONE)
		(void)ig_audit_file_sync(&sink->file);
}

/* ---- start and end --------------------------------------------------------------------------- */

static void file_free(struct ig_audit_sink *base)
{
	struct file_sink *sink = (struct file_sink *)base;

	if (!ig_audit_worker_done(&sink->worker))
		return; /* its thread hangs and may still use all this */
	(void)ig_audit_queue_free(sink->worker.sink.queue);
	ig_audit_file_done(&sink->file);
	free(sink);
}

static const struct ig_audit_sink_ops ops = {
	.name = "file", .finish = ig_audit_worker_finish, .free = file_free};

int ig_audit_sink_file_new(const struct ig_audit_file_options *options, struct ig_audit_sink **ret)
{
	_cleanup_free_ struct file_sink *sink = calloc(1, sizeof(*sink));
	uint64_t cut = 0;
	int r;

	if (!sink)
		return -ENOMEM;
	sink->options = *options;
	sink->options.name = NULL; /* borrowed; the file has a copy */
	if (!sink->options.half_line_usec)
		sink->options.half_line_usec = HALF_LINE_USEC;
	r = ig_audit_file_init(&sink->file, options->dir_fd, options->fd, options->name, &cut);
	if (r < 0)
		return r;
	if ((options->rotate_bytes || options->rotate_usec) &&
		(!sink->file.is_regular || options->dir_fd < 0 || !options->keep))
		r = -EINVAL;
	if (r == 0)
		r = ig_audit_worker_start(
			&sink->worker, &ops, run, options->queue_lines, options->queue_bytes);
	if (r < 0) {
		free(sink->file.name);
		return r;
	}
	if (cut)
		ig_log_warning("removed the torn end of a line from the audit file",
			IG_KV_U64(COUNT, cut));
	*ret = &TAKE_PTR(sink)->worker.sink;
	return 0;
}
