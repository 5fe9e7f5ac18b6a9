/*
 * The old agent's end when another one takes over (handover_proto.h): a unix socket beside the
 * control socket, for root alone. It answers what the new agent asks, watches over the moment in
 * which both change what is pinned, and kills a new agent that hangs there. Private to monitor.
 */
#pragma once

#include <stdint.h>

struct event_base;
struct ig_datapath;
struct ig_handover;
struct ig_listeners;
struct ig_services;

struct ig_handover_ops {
	/* The new agent did not get to the end: whatever it has changed has to be put back. */
	void (*undo)(void *userdata);
	/* It did: stop accepting, then ig_handover_quiet(). */
	void (*commit)(void *userdata);
	/* It has all it wants, or is gone: nobody needs our sockets any more. */
	void (*done)(void *userdata);
};

struct ig_handover_options {
	const char *path;
	const struct ig_datapath *dp; /* all outlive it */
	const struct ig_listeners *listeners;
	const struct ig_services *services;
	const struct ig_handover_ops *ops;
	void *userdata;
};

/* Takes the place of the socket that the agent before us had. */
int ig_handover_new(struct event_base *base, const struct ig_handover_options *options,
	struct ig_handover **ret);
/* Removes the socket's file unless a new agent has put its own there. */
struct ig_handover *ig_handover_free(struct ig_handover *handover);
/* What `commit` asked for has happened. */
void ig_handover_quiet(struct ig_handover *handover);
