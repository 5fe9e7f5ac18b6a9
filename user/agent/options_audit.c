/*
 * The flags of the audit; see options_audit.h. Called through the table in options.c.
 */
#include "agent/options_audit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "agent/options.h"
#include "audit/syslog_conn.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"

#define ROTATE_BYTES_MIN 65536 /* a few lines of the longest kind */

struct unit {
	const char *suffix;
	uint64_t factor;
};

/* NUMBER with one of the units, "" among them if it may stand alone. */
static int parse_with_unit(
	const char *text, const struct unit *units, size_t n_units, uint64_t *ret)
{
	size_t digits = strspn(text, "0123456789");
	char number[24];
	uint64_t value;

	if (digits == 0 || digits >= sizeof(number))
		return -EINVAL;
	memcpy(number, text, digits);
	number[digits] = '\0';
	if (ig_parse_u64(number, &value) < 0)
		return -EINVAL;
	for (size_t i = 0; i < n_units; i++)
		if (strcmp(text + digits, units[i].suffix) == 0)
			return __builtin_mul_overflow(value, units[i].factor, ret) ? -ERANGE : 0;
	return -EINVAL;
}

int ig_option_audit_file(struct ig_options *o, const char *value, struct ig_err *err)
{
	size_t len = strlen(value);

	if (!len || value[len - 1] == '/')
		return ig_err_set(
			err, -EINVAL, "--audit-file takes the path of a file, got \"%s\"", value);
	o->audit.file = value;
	return 0;
}

int ig_option_audit_rotate_size(struct ig_options *o, const char *value, struct ig_err *err)
{
	static const struct unit units[] = {
		{"", 1}, {"K", 1ULL << 10}, {"M", 1ULL << 20}, {"G", 1ULL << 30}};
	uint64_t bytes;

	if (parse_with_unit(value, units, IG_ARRAY_SIZE(units), &bytes) < 0 || bytes > INT64_MAX ||
		(bytes && bytes < ROTATE_BYTES_MIN))
		return ig_err_set(err, -EINVAL,
			"--audit-rotate-size takes a number of bytes from 64K, or with K, M or G, or 0, got \"%s\"",
			value);
	o->audit.rotate_bytes = bytes;
	return 0;
}

int ig_option_audit_rotate_age(struct ig_options *o, const char *value, struct ig_err *err)
{
	static const struct unit units[] = {{"s", IG_USEC_PER_SEC}, {"m", 60 * IG_USEC_PER_SEC},
		{"h", 3600 * IG_USEC_PER_SEC}, {"d", 86400 * IG_USEC_PER_SEC}};
	uint64_t usec = 0;

	if (strcmp(value, "0") != 0 &&
		(parse_with_unit(value, units, IG_ARRAY_SIZE(units), &usec) < 0 ||
			usec > INT64_MAX / 2))
		return ig_err_set(err, -EINVAL,
			"--audit-rotate-age takes a time such as 90s, 30m, 24h or 7d, or 0, got \"%s\"",
			value);
	o->audit.rotate_usec = usec;
	return 0;
}

int ig_option_audit_keep(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (ig_parse_u32(value, &o->audit.keep) < 0 || o->audit.keep < 1 ||
		o->audit.keep > IG_AUDIT_KEEP_MAX)
		return ig_err_set(err, -EINVAL,
			"--audit-keep takes a number from 1 to %d, got \"%s\"", IG_AUDIT_KEEP_MAX,
			value);
	return 0;
}

int ig_option_audit_fsync(struct ig_options *o, const char *value, struct ig_err *err)
{
	static const char *const names[_IG_AUDIT_FSYNC_MAX] = {
		[IG_AUDIT_FSYNC_NONE] = "none",
		[IG_AUDIT_FSYNC_INTERVAL] = "interval",
		[IG_AUDIT_FSYNC_ALWAYS] = "always",
	};

	for (unsigned int i = 0; i < _IG_AUDIT_FSYNC_MAX; i++) {
		if (strcmp(value, names[i]) == 0) {
			o->audit.fsync = (enum ig_audit_fsync)i;
			return 0;
		}
	}
	return ig_err_set(
		err, -EINVAL, "--audit-fsync takes none, interval or always, got \"%s\"", value);
}

int ig_option_audit_stdout(struct ig_options *o, const char *value, struct ig_err *err)
{
	(void)value;
	(void)err;
	o->audit.to_stdout = true;
	return 0;
}

int ig_option_audit_syslog(struct ig_options *o, const char *value, struct ig_err *err)
{
	struct ig_syslog_target target;
	int r = ig_syslog_target_parse(value, &target, err);

	if (r < 0)
		return ig_err_wrap(err, r, "--audit-syslog");
	o->audit.syslog = value;
	return 0;
}

int ig_option_audit_syslog_ca(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (value[0] != '/')
		return ig_err_set(err, -EINVAL,
			"--audit-syslog-ca takes an absolute path, got \"%s\"", value);
	o->audit.syslog_ca = value;
	return 0;
}

int ig_option_audit_otlp(struct ig_options *o, const char *value, struct ig_err *err)
{
	const char *host = strstr(value, "://");

	/* no user and password: they would stand on the command line */
	if ((!ig_str_has_prefix(value, "http://") && !ig_str_has_prefix(value, "https://")) ||
		strpbrk(value, "@ #") || !host[3] || host[3] == '/')
		return ig_err_set(err, -EINVAL,
			"--audit-otlp takes http[s]://HOST[:PORT]/v1/logs, got \"%s\"", value);
	o->audit.otlp = value;
	return 0;
}

int ig_option_audit_otlp_headers(struct ig_options *o, const char *value, struct ig_err *err)
{
	if (value[0] != '/')
		return ig_err_set(err, -EINVAL,
			"--audit-otlp-headers takes an absolute path, got \"%s\"", value);
	o->audit.otlp_headers = value;
	return 0;
}

int ig_option_audit_chain(struct ig_options *o, const char *value, struct ig_err *err)
{
	(void)value;
	(void)err;
	o->audit.chain = true;
	return 0;
}
