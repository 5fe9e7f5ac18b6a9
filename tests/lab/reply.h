/*
 * What a route answers.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define LAB_REPLY_BYTES (1024 * 1024)

#define LAB_JSON  "application/json; charset=utf-8"
#define LAB_PLAIN "text/plain; charset=utf-8"

struct lab_reply {
	unsigned int status;
	const char *content_type; /* literal */
	struct ig_buf headers;	  /* more header lines, each with its CRLF */
	struct ig_buf body;
	const char *server; /* literal; NULL: IMDS's */

	/* for the log; NULL or 0 when there is none */
	const char *client_id;	 /* whose token; owned by the directory */
	char *resource;		 /* owned */
	const char *credential;	 /* literal; what the token was given for */
	const char *fault;	 /* literal; on demand */
	unsigned int error_code; /* AADSTS… */
};

void lab_reply_init(struct lab_reply *reply);
void lab_reply_done(struct lab_reply *reply);

/* Throw away what is there and answer an error, as the identity routes write it:
 * {"error":code,"error_description":text}. */
void lab_reply_error(
	struct lab_reply *reply, unsigned int status, const char *code, const char *text);
/* … and as the other routes of IMDS do: {"error":text}. */
void lab_reply_plain_error(struct lab_reply *reply, unsigned int status, const char *text);
/* Something of ours failed: 500 with the errno's name. */
void lab_reply_failure(struct lab_reply *reply, int error);

/* "key":"123": IMDS writes numbers as strings. */
void lab_reply_member_number(struct ig_buf *b, const char *key, uint64_t value);

/* Appends the status line and all headers. content_length need not be the truth. */
int lab_reply_head(
	const struct lab_reply *reply, uint64_t content_length, int keep_alive, struct ig_buf *out);
