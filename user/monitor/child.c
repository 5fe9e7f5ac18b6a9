/*
 * The server process; see child.h. Knows processes and signals, nothing of what is said on the
 * channel.
 */
#include "monitor/child.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/log.h"

#define RESTART_FIRST_MSEC 20
/* connections wait for the next server meanwhile, and clients do not wait long */
#define RESTART_LONGEST_MSEC 1000
#define STOP_TIMEOUT_SEC     3

struct ig_child {
	struct event_base *base;
	char *const *argv;
	const struct ig_child_ops *ops;
	void *userdata;
	pid_t pid;					 /* 0: none */
	struct ig_channel *channel;			 /* owned; NULL while there is none */
	struct event *on_sigchld, *restart, *kill_timer; /* owned */
	unsigned int restart_msec;
	int nice; /* as we were started */
};

IG_DEFINE_CLEANUP(struct ig_child *, ig_child_free);

static void kill_later(struct ig_child *child)
{
	static const struct timeval patience = {.tv_sec = STOP_TIMEOUT_SEC};

	(void)evtimer_add(child->kill_timer, &patience);
}

void ig_child_kill(struct ig_child *child)
{
	if (child->pid)
		(void)kill(child->pid, SIGKILL);
}

void ig_child_signal(struct ig_child *child, int signo)
{
	if (child->pid)
		(void)kill(child->pid, signo);
}

/* Whatever broke, the process behind the channel has to go; SIGCHLD then starts the next one. One
 * that merely closed is on its way out and may finish its records. */
static void on_broken(int error, void *userdata)
{
	struct ig_child *child = userdata;

	/* -ECONNRESET: likewise, with something from us unread */
	if (error == -EPIPE || error == -ECONNRESET) {
		kill_later(child);
		return;
	}
	(void)ig_log_errno(
		error, "the server broke the protocol, killing it", IG_KV_U64(PID, child->pid));
	ig_child_kill(child);
}

static int on_request(const struct ig_monitor_request *request, struct ig_monitor_message *reply,
	int *ret_fd, void *userdata)
{
	struct ig_child *child = userdata;

	return child->ops->request(request, reply, ret_fd, child->userdata);
}

static const struct ig_channel_ops channel_ops = {.request = on_request, .broken = on_broken};

/* In the child: its ends to the agreed places. They are above those, so nothing collides. */
static void exec_server(const struct ig_child *child, int async_fd, int sync_fd)
{
	sigset_t none;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)setpriority(PRIO_PROCESS, 0, child->nice);
	if (dup2(async_fd, IG_SERVER_ASYNC_FD) < 0 || dup2(sync_fd, IG_SERVER_SYNC_FD) < 0)
		_exit(127);
	(void)execv("/proc/self/exe", child->argv);
	_exit(127);
}

/* Both ends close-on-exec and above the two numbers that the child uses. */
static int make_pair(int pair[2])
{
	const int buffer_bytes = IG_MONITOR_BUFFER_BYTES;
	int raw[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, raw) < 0)
		return -errno;
	pair[0] = fcntl(raw[0], F_DUPFD_CLOEXEC, IG_SERVER_SYNC_FD + 1);
	pair[1] = fcntl(raw[1], F_DUPFD_CLOEXEC, IG_SERVER_SYNC_FD + 1);
	(void)ig_close(raw[0]);
	(void)ig_close(raw[1]);
	/* Room for what a server may have under way: an unprivileged process cannot ask for it, and
	 * the usual buffer is full after some hundreds. Where we may not either, they are told that
	 * it is busy. */
	for (int i = 0; i < 2; i++)
		(void)setsockopt(
			pair[i], SOL_SOCKET, SO_SNDBUFFORCE, &buffer_bytes, sizeof(buffer_bytes));
	return pair[0] < 0 || pair[1] < 0 ? -EMFILE : 0;
}

/* On success *ret_async and *ret_sync are our ends. */
static int spawn(struct ig_child *child, int *ret_async, int *ret_sync)
{
	int async_pair[2] = {-1, -1}, sync_pair[2] = {-1, -1};
	pid_t pid = -1;
	int r = make_pair(async_pair);

	if (r == 0)
		r = make_pair(sync_pair);
	if (r == 0) {
		pid = fork();
		if (pid == 0)
			exec_server(child, async_pair[1], sync_pair[1]);
		r = pid < 0 ? -errno : 0;
	}
	(void)ig_close(async_pair[1]);
	(void)ig_close(sync_pair[1]);
	if (r < 0) {
		(void)ig_close(async_pair[0]);
		(void)ig_close(sync_pair[0]);
		return r;
	}
	child->pid = pid;
	*ret_async = async_pair[0];
	*ret_sync = sync_pair[0];
	return 0;
}

int ig_child_start(struct ig_child *child)
{
	int async_fd, sync_fd, r = spawn(child, &async_fd, &sync_fd);

	if (r < 0)
		return r;
	r = ig_channel_new(child->base, async_fd, sync_fd, &channel_ops, child, &child->channel);
	if (r == 0)
		r = child->ops->started(child->channel, child->userdata);
	/* SIGCHLD then leads to the next attempt */
	if (r < 0)
		ig_child_kill(child);
	/* one that somebody killed at birth is no mistake of ours: `ended` hears of it */
	return r == -EPIPE ? 0 : r;
}

static void restart_later(struct ig_child *child)
{
	struct timeval tv = {.tv_sec = child->restart_msec / 1000,
		.tv_usec = (suseconds_t)(child->restart_msec % 1000) * 1000};

	(void)evtimer_add(child->restart, &tv);
	child->restart_msec *= 2;
	if (child->restart_msec > RESTART_LONGEST_MSEC)
		child->restart_msec = RESTART_LONGEST_MSEC;
}

static void on_restart(evutil_socket_t fd, short what, void *userdata)
{
	struct ig_child *child = userdata;
	int r;

	(void)fd;
	(void)what;
	r = ig_child_start(child);
	if (r < 0)
		(void)ig_log_errno(r, "cannot start the server, trying again");
	if (r < 0 && !child->pid)
		restart_later(child);
}

static void on_sigchld(evutil_socket_t fd, short what, void *userdata)
{
	struct ig_child *child = userdata;
	int status;
	pid_t pid;

	(void)fd;
	(void)what;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != child->pid)
			continue;
		child->pid = 0;
		child->channel = ig_channel_free(child->channel);
		(void)event_del(child->kill_timer);
		if (child->ops->ended(status, child->userdata))
			restart_later(child);
	}
}

static void on_kill_timer(evutil_socket_t fd, short what, void *userdata)
{
	(void)fd;
	(void)what;
	ig_log_warning("the server does not end, killing it");
	ig_child_kill(userdata);
}

int ig_child_new(struct event_base *base, char *const *argv, const struct ig_child_ops *ops,
	void *userdata, struct ig_child **ret)
{
	_cleanup_(ig_child_freep) struct ig_child *child = calloc(1, sizeof(*child));

	if (!child)
		return -ENOMEM;
	child->base = base;
	child->argv = argv;
	child->ops = ops;
	child->userdata = userdata;
	child->restart_msec = RESTART_FIRST_MSEC;
	child->nice = getpriority(PRIO_PROCESS, 0);
	child->on_sigchld = evsignal_new(base, SIGCHLD, on_sigchld, child);
	child->restart = evtimer_new(base, on_restart, child);
	child->kill_timer = evtimer_new(base, on_kill_timer, child);
	if (!child->on_sigchld || !child->restart || !child->kill_timer ||
		event_add(child->on_sigchld, NULL) < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(child);
	return 0;
}

struct ig_child *ig_child_free(struct ig_child *child)
{
	if (!child)
		return NULL;
	child->channel = ig_channel_free(child->channel);
	if (child->pid) {
		ig_child_kill(child);
		(void)waitpid(child->pid, NULL, 0);
	}
	if (child->on_sigchld)
		event_free(child->on_sigchld);
	if (child->restart)
		event_free(child->restart);
	if (child->kill_timer)
		event_free(child->kill_timer);
	free(child);
	return NULL;
}

bool ig_child_stop(struct ig_child *child)
{
	(void)event_del(child->restart);
	if (!child->pid)
		return false;
	(void)kill(child->pid, SIGTERM);
	kill_later(child);
	return true;
}

void ig_child_let_end(struct ig_child *child)
{
	(void)event_del(child->restart);
}

bool ig_child_runs(const struct ig_child *child)
{
	return child->pid != 0;
}

void ig_child_note_serving(struct ig_child *child)
{
	child->restart_msec = RESTART_FIRST_MSEC;
}

struct ig_channel *ig_child_channel(const struct ig_child *child)
{
	return child->channel;
}
