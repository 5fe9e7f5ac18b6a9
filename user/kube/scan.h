/*
 * A strict push tokeniser for JSON (RFC 8259) in fixed memory: fed with pieces of any length, it
 * says what begins, what the text is, what ends. It stores no text and takes no memory, so a value
 * of any length passes through.
 *
 * Checked here: grammar, nesting, control characters, escapes and UTF-8 in texts. Not checked:
 * doubled keys, ranges of numbers, and whether \ud800 has its other half, which the grammar allows
 * and which matters only to whom decodes the text. Any number of values may follow each other.
 * Pure. Called by pick.c.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <imdsgate/limits.h>

enum ig_kube_token {
	IG_KUBE_TOKEN_OBJECT,
	IG_KUBE_TOKEN_ARRAY,
	IG_KUBE_TOKEN_KEY,
	IG_KUBE_TOKEN_STRING,
	IG_KUBE_TOKEN_NUMBER,
	IG_KUBE_TOKEN_LITERAL, /* true, false, null */
	_IG_KUBE_TOKEN_MAX
};

/* A negative errno ends the scanning with it. */
struct ig_kube_scan_ops {
	int (*begin)(enum ig_kube_token token, void *userdata);
	/* The text of what began last, in pieces and as it stands: keys and strings without their
	 * quotes, escapes and all. An escape or a UTF-8 sequence may be cut. */
	int (*text)(const char *raw, size_t len, void *userdata);
	int (*end)(enum ig_kube_token token, void *userdata);
};

struct ig_kube_scan {
	const struct ig_kube_scan_ops *ops; /* the caller's */
	void *userdata;
	int error;
	unsigned int depth;
	uint8_t state;
	uint8_t text_state;	     /* of a string or a number */
	uint8_t hex_left, utf8_left; /* digits of \uXXXX, bytes of a sequence */
	uint8_t utf8_min, utf8_max;  /* of the next byte */
	bool in_key;
	const char *literal; /* what is left of it */
	uint8_t is_array[(IG_KUBE_JSON_DEPTH_MAX + 7) / 8];
};

/* ops: borrowed, outlives the scanner. Nothing is to be freed afterwards. */
void ig_kube_scan_init(
	struct ig_kube_scan *scan, const struct ig_kube_scan_ops *ops, void *userdata);

/* -EBADMSG, or what an op said. An error stays. */
int ig_kube_scan_feed(struct ig_kube_scan *scan, const char *data, size_t len);

/* Not inside a value. */
bool ig_kube_scan_idle(const struct ig_kube_scan *scan);
