/*
 * JSON lines of what reached the lab; see log.h. Must never buffer: a test may read the file while
 * the lab runs, and the lab may be killed at any moment. Called by http.c only.
 */
#include "lab/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdutil.h"

#define LINE_BYTES (1024 * 1024)

int lab_log_open(const char *path, struct lab_log *ret)
{
	int fd = STDOUT_FILENO;

	if (path) {
		fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
		if (fd < 0)
			return -errno;
	}
	*ret = (struct lab_log){.fd = fd};
	return 0;
}

void lab_log_close(struct lab_log *log)
{
	if (log->fd > STDERR_FILENO)
		(void)close(log->fd);
	log->fd = -1;
}

void lab_log_begin(struct ig_buf *line, const char *event)
{
	char now[IG_RFC3339_BYTES];

	ig_buf_init(line, LINE_BYTES);
	ig_buf_putc(line, '{');
	ig_buf_json_member_str(line, "event", event);
	ig_buf_json_member_str(line, "time", ig_clock_format_rfc3339(ig_clock_real_usec(), now));
}

void lab_log_end(struct lab_log *log, struct ig_buf *line)
{
	int r;

	ig_buf_puts(line, "}\n");
	r = ig_buf_finish(line);
	if (r == 0)
		r = ig_fd_write_all(log->fd, line->data, line->len);
	if (r < 0 && log->error == 0)
		log->error = r;
	ig_buf_done(line);
}
