/*
 * The agent's own log (not the audit). Key=value text on a terminal, JSON lines otherwise, to
 * standard error. Values are escaped here, so callers pass untrusted text as it is. Tokens,
 * credentials, request and response bodies are never passed. Library code logs at debug at most,
 * and the function that handles an error logs it, once.
 *
 *	ig_log_info("listener opened", IG_KV_U64(NETNS, cookie), IG_KV_U64(PORT, port));
 *	return ig_log_errno(r, "cannot attach", IG_KV_STR(PATH, path));
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum ig_log_level { IG_LOG_ERR, IG_LOG_WARNING, IG_LOG_INFO, IG_LOG_DEBUG, _IG_LOG_LEVEL_MAX };

/* Every key that a log line may carry. */
#define IG_LOG_KEYS(X)                                                                             \
	X(ADDRESS, "address")                                                                      \
	X(CGROUP, "cgroup")                                                                        \
	X(CODE, "code")                                                                            \
	X(COUNT, "count")                                                                          \
	X(DETAIL, "detail")                                                                        \
	X(ENDPOINT, "endpoint")                                                                    \
	X(ERROR, "error")                                                                          \
	X(FILE, "file")                                                                            \
	X(IDENTITY, "identity")                                                                    \
	X(IFINDEX, "ifindex")                                                                      \
	X(KIND, "kind")                                                                            \
	X(LIMIT, "limit")                                                                          \
	X(LINE, "line")                                                                            \
	X(NAME, "name")                                                                            \
	X(NETNS, "netns")                                                                          \
	X(PATH, "path")                                                                            \
	X(PID, "pid")                                                                              \
	X(POD, "pod")                                                                              \
	X(PORT, "port")                                                                            \
	X(PROGRAM, "program")                                                                      \
	X(RESOURCE, "resource")                                                                    \
	X(SIGNAL, "signal")                                                                        \
	X(STATUS, "status")                                                                        \
	X(UID, "uid")                                                                              \
	X(URL, "url")                                                                              \
	X(USEC, "usec")                                                                            \
	X(VERSION, "version")

enum ig_log_key {
	_IG_LOG_KEY_END, /* ends an array of pairs */
#define X(id, text) IG_LOG_KEY_##id,
	IG_LOG_KEYS(X)
#undef X
		_IG_LOG_KEY_MAX
};

struct ig_kv {
	enum ig_log_key key;
	bool is_number;
	uint64_t number;
	const char *text; /* NULL prints as "" */
};

#define IG_KV_STR(id, value) ((struct ig_kv){.key = IG_LOG_KEY_##id, .text = (value)})
#define IG_KV_U64(id, value)                                                                       \
	((struct ig_kv){.key = IG_LOG_KEY_##id, .is_number = true, .number = (uint64_t)(value)})

/* name: the process, printed in every line ("monitor", "server"). Text or JSON is chosen by whether
 * standard error is a terminal. */
void ig_log_init(const char *name, enum ig_log_level max_level);
int ig_log_parse_level(const char *s, enum ig_log_level *ret); /* err warning info debug; -EINVAL */

void ig_log_write(enum ig_log_level level, int error, const char *message, const struct ig_kv *kv);

#define IG_LOG_PAIRS(...)	 ((const struct ig_kv[]){__VA_ARGS__ __VA_OPT__(, ){}})
#define ig_log_err(msg, ...)	 ig_log_write(IG_LOG_ERR, 0, (msg), IG_LOG_PAIRS(__VA_ARGS__))
#define ig_log_warning(msg, ...) ig_log_write(IG_LOG_WARNING, 0, (msg), IG_LOG_PAIRS(__VA_ARGS__))
#define ig_log_info(msg, ...)	 ig_log_write(IG_LOG_INFO, 0, (msg), IG_LOG_PAIRS(__VA_ARGS__))
#define ig_log_debug(msg, ...)	 ig_log_write(IG_LOG_DEBUG, 0, (msg), IG_LOG_PAIRS(__VA_ARGS__))
/* Logs at err with error=ENAME and returns the code. */
#define ig_log_errno(code, msg, ...)                                                               \
	({                                                                                         \
		int _code = (code);                                                                \
		ig_log_write(IG_LOG_ERR, _code, (msg), IG_LOG_PAIRS(__VA_ARGS__));                 \
		_code;                                                                             \
	})
#define ig_log_warning_errno(code, msg, ...)                                                       \
	({                                                                                         \
		int _code = (code);                                                                \
		ig_log_write(IG_LOG_WARNING, _code, (msg), IG_LOG_PAIRS(__VA_ARGS__));             \
		_code;                                                                             \
	})
