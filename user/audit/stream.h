/*
 * Gives records their sequence number and brings them to the sinks: the file and the live
 * subscribers. A sink that fails or is slow loses lines of its own, counts them, and reports the
 * loss as an events.lost record when it recovers; it never delays a request or another sink.
 */
#pragma once

#include <stdint.h>

#include "audit/record.h"

struct event_base;
struct ig_audit;
struct ig_audit_subscriber;

struct ig_audit_options {
	int file_fd;	  /* opened O_APPEND; -1: no file. Becomes the audit's */
	const char *node; /* name of the node, copied; may be "" */
};

struct ig_audit_stats {
	uint64_t emitted;   /* = the last sequence number */
	uint64_t lost_file; /* lines that the file did not take */
	uint64_t lost_subscribers;
	uint64_t by_kind[_IG_AUDIT_KIND_MAX];
};

/* Reads the kernel's boot id, so it comes before any sandbox. On failure the fd stays the caller's.
 * The process must ignore SIGXFSZ (and SIGPIPE, if the file is not a file). */
int ig_audit_new(
	struct event_base *base, const struct ig_audit_options *options, struct ig_audit **ret);
/* Reports what is pending; subscribers end without their callback and their handles with them: end
 * whatever would still unsubscribe (the control server) first. */
struct ig_audit *ig_audit_free(struct ig_audit *audit);

/* Assigns the next number and hands the line to every sink. Never fails for the caller. */
void ig_audit_emit(struct ig_audit *audit, const struct ig_audit_record *record);

/* Lines as they are written, newline included, from the next event on. -EBUSY at the limit. The
 * callback must not emit, add or remove. A callback that cannot take its line says so with
 * ig_audit_subscriber_lost(…, 1); then an events.lost line of its own (reason "subscriber", the
 * number of the last line it lost) comes before the next line, or by itself after a while. */
typedef void ig_audit_line(const char *line, size_t len, void *userdata);
int ig_audit_subscribe(struct ig_audit *audit, ig_audit_line *line, void *userdata,
	struct ig_audit_subscriber **ret);
void ig_audit_unsubscribe(struct ig_audit_subscriber *subscriber);
/* A subscriber's own queue was full: counted here. */
void ig_audit_subscriber_lost(struct ig_audit_subscriber *subscriber, uint64_t lines);

struct ig_audit_stats ig_audit_stats(const struct ig_audit *audit);
