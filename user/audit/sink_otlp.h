/*
 * An OpenTelemetry collector as a sink: batches of records as OTLP/HTTP in JSON. Runs in the loop.
 * It knows no HTTP: whoever makes it lends it something that posts.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "audit/otlp_format.h"
#include "audit/sink.h"

struct event_base;

struct ig_audit_post_reply {
	int error;		 /* no reply: a negative errno; 0: the rest counts */
	unsigned int status;	 /* of HTTP */
	int64_t retry_after_sec; /* -1 without */
	const char *body;	 /* borrowed for the call */
	size_t body_len;
};

typedef void ig_audit_posted(const struct ig_audit_post_reply *reply, void *userdata);

struct ig_audit_poster {
	/* Posts JSON. `done` is called once, from the loop and never from inside; not if this fails
	 * with a negative errno. One at a time. */
	int (*post)(
		void *self, const char *body, size_t len, ig_audit_posted *done, void *userdata);
	/* Ends what is under way without `done`, and the poster itself. */
	void (*free)(void *self);
	void *self;
};

struct ig_audit_otlp_options {
	struct event_base *base;	  /* borrowed */
	struct ig_audit_poster poster;	  /* becomes the sink's */
	struct ig_otlp_resource resource; /* copied */
	size_t queue_lines, queue_bytes;  /* 0: the usual limits */
};

/* On failure the poster stays the caller's. */
int ig_audit_sink_otlp_new(const struct ig_audit_otlp_options *options, struct ig_audit_sink **ret);
