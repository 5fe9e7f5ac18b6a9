/*
 * The hash chain over the lines of a run. "prev" of a record is the SHA-256 of the line before it,
 * in lower-case hex: of its bytes from '{' to '}', without the newline. The first record of a run
 * has no line before it; its "prev" is the SHA-256 of the text
 *
 *	imdsgate/audit/v1:BOOT:RUN
 *
 * with the record's own "boot" and "run". Used by the stream, which makes chains, and by verify.c.
 */
#pragma once

#include <stddef.h>

#define IG_AUDIT_HASH_BYTES 64 /* hex digits */

/* Both write IG_AUDIT_HASH_BYTES digits and a NUL. 0 or -ENOMEM. */
int ig_audit_chain_first(const char *boot_id, const char *run_id, char *ret);
/* len: with or without the newline at the end. */
int ig_audit_chain_next(const char *line, size_t len, char *ret);
