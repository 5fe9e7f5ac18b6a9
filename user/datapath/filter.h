/*
 * The guard as a classic filter (clsact) at egress of an interface: attaching, finding and removing
 * ours. Filters of others are never touched: ours is known by handle, priority and the name of its
 * program together. Not for other modules.
 */
#pragma once

#include <stdint.h>

/* What the names of the guard's programs begin with. */
#define IG_FILTER_PROGRAM_PREFIX "ig_guard_l"

/* Puts the program there, or in the place of ours that is there already. -EEXIST: somebody else's
 * filter is in its place. */
int ig_filter_attach(unsigned int ifindex, int prog_fd);

/* 1: our filter is there, with this program; 0: it is not; -EEXIST: somebody else's is. */
int ig_filter_find(unsigned int ifindex, uint32_t *ret_program_id);

/* 1: ours was there and is removed; 0: it was not there. */
int ig_filter_remove(unsigned int ifindex);
