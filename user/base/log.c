/*
 * The agent's log; see log.h. One write(2) a line, so lines of the two processes do not mix. A line
 * that cannot be written is lost: there is nowhere else to say so.
 */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/err.h"

#define LINE_LIMIT_BYTES 4096 /* PIPE_BUF: a pipe takes as much in one piece */

/* Values are cut to these lengths in turn until the line fits, so that long untrusted text cannot
 * make a line disappear. */
static const size_t value_limits[] = {LINE_LIMIT_BYTES, 512, 64, 0};

struct line {
	enum ig_log_level level;
	int error;
	const char *message;
	const struct ig_kv *kv;
	char when[IG_RFC3339_BYTES];
};

static struct {
	const char *name;
	enum ig_log_level max_level;
	bool json;
} state = {.name = "imdsgate", .max_level = IG_LOG_INFO};

static const char *const level_names[_IG_LOG_LEVEL_MAX] = {
	[IG_LOG_ERR] = "err",
	[IG_LOG_WARNING] = "warning",
	[IG_LOG_INFO] = "info",
	[IG_LOG_DEBUG] = "debug",
};

static const char *const key_names[_IG_LOG_KEY_MAX] = {
#define X(id, text) [IG_LOG_KEY_##id] = text,
	IG_LOG_KEYS(X)
#undef X
};

static const char *text_of(const struct ig_kv *kv)
{
	return kv->text ? kv->text : "";
}

void ig_log_init(const char *name, enum ig_log_level max_level)
{
	state.name = name;
	state.max_level = max_level;
	state.json = !isatty(STDERR_FILENO);
}

int ig_log_parse_level(const char *s, enum ig_log_level *ret)
{
	for (unsigned int i = 0; i < _IG_LOG_LEVEL_MAX; i++) {
		if (strcmp(s, level_names[i]) == 0) {
			*ret = (enum ig_log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

static void put_json(struct ig_buf *b, const struct ig_kv *kv, size_t value_limit)
{
	for (; kv->key != _IG_LOG_KEY_END; kv++) {
		ig_buf_json_key(b, key_names[kv->key]);
		if (kv->is_number)
			ig_buf_printf(b, "%" PRIu64, kv->number);
		else
			ig_buf_json_string(b, text_of(kv), strnlen(text_of(kv), value_limit));
	}
}

static void put_text(struct ig_buf *b, const struct ig_kv *kv, size_t value_limit)
{
	for (; kv->key != _IG_LOG_KEY_END; kv++) {
		ig_buf_printf(b, " %s=", key_names[kv->key]);
		if (kv->is_number)
			ig_buf_printf(b, "%" PRIu64, kv->number);
		else
			ig_buf_json_string(b, text_of(kv), strnlen(text_of(kv), value_limit));
	}
}

static void put_json_line(struct ig_buf *b, const struct line *line, size_t value_limit)
{
	ig_buf_putc(b, '{');
	ig_buf_json_member_str(b, "time", line->when);
	ig_buf_json_member_str(b, "level", level_names[line->level]);
	ig_buf_json_member_str(b, "process", state.name);
	ig_buf_json_member_str(b, "message", line->message);
	if (line->error)
		ig_buf_json_member_str(b, "errno", ig_err_name(line->error));
	put_json(b, line->kv, value_limit);
	if (value_limit < LINE_LIMIT_BYTES)
		ig_buf_json_member_bool(b, "cut", true);
	ig_buf_puts(b, "}\n");
}

static void put_text_line(struct ig_buf *b, const struct line *line, size_t value_limit)
{
	ig_buf_printf(b, "%.8s %-7s %s: %s", line->when + 11, level_names[line->level], state.name,
		line->message);
	if (line->error)
		ig_buf_printf(b, " errno=%s", ig_err_name(line->error));
	put_text(b, line->kv, value_limit);
	ig_buf_puts(b, value_limit < LINE_LIMIT_BYTES ? " cut=true\n" : "\n");
}

void ig_log_write(enum ig_log_level level, int error, const char *message, const struct ig_kv *kv)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = LINE_LIMIT_BYTES};
	struct line line = {.level = level, .error = error, .message = message, .kv = kv};

	if (level > state.max_level)
		return;
	ig_clock_format_rfc3339(ig_clock_real_usec(), line.when);
	for (size_t i = 0; i < IG_ARRAY_SIZE(value_limits); i++) {
		ig_buf_reset(&b);
		if (state.json)
			put_json_line(&b, &line, value_limits[i]);
		else
			put_text_line(&b, &line, value_limits[i]);
		if (ig_buf_finish(&b) == 0)
			break;
	}
	if (ig_buf_finish(&b) == 0)
		(void)!write(STDERR_FILENO, b.data, b.len);
}
