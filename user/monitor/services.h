/*
 * Sockets that the server serves and that outlive it: the monitor opens them once, gives each
 * server process a duplicate, and hands them to the agent that takes over. It knows nothing of what
 * is said on them: what they are, and how one is opened, is a table of the caller. Private to
 * monitor.
 */
#pragma once

#include "base/err.h"
#include "monitor/monitor.h"

struct ig_channel;
struct ig_services;

/* table, dp: outlive it. */
int ig_services_new(const struct ig_monitor_service *table, size_t n, struct ig_datapath *dp,
	struct ig_services **ret);
struct ig_services *ig_services_free(struct ig_services *services);

/* Its key ("": not asked for) and its socket (-1: none); -ENOENT beyond the end. Borrowed. */
int ig_services_get(
	const struct ig_services *services, unsigned int index, const char **ret_key, int *ret_fd);
/* A socket of the agent before us: taken if we want the same, else closed. */
void ig_services_adopt(struct ig_services *services, const char *key, int fd);
/* Opens what is asked for and not there. */
int ig_services_open(struct ig_services *services, struct ig_err *reterr_err);
/* Gives all that are there to a server. */
int ig_services_announce(const struct ig_services *services, struct ig_channel *channel);
