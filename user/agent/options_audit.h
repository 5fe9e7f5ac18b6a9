/*
 * The flags of the audit: where its records go and how. Rows in the table of options.c.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "audit/sink_file.h"
#include "base/err.h"

struct ig_options;

/* Strings are borrowed from argv or literals. */
struct ig_audit_choices {
	const char *file;      /* "none": no file */
	uint64_t rotate_bytes; /* 0: not by size */
	uint64_t rotate_usec;  /* 0: not by age */
	uint32_t keep;
	enum ig_audit_fsync fsync;
	bool to_stdout;
	const char *syslog;	  /* NULL: none */
	const char *syslog_ca;	  /* NULL: the system's */
	const char *otlp;	  /* NULL: none */
	const char *otlp_headers; /* NULL: none */
	bool chain;
};

#define IG_AUDIT_CHOICES_DEFAULT                                                                   \
	((struct ig_audit_choices){.file = "/var/log/imdsgate/audit.jsonl",                        \
		.keep = 10,                                                                        \
		.fsync = IG_AUDIT_FSYNC_NONE})

int ig_option_audit_file(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_audit_rotate_size(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_audit_rotate_age(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_audit_keep(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_audit_fsync(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_audit_stdout(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_audit_syslog(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_audit_syslog_ca(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_audit_otlp(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_audit_otlp_headers(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_audit_chain(struct ig_options *o, const char *value, struct ig_err *err);
