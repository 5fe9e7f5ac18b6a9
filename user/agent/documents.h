/*
 * Metadata documents from upstream, for whoever may have them: that was decided before.
 *
 * Most documents are the same for everybody, so there is one cache for all and one upstream call at
 * a time for each document. An attested one is made for whoever asked: it is never kept, and no two
 * requests share one. The real service answers five requests a second on the whole machine,
 * tokens included: calls are few, spread, and shared out between workloads in turn.
 */
#pragma once

#include <stdint.h>

#include "imds/document.h"
#include "imds/reply.h"

struct event_base;
struct ig_documents;
struct ig_documents_waiter;
struct ig_http_client;

/* A call to upstream is over; error NONE: with a document. usec: since it was sent, 0: it was not.
 */
typedef void ig_documents_call_ended(enum ig_imds_error error, uint64_t usec, void *userdata);

struct ig_documents_options {
	const char *imds_url;		     /* "http://169.254.169.254"; no path. Copied */
	uint64_t (*mono_usec)(void);	     /* NULL: the monotonic clock */
	ig_documents_call_ended *call_ended; /* for those who count; may be NULL */
	void *userdata;
};

struct ig_documents_stats {
	uint64_t hits, misses;
	size_t cached, queued;
};

struct ig_documents_result {
	const struct ig_imds_reply *reply; /* error NONE: what upstream said; else ours. Borrowed */
	const char *reason;  /* literal: "cached", "fetched", "upstream_unavailable", … */
	const char *message; /* for people; borrowed; may be NULL */
};

typedef void ig_documents_done(const struct ig_documents_result *result, void *userdata);

int ig_documents_new(struct event_base *base, struct ig_http_client *client,
	const struct ig_documents_options *options, struct ig_documents **ret);
/* Waiters are dropped without their callback. */
struct ig_documents *ig_documents_free(struct ig_documents *documents);

/* From the cache: `done` is called before this returns, and *ret_waiter becomes NULL. Else it is
 * called later, once, unless ig_documents_cancel() comes first. `fairness` is an opaque number of
 * the asking workload. Nothing is called on -EDQUOT (this workload waits for too many), -EBUSY (all
 * together do), -EINVAL (it has a flaw) and -ENOMEM. */
int ig_documents_get(struct ig_documents *documents, const struct ig_imds_document *document,
	uint64_t fairness, ig_documents_done *done, void *userdata,
	struct ig_documents_waiter **ret_waiter);
void ig_documents_cancel(struct ig_documents_waiter *waiter);

struct ig_documents_stats ig_documents_stats(const struct ig_documents *documents);
