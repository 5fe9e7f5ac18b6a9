/*
 * The pin directory in bpffs: making, locking, paths. Private to datapath.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"

#define IG_PIN_PATH_BYTES 512

/* links of the guard: guard_NETNSCOOKIE_IFINDEX */
#define IG_PIN_GUARD_PREFIX "guard_"

struct ig_pins {
	char dir[IG_PIN_PATH_BYTES];   /* <bpffs>/imdsgate */
	char links[IG_PIN_PATH_BYTES]; /* <dir>/links */
	char maps[IG_PIN_PATH_BYTES];  /* <dir>/v<abi> */
	int lock_fd;		       /* flock held while open; -1 */
};

/* Mounts bpffs at `bpffs` if nothing of the kind is there, makes the directories (0700), takes the
 * lock. -EBUSY when another process holds it. */
int ig_pins_open(const char *bpffs, struct ig_pins *ret, struct ig_err *reterr_err);
/* The same with the lock that another process holds and has given us a descriptor of, which is
 * taken on success. -ENXIO when it is the lock of another directory. */
int ig_pins_join(const char *bpffs, int lock_fd, struct ig_pins *ret, struct ig_err *reterr_err);
void ig_pins_close(struct ig_pins *pins);
/* Does anybody hold the lock? For who does not. */
bool ig_pins_is_held(const struct ig_pins *pins);

/* "<dir>/<name>"; -E2BIG when it does not fit. */
int ig_pins_path(const char *dir, const char *name, char *ret, size_t len);

/* Unlinks everything in the directory and the directory itself. Returns how many files went. */
int ig_pins_remove_dir(const char *dir);
