/*
 * What /proc says of a process, which chose some of it itself: its name may hold parentheses,
 * blanks and line ends. The first line of the input is the name, the rest what else stands there;
 * and once more the input is the whole file.
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fdutil.h"
#include "workload/process.h"
#include "workload/tasks.h"

#define START_TICKS   7654321ULL
#define NSEC_PER_TICK 10000000ULL

static const char *content; /* of every file below /proc/PID */
static size_t content_len;

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __real_openat(int dir, const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...);

int __wrap_open(const char *path, int flags, ...)
{
	return __real_open(strncmp(path, "/proc/", 6) == 0 ? "/proc" : path, flags);
}

int __wrap_openat(int dir, const char *path, int flags, ...)
{
	const char *name = strrchr(path, '/');
	int fd;

	name = name ? name + 1 : path;
	if (strcmp(name, "stat") != 0 && strcmp(name, "cgroup") != 0)
		return __real_openat(dir, path, flags);
	fd = memfd_create(name, MFD_CLOEXEC);
	FUZZ_CHECK(fd >= 0 && ig_fd_write_all(fd, content, content_len) == 0);
	FUZZ_CHECK(lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

/* As the kernel writes it: 52 fields, of which the second is the name and the 22nd the start. */
static void check_name(const char *name)
{
	char text[1024];
	uint64_t start = 0;
	int n = snprintf(text, sizeof(text),
		"42 (%.15s) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 %llu 1 1 184467440737 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 1 1 1 1 1 1 1 0\n",
		name, START_TICKS);

	FUZZ_CHECK(n > 0 && (size_t)n < sizeof(text));
	content = text;
	content_len = (size_t)n;
	FUZZ_CHECK(ig_process_start(42, &start) == 0);
	FUZZ_CHECK(start == START_TICKS * NSEC_PER_TICK);
}

static void check_file(const char *text, size_t len, int root)
{
	char path[256] = "";
	uint64_t start, id = 0;
	int r;

	content = text;
	content_len = len;
	(void)ig_process_start(42, &start);
	r = ig_task_cgroup(root, 42, path, sizeof(path), &id);
	if (r == 0)
		FUZZ_CHECK(path[0] == '/' && strlen(path) < sizeof(path) && !strstr(path, ".."));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {.data = data, .left = size};
	char *whole = fuzz_copy(data, size), *name = fuzz_line(&in);
	static int root = -1;

	if (root < 0)
		root = __real_open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	check_name(name);
	check_file(whole, size, root);
	free(name);
	free(whole);
	return 0;
}
