/*
 * The memory of used assertions; see replay.h. An agent that sends one twice must find out, so an
 * entry stays as long as the assertion would be good; only when there are too many does the oldest
 * go. Called by assertion.c.
 */
#include "lab/replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"

struct lab_replay_entry {
	TAILQ_ENTRY(lab_replay_entry) link;
	char *client_id; /* owned */
	char *jti;	 /* owned */
	uint64_t expires_sec;
};

static struct lab_replay_entry *entry_free(struct lab_replay_entry *entry)
{
	if (entry) {
		free(entry->client_id);
		free(entry->jti);
	}
	free(entry);
	return NULL;
}
IG_DEFINE_CLEANUP(struct lab_replay_entry *, entry_free);

static void drop(struct lab_replay *replay, struct lab_replay_entry *entry)
{
	TAILQ_REMOVE(&replay->list, entry, link);
	replay->n--;
	(void)entry_free(entry);
}

void lab_replay_init(struct lab_replay *replay)
{
	TAILQ_INIT(&replay->list);
	replay->n = 0;
}

void lab_replay_done(struct lab_replay *replay)
{
	struct lab_replay_entry *entry;

	while ((entry = TAILQ_FIRST(&replay->list)))
		drop(replay, entry);
}

/* Forgets on the way what has expired. */
static int look_for(
	struct lab_replay *replay, const char *client_id, const char *jti, uint64_t now_sec)
{
	struct lab_replay_entry *entry = TAILQ_FIRST(&replay->list);

	while (entry) {
		struct lab_replay_entry *next = TAILQ_NEXT(entry, link);

		if (entry->expires_sec <= now_sec)
			drop(replay, entry);
		else if (ig_str_equal_nocase(entry->client_id, client_id) &&
			 strcmp(entry->jti, jti) == 0)
			return -EEXIST;
		entry = next;
	}
	return 0;
}

int lab_replay_use(struct lab_replay *replay, const char *client_id, const char *jti,
	uint64_t now_sec, uint64_t expires_sec)
{
	_cleanup_(entry_freep) struct lab_replay_entry *entry = calloc(1, sizeof(*entry));
	int r = look_for(replay, client_id, jti, now_sec);

	if (r < 0)
		return r;
	if (!entry)
		return -ENOMEM;
	entry->client_id = strdup(client_id);
	entry->jti = strdup(jti);
	entry->expires_sec = expires_sec;
	if (!entry->client_id || !entry->jti)
		return -ENOMEM;
	if (replay->n == LAB_REPLAY_MAX)
		drop(replay, TAILQ_FIRST(&replay->list));
	TAILQ_INSERT_TAIL(&replay->list, entry, link);
	replay->n++;
	(void)TAKE_PTR(entry);
	return 0;
}
