/*
 * The agent's end of the control socket. Peers are authenticated by SO_PEERCRED: root and the
 * agent's own uid may ask, nobody else. Requests are small, answers are bounded, slow readers are
 * dropped.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

struct event_base;
struct ig_ctl_server;
struct ig_ctl_conn;

struct ig_ctl_verb {
	const char *noun;
	const char *verb; /* NULL: the noun stands alone */
	/* Fills *ret_result (a new reference) or returns a negative errno and *reterr_err. `args`
	 * is an object, borrowed. A verb that streams leaves *ret_result NULL, returns 0 and goes
	 * on with ig_ctl_conn_send(). */
	int (*run)(struct ig_ctl_conn *conn, json_t *args, void *userdata, json_t **ret_result,
		struct ig_err *reterr_err);
};

/* listen_fd: bound and listening; becomes the server's on success. verbs: ends with an empty entry;
 * borrowed. The process must ignore SIGPIPE. */
int ig_ctl_server_new(struct event_base *base, int listen_fd, const struct ig_ctl_verb *verbs,
	void *userdata, struct ig_ctl_server **ret);
/* Ends every connection (their on_close is called). */
struct ig_ctl_server *ig_ctl_server_free(struct ig_ctl_server *server);

/* For streaming verbs: queues a line, adding its newline if it has none. -EAGAIN when the peer's
 * queue is full (nothing was queued). Never calls on_close: a connection ends from the loop only.
 */
int ig_ctl_conn_send(struct ig_ctl_conn *conn, const char *line, size_t len);
/* Called once when the connection ends, however it ends. */
void ig_ctl_conn_on_close(struct ig_ctl_conn *conn, void (*closed)(void *userdata), void *userdata);

/* Binds and listens on a unix socket at `path` (mode 0600, owner uid:gid), replacing a stale one: a
 * socket that nobody answers on. -EADDRINUSE when somebody does. */
int ig_ctl_listen(const char *path, unsigned int uid, unsigned int gid, int *ret_fd,
	struct ig_err *reterr_err);
/* The same with another mode, whatever the umask says. */
int ig_ctl_listen_mode(const char *path, unsigned int uid, unsigned int gid, mode_t mode,
	int *ret_fd, struct ig_err *reterr_err);
