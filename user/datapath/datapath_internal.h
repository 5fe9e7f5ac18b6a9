/*
 * What the files of datapath share. Not for other modules.
 */
#pragma once

#include "base/cleanup.h"
#include "datapath/datapath.h"
#include "datapath/pins.h"

struct redirect_bpf;

struct ig_datapath {
	struct redirect_bpf *skel; /* owned */
	struct ig_pins pins;
	int cgroup_fd;
};

IG_DEFINE_CLEANUP(struct ig_datapath *, ig_datapath_free);
