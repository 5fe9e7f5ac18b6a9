/*
 * The server's end of the channels to the monitor (monitor/proto.h): requests with callbacks,
 * notices, and the one request that is waited for.
 */
#pragma once

#include "monitor/proto.h"

struct event_base;
struct ig_link;

typedef void ig_link_reply(const struct ig_monitor_message *reply, void *userdata);

struct ig_link_ops {
	/* A notice (not a reply). fd is the callee's from then on; -1 without. */
	void (*notice)(const struct ig_monitor_message *message, int fd, void *userdata);
	/* The monitor is gone or talks nonsense: there is nothing to go on with. */
	void (*broken)(int error, void *userdata);
};

/* Waits for the monitor's first message. Descriptors become the caller's. */
int ig_link_hello(
	int async_fd, struct ig_monitor_message *ret_hello, int *ret_flows_fd, int *ret_events_fd);

/* Takes both sockets. */
int ig_link_new(struct event_base *base, int async_fd, int sync_fd, const struct ig_link_ops *ops,
	void *userdata, struct ig_link **ret);
struct ig_link *ig_link_free(struct ig_link *link);

/* Sends a request (seq is filled in); `reply` (may be NULL) is called once with the answer, never
 * from inside. -EBUSY when too many are under way. */
int ig_link_request(struct ig_link *link, const struct ig_monitor_request *request,
	ig_link_reply *reply, void *userdata);
/* Answers to requests with this userdata are thrown away from now on. */
void ig_link_forget(struct ig_link *link, const void *userdata);

/* Asks and waits, at most IG_MONITOR_SYNC_MSEC, and not at all while the monitor is known not to
 * answer. Returns a socket, which is the caller's, or a negative
 * errno. */
int ig_link_upstream_socket(struct ig_link *link, int family);

/* The kernel's counters; asks and waits likewise. */
int ig_link_counters(struct ig_link *link, uint64_t ret[_IG_COUNTER_MAX]);
