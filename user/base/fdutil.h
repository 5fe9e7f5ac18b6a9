/*
 * Descriptors: flags, whole reads and writes, and passing them over a unix socket.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

int ig_fd_set_nonblock(int fd);

/* Writes everything, going on after EINTR and short writes. 0 or a negative errno. For blocking
 * fds. */
int ig_fd_write_all(int fd, const void *data, size_t len);

/* Reads until the end or until cap bytes are there, going on after EINTR and short reads. For
 * files and blocking fds. */
int ig_fd_read(int fd, void *buf, size_t cap, size_t *ret_len);

/* Reads a file of at most limit bytes relative to dirfd (or AT_FDCWD), O_NOFOLLOW on the last part.
 * *ret_data is NUL-terminated and owned by the caller. -E2BIG when the file is larger. */
int ig_fd_read_file(
	int dirfd, const char *path, size_t limit_bytes, char **ret_data, size_t *ret_len);

/* One datagram of a SOCK_SEQPACKET socket with up to n_fds descriptors. Blocking or not is the
 * socket's affair: -EAGAIN goes through. The descriptors stay the caller's. */
int ig_fd_send(int sock, const void *data, size_t len, const int *fds, size_t n_fds);

/* Receives one datagram. Returns its length, 0 at end of file, or a negative errno. On success
 * *ret_n_fds descriptors (close-on-exec, owned by the caller) stand in fds[]. A datagram that does
 * not fit in `len`, more descriptors than max_fds, or descriptors without data are -EBADMSG and
 * leave no descriptor open. */
ssize_t ig_fd_recv(int sock, void *data, size_t len, int *fds, size_t max_fds, size_t *ret_n_fds);
