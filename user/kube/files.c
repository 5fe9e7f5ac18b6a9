/*
 * Files; see files.h. Called by config.c, kubeconfig.c and bearer.c.
 */
#include "kube/files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_BYTES 4096

int ig_kube_read_fd(int fd, struct ig_buf *b)
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

char *ig_kube_path_join(const char *dir, const char *name)
{
	char *path = NULL;

	if (name[0] == '/')
		return strdup(name);
	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

char *ig_kube_path_dir(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}
