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

#define LINE_LIMIT_BYTES 4096

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

static void put_json(struct ig_buf *b, const struct ig_kv *kv)
{
	for (; kv->key != _IG_LOG_KEY_END; kv++) {
		if (kv->is_number)
			ig_buf_json_member_u64(b, key_names[kv->key], kv->number);
		else
			ig_buf_json_member_str(b, key_names[kv->key], kv->text ? kv->text : "");
	}
	ig_buf_puts(b, "}\n");
}

static void put_text(struct ig_buf *b, const struct ig_kv *kv)
{
	for (; kv->key != _IG_LOG_KEY_END; kv++) {
		ig_buf_printf(b, " %s=", key_names[kv->key]);
		if (kv->is_number)
			ig_buf_printf(b, "%" PRIu64, kv->number);
		else
			ig_buf_json_string(
				b, kv->text ? kv->text : "", kv->text ? strlen(kv->text) : 0);
	}
	ig_buf_putc(b, '\n');
}

void ig_log_write(enum ig_log_level level, int error, const char *message, const struct ig_kv *kv)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = LINE_LIMIT_BYTES};
	char when[IG_RFC3339_BYTES];

	if (level > state.max_level)
		return;
	ig_clock_format_rfc3339(ig_clock_real_usec(), when);
	if (state.json) {
		ig_buf_putc(&b, '{');
		ig_buf_json_member_str(&b, "time", when);
		ig_buf_json_member_str(&b, "level", level_names[level]);
		ig_buf_json_member_str(&b, "process", state.name);
		ig_buf_json_member_str(&b, "message", message);
		if (error)
			ig_buf_json_member_str(&b, "errno", ig_err_name(error));
		put_json(&b, kv);
	} else {
		ig_buf_printf(
			&b, "%.8s %-7s %s: %s", when + 11, level_names[level], state.name, message);
		if (error)
			ig_buf_printf(&b, " errno=%s", ig_err_name(error));
		put_text(&b, kv);
	}
	if (ig_buf_finish(&b) == 0)
		(void)!write(STDERR_FILENO, b.data, b.len);
}
