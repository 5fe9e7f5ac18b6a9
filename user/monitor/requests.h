/*
 * The request table: what the server may ask for, and the checks before it gets it. Private to
 * monitor.
 */
#pragma once

#include <stdbool.h>
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

/* From now on what the server says of workloads is remembered and not put into the map, which is
 * another agent's. */
void ig_requests_hold(struct ig_requests *requests);
/* The same for good, while the server brings to an end what it has begun. */
void ig_requests_drain(struct ig_requests *requests);
/* Puts all that was said into the map, and takes out what was not if that was all; also to put back
 * what another agent may have changed. */
int ig_requests_apply(struct ig_requests *requests);

/* Was a workload's right to pass the gate taken back since the last call? What it has connected is
 * still open. */
bool ig_requests_take_revoked(struct ig_requests *requests);

/* Serves every kind but those that are the monitor's own affair (-EINVAL). Returns the reply's
 * result. */
int ig_requests_serve(struct ig_requests *requests, const struct ig_monitor_request *request,
	struct ig_monitor_message *reply, int *ret_fd);
