/*
 * The request table: what the server may ask for, and the checks before it gets it. Private to
 * monitor.
 */
#pragma once

#include <stdint.h>

#include "monitor/proto.h"

struct ig_datapath;
struct ig_requests;
struct ig_sources;

/* Both outlive it. */
int ig_requests_new(struct ig_datapath *dp, struct ig_sources *sources, struct ig_requests **ret);
struct ig_requests *ig_requests_free(struct ig_requests *requests);

/* Whether the server may ask for this now, see session.h: 0, -EPROTO or -EBUSY. Before anything is
 * served. */
int ig_requests_admit(struct ig_requests *requests, const struct ig_monitor_request *request);

/* A new server process starts with an empty notion of what it has set. */
void ig_requests_new_session(struct ig_requests *requests);

/* Serves every kind but IG_MONITOR_READY (-EINVAL). Returns the reply's result. */
int ig_requests_serve(struct ig_requests *requests, const struct ig_monitor_request *request,
	struct ig_monitor_message *reply, int *ret_fd);
