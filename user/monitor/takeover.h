/*
 * The new agent's end when it takes over from one that runs (handover_proto.h). Asks and waits, at
 * most IG_HANDOVER_REPLY_SEC, which it may because it serves nobody yet. -EPIPE from any of these:
 * the old agent is gone, and there is nobody to take over from. Private to monitor.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct ig_listeners;
struct ig_services;
struct ig_takeover;

/* -ENOENT or -ECONNREFUSED when nobody answers at path; -EBUSY when somebody else takes over just
 * now; -EPROTONOSUPPORT when the old agent is of another kind and has to be stopped first. */
int ig_takeover_new(const char *path, struct ig_takeover **ret, struct ig_err *reterr_err);
struct ig_takeover *ig_takeover_free(struct ig_takeover *takeover);

int ig_takeover_fd(const struct ig_takeover *takeover); /* readable: the old agent is gone */
/* The lock on the pin directory; the caller's from then on, -1 afterwards. */
int ig_takeover_lock(struct ig_takeover *takeover);

int ig_takeover_services(struct ig_takeover *takeover, struct ig_services *services);
/* Those that were not fetched yet. */
int ig_takeover_listeners(struct ig_takeover *takeover, struct ig_listeners *listeners);
/* From now on the caller changes what is pinned. If it does not get to ig_takeover_commit(), the
 * old agent puts its own back. */
int ig_takeover_apply(struct ig_takeover *takeover);
/* The old agent accepts nothing any more when this returns 0. */
int ig_takeover_commit(struct ig_takeover *takeover);
