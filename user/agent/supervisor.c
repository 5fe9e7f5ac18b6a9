/*
 * Readiness and replacement; see supervisor.h.
 */
#include "agent/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/fdutil.h"

#define NOTIFY_SOCKET "NOTIFY_SOCKET"
#define READY	      "ready\n"

/* -1 when there is no such thing in the environment. */
static int open_notify(int *ret_fd, struct ig_err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const char *path = getenv(NOTIFY_SOCKET);
	_cleanup_close_ int fd = -1;
	size_t n = path ? strlen(path) : 0;

	*ret_fd = -1;
	if (n == 0)
		return 0;
	if ((path[0] != '/' && path[0] != '@') || n >= sizeof(address.sun_path))
		return ig_err_set(err, -EINVAL, NOTIFY_SOCKET " is no address: %s", path);
	memcpy(address.sun_path, path, n);
	if (path[0] == '@') /* the abstract namespace */
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
		return ig_err_set(err, -errno, "cannot connect to " NOTIFY_SOCKET " %s: %s", path,
			strerror(errno));
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int ig_ready_open(int fd, struct ig_ready *ret, struct ig_err *reterr_err)
{
	int r = 0;

	*ret = (struct ig_ready){.fd = fd, .text = READY};
	if (fd < 0) {
		ret->text = "READY=1\n";
		r = open_notify(&ret->fd, reterr_err);
	}
	(void)unsetenv(NOTIFY_SOCKET);
	return r;
}

/* Twice, so that it is not the child of this process but of systemd, which hears of its end then. 0
 * in the new process, its number in the old one. */
static pid_t start(const int *pipe_fds)
{
	pid_t pid = fork(), agent = -1;
	int status;

	if (pid < 0)
		return -errno;
	if (pid > 0) {
		while (waitpid(pid, &status, 0) < 0)
			if (errno != EINTR)
				return -errno;
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			return -EAGAIN;
		return read(pipe_fds[0], &agent, sizeof(agent)) == sizeof(agent) ? agent : -ECHILD;
	}
	agent = fork();
	if (agent == 0)
		return 0;
	_exit(agent < 0 ? 1 : ig_fd_write_all(pipe_fds[1], &agent, sizeof(agent)) < 0);
}

/* 0 when it is ready, 1 when it has begun to take over, -ECHILD when the writer ended. */
static int await(int fd, int timeout_msec)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	char text[sizeof(IG_READY_BEGUN) + sizeof(READY)];
	int r = poll(&poll_fd, 1, timeout_msec);
	ssize_t n;

	if (r < 0)
		return -errno;
	if (r == 0)
		return -ETIMEDOUT;
	n = read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return -ECHILD;
	text[n] = '\0';
	return strstr(text, READY) ? 0 : 1;
}

static int announce(int fd, pid_t agent, struct ig_err *err)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "MAINPID=%d\n", (int)agent);
	int r = fd < 0 ? 0 : ig_fd_write_all(fd, text, (size_t)n);

	return r < 0 ? ig_err_set(err, r, "cannot say which process is the agent now: %s",
			       strerror(-r))
		     : 0;
}

static int watch_over(pid_t agent, int fd, int notify_fd, struct ig_err *err)
{
	int r = await(fd, IG_REPLACE_SEC * 1000);

	/* the other agent stops serving: without this one nobody would */
	if (r > 0)
		r = await(fd, IG_REPLACE_SEC * 1000);
	if (r == 0)
		return announce(notify_fd, agent, err);
	if (r == -ECHILD)
		return ig_err_set(err, r, "the new agent could not start, see above");
	(void)kill(agent, SIGKILL);
	while (await(fd, -1) >= 0)
		;
	return ig_err_set(err, r, "the new agent does not serve after %d seconds", IG_REPLACE_SEC);
}

int ig_replace(int *ret_fd, struct ig_err *reterr_err)
{
	_cleanup_close_ int notify_fd = -1, reader = -1, writer = -1;
	int pipe_fds[2];
	pid_t agent;
	int r = open_notify(&notify_fd, reterr_err);

	if (r < 0)
		return r;
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return ig_err_set(reterr_err, -errno, "cannot make a pipe: %s", strerror(errno));
	reader = pipe_fds[0];
	writer = pipe_fds[1];
	agent = start(pipe_fds);
	if (agent < 0)
		return ig_err_set(reterr_err, agent, "cannot fork: %s", strerror(-agent));
	if (agent == 0) {
		*ret_fd = TAKE_FD(writer);
		return 0;
	}
	writer = ig_close(writer);
	r = watch_over(agent, reader, notify_fd, reterr_err);
	return r < 0 ? r : 1;
}
