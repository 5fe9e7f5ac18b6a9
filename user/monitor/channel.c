/*
 * Channels to the server; see channel.h. Every byte that comes in is from an unprivileged process:
 * a datagram of the wrong size or kind ends the relation.
 */
#include "monitor/channel.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/fdutil.h"

#define FDS_MAX	  2
#define QUEUE_MAX (2 * IG_LISTENERS_MAX)

struct queued {
	struct ig_monitor_message message;
	int fds[FDS_MAX]; /* owned */
	size_t n_fds;
	STAILQ_ENTRY(queued) link;
};

struct ig_channel {
	const struct ig_channel_ops *ops;
	void *userdata;
	int async_fd, sync_fd;
	struct event *async_read, *async_write, *sync_read; /* owned */
	STAILQ_HEAD(, queued) queue;
	size_t n_queued;
	bool broken;
};

IG_DEFINE_CLEANUP(struct ig_channel *, ig_channel_free);

static void queued_free(struct queued *q)
{
	for (size_t i = 0; i < q->n_fds; i++)
		(void)ig_close(q->fds[i]);
	free(q);
}

static void break_off(struct ig_channel *c, int error)
{
	if (c->broken)
		return;
	c->broken = true;
	(void)event_del(c->async_read);
	(void)event_del(c->async_write);
	(void)event_del(c->sync_read);
	c->ops->broken(error, c->userdata);
}

/* The kernel has no room for the message now; it has not seen it either. */
static bool is_for_later(int r)
{
	return r == -EAGAIN || r == -ENOBUFS || r == -ENOMEM || r == -ETOOMANYREFS;
}

static int enqueue(struct ig_channel *c, const struct ig_monitor_message *message, const int *fds,
	size_t n_fds)
{
	struct queued *q;

	if (c->n_queued >= QUEUE_MAX)
		return -E2BIG;
	q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	q->message = *message;
	for (; q->n_fds < n_fds; q->n_fds++) {
		q->fds[q->n_fds] = fcntl(fds[q->n_fds], F_DUPFD_CLOEXEC, 0);
		if (q->fds[q->n_fds] < 0) {
			int r = -errno;

			queued_free(q);
			return r;
		}
	}
	STAILQ_INSERT_TAIL(&c->queue, q, link);
	c->n_queued++;
	(void)event_add(c->async_write, NULL);
	return 0;
}

int ig_channel_send(struct ig_channel *c, const struct ig_monitor_message *message, const int *fds,
	size_t n_fds)
{
	int r;

	if (c->broken)
		return -EPIPE;
	if (n_fds > FDS_MAX)
		return -E2BIG;
	r = c->n_queued ? -EAGAIN : ig_fd_send(c->async_fd, message, sizeof(*message), fds, n_fds);
	return is_for_later(r) ? enqueue(c, message, fds, n_fds) : r;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct ig_channel *c = arg;
	struct queued *q;

	(void)what;
	while ((q = STAILQ_FIRST(&c->queue)) != NULL) {
		int r = ig_fd_send(fd, &q->message, sizeof(q->message), q->fds, q->n_fds);

		if (is_for_later(r))
			return;
		if (r < 0) {
			break_off(c, r);
			return;
		}
		STAILQ_REMOVE_HEAD(&c->queue, link);
		c->n_queued--;
		queued_free(q);
	}
	(void)event_del(c->async_write);
}

/* 1 when a request was handled, 0 when there is none, negative when the relation is over. */
static int handle_one(struct ig_channel *c, int fd)
{
	struct ig_monitor_message reply = {.kind = IG_MONITOR_REPLY};
	struct ig_monitor_request request;
	_cleanup_close_ int reply_fd = -1;
	size_t n_fds = 0;
	ssize_t n = ig_fd_recv(fd, &request, sizeof(request), NULL, 0, &n_fds);

	if (n == -EAGAIN)
		return 0;
	if (n == 0)
		return -EPIPE;
	if (n < 0)
		return (int)n;
	if ((size_t)n != sizeof(request) || request.kind == 0 ||
		request.kind >= _IG_MONITOR_REQUEST_MAX)
		return -EBADMSG;
	reply.seq = request.seq;
	reply.request = request.kind;
	reply.result = c->ops->request(&request, &reply, &reply_fd, c->userdata);
	if (c->broken)
		return -EPIPE;
	if (reply.result == -EPROTO)
		return -EPROTO;
	n_fds = reply_fd >= 0 ? 1 : 0;
	/* The sync channel's peer waits for this one reply, so its buffer is empty. */
	n = fd == c->sync_fd ? ig_fd_send(fd, &reply, sizeof(reply), &reply_fd, n_fds)
			     : ig_channel_send(c, &reply, &reply_fd, n_fds);
	return n < 0 ? (int)n : 1;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct ig_channel *c = arg;
	int r = 1;

	(void)what;
	/* a bounded burst, so that a busy server cannot keep the monitor from its other duties */
	for (int i = 0; i < 64 && r > 0; i++)
		r = handle_one(c, fd);
	if (r < 0)
		break_off(c, r);
}

static int prepare(struct event_base *base, int fd, struct ig_channel *c, struct event **ret_read)
{
	*ret_read = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, c);
	if (!*ret_read || event_add(*ret_read, NULL) < 0)
		return -ENOMEM;
	return ig_fd_set_nonblock(fd);
}

int ig_channel_new(struct event_base *base, int async_fd, int sync_fd,
	const struct ig_channel_ops *ops, void *userdata, struct ig_channel **ret)
{
	_cleanup_(ig_channel_freep) struct ig_channel *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		(void)ig_close(async_fd);
		(void)ig_close(sync_fd);
		return -ENOMEM;
	}
	STAILQ_INIT(&c->queue);
	c->ops = ops;
	c->userdata = userdata;
	c->async_fd = async_fd;
	c->sync_fd = sync_fd;
	r = prepare(base, async_fd, c, &c->async_read);
	if (r == 0)
		r = prepare(base, sync_fd, c, &c->sync_read);
	if (r < 0)
		return r;
	c->async_write = event_new(base, async_fd, EV_WRITE | EV_PERSIST, on_writable, c);
	if (!c->async_write)
		return -ENOMEM;
	*ret = TAKE_PTR(c);
	return 0;
}

struct ig_channel *ig_channel_free(struct ig_channel *c)
{
	struct queued *q;

	if (!c)
		return NULL;
	while ((q = STAILQ_FIRST(&c->queue)) != NULL) {
		STAILQ_REMOVE_HEAD(&c->queue, link);
		queued_free(q);
	}
	if (c->async_read)
		event_free(c->async_read);
	if (c->async_write)
		event_free(c->async_write);
	if (c->sync_read)
		event_free(c->sync_read);
	(void)ig_close(c->async_fd);
	(void)ig_close(c->sync_fd);
	free(c);
	return NULL;
}
