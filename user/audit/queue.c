/*
 * The queue in front of a sink; see queue.h.
 *
 * It must never make the loop wait: the lock is held for a few assignments only, on both sides.
 */
#include "audit/queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/clock.h"

struct ig_audit_queue {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool lock_ready, changed_ready;
	int notify_fd;		      /* owned */
	struct ig_audit_line **lines; /* owned: a ring of max_lines places */
	size_t max_lines, max_bytes;
	size_t first, count, bytes;
	bool stop, reopen;
	size_t wake_above;     /* with more lines than that, the sink is woken; SIZE_MAX: it is not
				  waiting for lines */
	uint64_t gather_until; /* monotonic; until then lines wait for company */
	uint64_t refused;      /* did not fit; not reported yet */
	uint64_t dropped;      /* lost by the sink; not reported yet */
	/* Of both; written with the lock and read without: the stream asks for every record, and
	 * must not wait for the sink because of that. */
	atomic_uint_fast64_t unreported;
	struct ig_audit_queue_stats stats;
};

struct ig_audit_queue *ig_audit_queue_free(struct ig_audit_queue *queue)
{
	if (!queue)
		return NULL;
	for (size_t i = 0; i < queue->count; i++)
		(void)ig_audit_line_unref(queue->lines[(queue->first + i) % queue->max_lines]);
	free(queue->lines);
	(void)ig_close(queue->notify_fd);
	if (queue->changed_ready)
		(void)pthread_cond_destroy(&queue->changed);
	if (queue->lock_ready)
		(void)pthread_mutex_destroy(&queue->lock);
	free(queue);
	return NULL;
}
IG_DEFINE_CLEANUP(struct ig_audit_queue *, ig_audit_queue_free);

static int init_condition(struct ig_audit_queue *queue)
{
	pthread_condattr_t attributes;
	int r = pthread_condattr_init(&attributes);

	if (r)
		return -r;
	r = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	if (r == 0)
		r = pthread_cond_init(&queue->changed, &attributes);
	(void)pthread_condattr_destroy(&attributes);
	queue->changed_ready = r == 0;
	return -r;
}

int ig_audit_queue_new(size_t max_lines, size_t max_bytes, struct ig_audit_queue **ret)
{
	_cleanup_(ig_audit_queue_freep) struct ig_audit_queue *queue = calloc(1, sizeof(*queue));
	int r;

	if (!queue)
		return -ENOMEM;
	queue->max_lines = max_lines;
	queue->max_bytes = max_bytes;
	queue->wake_above = SIZE_MAX;
	queue->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (queue->notify_fd < 0)
		return -errno;
	queue->lines = calloc(max_lines, sizeof(*queue->lines));
	if (!queue->lines)
		return -ENOMEM;
	r = pthread_mutex_init(&queue->lock, NULL);
	if (r)
		return -r;
	queue->lock_ready = true;
	r = init_condition(queue);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(queue);
	return 0;
}

static void lock(struct ig_audit_queue *queue)
{
	(void)pthread_mutex_lock(&queue->lock);
}

static void unlock(struct ig_audit_queue *queue)
{
	(void)pthread_mutex_unlock(&queue->lock);
}

static void notify(struct ig_audit_queue *queue)
{
	const uint64_t one = 1;

	/* fails only when it is readable already */
	(void)!write(queue->notify_fd, &one, sizeof(one));
}

int ig_audit_queue_notify_fd(const struct ig_audit_queue *queue)
{
	return queue->notify_fd;
}

void ig_audit_queue_acknowledge(struct ig_audit_queue *queue)
{
	uint64_t count;

	(void)!read(queue->notify_fd, &count, sizeof(count));
}

/* With the lock, after each change of what it adds up. */
static void sum_up_losses(struct ig_audit_queue *queue)
{
	atomic_store_explicit(
		&queue->unreported, queue->refused + queue->dropped, memory_order_relaxed);
}

/* ---- the stream's side ----------------------------------------------------------------------- */

static bool fits(const struct ig_audit_queue *queue, size_t len)
{
	return queue->count < queue->max_lines && len <= queue->max_bytes - queue->bytes;
}

static void append(struct ig_audit_queue *queue, struct ig_audit_line *line)
{
	queue->lines[(queue->first + queue->count) % queue->max_lines] = ig_audit_line_ref(line);
	queue->count++;
	queue->bytes += line->len;
	if (queue->count > queue->wake_above) {
		/* once is enough */
		queue->wake_above = SIZE_MAX;
		(void)pthread_cond_signal(&queue->changed);
	}
}

bool ig_audit_queue_push(struct ig_audit_queue *queue, struct ig_audit_line *line)
{
	bool taken;

	lock(queue);
	taken = line && !queue->refused && fits(queue, line->len);
	if (taken) {
		append(queue, line);
	} else {
		queue->refused++;
		queue->stats.lost++;
		sum_up_losses(queue);
	}
	unlock(queue);
	return taken;
}

/* Room for more than a line or two: else each report would be followed by the next loss. */
static bool has_recovered(const struct ig_audit_queue *queue)
{
	return queue->count <= queue->max_lines / 2 && queue->bytes <= queue->max_bytes / 2;
}

bool ig_audit_queue_has_loss(struct ig_audit_queue *queue)
{
	return atomic_load_explicit(&queue->unreported, memory_order_relaxed) != 0;
}

uint64_t ig_audit_queue_loss(struct ig_audit_queue *queue)
{
	uint64_t lost;

	if (!ig_audit_queue_has_loss(queue))
		return 0;
	lock(queue);
	lost = has_recovered(queue) ? queue->refused + queue->dropped : 0;
	unlock(queue);
	return lost;
}

bool ig_audit_queue_push_report(
	struct ig_audit_queue *queue, struct ig_audit_line *line, uint64_t lost)
{
	bool taken;

	lock(queue);
	taken = fits(queue, line->len);
	if (taken) {
		append(queue, line);
		/* the sink may have dropped more meanwhile: those stay for the next report */
		lost -= queue->refused;
		queue->refused = 0;
		queue->dropped -= lost;
		sum_up_losses(queue);
	}
	unlock(queue);
	return taken;
}

static void order(struct ig_audit_queue *queue, bool *flag)
{
	lock(queue);
	*flag = true;
	(void)pthread_cond_signal(&queue->changed);
	unlock(queue);
}

void ig_audit_queue_stop(struct ig_audit_queue *queue)
{
	order(queue, &queue->stop);
}

void ig_audit_queue_reopen(struct ig_audit_queue *queue)
{
	order(queue, &queue->reopen);
}

struct ig_audit_queue_stats ig_audit_queue_stats(struct ig_audit_queue *queue)
{
	struct ig_audit_queue_stats stats;

	lock(queue);
	stats = queue->stats;
	stats.queued = queue->count;
	unlock(queue);
	return stats;
}

/* ---- the sink's side ------------------------------------------------------------------------- */

static unsigned int ready(const struct ig_audit_queue *queue, size_t seen)
{
	return (queue->count > seen ? IG_AUDIT_QUEUE_LINES_READY : 0) |
	       (queue->stop ? IG_AUDIT_QUEUE_STOP : 0) |
	       (queue->reopen ? IG_AUDIT_QUEUE_REOPEN : 0);
}

/* So many lines are written without waiting for more. Not more than that: where the sink has the
 * processor of the loop, requests wait as long as it writes. */
static size_t enough_lines(const struct ig_audit_queue *queue)
{
	size_t half = queue->max_lines / 2;

	return half < IG_AUDIT_ENOUGH_LINES ? half : IG_AUDIT_ENOUGH_LINES;
}

/* Nothing but lines, and too few of them, and they came right behind others: more will come. Waking
 * the sink for each would cost more than all the rest of a request. */
static bool is_gathering(const struct ig_audit_queue *queue, unsigned int what, uint64_t now_usec)
{
	return what == IG_AUDIT_QUEUE_LINES_READY && now_usec < queue->gather_until &&
	       queue->count < enough_lines(queue) && queue->bytes < queue->max_bytes / 2;
}

/* Sleeps until there are more than that many lines, an order, or that time (0: none). */
static void sleep_until(struct ig_audit_queue *queue, size_t lines, uint64_t until_usec)
{
	const struct timespec until = {
		.tv_sec = (time_t)(until_usec / IG_USEC_PER_SEC),
		.tv_nsec = (long)(until_usec % IG_USEC_PER_SEC) * 1000,
	};

	queue->wake_above = lines;
	if (until_usec)
		(void)pthread_cond_timedwait(&queue->changed, &queue->lock, &until);
	else
		(void)pthread_cond_wait(&queue->changed, &queue->lock);
	queue->wake_above = SIZE_MAX;
}

unsigned int ig_audit_queue_wait(struct ig_audit_queue *queue, size_t seen, uint64_t deadline_usec)
{
	unsigned int what;

	lock(queue);
	for (;;) {
		uint64_t now = ig_clock_mono_usec(), until = deadline_usec;
		size_t lines = seen;
		bool gathers;

		what = ready(queue, seen);
		gathers = is_gathering(queue, what, now);
		if ((what && !gathers) || (deadline_usec && now >= deadline_usec))
			break;
		if (gathers) {
			lines = enough_lines(queue) - 1;
			if (!deadline_usec || queue->gather_until < deadline_usec)
				until = queue->gather_until;
		}
		sleep_until(queue, lines, until);
	}
	if (what & IG_AUDIT_QUEUE_LINES_READY)
		queue->gather_until =
			ig_clock_mono_usec() + IG_AUDIT_GATHER_MSEC * IG_USEC_PER_MSEC;
	queue->reopen = false;
	unlock(queue);
	return what;
}

bool ig_audit_queue_has_to_stop(struct ig_audit_queue *queue)
{
	bool stop;

	lock(queue);
	stop = queue->stop;
	unlock(queue);
	return stop;
}

/* The lines themselves are not looked at: another processor made them, and to fetch each of them
 * takes long. */
size_t ig_audit_queue_peek(
	struct ig_audit_queue *queue, size_t from, struct ig_audit_line **lines, size_t max)
{
	size_t n = 0;

	lock(queue);
	for (; n < max && from + n < queue->count; n++)
		lines[n] = queue->lines[(queue->first + from + n) % queue->max_lines];
	unlock(queue);
	return n;
}

/* Takes at most `max` out; how many. The references are the caller's then. */
static size_t take_oldest(struct ig_audit_queue *queue, struct ig_audit_line **lines, size_t max)
{
	size_t n = 0;

	for (; n < max && queue->count > 0; n++) {
		lines[n] = queue->lines[queue->first];
		queue->first = (queue->first + 1) % queue->max_lines;
		queue->count--;
		queue->bytes -= lines[n]->len;
	}
	return n;
}

/* Nobody waits for the lock while lines are freed. */
static void remove_oldest(struct ig_audit_queue *queue, size_t lines, uint64_t *counter)
{
	struct ig_audit_line *taken[IG_AUDIT_BATCH_LINES];
	size_t n;

	do {
		lock(queue);
		n = take_oldest(
			queue, taken, lines < IG_AUDIT_BATCH_LINES ? lines : IG_AUDIT_BATCH_LINES);
		*counter += n;
		unlock(queue);
		lines -= n;
		for (size_t i = 0; i < n; i++)
			(void)ig_audit_line_unref(taken[i]);
	} while (n > 0 && lines > 0);
}

void ig_audit_queue_delivered(struct ig_audit_queue *queue, size_t lines)
{
	bool can_report;

	remove_oldest(queue, lines, &queue->stats.delivered);
	if (!ig_audit_queue_has_loss(queue))
		return;
	lock(queue);
	can_report = queue->refused && has_recovered(queue);
	unlock(queue);
	if (can_report)
		notify(queue);
}

void ig_audit_queue_drop(struct ig_audit_queue *queue, size_t lines)
{
	remove_oldest(queue, lines, &queue->stats.lost);
	lock(queue);
	queue->dropped += lines;
	sum_up_losses(queue);
	unlock(queue);
	notify(queue);
}

void ig_audit_queue_set_error(struct ig_audit_queue *queue, int error)
{
	bool changed;

	lock(queue);
	changed = !queue->stats.error != !error;
	if (error && !queue->stats.error)
		queue->stats.failures++;
	queue->stats.error = error;
	unlock(queue);
	if (changed)
		notify(queue);
}
