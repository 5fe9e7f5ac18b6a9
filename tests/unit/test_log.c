/*
 * Tests of base/log: standard error is replaced by a pipe (JSON lines) or by a pseudo terminal
 * (text) while a line is written; the JSON is read back by jansson.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"

static struct {
	int saved; /* the real standard error */
	int read_fd;
} captured = {.saved = -1, .read_fd = -1};

static void begin(int read_fd, int write_fd, enum ig_log_level level)
{
	captured.read_fd = read_fd;
	captured.saved = dup(STDERR_FILENO);
	assert_true(captured.saved >= 0);
	assert_int_equal(dup2(write_fd, STDERR_FILENO), STDERR_FILENO);
	close(write_fd);
	ig_log_init("test", level);
}

static int restore(void **state)
{
	(void)state;
	if (captured.saved >= 0)
		(void)dup2(captured.saved, STDERR_FILENO);
	captured.saved = ig_close(captured.saved);
	captured.read_fd = ig_close(captured.read_fd);
	return 0;
}

static void begin_json(enum ig_log_level level)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	begin(fds[0], fds[1], level);
}

/* Puts standard error back and returns what was written meanwhile; a pipe or a terminal in raw
 * mode holds it already, so one read gets all of it. */
static size_t end(char *buf, size_t size)
{
	ssize_t n = read(captured.read_fd, buf, size - 1);

	if (n < 0 && errno == EAGAIN)
		n = 0;
	(void)restore(NULL);
	assert_true(n >= 0);
	buf[n] = '\0';
	return (size_t)n;
}

static json_t *end_json(void)
{
	char buf[8192];
	size_t n = end(buf, sizeof(buf));
	json_t *line;

	assert_true(n > 0);
	assert_int_equal(buf[n - 1], '\n');
	assert_null(memchr(buf, '\n', n - 1));
	assert_true(n <= 4096);
	line = json_loadb(buf, n, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(line);
	return line;
}

static const char *str(json_t *line, const char *key)
{
	const char *value = json_string_value(json_object_get(line, key));

	return value ? value : "(absent)";
}

static void json_line_has_everything(void **state)
{
	_cleanup_(json_decrefp) json_t *line = NULL;
	const char *when;

	(void)state;
	begin_json(IG_LOG_INFO);
	ig_log_info("listener opened", IG_KV_U64(NETNS, UINT32_MAX), IG_KV_STR(PATH, "/run/x"));
	line = end_json();
	when = str(line, "time");
	assert_int_equal(strlen(when), 27);
	assert_int_equal(when[26], 'Z');
	assert_string_equal(str(line, "level"), "info");
	assert_string_equal(str(line, "process"), "test");
	assert_string_equal(str(line, "message"), "listener opened");
	assert_string_equal(str(line, "path"), "/run/x");
	assert_int_equal(json_integer_value(json_object_get(line, "netns")), UINT32_MAX);
	assert_null(json_object_get(line, "errno"));
	assert_null(json_object_get(line, "cut"));
	assert_int_equal(json_object_size(line), 6);
}

static void line_without_pairs(void **state)
{
	_cleanup_(json_decrefp) json_t *line = NULL;

	(void)state;
	begin_json(IG_LOG_INFO);
	ig_log_warning("hello");
	line = end_json();
	assert_string_equal(str(line, "level"), "warning");
	assert_int_equal(json_object_size(line), 4);
}

static void null_text_is_empty(void **state)
{
	_cleanup_(json_decrefp) json_t *line = NULL;

	(void)state;
	begin_json(IG_LOG_INFO);
	ig_log_info("x", IG_KV_STR(NAME, NULL));
	line = end_json();
	assert_string_equal(str(line, "name"), "");
}

static void errno_helpers_log_and_return(void **state)
{
	_cleanup_(json_decrefp) json_t *line = NULL;
	_cleanup_(json_decrefp) json_t *second = NULL;

	(void)state;
	begin_json(IG_LOG_ERR);
	assert_int_equal(ig_log_errno(-ENOENT, "cannot open", IG_KV_STR(PATH, "p")), -ENOENT);
	line = end_json();
	assert_string_equal(str(line, "level"), "err");
	assert_string_equal(str(line, "errno"), "ENOENT");
	assert_string_equal(str(line, "path"), "p");
	begin_json(IG_LOG_WARNING);
	assert_int_equal(ig_log_warning_errno(-EBUSY, "going on"), -EBUSY);
	second = end_json();
	assert_string_equal(str(second, "level"), "warning");
	assert_string_equal(str(second, "errno"), "EBUSY");
}

static void lines_above_the_level_are_not_written(void **state)
{
	char buf[512];

	(void)state;
	begin_json(IG_LOG_WARNING);
	ig_log_info("no");
	ig_log_debug("no");
	assert_int_equal(end(buf, sizeof(buf)), 0);
	begin_json(IG_LOG_DEBUG);
	ig_log_debug("yes");
	assert_true(end(buf, sizeof(buf)) > 0);
	assert_non_null(strstr(buf, "\"level\":\"debug\""));
}

static void hostile_text_stays_in_its_value(void **state)
{
	static const char hostile[] = "x\"}\n{\"level\":\"err\"\x1b[31m\xff\xc2\x9b";
	_cleanup_(json_decrefp) json_t *line = NULL;

	(void)state;
	begin_json(IG_LOG_INFO);
	ig_log_info("x", IG_KV_STR(DETAIL, hostile));
	line = end_json(); /* which checks that it is one line and one object */
	assert_string_equal(str(line, "level"), "info");
	assert_string_equal(
		str(line, "detail"), "x\"}\n{\"level\":\"err\"\x1b[31m\xef\xbf\xbd\xc2\x9b");
}

/* text that is too long must not make the line disappear, however much escaping blows it up */
static void long_values_are_cut(void **state)
{
	static const char fills[] = {'a', '\n', '"', '\xff'};
	char big[20000];

	(void)state;
	for (size_t i = 0; i < sizeof(fills); i++) {
		_cleanup_(json_decrefp) json_t *line = NULL;

		memset(big, fills[i], sizeof(big) - 1);
		big[sizeof(big) - 1] = '\0';
		begin_json(IG_LOG_INFO);
		ig_log_info("x", IG_KV_STR(DETAIL, big), IG_KV_STR(PATH, big), IG_KV_U64(PID, 7));
		line = end_json();
		assert_true(json_is_true(json_object_get(line, "cut")));
		assert_true(strlen(str(line, "detail")) >= 64);
		assert_true(strlen(str(line, "path")) >= 64);
		assert_int_equal(json_integer_value(json_object_get(line, "pid")), 7);
	}
}

static void a_value_that_just_fits_is_whole(void **state)
{
	_cleanup_(json_decrefp) json_t *line = NULL;
	char text[3801];

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	begin_json(IG_LOG_INFO);
	ig_log_info("x", IG_KV_STR(DETAIL, text));
	line = end_json();
	assert_string_equal(str(line, "detail"), text);
	assert_null(json_object_get(line, "cut"));
}

static int open_terminal(int *ret_slave)
{
	_cleanup_close_ int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	_cleanup_close_ int slave = -1;
	struct termios raw;
	char name[128];

	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 ||
		ptsname_r(master, name, sizeof(name)) != 0)
		return -1;
	slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0 || tcgetattr(slave, &raw) < 0)
		return -1;
	cfmakeraw(&raw);
	if (tcsetattr(slave, TCSANOW, &raw) < 0)
		return -1;
	*ret_slave = TAKE_FD(slave);
	return TAKE_FD(master);
}

/* "HH:MM:SS " in front, the rest as given */
static void is_text_line(const char *line, const char *rest)
{
	assert_true(strlen(line) > 9);
	assert_int_equal(line[2], ':');
	assert_int_equal(line[5], ':');
	assert_string_equal(line + 8, rest);
}

static void a_terminal_gets_text(void **state)
{
	char buf[8192];
	int slave = -1;
	int master = open_terminal(&slave);

	(void)state;
	if (master < 0)
		skip();
	begin(master, slave, IG_LOG_INFO);
	ig_log_warning("odd", IG_KV_STR(NAME, "a b\x1b[31m\n"), IG_KV_U64(PORT, 254));
	end(buf, sizeof(buf));
	is_text_line(buf, " warning test: odd name=\"a b\\u001b[31m\\u000a\" port=254\n");
}

static void text_has_the_errno_and_is_cut_too(void **state)
{
	char buf[8192], big[8000];
	int slave = -1;
	int master = open_terminal(&slave);

	(void)state;
	if (master < 0)
		skip();
	memset(big, 'a', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	begin(master, slave, IG_LOG_INFO);
	(void)ig_log_errno(-EPERM, "no", IG_KV_STR(DETAIL, big));
	end(buf, sizeof(buf));
	assert_non_null(strstr(buf, " err     test: no errno=EPERM detail=\"aaaa"));
	assert_non_null(strstr(buf, "aaaa\" cut=true\n"));
}

static void levels_by_name(void **state)
{
	enum ig_log_level level = IG_LOG_DEBUG;

	(void)state;
	assert_int_equal(ig_log_parse_level("err", &level), 0);
	assert_int_equal(level, IG_LOG_ERR);
	assert_int_equal(ig_log_parse_level("warning", &level), 0);
	assert_int_equal(level, IG_LOG_WARNING);
	assert_int_equal(ig_log_parse_level("debug", &level), 0);
	assert_int_equal(level, IG_LOG_DEBUG);
	assert_int_equal(ig_log_parse_level("info", &level), 0);
	assert_int_equal(level, IG_LOG_INFO);
	assert_int_equal(ig_log_parse_level("Info", &level), -EINVAL);
	assert_int_equal(ig_log_parse_level("", &level), -EINVAL);
	assert_int_equal(ig_log_parse_level("information", &level), -EINVAL);
	assert_int_equal(level, IG_LOG_INFO);
}

#define CAPTURING_TEST(f) cmocka_unit_test_teardown(f, restore)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CAPTURING_TEST(json_line_has_everything),
		CAPTURING_TEST(line_without_pairs),
		CAPTURING_TEST(null_text_is_empty),
		CAPTURING_TEST(errno_helpers_log_and_return),
		CAPTURING_TEST(lines_above_the_level_are_not_written),
		CAPTURING_TEST(hostile_text_stays_in_its_value),
		CAPTURING_TEST(long_values_are_cut),
		CAPTURING_TEST(a_value_that_just_fits_is_whole),
		CAPTURING_TEST(a_terminal_gets_text),
		CAPTURING_TEST(text_has_the_errno_and_is_cut_too),
		cmocka_unit_test(levels_by_name),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
