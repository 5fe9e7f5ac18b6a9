/*
 * One connection of the lab's HTTP server.
 */
#pragma once

#include <sys/queue.h>

#include "lab/http.h"

struct lab_conn;
LIST_HEAD(lab_conn_list, lab_conn);

/* What connections share; owned by http.c. */
struct lab_conns {
	const struct lab_http_options *options;
	struct lab_conn_list list;
	void (*on_gone)(void *userdata); /* after each connection that ends by itself */
	void *userdata;
};

/* Takes fd over, also on failure. Nothing is read before the event loop runs again. */
int lab_conn_new(struct lab_conns *conns, int fd, const char *local, const char *peer);
void lab_conns_free_all(struct lab_conns *conns);
