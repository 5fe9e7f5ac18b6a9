/*
 * Which assertions have been used: each is good for one request.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#define LAB_REPLAY_MAX 16384

struct lab_replay_entry;

struct lab_replay {
	TAILQ_HEAD(, lab_replay_entry) list; /* owned; oldest first */
	size_t n;
};

void lab_replay_init(struct lab_replay *replay);
void lab_replay_done(struct lab_replay *replay); /* a zeroed one will do as well */

/* Remembers the pair until expires_sec. -EEXIST when it is remembered already, -ENOMEM. */
int lab_replay_use(struct lab_replay *replay, const char *client_id, const char *jti,
	uint64_t now_sec, uint64_t expires_sec);
