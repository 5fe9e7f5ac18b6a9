/*
 * What the files of datapath share. Not for other modules.
 */
#pragma once

#include "base/cleanup.h"
#include "datapath/datapath.h"
#include "datapath/pins.h"

/* newer than the headers (Linux 6.6) */
#define ATTACH_TCX_EGRESS 47

struct bpf_object;
struct cookie_bpf;
struct redirect_bpf;

struct ig_datapath {
	struct redirect_bpf *skel; /* owned */
	struct cookie_bpf *cookie; /* owned; NULL until it is needed */
	struct ig_pins pins;
	int cgroup_fd;
	uint64_t netns_cookie; /* of the agent's own network namespace; 0: not known */
};

/* Every map of an object that is not yet loaded is the pinned one, or becomes it. */
int ig_datapath_set_pin_paths(const struct ig_datapath *dp, struct bpf_object *object);
/* The first warning of libbpf since the last load, "" without. */
const char *ig_datapath_load_warning(void);

void ig_datapath_cookie_done(struct ig_datapath *dp);

IG_DEFINE_CLEANUP(struct ig_datapath *, ig_datapath_free);
