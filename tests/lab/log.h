/*
 * The record of what reached the lab: one JSON object a line, one write(2) a line. Tests prove from
 * it that something did *not* happen ("the real endpoint was never reached"), so a line is written
 * before the lab acts on the event, and a line that cannot be written is an error of the whole run.
 */
#pragma once

#include "base/buf.h"

struct lab_log {
	int fd;	   /* owned unless it is standard output */
	int error; /* first failure to write: main() turns it into its exit status */
};

/* path == NULL: standard output. */
int lab_log_open(const char *path, struct lab_log *ret);
void lab_log_close(struct lab_log *log);

/* Starts a line: {"event":EVENT,"time":…  The caller adds members with ig_buf_json_member_*(). */
void lab_log_begin(struct ig_buf *line, const char *event);
/* Ends the line, writes it, and empties the buffer, which owns nothing afterwards. */
void lab_log_end(struct lab_log *log, struct ig_buf *line);
