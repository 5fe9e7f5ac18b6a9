/*
 * A connection to a syslog receiver: a unix datagram socket, TCP, or TLS over TCP. Blocking with
 * short time limits: used by sink_syslog.c in its own thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

#define IG_SYSLOG_HOST_BYTES 256

enum ig_syslog_transport { IG_SYSLOG_UNIX, IG_SYSLOG_TCP, IG_SYSLOG_TLS };

struct ig_syslog_target {
	enum ig_syslog_transport transport;
	char host[IG_SYSLOG_HOST_BYTES]; /* or the path */
	char port[6];
};

/* "unix:/dev/log", "tcp://HOST[:PORT]", "tls://HOST[:PORT]" (514 and 6514 without a port; an IPv6
 * address stands in brackets). -EINVAL with a message. */
int ig_syslog_target_parse(const char *url, struct ig_syslog_target *ret, struct ig_err *err);

struct ssl_st;
struct ssl_ctx_st;

struct ig_syslog_conn {
	int fd; /* -1: not connected */
	struct ssl_st *ssl;
};

/* What is trusted: the certificates in ca_file, or the system's (NULL). For IG_SYSLOG_TLS. */
int ig_syslog_tls_new(const char *ca_file, struct ssl_ctx_st **ret, struct ig_err *err);

/* Looks the host up and connects. stop() is asked in between and ends it (-ECANCELED). */
int ig_syslog_conn_open(const struct ig_syslog_target *target, struct ssl_ctx_st *tls,
	bool (*stop)(void *userdata), void *userdata, struct ig_syslog_conn *ret);
void ig_syslog_conn_close(struct ig_syslog_conn *conn);

/* Has the peer hung up? 0 or a negative errno. */
int ig_syslog_conn_check(struct ig_syslog_conn *conn);
/* How much was taken, or a negative errno. -EAGAIN: nothing for a second; try again with the same.
 * A datagram is taken as a whole. */
ssize_t ig_syslog_conn_send(struct ig_syslog_conn *conn, const void *data, size_t len);
/* Bytes that the peer's machine has not acknowledged. */
size_t ig_syslog_conn_unacknowledged(const struct ig_syslog_conn *conn);
