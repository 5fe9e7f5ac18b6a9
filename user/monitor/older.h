/*
 * Connections to an endpoint that are older than the gate: found in the kernel's tables
 * (NETLINK_SOCK_DIAG) of a network namespace, and ended (SOCK_DESTROY) unless their owner may have
 * them. Packets of a pod pass the guard only if a connect hook noted their connection, so in other
 * namespaces than the host's an older one ends in any case: it would hang, and may be opened again.
 * Private to monitor.
 */
#pragma once

#include <stdint.h>

#include <imdsgate/abi.h>

struct ig_datapath;

/* Called for each connection that was ended: event->reason is IG_EVENT_OLDER_CONNECTION. */
typedef void ig_older_ended(const struct ig_event *event, void *userdata);

struct ig_older {
	struct ig_datapath *dp;
	const struct ig_settings *settings; /* with the host's cookie */
	ig_older_ended *ended;
	void *userdata;
};

/* Looks through the namespace of netns_fd and comes back to home_fd. Returns how many connections
 * were ended; -EOPNOTSUPP when the kernel cannot (CONFIG_INET_DIAG_DESTROY). One that cannot be
 * attributed is ended. */
int ig_older_end(const struct ig_older *older, int netns_fd, int home_fd, uint64_t netns_cookie);
