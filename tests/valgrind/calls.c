/*
 * What valgrind 3.19 does not know, for unit tests that run under it: openat2() and pidfd_open(),
 * and that accept4() fails when a process has as many descriptors as it may. Preloaded. The two
 * calls are made by a program that valgrind does not follow (handed.c, which the environment names)
 * and the descriptor comes back; so the tests meet the real kernel.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdutil.h"

#define ARGS_MAX     6
#define NUMBER_BYTES 24
#define CHILD_FAILED 255

long syscall(long number, ...);

/* ---- made elsewhere ---- */

static int outcome(pid_t pid, int sock)
{
	size_t n_fds;
	int status, fd;
	char byte;

	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
		WEXITSTATUS(status) == CHILD_FAILED)
		abort();
	errno = WEXITSTATUS(status);
	if (errno)
		return -1;
	if (ig_fd_recv(sock, &byte, 1, &fd, 1, &n_fds) == 1 && n_fds == 1)
		return fd;
	errno = EMFILE; /* it arrived, and there was no room for it */
	return -1;
}

/* args: name and arguments of the call. dirfd (or -1) has the same number in the other program. */
static int made_elsewhere(int dirfd, char *const args[])
{
	const char *program = getenv("IG_VALGRIND_HANDED");
	int pair[2], fd;
	pid_t pid;

	if (!program || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	pid = fork();
	if (pid == 0) {
		(void)unsetenv("LD_PRELOAD");
		if (dirfd >= 0)
			(void)fcntl(dirfd, F_SETFD, 0);
		if (dup2(pair[1], STDIN_FILENO) == STDIN_FILENO)
			(void)execv(program, args);
		_exit(CHILD_FAILED);
	}
	(void)close(pair[1]);
	fd = pid < 0 ? -1 : outcome(pid, pair[0]);
	(void)close(pair[0]);
	return fd;
}

static int open_elsewhere(int dirfd, const char *path, const struct open_how *how)
{
	char texts[4][NUMBER_BYTES];
	char *args[] = {"openat2", texts[0], strdup(path), texts[1], texts[2], texts[3], NULL};
	int fd;

	(void)snprintf(texts[0], NUMBER_BYTES, "%d", dirfd);
	(void)snprintf(texts[1], NUMBER_BYTES, "%llu", how->flags);
	(void)snprintf(texts[2], NUMBER_BYTES, "%llu", how->mode);
	(void)snprintf(texts[3], NUMBER_BYTES, "%llu", how->resolve);
	fd = made_elsewhere(dirfd, args);
	free(args[2]);
	return fd;
}

static int open_process_elsewhere(pid_t pid)
{
	char text[NUMBER_BYTES];
	char *args[] = {"pidfd_open", text, NULL};

	(void)snprintf(text, sizeof(text), "%d", pid);
	return made_elsewhere(-1, args);
}

/* ---- in place of the C library's ---- */

long syscall(long number, ...)
{
	long (*real)(long, ...) = dlsym(RTLD_NEXT, "syscall");
	long args[ARGS_MAX];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < ARGS_MAX; i++)
		args[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_openat2)
		return open_elsewhere(
			(int)args[0], (const char *)args[1], (const struct open_how *)args[2]);
	if (number == SYS_pidfd_open)
		return open_process_elsewhere((pid_t)args[0]);
	return real(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

int accept4(int sock, struct sockaddr *restrict address, socklen_t *restrict len, int flags)
{
	int (*real)(int, struct sockaddr *, socklen_t *, int) = dlsym(RTLD_NEXT, "accept4");
	int next = fcntl(sock, F_DUPFD_CLOEXEC, 0);

	/* valgrind keeps that limit itself: it would take the connection and close it */
	if (next < 0)
		return -1;
	(void)close(next);
	return real(sock, address, len, flags);
}
