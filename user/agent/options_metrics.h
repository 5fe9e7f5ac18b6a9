/*
 * The flags of the metrics: where they are served. Rows in the table of options.c.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct ig_options;

/* Strings are borrowed from argv. */
struct ig_metrics_choices {
	const char *socket;  /* NULL: not served there */
	const char *group;   /* may use the socket; NULL: that of the server's user */
	uint32_t gid;	     /* of the group, looked up */
	uint16_t port;	     /* 0: not served there */
	const char *address; /* of that port, IPv4 or IPv6; NULL: 127.0.0.1 */
};

int ig_option_metrics_socket(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_metrics_port(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_metrics_address(struct ig_options *o, const char *value, struct ig_err *err);
int ig_option_metrics_group(struct ig_options *o, const char *value, struct ig_err *err);

/* What they say together, and with other flags. */
int ig_options_check_metrics(const struct ig_options *o, struct ig_err *err);
/* Fills in gid; the user's ids are known. */
int ig_options_find_metrics_group(struct ig_options *o, struct ig_err *err);
