/*
 * The audit stream: numbers records and brings each line to the file and to the live subscribers;
 * see stream.h. Called by the agent, in its one event loop.
 *
 * It must never delay or fail a request because of a sink, never lose a line without counting it
 * for the sink that lost it, and never let a line that the disk took only in part swallow the next.
 *
 * What is lost is reported where it is missing, before anything else is written there: for the file
 * as an event with a number of its own (reason "file"), which the subscribers see too; for a
 * subscriber as a line of its own (reason "subscriber"). If no record comes along to try with, a
 * timer does.
 */
#include "audit/stream.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "base/parse.h"

#define BOOT_ID_PATH  "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_BYTES 36
#define RUN_ID_BYTES  16
#define RETRY_SEC     5

struct ig_audit_subscriber {
	TAILQ_ENTRY(ig_audit_subscriber) entry;
	struct ig_audit *audit; /* its owner */
	ig_audit_line *line;
	void *userdata;
	uint64_t lost;	   /* not reported yet */
	uint64_t lost_seq; /* number of the last one */
};

struct ig_audit {
	TAILQ_HEAD(, ig_audit_subscriber) subscribers; /* owned */
	size_t n_subscribers;
	struct event *retry; /* owned; pending while a loss is not reported */
	int file_fd;	     /* owned; -1: no file */
	char *node;	     /* owned */
	char boot_id[BOOT_ID_BYTES + 1];
	char run_id[RUN_ID_BYTES + 1];
	bool broken_line;   /* the file ends inside a line */
	uint64_t file_lost; /* not reported yet */
	struct ig_audit_stats stats;
	struct ig_buf line; /* a newline (see write_line), then the line; kept for its memory */
};

static struct ig_audit_subscriber *subscriber_free(struct ig_audit_subscriber *subscriber)
{
	TAILQ_REMOVE(&subscriber->audit->subscribers, subscriber, entry);
	subscriber->audit->n_subscribers--;
	free(subscriber);
	return NULL;
}

static int encode(const struct ig_audit *audit, const struct ig_audit_record *record, uint64_t seq,
	struct ig_buf *b)
{
	const struct ig_audit_origin origin = {
		.boot_id = audit->boot_id, .run_id = audit->run_id, .node = audit->node};

	ig_buf_reset(b);
	ig_buf_putc(b, '\n');
	ig_audit_encode(record, seq, &origin, b);
	return ig_buf_finish(b);
}

/* One write. After a line that was cut short the write starts with the newline that ends the torn
 * piece, so that only this piece is unreadable. */
static int write_line(struct ig_audit *audit)
{
	size_t skip = audit->broken_line ? 0 : 1;
	size_t len = audit->line.len - skip;
	ssize_t n;

	do
		n = write(audit->file_fd, audit->line.data + skip, len);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if ((size_t)n == len) {
		audit->broken_line = false;
		return 0;
	}
	if (n > 0) /* the newline alone ends a torn piece and begins none */
		audit->broken_line = !(skip == 0 && n == 1);
	return -EIO;
}

/* Tells one subscriber what it lost. False when it does not take that line either. */
static bool report_subscriber_loss(struct ig_audit_subscriber *subscriber)
{
	const struct ig_audit_record notice = {
		.kind = IG_AUDIT_EVENTS_LOST, .reason = "subscriber", .count = subscriber->lost};
	struct ig_audit *audit = subscriber->audit;
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = audit->line.limit};
	const uint64_t lost = subscriber->lost, total = audit->stats.lost_subscribers;

	if (encode(audit, &notice, subscriber->lost_seq, &b) < 0)
		return false;
	subscriber->lost = 0;
	subscriber->line(b.data + 1, b.len - 1, subscriber->userdata);
	if (!subscriber->lost)
		return true;
	/* a notice that did not fit is not a lost event */
	subscriber->lost = lost;
	audit->stats.lost_subscribers = total;
	return false;
}

static void deliver(struct ig_audit *audit, bool encoded)
{
	struct ig_audit_subscriber *subscriber;

	TAILQ_FOREACH (subscriber, &audit->subscribers, entry) {
		if (!encoded || (subscriber->lost && !report_subscriber_loss(subscriber)))
			ig_audit_subscriber_lost(subscriber, 1);
		else
			subscriber->line(
				audit->line.data + 1, audit->line.len - 1, subscriber->userdata);
	}
}

/* Makes the loss an event, if the file takes it. True when nothing is left to report. */
static bool report_file_loss(struct ig_audit *audit)
{
	const struct ig_audit_record notice = {
		.kind = IG_AUDIT_EVENTS_LOST, .reason = "file", .count = audit->file_lost};

	if (!audit->file_lost)
		return true;
	/* the number is used up only when somebody has seen it */
	if (encode(audit, &notice, audit->stats.emitted + 1, &audit->line) < 0 ||
		write_line(audit) < 0)
		return false;
	audit->file_lost = 0;
	audit->stats.emitted++;
	audit->stats.by_kind[IG_AUDIT_EVENTS_LOST]++;
	deliver(audit, true);
	return true;
}

static bool has_loss(const struct ig_audit *audit)
{
	const struct ig_audit_subscriber *subscriber;

	if (audit->file_lost)
		return true;
	TAILQ_FOREACH (subscriber, &audit->subscribers, entry)
		if (subscriber->lost)
			return true;
	return false;
}

static void arm_retry(struct ig_audit *audit)
{
	const struct timeval delay = {.tv_sec = RETRY_SEC};

	/* without the timer, the next record reports the loss */
	if (has_loss(audit) && !evtimer_pending(audit->retry, NULL))
		(void)evtimer_add(audit->retry, &delay);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct ig_audit *audit = arg;
	struct ig_audit_subscriber *subscriber;

	(void)fd;
	(void)what;
	(void)report_file_loss(audit);
	TAILQ_FOREACH (subscriber, &audit->subscribers, entry)
		if (subscriber->lost)
			(void)report_subscriber_loss(subscriber);
	arm_retry(audit);
}

void ig_audit_emit(struct ig_audit *audit, const struct ig_audit_record *record)
{
	bool file_ready = report_file_loss(audit);
	int r;

	r = encode(audit, record, ++audit->stats.emitted, &audit->line);
	audit->stats.by_kind[record->kind]++;
	if (audit->file_fd >= 0 && (!file_ready || r < 0 || write_line(audit) < 0)) {
		audit->file_lost++;
		audit->stats.lost_file++;
	}
	deliver(audit, r == 0);
	arm_retry(audit);
}

int ig_audit_subscribe(struct ig_audit *audit, ig_audit_line *line, void *userdata,
	struct ig_audit_subscriber **ret)
{
	struct ig_audit_subscriber *subscriber;

	if (audit->n_subscribers >= IG_AUDIT_SUBSCRIBERS_MAX)
		return -EBUSY;
	subscriber = calloc(1, sizeof(*subscriber));
	if (!subscriber)
		return -ENOMEM;
	*subscriber =
		(struct ig_audit_subscriber){.audit = audit, .line = line, .userdata = userdata};
	TAILQ_INSERT_TAIL(&audit->subscribers, subscriber, entry);
	audit->n_subscribers++;
	*ret = subscriber;
	return 0;
}

void ig_audit_unsubscribe(struct ig_audit_subscriber *subscriber)
{
	if (subscriber)
		(void)subscriber_free(subscriber);
}

void ig_audit_subscriber_lost(struct ig_audit_subscriber *subscriber, uint64_t lines)
{
	subscriber->lost += lines;
	subscriber->lost_seq = subscriber->audit->stats.emitted;
	subscriber->audit->stats.lost_subscribers += lines;
}

struct ig_audit_stats ig_audit_stats(const struct ig_audit *audit)
{
	return audit->stats;
}

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

/* Destroys everything but the file. */
static struct ig_audit *audit_destroy(struct ig_audit *audit)
{
	while (!TAILQ_EMPTY(&audit->subscribers))
		(void)subscriber_free(TAILQ_FIRST(&audit->subscribers));
	if (audit->retry)
		event_free(audit->retry);
	ig_buf_done(&audit->line);
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
	ig_buf_init(&audit->line, IG_AUDIT_LINE_BYTES + 1);
	audit->file_fd = -1;
	audit->node = strdup(options->node);
	audit->retry = evtimer_new(base, on_retry, audit);
	if (!audit->node || !audit->retry)
		return -ENOMEM;
	r = read_boot_id(audit->boot_id);
	if (r < 0)
		return r;
	r = make_run_id(audit->run_id);
	if (r < 0)
		return r;
	audit->file_fd = options->file_fd;
	*ret = TAKE_PTR(audit);
	return 0;
}

struct ig_audit *ig_audit_free(struct ig_audit *audit)
{
	if (!audit)
		return NULL;
	/* nobody is to be called any more */
	while (!TAILQ_EMPTY(&audit->subscribers))
		(void)subscriber_free(TAILQ_FIRST(&audit->subscribers));
	(void)report_file_loss(audit);
	(void)ig_close(audit->file_fd);
	return audit_destroy(audit);
}
