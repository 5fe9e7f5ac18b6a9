/*
 * Makes allocations and system calls of imdsgated fail when a test says so: preloaded into it, and
 * told what to do through a file that test and process have mapped (tests/fault/inject.py knows the
 * same layout). The file is mapped before the process gives its rights up, so no sandbox is in the
 * way, and it holds a slot for each of the two processes. Never part of the agent.
 *
 * Allocations: the C library calls malloc() and its relatives by their names wherever it needs
 * memory itself, so strdup(), asprintf(), fopen() and the like fail as well. System calls are
 * caught where a program or library calls the C library; what it does inside goes past.
 */
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define RULES_MAX 8

enum call {
	CALL_NONE,
	CALL_ACCEPT,
	CALL_SOCKET,
	CALL_OPEN,
	CALL_READ,  /* read, readv */
	CALL_WRITE, /* write, writev */
	CALL_SEND,  /* send, sendto, sendmsg */
	CALL_RECV,  /* recv, recvfrom, recvmsg */
	CALL_CONNECT,
	CALL_EPOLL_WAIT,
	CALL_EPOLL_CTL,
	CALL_POLL,
	CALL_FDATASYNC,
	CALL_SETSOCKOPT,
};

struct rule {
	_Atomic uint32_t call;
	_Atomic uint32_t error; /* 0: moves `limit` bytes at most, on streams and files */
	_Atomic uint32_t limit;
	_Atomic uint32_t every; /* of so many calls one is hit; 0: none */
	_Atomic uint32_t count; /* hits that are left */
	_Atomic uint32_t seen, hit;
};

struct slot {
	_Atomic uint64_t alloc_first; /* the number of the first that fails; 0: none */
	_Atomic uint64_t alloc_last;
	_Atomic uint64_t alloc_seen, alloc_failed;
	_Atomic int64_t alloc_live; /* allocated and not freed */
	_Atomic int64_t real_shift_usec, mono_shift_usec;
	struct rule rules[RULES_MAX];
};

_Static_assert(sizeof(struct slot) == 7 * 8 + RULES_MAX * 7 * 4, "inject.py knows this layout");

static struct slot unused, *slot = &unused;
static bool trace; /* IG_INJECT_TRACE: on stderr, where each allocation that fails was wanted */

__attribute__((constructor)) static void map_slot(int argc, char **argv)
{
	const char *path = getenv("IG_INJECT");
	struct slot *slots;
	void *frame;
	int fd;

	if (!path)
		return;
	if (getenv("IG_INJECT_TRACE")) {
		(void)backtrace(&frame, 1); /* loads what it needs */
		trace = true;
	}
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		abort();
	slots = mmap(NULL, 2 * sizeof(*slots), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	(void)close(fd);
	if (slots == MAP_FAILED)
		abort();
	slots += argc > 0 && strcmp(argv[argc - 1], "--server") == 0;
	atomic_store(&slots->alloc_live, atomic_load(&unused.alloc_live));
	slot = slots;
}

/* ---- memory ---------------------------------------------------------------------------------- */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *p);

static void show_place(uint64_t n)
{
	void *frames[32];
	char line[64];
	int len = snprintf(line, sizeof(line), "inject: allocation %lu\n", (unsigned long)n);

	(void)syscall(SYS_write, STDERR_FILENO, line, (size_t)len);
	backtrace_symbols_fd(frames, backtrace(frames, 32), STDERR_FILENO);
}

static bool no_memory(void)
{
	uint64_t first = atomic_load(&slot->alloc_first), n;

	if (first == 0)
		return false;
	n = atomic_fetch_add(&slot->alloc_seen, 1) + 1;
	if (n < first || n > atomic_load(&slot->alloc_last))
		return false;
	(void)atomic_fetch_add(&slot->alloc_failed, 1);
	if (trace)
		show_place(n);
	errno = ENOMEM;
	return true;
}

static void *counted(void *p)
{
	if (p)
		(void)atomic_fetch_add(&slot->alloc_live, 1);
	return p;
}

void *malloc(size_t size)
{
	return no_memory() ? NULL : counted(__libc_malloc(size));
}

void *calloc(size_t n, size_t size)
{
	return no_memory() ? NULL : counted(__libc_calloc(n, size));
}

void *realloc(void *p, size_t size)
{
	if (!p)
		return malloc(size);
	if (size == 0) {
		free(p);
		return NULL;
	}
	return no_memory() ? NULL : __libc_realloc(p, size);
}

void *reallocarray(void *p, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(p, bytes);
}

void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size)
{
	return no_memory() ? NULL : counted(__libc_memalign(alignment, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int posix_memalign(void **ret, size_t alignment, size_t size)
{
	void *p = memalign(alignment, size);

	if (!p)
		return ENOMEM;
	*ret = p;
	return 0;
}

void free(void *p)
{
	if (p)
		(void)atomic_fetch_sub(&slot->alloc_live, 1);
	__libc_free(p);
}

/* ---- system calls ---------------------------------------------------------------------------- */

/* The rule that hits this call, if any. */
static struct rule *rule_for(enum call call)
{
	for (int i = 0; i < RULES_MAX; i++) {
		struct rule *rule = &slot->rules[i];
		uint32_t every, left;

		if (atomic_load(&rule->call) != call)
			continue;
		every = atomic_load(&rule->every);
		if (every == 0 || (atomic_fetch_add(&rule->seen, 1) + 1) % every != 0)
			continue;
		left = atomic_load(&rule->count);
		while (left > 0 && !atomic_compare_exchange_weak(&rule->count, &left, left - 1))
			;
		if (left == 0)
			continue;
		(void)atomic_fetch_add(&rule->hit, 1);
		return rule;
	}
	return NULL;
}

/* Whether the call is to fail; else *len may have become smaller. */
static bool fails(enum call call, size_t *len)
{
	const struct rule *rule = rule_for(call);
	uint32_t limit;

	if (!rule)
		return false;
	if (atomic_load(&rule->error) != 0) {
		errno = (int)atomic_load(&rule->error);
		return true;
	}
	limit = atomic_load(&rule->limit);
	if (len && *len > limit)
		*len = limit;
	return false;
}

/* Messages are whole or not at all: only what is a stream gets shorter. */
static bool is_stream(int fd)
{
	socklen_t len = sizeof(int);
	int type = SOCK_STREAM, saved = errno;

	(void)getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
	errno = saved;
	return type == SOCK_STREAM;
}

/* Vectors get shorter by their number: the first part only, and that cut to `len`. */
static void cut(struct iovec *first, const struct iovec *iov, size_t *n, size_t len)
{
	*first = *iov;
	if (first->iov_len > len)
		first->iov_len = len;
	*n = 1;
}

ssize_t read(int fd, void *buf, size_t len)
{
	return fails(CALL_READ, &len) ? -1 : syscall(SYS_read, fd, buf, len);
}

ssize_t __read_chk(int fd, void *buf, size_t len, size_t size);
ssize_t __read_chk(int fd, void *buf, size_t len, size_t size)
{
	if (len > size)
		abort();
	return read(fd, buf, len);
}

ssize_t write(int fd, const void *buf, size_t len)
{
	return fails(CALL_WRITE, &len) ? -1 : syscall(SYS_write, fd, buf, len);
}

static ssize_t vector(long number, enum call call, int fd, const struct iovec *iov, int n_iov)
{
	size_t len = SIZE_MAX, n = (size_t)n_iov;
	struct iovec first;

	if (fails(call, &len))
		return -1;
	if (len != SIZE_MAX && n > 0) {
		cut(&first, iov, &n, len);
		iov = &first;
	}
	return syscall(number, fd, iov, n);
}

ssize_t readv(int fd, const struct iovec *iov, int n)
{
	return vector(SYS_readv, CALL_READ, fd, iov, n);
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
	return vector(SYS_writev, CALL_WRITE, fd, iov, n);
}

ssize_t sendto(
	int fd, const void *buf, size_t len, int flags, const struct sockaddr *to, socklen_t to_len)
{
	size_t cut_len = len;

	if (fails(CALL_SEND, &cut_len))
		return -1;
	return syscall(SYS_sendto, fd, buf, is_stream(fd) ? cut_len : len, flags, to, to_len);
}

ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	return sendto(fd, buf, len, flags, NULL, 0);
}

ssize_t recvfrom(int fd, void *restrict buf, size_t len, int flags, struct sockaddr *restrict from,
	socklen_t *restrict from_len)
{
	size_t cut_len = len;

	if (fails(CALL_RECV, &cut_len))
		return -1;
	return syscall(SYS_recvfrom, fd, buf, is_stream(fd) ? cut_len : len, flags, from, from_len);
}

ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	return recvfrom(fd, buf, len, flags, NULL, NULL);
}

ssize_t __recv_chk(int fd, void *buf, size_t len, size_t size, int flags);
ssize_t __recv_chk(int fd, void *buf, size_t len, size_t size, int flags)
{
	if (len > size)
		abort();
	return recv(fd, buf, len, flags);
}

static ssize_t message(
	long number, enum call call, int fd, struct msghdr copy, int flags, struct msghdr *result)
{
	size_t len = SIZE_MAX;
	struct iovec first;
	ssize_t n;

	if (fails(call, &len))
		return -1;
	if (len != SIZE_MAX && copy.msg_iovlen > 0 && is_stream(fd)) {
		cut(&first, copy.msg_iov, &copy.msg_iovlen, len);
		copy.msg_iov = &first;
	}
	n = syscall(number, fd, &copy, flags);
	if (result && n >= 0) {
		result->msg_namelen = copy.msg_namelen;
		result->msg_controllen = copy.msg_controllen;
		result->msg_flags = copy.msg_flags;
	}
	return n;
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	return message(SYS_sendmsg, CALL_SEND, fd, *msg, flags, NULL);
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	return message(SYS_recvmsg, CALL_RECV, fd, *msg, flags, msg);
}

int accept4(int fd, struct sockaddr *restrict addr, socklen_t *restrict len, int flags)
{
	return fails(CALL_ACCEPT, NULL) ? -1 : (int)syscall(SYS_accept4, fd, addr, len, flags);
}

int socket(int domain, int type, int protocol)
{
	return fails(CALL_SOCKET, NULL) ? -1 : (int)syscall(SYS_socket, domain, type, protocol);
}

int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	return fails(CALL_CONNECT, NULL) ? -1 : (int)syscall(SYS_connect, fd, addr, len);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	return fails(CALL_SETSOCKOPT, NULL)
		       ? -1
		       : (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

static int open_by(int dir, const char *path, int flags, mode_t mode)
{
	return fails(CALL_OPEN, NULL) ? -1 : (int)syscall(SYS_openat, dir, path, flags, mode);
}

static mode_t mode_of(int flags, va_list args)
{
	return (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(args, mode_t) : 0;
}

int openat(int dir, const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = mode_of(flags, args);
	va_end(args);
	return open_by(dir, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = mode_of(flags, args);
	va_end(args);
	return open_by(AT_FDCWD, path, flags, mode);
}

int epoll_wait(int fd, struct epoll_event *events, int n, int timeout)
{
	return fails(CALL_EPOLL_WAIT, NULL)
		       ? -1
		       : (int)syscall(SYS_epoll_pwait, fd, events, n, timeout, NULL, 0);
}

int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
	return fails(CALL_EPOLL_CTL, NULL) ? -1 : (int)syscall(SYS_epoll_ctl, epoll, op, fd, event);
}

int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	struct timespec ts = {.tv_sec = timeout / 1000, .tv_nsec = timeout % 1000 * 1000000L};

	if (fails(CALL_POLL, NULL))
		return -1;
	return (int)syscall(SYS_ppoll, fds, n, timeout < 0 ? NULL : &ts, NULL, 0);
}

int fdatasync(int fd)
{
	return fails(CALL_FDATASYNC, NULL) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

/* ---- clocks ---------------------------------------------------------------------------------- */

static void shift(struct timespec *ts, int64_t usec)
{
	int64_t nsec = ts->tv_nsec + usec % 1000000 * 1000;

	ts->tv_sec += usec / 1000000 + nsec / 1000000000 - (nsec < 0);
	ts->tv_nsec = (nsec + 1000000000) % 1000000000;
}

int clock_gettime(clockid_t clock, struct timespec *ts)
{
	if (syscall(SYS_clock_gettime, clock, ts) < 0)
		return -1;
	if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
		shift(ts, atomic_load(&slot->real_shift_usec));
	else if (clock != CLOCK_PROCESS_CPUTIME_ID && clock != CLOCK_THREAD_CPUTIME_ID)
		shift(ts, atomic_load(&slot->mono_shift_usec));
	return 0;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec ts;

	(void)zone;
	(void)clock_gettime(CLOCK_REALTIME, &ts);
	*tv = (struct timeval){.tv_sec = ts.tv_sec, .tv_usec = ts.tv_nsec / 1000};
	return 0;
}

time_t time(time_t *ret)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_REALTIME, &ts);
	if (ret)
		*ret = ts.tv_sec;
	return ts.tv_sec;
}
