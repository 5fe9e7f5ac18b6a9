/*
 * Live subscribers of the audit: they get every line in the loop, and what they missed when they
 * come back; see stream.h. Called by the agent's verbs and by stream.c.
 *
 * A subscriber's own loss is told to it alone, in a line without a number of its own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "audit/stream_internal.h"
#include "base/cleanup.h"

struct ig_audit_subscriber {
	TAILQ_ENTRY(ig_audit_subscriber) entry;
	struct ig_audit *audit; /* its owner */
	ig_audit_line_fn *line;
	void *userdata;
	uint64_t lost;	   /* not reported yet */
	uint64_t lost_seq; /* number of the last one */
};

static struct ig_audit_subscriber *subscriber_free(struct ig_audit_subscriber *subscriber)
{
	TAILQ_REMOVE(&subscriber->audit->subscribers, subscriber, entry);
	subscriber->audit->n_subscribers--;
	free(subscriber);
	return NULL;
}

void ig_audit_subscribers_free(struct ig_audit *audit)
{
	while (!TAILQ_EMPTY(&audit->subscribers))
		(void)subscriber_free(TAILQ_FIRST(&audit->subscribers));
}

void ig_audit_subscriber_lost(struct ig_audit_subscriber *subscriber, uint64_t lines)
{
	subscriber->lost += lines;
	subscriber->lost_seq = subscriber->audit->stats.emitted;
	subscriber->audit->stats.lost_subscribers += lines;
}

/* Tells one subscriber of a gap up to the number `seq`. False when it does not take that line. */
static bool tell(
	struct ig_audit_subscriber *subscriber, uint64_t count, uint64_t seq, const char *message)
{
	const struct ig_audit_record notice = {.kind = IG_AUDIT_EVENTS_LOST,
		.reason = "subscriber",
		.message = message,
		.count = count};
	struct ig_audit *audit = subscriber->audit;
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_AUDIT_LINE_BYTES};
	const uint64_t lost = subscriber->lost, lost_seq = subscriber->lost_seq,
		       total = audit->stats.lost_subscribers;

	if (ig_audit_format(audit, &notice, seq, false, &b) < 0)
		return false;
	subscriber->lost = 0;
	subscriber->line(b.data, b.len, subscriber->userdata);
	if (!subscriber->lost)
		return true;
	/* a notice that did not fit is not a lost event */
	subscriber->lost = lost;
	subscriber->lost_seq = lost_seq;
	audit->stats.lost_subscribers = total;
	return false;
}

static bool report(struct ig_audit_subscriber *subscriber)
{
	return tell(subscriber, subscriber->lost, subscriber->lost_seq, NULL);
}

void ig_audit_subscribers_report(struct ig_audit *audit)
{
	struct ig_audit_subscriber *subscriber;

	TAILQ_FOREACH (subscriber, &audit->subscribers, entry)
		if (subscriber->lost)
			(void)report(subscriber);
}

bool ig_audit_subscribers_have_loss(const struct ig_audit *audit)
{
	const struct ig_audit_subscriber *subscriber;

	TAILQ_FOREACH (subscriber, &audit->subscribers, entry)
		if (subscriber->lost)
			return true;
	return false;
}

void ig_audit_deliver(struct ig_audit *audit, const struct ig_audit_line *line)
{
	struct ig_audit_subscriber *subscriber;

	TAILQ_FOREACH (subscriber, &audit->subscribers, entry) {
		if (!line || (subscriber->lost && !report(subscriber)))
			ig_audit_subscriber_lost(subscriber, 1);
		else
			subscriber->line(line->text, line->len, subscriber->userdata);
	}
}

/* What came after `since`, or as much of it as is still known. */
static void resume(struct ig_audit_subscriber *subscriber, uint64_t since, bool other_run)
{
	struct ig_audit *audit = subscriber->audit;
	const uint64_t last = audit->stats.emitted;
	const struct ig_audit_line *line = ig_audit_recent_after(audit->recent, since);
	uint64_t first = line ? line->seq : last + 1, seq = since;

	if (other_run)
		(void)tell(subscriber, first - 1, first > 1 ? first - 1 : 1,
			"the agent was started anew; what is missing of the run before is not known");
	else if (first > since + 1)
		(void)tell(subscriber, first - 1 - since, first - 1, NULL);
	for (; (line = ig_audit_recent_after(audit->recent, seq)) != NULL; seq = line->seq)
		subscriber->line(line->text, line->len, subscriber->userdata);
	ig_audit_arm_retry(audit);
}

int ig_audit_subscribe(struct ig_audit *audit, const struct ig_audit_subscription *subscription,
	struct ig_audit_subscriber **ret)
{
	const char *run = subscription->run;
	struct ig_audit_subscriber *subscriber;
	bool other_run;

	if (audit->n_subscribers >= IG_AUDIT_SUBSCRIBERS_MAX)
		return -EBUSY;
	subscriber = calloc(1, sizeof(*subscriber));
	if (!subscriber)
		return -ENOMEM;
	*subscriber = (struct ig_audit_subscriber){
		.audit = audit, .line = subscription->line, .userdata = subscription->userdata};
	TAILQ_INSERT_TAIL(&audit->subscribers, subscriber, entry);
	audit->n_subscribers++;
	*ret = subscriber;
	if (!subscription->resume)
		return 0;
	/* a number that there is not yet can only be of an earlier run */
	other_run = (run && run[0] && strcmp(run, audit->run_id) != 0) ||
		    subscription->since > audit->stats.emitted;
	resume(subscriber, other_run ? 0 : subscription->since, other_run);
	return 0;
}

void ig_audit_unsubscribe(struct ig_audit_subscriber *subscriber)
{
	if (subscriber)
		(void)subscriber_free(subscriber);
}
