/*
 * Threads of sinks; see worker.h.
 */
#include "audit/worker.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#include <imdsgate/limits.h>

#include "base/clock.h"

static void *run(void *arg)
{
	struct ig_audit_worker *worker = arg;

	worker->run(worker);
	return NULL;
}

/* Signals are the loop's. */
static int start_thread(struct ig_audit_worker *worker)
{
	sigset_t all, before;
	int r;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&worker->thread, NULL, run, worker);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	worker->running = r == 0;
	return -r;
}

int ig_audit_worker_start(struct ig_audit_worker *worker, const struct ig_audit_sink_ops *ops,
	void (*main)(struct ig_audit_worker *worker), size_t max_lines, size_t max_bytes)
{
	int r = ig_audit_queue_new(max_lines ? max_lines : IG_AUDIT_QUEUE_LINES,
		max_bytes ? max_bytes : IG_AUDIT_QUEUE_BYTES, &worker->sink.queue);

	if (r < 0)
		return r;
	worker->sink.ops = ops;
	worker->run = main;
	r = start_thread(worker);
	if (r < 0)
		worker->sink.queue = ig_audit_queue_free(worker->sink.queue);
	return r;
}

void ig_audit_worker_finish(struct ig_audit_sink *sink, uint64_t deadline_usec)
{
	struct ig_audit_worker *worker = (struct ig_audit_worker *)sink;
	uint64_t now = ig_clock_mono_usec(), real = ig_clock_real_usec();
	struct timespec until;

	if (!worker->running)
		return;
	/* the thread is asked to stop by now; pthread_timedjoin_np() goes by the real clock */
	real += deadline_usec > now ? deadline_usec - now : 0;
	until = (struct timespec){.tv_sec = (time_t)(real / IG_USEC_PER_SEC),
		.tv_nsec = (long)(real % IG_USEC_PER_SEC) * 1000};
	if (pthread_timedjoin_np(worker->thread, NULL, &until) == 0)
		worker->running = false;
}

bool ig_audit_worker_done(struct ig_audit_worker *worker)
{
	return !worker->running;
}
