/*
 * Reading logs; see reader.h. One buffer of fixed size; a line that does not fit is passed over
 * without being kept. Never writes, never follows a growing file beyond its end.
 */
#include "report/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/json.h"

#define WHY_BYTES 256

struct lines {
	int fd;
	char *buf;	   /* owned; IG_REPORT_LINE_BYTES + 1 */
	size_t start, end; /* what is there and not taken yet */
	bool eof;
};

/* Makes room and reads more. 0 at the end of the file. */
static int fill(struct lines *l)
{
	ssize_t n;

	if (l->start > 0) {
		memmove(l->buf, l->buf + l->start, l->end - l->start);
		l->end -= l->start;
		l->start = 0;
	}
	do
		n = read(l->fd, l->buf + l->end, IG_REPORT_LINE_BYTES + 1 - l->end);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	l->end += (size_t)n;
	l->eof = n == 0;
	return n > 0;
}

/* Passes over the rest of a line that is too long. */
static int skip_line(struct lines *l)
{
	for (;;) {
		char *newline = memchr(l->buf + l->start, '\n', l->end - l->start);
		int r;

		if (newline) {
			l->start = (size_t)(newline + 1 - l->buf);
			return 0;
		}
		l->start = l->end;
		r = fill(l);
		if (r <= 0)
			return r;
	}
}

enum line { LINE, LINE_TORN, LINE_TOO_LONG, LINE_END };

/* The next line, without its end; valid until the next call. LINE_TORN: the last one has no end. */
static int next_line(struct lines *l, char **ret, size_t *ret_len)
{
	size_t looked = 0;

	for (;;) {
		size_t have = l->end - l->start;
		char *from = l->buf + l->start;
		char *newline = memchr(from + looked, '\n', have - looked);
		int r;

		*ret = from;
		if (newline) {
			*ret_len = (size_t)(newline - from);
			l->start += *ret_len + 1;
			return LINE;
		}
		if (have > IG_REPORT_LINE_BYTES) {
			r = skip_line(l);
			return r < 0 ? r : LINE_TOO_LONG;
		}
		if (l->eof) {
			*ret_len = have;
			l->start = l->end;
			return have ? LINE_TORN : LINE_END;
		}
		looked = have;
		r = fill(l);
		if (r < 0)
			return r;
	}
}

struct reading {
	const char *name;
	const struct ig_report_handler *handler;
	struct ig_report_counts *counts;
	uint64_t line; /* 1-based */
};

static void bad_line(struct reading *r, const char *why)
{
	r->counts->bad_lines++;
	if (r->handler->bad)
		r->handler->bad(r->name, r->line, why, r->handler->userdata);
}

static int take_line(struct reading *r, const char *line, size_t len, bool torn)
{
	_cleanup_(json_decrefp) json_t *record = NULL;
	struct ig_report_event event;
	const char *why = NULL;
	json_error_t error;
	char text[WHY_BYTES];

	record = ig_json_load(line, len, JSON_REJECT_DUPLICATES, &error);
	if (!record) {
		(void)snprintf(text, sizeof(text), "%snot JSON: %s (column %d)",
			torn ? "the last line has no end; " : "", error.text, error.column);
		bad_line(r, text);
		return 0;
	}
	if (ig_report_event_read(record, &event, &why) < 0) {
		bad_line(r, why);
		return 0;
	}
	r->counts->records++;
	return r->handler->each(&event, r->handler->userdata);
}

static int read_lines(struct reading *r, struct lines *l)
{
	for (;;) {
		char *line = NULL;
		size_t len = 0;
		int kind = next_line(l, &line, &len);
		int result = 0;

		if (kind < 0 || kind == LINE_END)
			return kind < 0 ? kind : 0;
		r->line++;
		r->counts->lines++;
		if (kind == LINE_TOO_LONG)
			bad_line(r, "longer than any record");
		else if (len > 0)
			result = take_line(r, line, len, kind == LINE_TORN);
		if (result < 0)
			return result;
	}
}

int ig_report_read(const char *name, const struct ig_report_handler *handler,
	struct ig_report_counts *counts, struct ig_err *reterr_err)
{
	bool is_stdin = strcmp(name, "-") == 0;
	_cleanup_close_ int fd = is_stdin ? -1 : open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	_cleanup_free_ char *buf = malloc(IG_REPORT_LINE_BYTES + 1);
	struct lines lines = {.fd = is_stdin ? STDIN_FILENO : fd, .buf = buf};
	struct reading reading = {.name = name, .handler = handler, .counts = counts};
	int r;

	if (lines.fd < 0)
		return ig_err_at(
			reterr_err, -errno, name, 0, 0, "cannot be read: %s", strerror(errno));
	if (!buf)
		return ig_err_at(reterr_err, -ENOMEM, name, 0, 0, "out of memory");
	counts->files++;
	r = read_lines(&reading, &lines);
	if (r < 0)
		return ig_err_at(reterr_err, r, name, (unsigned int)reading.line, 0,
			"cannot go on: %s", strerror(-r));
	return 0;
}
