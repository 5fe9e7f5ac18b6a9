/*
 * Channels to the monitor; see link.h. The monitor is trusted, but a message that makes no sense
 * still ends the process rather than being guessed at.
 */
#include "agent/link.h"

#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdutil.h"
#include "base/table.h"

#define HELLO_TIMEOUT_USEC (10 * IG_USEC_PER_SEC)

struct pending {
	uint32_t seq;
	ig_link_reply *reply; /* NULL: nobody waits any more */
	void *userdata;
	UT_hash_handle hh;
};

struct ig_link {
	const struct ig_link_ops *ops;
	void *userdata;
	int async_fd, sync_fd;
	struct event *readable; /* owned */
	struct pending *pending;
	uint32_t seq;
	bool deaf; /* the monitor let a request time out, and has not been heard of since */
};

IG_DEFINE_CLEANUP(struct ig_link *, ig_link_free);

static int set_timeout(int fd, uint64_t usec)
{
	struct timeval tv = {.tv_sec = (time_t)(usec / IG_USEC_PER_SEC),
		.tv_usec = (suseconds_t)(usec % IG_USEC_PER_SEC)};

	return setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0 ? -errno : 0;
}

int ig_link_hello(
	int async_fd, struct ig_monitor_message *ret_hello, int *ret_flows_fd, int *ret_events_fd)
{
	int fds[2] = {-1, -1}, r = set_timeout(async_fd, HELLO_TIMEOUT_USEC);
	size_t n_fds = 0;
	ssize_t n;

	if (r < 0)
		return r;
	n = ig_fd_recv(async_fd, ret_hello, sizeof(*ret_hello), fds, 2, &n_fds);
	if (n < 0)
		return (int)n;
	if ((size_t)n != sizeof(*ret_hello) || ret_hello->kind != IG_MONITOR_HELLO || n_fds != 2 ||
		ret_hello->hello.abi_version != IG_ABI_VERSION) {
		for (size_t i = 0; i < n_fds; i++)
			(void)ig_close(fds[i]);
		return -EBADMSG;
	}
	*ret_flows_fd = fds[0];
	*ret_events_fd = fds[1];
	return 0;
}

static int dispatch_reply(struct ig_link *link, const struct ig_monitor_message *message)
{
	struct pending *p;

	HASH_FIND(hh, link->pending, &message->seq, sizeof(message->seq), p);
	if (!p)
		return -EBADMSG;
	HASH_DEL(link->pending, p);
	if (p->reply)
		p->reply(message, p->userdata);
	free(p);
	return 0;
}

/* 1 when something was handled, 0 when there is nothing. */
static int handle_one(struct ig_link *link)
{
	struct ig_monitor_message message;
	int fd = -1;
	size_t n_fds = 0;
	ssize_t n = ig_fd_recv(link->async_fd, &message, sizeof(message), &fd, 1, &n_fds);
	int r = 0;

	if (n == -EAGAIN)
		return 0;
	if (n <= 0)
		return n == 0 ? -EPIPE : (int)n;
	link->deaf = false;
	if ((size_t)n != sizeof(message))
		r = -EBADMSG;
	else if (message.kind == IG_MONITOR_REPLY)
		r = dispatch_reply(link, &message);
	else
		link->ops->notice(&message, TAKE_FD(fd), link->userdata);
	(void)ig_close(fd);
	return r < 0 ? r : 1;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct ig_link *link = arg;
	int r = 1;

	(void)fd;
	(void)what;
	for (int i = 0; i < IG_MONITOR_REPLIES_TURN && r > 0; i++)
		r = handle_one(link);
	if (r < 0)
		link->ops->broken(r, link->userdata);
}

int ig_link_new(struct event_base *base, int async_fd, int sync_fd, const struct ig_link_ops *ops,
	void *userdata, struct ig_link **ret)
{
	_cleanup_(ig_link_freep) struct ig_link *link = calloc(1, sizeof(*link));
	int r;

	if (!link)
		return -ENOMEM;
	link->ops = ops;
	link->userdata = userdata;
	link->async_fd = async_fd;
	link->sync_fd = sync_fd;
	r = ig_fd_set_nonblock(async_fd);
	if (r == 0)
		r = set_timeout(sync_fd, IG_MONITOR_SYNC_MSEC * IG_USEC_PER_MSEC);
	if (r < 0)
		return r;
	link->readable = event_new(base, async_fd, EV_READ | EV_PERSIST, on_readable, link);
	if (!link->readable || event_add(link->readable, NULL) < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(link);
	return 0;
}

struct ig_link *ig_link_free(struct ig_link *link)
{
	struct pending *p, *next;

	if (!link)
		return NULL;
	HASH_ITER (hh, link->pending, p, next) {
		HASH_DEL(link->pending, p);
		free(p);
	}
	if (link->readable)
		event_free(link->readable);
	(void)ig_close(link->async_fd);
	(void)ig_close(link->sync_fd);
	free(link);
	return NULL;
}

int ig_link_request(struct ig_link *link, const struct ig_monitor_request *request,
	ig_link_reply *reply, void *userdata)
{
	struct ig_monitor_request copy = *request;
	struct pending *p;
	int r;

	if (HASH_COUNT(link->pending) >= IG_MONITOR_REQUESTS_MAX)
		return -EBUSY;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->seq = copy.seq = ++link->seq;
	p->reply = reply;
	p->userdata = userdata;
	/* before it is sent: a reply that nobody expects ends the server */
	HASH_ADD(hh, link->pending, seq, sizeof(p->seq), p);
	if (!ig_table_has(p)) {
		free(p);
		return -ENOMEM;
	}
	r = ig_fd_send(link->async_fd, &copy, sizeof(copy), NULL, 0);
	if (r < 0) {
		HASH_DEL(link->pending, p);
		free(p);
		return r == -EAGAIN ? -EBUSY : r;
	}
	return 0;
}

void ig_link_forget(struct ig_link *link, const void *userdata)
{
	struct pending *p, *next;

	HASH_ITER (hh, link->pending, p, next)
		if (p->userdata == userdata)
			p->reply = NULL;
}

/* One request on the sync channel. *ret_fd is the caller's; -1 when the reply carries none. */
static int ask_and_wait(struct ig_link *link, struct ig_monitor_request *request,
	struct ig_monitor_message *ret_reply, int *ret_fd)
{
	int fd = -1, r;
	size_t n_fds = 0;
	ssize_t n;

	/* its heartbeat tells when it is back; until then nobody waits for it again */
	if (link->deaf)
		return -ETIMEDOUT;
	request->seq = ++link->seq;
	r = ig_fd_send(link->sync_fd, request, sizeof(*request), NULL, 0);
	if (r < 0)
		return r;
	for (;;) {
		n = ig_fd_recv(link->sync_fd, ret_reply, sizeof(*ret_reply), &fd, 1, &n_fds);
		if (n != sizeof(*ret_reply) || ret_reply->seq == request->seq)
			break;
		/* an answer that came after its time-out */
		fd = ig_close(fd);
	}
	if (n == sizeof(*ret_reply) && ret_reply->result == 0) {
		*ret_fd = fd;
		return 0;
	}
	(void)ig_close(fd);
	if (n == sizeof(*ret_reply))
		return ret_reply->result;
	link->deaf = n == -EAGAIN;
	return n == -EAGAIN ? -ETIMEDOUT : n < 0 ? (int)n : -EBADMSG;
}

int ig_link_upstream_socket(struct ig_link *link, int family)
{
	struct ig_monitor_request request = {
		.kind = IG_MONITOR_UPSTREAM_SOCKET,
		.upstream = {.family = (uint32_t)family},
	};
	struct ig_monitor_message reply;
	int fd = -1, r = ask_and_wait(link, &request, &reply, &fd);

	if (r < 0)
		return r;
	return fd >= 0 ? fd : -EBADMSG;
}

int ig_link_counters(struct ig_link *link, uint64_t ret[_IG_COUNTER_MAX])
{
	struct ig_monitor_request request = {.kind = IG_MONITOR_COUNTERS};
	struct ig_monitor_message reply;
	int fd = -1, r = ask_and_wait(link, &request, &reply, &fd);

	(void)ig_close(fd);
	if (r == 0)
		memcpy(ret, reply.counters, sizeof(reply.counters));
	return r;
}
