/*
 * The only door to libbpf: loads or adopts the BPF programs, pins what has to outlive the agent,
 * and reads and writes the maps. Used by the monitor; the server uses just the two functions that
 * take a bare descriptor (flow_take, ring).
 *
 * Pinned below the pin directory: `links/<program>` and `v<abi>/<map>`. A pinned link goes on
 * redirecting when the agent is gone (connect() is then refused: fail closed); only
 * ig_datapath_detach() takes it off.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <imdsgate/abi.h>

#include "base/err.h"

struct ig_datapath;
struct ig_ring;

struct ig_datapath_options {
	const char *bpffs; /* mounted here if it is not */
	const char
		*cgroup_root; /* directory of a cgroup2 file system that the programs attach to */
	/* A running agent holds the pin directory and has given us its lock (below): then nothing
	 * that is pinned is thrown away. */
	bool beside;
	int lock_fd; /* with `beside`: taken on success */
};

/* Opens and locks the pin directory, then loads the programs against the pinned maps, if there are
 * any. Nothing is attached yet, unless an earlier agent left it so. -EBUSY when another agent holds
 * the pin directory, -ENOTUNIQ when the maps of one that runs have another shape, -EOPNOTSUPP when
 * the kernel lacks something (the message says what). */
int ig_datapath_open(const struct ig_datapath_options *options, struct ig_datapath **ret,
	struct ig_err *reterr_err);
/* Lets go of descriptors. What is pinned stays in force. */
struct ig_datapath *ig_datapath_free(struct ig_datapath *dp);

/* Attaches what is not attached yet, replaces the program in links that are, pins all. After a
 * failure nothing new stays attached. *ret_adopted: how many links an earlier agent had left. */
int ig_datapath_attach(
	struct ig_datapath *dp, unsigned int *ret_adopted, struct ig_err *reterr_err);

/* Unpins everything below the bpffs directory, which detaches it, and removes the guard's filters
 * from the interfaces of this network namespace. -EBUSY while an agent runs. *ret_links (never
 * NULL): how many links and filters were removed. */
int ig_datapath_detach(const char *bpffs, unsigned int *ret_links, struct ig_err *reterr_err);

/* The lock on the pin directory, to give to the agent that takes over. Borrowed; -1 after
 * ig_datapath_release(). */
int ig_datapath_lock_fd(const struct ig_datapath *dp);
/* The pin directory is another agent's from now on; the maps can still be used. */
void ig_datapath_release(struct ig_datapath *dp);
/* After that: is there an agent that holds it? */
bool ig_datapath_is_held(const struct ig_datapath *dp);

int ig_datapath_cgroup_fd(const struct ig_datapath *dp);  /* borrowed; O_DIRECTORY of cgroup_root */
int ig_datapath_flows_fd(const struct ig_datapath *dp);	  /* borrowed */
int ig_datapath_events_fd(const struct ig_datapath *dp);  /* borrowed */
int ig_datapath_wakeups_fd(const struct ig_datapath *dp); /* borrowed */

int ig_datapath_settings_set(struct ig_datapath *dp, const struct ig_settings *settings);

int ig_datapath_workload_set(
	struct ig_datapath *dp, uint64_t cgroup_id, const struct ig_workload_entry *entry);
/* -ENOENT when it has none. */
int ig_datapath_workload_get(
	struct ig_datapath *dp, uint64_t cgroup_id, struct ig_workload_entry *ret);
int ig_datapath_workload_delete(struct ig_datapath *dp, uint64_t cgroup_id); /* 0 if absent */
/* Calls `keep` for every entry and deletes those for which it returns false. Returns how many went.
 */
int ig_datapath_workloads_sweep(
	struct ig_datapath *dp, bool (*keep)(uint64_t, void *), void *userdata);

/* Did a connect hook note this connection as one that may go past the gate? */
bool ig_datapath_is_direct(struct ig_datapath *dp, const struct ig_direct_key *key);
void ig_datapath_direct_delete(struct ig_datapath *dp, const struct ig_direct_key *key);

int ig_datapath_listener_set(struct ig_datapath *dp, uint64_t netns_cookie, uint16_t port_be);
int ig_datapath_listener_delete(struct ig_datapath *dp, uint64_t netns_cookie); /* 0 if absent */
/* Deletes all but the one of that namespace. */
int ig_datapath_listeners_clear(struct ig_datapath *dp, uint64_t but_netns_cookie);

/* Marks a socket as the agent's own, so that its connect to IMDS passes. */
int ig_datapath_upstream_mark(struct ig_datapath *dp, int sock);
/* Marks a socket as one that may bind a port which is kept for the agent. */
int ig_datapath_port_owner_mark(struct ig_datapath *dp, int sock);
/* The map of upstream marks, which NETLINK_SOCK_DIAG takes; borrowed. */
int ig_datapath_upstream_fd(const struct ig_datapath *dp);

/* Cookie of the network namespace that a datagram socket is of, for kernels that do not tell it by
 * SO_NETNS_COOKIE. Connects the socket. -EOPNOTSUPP when the calling process is not below the
 * cgroup root, -EBUSY when somebody's program is attached exclusively. */
int ig_datapath_netns_cookie(struct ig_datapath *dp, int udp_sock, uint64_t *ret);

int ig_datapath_counters(struct ig_datapath *dp, uint64_t ret[_IG_COUNTER_MAX]);
const char *ig_counter_name(enum ig_counter counter);

/* Takes a flow out of the map: whoever gets it is the only one. -ENOENT when there is none; -EPERM
 * when the kernel does not let an unprivileged process use a map descriptor (before 5.19). */
int ig_flow_take(int flows_fd, const struct ig_flow_key *key, struct ig_flow *ret);

/* Reader of a ring. Made while privileged (it asks the kernel for the map's size); reading
 * afterwards needs no privilege. Records of another size than record_bytes are dropped: the maps
 * are ours and have one writer. */
typedef void ig_ring_record(const void *record, void *userdata);
int ig_ring_new(int ring_fd, size_t record_bytes, ig_ring_record *record, void *userdata,
	struct ig_ring **ret);
struct ig_ring *ig_ring_free(struct ig_ring *ring);
int ig_ring_epoll_fd(const struct ig_ring *ring); /* readable when there are records; borrowed */
/* Reads at most max (> 0) records, so that a flood of them leaves others their turn; the rest stays
 * readable. How many, or a negative errno. */
int ig_ring_consume(struct ig_ring *ring, unsigned int max);
