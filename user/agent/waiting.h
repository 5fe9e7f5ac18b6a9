/*
 * Requests that wait for what is declared. A pod's first instruction may be its token request, and
 * then the request is here before the API server's word of the pod, or of its binding, is. Such a
 * request is decided again whenever something was declared, until its time is up.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_base;
struct ig_gate_conn;
struct ig_waiting;
struct ig_wait; /* one request's; NULL in a connection that does not wait */

/* `again` is called from the loop with each connection that has waited: decide anew. */
typedef void ig_waiting_again(struct ig_gate_conn *conn);

int ig_waiting_new(struct event_base *base, ig_waiting_again *again, struct ig_waiting **ret);
/* Nobody may wait any more. */
struct ig_waiting *ig_waiting_free(struct ig_waiting *waiting);

/* The connection's current request waits until something is declared, or limit_usec have passed
 * since it came. false: they have passed already (or there is no memory to wait with). */
bool ig_waiting_start(struct ig_waiting *waiting, struct ig_gate_conn *conn, uint64_t limit_usec);
void ig_waiting_stop(struct ig_gate_conn *conn);

/* Something was declared: everybody is looked at again, from the loop. */
void ig_waiting_wake(struct ig_waiting *waiting);
size_t ig_waiting_count(const struct ig_waiting *waiting);
