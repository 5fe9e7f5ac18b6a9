/*
 * The lab's own small HTTP/1.1 server. Not evhttp: that hides the accept, and every accepted
 * connection has to be in the log before a byte of it is read; nor could it be made to misbehave.
 */
#pragma once

#include "base/cleanup.h"
#include "base/err.h"
#include "lab/faults.h"
#include "lab/log.h"
#include "lab/reply.h"
#include "lab/request.h"

struct event_base;
struct lab_http;

#define LAB_ADDRESS_BYTES 64 /* "[IPv6]:port" */

/* Answers one request; *reply is initialised. May not keep either. */
typedef void lab_http_handler(
	const struct lab_request *req, struct lab_reply *reply, void *userdata);

/* Appends members to the line of the log that tells of the request, before anything is done. */
typedef void lab_http_describer(const struct lab_request *req, struct ig_buf *line);

struct lab_http_options {
	struct event_base *base; /* all borrowed, and outlive the server */
	struct lab_log *log;
	struct lab_faults *faults;
	struct lab_stats *stats;
	lab_http_handler *handler;
	lab_http_describer *describe;
	void *userdata;
};

int lab_http_new(const struct lab_http_options *options, struct lab_http **ret);
/* Closes everything; requests in progress stay unanswered. */
struct lab_http *lab_http_free(struct lab_http *http);
IG_DEFINE_CLEANUP(struct lab_http *, lab_http_free);

/* "1.2.3.4:80", "[::1]:0". ret_bound holds LAB_ADDRESS_BYTES and says what port it got. */
int lab_http_listen(
	struct lab_http *http, const char *address, char *ret_bound, struct ig_err *reterr_err);
