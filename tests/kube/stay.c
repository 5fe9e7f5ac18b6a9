/*
 * What the tests' containers run: stays until it is told to end, or runs a program again and again,
 * so that `kubectl logs` shows what each run said. Static, because the images have nothing else.
 * As the first process of its container it also buries the processes that others left. It opens no
 * socket itself: what it runs (dial.c) looks where it is.
 *
 *   stay                                until SIGTERM
 *   stay MILLISECONDS PROGRAM [ARG]…    starts PROGRAM, and anew so long after each of its ends
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/parse.h"

/* Runs it in a child with the signals as they were; the pid, or 0 when there is nothing to run. */
static pid_t start(char **argv, const sigset_t *before)
{
	const pid_t pid = *argv ? fork() : 0;

	if (pid == 0 && *argv) {
		(void)sigprocmask(SIG_SETMASK, before, NULL);
		(void)execv(*argv, argv);
		perror(*argv);
		_exit(127);
	}
	return pid;
}

/* True when `child` was among those that ended. */
static bool bury(pid_t child)
{
	bool ours = false;
	pid_t pid;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		ours = ours || pid == child;
	return ours;
}

static int run(char **argv, uint32_t pause_ms)
{
	const struct timespec pause_time = {pause_ms / 1000, (long)(pause_ms % 1000) * 1000000};
	sigset_t wanted, before;
	pid_t child;

	(void)sigemptyset(&wanted);
	(void)sigaddset(&wanted, SIGTERM);
	(void)sigaddset(&wanted, SIGINT);
	(void)sigaddset(&wanted, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &wanted, &before) < 0)
		return 1;
	child = start(argv, &before);
	while (child >= 0) {
		/* without a child on its way, no longer than the pause */
		const bool paused = *argv && child == 0;
		const int signo = sigtimedwait(&wanted, NULL, paused ? &pause_time : NULL);

		if (signo == SIGTERM || signo == SIGINT)
			return 0;
		if (signo == SIGCHLD && bury(child))
			child = 0;
		else if (signo < 0 && errno == EAGAIN)
			child = start(argv, &before);
	}
	return 1;
}

int main(int argc, char **argv)
{
	uint32_t pause_ms = 0;

	if (argc == 2 || (argc > 2 && ig_parse_u32(argv[1], &pause_ms) < 0)) {
		(void)fputs("usage: stay [MILLISECONDS PROGRAM [ARG]...]\n", stderr);
		return 2;
	}
	return run(argc > 2 ? argv + 2 : argv + argc, pause_ms);
}
