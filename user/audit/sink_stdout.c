/*
 * Standard output as a sink; see sink_stdout.h. Runs in a thread of its own.
 *
 * The descriptor is shared with other processes, so it stays blocking; a write never blocks for
 * long all the same: it comes after poll() and is no larger than what a pipe then takes at once. A
 * line of at most PIPE_BUF bytes is not mixed with what others write.
 */
#include "audit/sink_stdout.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "audit/worker.h"
#include "base/cleanup.h"
#include "base/clock.h"

#define POLL_MSEC  200 /* between looks at whether to stop */
#define RETRY_USEC IG_USEC_PER_SEC
/* from the order to stop on; with two looks it is less than IG_AUDIT_STOP_MSEC */
#define HALF_LINE_USEC (900 * IG_USEC_PER_MSEC)

struct stdout_sink {
	struct ig_audit_worker worker; /* the first member */
	int fd;			       /* owned */
	bool is_socket;
	uint64_t half_until_usec; /* monotonic; 0: there was no order to stop yet */
};

/* Whoever writes there next would write behind a line that is only half there, so it has a little
 * longer. `done` bytes of it are. */
static bool has_to_stop(struct stdout_sink *sink, size_t done)
{
	if (!ig_audit_queue_has_to_stop(sink->worker.sink.queue))
		return false;
	if (!sink->half_until_usec)
		sink->half_until_usec = ig_clock_mono_usec() + HALF_LINE_USEC;
	return !done || ig_clock_mono_usec() >= sink->half_until_usec;
}

/* -EAGAIN: nobody reads just now. */
static ssize_t write_piece(const struct stdout_sink *sink, const char *text, size_t len)
{
	struct pollfd p = {.fd = sink->fd, .events = POLLOUT};
	ssize_t n;

	if (poll(&p, 1, POLL_MSEC) == 0)
		return -EAGAIN;
	if (len > PIPE_BUF)
		len = PIPE_BUF;
	n = sink->is_socket ? send(sink->fd, text, len, MSG_DONTWAIT | MSG_NOSIGNAL)
			    : write(sink->fd, text, len);
	if (n >= 0)
		return n;
	return errno == EINTR ? -EAGAIN : -errno;
}

/* 0, or why the line was not written as a whole. *done counts what was. */
static int write_line(struct stdout_sink *sink, const struct ig_audit_line *line, size_t *done)
{
	while (*done < line->len) {
		ssize_t n = write_piece(sink, line->text + *done, line->len - *done);

		if (n >= 0)
			*done += (size_t)n;
		else if (n != -EAGAIN || has_to_stop(sink, *done))
			return (int)n;
	}
	*done = 0;
	return 0;
}

static void run(struct ig_audit_worker *worker)
{
	struct stdout_sink *sink = (struct stdout_sink *)worker;
	struct ig_audit_queue *queue = worker->sink.queue;
	struct ig_audit_line *line;
	size_t done = 0; /* bytes of the oldest line */
	int r = 0;

	for (;;) {
		size_t seen = r < 0 ? SIZE_MAX : 0;
		uint64_t retry = r < 0 ? ig_clock_mono_usec() + RETRY_USEC : 0;
		unsigned int what = ig_audit_queue_wait(queue, seen, retry);

		r = 0;
		while (r == 0 && ig_audit_queue_peek(queue, 0, &line, 1) == 1) {
			r = write_line(sink, line, &done);
			if (r == 0)
				ig_audit_queue_delivered(queue, 1);
		}
		ig_audit_queue_set_error(queue, r);
		if (what & IG_AUDIT_QUEUE_STOP || r == -EAGAIN)
			break;
	}
}

static void stdout_free(struct ig_audit_sink *base)
{
	struct stdout_sink *sink = (struct stdout_sink *)base;

	if (!ig_audit_worker_done(&sink->worker))
		return; /* its thread hangs and may still use all this */
	(void)ig_audit_queue_free(sink->worker.sink.queue);
	(void)ig_close(sink->fd);
	free(sink);
}

static const struct ig_audit_sink_ops ops = {
	.name = "stdout", .finish = ig_audit_worker_finish, .free = stdout_free};

int ig_audit_sink_stdout_new(
	const struct ig_audit_stdout_options *options, struct ig_audit_sink **ret)
{
	_cleanup_free_ struct stdout_sink *sink = calloc(1, sizeof(*sink));
	struct stat st;
	int r;

	if (!sink)
		return -ENOMEM;
	if (fstat(options->fd, &st) < 0)
		return -errno;
	sink->fd = options->fd;
	sink->is_socket = S_ISSOCK(st.st_mode);
	r = ig_audit_worker_start(
		&sink->worker, &ops, run, options->queue_lines, options->queue_bytes);
	if (r < 0)
		return r;
	*ret = &TAKE_PTR(sink)->worker.sink;
	return 0;
}
