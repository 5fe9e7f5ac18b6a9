/*
 * Looks at the programs, links and maps in the kernel without changing any of them: for
 * `imdsgate doctor`, with or without an agent. Privileged (CAP_SYS_ADMIN, or CAP_BPF and
 * CAP_NET_ADMIN); everything says -EPERM without.
 *
 * It must never take the lock of the pin directory (an agent that starts would give up), pin,
 * attach, or write to a map.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IG_INSPECT_HOOKS	7
#define IG_INSPECT_MAPS		15
#define IG_INSPECT_PROGRAMS_MAX 64 /* what the kernel allows at one cgroup */
#define IG_INSPECT_NAME_BYTES	15

struct ig_inspect_program {
	uint32_t id;
	char name[IG_INSPECT_NAME_BYTES + 1]; /* "" when the kernel does not tell */
};

/* One of our hooks: its pinned link, and which programs run there for the cgroup. */
struct ig_inspect_hook {
	const char *hook;    /* "connect4" */
	const char *program; /* name of our program and of its pin */
	int link_error;	     /* 0, or why the pin cannot be used; -ENOENT: there is none */
	uint32_t link_id, program_id;
	uint64_t cgroup_id; /* that the link is attached to; 0: to none any more */
	int query_error;    /* 0, or why the kernel does not tell what runs there */
	bool exclusive;	    /* something is attached at the cgroup itself that allows no other */
	size_t n_programs;
	/* in the order in which they run, those of the cgroups above included */
	struct ig_inspect_program programs[IG_INSPECT_PROGRAMS_MAX];
};

struct ig_inspect_map {
	const char *name;
	int error; /* 0, or why the pin cannot be used */
	uint32_t max_entries;
	bool is_counted; /* used is known: hash maps */
	uint32_t used;
};

/* pin_dir: "<bpffs>/imdsgate". cgroup_fd: what the programs should be attached to; -1: only the
 * links are looked at (query_error is -EBADF). */
void ig_inspect_hooks(
	const char *pin_dir, int cgroup_fd, struct ig_inspect_hook ret[IG_INSPECT_HOOKS]);
void ig_inspect_maps(const char *pin_dir, struct ig_inspect_map ret[IG_INSPECT_MAPS]);

/* Interfaces that the guard is on, by a pinned link (tcx) or a classic filter. */
#define IG_INSPECT_UPLINKS_MAX 64
struct ig_inspect_uplink {
	bool is_filter;	      /* else a link */
	uint32_t id;	      /* of the link, or of the filter's program */
	unsigned int ifindex; /* in the network namespace of the agent; 0: the interface is gone */
};

/* How many there are, at most IG_INSPECT_UPLINKS_MAX; a negative errno when they cannot be read.
 * Filters are those of the caller's network namespace. */
int ig_inspect_uplinks(const char *pin_dir, struct ig_inspect_uplink ret[IG_INSPECT_UPLINKS_MAX]);

/* The map of listeners, and whether it has the namespace. */
int ig_inspect_listeners_open(const char *pin_dir, int *ret_fd);
int ig_inspect_has_listener(int listeners_fd, uint64_t netns_cookie); /* 1, 0, negative errno */

/* Which process holds the pin directory (an agent does while it runs), as far as this process's
 * /proc/locks shows it: 0 when none. -ENOENT when there is no pin directory. */
int ig_inspect_lock_holder(const char *pin_dir, uint32_t *ret_pid);
/* The same out of the text of /proc/locks. Pure. 0: none. */
uint32_t ig_inspect_find_lock(
	const char *locks, unsigned int major, unsigned int minor, uint64_t inode);
