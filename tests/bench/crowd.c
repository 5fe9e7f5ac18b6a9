/*
 * A crowd of pods' network namespaces, made as containerd makes them: a file first, then a new
 * namespace mounted on it, with lo up. Fast, because there are thousands.
 *
 *	crowd DIR
 *
 * Reads lines "add FIRST LAST" and "remove FIRST LAST" and says "done" to each when all of
 * DIR/pFIRST to DIR/pLAST are there, or gone. They are in the mount namespace that it was started
 * in, and so go with it. Nothing leads out of such a namespace.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"

#define PATH_BYTES 512

static void die(const char *what)
{
	(void)fprintf(stderr, "crowd: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void set_lo_up(void)
{
	_cleanup_close_ int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};

	if (sock < 0 || ioctl(sock, SIOCSIFFLAGS, &request) < 0)
		die("lo");
}

static void add(const char *path)
{
	_cleanup_close_ int fd = open(path, O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0444);

	if (fd < 0)
		die(path);
	if (unshare(CLONE_NEWNET) < 0)
		die("unshare");
	set_lo_up();
	if (mount("/proc/self/ns/net", path, "none", MS_BIND, NULL) < 0)
		die("mount");
}

static void remove_one(const char *path)
{
	if (umount2(path, MNT_DETACH) < 0 || unlink(path) < 0)
		die(path);
}

static void each(const char *dir, void (*what)(const char *path), uint32_t first, uint32_t last)
{
	char path[PATH_BYTES];

	for (uint32_t i = first; i <= last; i++) {
		(void)snprintf(path, sizeof(path), "%s/p%" PRIu32, dir, i);
		what(path);
	}
}

static bool take(char **rest, uint32_t *ret)
{
	const char *word = strsep(rest, " \n");

	return word && ig_parse_u32(word, ret) == 0;
}

int main(int argc, char **argv)
{
	char line[128];

	if (argc != 2) {
		(void)fprintf(stderr, "usage: crowd DIR\n");
		return 2;
	}
	while (fgets(line, sizeof(line), stdin)) {
		char *rest = line;
		const char *verb = strsep(&rest, " \n");
		uint32_t first, last;

		if (!take(&rest, &first) || !take(&rest, &last))
			return 2;
		each(argv[1], strcmp(verb, "add") == 0 ? add : remove_one, first, last);
		(void)puts("done");
		(void)fflush(stdout);
	}
	return 0;
}
