/*
 * What the files of the monitor's own process share: monitor.c (start-up, the server),
 * namespaces.c and upgrade.c (one agent takes over from another). Private to monitor.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "monitor/monitor.h"

struct event;
struct event_base;

struct monitor {
	const struct ig_monitor_options *options;
	struct event_base *base;
	struct ig_datapath *dp;
	struct ig_listeners *listeners;
	struct ig_netns_watch *watch;
	struct ig_sources *sources;
	struct ig_requests *requests;
	struct ig_services *services;
	struct ig_child *child;
	struct ig_heartbeat *heartbeat;
	struct ig_packets *packets;
	struct ig_ring *wakeups;
	struct event *on_term, *on_int, *on_hup, *on_wakeup, *sweep;
	uint64_t swept; /* how far the sweep is; 0: not begun */
	uint64_t host_cookie;
	int ready_fd;
	bool attached, stopping;
	bool server_ready;  /* the one that runs has said so */
	uint32_t start;	    /* enum ig_monitor_start of the next server */
	uint32_t hung;	    /* servers that were killed because they hung */
	int result;	    /* of the run, once the loop ended early */
	struct ig_err *err; /* the caller's; why it ended early */

	/* upgrade.c */
	struct ig_takeover *takeover; /* not NULL: we stand by, another agent serves */
	struct ig_handover *handover; /* offered while we serve */
	struct event *on_old_gone, *quiet_timer, *drain_timer, *hold_timer;
	bool draining;	  /* another agent serves, ours brings to an end what it has begun */
	bool handed_over; /* and has all it wants of us */
	bool told;	  /* to end, while draining */
};

/* ---- monitor.c ---- */

/* Ends the run with m->err and this result. */
void ig_monitor_give_up(struct monitor *m, int result);
int ig_monitor_set_settings(struct monitor *m);
int ig_monitor_enforce(struct monitor *m);
/* Opens what only one agent on the node may have: services, listeners, the wake-ups. */
int ig_monitor_open(struct monitor *m);
/* The server serves and we are the agent of this node. */
int ig_monitor_serving(struct monitor *m);

/* ---- namespaces.c ---- */

int ig_monitor_prepare_namespaces(struct monitor *m);
/* That of this namespace; those that another agent gave us are there already. */
int ig_monitor_open_listeners(struct monitor *m);
/* From here on namespaces are followed: those that are there first. */
int ig_monitor_follow(struct monitor *m);
/* Everything that a server is told of at first. */
int ig_monitor_announce(struct monitor *m);
void ig_monitor_look_for_running(struct monitor *m);
void ig_monitor_sweep_later(struct monitor *m);

/* ---- upgrade.c ---- */

/* Another agent holds the pin directory: asks it to hand over. -EBUSY when it does not. */
int ig_upgrade_ask(struct monitor *m);
/* Until our server is ready to take over. */
int ig_upgrade_stand_by(struct monitor *m);
/* It is. */
int ig_upgrade_take_over(struct monitor *m);
/* Lets another agent take over from us. */
void ig_upgrade_offer(struct monitor *m);
/* Our server accepts nothing any more. */
void ig_upgrade_quiet(struct monitor *m);
/* We are told to end while another agent serves: with the last connection. */
void ig_upgrade_end(struct monitor *m);
/* Our server ended while another agent serves. */
void ig_upgrade_drained(struct monitor *m);
void ig_upgrade_done(struct monitor *m);
