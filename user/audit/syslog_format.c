/*
 * Syslog messages; see syslog_format.h.
 */
#include "audit/syslog_format.h"

#include <inttypes.h>

#include "base/clock.h"

#define FACILITY_AUTHPRIV 10
#define HOST_BYTES	  255 /* RFC 5424 */
/* RFC 5424 wants a private enterprise number here; this one is set aside for examples (RFC 5612) */
#define SD_ID "imdsgate@32473"

enum { SEVERITY_ERR = 3, SEVERITY_WARNING = 4, SEVERITY_NOTICE = 5, SEVERITY_INFO = 6 };

static int severity_of(const struct ig_audit_line *line)
{
	if (line->kind == IG_AUDIT_EVENTS_LOST || line->kind == IG_AUDIT_POLICY_REJECTED)
		return SEVERITY_WARNING;
	switch (line->decision) {
	case IG_AUDIT_ALLOW: return SEVERITY_INFO;
	case IG_AUDIT_DENY: return SEVERITY_WARNING;
	case IG_AUDIT_ERROR: return SEVERITY_ERR;
	default: return SEVERITY_NOTICE;
	}
}

static void put_host(struct ig_buf *b, const char *host)
{
	if (!host[0])
		ig_buf_putc(b, '-');
	for (size_t i = 0; host[i] && i < HOST_BYTES; i++)
		ig_buf_putc(b, host[i] > 0x20 && host[i] < 0x7f ? host[i] : '_');
}

void ig_syslog_format(const struct ig_audit_line *line, const char *host, const char *run_id,
	uint32_t pid, struct ig_buf *b)
{
	char when[IG_RFC3339_BYTES];

	ig_buf_printf(b, "<%d>1 %s ", FACILITY_AUTHPRIV * 8 + severity_of(line),
		ig_clock_format_rfc3339(line->time_usec, when));
	put_host(b, host);
	ig_buf_printf(b, " imdsgate %" PRIu32 " %s [" SD_ID " seq=\"%" PRIu64 "\" run=\"%s\"] ",
		pid, ig_audit_kind_name(line->kind), line->seq, run_id);
	ig_buf_append(b, line->text, line->len - 1);
}
