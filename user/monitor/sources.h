/*
 * Whose a packet is that came in by an interface of the host: the other end of a veth pair is in a
 * network namespace, and that cannot be forged as an address can. Private to monitor.
 */
#pragma once

#include <stdint.h>

struct ig_datapath;
struct ig_listeners;
struct ig_sources;

/* Both outlive it. */
int ig_sources_new(
	struct ig_datapath *dp, const struct ig_listeners *listeners, struct ig_sources **ret);
struct ig_sources *ig_sources_free(struct ig_sources *sources);

/* ifindex: in the agent's own network namespace. The namespace at its other end, by cookie, and the
 * cgroup of a process in there; 0 when there is none. -ENOENT: it is no end of a pair, or leads to
 * a namespace without a listener; -EAGAIN: not known yet, and it is too early to look again. */
int ig_sources_find(struct ig_sources *sources, unsigned int ifindex, uint64_t *ret_netns_cookie,
	uint64_t *ret_cgroup_id);
