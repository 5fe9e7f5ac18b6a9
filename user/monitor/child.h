/*
 * The server process as the monitor sees it: started, watched, started again when it ends, stopped.
 * The delay between starts grows while it keeps failing.
 */
#pragma once

#include <stdbool.h>

#include "monitor/channel.h"

struct event_base;
struct ig_child;

struct ig_child_ops {
	/* A new process runs behind this channel, which lives until `ended`: tell it what it needs.
	 * A negative errno ends it again. */
	int (*started)(struct ig_channel *channel, void *userdata);
	/* See ig_channel_ops. */
	int (*request)(const struct ig_monitor_request *request, struct ig_monitor_message *reply,
		int *ret_fd, void *userdata);
	/* It is gone; status as from waitpid(). Returns whether to start another. */
	bool (*ended)(int status, void *userdata);
};

/* argv: NULL-terminated, borrowed; argv[0] is for show, what runs is this same program. */
int ig_child_new(struct event_base *base, char *const *argv, const struct ig_child_ops *ops,
	void *userdata, struct ig_child **ret);
/* Kills and reaps what still runs. */
struct ig_child *ig_child_free(struct ig_child *child);

int ig_child_start(struct ig_child *child);
/* Asks it to end, kills it if it does not; `ended` follows. false: there is none to end. */
bool ig_child_stop(struct ig_child *child);
/* There is no next one when this one ends. */
void ig_child_let_end(struct ig_child *child);
bool ig_child_runs(const struct ig_child *child);
/* It is of no use any more: away with it. */
void ig_child_kill(struct ig_child *child);
/* Passes a signal on, if there is a process. */
void ig_child_signal(struct ig_child *child, int signo);
/* It serves: the next start need not wait. */
void ig_child_note_serving(struct ig_child *child);

/* NULL while there is none. */
struct ig_channel *ig_child_channel(const struct ig_child *child);
