/*
 * The privileged process: owns the BPF programs and maps, the listening sockets and the server
 * process. It parses nothing that a workload sent, and treats the server as hostile (proto.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <imdsgate/abi.h>
#include <imdsgate/limits.h>

#include "base/err.h"

struct ig_datapath;

/* A socket that the server serves (services.h). */
struct ig_monitor_service {
	/* Says what it is, so that an agent which wants the same can go on with it; "": not asked
	 * for. */
	char key[IG_SERVICE_KEY_BYTES];
	/* May leave *ret_fd alone: then it goes without. */
	int (*open)(void *userdata, struct ig_datapath *dp, int *ret_fd, struct ig_err *reterr_err);
	void (*adopted)(void *userdata); /* optional: it is another agent's socket */
	void *userdata;
};

struct ig_monitor_options {
	const char *bpffs;
	const char *cgroup_root;
	const char *const *netns_dirs; /* NULL-terminated */
	uint16_t gate_port;
	struct ig_settings settings; /* host_netns_cookie is filled in by the monitor */
	char *const *server_argv;    /* argv of the server process, NULL-terminated */
	const char *guard;	     /* "auto", "off" or interfaces (uplinks.h) */
	bool guard_clsact;	     /* with the classic filter, also where the kernel has tcx */
	int ready_fd;		     /* -1, or ready_text is written here once the gate serves */
	const char *ready_text;
	const char *begun_text; /* the same before another agent stops serving; NULL: nothing */
	const struct ig_monitor_service *services;
	size_t n_services;
	bool hold; /* stay when another agent has taken over, until told to end or nobody serves */
	const char *handover; /* socket by which another agent can take over; "": none */
};

/* Runs until SIGTERM or SIGINT (returns 0) or until it cannot go on (negative errno, *reterr_err
 * says why if it never got going). The programs stay attached in any case. */
int ig_monitor_run(const struct ig_monitor_options *options, struct ig_err *reterr_err);
