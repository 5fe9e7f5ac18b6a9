/*
 * One line of the audit as a syslog message (RFC 5424): authpriv, a severity from the decision, the
 * kind as MSGID, number and run as structured data, the JSON line itself as the text. Pure.
 */
#pragma once

#include <stdint.h>

#include "audit/line.h"
#include "base/buf.h"

#define IG_SYSLOG_HEAD_BYTES 512 /* what stands before the JSON, at most */

/* host: the node's name; what a syslog header does not allow in it becomes "_", "" becomes "-". */
void ig_syslog_format(const struct ig_audit_line *line, const char *host, const char *run_id,
	uint32_t pid, struct ig_buf *b);
