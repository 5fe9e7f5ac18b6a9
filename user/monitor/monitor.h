/*
 * The privileged process: owns the BPF programs and maps, the listening sockets and the server
 * process. It parses nothing that a workload sent, and treats the server as hostile (proto.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <imdsgate/abi.h>

#include "base/err.h"

struct ig_monitor_options {
	const char *bpffs;
	const char *cgroup_root;
	const char *const *netns_dirs; /* NULL-terminated */
	uint16_t gate_port;
	struct ig_settings settings; /* host_netns_cookie is filled in by the monitor */
	char *const *server_argv;    /* argv of the server process, NULL-terminated */
	const char *guard;	     /* "auto", "off" or interfaces (uplinks.h) */
	bool guard_clsact;	     /* with the classic filter, also where the kernel has tcx */
	int ready_fd;		     /* "ready\n" is written here once the gate serves; -1 */
};

/* Runs until SIGTERM or SIGINT (returns 0) or until it cannot go on (negative errno, *reterr_err
 * says why if it never got going). The programs stay attached in any case. */
int ig_monitor_run(const struct ig_monitor_options *options, struct ig_err *reterr_err);
