/*
 * What the BPF programs and the agent share: map keys and values, ring records, verdicts. The only
 * header that both sides include. Fixed-width types, explicit padding, no pointers. Addresses and
 * ports whose name ends in _be are in network byte order; everything else is in host order.
 *
 * Maps are pinned and outlive the agent, so a change of any layout here raises IG_ABI_VERSION; a
 * new agent then makes new maps instead of adopting the old ones.
 */
#pragma once

#include <linux/types.h>

#define IG_ABI_VERSION 4

/* The guarded addresses: one index per address:port. */
enum ig_endpoint {
	IG_ENDPOINT_IMDS,	  /* 169.254.169.254:80 */
	IG_ENDPOINT_WIRESERVER,	  /* 168.63.129.16:80, which also serves /metadata */
	IG_ENDPOINT_HOSTGAPLUGIN, /* 168.63.129.16:32526 */
	_IG_ENDPOINT_MAX,
	/* Nothing that is guarded, so without a verdict: the agent's own port for /host/token. In
	 * flows only. */
	IG_ENDPOINT_HOST_TOKEN = 64
};

#define IG_ADDR_IMDS	     0xa9fea9feU /* 169.254.169.254, host order */
#define IG_ADDR_WIRESERVER   0xa83f8110U /* 168.63.129.16, host order */
#define IG_PORT_METADATA     80
#define IG_PORT_HOSTGAPLUGIN 32526
#define IG_ADDR_LOOPBACK     0x7f000001U /* 127.0.0.1, host order: where gate listeners are */

/* What happens to a connection. Zero is deny: an entry that nobody filled in refuses. */
enum ig_verdict {
	IG_VERDICT_DENY,     /* connect() fails with EPERM; recorded */
	IG_VERDICT_REDIRECT, /* to the gate listener of the caller's network namespace */
	IG_VERDICT_PASS,     /* untouched; recorded */
	_IG_VERDICT_MAX
};

/* Value of map `settings` (array of one). All zero refuses everything. */
struct ig_settings {
	__u64 host_netns_cookie;
	__u8 host_verdict[4];  /* by endpoint: callers in the host's namespace and in no workload */
	__u8 other_verdict[4]; /* by endpoint: callers in other namespaces and in no workload */
	/* On 127.0.0.1 of the host's namespace; 0: none. Connects there go where they want, but
	 * leave a flow, so that the agent knows who asks. */
	__u16 host_token_port_be;
	__u8 pad[6];
};

/* Value of map `workloads`, keyed by cgroup id (__u64). */
struct ig_workload_entry {
	__u8 verdict[4]; /* by endpoint */
	/* 1: a default for all that is below (kubelet's pods), no workload itself; each cgroup
	 * directly below is one */
	__u8 covers_many;
	__u8 pad[3];
};

/* Value of map `listeners`, keyed by network namespace cookie (__u64). */
struct ig_listener_entry {
	__u16 port_be; /* on 127.0.0.1 of that namespace */
	__u8 pad[6];
};

/* Key of map `flows`: a connection to the agent. Another namespace can use the same address and
 * port, so the namespace is part of it; so is the port that it goes to, since one source port may
 * serve several connections as long as these differ. The destination is always IG_ADDR_LOOPBACK. */
struct ig_flow_key {
	__u64 netns_cookie;
	__u32 saddr_be;
	__u16 sport_be;
	__u16 gate_port_be;
};

#define IG_COMM_BYTES 16

/* Who called connect(), as the kernel knew it at that moment. */
struct ig_caller {
	__u64 netns_cookie; /* of the socket, which may differ from the task's */
	__u64 cgroup_id;    /* the task's own cgroup */
	/* the ancestor (or itself) that is declared, or directly below a default for many; 0: none
	 * that is one workload */
	__u64 workload_cgroup_id;
	__u64 start_time_ns; /* of the process, since boot including suspend */
	__u64 exe_inode;     /* 0 when unknown (kernel threads, no access) */
	__u32 exe_device;    /* kernel encoding: major << 20 | minor */
	__u32 tgid;	     /* process id in the initial pid namespace */
	__u32 tid;
	__u32 uid; /* in the initial user namespace */
	__u32 gid;
	__u32 pad;
	char comm[IG_COMM_BYTES]; /* NUL-terminated; set by the caller, so untrusted */
};

/* A connection to an endpoint. Value of map `flows`, and part of every event. */
struct ig_flow {
	struct ig_caller caller;
	__u64 cookie;	       /* of the socket: unique while the system is up */
	__u64 connect_time_ns; /* CLOCK_MONOTONIC */
	__u32 daddr_be;	       /* as the caller asked for it */
	__u16 dport_be;
	__u16 gate_port_be; /* where it went on IG_ADDR_LOOPBACK; 0: not to the agent */
	__u8 family;	    /* AF_INET, or AF_INET6 for a v4-mapped destination */
	__u8 protocol;	    /* IPPROTO_TCP, IPPROTO_UDP, … */
	__u8 endpoint;	    /* enum ig_endpoint */
	__u8 published;	    /* the flow was handed over once; a second connect() needs its own */
	__u8 counted;	    /* among the connections of its workload */
	__u8 pad[3];
};

/* Why the kernel side let something through or stopped it; closed list, also for the audit. */
#define IG_EVENT_REASONS(X)                                                                        \
	X(PASSED, "passed")		      /* verdict pass */                                   \
	X(DENIED, "denied")		      /* verdict deny */                                   \
	X(NOT_TCP, "not_tcp")		      /* UDP and others cannot be redirected */            \
	X(NO_LISTENER, "no_listener")	      /* first contact from a namespace */                 \
	X(NO_STORAGE, "no_socket_storage")    /* the kernel had no memory for the flow */          \
	X(BOUND_TO_DEVICE, "bound_to_device") /* cannot reach lo and could not be undone */        \
	X(FLOW_TABLE_FULL, "flow_table_full") /* the agent will refuse this one */                 \
	X(TOO_MANY_CONNECTIONS, "too_many_connections_of_workload")                                \
	X(PACKET_FORWARDED, "forwarded")     /* guard: a packet without a socket of this host */   \
	X(PACKET_RAW, "raw_socket")	     /* guard: made by a raw or packet socket */           \
	X(PACKET_NOT_ALLOWED, "not_allowed") /* guard: the socket's owner may not */               \
	X(OLDER_CONNECTION, "older_connection") /* the monitor ended it */

enum ig_event_reason {
#define X(id, text) IG_EVENT_##id,
	IG_EVENT_REASONS(X)
#undef X
		_IG_EVENT_REASON_MAX
};

/* The packet that the guard dropped; zero but for the first in events of connect hooks. */
struct ig_dropped {
	/* drops of the same source on this CPU since its last record; in events of connect hooks:
	 * of the same workload */
	__u64 suppressed;
	__u32 saddr_be;	       /* as on the wire: whatever the sender says */
	__u32 ifindex;	       /* uplink */
	__u32 ingress_ifindex; /* by which it came into this namespace; 0: from here */
	__u16 sport_be;
	__u8 pad[2];
};

/* Record of ring `events`, read by the server. */
struct ig_event {
	__u32 reason; /* enum ig_event_reason */
	__u32 pad;
	struct ig_flow
		flow; /* of the guard: no process, cgroup and namespace of the socket if any */
	struct ig_dropped packet;
};

/* Key of map `direct`: a connection to an endpoint, as its opener sees it. */
struct ig_direct_key {
	__u32 saddr_be;
	__u32 daddr_be;
	__u16 sport_be;
	__u16 dport_be;
};

struct ig_direct {
	__u64 cookie; /* of the socket */
	__u8 closed;  /* what is left of the connection carries no data */
	__u8 pad[7];
};

/* Key of map `drops`: a source of dropped packets. */
struct ig_turn_key {
	__u64 cgroup_id; /* of the socket; 0 without */
	__u32 saddr_be;
	__u32 ingress_ifindex;
};

/* How many records somebody has had this second. */
struct ig_turn {
	__u64 since_ns;
	__u64 records;
	__u64 suppressed; /* what had none, so far */
	__u64 told;	  /* of those, what the records said */
};

/* Value of map `shares`, by cgroup id of the workload: what it has of what all have together. */
struct ig_share {
	__s64 connections; /* that were redirected and are not closed yet */
	struct ig_turn events;
	struct ig_turn wakeups;
};

/* Record of ring `wakeups`, read by the monitor: a namespace without a listener was met. */
struct ig_wakeup {
	__u64 netns_cookie;
	__u64 cgroup_id;
	__u64 workload_cgroup_id;
	__u32 tgid;
	__u32 tid;
};

/* Index of map `counters` (per-CPU array of __u64). */
#define IG_COUNTERS(X)                                                                             \
	X(REDIRECTED, "redirected")                                                                \
	X(PASSED, "passed")                                                                        \
	X(DENIED, "denied")                                                                        \
	X(NOT_TCP, "not_tcp")                                                                      \
	X(UPSTREAM, "upstream")                                                                    \
	X(NO_LISTENER, "no_listener")                                                              \
	X(NO_STORAGE, "no_socket_storage")                                                         \
	X(BOUND_TO_DEVICE, "bound_to_device")                                                      \
	X(DEVICE_UNBOUND, "device_unbound")                                                        \
	X(FLOW_PUBLISHED, "flow_published")                                                        \
	X(FLOW_TABLE_FULL, "flow_table_full")                                                      \
	X(TOO_MANY_CONNECTIONS, "too_many_connections")                                            \
	X(FLOW_CLOSED, "flow_closed_early")                                                        \
	X(HOST_TOKEN, "host_token")                                                                \
	X(PEERNAME, "peername_restored")                                                           \
	X(GUARD_PASSED, "guard_passed")		  /* packets */                                    \
	X(GUARD_DROPPED, "guard_dropped")	  /* packets, each recorded, suppressed or lost */ \
	X(GUARD_SUPPRESSED, "guard_suppressed")	  /* dropped without a record of their own */      \
	X(GUARD_UNREADABLE, "guard_unreadable")	  /* dropped for too many VLAN tags */             \
	X(EVENTS_SUPPRESSED, "events_suppressed") /* too many of one workload */                   \
	X(EVENTS_LOST, "events_lost")                                                              \
	X(WAKEUPS_SUPPRESSED, "wakeups_suppressed") /* the same */                                 \
	X(WAKEUPS_LOST, "wakeups_lost")

enum ig_counter {
#define X(id, text) IG_COUNTER_##id,
	IG_COUNTERS(X)
#undef X
		_IG_COUNTER_MAX
};

_Static_assert(sizeof(struct ig_settings) == 24, "abi");
_Static_assert(sizeof(struct ig_workload_entry) == 8, "abi");
_Static_assert(sizeof(struct ig_listener_entry) == 8, "abi");
_Static_assert(sizeof(struct ig_flow_key) == 16, "abi");
_Static_assert(sizeof(struct ig_caller) == 80, "abi");
_Static_assert(sizeof(struct ig_flow) == 112, "abi");
_Static_assert(sizeof(struct ig_dropped) == 24, "abi");
_Static_assert(sizeof(struct ig_event) == 144, "abi");
_Static_assert(sizeof(struct ig_direct_key) == 12, "abi");
_Static_assert(sizeof(struct ig_direct) == 16, "abi");
_Static_assert(sizeof(struct ig_turn_key) == 16, "abi");
_Static_assert(sizeof(struct ig_turn) == 32, "abi");
_Static_assert(sizeof(struct ig_share) == 72, "abi");
_Static_assert(sizeof(struct ig_wakeup) == 32, "abi");
_Static_assert(__builtin_offsetof(struct ig_flow, daddr_be) == 96, "abi");
_Static_assert(__builtin_offsetof(struct ig_caller, comm) == 64, "abi");
