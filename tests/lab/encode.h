/*
 * Text forms of bytes that tokens and replies need: base64, base64url, random GUIDs, Entra's way to
 * write a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define LAB_GUID_BYTES	37 /* with the NUL */
#define LAB_STAMP_BYTES 21

/* Both append to out, which reports failures. */
void lab_base64(struct ig_buf *out, const void *data, size_t len);
void lab_base64url(struct ig_buf *out, const void *data, size_t len); /* without padding */

/* Appends the bytes. -EBADMSG for padding, other alphabets, and bits that no encoder leaves over.
 */
int lab_base64url_decode(const char *text, size_t len, struct ig_buf *out);

/* A random version 4 GUID; buf holds LAB_GUID_BYTES. Returns buf, or NULL without randomness. */
const char *lab_guid(char *buf);

/* "2026-01-02 03:04:05Z"; buf holds LAB_STAMP_BYTES. Returns buf. */
const char *lab_stamp(uint64_t unix_sec, char *buf);
