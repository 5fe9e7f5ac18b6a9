/*
 * Makes the socket file of the control socket; see server.h. Called once, at start, by the
 * privileged process.
 *
 * It must never take away the socket of an agent that runs, never remove anything that is not a
 * socket, and never leave a moment in which somebody else could connect: the mode is set before the
 * file appears.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "ctl/server.h"

#define BACKLOG 64

static int make_address(const char *path, struct sockaddr_un *ret, struct ig_err *reterr_err)
{
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(ret->sun_path))
		return ig_err_set(reterr_err, -EINVAL, "%s: must be a path of at most %zu bytes",
			path, sizeof(ret->sun_path) - 1);
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(ret->sun_path, path, len);
	return 0;
}

/* 0 when nobody answers there. */
static int probe(const struct sockaddr_un *address)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	/* EAGAIN: somebody listens and is busy */
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
		return -EADDRINUSE;
	return errno == ECONNREFUSED || errno == ENOENT ? 0 : -errno;
}

static int remove_stale(const struct sockaddr_un *address, struct ig_err *reterr_err)
{
	const char *path = address->sun_path;
	struct stat st;
	int r;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : ig_err_set(reterr_err, -errno, "%s: %m", path);
	if (!S_ISSOCK(st.st_mode))
		return ig_err_set(
			reterr_err, -EADDRINUSE, "%s: is there and is not a socket", path);
	r = probe(address);
	if (r == -EADDRINUSE)
		return ig_err_set(reterr_err, r, "%s: another agent answers there", path);
	if (r < 0)
		return ig_err_set(reterr_err, r, "%s: cannot be probed: %s", path, strerror(-r));
	if (unlink(path) < 0 && errno != ENOENT)
		return ig_err_set(
			reterr_err, -errno, "%s: a stale socket cannot be removed: %m", path);
	return 0;
}

/* bind() gives the file the mode that the socket has, as far as the umask lets it; there is one
 * thread yet. */
static int bind_with_mode(int fd, const struct sockaddr_un *address, mode_t mode)
{
	mode_t mask = umask(0);
	int r = 0;

	if (fchmod(fd, mode) < 0 ||
		bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		r = -errno;
	(void)umask(mask);
	return r;
}

int ig_ctl_listen_mode(const char *path, unsigned int uid, unsigned int gid, mode_t mode,
	int *ret_fd, struct ig_err *reterr_err)
{
	_cleanup_close_ int fd = -1;
	struct sockaddr_un address;
	int r;

	r = make_address(path, &address, reterr_err);
	if (r < 0)
		return r;
	r = remove_stale(&address, reterr_err);
	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return ig_err_set(reterr_err, -errno, "%s: cannot make a socket: %m", path);
	r = bind_with_mode(fd, &address, mode);
	if (r < 0)
		return ig_err_set(reterr_err, r, "%s: cannot bind: %s", path, strerror(-r));
	if (fchownat(AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ||
		listen(fd, BACKLOG) < 0) {
		r = ig_err_set(reterr_err, -errno, "%s: cannot own it or listen: %m", path);
		(void)unlink(path);
		return r;
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int ig_ctl_listen(const char *path, unsigned int uid, unsigned int gid, int *ret_fd,
	struct ig_err *reterr_err)
{
	return ig_ctl_listen_mode(path, uid, gid, 0600, ret_fd, reterr_err);
}
