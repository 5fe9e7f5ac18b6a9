/*
 * The listening sockets beside the gate's own: control, /host/token, metrics. The monitor opens and
 * keeps them, so that they outlive a server and go over to the next agent; the server serves what
 * it is given. This is the table that both go by.
 */
#pragma once

#include "base/err.h"
#include "monitor/monitor.h"

struct ig_agent;
struct ig_options;

enum ig_service {
	IG_SERVICE_CONTROL,
	IG_SERVICE_HOST_TOKEN_PORT,
	IG_SERVICE_HOST_TOKEN_GUARD, /* of ::1, which refuses; nobody serves it */
	IG_SERVICE_HOST_TOKEN_SOCKET,
	IG_SERVICE_METRICS_PORT,
	IG_SERVICE_METRICS_SOCKET,
	_IG_SERVICE_MAX
};

/* The monitor's side: what the options ask for. */
void ig_services_table(
	const struct ig_options *options, struct ig_monitor_service ret[_IG_SERVICE_MAX]);

/* The server's side: serves this one. Takes fd. */
int ig_service_start(struct ig_agent *agent, uint32_t service, int fd);
