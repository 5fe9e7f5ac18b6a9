/*
 * Keeps the BPF map of workloads equal to what is declared: each declared cgroup that exists, and
 * the cgroups under which kubelet keeps pods, with their verdicts. The monitor does the writing.
 */
#pragma once

#include <stdbool.h>

#include <imdsgate/abi.h>

#include "objects/store.h"

struct event_base;
struct ig_link;
struct ig_workloads;

struct ig_workloads_ops {
	/* Called once, when the map has what was declared at that time. */
	void (*synced)(void *userdata);
	/* Could everything that is declared be read? */
	bool (*complete)(void *userdata);
};

/* root_fd is borrowed. */
int ig_workloads_new(struct event_base *base, int root_fd, struct ig_link *link,
	const struct ig_store *store, const struct ig_workloads_ops *ops, void *userdata,
	struct ig_workloads **ret);
struct ig_workloads *ig_workloads_free(struct ig_workloads *workloads);

/* Reads the store again. The first call leads to `synced`. */
int ig_workloads_update(struct ig_workloads *workloads);
/* The same for the pods that changed alone, as far as that is enough: to be called by the store's
 * listener. */
int ig_workloads_update_changed(struct ig_workloads *workloads);

/* What the data path does with the pod's connections, and the id of its cgroup (0: it does not
 * exist). */
struct ig_workload_entry ig_workloads_verdicts(
	const struct ig_store *store, const struct ig_pod *pod);
uint64_t ig_workloads_cgroup_id(struct ig_workloads *workloads, const struct ig_pod *pod);
