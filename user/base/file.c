/*
 * Files; see file.h.
 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

#define CHUNK_BYTES   4096
#define RESOLVE_TRIES 16 /* the kernel asks for another when something was renamed meanwhile */

int ig_file_open_beneath(int dirfd, const char *path, int flags)
{
	const struct open_how how = {
		.flags = (unsigned int)(O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | flags),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};

	for (int i = 0; i < RESOLVE_TRIES; i++) {
		long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof(how));

		if (fd >= 0)
			return (int)fd;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return -EAGAIN;
}

int ig_file_follow_directory(const char *path, int *fd)
{
	struct stat st;

	/* a directory without a name is a removed one */
	if (*fd >= 0 && fstat(*fd, &st) == 0 && st.st_nlink > 0)
		return 0;
	*fd = ig_close(*fd);
	*fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return *fd < 0 ? -errno : 0;
}

int ig_file_read(int fd, struct ig_buf *b)
{
	char chunk[CHUNK_BYTES];
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	do {
		n = read(fd, chunk, sizeof(chunk));
		if (n > 0)
			ig_buf_append(b, chunk, (size_t)n);
	} while ((n > 0 && b->error == 0) || (n < 0 && errno == EINTR));
	explicit_bzero(chunk, sizeof(chunk));
	return n < 0 ? -errno : ig_buf_finish(b);
}
