/*
 * The monitor's ends of the two channels to one server process: sends messages, in order and never
 * blocking, and gives up on a server that does not read.
 */
#pragma once

#include <stddef.h>

#include "monitor/proto.h"

struct event_base;
struct ig_channel;

struct ig_channel_ops {
	/* Handles a request: fills *reply (kind, seq and request are set already) and may set
	 * *ret_fd to a descriptor to send along, which the channel closes afterwards. Returns the
	 * reply's result; -EPROTO if no working peer asks for this now, which ends the relation. */
	int (*request)(const struct ig_monitor_request *request, struct ig_monitor_message *reply,
		int *ret_fd, void *userdata);
	/* The peer closed, broke the protocol or does not read: it has to go. Called once; the
	 * channel may be freed by the callee. */
	void (*broken)(int error, void *userdata);
};

/* Takes both sockets. */
int ig_channel_new(struct event_base *base, int async_fd, int sync_fd,
	const struct ig_channel_ops *ops, void *userdata, struct ig_channel **ret);
struct ig_channel *ig_channel_free(struct ig_channel *channel);

/* Queues a notice with descriptors, which stay the caller's (they are duplicated if need be). */
int ig_channel_send(struct ig_channel *channel, const struct ig_monitor_message *message,
	const int *fds, size_t n_fds);
