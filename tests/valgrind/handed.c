/*
 * Makes one system call that gives a descriptor, and hands that over through its standard input, a
 * socket. Its exit status is the call's errno. Run by calls.c, outside of valgrind.
 *
 *	openat2 DIRFD PATH FLAGS MODE RESOLVE
 *	pidfd_open PID
 */
#include <errno.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fdutil.h"
#include "base/parse.h"

#define FAILED 255 /* not the call: what is around it */

static long open_below(char **args)
{
	struct open_how how = {};
	uint64_t values[3] = {};
	uint32_t dirfd;

	for (int i = 0; i < 3; i++)
		if (ig_parse_u64(args[3 + i], &values[i]) < 0)
			exit(FAILED);
	if (ig_parse_u32(args[1], &dirfd) < 0)
		exit(FAILED);
	how.flags = values[0];
	how.mode = values[1];
	how.resolve = values[2];
	return syscall(SYS_openat2, (int)dirfd, args[2], &how, sizeof(how));
}

static long open_process(char **args)
{
	uint32_t pid;

	if (ig_parse_u32(args[1], &pid) < 0)
		exit(FAILED);
	return syscall(SYS_pidfd_open, (pid_t)pid, 0);
}

int main(int argc, char **argv)
{
	int fd;

	if (argc == 6 && strcmp(argv[0], "openat2") == 0)
		fd = (int)open_below(argv);
	else if (argc == 2 && strcmp(argv[0], "pidfd_open") == 0)
		fd = (int)open_process(argv);
	else
		return FAILED;
	if (fd < 0)
		return errno;
	return ig_fd_send(STDIN_FILENO, "", 1, &fd, 1) < 0 ? FAILED : 0;
}
