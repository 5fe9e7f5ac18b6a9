/*
 * Takes over from a running agent; see takeover.h. Believes the old agent (it is root, too), but
 * not its version: a reply that it does not know ends the attempt.
 */
#include "monitor/takeover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <imdsgate/abi.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "monitor/handover_proto.h"
#include "monitor/listeners.h"
#include "monitor/services.h"

struct ig_takeover {
	int fd, lock_fd; /* owned; -1 */
	uint64_t last;	 /* number of the last listener that was fetched */
};

IG_DEFINE_CLEANUP(struct ig_takeover *, ig_takeover_free);

static int receive(struct ig_takeover *t, enum ig_handover_kind kind,
	struct ig_handover_reply *ret_reply, int *ret_fd)
{
	_cleanup_close_ int fd = -1;
	size_t n_fds = 0;
	ssize_t n = ig_fd_recv(t->fd, ret_reply, sizeof(*ret_reply), &fd, 1, &n_fds);

	if (n == 0 || n == -ECONNRESET)
		return -EPIPE;
	if (n < 0)
		return n == -EAGAIN ? -ETIMEDOUT : (int)n;
	if ((size_t)n != sizeof(*ret_reply) || ret_reply->magic != IG_HANDOVER_MAGIC ||
		ret_reply->version != IG_HANDOVER_VERSION || ret_reply->kind != kind)
		return -EPROTONOSUPPORT;
	if (ret_reply->result < 0)
		return ret_reply->result;
	if (ret_fd)
		*ret_fd = TAKE_FD(fd);
	return 0;
}

/* One request and its reply; *ret_fd (may be NULL) is the caller's, -1 without. */
static int ask(struct ig_takeover *t, const struct ig_handover_request *what,
	struct ig_handover_reply *ret_reply, int *ret_fd)
{
	struct ig_handover_request request = *what;
	int r;

	request.magic = IG_HANDOVER_MAGIC;
	request.version = IG_HANDOVER_VERSION;
	request.abi_version = IG_ABI_VERSION;
	r = ig_fd_send(t->fd, &request, sizeof(request), NULL, 0);
	if (r == -ECONNRESET)
		r = -EPIPE;
	if (r < 0)
		return r;
	return receive(t, (enum ig_handover_kind)request.kind, ret_reply, ret_fd);
}

static int connect_to(const char *path, int *ret_fd)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const struct timeval patience = {.tv_sec = IG_HANDOVER_REPLY_SEC};
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct ucred peer = {};
	socklen_t len = sizeof(peer);

	if (fd < 0)
		return -errno;
	if (!path[0] || strlen(path) >= sizeof(address.sun_path))
		return -ENOENT;
	memcpy(address.sun_path, path, strlen(path));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
		connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return -errno;
	if (peer.uid != 0)
		return -EACCES;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int ig_takeover_new(const char *path, struct ig_takeover **ret, struct ig_err *reterr_err)
{
	const struct ig_handover_request hello = {.kind = IG_HANDOVER_HELLO};
	_cleanup_(ig_takeover_freep) struct ig_takeover *t = calloc(1, sizeof(*t));
	struct ig_handover_reply reply;
	int r;

	if (!t)
		return -ENOMEM;
	t->fd = t->lock_fd = -1;
	r = connect_to(path, &t->fd);
	if (r < 0)
		return r;
	r = ask(t, &hello, &reply, &t->lock_fd);
	if (r == -EPIPE)
		return ig_err_set(reterr_err, -EBUSY,
			"the running agent is being taken over by another one, or ends just now");
	if (r == -EPROTONOSUPPORT || (r == 0 && t->lock_fd < 0))
		return ig_err_set(reterr_err, -EPROTONOSUPPORT,
			"the running agent is of a version that this one cannot take over from: it has to be stopped first");
	if (r < 0)
		return ig_err_set(
			reterr_err, r, "the running agent does not hand over: %s", strerror(-r));
	*ret = TAKE_PTR(t);
	return 0;
}

struct ig_takeover *ig_takeover_free(struct ig_takeover *t)
{
	if (!t)
		return NULL;
	(void)ig_close(t->fd);
	(void)ig_close(t->lock_fd);
	free(t);
	return NULL;
}

int ig_takeover_fd(const struct ig_takeover *t)
{
	return t->fd;
}

int ig_takeover_lock(struct ig_takeover *t)
{
	return TAKE_FD(t->lock_fd);
}

int ig_takeover_services(struct ig_takeover *t, struct ig_services *services)
{
	for (uint32_t i = 0; i < IG_SERVICES_MAX; i++) {
		const struct ig_handover_request request = {
			.kind = IG_HANDOVER_SERVICE, .service = i};
		struct ig_handover_reply reply;
		int fd = -1, r = ask(t, &request, &reply, &fd);

		if (r == -ENOENT)
			break;
		if (r < 0)
			return r;
		reply.service[sizeof(reply.service) - 1] = '\0';
		ig_services_adopt(services, reply.service, fd);
	}
	return 0;
}

static int adopt(struct ig_listeners *listeners, struct ig_handover_reply *reply, int fd)
{
	const struct ig_listener listener = {
		.netns_cookie = reply->listener.netns_cookie,
		.sock = fd,
		.port = reply->listener.port,
		.is_host = reply->listener.is_host != 0,
		.owner = reply->listener.owner,
		.opened_seq = reply->listener.number,
		.name = reply->listener.name,
	};

	reply->listener.name[sizeof(reply->listener.name) - 1] = '\0';
	return fd < 0 ? -EBADMSG : ig_listeners_adopt(listeners, &listener);
}

int ig_takeover_listeners(struct ig_takeover *t, struct ig_listeners *listeners)
{
	for (;;) {
		const struct ig_handover_request request = {
			.kind = IG_HANDOVER_LISTENER, .after = t->last};
		struct ig_handover_reply reply;
		int fd = -1, r = ask(t, &request, &reply, &fd);

		if (r < 0)
			return r == -ENOENT ? 0 : r;
		t->last = reply.listener.number;
		r = adopt(listeners, &reply, fd);
		if (r < 0)
			return r;
	}
}

int ig_takeover_apply(struct ig_takeover *t)
{
	const struct ig_handover_request request = {.kind = IG_HANDOVER_APPLY};
	struct ig_handover_reply reply;

	return ask(t, &request, &reply, NULL);
}

int ig_takeover_commit(struct ig_takeover *t)
{
	const struct ig_handover_request request = {.kind = IG_HANDOVER_COMMIT};
	struct ig_handover_reply reply;

	return ask(t, &request, &reply, NULL);
}
