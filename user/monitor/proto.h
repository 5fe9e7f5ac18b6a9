/*
 * What the two processes say to each other over SOCK_SEQPACKET socket pairs: fixed structures, one
 * a datagram, same build on both ends. The server is unprivileged and talks to the world, so the
 * monitor treats it as hostile: requests carry numbers, never paths, and each is checked as if a
 * stranger sent it.
 *
 * Two channels: `async` (requests answered in order, and the monitor's notices) and `sync` (one
 * request at a time, the server waits).
 */
#pragma once

#include <stdint.h>

#include <imdsgate/abi.h>
#include <imdsgate/limits.h>

/* where the server finds its ends after exec */
#define IG_SERVER_ASYNC_FD 3
#define IG_SERVER_SYNC_FD  4

enum ig_monitor_request_kind {
	IG_MONITOR_CGROUP_PATH = 1,  /* id → path below the cgroup root. -ENOENT: it is gone */
	IG_MONITOR_PROCESS,	     /* process, start time, inode → path of the executable */
	IG_MONITOR_UPSTREAM_SOCKET,  /* a TCP socket that passes the gate (descriptor in the reply)
				      */
	IG_MONITOR_WORKLOAD_SET,     /* cgroup id, verdicts */
	IG_MONITOR_WORKLOAD_DELETE,  /* cgroup id */
	IG_MONITOR_WORKLOADS_SYNCED, /* the server has set all it knows: drop what it did not set */
	IG_MONITOR_FLOW_TAKE,	     /* for kernels where the server cannot use the map itself */
	IG_MONITOR_COUNTERS,
	IG_MONITOR_SOURCE,   /* interface → namespace and cgroup at its other end (sources.h) */
	IG_MONITOR_READY,    /* the server serves, or could */
	IG_MONITOR_ALIVE,    /* the answer to a heartbeat */
	IG_MONITOR_DRAINING, /* it accepts nothing any more */
	_IG_MONITOR_REQUEST_MAX
};

struct ig_monitor_request {
	uint32_t kind;
	uint32_t seq; /* echoed */
	union {
		uint64_t cgroup_id; /* CGROUP_PATH, WORKLOAD_DELETE */
		struct {
			uint64_t start_time_ns;
			uint64_t exe_inode;
			uint32_t tgid;
			uint32_t pad;
		} process;
		struct {
			uint32_t family; /* AF_INET or AF_INET6 */
			uint32_t pad;
		} upstream;
		struct {
			uint64_t cgroup_id;
			struct ig_workload_entry entry;
		} workload;
		struct ig_flow_key flow;
		uint32_t ifindex; /* SOURCE */
	};
};

enum ig_monitor_message_kind {
	IG_MONITOR_REPLY = 1,
	IG_MONITOR_HELLO,	    /* first message; descriptors: flows map, events ring */
	IG_MONITOR_LISTENER_OPENED, /* descriptor: the listening socket */
	IG_MONITOR_LISTENER_CLOSED,
	IG_MONITOR_CONNECTION_ENDED, /* one that is older than the gate */
	IG_MONITOR_SERVICE,	     /* descriptor: a listening socket, by its place in the table */
	IG_MONITOR_HEARTBEAT,	     /* wants to be answered */
	IG_MONITOR_SERVE,	     /* an agent that stood by: the turn is ours */
	IG_MONITOR_DRAIN,	     /* accept nothing, bring to an end what has begun, end */
};

/* Why there is a new server process. */
enum ig_monitor_start {
	IG_MONITOR_START_FIRST,
	IG_MONITOR_START_DIED,
	IG_MONITOR_START_HUNG,
};

struct ig_monitor_message {
	uint32_t kind;
	uint32_t seq;	  /* REPLY: of the request */
	int32_t result;	  /* REPLY: 0 or a negative errno */
	uint32_t request; /* REPLY: enum ig_monitor_request_kind it answers */
	union {
		struct {
			uint64_t host_netns_cookie;
			uint32_t abi_version;
			uint32_t monitor_pid;
			uint32_t standby; /* another agent serves: IG_MONITOR_SERVE follows */
			uint32_t start;	  /* enum ig_monitor_start */
			uint32_t hung;	  /* servers that were killed because they hung */
			uint32_t pad;
		} hello;
		uint32_t service; /* SERVICE */
		struct {
			uint64_t netns_cookie; /* also the listener's id: one per namespace */
			uint32_t is_host;
			uint16_t port;
			uint16_t pad;
			char name[IG_LISTENER_NAME_BYTES]; /* file name of the namespace; "" without
							    */
		} listener;
		struct {
			uint32_t deleted; /* the executable's file was removed */
			uint32_t pad;
			char path[IG_EXE_PATH_BYTES]; /* NUL-terminated */
		} process;
		char cgroup_path[IG_CGROUP_PATH_BYTES]; /* NUL-terminated */
		struct ig_flow flow;
		struct ig_event event; /* CONNECTION_ENDED */
		struct {
			uint64_t netns_cookie;
			uint64_t cgroup_id; /* of a process in there; 0: there is none */
		} source;
		uint64_t counters[_IG_COUNTER_MAX];
	};
};
