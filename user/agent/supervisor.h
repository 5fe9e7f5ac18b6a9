/*
 * What systemd, or whoever else starts the agent, is told, and how it has one agent replaced by
 * another without a gap: a reload runs imdsgated --replace, which leaves when the new agent serves
 * and says which process that is. The protocol is sd_notify's: a datagram to the socket that is
 * named in NOTIFY_SOCKET.
 */
#pragma once

#include "base/err.h"

struct ig_ready {
	int fd; /* -1: nobody waits for it */
	const char *text;
	const char *begun; /* NULL, or what is said there before the other agent stops serving */
};

/* For the one who waits in ig_replace(): not to be ended any more because it takes long. */
#define IG_READY_BEGUN "taking over\n"

/* Where to say that the gate serves: fd if it is one, else NOTIFY_SOCKET. The environment is
 * changed: the server must not find it there. `begun` is left NULL. */
int ig_ready_open(int fd, struct ig_ready *ret, struct ig_err *reterr_err);

/* Goes on as a new process, which is the new agent: 0 there, and *ret_fd has to get its "ready",
 * after IG_READY_BEGUN if there is an agent to take over from. In the process that was there
 * before: 1 once it did, negative errno when it ended or took longer than IG_REPLACE_SEC for
 * either, with nothing of it left. */
int ig_replace(int *ret_fd, struct ig_err *reterr_err);
