/*
 * What the monitor does about packets that no connect hook sees: the guard on the uplinks
 * (uplinks.h), and the end of connections that are older than the gate, or than a rule (older.h).
 * Private to monitor.
 */
#pragma once

#include <stdbool.h>

#include <imdsgate/abi.h>

#include "base/err.h"

struct event_base;
struct ig_datapath;
struct ig_listeners;
struct ig_packets;

struct ig_packets_options {
	struct ig_datapath *dp;		/* all outlive it */
	struct ig_listeners *listeners; /* one for each namespace that is looked through */
	const char *guard;		/* "auto", "off" or interfaces */
	bool clsact;
	bool adopting;		     /* the gate is in force: what is connected may stay */
	struct ig_settings settings; /* complete */
	/* A connection was ended: for the server's records. */
	void (*ended)(const struct ig_event *event, void *userdata);
	void *userdata;
};

/* Loads what ig_packets_start() attaches, so that a kernel that cannot is found out before anything
 * is changed. */
int ig_packets_new(struct event_base *base, const struct ig_packets_options *options,
	struct ig_packets **ret, struct ig_err *reterr_err);
/* What is attached stays. */
struct ig_packets *ig_packets_free(struct ig_packets *packets);

/* After the connect hooks are attached: the guard asks for what they note. Connections are ended
 * from the event loop, once here and again whenever an uplink is added. */
int ig_packets_start(struct ig_packets *packets, struct ig_err *reterr_err);

/* Ends connections once more: somebody may not have any more what is open. */
void ig_packets_end_connections(struct ig_packets *packets);

/* Somebody else may have attached something in place of ours: the next ig_packets_start() attaches
 * everywhere again. Loads nothing. */
int ig_packets_again(struct ig_packets *packets);
