/*
 * What tests/bench/flood.c and flood.bpf.c say to each other.
 */
#pragma once

#include <linux/types.h>

#define FLOOD_EVENTS 64 /* at most, in one run of the program */

struct flood {
	__u64 netns_cookie;
	__u64 made;   /* so far */
	__u64 wanted; /* by now */
};
