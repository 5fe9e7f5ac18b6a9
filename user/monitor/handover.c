/*
 * Serves the agent that takes over; see handover.h. One at a time, one request at a time, each
 * legal only in its turn: what comes out of turn ends the session.
 *
 * It must never wait for the other side, and never leave the node between two agents: until COMMIT
 * the old one serves, and puts back what a new one that failed may have changed.
 */
#include "monitor/handover.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <imdsgate/abi.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "base/log.h"
#include "datapath/datapath.h"
#include "monitor/handover_proto.h"
#include "monitor/listeners.h"
#include "monitor/services.h"

#define KILL_WAIT_MSEC 1000

enum state {
	STATE_NOBODY,
	STATE_CONNECTED,
	STATE_GREETED,
	STATE_APPLYING,
	STATE_COMMITTING, /* the reply to COMMIT is owed */
	STATE_COMMITTED,
};

struct ig_handover {
	struct ig_handover_options options;
	struct event_base *base;
	struct sockaddr_un address;
	int listen_fd, fd, pidfd;		     /* owned; -1 */
	struct event *acceptable, *readable, *timer; /* owned */
	enum state state;
	pid_t pid;
	bool over; /* another agent is the one to ask */
};

IG_DEFINE_CLEANUP(struct ig_handover *, ig_handover_free);

/* ---- the end of a session ---- */

/* It must not go on changing things when we have put ours back. */
static void kill_peer(struct ig_handover *h)
{
	struct pollfd ended = {.fd = h->pidfd, .events = POLLIN};

	if (h->pidfd < 0 || syscall(SYS_pidfd_send_signal, h->pidfd, SIGKILL, NULL, 0) < 0)
		return;
	(void)poll(&ended, 1, KILL_WAIT_MSEC);
}

static void end_session(struct ig_handover *h, bool kill)
{
	enum state was = h->state;

	if (was == STATE_NOBODY)
		return;
	h->state = STATE_NOBODY;
	if (was == STATE_APPLYING && kill)
		kill_peer(h);
	(void)evtimer_del(h->timer);
	if (h->readable)
		event_free(h->readable);
	h->readable = NULL;
	h->fd = ig_close(h->fd);
	h->pidfd = ig_close(h->pidfd);
	if (was == STATE_APPLYING) {
		ig_log_err("the new agent did not get to the end, this one goes on",
			IG_KV_U64(PID, h->pid));
		h->options.ops->undo(h->options.userdata);
	} else if (was >= STATE_COMMITTING) {
		/* also without having been quiet: there is nothing left to hand over */
		h->over = true;
		h->options.ops->done(h->options.userdata);
	} else {
		ig_log_info("the new agent is gone, this one goes on", IG_KV_U64(PID, h->pid));
	}
}

static void on_timer(evutil_socket_t fd, short what, void *userdata)
{
	struct ig_handover *h = userdata;

	(void)fd;
	(void)what;
	ig_log_err("the new agent hangs, killing it", IG_KV_U64(PID, h->pid));
	end_session(h, true);
}

/* ---- requests ---- */

static int hello(struct ig_handover *h, struct ig_handover_reply *reply,
	const struct ig_handover_request *request, int *ret_fd)
{
	(void)reply;
	if (request->abi_version != IG_ABI_VERSION)
		return -EPROTONOSUPPORT;
	*ret_fd = ig_datapath_lock_fd(h->options.dp);
	h->state = STATE_GREETED;
	ig_log_info("another agent is about to take over", IG_KV_U64(PID, h->pid));
	return 0;
}

static int service(struct ig_handover *h, struct ig_handover_reply *reply,
	const struct ig_handover_request *request, int *ret_fd)
{
	const char *key;
	int r = ig_services_get(h->options.services, request->service, &key, ret_fd);

	if (r == 0)
		(void)snprintf(reply->service, sizeof(reply->service), "%s", key);
	return r;
}

static int listener(struct ig_handover *h, struct ig_handover_reply *reply,
	const struct ig_handover_request *request, int *ret_fd)
{
	const struct ig_listener *l = ig_listeners_next(h->options.listeners, request->after);

	if (!l)
		return -ENOENT;
	reply->listener.number = l->opened_seq;
	reply->listener.netns_cookie = l->netns_cookie;
	reply->listener.owner = l->owner;
	reply->listener.is_host = l->is_host;
	reply->listener.port = l->port;
	(void)snprintf(reply->listener.name, sizeof(reply->listener.name), "%s", l->name);
	*ret_fd = l->sock;
	return 0;
}

static int apply(struct ig_handover *h)
{
	static const struct timeval patience = {.tv_sec = IG_HANDOVER_APPLY_SEC};

	if (h->state != STATE_GREETED)
		return -EPROTO;
	h->state = STATE_APPLYING;
	return evtimer_add(h->timer, &patience) < 0 ? -ENOMEM : 0;
}

static int commit(struct ig_handover *h)
{
	if (h->state != STATE_APPLYING)
		return -EPROTO;
	(void)evtimer_del(h->timer);
	h->state = STATE_COMMITTING;
	h->options.ops->commit(h->options.userdata);
	return 0;
}

static int serve(struct ig_handover *h, const struct ig_handover_request *request,
	struct ig_handover_reply *reply, int *ret_fd)
{
	if (request->magic != IG_HANDOVER_MAGIC || request->version != IG_HANDOVER_VERSION)
		return -EPROTONOSUPPORT;
	if ((h->state == STATE_CONNECTED) != (request->kind == IG_HANDOVER_HELLO) ||
		h->state == STATE_COMMITTING)
		return -EPROTO;
	switch (request->kind) {
	case IG_HANDOVER_HELLO: return hello(h, reply, request, ret_fd);
	case IG_HANDOVER_SERVICE: return service(h, reply, request, ret_fd);
	case IG_HANDOVER_LISTENER: return listener(h, reply, request, ret_fd);
	case IG_HANDOVER_APPLY: return apply(h);
	case IG_HANDOVER_COMMIT: return commit(h);
	default: return -EPROTO;
	}
}

static struct ig_handover_reply make_reply(uint16_t kind, int result)
{
	return (struct ig_handover_reply){.magic = IG_HANDOVER_MAGIC,
		.version = IG_HANDOVER_VERSION,
		.kind = kind,
		.result = result,
		.abi_version = IG_ABI_VERSION};
}

static void on_readable(evutil_socket_t fd, short what, void *userdata)
{
	struct ig_handover *h = userdata;
	struct ig_handover_request request = {};
	struct ig_handover_reply reply;
	size_t n_fds = 0;
	int send_fd = -1;
	ssize_t n = ig_fd_recv(fd, &request, sizeof(request), NULL, 0, &n_fds);
	int r;

	(void)what;
	if (n == -EAGAIN || n == -EINTR)
		return;
	if (n != sizeof(request)) {
		/* at its end it changes nothing any more */
		end_session(h, n > 0);
		return;
	}
	reply = make_reply(request.kind, 0);
	r = reply.result = serve(h, &request, &reply, &send_fd);
	if (r == 0 && request.kind == IG_HANDOVER_COMMIT)
		return; /* answered when it is quiet */
	r = ig_fd_send(fd, &reply, sizeof(reply), &send_fd, send_fd >= 0 ? 1 : 0);
	if (r < 0 || reply.result == -EPROTO || reply.result == -EPROTONOSUPPORT)
		end_session(h, true);
}

void ig_handover_quiet(struct ig_handover *h)
{
	const struct ig_handover_reply reply = make_reply(IG_HANDOVER_COMMIT, 0);

	if (h->state != STATE_COMMITTING)
		return;
	h->state = STATE_COMMITTED;
	h->over = true;
	if (ig_fd_send(h->fd, &reply, sizeof(reply), NULL, 0) < 0)
		end_session(h, false);
}

/* ---- connections ---- */

/* Root of our own user namespace: the root of another one has another number here. */
static int check_peer(int fd, pid_t *ret_pid)
{
	struct ucred peer = {};
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return -errno;
	if (peer.uid != 0)
		return -EACCES;
	*ret_pid = peer.pid;
	return 0;
}

static void on_acceptable(evutil_socket_t listen_fd, short what, void *userdata)
{
	struct ig_handover *h = userdata;
	_cleanup_close_ int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	pid_t pid = 0;

	(void)what;
	/* whoever comes second finds out by the end of its connection */
	if (fd < 0 || h->over || h->state != STATE_NOBODY || check_peer(fd, &pid) < 0)
		return;
	h->readable = event_new(h->base, fd, EV_READ | EV_PERSIST, on_readable, h);
	if (!h->readable)
		return;
	if (event_add(h->readable, NULL) < 0) {
		event_free(h->readable);
		h->readable = NULL;
		return;
	}
	/* from another pid namespace there is no number: then it cannot be killed */
	h->pidfd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	h->pid = pid;
	h->fd = TAKE_FD(fd);
	h->state = STATE_CONNECTED;
}

/* Under another name first, so that there is always one who answers. */
static int open_socket(struct ig_handover *h)
{
	struct sockaddr_un fresh = {.sun_family = AF_UNIX};
	mode_t mask;
	int r, n = snprintf(fresh.sun_path, sizeof(fresh.sun_path), "%s.new", h->options.path);

	if (n < 0 || (size_t)n >= sizeof(fresh.sun_path))
		return -ENAMETOOLONG;
	h->address.sun_family = AF_UNIX;
	(void)snprintf(h->address.sun_path, sizeof(h->address.sun_path), "%s", h->options.path);
	h->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (h->listen_fd < 0 || (unlink(fresh.sun_path) < 0 && errno != ENOENT))
		return -errno;
	mask = umask(0177);
	r = bind(h->listen_fd, (const struct sockaddr *)&fresh, sizeof(fresh)) < 0 ? -errno : 0;
	(void)umask(mask);
	if (r < 0)
		return r;
	if (listen(h->listen_fd, 1) < 0 || rename(fresh.sun_path, h->address.sun_path) < 0) {
		r = -errno;
		(void)unlink(fresh.sun_path);
	}
	return r;
}

int ig_handover_new(struct event_base *base, const struct ig_handover_options *options,
	struct ig_handover **ret)
{
	_cleanup_(ig_handover_freep) struct ig_handover *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	h->options = *options;
	h->base = base;
	h->listen_fd = h->fd = h->pidfd = -1;
	r = open_socket(h);
	if (r < 0)
		return r;
	h->timer = evtimer_new(base, on_timer, h);
	h->acceptable = event_new(base, h->listen_fd, EV_READ | EV_PERSIST, on_acceptable, h);
	if (!h->timer || !h->acceptable || event_add(h->acceptable, NULL) < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(h);
	return 0;
}

/* Nobody answers there: it was ours, and we have just stopped listening. */
static bool is_stale(const struct ig_handover *h)
{
	_cleanup_close_ int probe =
		socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return probe >= 0 && h->address.sun_path[0] &&
	       connect(probe, (const struct sockaddr *)&h->address, sizeof(h->address)) < 0 &&
	       errno == ECONNREFUSED;
}

struct ig_handover *ig_handover_free(struct ig_handover *h)
{
	if (!h)
		return NULL;
	h->state = STATE_NOBODY;
	if (h->acceptable)
		event_free(h->acceptable);
	if (h->readable)
		event_free(h->readable);
	if (h->timer)
		event_free(h->timer);
	h->listen_fd = ig_close(h->listen_fd);
	(void)ig_close(h->fd);
	(void)ig_close(h->pidfd);
	if (!h->over && is_stale(h))
		(void)unlink(h->address.sun_path);
	free(h);
	return NULL;
}
