/*
 * Does the server live? Asks its loop once in IG_HEARTBEAT_MSEC and counts the questions that were
 * not answered: a time that only passes while the monitor itself runs, so a machine that was
 * suspended kills no server. Private to monitor.
 */
#pragma once

#include <stdbool.h>

struct event_base;
struct ig_heartbeat;

struct ig_heartbeat_ops {
	void (*ask)(void *userdata);
	/* It does not answer: away with it. */
	void (*hung)(void *userdata);
	/* Nobody serves for so long that connections are better refused than left waiting; called
	 * once until ig_heartbeat_serving(). False: another agent serves, so the time begins anew.
	 */
	bool (*away)(void *userdata);
	/* It answers again after all. */
	void (*back)(void *userdata);
};

int ig_heartbeat_new(struct event_base *base, const struct ig_heartbeat_ops *ops, void *userdata,
	struct ig_heartbeat **ret);
struct ig_heartbeat *ig_heartbeat_free(struct ig_heartbeat *heartbeat);

void ig_heartbeat_started(
	struct ig_heartbeat *heartbeat); /* a new process, which may take a while */
void ig_heartbeat_serving(struct ig_heartbeat *heartbeat);
void ig_heartbeat_alive(struct ig_heartbeat *heartbeat); /* it answered */
void ig_heartbeat_ended(struct ig_heartbeat *heartbeat);
