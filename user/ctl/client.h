/*
 * The tool's end of the control socket: blocking, one request.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/err.h"

/* Sends the request and reads one reply. 0 with a new reference in *ret_result; -ECONNREFUSED,
 * -ENOENT, -EACCES, -ETIMEDOUT, -ECONNRESET, … when the agent cannot be reached or hangs up or
 * stays silent for 5 s before it has answered (*ret_reached is false); otherwise the agent's own
 * code and message. args may be NULL. */
int ig_ctl_call(const char *socket_path, const char *noun, const char *verb, json_t *args,
	json_t **ret_result, bool *ret_reached, struct ig_err *reterr_err);

/* The same with another limit than 5 s, for those that rather go without an answer. */
int ig_ctl_call_within(unsigned int limit_msec, const char *socket_path, const char *noun,
	const char *verb, json_t *args, json_t **ret_result, bool *ret_reached,
	struct ig_err *reterr_err);

/* The same for streaming verbs, which may take their time between lines: after the reply, `line` is
 * called for each line (without its newline) until it returns non-zero (which is returned), the
 * agent hangs up (0), or limit_sec after the reply (-ETIMEDOUT; 0: no limit). */
int ig_ctl_stream(const char *socket_path, const char *noun, const char *verb, json_t *args,
	unsigned int limit_sec, int (*line)(const char *text, size_t len, void *userdata),
	void *userdata, bool *ret_reached, struct ig_err *reterr_err);
