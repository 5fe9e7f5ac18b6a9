/*
 * The gate listeners: one listening socket per network namespace, the BPF map entry that points to
 * it, and the reasons why it exists. A listener keeps its namespace alive, so it is closed as soon
 * as the last reason is gone.
 *
 *	named      a file in a namespace directory (of containerd, docker, `ip netns`) refers to it
 *	host       the agent's own namespace
 *	anonymous  a connect() from it was met; kept while there are processes in the cgroup that
 *	           made it. (Not while the cgroup exists: runtimes leave empty ones behind in
 *	           hierarchies that they do not look at.) A workload can make any number of
 *	           namespaces, so it has at most IG_LISTENERS_WORKLOAD_MAX of these; the one opened
 *	           first makes room for a new one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ig_datapath;
struct ig_listeners;

struct ig_listener {
	uint64_t netns_cookie;
	int sock; /* owned by the table */
	uint16_t port;
	bool is_host;
	unsigned int names;  /* files that refer to the namespace */
	uint64_t owner;	     /* cgroup id of an anonymous one; 0 otherwise */
	uint64_t opened_seq; /* age */
	const char *name;    /* file name that opened it, "" without; owned by the table */
};

struct ig_listeners_ops {
	void (*opened)(const struct ig_listener *listener, void *userdata);
	void (*closed)(const struct ig_listener *listener, void *userdata);
};

int ig_listeners_new(struct ig_datapath *dp, uint16_t preferred_port, size_t max,
	const struct ig_listeners_ops *ops, void *userdata, struct ig_listeners **ret);
struct ig_listeners *ig_listeners_free(struct ig_listeners *listeners);

/* Opens a listener in the agent's own namespace. */
int ig_listeners_add_host(struct ig_listeners *listeners, uint64_t *ret_cookie);

/* A namespace file appeared: opens a listener, or counts one more name for the one there is.
 * *ret_cookie is what ig_listeners_drop_name() takes later. */
int ig_listeners_add_named(
	struct ig_listeners *listeners, int netns_fd, const char *name, uint64_t *ret_cookie);
void ig_listeners_drop_name(struct ig_listeners *listeners, uint64_t netns_cookie);

/* A namespace that a running process is in, found at start. Nothing happens if it has a listener.
 */
int ig_listeners_add_running(
	struct ig_listeners *listeners, int netns_fd, uint64_t owner_cgroup_id);

/* A connect was met in a namespace without a listener. -ESTALE when netns_fd is not the namespace
 * with that cookie (the process id was used again). */
int ig_listeners_add_anonymous(struct ig_listeners *listeners, int netns_fd,
	uint64_t expected_cookie, uint64_t owner_cgroup_id);
/* Closes the anonymous ones whose owner is gone, some at a time: of those that were opened after
 * `after_seq`. Returns where to go on, 0 at the end. */
uint64_t ig_listeners_sweep(struct ig_listeners *listeners, uint64_t after_seq,
	bool (*owner_lives)(uint64_t cgroup_id, void *userdata), void *userdata);

bool ig_listeners_any_anonymous(const struct ig_listeners *listeners);

/* One of the agent before us, under its number there, the next one in its order; takes the socket.
 * Nothing is announced. Who it is for is found out as for new ones; ig_listeners_drop_unnamed()
 * closes the rest after that.
 */
int ig_listeners_adopt(struct ig_listeners *listeners, const struct ig_listener *listener);
void ig_listeners_drop_unnamed(struct ig_listeners *listeners);
/* Takes the way to all of them away, or gives it back: connections are refused meanwhile. */
void ig_listeners_refuse(struct ig_listeners *listeners);
void ig_listeners_admit(struct ig_listeners *listeners);

bool ig_listeners_has(const struct ig_listeners *listeners, uint64_t netns_cookie);
size_t ig_listeners_count(const struct ig_listeners *listeners);
/* By age: the first one that was opened after the one with that opened_seq (0: of all), NULL when
 * there is none. Valid until the next call that may close one. */
const struct ig_listener *ig_listeners_next(
	const struct ig_listeners *listeners, uint64_t after_seq);
/* opened_seq of the youngest that there has been. */
uint64_t ig_listeners_last_seq(const struct ig_listeners *listeners);
void ig_listeners_each(const struct ig_listeners *listeners,
	void (*each)(const struct ig_listener *listener, void *userdata), void *userdata);
