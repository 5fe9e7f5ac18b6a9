/*
 * The cgroup2 mount, which is not in one place on all hosts (/sys/fs/cgroup, …/unified on hybrid
 * ones); see mount.h.
 */
#include "workload/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fdutil.h"
#include "base/parse.h"

#define MOUNTINFO_BYTES (4 * 1024 * 1024)

/* mountinfo escapes blanks and backslashes as \ooo */
static char unescape(const char **p)
{
	const char *s = *p;

	if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		s[3] >= '0' && s[3] <= '7') {
		*p += 4;
		return (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
	}
	*p += 1;
	return s[0];
}

static int copy_field(const char *field, char *ret, size_t len)
{
	size_t n = 0;

	while (*field && *field != ' ') {
		if (n + 1 >= len)
			return -E2BIG;
		ret[n++] = unescape(&field);
	}
	ret[n] = '\0';
	return 0;
}

/* Fields: id parent dev root mountpoint options [optional…] - type source superoptions */
static int parse_line(const char *line, size_t line_len, char *ret, size_t len)
{
	const char *end = line + line_len;
	const char *type = memmem(line, line_len, " - ", 3);
	const char *field = line;

	if (!type || !ig_str_has_prefix(type, " - cgroup2 ") || type + 11 > end)
		return -ENXIO;
	for (int i = 0; i < 4; i++) {
		field = memchr(field, ' ', (size_t)(type - field));
		if (!field)
			return -ENXIO;
		field++;
	}
	return copy_field(field, ret, len);
}

int ig_cgroup2_mount_parse(const char *mountinfo, char *ret, size_t len)
{
	while (*mountinfo) {
		size_t n = strcspn(mountinfo, "\n");
		int r = parse_line(mountinfo, n, ret, len);

		if (r != -ENXIO)
			return r;
		mountinfo += n + (mountinfo[n] == '\n');
	}
	return -ENOENT;
}

int ig_cgroup2_mount_find(char *ret, size_t len, struct ig_err *reterr_err)
{
	_cleanup_free_ char *text = NULL;
	size_t text_len;
	int r = ig_fd_read_file(
		AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_BYTES, &text, &text_len);

	if (r == 0)
		r = ig_cgroup2_mount_parse(text, ret, len);
	if (r == -ENOENT)
		return ig_err_set(reterr_err, r,
			"no cgroup2 file system is mounted here; mount one (mount -t cgroup2 none /sys/fs/cgroup/unified) or name it with --cgroup-root");
	return r < 0 ? ig_err_set(
			       reterr_err, r, "cannot read /proc/self/mountinfo: %s", strerror(-r))
		     : 0;
}
