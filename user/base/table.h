/*
 * Hash tables: uthash, told to survive without memory.
 *
 * By default uthash ends the process when a table cannot be made or grown. Here an element that
 * found no place is left out and everything else stays as it was; whoever adds one asks
 * ig_table_has() at once, and still owns the element when the answer is no. Nobody else includes
 * <uthash.h> (tests/check/forbidden).
 */
#pragma once

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* Whether the HASH_ADD before this found memory; the element has a UT_hash_handle hh. */
#define ig_table_has(element) ig_table_has_by(element, hh)
/* The same for a handle of another name. */
#define ig_table_has_by(element, handle) ((element)->handle.tbl != NULL)
