/*
 * The uplinks: interfaces of the agent's own network namespace by which an endpoint can be reached.
 * Puts the guard on each, and follows links and routes. Which they are (`auto`):
 *
 *	- every interface that a unicast route of any table leads to an endpoint by. Rules and marks
 *	  (policy routing) are not looked at: whatever they say, a packet takes one of these routes;
 *	- every interface of a kind that may lead out (all but veth, bridge, dummy, …), without a
 *	  route too, for a packet socket or one bound to a device asks no route. These have the
 *	  guard from the moment they appear, before they have a route.
 *
 * lo never. What has the guard once keeps it while it exists: a route that moves away may come
 * back. A veth or bridge gets it only when the first route by it is reported; what passed meanwhile
 * (between the route and the report) ends with the next packet.
 */
#pragma once

#include <stddef.h>

#include "base/err.h"

struct event_base;
struct ig_guard;
struct ig_uplinks;

struct ig_uplinks_ops {
	/* An interface got the guard: what left by it before is the caller's affair. */
	void (*guarded)(const char *name, void *userdata);
};

/* choice: "auto", or names of interfaces, separated by commas, which need not exist yet. Borrowed,
 * as is the guard. Attaches nothing yet. */
int ig_uplinks_new(struct event_base *base, struct ig_guard *guard, const char *choice,
	const struct ig_uplinks_ops *ops, void *userdata, struct ig_uplinks **ret);
struct ig_uplinks *ig_uplinks_free(struct ig_uplinks *uplinks);

/* Puts the guard on all there are and follows them from then on. Fails when one cannot get it. */
int ig_uplinks_start(struct ig_uplinks *uplinks, struct ig_err *reterr_err);
